//! A blocking client over the same protocol: connects, passes the handshake, sends and receives
//! whole messages. Or, for datagrams, a [`DatagramClient`].

mod datagram;
pub mod socket;

use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};
use std::{fmt, io, mem};

use self::socket::options::TCP_NODELAY;
use self::socket::{Partial, Socket, Wait};
use crate::address::Address;
use crate::error::{CloseReason, ProtocolError};
use crate::limits::{CALL_TIMEOUT, CLIENT_READ_BYTES, Limits, MESSAGE_BYTES_MAX};
use crate::protocol::connection::{Connection, Event, Input, Output};
use crate::protocol::handshake::Step;
use crate::protocol::{FramingKind, HandshakeRules};
pub use datagram::DatagramClient;

/// How a client speaks.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may speak; both sides must agree on it.
    pub handshake: HandshakeRules,
    /// Where a message ends; both sides must agree on it.
    pub framing: FramingKind,
    /// For each call as a whole; `None` waits for ever. [`Client::set_timeout`] changes it.
    pub timeout: Option<Duration>,
    /// The longest message taken, in bytes.
    pub message_bytes_max: usize,
}

impl Config {
    /// The default framing, the time-out [`CALL_TIMEOUT`].
    #[must_use]
    pub fn new(handshake: HandshakeRules) -> Self {
        Self {
            handshake,
            framing: FramingKind::default(),
            timeout: Some(CALL_TIMEOUT),
            message_bytes_max: MESSAGE_BYTES_MAX,
        }
    }
}

/// Why a call failed. After any but [`Error::LineBreak`], [`Error::TooLong`] and
/// [`Error::TimedOut`] the connection is of no use.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The system said no.
    Io(io::Error),
    /// The time-out passed. What is half received or sent is kept, and the next call goes on with
    /// it.
    TimedOut,
    /// The other side broke the protocol.
    Protocol(ProtocolError),
    /// The other side refused our key.
    KeyRefused,
    /// The other side did not hold the key.
    WrongKey,
    /// The message would have been two, as the framing `lines` ends one at a line break. Nothing
    /// was sent.
    LineBreak,
    /// The message is longer than the framing can say. Nothing was sent.
    TooLong,
    /// The other side closed the connection in the middle of the handshake.
    Closed,
    /// The other side closed before it had said anything. The handshakes `hmac` and `md5` refuse
    /// a key in no other way; but it may also have had nothing to answer.
    Unanswered,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::TimedOut => f.write_str("timed out"),
            Self::Protocol(ProtocolError::DigestNotAccepted) => {
                f.write_str("the server speaks in a digest that is not accepted here")
            }
            Self::LineBreak => f.write_str("a message of the framing `lines` has no line break"),
            Self::TooLong => f.write_str("the message is longer than its framing can say"),
            Self::Protocol(error) => write!(f, "the server broke the protocol: {error}"),
            Self::KeyRefused => f.write_str("the server refused the key"),
            Self::WrongKey => f.write_str("the server does not hold the same key"),
            Self::Closed => f.write_str("the server closed the connection during the handshake"),
            Self::Unanswered => f.write_str(
                "the server closed without a word, which is how this handshake refuses a key",
            ),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::WouldBlock, _) | (io::ErrorKind::TimedOut, None) => Self::TimedOut,
            // Also ETIMEDOUT, the kernel's own patience: the connection is gone.
            _ => Self::Io(error),
        }
    }
}

impl From<ProtocolError> for Error {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::KeyRefused => Self::KeyRefused,
            error => Self::Protocol(error),
        }
    }
}

/// A connection that has passed its handshake.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    connection: Connection,
    framing: FramingKind,
    limits: Limits,
    /// Whether the server has taken our key, as far as the handshake tells or its answers do.
    admitted: bool,
    /// Bytes that were read; those before `at` are served.
    input: Vec<u8>,
    at: usize,
    /// Bytes that the kernel has not taken yet.
    out: Vec<u8>,
}

impl Client {
    /// Connects and passes the handshake.
    ///
    /// # Errors
    /// Whatever keeps it from that, within the time-out.
    pub fn connect(address: &Address, config: Config) -> Result<Self, Error> {
        let mut socket = Socket::stream_to(address)?;
        socket.set_timeout(config.timeout)?;
        let wait = socket.mode().wait();
        socket.connect_within(address, wait)?;
        if matches!(address, Address::Tcp(_)) {
            socket.set_option(TCP_NODELAY, true)?;
        }
        let mut client = Self {
            socket,
            connection: Connection::connect(&config.handshake, config.framing),
            framing: config.framing,
            limits: Limits {
                message_bytes_max: config.message_bytes_max,
                ..Limits::default()
            },
            admitted: !matches!(config.handshake, HandshakeRules::Challenge(_)),
            input: Vec::new(),
            at: 0,
            out: Vec::new(),
        };
        while client.connection.is_stranger() {
            client.greet(wait)?;
        }
        Ok(client)
    }

    /// One step of the handshake.
    fn greet(&mut self, wait: Wait) -> Result<(), Error> {
        let event = self.advance();
        // Also a server that failed is told so.
        self.write(wait)?;
        match event? {
            Event::Handshake {
                step: Step::WrongKey,
                ..
            } => Err(Error::WrongKey),
            Event::Handshake { wire, .. } => {
                self.at += wire;
                Ok(())
            }
            _ if self.read(wait)? == 0 => Err(Error::Closed),
            _ => Ok(()),
        }
    }

    fn advance(&mut self) -> Result<Event, ProtocolError> {
        let Self {
            connection,
            limits,
            input,
            at,
            out,
            ..
        } = self;
        let mut entropy = |bytes: &mut [u8]| {
            getrandom::fill(bytes).expect("the kernel gives random bytes");
        };
        connection.advance(&input[*at..], limits, &mut entropy, out)
    }

    /// Sends one message; returns when the kernel has taken all of it.
    ///
    /// # Errors
    /// If it does not within the time-out, or the connection is gone. How much has gone out is
    /// not known then. After a time-out the message is taken all the same: [`Client::flush`] goes
    /// on with it, and so does the next message.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        if self.framing == FramingKind::Lines && message.contains(&b'\n') {
            return Err(Error::LineBreak);
        }
        let limits = &self.limits;
        let mut io = Output {
            out: &mut self.out,
            limits,
            now: Instant::now(),
        };
        self.connection.send_all(message, &mut io);
        // The queue is what a blocking write waits for; the marks are the other side's business.
        if self.connection.take_fault() == Some(CloseReason::StreamLength) {
            return Err(Error::TooLong);
        }
        self.flush()
    }

    /// Sends what a time-out of [`Client::send`] has left.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn flush(&mut self) -> Result<(), Error> {
        self.write(self.socket.mode().wait())
    }

    /// Receives one message; `None` when the other side has sent its last.
    ///
    /// # Errors
    /// If none comes within the time-out, or the connection is gone or ends inside a message, or
    /// ends before the first one after a handshake that does not tell whether the key was right.
    /// After a time-out another call goes on with what has come.
    pub fn recv(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let wait = self.socket.mode().wait();
        loop {
            match self.advance()? {
                Event::Message { payload, wire } => {
                    let rest = &self.input[self.at..];
                    let message = rest[payload].to_vec();
                    self.at += wire;
                    self.admitted = true;
                    return Ok(Some(message));
                }
                Event::Blank { wire } => {
                    self.at += wire;
                    continue;
                }
                Event::Handshake { .. } | Event::Incomplete => {}
            }
            if self.connection.input == Input::Eof {
                return match self.at == self.input.len() {
                    true if self.admitted => Ok(None),
                    true => Err(Error::Unanswered),
                    false => Err(ProtocolError::TruncatedMessage.into()),
                };
            }
            self.read(wait)?;
        }
    }

    /// Says that nothing more will be sent. What was asked for still comes.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn shutdown_write(&self) -> Result<(), Error> {
        self.shutdown(Shutdown::Write)
    }

    /// Closes one half of the connection, or both.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn shutdown(&self, how: Shutdown) -> Result<(), Error> {
        Ok(self.socket.shutdown(how)?)
    }

    /// Sets how long each call may take as a whole. `None` waits for ever; with zero, a call that
    /// would have to wait has timed out at once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use gateloop::client::{Client, Config, Error};
    /// use gateloop::protocol::HandshakeRules;
    ///
    /// let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let address = silent.local_addr()?.into();
    /// let mut client = Client::connect(&address, Config::new(HandshakeRules::None))?;
    /// client.set_timeout(Some(Duration::from_millis(1)))?;
    /// assert!(matches!(client.recv(), Err(Error::TimedOut)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// None that is known of.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        Ok(self.socket.set_timeout(timeout)?)
    }

    /// How long each call may take.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.socket.timeout()
    }

    /// The server's address.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn peer_address(&self) -> Result<Address, Error> {
        Ok(self.socket.peer_name()?)
    }

    /// The client's own address, which a Unix socket has none of: its path is empty.
    ///
    /// # Errors
    /// None that is known of.
    pub fn local_address(&self) -> Result<Address, Error> {
        Ok(self.socket.local_name()?)
    }

    fn read(&mut self, wait: Wait) -> Result<usize, Error> {
        self.input.drain(..mem::take(&mut self.at));
        let filled = self.input.len();
        self.input.resize(filled + CLIENT_READ_BYTES, 0);
        let result = self
            .socket
            .recv_some_within(&mut self.input[filled..], wait);
        self.input
            .truncate(filled + result.as_ref().map_or(0, |&n| n));
        if let Ok(0) = result {
            self.connection.input = Input::Eof;
        }
        Ok(result?)
    }

    fn write(&mut self, wait: Wait) -> Result<(), Error> {
        if self.out.is_empty() {
            return Ok(());
        }
        match self.socket.send_all_within(&self.out, wait) {
            Ok(()) => {
                self.out.clear();
                Ok(())
            }
            Err(Partial { bytes, error }) => {
                self.out.drain(..bytes);
                Err(error.into())
            }
        }
    }
}

/// To be polled, beside others. A message may also have come already, behind the one before it.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
