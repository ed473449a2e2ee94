//! A socket as the field knows it: the methods of Python's `socket`, with types.
//!
//! | Python | here |
//! |---|---|
//! | `socket(AF_INET, SOCK_STREAM)`, `socketpair` | [`Socket::tcp`], [`Socket::udp`], [`Socket::unix`], [`Socket::pair`] |
//! | `bind`, `listen`, `accept` | [`Socket::bind`], [`Socket::listen`], [`Socket::accept`] |
//! | `connect`, `connect_ex` | [`Socket::connect`], [`Socket::connect_ex`] |
//! | `send`, `sendall` | [`Socket::send`], [`Socket::send_all`] |
//! | `recv`, `recv_into`, `MSG_WAITALL`, `MSG_PEEK` | [`Socket::recv`], [`Socket::recv_into`], [`Socket::recv_exact`], [`Socket::peek`] |
//! | `sendto`, `recvfrom` | [`Socket::send_to`], [`Socket::recv_from`] |
//! | `shutdown`, `close` | [`Socket::shutdown`], dropping it |
//! | `getpeername`, `getsockname` | [`Socket::peer_name`], [`Socket::local_name`] |
//! | `setblocking`, `settimeout`, `gettimeout` | [`Socket::set_blocking`], [`Socket::set_timeout`], [`Socket::timeout`]; [`Mode`] |
//! | `getsockopt`, `setsockopt` | [`Socket::option`], [`Socket::set_option`]; [`options`] |
//! | `fileno`, `detach` | [`AsFd`], [`AsRawFd`], `OwnedFd::from` |
//! | `makefile` | [`Socket::make_file`] |
//! | `errno` | [`Errno`] |
//!
//! ```
//! use std::net::Shutdown;
//! use std::time::Duration;
//! use gateloop::client::socket::Socket;
//!
//! let listener = Socket::tcp()?;
//! listener.bind(&"127.0.0.1:0".parse()?)?;
//! listener.listen(16)?;
//!
//! let mut client = Socket::tcp()?;
//! client.set_timeout(Some(Duration::from_secs(3)))?;
//! client.connect(&listener.local_name()?)?;
//! let (server, _) = listener.accept()?;
//!
//! client.send_all(b"all of it")?;
//! client.shutdown(Shutdown::Write)?;
//! assert_eq!(server.recv(3)?, b"all");
//! assert_eq!(server.recv(100)?, b" of it");
//! assert_eq!(server.recv(100)?, b"");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The table at each method has the codes that it can end in on Linux, from the manual pages
//! (`man 2 connect`, `man 7 tcp`, `man 7 unix`) and the kernel; each was provoked. `TimedOut`
//! stands for a time-out that has passed: an [`io::ErrorKind`] without a code. Besides, any call
//! may end in what the network has to say (`EHOSTUNREACH`, `ENETUNREACH`, and `ETIMEDOUT`, the
//! kernel's own patience with a silent peer), or in the kernel's want of memory (`ENOBUFS`,
//! `ENOMEM`). None ends in `EINTR`: what a signal has interrupted goes on.

mod connect;
mod errno;
mod file;
mod mode;
pub mod options;
mod transfer;

use std::ffi::OsStr;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::event::PollFlags;
use socket2::{Domain, SockAddr, Type};

pub use self::errno::Errno;
pub use self::file::SocketFile;
pub use self::mode::Mode;
pub(super) use self::mode::Wait;
pub use self::transfer::Partial;
use crate::address::Address;

/// A socket: TCP, UDP, or a stream of the Unix family. A new one is [`Mode::Blocking`]. Dropping
/// it closes it; if bytes have come that nobody has read, the peer is cut off by a reset.
///
/// Addresses are those of [`Address`]; for UDP, [`Address::Tcp`] is an IP address and a UDP port.
/// A Unix socket without a name has the empty path, as in Python; a path that begins with a NUL is
/// one of Linux's abstract names.
#[derive(Debug)]
pub struct Socket {
    inner: socket2::Socket,
    mode: Mode,
}

impl Socket {
    /// A TCP socket for IPv4.
    ///
    /// # Errors
    /// | errno | when |
    /// |---|---|
    /// | `EMFILE` | the process has no descriptor left |
    ///
    /// ```
    /// use std::os::fd::AsRawFd;
    /// use gateloop::client::socket::Socket;
    ///
    /// assert!(Socket::tcp()?.as_raw_fd() > 2, "behind the standard streams");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn tcp() -> io::Result<Self> {
        Self::new(Domain::IPV4, Type::STREAM)
    }

    /// A TCP socket for IPv6.
    ///
    /// # Errors
    /// As [`Socket::tcp`]; `EAFNOSUPPORT` where the system has no IPv6.
    pub fn tcp6() -> io::Result<Self> {
        Self::new(Domain::IPV6, Type::STREAM)
    }

    /// A UDP socket for IPv4.
    ///
    /// # Errors
    /// As [`Socket::tcp`].
    ///
    /// ```
    /// use gateloop::client::socket::Socket;
    ///
    /// let (left, right) = (Socket::udp()?, Socket::udp()?);
    /// right.bind(&"127.0.0.1:0".parse()?)?;
    /// left.connect(&right.local_name()?)?;
    /// left.send(b"")?;
    /// assert_eq!(right.recv(100)?, b"", "an empty datagram, not the end");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn udp() -> io::Result<Self> {
        Self::new(Domain::IPV4, Type::DGRAM)
    }

    /// A UDP socket for IPv6.
    ///
    /// # Errors
    /// As [`Socket::tcp6`].
    pub fn udp6() -> io::Result<Self> {
        Self::new(Domain::IPV6, Type::DGRAM)
    }

    /// A stream socket of the Unix family.
    ///
    /// # Errors
    /// As [`Socket::tcp`].
    ///
    /// ```
    /// use gateloop::address::Address;
    /// use gateloop::client::socket::Socket;
    ///
    /// let (listener, client) = (Socket::unix()?, Socket::unix()?);
    /// listener.bind(&Address::Unix("".into()))?; // The kernel chooses an abstract name.
    /// listener.listen(1)?;
    /// client.connect(&listener.local_name()?)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn unix() -> io::Result<Self> {
        Self::new(Domain::UNIX, Type::STREAM)
    }

    /// A stream socket that can connect to this address.
    ///
    /// # Errors
    /// As [`Socket::tcp6`].
    ///
    /// ```
    /// use gateloop::client::socket::Socket;
    ///
    /// let address = "127.0.0.1:9090".parse()?;
    /// assert_eq!(Socket::stream_to(&address)?.local_name()?, "0.0.0.0:0".parse()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stream_to(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) if address.is_ipv4() => Self::tcp(),
            Address::Tcp(_) => Self::tcp6(),
            Address::Unix(_) => Self::unix(),
        }
    }

    /// Two stream sockets of the Unix family, connected to each other.
    ///
    /// # Errors
    /// As [`Socket::tcp`].
    ///
    /// ```
    /// use gateloop::client::socket::Socket;
    ///
    /// let (left, right) = Socket::pair()?;
    /// left.send_all(b"to the right")?;
    /// assert_eq!(right.recv(100)?, b"to the right");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pair() -> io::Result<(Self, Self)> {
        let (left, right) = socket2::Socket::pair(Domain::UNIX, Type::STREAM, None)?;
        Ok((Self::from_blocking(left), Self::from_blocking(right)))
    }

    fn new(family: Domain, kind: Type) -> io::Result<Self> {
        socket2::Socket::new(family, kind, None).map(Self::from_blocking)
    }

    fn from_blocking(inner: socket2::Socket) -> Self {
        let mode = Mode::Blocking;
        Self { inner, mode }
    }

    /// Gives it a local name. Port 0 stands for any that is free, the empty path of a Unix socket
    /// for any abstract name.
    ///
    /// # Errors
    /// | errno | when |
    /// |---|---|
    /// | `EADDRINUSE` | somebody else has the address, or a file has the path |
    /// | `EADDRNOTAVAIL` | the address is none of this machine's |
    /// | `EAFNOSUPPORT` | the address is of another family |
    /// | `EINVAL` | it has a name, or the address is of another family and shorter |
    /// | `ENOENT` | the path's folder is missing |
    ///
    /// `EACCES` where a port below 1024, or a folder, is not the user's to have.
    ///
    /// ```
    /// use gateloop::address::Address;
    /// use gateloop::client::socket::{Errno, Socket};
    ///
    /// let (first, second) = (Socket::tcp()?, Socket::tcp()?);
    /// first.bind(&"127.0.0.1:0".parse()?)?;
    /// let taken = second.bind(&first.local_name()?).unwrap_err();
    /// assert_eq!(Errno::of(&taken), Some(Errno::EADDRINUSE));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bind(&self, address: &Address) -> io::Result<()> {
        self.inner.bind(&to_system(address)?)
    }

    /// Makes it a listener, whose queue holds one more than `backlog` connections that nobody has
    /// accepted yet. (The kernel caps it at `net.core.somaxconn`.)
    ///
    /// # Errors
    /// | errno | when |
    /// |---|---|
    /// | `EADDRINUSE` | another socket listens there; without a name: no port is free |
    /// | `EINVAL` | it is connected; or a Unix socket without a name |
    /// | `EOPNOTSUPP` | UDP |
    ///
    /// ```
    /// use gateloop::client::socket::{Errno, Socket};
    ///
    /// let refused = Socket::udp()?.listen(1).unwrap_err();
    /// assert_eq!(Errno::of(&refused), Some(Errno::EOPNOTSUPP));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen(&self, backlog: u32) -> io::Result<()> {
        self.inner.listen(backlog.try_into().unwrap_or(i32::MAX))
    }

    /// Takes the next connection from the queue, with the peer's name. What it gives is
    /// [`Mode::Blocking`], whatever this is (so in Python).
    ///
    /// # Errors
    /// | errno | when |
    /// |---|---|
    /// | `EAGAIN` | non-blocking, and the queue is empty |
    /// | `TimedOut` | nobody has come in time |
    /// | `EINVAL` | it does not listen |
    /// | `EOPNOTSUPP` | UDP |
    /// | `EMFILE` | the process has no descriptor left; the connection stays in the queue |
    ///
    /// ```
    /// use gateloop::client::socket::{Errno, Mode, Socket};
    ///
    /// let mut listener = Socket::tcp()?;
    /// listener.set_blocking(false)?;
    /// listener.bind(&"127.0.0.1:0".parse()?)?;
    /// listener.listen(1)?;
    /// assert_eq!(Errno::of(&listener.accept().unwrap_err()), Some(Errno::EAGAIN));
    ///
    /// let client = Socket::tcp()?;
    /// client.connect(&listener.local_name()?)?;
    /// let (server, name) = listener.accept()?;
    /// assert_eq!(name, client.local_name()?);
    /// assert_eq!(server.mode(), Mode::Blocking);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn accept(&self) -> io::Result<(Self, Address)> {
        let accept = || self.inner.accept();
        let (inner, name) = self.call(PollFlags::IN, self.mode.wait(), accept)?;
        Ok((Self::from_blocking(inner), from_system(&name)))
    }

    /// Closes one half of the connection, or both, for all who have the descriptor. The peer reads
    /// the end behind what was sent before; here, nothing more is read or sent.
    ///
    /// # Errors
    /// | errno | when |
    /// |---|---|
    /// | `ENOTCONN` | it is not connected |
    ///
    /// ```
    /// use std::net::Shutdown;
    /// use gateloop::client::socket::{Errno, Socket};
    ///
    /// let (left, right) = Socket::pair()?;
    /// left.send_all(b"my last word")?;
    /// left.shutdown(Shutdown::Write)?;
    /// assert_eq!(Errno::of(&left.send(b"no").unwrap_err()), Some(Errno::EPIPE));
    /// assert_eq!(right.recv(100)?, b"my last word");
    /// assert_eq!(right.recv(100)?, b"");
    /// right.send_all(b"but go on")?;
    /// assert_eq!(left.recv(100)?, b"but go on");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.inner.shutdown(how)
    }

    /// The name of the other side.
    ///
    /// # Errors
    /// | errno | when |
    /// |---|---|
    /// | `ENOTCONN` | it is not connected, or no longer |
    ///
    /// ```
    /// use gateloop::client::socket::{Errno, Socket};
    ///
    /// let lonely = Socket::tcp()?;
    /// assert_eq!(Errno::of(&lonely.peer_name().unwrap_err()), Some(Errno::ENOTCONN));
    /// assert_eq!(lonely.local_name()?, "0.0.0.0:0".parse()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn peer_name(&self) -> io::Result<Address> {
        Ok(from_system(&self.inner.peer_addr()?))
    }

    /// Its own name: what was bound, or what the kernel chose when it connected.
    ///
    /// # Errors
    /// None that is known of.
    ///
    /// ```
    /// use gateloop::address::Address;
    /// use gateloop::client::socket::Socket;
    ///
    /// let (left, _right) = Socket::pair()?;
    /// assert_eq!(left.local_name()?, Address::Unix("".into()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_name(&self) -> io::Result<Address> {
        Ok(from_system(&self.inner.local_addr()?))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

/// As `detach`: the descriptor lives on, in the mode that it is in.
impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.inner.into()
    }
}

fn to_system(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::Tcp(address) => Ok((*address).into()),
        Address::Unix(path) => SockAddr::unix(path),
    }
}

fn from_system(name: &SockAddr) -> Address {
    if let Some(address) = name.as_socket() {
        return Address::Tcp(address);
    }
    if let Some(path) = name.as_pathname() {
        return Address::Unix(path.into());
    }
    let name = name.as_abstract_namespace();
    let name = name.map_or_else(Vec::new, |name| [b"\0", name].concat());
    Address::Unix(PathBuf::from(OsStr::from_bytes(&name)))
}
