//! The TOML file of `--config`: each of its keys is a flag that is given last.
//!
//! The command line is parsed, then each key of the file that neither a flag nor a variable has
//! set is added to it as a flag, and it is parsed again. So there is one parser, one set of
//! rules and one wording of errors; an error that only the second pass meets is the file's.
//!
//! The one table in it, `[exec]`, is read by the same parser, but is no part of the command line.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use gateloop::service::rpc::ExecRules;
use toml::{Table, Value};

use super::{Cli, Failure, exec};

/// Parses the command line and the file that it names. Exits by itself for `--help` and for an
/// error of the command line, as [`clap`] does.
pub(super) fn parse(command: Command, mut line: Vec<OsString>) -> Result<Cli, Failure> {
    let mut rules = ExecRules::default();
    let mut matches = command.clone().get_matches_from(&line);
    if let Some((name, given)) = matches.subcommand()
        && let Ok(Some(path)) = given.try_get_one::<PathBuf>("config")
        && let Some(subcommand) = command.find_subcommand(name)
    {
        let mut file = File::read(path)?;
        if let Some(section) = file.section("exec")? {
            rules = exec::rules(section)?;
        }
        let flags = file.flags(subcommand, Some(given))?;
        // Behind the names of the program and the subcommand, before any `--`.
        line.splice(2..2, flags.into_iter().map(OsString::from));
        matches = command
            .try_get_matches_from(line)
            .map_err(|error| file.wrong(first_sentence(&error)))?;
    }
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let super::Command::Serve(serve) = &mut cli.command {
        serve.exec = rules;
    }
    Ok(cli)
}

/// The file, or a table in it.
pub(super) struct File<'a> {
    path: &'a Path,
    /// The table's name; empty: the file's own.
    section: String,
    table: Table,
}

impl<'a> File<'a> {
    fn read(path: &'a Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        match text.parse() {
            Ok(table) => Ok(Self {
                path,
                section: String::new(),
                table,
            }),
            Err(error) => {
                let before = error.span().and_then(|span| text.get(..span.start));
                let line = before.unwrap_or_default().matches('\n').count() + 1;
                let why = format!("{}: line {line}: {}", path.display(), error.message());
                Err(Failure::usage(why))
            }
        }
    }

    /// Takes out the table under this key, if there is one.
    pub(super) fn section(&mut self, key: &str) -> Result<Option<Self>, Failure> {
        let section = match &*self.section {
            "" => key.to_string(),
            section => format!("{section}.{key}"),
        };
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::Table(table)) => Ok(Some(Self {
                path: self.path,
                section,
                table,
            })),
            Some(_) => Err(self.wrong(format!("`{key}` must be a table: [{section}]"))),
        }
    }

    /// The keys.
    pub(super) fn keys(&self) -> Vec<String> {
        self.table.keys().cloned().collect()
    }

    /// The keys as `T` knows them.
    pub(super) fn parse<T: Args>(&self) -> Result<T, Failure> {
        let command = T::augment_args(Command::new("gateloop"));
        let mut line = self.flags(&command, None)?;
        line.insert(0, command.get_name().to_string());
        let matches = command.try_get_matches_from(line);
        let parsed = matches.and_then(|matches| T::from_arg_matches(&matches));
        parsed.map_err(|error| self.wrong(first_sentence(&error)))
    }

    pub(super) fn wrong(&self, why: impl std::fmt::Display) -> Failure {
        let path = self.path.display();
        match &*self.section {
            "" => Failure::usage(format!("{path}: {why}")),
            section => Failure::usage(format!("{path}: [{section}]: {why}")),
        }
    }

    /// The keys that are not `given` more directly, as flags of `command`.
    fn flags(&self, command: &Command, given: Option<&ArgMatches>) -> Result<Vec<String>, Failure> {
        let mut flags = Vec::new();
        for (key, value) in &self.table {
            let arg = self.known(command, key)?;
            let source = given.and_then(|given| given.value_source(arg.get_id().as_str()));
            if !matches!(
                source,
                Some(ValueSource::CommandLine | ValueSource::EnvVariable)
            ) {
                self.push_flags(key, value, arg, &mut flags)?;
            }
        }
        Ok(flags)
    }

    fn known<'c>(&self, command: &'c Command, key: &str) -> Result<&'c Arg, Failure> {
        if key == "authkey" {
            let why = "a key does not belong into a configuration file: authkey-file names one";
            return Err(self.wrong(why));
        }
        let mut args = command.get_arguments();
        match args.find(|arg| arg.get_long() == Some(key) && key != "config") {
            Some(arg) => Ok(arg),
            None => {
                let nearest = nearest(command, key)
                    .map_or(String::new(), |known| format!(", did you mean `{known}`?"));
                Err(self.wrong(format!("unknown key `{key}`{nearest}")))
            }
        }
    }

    /// A list is its flag given repeatedly; a flag without a value is given if it is true.
    fn push_flags(
        &self,
        key: &str,
        value: &Value,
        arg: &Arg,
        flags: &mut Vec<String>,
    ) -> Result<(), Failure> {
        match value {
            Value::Boolean(on) if !arg.get_action().takes_values() => {
                if *on {
                    flags.push(format!("--{key}"));
                }
            }
            Value::String(text) => flags.push(format!("--{key}={text}")),
            Value::Array(values) => {
                for value in values {
                    self.push_flags(key, value, arg, flags)?;
                }
            }
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
                flags.push(format!("--{key}={value}"));
            }
            Value::Table(_) | Value::Datetime(_) => {
                let kind = value.type_str();
                return Err(self.wrong(format!("`{key}` cannot be a {kind}")));
            }
        }
        Ok(())
    }
}

/// The known flag that `key` comes nearest to, if any is near. The parser is asked.
fn nearest(command: &Command, key: &str) -> Option<String> {
    let line = [command.get_name().to_string(), format!("--{key}")];
    let error = command.clone().try_get_matches_from(line).err()?;
    match error.get(ContextKind::SuggestedArg)? {
        ContextValue::String(flag) => Some(flag.trim_start_matches('-').to_string()),
        _ => None,
    }
}

/// What an error of the parser says first, as one line.
fn first_sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    let line = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    line.trim_start_matches("error: ").to_string()
}
