//! What goes back: response objects, written straight to where they leave from.

use std::borrow::Cow;

use serde::Serialize;

use crate::limits::RPC_BATCH_REQUESTS_MAX;

/// The code of errors of the server's own, beside those that the specification names.
const SERVER_ERROR: i64 = -32_000;
/// The code of a login that failed.
const LOGIN_ERROR: i64 = -32_001;

/// Why a call failed, as the caller is told.
///
/// Write no part of the parameters into a message: it may end up in the caller's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    /// What went wrong, as a number. The specification reserves -32768 to -32000.
    pub code: i64,
    /// The same in a short sentence.
    pub message: Cow<'static, str>,
}

impl RpcError {
    /// The message is not JSON in UTF-8.
    pub const PARSE_ERROR: Self = Self::standard(-32_700, "Parse error");
    /// The JSON is not a request.
    pub const INVALID_REQUEST: Self = Self::standard(-32_600, "Invalid Request");
    /// There is no such method.
    pub const METHOD_NOT_FOUND: Self = Self::standard(-32_601, "Method not found");
    /// These are not the method's parameters. The response's `data` says which are.
    pub const INVALID_PARAMS: Self = Self::standard(-32_602, "Invalid params");
    /// The method itself failed.
    pub const INTERNAL_ERROR: Self = Self::standard(-32_603, "Internal error");
    /// A deferred method was called while as many are waiting as may.
    pub(super) const TOO_MANY_WAITING: Self =
        Self::standard(SERVER_ERROR, "too many calls are waiting");
    /// A datagram called a method that only a connection can.
    pub(super) const NOT_IN_DATAGRAMS: Self =
        Self::standard(SERVER_ERROR, "datagrams cannot call this method");
    /// As many programs run as may, for this connection or for all together.
    pub(super) const TOO_MANY_PROGRAMS: Self =
        Self::standard(SERVER_ERROR, "too many commands are running");
    /// There is no event loop to run a program.
    pub(super) const NO_PROGRAMS: Self = Self::standard(SERVER_ERROR, "commands are not run here");
    /// A batch's answer outgrew a message.
    pub(super) const ANSWER_TOO_LONG: Self =
        Self::standard(SERVER_ERROR, "the batch's answer is too long");

    /// A login beside one of the same connection that is not answered yet.
    pub(super) const LOGIN_UNDER_WAY: Self =
        Self::standard(SERVER_ERROR, "another login is under way");
    /// There is no such user, or the password is another.
    pub const LOGIN_FAILED: Self = Self::standard(LOGIN_ERROR, "login failed");

    pub(super) const fn standard(code: i64, message: &'static str) -> Self {
        Self {
            code,
            message: Cow::Borrowed(message),
        }
    }

    /// An error of a method's own.
    pub fn new(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(super) fn batch_too_long() -> Self {
        let message = format!("a batch may hold at most {RPC_BATCH_REQUESTS_MAX} requests");
        Self::new(SERVER_ERROR, message)
    }
}

/// An error on its way to who asked for it.
#[derive(Debug)]
pub(super) struct Refused<'a> {
    /// The request's id as JSON text; `null` if it has none that is legal.
    id: &'a str,
    error: RpcError,
    /// What the method takes, if it was called with something else.
    takes: Option<&'static str>,
}

impl<'a> Refused<'a> {
    /// For what is no request, and has no id.
    pub(super) fn anonymous(error: RpcError) -> Self {
        Self::new("null", error)
    }

    /// For what no method has been asked about.
    pub(super) fn new(id: &'a str, error: RpcError) -> Self {
        Self {
            id,
            error,
            takes: None,
        }
    }

    /// For what a method refuses that takes `takes`.
    pub(super) fn by_method(id: &'a str, error: RpcError, takes: &'static str) -> Self {
        let takes = (error.code == RpcError::INVALID_PARAMS.code).then_some(takes);
        Self { id, error, takes }
    }

    /// Appends the response.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"jsonrpc":"2.0","error":{"code":"#);
        write_json(out, &self.error.code);
        out.extend_from_slice(br#","message":"#);
        write_json(out, &self.error.message);
        if let Some(takes) = self.takes {
            out.extend_from_slice(br#","data":"#);
            write_json(out, &format_args!("params: {takes}"));
        }
        out.push(b'}');
        write_end(out, self.id);
    }
}

/// Appends a response with the result that `run` appends, or with its error. The method takes
/// `takes`.
pub(super) fn write_response(
    out: &mut Vec<u8>,
    id: &str,
    takes: &'static str,
    run: impl FnOnce(&mut Vec<u8>) -> Result<(), RpcError>,
) {
    let start = out.len();
    out.extend_from_slice(br#"{"jsonrpc":"2.0","result":"#);
    match run(out) {
        Ok(()) => write_end(out, id),
        Err(error) => {
            out.truncate(start);
            Refused::by_method(id, error, takes).write(out);
        }
    }
}

fn write_end(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(br#","id":"#);
    out.extend_from_slice(id.as_bytes());
    out.push(b'}');
}

/// Appends a value's JSON. Numbers and strings cannot fail.
fn write_json(out: &mut Vec<u8>, value: &impl Serialize) {
    let written = serde_json::to_writer(out, value);
    debug_assert!(
        written.is_ok(),
        "a number or a string could not be serialised"
    );
}
