//! The command line: arguments, environment and configuration file become one library call.

mod call;
mod config_file;
mod descriptors;
mod exec;
mod key;
mod limits;
mod log;
mod remote;
mod serve;
mod signals;
mod units;
mod user;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{CommandFactory, Parser, Subcommand};
use gateloop::protocol::FramingKind;

/// An authenticated, framed service on a hand-written non-blocking event loop
#[derive(Debug, Parser)]
#[command(name = "gateloop", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Call(call::Call),
    User(user::User),
}

/// Why a command did not do what it was told, in one line for the operator.
#[derive(Debug)]
enum Failure {
    /// It was told something that cannot be meant. Exit code 2.
    Usage(String),
    /// It could not be done. Exit code 1.
    Failed(String),
    /// The same of a command that was to run on a server, whose own exit code may be any but this
    /// one. Exit code 125.
    NotRun(String),
}

impl Failure {
    fn usage(message: impl Display) -> Self {
        Self::Usage(message.to_string())
    }

    fn failed(message: impl Display) -> Self {
        Self::Failed(message.to_string())
    }

    fn not_run(self) -> Self {
        let (Self::Usage(message) | Self::Failed(message) | Self::NotRun(message)) = self;
        Self::NotRun(message)
    }
}

/// Runs the command that the arguments name. Exits by itself for `--help` and for arguments that
/// do not parse, as [`clap`] does.
pub(crate) fn main() -> ExitCode {
    let (code, message) = match run() {
        Ok(code) => return code,
        Err(Failure::Failed(message)) => (1, message),
        Err(Failure::Usage(message)) => (2, message),
        Err(Failure::NotRun(message)) => (125, message),
    };
    // Nothing is left to be done where standard error is closed.
    let _ = writeln!(io::stderr(), "error: {message}");
    ExitCode::from(code)
}

fn run() -> Result<ExitCode, Failure> {
    match config_file::parse(command(), std::env::args_os().collect())?.command {
        Command::Serve(args) => serve::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Call(args) => call::run(&args),
        Command::User(args) => user::run(&args).map(|()| ExitCode::SUCCESS),
    }
}

/// The command line, each flag of which can also be given as a variable of the environment.
fn command() -> clap::Command {
    Cli::command().mut_subcommands(|subcommand| {
        subcommand.mut_args(|arg| match arg.get_long() {
            None => arg,
            Some(long) => {
                let variable = long.to_uppercase().replace('-', "_");
                arg.env(format!("GATELOOP_{variable}")).hide_env(true)
            }
        })
    })
}

/// One of these framings by its name, which `--help` then lists.
fn framing<const N: usize>(
    framings: [FramingKind; N],
) -> impl TypedValueParser<Value = FramingKind> {
    PossibleValuesParser::new(framings.map(FramingKind::name))
        .try_map(|name| name.parse::<FramingKind>())
}

/// Writes to standard output, at once.
fn say(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|error| Failure::failed(format!("cannot write to standard output: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_is_a_variable_too() {
        let command = command();
        let serve = command.find_subcommand("serve").expect("the subcommand");
        let flag = serve
            .get_arguments()
            .find(|arg| arg.get_long() == Some("max-message"));
        let variable = flag.and_then(clap::Arg::get_env).expect("a variable");
        assert_eq!(variable, "GATELOOP_MAX_MESSAGE");
    }
}
