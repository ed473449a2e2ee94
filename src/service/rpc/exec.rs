//! `exec` and `shell`: which programs callers may have run, and with what.
//!
//! First it is decided whether the caller may, then whether there is such a command, then each
//! argument meets its pattern. Nothing of what a caller sends is a path, a variable or a piece of
//! shell, except the command line of `shell`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;

use super::method::{Call, Method, Run};
use super::response::RpcError;
use crate::limits::{
    CHILD_TIMEOUT, EXEC_ARGUMENT_BYTES_MAX, EXEC_ARGUMENTS_MAX, EXEC_OUTPUT_BYTES_MAX,
    EXEC_PARAMS_BYTES_MAX, SHELL_LINE_BYTES_MAX, TIMEOUT_MAX,
};
use crate::service::Launch;

const SHELL: &str = "/bin/sh";

/// Which programs callers may have run. By default none, and there is no method for it.
#[derive(Clone, Debug, Default)]
pub struct ExecRules {
    /// What `exec` runs, by the name that callers give.
    pub commands: BTreeMap<String, Command>,
    /// What `shell` runs anything as. `None`: there is no such method.
    pub shell: Option<Shell>,
    /// Whether callers must have logged in even where a command names no users.
    pub login: bool,
}

/// A program that callers may have run.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its absolute path.
    pub program: PathBuf,
    /// The arguments that it always has.
    pub args: Vec<OsString>,
    /// What callers may add behind them: as many arguments as there are patterns, or fewer.
    pub caller_args: Vec<Pattern>,
    /// The folder that it runs in.
    pub folder: PathBuf,
    /// How long it may run.
    pub timeout: Duration,
    /// How much of its output, in bytes, is kept for the answer.
    pub output_bytes_max: usize,
    /// Which users may have it run; if there are none, everybody.
    pub users: Vec<String>,
}

impl Command {
    /// A program without arguments, in the folder `/`, with the default bounds, for everybody.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            caller_args: Vec::new(),
            folder: "/".into(),
            timeout: CHILD_TIMEOUT,
            output_bytes_max: EXEC_OUTPUT_BYTES_MAX,
            users: Vec::new(),
        }
    }

    fn check(&self) -> Result<(), String> {
        for (what, path) in [("program", &self.program), ("folder", &self.folder)] {
            if !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
                return Err(format!(
                    "the {what} `{}` is no absolute path",
                    path.display()
                ));
            }
        }
        if self
            .args
            .iter()
            .any(|arg| arg.as_encoded_bytes().contains(&0))
        {
            return Err("an argument cannot have a NUL in it".into());
        }
        if self.caller_args.len() > EXEC_ARGUMENTS_MAX {
            return Err(format!(
                "callers may add at most {EXEC_ARGUMENTS_MAX} arguments"
            ));
        }
        if self.timeout.is_zero() || self.timeout > TIMEOUT_MAX {
            return Err("the timeout must be above 0 and not exceed a year".into());
        }
        Ok(())
    }
}

/// Who may have the shell run any command line at all, and within what.
#[derive(Clone, Debug)]
pub struct Shell {
    /// The users; at least one.
    pub users: Vec<String>,
    /// How long a command line may run.
    pub timeout: Duration,
    /// How much of its output, in bytes, is kept for the answer.
    pub output_bytes_max: usize,
}

impl Shell {
    /// For these users, with the default bounds.
    #[must_use]
    pub fn new(users: Vec<String>) -> Self {
        Self {
            users,
            timeout: CHILD_TIMEOUT,
            output_bytes_max: EXEC_OUTPUT_BYTES_MAX,
        }
    }
}

/// A regular expression that an argument must match from its first byte to its last.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(pattern: &str) -> Result<Self, String> {
        let wrong = |error| match error {
            regex::Error::Syntax(text) => {
                let reason = text.lines().last().unwrap_or_default();
                format!("`{pattern}`: {}", reason.trim_start_matches("error: "))
            }
            error => format!("`{pattern}`: {error}"),
        };
        // By itself first: `a)|(b` must not become whole by what is put around it.
        Regex::new(pattern).map_err(wrong)?;
        Regex::new(&format!(r"\A(?:{pattern})\z"))
            .map(Self)
            .map_err(wrong)
    }
}

impl Pattern {
    fn allows(&self, argument: &str) -> bool {
        argument.len() <= EXEC_ARGUMENT_BYTES_MAX
            && !argument.contains('\0')
            && self.0.is_match(argument)
    }
}

impl ExecRules {
    /// Whether these rules can be kept; the error says which cannot and why.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn check(&self) -> Result<(), String> {
        for (name, command) in &self.commands {
            let wrong = |why| format!("command `{name}`: {why}");
            command.check().map_err(wrong)?;
        }
        match &self.shell {
            Some(shell) if shell.users.is_empty() => {
                Err("shell must name the users who may run anything at all".into())
            }
            _ => Ok(()),
        }
    }

    /// Whether they allow nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.shell.is_none()
    }

    /// Whether any of them is for certain users.
    #[must_use]
    pub fn names_users(&self) -> bool {
        self.shell.is_some()
            || self
                .commands
                .values()
                .any(|command| !command.users.is_empty())
    }

    /// The methods that there are under these rules.
    pub(super) fn methods(self) -> Vec<Method> {
        let rules = Arc::new(self);
        let mut methods = Vec::new();
        if !rules.commands.is_empty() {
            let rules = Arc::clone(&rules);
            methods.push(Method::new(
                "exec",
                "{name: string, args: strings (optional), stream: bool (optional)}",
                "runs a command of the server's table",
                Run::Program(Arc::new(move |call| {
                    rules.exec(call.user(), bounded_params(call)?)
                })),
            ));
        }
        if rules.shell.is_some() {
            methods.push(Method::new(
                "shell",
                "{line: string, stream: bool (optional)}",
                "runs a command line by /bin/sh -c",
                Run::Program(Arc::new(move |call| {
                    rules.shell(call.user(), bounded_params(call)?)
                })),
            ));
        }
        methods
    }

    fn exec(&self, user: Option<&str>, params: Exec) -> Result<Prepared, RpcError> {
        let Exec { name, args, stream } = params;
        let command = self.commands.get(&name);
        self.admit(user, command.map_or(&[], |command| &command.users))?;
        let command = command.ok_or(NO_SUCH_COMMAND)?;
        if args.len() > command.caller_args.len() {
            return Err(TOO_MANY_ARGUMENTS);
        }
        let mut pairs = args.iter().zip(&command.caller_args);
        if let Some(n) = pairs.position(|(arg, pattern)| !pattern.allows(arg)) {
            let message = format!("argument {} is not one that may be added", n + 1);
            return Err(RpcError::new(INVALID_PARAMS, message));
        }
        let added = args.into_iter().map(OsString::from);
        Ok(Prepared {
            launch: Launch {
                tag: 0,
                program: command.program.clone(),
                args: command.args.iter().cloned().chain(added).collect(),
                folder: command.folder.clone(),
                timeout: command.timeout,
            },
            output_bytes_max: command.output_bytes_max,
            stream,
        })
    }

    fn shell(&self, user: Option<&str>, params: Line) -> Result<Prepared, RpcError> {
        let Line { line, stream } = params;
        let shell = self.shell.as_ref().ok_or(RpcError::METHOD_NOT_FOUND)?;
        self.admit(user, &shell.users)?;
        if line.len() > SHELL_LINE_BYTES_MAX || line.contains('\0') {
            return Err(RpcError::INVALID_PARAMS);
        }
        Ok(Prepared {
            launch: Launch {
                tag: 0,
                program: SHELL.into(),
                args: vec!["-c".into(), line.into()],
                folder: "/".into(),
                timeout: shell.timeout,
            },
            output_bytes_max: shell.output_bytes_max,
            stream,
        })
    }

    /// Whether a user, or somebody who has not logged in, is among `users`: nobody named is
    /// everybody.
    fn admit(&self, user: Option<&str>, users: &[String]) -> Result<(), RpcError> {
        match user {
            None if self.login || !users.is_empty() => Err(NEEDS_LOGIN),
            Some(user) if !users.is_empty() && !users.iter().any(|named| named == user) => {
                Err(NOT_FOR_USER)
            }
            None | Some(_) => Ok(()),
        }
    }
}

/// Parameters are only parsed if they are no longer than any that make sense.
fn bounded_params<'a, T: Deserialize<'a>>(call: &Call<'a>) -> Result<T, RpcError> {
    match call.raw_params() {
        Some(json) if json.len() <= EXEC_PARAMS_BYTES_MAX => call.params(),
        _ => Err(RpcError::INVALID_PARAMS),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exec {
    name: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    stream: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    line: String,
    #[serde(default)]
    stream: bool,
}

/// A program that a call has asked for, and was granted.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) launch: Launch,
    /// How much of its output is kept for the answer.
    pub(super) output_bytes_max: usize,
    /// What it prints is told as it comes.
    pub(super) stream: bool,
}

/// As of [`RpcError::INVALID_PARAMS`]: the response's `data` says what the method takes.
const INVALID_PARAMS: i64 = -32_602;
const NO_SUCH_COMMAND: RpcError = RpcError::standard(INVALID_PARAMS, "no such command");
const TOO_MANY_ARGUMENTS: RpcError =
    RpcError::standard(INVALID_PARAMS, "more arguments than may be added");
/// The code of everything that a caller may not do.
const DENIED: i64 = -32_002;
const NEEDS_LOGIN: RpcError = RpcError::standard(DENIED, "only for users who have logged in");
const NOT_FOR_USER: RpcError = RpcError::standard(DENIED, "not for this user");

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a regular expression")
    }

    #[test]
    fn a_pattern_is_matched_by_the_whole_argument() {
        for (text, allowed, refused) in [
            ("a|b", &["a", "b"][..], &["ab", "xb", "ax", ""][..]),
            ("^a$", &["a"], &["a\n", "\na"]),
            ("(?m)^a$", &["a"], &["a\nb", "b\na"]),
            ("[a-z]*", &["", "abc"], &["abc\0", "abc;", "ABC", "é"]),
            ("(?i)é+", &["É"], &["e"]),
        ] {
            let pattern = pattern(text);
            assert!(allowed.iter().all(|arg| pattern.allows(arg)), "{text}");
            assert!(!refused.iter().any(|arg| pattern.allows(arg)), "{text}");
        }
    }

    #[test]
    fn what_is_around_a_pattern_cannot_be_left() {
        for text in ["a)|(b", "(", "a(?x) # b", "\\"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_length_of_an_argument_is_bounded() {
        let all = pattern("(?s).*");
        assert!(all.allows(&"x".repeat(EXEC_ARGUMENT_BYTES_MAX)));
        assert!(!all.allows(&"x".repeat(EXEC_ARGUMENT_BYTES_MAX + 1)));
    }

    #[test]
    fn who_may_is_who_is_named_or_everybody() {
        let rules = |login| ExecRules {
            login,
            ..ExecRules::default()
        };
        let (nobody, named) = (&[][..], &["alice".to_string()][..]);
        for (login, user, users, answer) in [
            (false, None, nobody, Ok(())),
            (false, None, named, Err(NEEDS_LOGIN)),
            (true, None, nobody, Err(NEEDS_LOGIN)),
            (true, Some("bob"), nobody, Ok(())),
            (true, Some("bob"), named, Err(NOT_FOR_USER)),
            (true, Some("Alice"), named, Err(NOT_FOR_USER)),
            (true, Some("alice"), named, Ok(())),
        ] {
            assert_eq!(
                rules(login).admit(user, users),
                answer,
                "{user:?} {users:?}"
            );
        }
    }

    #[test]
    fn the_shell_is_given_the_line_as_it_is_by_whom_it_names() {
        let rules = ExecRules {
            shell: Some(Shell::new(vec!["alice".into()])),
            ..ExecRules::default()
        };
        let run = |user, line: &str| {
            let line = line.into();
            let stream = false;
            rules.shell(user, Line { line, stream })
        };
        let launch = run(Some("alice"), "echo 'a b' | wc; id").unwrap().launch;
        assert_eq!(launch.program.to_str(), Some("/bin/sh"));
        assert_eq!(launch.args, ["-c", "echo 'a b' | wc; id"]);
        assert_eq!(run(None, "id").unwrap_err(), NEEDS_LOGIN);
        assert_eq!(run(Some("bob"), "id").unwrap_err(), NOT_FOR_USER);
        assert!(run(Some("alice"), &"x".repeat(SHELL_LINE_BYTES_MAX)).is_ok());
        for line in [&*"x".repeat(SHELL_LINE_BYTES_MAX + 1), "id\0"] {
            assert_eq!(
                run(Some("alice"), line).unwrap_err(),
                RpcError::INVALID_PARAMS
            );
        }
    }

    #[test]
    fn rules_that_cannot_be_kept_are_refused() {
        let mut relative = Command::new("bin/true");
        let mut nowhere = Command::new("/bin/true");
        let mut endless = Command::new("/bin/true");
        let mut greedy = Command::new("/bin/true");
        let mut nul = Command::new("/bin/true");
        relative.args.push("x".into());
        nowhere.folder = "tmp".into();
        endless.timeout = Duration::ZERO;
        greedy.caller_args = vec![pattern("a"); EXEC_ARGUMENTS_MAX + 1];
        nul.args.push("\0".into());
        let check = |command: Command| {
            let commands = [("it".to_string(), command)].into();
            ExecRules {
                commands,
                ..ExecRules::default()
            }
            .check()
        };
        let mut generous = greedy.clone();
        generous.caller_args.pop();
        assert_eq!(check(generous), Ok(()));
        for command in [relative, nowhere, endless, greedy, nul] {
            let why = check(command).expect_err("cannot be kept");
            assert!(why.starts_with("command `it`: "), "{why}");
        }
        let shell = Some(Shell::new(Vec::new()));
        let rules = ExecRules {
            shell,
            ..ExecRules::default()
        };
        assert!(rules.check().is_err());
    }
}
