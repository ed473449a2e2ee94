//! The ways things end: [`ProtocolError`], the peer's fault, [`CloseReason`], every way a
//! connection can end, and [`DropReason`], every way a datagram can. Each end is counted and logged
//! exactly once, under its reason.

use std::fmt;

use crate::limits::JSON_DEPTH_MAX;

/// What a peer sent that the protocol does not allow. None of them carries the peer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A header's length was negative (and not the -1 that announces a 64-bit length).
    NegativeLength(i32),
    /// A message is longer than the limit; for framings with a header, as that header claims.
    MessageTooLong {
        /// The length claimed, or the bytes that have come without an end.
        len: u64,
        /// The limit in force.
        max: usize,
    },
    /// What came cannot be JSON, whatever follows.
    NotJson,
    /// A JSON value has more brackets open at once than
    /// [`JSON_DEPTH_MAX`].
    JsonTooDeep,
    /// The stream ended inside a message.
    TruncatedMessage,
    /// A handshake message was not what this step of the protocol asks for.
    UnexpectedHandshakeMessage,
    /// A challenge had fewer than 20 bytes.
    ChallengeTooShort,
    /// A digest was named that is unknown or not accepted here.
    DigestNotAccepted,
    /// The peer asked us to answer a challenge that this very process issued and still waits on.
    ReflectedChallenge,
    /// The other side refused our key.
    KeyRefused,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NegativeLength(len) => write!(f, "header with the negative length {len}"),
            Self::MessageTooLong { len, max } => {
                write!(f, "message of {len} bytes is over the limit of {max}")
            }
            Self::NotJson => f.write_str("what came is not JSON"),
            Self::JsonTooDeep => {
                write!(f, "a JSON value nested more than {JSON_DEPTH_MAX} deep")
            }
            Self::TruncatedMessage => f.write_str("the stream ended inside a message"),
            Self::UnexpectedHandshakeMessage => f.write_str("unexpected handshake message"),
            Self::ChallengeTooShort => f.write_str("challenge of fewer than 20 bytes"),
            Self::DigestNotAccepted => f.write_str("digest unknown or not accepted"),
            Self::ReflectedChallenge => f.write_str("challenge was issued by this process itself"),
            Self::KeyRefused => f.write_str("the other side refused the key"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// Why a connection ended. [`CloseReason::name`] is its name in logs and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer shut down its sending half and has been sent every answer.
    PeerClosed,
    /// The peer closed before it had passed the handshake.
    PeerLeftHandshake,
    /// The kernel reported a reset or another error of the socket.
    Reset,
    /// The peer broke the protocol.
    Protocol(ProtocolError),
    /// The peer's answer to the challenge was not made with the right key.
    WrongKey,
    /// The handshake was not passed in time.
    HandshakeTimeout,
    /// The oldest stranger made room for a new one.
    StrangerEvicted,
    /// No message came for the idle time-out.
    IdleTimeout,
    /// A message did not arrive whole in time.
    ArrivalTimeout,
    /// The peer took nothing, or too little a second, of what was queued for it.
    WriteTimeout,
    /// The send queue reached its hard limit.
    SendQueueFull,
    /// All buffers together held too much, and this connection's were the largest.
    BufferMemory,
    /// The service asked for it.
    ServiceClosed,
    /// The service panicked.
    ServicePanic,
    /// The service sent a message of another length than it had announced, or of one that the
    /// framing cannot announce.
    StreamLength,
    /// The peer has failed to log in too often.
    LoginFailures,
    /// The server is stopping; everything owed had been answered.
    Draining,
    /// The server stopped before everything owed had been delivered.
    Aborted,
}

impl CloseReason {
    /// The number of different reasons.
    pub const COUNT: usize = 18;

    /// Every reason's name, in the order of [`CloseReason::index`].
    pub const NAMES: [&'static str; Self::COUNT] = [
        "peer_closed",
        "peer_left_handshake",
        "reset",
        "protocol_error",
        "wrong_key",
        "handshake_timeout",
        "stranger_evicted",
        "idle_timeout",
        "arrival_timeout",
        "write_timeout",
        "send_queue_full",
        "buffer_memory",
        "service_closed",
        "service_panic",
        "stream_length",
        "login_failures",
        "draining",
        "aborted",
    ];

    /// The reason's place in an array of counters, below [`CloseReason::COUNT`].
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::PeerClosed => 0,
            Self::PeerLeftHandshake => 1,
            Self::Reset => 2,
            Self::Protocol(_) => 3,
            Self::WrongKey => 4,
            Self::HandshakeTimeout => 5,
            Self::StrangerEvicted => 6,
            Self::IdleTimeout => 7,
            Self::ArrivalTimeout => 8,
            Self::WriteTimeout => 9,
            Self::SendQueueFull => 10,
            Self::BufferMemory => 11,
            Self::ServiceClosed => 12,
            Self::ServicePanic => 13,
            Self::StreamLength => 14,
            Self::LoginFailures => 15,
            Self::Draining => 16,
            Self::Aborted => 17,
        }
    }

    /// The reason's name in logs and counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// Whether what is still queued is worth delivering. Where the peer is gone, or is the one
    /// that does not take it, or its buffers are needed, the connection is dropped at once.
    #[must_use]
    pub fn flushes(self) -> bool {
        !matches!(
            self,
            Self::Reset
                | Self::StrangerEvicted
                | Self::WriteTimeout
                | Self::SendQueueFull
                | Self::BufferMemory
                | Self::StreamLength
                | Self::Aborted
        )
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => write!(f, "{}: {error}", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

impl From<ProtocolError> for CloseReason {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

/// Why a datagram was dropped, or its answer. Who sent it is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// It is shorter than an envelope, or of another version.
    Malformed,
    /// It was not made with the key.
    Forged,
    /// It is no request.
    NotARequest,
    /// It is longer than a datagram or a message may be.
    TooLong,
    /// It is dated too far before the server's time.
    Late,
    /// It is dated too far after the server's time.
    Early,
    /// It was sent before the server started, which does not know whether it was served then.
    BeforeStart,
    /// Its id has been seen.
    Replayed,
    /// As many ids are remembered as may be, so that a replay of it could not be told.
    ReplayCacheFull,
    /// Nobody has proved anything, and the answer would be longer than what was asked.
    Amplified,
    /// The answer is longer than a datagram may be.
    AnswerTooLong,
    /// The kernel did not take the answer.
    Unsent,
    /// The service panicked.
    ServicePanic,
}

impl DropReason {
    /// The number of different reasons.
    pub const COUNT: usize = 13;

    /// Every reason's name, in the order of [`DropReason::index`].
    pub const NAMES: [&'static str; Self::COUNT] = [
        "malformed",
        "forged",
        "not_a_request",
        "too_long",
        "late",
        "early",
        "before_start",
        "replayed",
        "replay_cache_full",
        "amplified",
        "answer_too_long",
        "unsent",
        "service_panic",
    ];

    /// The reason's place in an array of counters, below [`DropReason::COUNT`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The reason's name in logs and counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const _: () = assert!(DropReason::ServicePanic as usize + 1 == DropReason::COUNT);
