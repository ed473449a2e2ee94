//! `gateloop call`: one JSON-RPC request, and its result on standard output.

use std::fmt::{self, Display};
use std::io;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use gateloop::address::{Address, AddressError, UdpAddress};
use gateloop::client::{Client, Config, DatagramClient, Error};
use gateloop::limits::{CALL_TIMEOUT, DATAGRAM_PADDED_BYTES, MESSAGE_BYTES_MAX};
use gateloop::protocol::FramingKind;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::units::Time;
use super::{Failure, key, remote, say};

/// Those that tell where an answer ends.
const FRAMINGS: [FramingKind; 4] = [
    FramingKind::I32Be,
    FramingKind::I32Le,
    FramingKind::Json,
    FramingKind::Lines,
];

const AFTER_HELP: &str = "\
Prints the result as JSON. Each flag --some-name can also be given as the variable
GATELOOP_SOME_NAME. The key is read from --authkey-file or the variable GATELOOP_AUTHKEY.

A server behind udp:HOST:PORT is asked in a datagram: only methods without parameters are called
so, and no answer may also mean that one of the two datagrams was lost.

Exit codes: 0 there is a result, 1 an error was answered or there was no answer, 2 wrong usage.

The methods exec and shell are shown as if the command ran here: its standard output, its standard
error, its exit code (128 and the number of the signal that killed it). With \"stream\": true, what
it prints is shown as it comes. 125: it did not run, or nobody knows how it ended.

Example:
  gateloop call 127.0.0.1:9090 ping --authkey-file key
  gateloop call 127.0.0.1:9090 exec '{\"name\": \"uptime\"}' --authkey-file key";

/// Call a method of a running server
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Call {
    /// HOST:PORT, unix:PATH or udp:HOST:PORT of the server
    address: Callee,
    /// The method's name
    method: String,
    /// Its parameters: a JSON array or object, or `-` to read that from standard input
    #[arg(value_name = "JSON")]
    params: Option<String>,
    #[arg(long, value_name = "TIME", help = timeout_help(' '), long_help = timeout_help('\n'))]
    timeout: Option<Time>,
    /// Where a message ends
    #[arg(long, value_parser = super::framing(FRAMINGS), default_value_t)]
    framing: FramingKind,
    #[command(flatten)]
    handshake: key::HandshakeArgs,
}

/// A command has a time-out of its own, on the server.
fn timeout_help(before_default: char) -> String {
    format!(
        "How long to wait for the connection, then for the answer{before_default}[default: {}; \
         for the answer of exec and shell, as long as the command takes]",
        Time(CALL_TIMEOUT)
    )
}

/// Whom to call, and how.
#[derive(Clone, Debug)]
enum Callee {
    Stream(Address),
    Datagrams(UdpAddress),
}

impl FromStr for Callee {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if UdpAddress::is_meant(text) {
            text.parse().map(Self::Datagrams)
        } else {
            text.parse().map(Self::Stream)
        }
    }
}

#[derive(Serialize)]
struct Request<'a> {
    jsonrpc: &'static str,
    id: u8,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Box<RawValue>>,
}

/// The only one on its connection.
pub(super) const ID: u8 = 1;

#[derive(Deserialize)]
struct Response<'a> {
    /// `null` where the server could not tell it.
    id: Option<u8>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    error: Option<ErrorObject>,
}

/// A member that is there, `null` too: that is a result like any other.
fn present<'de, D: Deserializer<'de>>(member: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(member).map(Some)
}

/// Why there is no result.
#[derive(Deserialize)]
pub(super) struct ErrorObject {
    code: i64,
    message: String,
    data: Option<Box<RawValue>>,
}

impl Display for ErrorObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            message,
            data,
        } = self;
        let data = data
            .as_ref()
            .map_or(String::new(), |data| format!(": {data}"));
        // Not every server may be trusted with what a terminal does.
        let line = format!("{message} ({code}){data}").replace(char::is_control, " ");
        f.write_str(&line)
    }
}

impl Call {
    fn timeout(&self) -> Duration {
        self.timeout.map_or(CALL_TIMEOUT, |timeout| timeout.0)
    }
}

pub(super) fn run(args: &Call) -> Result<ExitCode, Failure> {
    if remote::is_command(&args.method) {
        return command(args).map_err(Failure::not_run);
    }
    let request = request(args)?;
    let called = match &args.address {
        Callee::Stream(address) => call(args, address, &request),
        Callee::Datagrams(_) if args.params.is_some() => Err(Failure::usage(
            "datagrams call only methods without parameters: leave them out",
        )),
        Callee::Datagrams(address) => call_in_datagrams(args, *address, request),
    };
    called.map(|()| ExitCode::SUCCESS)
}

fn command(args: &Call) -> Result<ExitCode, Failure> {
    let Callee::Stream(address) = &args.address else {
        return Err(Failure::usage("datagrams call no commands"));
    };
    let mut client = ask(args, address, &request(args)?)?;
    let timeout = args.timeout.map(|timeout| timeout.0);
    client.set_timeout(timeout).map_err(Failure::failed)?;
    remote::show(&mut client)
}

fn request(args: &Call) -> Result<Vec<u8>, Failure> {
    let params = args.params.as_deref().map(params).transpose()?;
    let request = Request {
        jsonrpc: "2.0",
        id: ID,
        method: &args.method,
        params,
    };
    serde_json::to_vec(&request).map_err(Failure::failed)
}

/// Connects and sends the request.
fn ask(args: &Call, address: &Address, request: &[u8]) -> Result<Client, Failure> {
    let config = Config {
        handshake: args.handshake.client_rules()?,
        framing: args.framing,
        timeout: Some(args.timeout()),
        message_bytes_max: MESSAGE_BYTES_MAX,
    };
    let failed = |error| Failure::failed(format!("{address}: {error}"));
    let mut client = Client::connect(address, config).map_err(failed)?;
    client.send(request).map_err(failed)?;
    Ok(client)
}

fn call(args: &Call, address: &Address, request: &[u8]) -> Result<(), Failure> {
    let failed = |error| Failure::failed(format!("{address}: {error}"));
    match ask(args, address, request)?.recv().map_err(failed)? {
        Some(answer) => show(&answer),
        None => Err(Failure::failed(format!(
            "{address}: closed without an answer (are handshake, framing and service the server's?)"
        ))),
    }
}

fn call_in_datagrams(
    args: &Call,
    address: UdpAddress,
    mut request: Vec<u8>,
) -> Result<(), Failure> {
    let handshake = args.handshake.client_rules()?;
    if handshake.key().is_none() {
        request.resize(request.len().max(DATAGRAM_PADDED_BYTES), b' ');
    }
    let client = DatagramClient::new(address, &handshake, Some(args.timeout()));
    match client.and_then(|mut client| client.call(&request)) {
        Ok(answer) => show(&answer),
        Err(Error::TimedOut) => Err(Failure::failed(format!(
            "{address}: timed out (was a datagram lost? are key and clock the server's?)"
        ))),
        Err(error) => Err(Failure::failed(format!("{address}: {error}"))),
    }
}

/// The parameters as they were typed, in one line: between the tokens of JSON a line break is
/// as good as a blank, and inside of them there is none.
fn params(text: &str) -> Result<Box<RawValue>, Failure> {
    let text = match text {
        "-" => io::read_to_string(io::stdin())
            .map_err(|error| Failure::failed(format!("cannot read standard input: {error}")))?,
        text => text.to_string(),
    };
    let wrong = |why: &dyn Display| Failure::usage(format!("the parameters are {why}"));
    let json: Box<RawValue> = serde_json::from_str(&text.replace(['\n', '\r'], " "))
        .map_err(|error| wrong(&format!("not JSON: {error}")))?;
    match json.get().as_bytes().first() {
        Some(b'[' | b'{') => Ok(json),
        _ => Err(wrong(&"neither a JSON array nor an object")),
    }
}

fn show(answer: &[u8]) -> Result<(), Failure> {
    let alien = |why: &dyn Display| {
        Failure::failed(format!(
            "the answer is not JSON-RPC: {why} (are handshake, framing and service the server's?)"
        ))
    };
    let response: Response<'_> = serde_json::from_slice(answer).map_err(|error| alien(&error))?;
    match (response.result, response.error) {
        (Some(_), None) if response.id != Some(ID) => Err(alien(&"it answers another request")),
        (Some(result), None) => say(&format!("{result}\n")),
        (None, Some(error)) => Err(Failure::failed(error)),
        _ => Err(alien(&"neither a result nor an error")),
    }
}
