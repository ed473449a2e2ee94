//! Datagrams as a test's client sends and receives them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::SystemTime;

use gateloop::protocol::Key;
use gateloop::protocol::datagram::{self, Header, Id, Kind};

use super::PATIENCE;

pub const PING: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
pub const PONG: &[u8] = br#"{"jsonrpc":"2.0","result":"pong","id":1}"#;

/// The time that datagrams are dated by.
pub fn unix_ms() -> u64 {
    let since_1970 = SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock that is set");
    u64::try_from(since_1970.as_millis()).expect("this millennium")
}

/// An id that nobody has used.
pub fn new_id() -> Id {
    let mut id = Id::default();
    getrandom::fill(&mut id).expect("randomness");
    id
}

/// A request of this moment under a new id.
pub fn request(key: &Key, payload: &[u8]) -> Vec<u8> {
    request_at(key, unix_ms(), &new_id(), payload)
}

pub fn request_at(key: &Key, sent_at_ms: u64, id: &Id, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram::seal(key, Kind::Request, sent_at_ms, id, payload, &mut datagram);
    datagram
}

/// The id that a datagram carries.
pub fn id_of(key: &Key, datagram: &[u8]) -> Id {
    datagram::open(key, datagram).expect("one of ours").0.id
}

/// A socket to one address of a server. A call that gets nothing fails after [`PATIENCE`].
pub struct RawDatagrams(pub UdpSocket);

impl RawDatagrams {
    pub fn to(server: SocketAddr) -> Self {
        let any = if server.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any).expect("a free port");
        socket.connect(server).expect("a way to the server");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Self(socket)
    }

    pub fn send(&self, datagram: &[u8]) {
        let sent = self.0.send(datagram).expect("the kernel takes it");
        assert_eq!(sent, datagram.len());
    }

    pub fn recv(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let len = self.0.recv(&mut buffer).expect("the server answers");
        buffer.truncate(len);
        buffer
    }

    /// Sends a request, and expects the next datagram to be its reply. The reply's payload.
    pub fn ask(&self, key: &Key, payload: &[u8]) -> Vec<u8> {
        let request = request(key, payload);
        self.send(&request);
        self.recv_reply_to(key, &request)
    }

    /// Expects the next datagram to be the reply to this request. Its payload.
    pub fn recv_reply_to(&self, key: &Key, request: &[u8]) -> Vec<u8> {
        let reply = self.recv();
        let (header, payload) = datagram::open(key, &reply).expect("the server's key");
        let Header { kind, id, .. } = header;
        assert_eq!((kind, id), (Some(Kind::Reply), id_of(key, request)));
        assert!(header.sent_at_ms.abs_diff(unix_ms()) < PATIENCE.as_millis() as u64);
        payload.to_vec()
    }

    /// Whether nobody receives datagrams there any more, which takes a datagram to find out.
    pub fn is_refused(&self) -> bool {
        // The kernel hands the refusal of one datagram to the next call.
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        self.0.send(b"").is_err_and(refused)
    }
}
