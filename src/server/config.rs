//! What a server is made of, and whether that can hold together.

use std::{fmt, io};

use crate::address::{Address, UdpAddress};
use crate::limits::{BACKLOG, DATAGRAM_SOCKETS_MAX, LISTENERS_MAX, Limits, REACTORS_MAX};
use crate::models::Model;
use crate::protocol::{FramingKind, HandshakeRules};

/// What a server is made of, beside its service.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen. Port 0 takes a free one.
    pub listen: Vec<Address>,
    /// Where to serve datagrams, beside that, proved with the handshake's key. For the model
    /// `reactor` alone.
    pub udp: Vec<UdpAddress>,
    /// Who may speak.
    pub handshake: HandshakeRules,
    /// Where a message ends.
    pub framing: FramingKind,
    /// Every bound.
    pub limits: Limits,
    /// How it waits for its clients.
    pub model: Model,
    /// Threads that serve, each with an event loop of its own. For the model `reactor` alone.
    pub reactors: usize,
    /// The kernel's queue of connections that wait to be accepted.
    pub backlog: u32,
    /// Whether the handshake `none` is allowed on addresses that other machines can reach.
    pub insecure: bool,
}

impl Config {
    /// One reactor on `127.0.0.1:9090` with the default limits.
    #[must_use]
    pub fn new(handshake: HandshakeRules) -> Self {
        Self {
            listen: vec![Address::Tcp(([127, 0, 0, 1], 9090).into())],
            udp: Vec::new(),
            handshake,
            framing: FramingKind::default(),
            limits: Limits::default(),
            model: Model::default(),
            reactors: 1,
            backlog: BACKLOG,
            insecure: false,
        }
    }

    /// Whether all of it can hold together.
    pub(super) fn check(&self) -> Result<(), BindError> {
        let refuse = |why: String| Err(BindError::Config(why));
        if self.listen.is_empty() {
            return refuse("no address to listen on".into());
        }
        if self.listen.len() > LISTENERS_MAX {
            return refuse(format!("more than {LISTENERS_MAX} addresses to listen on"));
        }
        if self.udp.len() > DATAGRAM_SOCKETS_MAX {
            return refuse(format!(
                "more than {DATAGRAM_SOCKETS_MAX} addresses for datagrams"
            ));
        }
        if !self.udp.is_empty() && self.model != Model::Reactor {
            return refuse(format!(
                "datagrams are the event loop's, and the model {} has none: choose the model \
                 reactor",
                self.model
            ));
        }
        if !(1..=REACTORS_MAX).contains(&self.reactors) {
            return refuse(format!("reactors must be from 1 to {REACTORS_MAX}"));
        }
        if self.reactors > 1 && self.model != Model::Reactor {
            return refuse(format!(
                "reactors ({}) are event loops, and the model {} has none: choose the model \
                 reactor",
                self.reactors, self.model
            ));
        }
        if let Err(why) = self.limits.check() {
            return refuse(why);
        }
        let (strangers, all) = (self.limits.strangers_max, self.limits.connections_max);
        if !matches!(self.handshake, HandshakeRules::None) && all > 1 && strangers >= all {
            return refuse(format!(
                "max-unauthenticated ({strangers}) must lie below max-connections ({all}), or \
                 strangers could take every place"
            ));
        }
        let open = self.listen.iter().find(|address| !address.is_local());
        let open_udp = self.udp.iter().find(|address| !address.is_local());
        let open = open.map(ToString::to_string);
        match (
            &self.handshake,
            open.or_else(|| open_udp.map(ToString::to_string)),
        ) {
            (HandshakeRules::None, Some(address)) if !self.insecure => refuse(format!(
                "handshake none on {address} would let everybody in: choose a loopback address \
                 or a Unix socket, or say --insecure"
            )),
            _ => Ok(()),
        }
    }
}

/// Why a server could not be made. Its text is one line for the operator.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The configuration contradicts itself.
    Config(String),
    /// An address could not be listened on.
    Listen(Address, io::Error),
    /// Datagrams could not be received on an address.
    ListenUdp(UdpAddress, io::Error),
    /// The system refused what every reactor needs.
    System(io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(why) => f.write_str(why),
            Self::Listen(address, error) => cannot_listen(f, address, error),
            Self::ListenUdp(address, error) => cannot_listen(f, address, error),
            Self::System(error) => write!(f, "cannot start: {error}"),
        }
    }
}

fn cannot_listen(
    f: &mut fmt::Formatter<'_>,
    address: &dyn fmt::Display,
    error: &io::Error,
) -> fmt::Result {
    match error.kind() {
        io::ErrorKind::AddrInUse => write!(f, "cannot listen on {address}: it is in use"),
        _ => write!(f, "cannot listen on {address}: {error}"),
    }
}

impl std::error::Error for BindError {}
