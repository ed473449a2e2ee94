//! The system's codes by their names.

use std::fmt;
use std::io;

/// A code in which a system call can end. It prints as its name.
///
/// ```
/// use gateloop::client::socket::Errno;
///
/// let error = std::fs::File::open("/no/such/path").unwrap_err();
/// let errno = Errno::of(&error).unwrap();
/// assert_eq!(errno, Errno::ENOENT);
/// assert_eq!((errno.to_string(), errno.code()), ("ENOENT".into(), 2));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// The code that an error carries; `None` if it is none of the system's, as is that of a
    /// time-out that passed.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        error.raw_os_error().map(Self)
    }

    /// Its number, which depends on the system.
    #[must_use]
    pub fn code(self) -> i32 {
        self.0
    }
}

impl From<i32> for Errno {
    fn from(code: i32) -> Self {
        Self(code)
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

impl std::error::Error for Errno {}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! named {
    ($($name:ident = $rustix:ident: $meaning:literal,)*) => {
        impl Errno {
            $(
                #[doc = $meaning]
                pub const $name: Self = Self(rustix::io::Errno::$rustix.raw_os_error());
            )*

            /// Its name; `None` if no call of a socket is known to end in it.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

named! {
    EACCES = ACCESS: "The rights do not suffice.",
    EADDRINUSE = ADDRINUSE: "Somebody else has the address.",
    EADDRNOTAVAIL = ADDRNOTAVAIL: "The address is none of this machine's, or no port is left.",
    EAFNOSUPPORT = AFNOSUPPORT: "The address is of another family than the socket.",
    EAGAIN = AGAIN: "Not now: the call would have to wait. The same code as `EWOULDBLOCK`.",
    EALREADY = ALREADY: "An earlier `connect` is still going on.",
    EBADF = BADF: "No open descriptor.",
    ECONNABORTED = CONNABORTED: "The connection failed, and for what reason was asked before.",
    ECONNREFUSED = CONNREFUSED: "Nobody listens there.",
    ECONNRESET = CONNRESET: "The peer has cut the connection.",
    EDESTADDRREQ = DESTADDRREQ: "A datagram without a receiver.",
    EHOSTUNREACH = HOSTUNREACH: "No way leads to that machine.",
    EINPROGRESS = INPROGRESS: "The connection is on its way; the call does not wait for it.",
    EINTR = INTR: "A signal came first.",
    EINVAL = INVAL: "The socket is not in a state for this.",
    EISCONN = ISCONN: "Connected already.",
    EMFILE = MFILE: "The process has no descriptor left.",
    EMSGSIZE = MSGSIZE: "Too long for a datagram.",
    ENETUNREACH = NETUNREACH: "No way leads to that network.",
    ENFILE = NFILE: "The system has no descriptor left.",
    ENOBUFS = NOBUFS: "The kernel has no memory for it.",
    ENOENT = NOENT: "No such path.",
    ENOMEM = NOMEM: "The kernel has no memory for it.",
    ENOPROTOOPT = NOPROTOOPT: "The protocol has no such option.",
    ENOTCONN = NOTCONN: "Not connected.",
    EOPNOTSUPP = OPNOTSUPP: "Not for this kind of socket.",
    EPIPE = PIPE: "The sending half is closed.",
    EPROTOTYPE = PROTOTYPE: "The socket at that path is of another kind.",
    ETIMEDOUT = TIMEDOUT: "The peer's machine has not answered for as long as the kernel tries.",
}
