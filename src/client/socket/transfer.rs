//! To send and to receive: some of it, or all of it.

use std::fmt;
use std::io::{self, Read, Write};

use rustix::event::PollFlags;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};

use super::{Socket, Wait, to_system};
use crate::address::Address;

/// A peer that is gone is an error, not the signal SIGPIPE.
const SEND: SendFlags = SendFlags::NOSIGNAL;

/// What a call for a given number of bytes had done when it failed.
#[derive(Debug)]
pub struct Partial {
    /// So many bytes were taken from the front of what was to be sent, or lie at the front of the
    /// buffer that was to be filled. That the kernel has taken bytes does not mean that the peer
    /// gets them.
    pub bytes: usize,
    /// Why it was not all.
    pub error: io::Error,
}

impl fmt::Display for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} bytes: {}", self.bytes, self.error)
    }
}

impl std::error::Error for Partial {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Forgets how many bytes it were.
impl From<Partial> for io::Error {
    fn from(partial: Partial) -> Self {
        partial.error
    }
}

impl Socket {
    /// Sends what the kernel takes, which may be less than was given; how much it was. For UDP it
    /// is one datagram, whole or not at all.
    ///
    /// # Errors
    /// | errno | when |
    /// |---|---|
    /// | `EAGAIN` | non-blocking, and the kernel's buffer is full |
    /// | `TimedOut` | it has stayed full for that long |
    /// | `EPIPE` | the sending half is closed, or (TCP) was never connected |
    /// | `ECONNRESET` | the peer has cut the connection; said once, then it is `EPIPE` |
    /// | `ENOTCONN` | a Unix socket that is not connected |
    /// | `EDESTADDRREQ` | UDP without a peer |
    /// | `ECONNREFUSED` | UDP: nobody was there for an earlier datagram |
    /// | `EMSGSIZE` | UDP: longer than 65 507 bytes |
    ///
    /// ```
    /// use gateloop::client::socket::{Errno, Socket};
    ///
    /// let (mut left, _right) = Socket::pair()?;
    /// left.set_blocking(false)?;
    /// let bytes = vec![0; 1 << 24];
    /// assert!((1..bytes.len()).contains(&left.send(&bytes)?), "all that finds room");
    /// assert_eq!(Errno::of(&left.send(&bytes).unwrap_err()), Some(Errno::EAGAIN));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send_within(bytes, self.mode.wait())
    }

    /// Sends all of it. A time-out is a deadline for all of it, too.
    ///
    /// After an error, what was taken is on its way, and a message cut in two with it: a stream is
    /// then of no use, unless the rest of it follows.
    ///
    /// # Errors
    /// The codes of [`Socket::send`], with the number of bytes that were taken. Non-blocking, it
    /// ends in `EAGAIN` where [`Socket::send`] would have sent less.
    ///
    /// ```
    /// use std::time::Duration;
    /// use gateloop::client::socket::Socket;
    ///
    /// let (mut left, _right) = Socket::pair()?;
    /// left.set_timeout(Some(Duration::from_millis(1)))?;
    /// let bytes = vec![0; 1 << 24];
    /// let partial = left.send_all(&bytes).unwrap_err();
    /// assert!((1..bytes.len()).contains(&partial.bytes));
    /// assert_eq!(partial.error.to_string(), "timed out");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send_all(&self, bytes: &[u8]) -> Result<(), Partial> {
        self.send_all_within(bytes, self.mode.wait())
    }

    /// Receives what is there, at most `max` bytes, once anything is. Nothing means the end: the
    /// peer has closed its sending half. For UDP it is one datagram, which may be empty; what is
    /// longer than `max` loses its rest.
    ///
    /// # Errors
    /// | errno | when |
    /// |---|---|
    /// | `EAGAIN` | non-blocking, and nothing is there |
    /// | `TimedOut` | nothing has come in time |
    /// | `ECONNRESET` | the peer has cut the connection; said once, then it is the end |
    /// | `ENOTCONN` | TCP, not connected |
    /// | `EINVAL` | a Unix socket that is not connected |
    /// | `ECONNREFUSED` | UDP: nobody was there for an earlier datagram |
    ///
    /// ```
    /// use gateloop::client::socket::Socket;
    ///
    /// let (left, right) = Socket::pair()?;
    /// left.send_all(b"one")?;
    /// left.send_all(b"two")?;
    /// drop(left);
    /// assert_eq!(right.recv(5)?, b"onetw", "a stream has no borders");
    /// assert_eq!(right.recv(5)?, b"o");
    /// assert_eq!(right.recv(5)?, b"", "the end");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv(&self, max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; max];
        let len = self.recv_into(&mut bytes)?;
        bytes.truncate(len);
        bytes.shrink_to_fit();
        Ok(bytes)
    }

    /// The same into a buffer, without a `Vec` for each call; how many bytes it were.
    ///
    /// # Errors
    /// As [`Socket::recv`].
    ///
    /// ```
    /// use gateloop::client::socket::Socket;
    ///
    /// let (left, right) = Socket::pair()?;
    /// left.send_all(b"abc")?;
    /// let mut buffer = [0; 100];
    /// let len = right.recv_into(&mut buffer)?;
    /// assert_eq!(&buffer[..len], b"abc");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv_into(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv_within(buffer, RecvFlags::empty(), self.mode.wait())
    }

    /// Fills the buffer. A time-out is a deadline for all of it.
    ///
    /// # Errors
    /// Those of [`Socket::recv`], and [`io::ErrorKind::UnexpectedEof`] if the end comes first. What
    /// has come lies in the buffer, and is counted: nothing is lost.
    ///
    /// ```
    /// use gateloop::client::socket::{Errno, Socket};
    ///
    /// let (left, mut right) = Socket::pair()?;
    /// right.set_blocking(false)?;
    /// left.send_all(b"half")?;
    /// let mut word = *b"........";
    /// let partial = right.recv_exact(&mut word).unwrap_err();
    /// assert_eq!((partial.bytes, &word), (4, b"half...."));
    /// assert_eq!(Errno::of(&partial.error), Some(Errno::EAGAIN));
    ///
    /// left.send_all(b"done")?;
    /// right.recv_exact(&mut word[partial.bytes..])?;
    /// assert_eq!(&word, b"halfdone");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv_exact(&self, buffer: &mut [u8]) -> Result<(), Partial> {
        let (wait, mut bytes) = (self.mode.wait(), 0);
        while bytes < buffer.len() {
            match self.recv_within(&mut buffer[bytes..], RecvFlags::empty(), wait) {
                Ok(0) => {
                    let error = io::ErrorKind::UnexpectedEof.into();
                    return Err(Partial { bytes, error });
                }
                Ok(len) => bytes += len,
                Err(error) => return Err(Partial { bytes, error }),
            }
        }
        Ok(())
    }

    /// What [`Socket::recv`] would give, and leaves it there.
    ///
    /// # Errors
    /// As [`Socket::recv`].
    ///
    /// ```
    /// use gateloop::client::socket::Socket;
    ///
    /// let (left, right) = Socket::pair()?;
    /// left.send_all(b"who is it?")?;
    /// assert_eq!(right.peek(3)?, b"who");
    /// assert_eq!(right.recv(100)?, b"who is it?");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peek(&self, max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; max];
        let len = self.recv_within(&mut bytes, RecvFlags::PEEK, self.mode.wait())?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Sends one datagram to this address; its length.
    ///
    /// # Errors
    /// | errno | when |
    /// |---|---|
    /// | `EMSGSIZE` | longer than 65 507 bytes |
    /// | `EACCES` | a broadcast address |
    /// | `EAFNOSUPPORT` | the address is of another family |
    /// | `EPIPE` | TCP, not connected (connected, the address is passed over) |
    /// | `EISCONN`, `EOPNOTSUPP` | a Unix socket, connected or not |
    ///
    /// Where the kernel's buffer is full, as [`Socket::send`].
    ///
    /// ```
    /// use gateloop::client::socket::Socket;
    ///
    /// let (server, client) = (Socket::udp()?, Socket::udp()?);
    /// server.bind(&"127.0.0.1:0".parse()?)?;
    /// client.send_to(b"one", &server.local_name()?)?;
    /// client.send_to(b"two", &server.local_name()?)?;
    /// let (bytes, from) = server.recv_from(100)?;
    /// assert_eq!(bytes, b"one", "borders are kept");
    /// server.send_to(b"to you", &from)?;
    /// assert_eq!(client.recv(100)?, b"to you");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_to(&self, bytes: &[u8], to: &Address) -> io::Result<usize> {
        let (to, flags) = (to_system(to)?, SEND.bits().cast_signed());
        self.call(PollFlags::OUT, self.mode.wait(), || {
            self.inner.send_to_with_flags(bytes, &to, flags)
        })
    }

    /// Receives one datagram, and who sent it. What is longer than `max` loses its rest. On a
    /// stream it is [`Socket::recv`], and the sender has no name.
    ///
    /// # Errors
    /// As [`Socket::recv`].
    ///
    /// ```
    /// use gateloop::client::socket::Socket;
    ///
    /// let (server, client) = (Socket::udp()?, Socket::udp()?);
    /// server.bind(&"127.0.0.1:0".parse()?)?;
    /// client.send_to(b"four and more", &server.local_name()?)?;
    /// let (bytes, from) = server.recv_from(4)?;
    /// assert_eq!(bytes, b"four", "the rest is lost");
    /// assert_eq!(from.to_string().split(':').next(), Some("127.0.0.1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_from(&self, max: usize) -> io::Result<(Vec<u8>, Address)> {
        let mut bytes = vec![0; max];
        let (len, from) = self.call(PollFlags::IN, self.mode.wait(), || {
            let received = rustix::net::recvfrom(&self.inner, &mut bytes[..], RecvFlags::empty());
            let (len, _, from) = received?;
            Ok((len, from))
        })?;
        bytes.truncate(len);
        bytes.shrink_to_fit();
        let from = from.and_then(|from: SocketAddrAny| from.try_into().ok());
        Ok((bytes, from.map_or(Address::Unix("".into()), Address::Tcp)))
    }

    pub(crate) fn send_all_within(&self, bytes: &[u8], wait: Wait) -> Result<(), Partial> {
        let mut sent = 0;
        // Also nothing is sent once: it is a datagram.
        loop {
            match self.send_within(&bytes[sent..], wait) {
                Ok(len) => sent += len,
                Err(error) => return Err(Partial { bytes: sent, error }),
            }
            if sent == bytes.len() {
                return Ok(());
            }
        }
    }

    pub(crate) fn recv_some_within(&self, buffer: &mut [u8], wait: Wait) -> io::Result<usize> {
        self.recv_within(buffer, RecvFlags::empty(), wait)
    }

    fn send_within(&self, bytes: &[u8], wait: Wait) -> io::Result<usize> {
        self.call(PollFlags::OUT, wait, || {
            Ok(rustix::net::send(&self.inner, bytes, SEND)?)
        })
    }

    fn recv_within(&self, buffer: &mut [u8], flags: RecvFlags, wait: Wait) -> io::Result<usize> {
        self.call(PollFlags::IN, wait, || {
            let (len, _) = rustix::net::recv(&self.inner, &mut *buffer, flags)?;
            Ok(len)
        })
    }
}

/// Reads and writes in the socket's mode.
impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv_into(buffer)
    }
}

/// Reads and writes in the socket's mode.
impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
