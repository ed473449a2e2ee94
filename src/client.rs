//! A blocking client over the same protocol: connects, passes the handshake, sends and receives
//! whole messages.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use std::{fmt, mem};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::address::Address;
use crate::error::ProtocolError;
use crate::limits::{CALL_TIMEOUT, CLIENT_READ_BYTES, Limits, MESSAGE_BYTES_MAX};
use crate::protocol::connection::{Connection, Event, Input, Output};
use crate::protocol::handshake::Step;
use crate::protocol::{FramingKind, HandshakeRules};

/// How a client speaks.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may speak; both sides must agree on it.
    pub handshake: HandshakeRules,
    /// Where a message ends; both sides must agree on it.
    pub framing: FramingKind,
    /// For each call as a whole; `None` waits for ever.
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

/// Why a call failed. After any but [`Error::LineBreak`] the connection is of no use.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The system said no.
    Io(io::Error),
    /// The time-out passed.
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
    /// The other side closed the connection in the middle of the handshake.
    Closed,
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
            Self::Protocol(error) => write!(f, "the server broke the protocol: {error}"),
            Self::KeyRefused => f.write_str("the server refused the key"),
            Self::WrongKey => f.write_str("the server does not hold the same key"),
            Self::Closed => f.write_str("the server closed the connection during the handshake"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
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
    stream: Stream,
    connection: Connection,
    framing: FramingKind,
    limits: Limits,
    timeout: Option<Duration>,
    /// Bytes that were read; those before `at` are served.
    input: Vec<u8>,
    at: usize,
    out: Vec<u8>,
}

impl Client {
    /// Connects and passes the handshake.
    ///
    /// # Errors
    /// Whatever keeps it from that, within the time-out.
    pub fn connect(address: &Address, config: Config) -> Result<Self, Error> {
        let deadline = Deadline::after(config.timeout);
        let limits = Limits {
            message_bytes_max: config.message_bytes_max,
            ..Limits::default()
        };
        let mut client = Self {
            stream: Stream::connect(address, config.timeout)?,
            connection: Connection::connect(&config.handshake, config.framing),
            framing: config.framing,
            limits,
            timeout: config.timeout,
            input: Vec::new(),
            at: 0,
            out: Vec::new(),
        };
        while client.connection.is_stranger() {
            client.greet(&deadline)?;
        }
        Ok(client)
    }

    /// One step of the handshake.
    fn greet(&mut self, deadline: &Deadline) -> Result<(), Error> {
        let event = self.advance();
        // Also a server that failed is told so.
        self.write(deadline)?;
        match event? {
            Event::Handshake {
                step: Step::WrongKey,
                ..
            } => Err(Error::WrongKey),
            Event::Handshake { wire, .. } => {
                self.at += wire;
                Ok(())
            }
            _ if self.read(deadline)? == 0 => Err(Error::Closed),
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
    /// not known then.
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
        let _ = self.connection.take_fault();
        self.write(&Deadline::after(self.timeout))
    }

    /// Receives one message; `None` when the other side has sent its last.
    ///
    /// # Errors
    /// If none comes within the time-out, or the connection is gone or ends inside a message.
    pub fn recv(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let deadline = Deadline::after(self.timeout);
        loop {
            if let Event::Message { payload, wire } = self.advance()? {
                let rest = &self.input[self.at..];
                let message = rest[payload].to_vec();
                self.at += wire;
                return Ok(Some(message));
            }
            if self.connection.input == Input::Eof {
                return match self.at == self.input.len() {
                    true => Ok(None),
                    false => Err(ProtocolError::TruncatedMessage.into()),
                };
            }
            self.read(&deadline)?;
        }
    }

    /// Says that nothing more will be sent. What was asked for still comes.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn shutdown_write(&self) -> Result<(), Error> {
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write)?,
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write)?,
        }
        Ok(())
    }

    fn read(&mut self, deadline: &Deadline) -> Result<usize, Error> {
        self.input.drain(..mem::take(&mut self.at));
        let filled = self.input.len();
        self.input.resize(filled + CLIENT_READ_BYTES, 0);
        let result = loop {
            self.stream.set_read_timeout(deadline.left()?)?;
            match self.stream.reader().read(&mut self.input[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.input
            .truncate(filled + result.as_ref().map_or(0, |&n| n));
        if let Ok(0) = result {
            self.connection.input = Input::Eof;
        }
        Ok(result?)
    }

    fn write(&mut self, deadline: &Deadline) -> Result<(), Error> {
        let mut sent = 0;
        while sent < self.out.len() {
            self.stream.set_write_timeout(deadline.left()?)?;
            match self.stream.writer().write(&self.out[sent..]) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(n) => sent += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        Ok(())
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn connect(address: &Address, timeout: Option<Duration>) -> Result<Self, Error> {
        Ok(match (address, timeout) {
            (Address::Tcp(address), Some(timeout)) => {
                Self::Tcp(TcpStream::connect_timeout(address, timeout)?).without_delay()?
            }
            (Address::Tcp(address), None) => {
                Self::Tcp(TcpStream::connect(address)?).without_delay()?
            }
            (Address::Unix(path), timeout) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                // Linux also ends a connect by this one, which waits while the backlog is full.
                socket.set_write_timeout(timeout)?;
                socket.connect(&SockAddr::unix(path)?)?;
                Self::Unix(socket.into())
            }
        })
    }

    fn without_delay(self) -> io::Result<Self> {
        if let Self::Tcp(stream) = &self {
            stream.set_nodelay(true)?;
        }
        Ok(self)
    }

    fn reader(&mut self) -> &mut dyn Read {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(timeout),
            Self::Unix(stream) => stream.set_read_timeout(timeout),
        }
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_write_timeout(timeout),
            Self::Unix(stream) => stream.set_write_timeout(timeout),
        }
    }
}

/// When a call has had its time.
struct Deadline(Option<Instant>);

impl Deadline {
    fn after(timeout: Option<Duration>) -> Self {
        Self(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    /// What is left for the next system call: never zero, which would mean no limit.
    fn left(&self) -> Result<Option<Duration>, Error> {
        let Some(deadline) = self.0 else {
            return Ok(None);
        };
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Error::TimedOut),
            left => Ok(Some(left)),
        }
    }
}
