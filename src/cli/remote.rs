//! A command that runs on the server, shown as if it ran here: its output, its exit code.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateloop::client::Client;
use serde::Deserialize;
use socket2::SockRef;

use super::Failure;
use super::call::{ErrorObject, ID};

/// What shells add to the number of the signal that killed a command.
const SIGNALLED: i32 = 128;

/// Whether the method runs a command.
pub(super) fn is_command(method: &str) -> bool {
    matches!(method, "exec" | "shell")
}

#[derive(Deserialize)]
struct Message {
    id: Option<u8>,
    /// Of a notification, what was printed.
    params: Option<Printed>,
    result: Option<Ended>,
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct Printed {
    stdout: Option<String>,
    stdout_base64: Option<String>,
    stderr: Option<String>,
    stderr_base64: Option<String>,
}

#[derive(Deserialize)]
struct Ended {
    status: Option<i32>,
    signal: Option<i32>,
    truncated: bool,
    timed_out: bool,
    #[serde(flatten)]
    printed: Printed,
}

/// Shows what the server says of a command until it has ended; its exit code.
pub(super) fn show(client: &mut Client) -> Result<ExitCode, Failure> {
    // Where this process is killed, its socket is closed with a reset: by a mere end of file, the
    // server would not know that nobody waits for the command any more.
    linger(client, Some(Duration::ZERO))?;
    let ended = loop {
        let message = client.recv().map_err(Failure::failed)?;
        let message = message.ok_or_else(|| alien("closed without an answer"))?;
        let message: Message = serde_json::from_slice(&message)
            .map_err(|_| alien("the answer is none of a command"))?;
        match message {
            Message {
                result: Some(ended),
                id: Some(ID),
                ..
            } => break ended,
            Message {
                error: Some(error), ..
            } => return Err(Failure::failed(error)),
            Message {
                params: Some(printed),
                ..
            } => printed.show()?,
            _ => return Err(alien("the answer is none of a command")),
        }
    };
    linger(client, None)?;
    ended.printed.show()?;
    if ended.truncated {
        note("the server kept only the beginning of the output");
    }
    if ended.timed_out {
        note("the time of the command had passed");
    }
    let code = match (ended.status, ended.signal) {
        (Some(status), _) => status,
        (None, Some(signal)) => SIGNALLED + signal,
        (None, None) => return Err(alien("the command has no end")),
    };
    u8::try_from(code)
        .map(ExitCode::from)
        .map_err(|_| alien("the command has no end"))
}

fn linger(client: &Client, time: Option<Duration>) -> Result<(), Failure> {
    SockRef::from(client)
        .set_linger(time)
        .map_err(Failure::failed)
}

fn alien(why: &str) -> Failure {
    Failure::failed(format!(
        "{why} (are handshake, framing and service the server's?)"
    ))
}

fn note(what: &str) {
    // Nothing is left to be done where standard error is closed.
    let _ = writeln!(io::stderr(), "gateloop: {what}");
}

impl Printed {
    fn show(&self) -> Result<(), Failure> {
        let (stdout, stderr) = (&mut io::stdout().lock(), &mut io::stderr().lock());
        write(
            stdout,
            self.stdout.as_deref(),
            self.stdout_base64.as_deref(),
        )?;
        write(
            stderr,
            self.stderr.as_deref(),
            self.stderr_base64.as_deref(),
        )
    }
}

fn write(to: &mut impl Write, text: Option<&str>, base64: Option<&str>) -> Result<(), Failure> {
    let bytes = match (text, base64) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(base64)) => STANDARD.decode(base64).map_err(Failure::failed)?,
        (None, None) => return Ok(()),
    };
    let written = to.write_all(&bytes).and_then(|()| to.flush());
    written.map_err(|error| Failure::failed(format!("cannot write what was printed: {error}")))
}
