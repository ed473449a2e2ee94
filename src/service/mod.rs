//! What a message means: a [`Service`] is given whole messages and answers through [`Replies`].

mod child;
mod datagrams;
mod echo;
mod login;
mod logins;
mod owed;
mod replies;
pub mod rpc;
pub mod users;

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::CloseReason;
use crate::protocol::{Digest, Message};
pub use child::{ChildEnd, Launch, NotLaunched, Pipe};
pub use datagrams::{Asked, Datagrams};
pub use echo::Echo;
pub use login::Login;
pub use logins::Logins;
pub(crate) use owed::Owed;
pub use replies::{Full, Jobs, Replies, TooManyDeferred};

/// What the conversation does after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    Continue,
    /// It ends: what is queued is delivered first.
    Close,
    /// The same, for a reason that deserves a name of its own.
    CloseFor(CloseReason),
}

/// Who sent a message.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The connection's number, unique in this process. It is the `id` of the log.
    pub id: u64,
    /// The peer's address; `None` on a Unix socket.
    pub address: Option<SocketAddr>,
}

/// Work that would block the loop, given to [`Replies::defer`]. A worker runs it.
pub struct Deferred {
    /// Given back to [`Service::completed`] with the answer.
    pub tag: u64,
    /// Bytes that `run` keeps alive, as they count towards the limit of all buffers.
    pub input_bytes: usize,
    /// The work; it returns the answer.
    pub run: Box<dyn FnOnce() -> Vec<u8> + Send>,
    /// The answer if `run` panics.
    pub if_panicked: Vec<u8>,
}

/// A service. Each reactor has its own copy, so no method needs a lock of its own; state that
/// must be common to all goes into an `Arc`.
///
/// No method may block: what would goes through [`Replies::defer`]. A panic ends the connection
/// whose message it was, and nothing else.
pub trait Service: Clone + Send + 'static {
    /// What the service remembers of one connection. Idle clients pay for its size.
    type State: Default + Send + 'static;

    /// Whether answers must keep the order of their requests: then a connection with a deferred
    /// answer pauses until it is there. A protocol whose answers carry ids says `false`.
    const ORDERED: bool = true;

    /// The service's name, for the log.
    fn name(&self) -> &'static str;

    /// A whole message. A long one may be kept ([`Message::take`]) or sent on
    /// ([`Replies::forward`]) without a copy.
    fn message(
        &mut self,
        state: &mut Self::State,
        message: &mut Message<'_>,
        replies: &mut Replies<'_>,
    ) -> Flow;

    /// A deferred answer is there, or the time of a postponed one has come. The default sends it.
    fn completed(
        &mut self,
        _state: &mut Self::State,
        _tag: u64,
        answer: Vec<u8>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        replies.forward(&mut Message::Owned(answer));
        Flow::Continue
    }

    /// A program that was [launched](Replies::launch) has printed something. It is read no faster
    /// than the connection takes answers: above the high-water mark it is not read at all.
    fn child_output(
        &mut self,
        _state: &mut Self::State,
        _tag: u64,
        _pipe: Pipe,
        _bytes: &[u8],
        _replies: &mut Replies<'_>,
    ) -> Flow {
        Flow::Continue
    }

    /// A program that was [launched](Replies::launch) has ended, and all that it printed has been
    /// told; or it could not be started.
    fn child_ended(
        &mut self,
        _state: &mut Self::State,
        _tag: u64,
        _end: ChildEnd,
        _replies: &mut Replies<'_>,
    ) -> Flow {
        Flow::Continue
    }

    /// Bytes that the service's state holds for a connection; they count towards the limit of all
    /// buffers.
    fn held_bytes(_state: &Self::State) -> usize {
        0
    }

    /// What serves datagrams, if this service does. A server that is to serve them and has none is
    /// refused at its start.
    fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        None
    }

    /// There is room again after [`Replies::send`] or [`Replies::begin`] said that there was none.
    fn writable(&mut self, _state: &mut Self::State, _replies: &mut Replies<'_>) -> Flow {
        Flow::Continue
    }
}

/// What a service may know of the conversation, from [`Replies::caller`].
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Who it is.
    pub peer: &'a Peer,
    /// The handshake's name.
    pub handshake: &'static str,
    /// The digest with which the peer proved its key; `None` without a handshake.
    pub digest: Option<Digest>,
    /// For how long it has been connected.
    pub connected: Duration,
}
