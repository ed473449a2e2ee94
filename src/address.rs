//! Where to listen and whom to call: an IP address with a port, or the path of a Unix socket.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// What precedes the path of a Unix socket.
const UNIX_PREFIX: &str = "unix:";

/// What precedes the address of a datagram socket where a stream's could be meant.
const UDP_PREFIX: &str = "udp:";

/// An address of a stream socket.
///
/// Its text is `127.0.0.1:9090`, `[::1]:9090`, `localhost:9090` (a name is looked up at once and
/// stands for the first of its addresses) or `unix:/run/gateloop.sock`.
///
/// ```
/// use gateloop::address::Address;
///
/// let address: Address = "[::1]:9090".parse()?;
/// assert!(address.is_local());
/// assert_eq!(address.to_string(), "[::1]:9090");
/// # Ok::<(), gateloop::address::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine can reach it: a loopback address or a Unix socket.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => is_loopback(address),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX_PREFIX}{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// May block: a host name is looked up.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix(UNIX_PREFIX) {
            return match path {
                "" => Err(AddressError::NoPath),
                path => Ok(Self::Unix(path.into())),
            };
        }
        resolve(text).map(Self::Tcp)
    }
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// HOST:PORT; a name stands for the first of its addresses.
fn resolve(text: &str) -> Result<SocketAddr, AddressError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
    let port: u16 = port.parse().map_err(|_| AddressError::BadPort)?;
    match host {
        "" => return Err(AddressError::NoHost),
        bare_ipv6 if bare_ipv6.contains(':') => return Err(AddressError::NoPort),
        _ => {}
    }
    let mut found = (host, port)
        .to_socket_addrs()
        .map_err(AddressError::NotFound)?;
    found
        .next()
        .ok_or_else(|| AddressError::NotFound(io::Error::other("the name stands for no address")))
}

/// An address of a datagram socket.
///
/// Its text is that of [`Address::Tcp`], with `udp:` before it where it is shown; where it is read,
/// that may be left out.
///
/// ```
/// use gateloop::address::UdpAddress;
///
/// let address: UdpAddress = "[::1]:9090".parse()?;
/// assert_eq!(address.to_string(), "udp:[::1]:9090");
/// assert_eq!("udp:[::1]:9090".parse::<UdpAddress>()?, address);
/// # Ok::<(), gateloop::address::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UdpAddress(pub SocketAddr);

impl UdpAddress {
    /// Whether the text names one beyond doubt: it has `udp:` before it.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(UDP_PREFIX)
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_loopback(&self.0)
    }
}

impl fmt::Display for UdpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{UDP_PREFIX}{}", self.0)
    }
}

impl FromStr for UdpAddress {
    type Err = AddressError;

    /// May block: a host name is looked up.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        resolve(text.strip_prefix(UDP_PREFIX).unwrap_or(text)).map(Self)
    }
}

/// Why a text is not an [`Address`] or a [`UdpAddress`].
#[derive(Debug)]
#[non_exhaustive]
pub enum AddressError {
    /// No `:` and port at its end.
    NoPort,
    /// What follows the last `:` is no number from 0 to 65535.
    BadPort,
    /// Nothing precedes the `:`.
    NoHost,
    /// `unix:` with nothing behind it.
    NoPath,
    /// The host name could not be looked up.
    NotFound(io::Error),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPort => f.write_str(
                "an address is HOST:PORT (such as 127.0.0.1:9090 or [::1]:9090) or unix:PATH",
            ),
            Self::BadPort => f.write_str("the port must be a number from 0 to 65535"),
            Self::NoHost => f.write_str(
                "the host is missing: 127.0.0.1 is this machine alone, 0.0.0.0 all of its networks",
            ),
            Self::NoPath => f.write_str("the path of the socket is missing after `unix:`"),
            Self::NotFound(error) => write!(f, "cannot look up the host: {error}"),
        }
    }
}

impl std::error::Error for AddressError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotFound(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn each_form_reads_back_as_it_was_written() {
        for text in [
            "127.0.0.1:9090",
            "[::1]:0",
            "0.0.0.0:65535",
            "unix:/run/gate loop.sock",
        ] {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(parse("unix:relative"), Address::Unix("relative".into()));
    }

    #[test]
    fn a_name_stands_for_an_address() {
        let Address::Tcp(address) = parse("localhost:9090") else {
            panic!("not TCP")
        };
        assert!(address.ip().is_loopback());
        assert_eq!(address.port(), 9090);
    }

    #[test]
    fn only_loopback_and_unix_are_local() {
        for text in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "unix:/x",
        ] {
            assert!(parse(text).is_local(), "{text}");
        }
        for text in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[2001:db8::1]:1"] {
            assert!(!parse(text).is_local(), "{text}");
        }
    }

    #[test]
    fn a_datagram_socket_is_named_with_its_scheme_or_without() {
        for text in ["127.0.0.1:9090", "udp:127.0.0.1:9090"] {
            let address: UdpAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), "udp:127.0.0.1:9090");
            assert_eq!(UdpAddress::is_meant(text), text.starts_with("udp:"));
            assert!(address.is_local());
        }
        let open: UdpAddress = "udp:[::]:1".parse().expect("an address");
        assert!(!open.is_local());
        let error = "udp:127.0.0.1".parse::<UdpAddress>();
        assert!(matches!(error, Err(AddressError::NoPort)), "{error:?}");
    }

    #[test]
    fn each_mistake_has_its_own_sentence() {
        let error = |text: &str| text.parse::<Address>().expect_err(text);
        assert!(matches!(error("127.0.0.1"), AddressError::NoPort));
        assert!(matches!(error(""), AddressError::NoPort));
        assert!(matches!(error("127.0.0.1:65536"), AddressError::BadPort));
        assert!(matches!(error("127.0.0.1:http"), AddressError::BadPort));
        assert!(matches!(error("::1"), AddressError::NoPort));
        assert!(matches!(error("::1:9090"), AddressError::NoPort));
        assert!(matches!(error(":9090"), AddressError::NoHost));
        assert!(matches!(error("unix:"), AddressError::NoPath));
        assert!(matches!(
            error("no such host.invalid:1"),
            AddressError::NotFound(_)
        ));
    }
}
