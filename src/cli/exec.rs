//! The table `[exec]` of the TOML file: which programs callers may have run.
//!
//! Its keys are read as flags are, by the same parser and with the same errors, but are no flags of
//! the command line: what strangers may run is not a thing to type in passing.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use gateloop::limits;
use gateloop::service::rpc::{Command, ExecRules, Pattern, Shell};

use super::Failure;
use super::config_file::File;
use super::units::{Size, Time};

/// The keys of `[exec]`.
#[derive(Debug, Args)]
struct Exec {
    #[arg(long)]
    shell: bool,
    #[arg(long)]
    shell_users: Vec<String>,
    #[arg(long, default_value_t = Time(limits::CHILD_TIMEOUT))]
    shell_timeout: Time,
    #[arg(long, default_value_t = Size(limits::EXEC_OUTPUT_BYTES_MAX))]
    shell_output: Size,
}

/// The keys of `[exec.commands.NAME]`.
#[derive(Debug, Args)]
struct CommandTable {
    #[arg(long, required = true)]
    program: PathBuf,
    #[arg(long)]
    args: Vec<OsString>,
    #[arg(long)]
    caller_args: Vec<Pattern>,
    #[arg(long, default_value = "/")]
    folder: PathBuf,
    #[arg(long, default_value_t = Time(limits::CHILD_TIMEOUT))]
    timeout: Time,
    #[arg(long, default_value_t = Size(limits::EXEC_OUTPUT_BYTES_MAX))]
    output: Size,
    #[arg(long)]
    users: Vec<String>,
}

/// The rules of the table `[exec]`.
pub(super) fn rules(mut exec: File<'_>) -> Result<ExecRules, Failure> {
    let mut rules = ExecRules::default();
    if let Some(mut commands) = exec.section("commands")? {
        for name in commands.keys() {
            if let Some(command) = commands.section(&name)? {
                let table: CommandTable = command.parse()?;
                rules.commands.insert(name, table.into());
            }
        }
    }
    let keys: Exec = exec.parse()?;
    rules.shell = keys.shell.then_some(Shell {
        users: keys.shell_users,
        timeout: keys.shell_timeout.0,
        output_bytes_max: keys.shell_output.0,
    });
    rules.check().map_err(|why| exec.wrong(why))?;
    Ok(rules)
}

impl From<CommandTable> for Command {
    fn from(table: CommandTable) -> Self {
        Self {
            program: table.program,
            args: table.args,
            caller_args: table.caller_args,
            folder: table.folder,
            timeout: table.timeout.0,
            output_bytes_max: table.output.0,
            users: table.users,
        }
    }
}
