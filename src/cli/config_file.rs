//! The TOML file of `--config`: each of its keys is a flag that is given last.
//!
//! The command line is parsed, then each key of the file that neither a flag nor a variable has
//! set is added to it as a flag, and it is parsed again. So there is one parser, one set of
//! rules and one wording of errors; an error that only the second pass meets is the file's.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches};
use toml::{Table, Value};

use super::{Cli, Failure};

/// Parses the command line and the file that it names. Exits by itself for `--help` and for an
/// error of the command line, as [`clap`] does.
pub(super) fn parse(command: Command, mut line: Vec<OsString>) -> Result<Cli, Failure> {
    let mut matches = command.clone().get_matches_from(&line);
    if let Some((name, given)) = matches.subcommand()
        && let Ok(Some(path)) = given.try_get_one::<PathBuf>("config")
        && let Some(subcommand) = command.find_subcommand(name)
    {
        let flags = File::read(path)?.flags(subcommand, given)?;
        // Behind the names of the program and the subcommand, before any `--`.
        line.splice(2..2, flags.into_iter().map(OsString::from));
        matches = command
            .try_get_matches_from(line)
            .map_err(|error| wrong(path, first_sentence(&error)))?;
    }
    Ok(Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()))
}

struct File<'a> {
    path: &'a Path,
    table: Table,
}

impl<'a> File<'a> {
    fn read(path: &'a Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        match text.parse() {
            Ok(table) => Ok(Self { path, table }),
            Err(error) => {
                let before = error.span().and_then(|span| text.get(..span.start));
                let line = before.unwrap_or_default().matches('\n').count() + 1;
                Err(wrong(path, format!("line {line}: {}", error.message())))
            }
        }
    }

    /// The keys that are not `given` more directly, as flags of `command`.
    fn flags(&self, command: &Command, given: &ArgMatches) -> Result<Vec<String>, Failure> {
        let mut flags = Vec::new();
        for (key, value) in &self.table {
            let arg = self.known(command, key)?;
            let source = given.value_source(arg.get_id().as_str());
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
            return Err(wrong(self.path, why));
        }
        let mut args = command.get_arguments();
        match args.find(|arg| arg.get_long() == Some(key) && key != "config") {
            Some(arg) => Ok(arg),
            None => {
                let nearest = nearest(command, key)
                    .map_or(String::new(), |known| format!(", did you mean `{known}`?"));
                Err(wrong(self.path, format!("unknown key `{key}`{nearest}")))
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
                return Err(wrong(self.path, format!("`{key}` cannot be a {kind}")));
            }
        }
        Ok(())
    }
}

fn wrong(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("{}: {why}", path.display()))
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
