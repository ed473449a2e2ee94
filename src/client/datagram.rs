//! A blocking client for datagrams: one request, one reply, each in a datagram.

use std::time::{Duration, SystemTime};

use super::Error;
use super::socket::{Partial, Socket};
use crate::address::{Address, UdpAddress};
use crate::limits::DATAGRAM_BUFFER_BYTES;
use crate::protocol::datagram::{self, Header, Id, Kind};
use crate::protocol::{HandshakeRules, Key};

/// Asks a server in datagrams.
///
/// A request or its reply may be lost, and the server says nothing to what it drops: then a call
/// times out. It is not sent again by itself, as it may well have been served, and the server would
/// serve it twice: a new request has a new id. Whoever may ask twice calls twice.
///
/// The clock of this machine must be within 30 s of the server's.
#[derive(Debug)]
pub struct DatagramClient {
    socket: Socket,
    key: Option<Key>,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

impl DatagramClient {
    /// Makes a socket for this one server. Nothing is sent. Of the handshake it takes the key; the
    /// time-out is each call's, and `None` waits for ever.
    ///
    /// # Errors
    /// If the system has no such socket, or no way to the address.
    pub fn new(
        server: UdpAddress,
        handshake: &HandshakeRules,
        timeout: Option<Duration>,
    ) -> Result<Self, Error> {
        let mut socket = match server.0.is_ipv4() {
            true => Socket::udp()?,
            false => Socket::udp6()?,
        };
        // The kernel then takes nothing from others, and passes on that nobody listens there.
        socket.connect(&Address::Tcp(server.0))?;
        socket.set_timeout(timeout)?;
        Ok(Self {
            socket,
            key: handshake.key().cloned(),
            out: Vec::new(),
            buffer: vec![0; DATAGRAM_BUFFER_BYTES],
        })
    }

    /// Sends a request, and waits for its reply.
    ///
    /// Without a key nothing tells a reply from another one that comes late, but what it says; and
    /// the server sends none that is longer than the request.
    ///
    /// # Errors
    /// [`Error::TimedOut`] if no reply comes that has the request's id and was made with the key.
    /// [`Error::Io`] if the request is too long for a datagram (EMSGSIZE), or nobody receives
    /// datagrams there (ECONNREFUSED), as far as that is told.
    pub fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, Error> {
        let wait = self.socket.mode().wait();
        let mut id = Id::default();
        getrandom::fill(&mut id).expect("the kernel gives random bytes");
        self.out.clear();
        match &self.key {
            Some(key) => {
                let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
                let now_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
                datagram::seal(key, Kind::Request, now_ms, &id, request, &mut self.out);
            }
            None => self.out.extend_from_slice(request),
        }
        let sent = self.socket.send_all_within(&self.out, wait);
        sent.map_err(|Partial { error, .. }| error)?;
        loop {
            let len = self.socket.recv_some_within(&mut self.buffer, wait)?;
            if let Some(reply) = reply(self.key.as_ref(), &id, &self.buffer[..len]) {
                return Ok(reply.to_vec());
            }
        }
    }
}

/// The payload of a datagram that answers the request with this id. Any other is as good as none.
fn reply<'a>(key: Option<&Key>, id: &Id, datagram: &'a [u8]) -> Option<&'a [u8]> {
    let Some(key) = key else {
        return Some(datagram);
    };
    match datagram::open(key, datagram) {
        Ok((
            Header {
                kind: Some(Kind::Reply),
                id: answered,
                ..
            },
            payload,
        )) if answered == *id => Some(payload),
        _ => None,
    }
}
