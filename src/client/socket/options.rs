//! The options of a socket, each with the type of its value.

use std::fmt;
use std::io;
use std::time::Duration;

use super::Socket;

/// An option and the type of its value.
pub struct SocketOption<T> {
    name: &'static str,
    read: fn(&socket2::Socket) -> io::Result<T>,
    write: fn(&socket2::Socket, T) -> io::Result<()>,
}

// Derived, they would ask the same of `T`.
impl<T> Copy for SocketOption<T> {}

impl<T> Clone for SocketOption<T> {
    fn clone(&self) -> Self {
        *self
    }
}

/// As the kernel names it.
impl<T> fmt::Debug for SocketOption<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident: $value:ty = $read:ident, $write:ident;)*) => {
        $(
            $(#[$doc])*
            pub const $name: SocketOption<$value> = SocketOption {
                name: stringify!($name),
                read: socket2::Socket::$read,
                write: socket2::Socket::$write,
            };
        )*
    };
}

options! {
    /// Each `send` goes out at once. Else a small one waits, for more to go with it, until what was
    /// sent before is acknowledged (Nagle's algorithm), which a peer may put off for 40 ms.
    TCP_NODELAY: bool = tcp_nodelay, set_tcp_nodelay;
    /// A peer that is silent is asked now and then whether it is there: after two hours, unless the
    /// system is set otherwise.
    SO_KEEPALIVE: bool = keepalive, set_keepalive;
    /// `bind` to an address that closed connections of before still hold in `TIME_WAIT`. Without it
    /// a server cannot be started again for a minute. Two listeners it does not allow.
    SO_REUSEADDR: bool = reuse_address, set_reuse_address;
    /// Several sockets of one user share an address, if each has set this before `bind`: the kernel
    /// spreads the connections over those that listen.
    SO_REUSEPORT: bool = reuse_port, set_reuse_port;
    /// Room for what is sent and not acknowledged, in bytes. Linux doubles what is set, for its own
    /// bookkeeping, and reads out the double.
    SO_SNDBUF: usize = send_buffer_size, set_send_buffer_size;
    /// Room for what has come and is not read, in bytes, doubled as [`SO_SNDBUF`]. It bounds what a
    /// peer may have on its way: set it before `connect` or `listen`.
    SO_RCVBUF: usize = recv_buffer_size, set_recv_buffer_size;
    /// How long closing waits for what is not delivered, in whole seconds; on Linux also that of a
    /// socket that does not block. `None`: it goes on in the background. Zero: what is left is
    /// thrown away, and the peer is cut off by a reset.
    SO_LINGER: Option<Duration> = linger, set_linger;
}

impl Socket {
    /// `getsockopt`: the value of an option.
    ///
    /// # Errors
    /// | errno | when |
    /// |---|---|
    /// | `EOPNOTSUPP` | a socket of its kind has no such option |
    ///
    /// ```
    /// use gateloop::client::socket::Socket;
    /// use gateloop::client::socket::options::{SO_RCVBUF, TCP_NODELAY};
    ///
    /// let socket = Socket::tcp()?;
    /// assert!(!socket.option(TCP_NODELAY)?);
    /// socket.set_option(TCP_NODELAY, true)?;
    /// assert!(socket.option(TCP_NODELAY)?);
    ///
    /// socket.set_option(SO_RCVBUF, 10_000)?;
    /// assert_eq!(socket.option(SO_RCVBUF)?, 20_000, "Linux doubles it");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn option<T>(&self, option: SocketOption<T>) -> io::Result<T> {
        (option.read)(&self.inner)
    }

    /// `setsockopt`: sets an option.
    ///
    /// # Errors
    /// | errno | when |
    /// |---|---|
    /// | `EOPNOTSUPP` | a Unix socket has no such option |
    /// | `ENOPROTOOPT` | UDP has no such option |
    ///
    /// ```
    /// use gateloop::client::socket::{Errno, Socket};
    /// use gateloop::client::socket::options::TCP_NODELAY;
    ///
    /// let refused = Socket::udp()?.set_option(TCP_NODELAY, true).unwrap_err();
    /// assert_eq!(Errno::of(&refused), Some(Errno::ENOPROTOOPT));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_option<T>(&self, option: SocketOption<T>, value: T) -> io::Result<()> {
        (option.write)(&self.inner, value)
    }
}
