//! `rpc`: JSON-RPC 2.0, by its specification to the letter. See [`Rpc`].

mod datagrams;
mod dispatch;
mod exec;
mod login;
mod method;
mod methods;
mod on_the_spot;
mod request;
mod response;
mod running;
mod state;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    Caller, ChildEnd, Datagrams, Deferred, Flow, Launch, Logins, NotLaunched, Pipe, Replies,
    Service, TooManyDeferred,
};
use crate::protocol::Message;
use crate::stats::Stats;
use dispatch::Outlet;
pub use exec::{Command, ExecRules, Pattern, Shell};
pub use method::Call;
use method::{Method, Run, Table};
use on_the_spot::OnTheSpot;
pub use response::RpcError;
pub use state::State;

/// The service `rpc`: every message is a JSON-RPC 2.0 request, notification or batch.
///
/// # Methods
/// | method | its result |
/// |---|---|
/// | `ping` | `"pong"` |
/// | `echo` | its params, byte for byte; `null` without any |
/// | `time` | `{"unix": 1.5, "utc": "1970-01-01T00:00:01.500000Z"}` |
/// | `whoami` | `{"address", "handshake", "digest", "connected_s", "user"}` of this connection |
/// | `stats` | the server's counters, a [`Snapshot`](crate::stats::Snapshot) |
/// | `rpc.methods` | an array of `{"name", "params", "help"}` |
/// | `login` | `{"user"}`: who the caller is from now on; see [`Rpc::with_logins`] |
/// | `logout` | `{"user": null}` |
///
/// Only `echo` and `login` take parameters; the others refuse any but `[]` and `{}`. Datagrams can
/// call `ping`, `time`, `whoami`, `stats` and `rpc.methods`.
///
/// # Logging in
/// With a user file there is `login`, which takes a name and a password. A wrong one is answered
/// late, as [`Logins`] says, and after a few the connection ends. Only one login of a connection is
/// under way at a time; calls that are sent before its answer has come may still be run for whom
/// the caller was before. Methods know the user from [`Call::user`].
///
/// # Your own methods
/// A closure takes a [`Call`] and returns anything that is [`Serialize`], or an [`RpcError`].
/// [`Call::params`] makes a typed value of the parameters, or the error that says what they should
/// have been. [`Rpc::method`] runs on the event loop and so must not block; what would block is a
/// [`Rpc::deferred`] method.
///
/// ```
/// use gateloop::service::rpc::{Rpc, RpcError};
///
/// let rpc = Rpc::new()
///     .method("add", "[a, b]: numbers", "their sum", |call| {
///         let (a, b): (f64, f64) = call.params()?;
///         Ok(a + b)
///     })
///     .deferred("file_size", "[path]: string", "bytes of a file", |call| {
///         let (path,): (String,) = call.params()?;
///         Ok(move || {
///             let metadata = std::fs::metadata(path);
///             metadata.map(|m| m.len()).map_err(|_| RpcError::new(1, "cannot read that file"))
///         })
///     });
/// # use gateloop::service::{Caller, Peer};
/// # use gateloop::stats::Stats;
/// # use std::time::Duration;
/// # let peer = Peer { id: 1, address: None };
/// # let connected = Duration::ZERO;
/// # let caller = Caller { peer: &peer, handshake: "none", digest: None, connected };
/// # let stats = Stats::default();
///
/// let answer = |message: &str| rpc.answer(message.as_bytes(), caller, &stats).unwrap();
/// assert_eq!(
///     answer(r#"{"jsonrpc": "2.0", "id": 7, "method": "add", "params": [1, 2.5]}"#),
///     br#"{"jsonrpc":"2.0","result":3.5,"id":7}"#,
/// );
/// let wrong = answer(r#"{"jsonrpc": "2.0", "id": 8, "method": "add", "params": ["1"]}"#);
/// assert!(wrong.ends_with(br#""data":"params: [a, b]: numbers"},"id":8}"#));
/// ```
///
/// # What the specification leaves open
/// - An id comes back byte for byte as it was written: `1.0`, `1e2` and `"\u0041"` stay that.
/// - An id that is no string, number or null, a member of a request that is there twice, or a
///   `jsonrpc` other than `"2.0"` is an Invalid Request. Unknown members are ignored.
/// - Nothing is run of a batch that is not JSON to its last byte.
/// - A batch whose answer becomes too long is not run any further.
///
/// | error | when |
/// |---|---|
/// | -32700 Parse error | not JSON, or not UTF-8 |
/// | -32600 Invalid Request | JSON, but no request; an empty batch |
/// | -32601 Method not found | |
/// | -32602 Invalid params | `data` says what the method takes |
/// | -32603 Internal error | a deferred method panicked, or its result cannot be JSON |
/// | -32001 login failed | no such user, or another password |
/// | -32000 another login is under way | on this connection |
/// | -32000 too many calls are waiting | [see below](#deferred-calls) |
/// | -32000 a batch may hold at most N requests | N is [`RPC_BATCH_REQUESTS_MAX`]; nothing is run |
/// | -32000 the batch's answer is too long | longer than a message may be |
/// | -32000 datagrams cannot call this method | nor any that you add |
/// | -32000 too many commands are running | for this connection, or for all of them together |
/// | -32000 commands are not run here | the server's model has no event loop |
///
/// No error quotes what the peer sent.
///
/// # Deferred calls
/// Answers come as they are ready; the ids tell them apart. A batch answers when its last member
/// has. While this connection, or all of them together, have as many calls waiting as they may, no
/// message is read; a batch that has more deferred members than there is room for gets the error
/// for each of those (and drops its notifications among them).
///
/// [`RPC_BATCH_REQUESTS_MAX`]: crate::limits::RPC_BATCH_REQUESTS_MAX
#[derive(Clone, Debug)]
pub struct Rpc {
    table: Arc<Table>,
}

impl Default for Rpc {
    fn default() -> Self {
        Self::new()
    }
}

impl Rpc {
    /// The service with the methods that it always has.
    #[must_use]
    pub fn new() -> Self {
        Self {
            table: Arc::new(methods::built_in()),
        }
    }

    /// Adds a method that does not block. `params` and `help` are a line each: what it takes, which
    /// callers with something else are told, and what it does.
    ///
    /// # Panics
    /// If the name is taken, or begins with `rpc.`, which the specification reserves.
    #[must_use]
    pub fn method<R: Serialize>(
        self,
        name: &'static str,
        params: &'static str,
        help: &'static str,
        run: impl Fn(&Call<'_>) -> Result<R, RpcError> + Send + Sync + 'static,
    ) -> Self {
        self.with(Method::new(name, params, help, Run::now(run)))
    }

    /// Adds a method that may block: `prepare` reads the parameters on the event loop and returns
    /// the work, which a worker runs.
    ///
    /// # Panics
    /// If the name is taken, or begins with `rpc.`, which the specification reserves.
    #[must_use]
    pub fn deferred<R, W>(
        self,
        name: &'static str,
        params: &'static str,
        help: &'static str,
        prepare: impl Fn(&Call<'_>) -> Result<W, RpcError> + Send + Sync + 'static,
    ) -> Self
    where
        R: Serialize,
        W: FnOnce() -> Result<R, RpcError> + Send + 'static,
    {
        self.with(Method::new(name, params, help, Run::later(prepare)))
    }

    /// Adds the methods `login` and `logout`, for those who may log in.
    ///
    /// # Panics
    /// If one of the names is taken.
    #[must_use]
    pub fn with_logins(mut self, logins: Logins) -> Self {
        login::add_methods(Arc::make_mut(&mut self.table), logins);
        self
    }

    /// Adds the method `exec`, which runs the programs that these rules name, and `shell`, if they
    /// allow it. They need the event loop: [`Rpc::answer`] runs no programs.
    ///
    /// # Errors
    /// A sentence for the operator, if the rules [cannot be kept](ExecRules::check).
    ///
    /// # Panics
    /// If a method is called `exec` or `shell` already.
    pub fn with_exec(self, rules: ExecRules) -> Result<Self, String> {
        rules.check()?;
        Ok(rules.methods().into_iter().fold(self, Self::with))
    }

    fn with(mut self, method: Method) -> Self {
        let name = method.name;
        assert!(
            !name.starts_with("rpc."),
            "method `{name}`: names in `rpc.` are reserved"
        );
        Arc::make_mut(&mut self.table).add(method);
        self
    }

    /// Answers one message on the spot, running what is deferred as well; `None` where there is
    /// nothing to say. For tests of methods, and where there is no connection.
    #[must_use]
    pub fn answer(&self, message: &[u8], caller: Caller<'_>, stats: &Stats) -> Option<Vec<u8>> {
        let mut state = State::default();
        let mut outlet = OnTheSpot {
            caller,
            stats,
            answer: None,
            jobs: VecDeque::new(),
        };
        dispatch::serve(&self.table, &mut state, message, &mut outlet);
        while let Some(job) = outlet.jobs.pop_front() {
            let Deferred {
                tag,
                run,
                if_panicked,
                ..
            } = job;
            let answer = panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or(if_panicked);
            // How it goes on with a connection is of no interest where there is none.
            let _ = dispatch::completed(&mut state, tag, answer, &mut outlet);
        }
        outlet.answer
    }
}

impl Service for Rpc {
    type State = State;

    const ORDERED: bool = false;

    fn name(&self) -> &'static str {
        "rpc"
    }

    #[inline]
    fn message(
        &mut self,
        state: &mut State,
        message: &mut Message<'_>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        dispatch::serve(&self.table, state, message.bytes(), replies);
        Flow::Continue
    }

    fn completed(
        &mut self,
        state: &mut State,
        tag: u64,
        answer: Vec<u8>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        dispatch::completed(state, tag, answer, replies)
    }

    fn child_output(
        &mut self,
        state: &mut State,
        tag: u64,
        pipe: Pipe,
        bytes: &[u8],
        replies: &mut Replies<'_>,
    ) -> Flow {
        dispatch::printed(state, tag, pipe, bytes, replies);
        Flow::Continue
    }

    fn child_ended(
        &mut self,
        state: &mut State,
        tag: u64,
        end: ChildEnd,
        replies: &mut Replies<'_>,
    ) -> Flow {
        dispatch::ended(state, tag, end, replies);
        Flow::Continue
    }

    fn held_bytes(state: &State) -> usize {
        state.bytes()
    }

    fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        Some(self)
    }
}

impl<'a> Outlet<'a> for Replies<'a> {
    fn caller(&self) -> Caller<'a> {
        Replies::caller(self)
    }

    fn stats(&self) -> &'a Stats {
        Replies::stats(self)
    }

    fn answer_bytes_max(&self) -> usize {
        self.limits().message_bytes_max
    }

    fn send_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        Replies::send_with(self, write);
    }

    fn send(&mut self, message: Vec<u8>) {
        self.forward(&mut Message::Owned(message));
    }

    fn now(&self) -> Instant {
        Replies::now(self)
    }

    fn defer(&mut self, job: Deferred) -> Result<(), TooManyDeferred> {
        Replies::defer(self, job)
    }

    fn postpone(
        &mut self,
        wait: Duration,
        tag: u64,
        answer: Vec<u8>,
    ) -> Result<(), TooManyDeferred<Vec<u8>>> {
        Replies::postpone(self, wait, tag, answer)
    }

    fn launch(&mut self, launch: Launch) -> Result<(), NotLaunched> {
        Replies::launch(self, launch)
    }
}
