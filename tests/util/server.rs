//! A real server on a thread of the test, and raw clients that speak bytes to it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use gateloop::address::Address;
use gateloop::error::CloseReason;
use gateloop::protocol::HandshakeRules;
use gateloop::server::{Config, Outcome, Server, StopHandle};
use gateloop::service::Service;
use gateloop::stats::Stats;

use super::PATIENCE;

/// A running server. Dropping it cuts everybody off and waits for its end.
pub struct TestServer {
    pub address: SocketAddr,
    pub stats: Arc<Stats>,
    pub stop: StopHandle,
    thread: Option<JoinHandle<io::Result<Outcome>>>,
}

/// No handshake, a free port, the default limits.
pub fn open_config() -> Config {
    let mut config = Config::new(HandshakeRules::None);
    config.listen = vec![Address::Tcp(([127, 0, 0, 1], 0).into())];
    config
}

impl TestServer {
    pub fn start(config: Config, service: impl Service) -> Self {
        let server = Server::bind(config, service).expect("a server that can start");
        let Some(Address::Tcp(address)) = server.addresses().first().cloned() else {
            panic!("the first address is of TCP")
        };
        let (stats, stop) = (server.stats(), server.stop_handle());
        let thread = Some(std::thread::spawn(move || server.run()));
        Self {
            address,
            stats,
            stop,
            thread,
        }
    }

    /// Waits for the server's own end, after an order to stop.
    pub fn wait(mut self) -> Outcome {
        let thread = self.thread.take().expect("is waited for once");
        thread
            .join()
            .expect("no panic")
            .expect("no error of the poll")
    }

    pub fn closes(&self, reason: CloseReason) -> u64 {
        self.stats.closes(reason)
    }

    pub fn connect(&self) -> Raw {
        Raw::connect(self.address)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.abort();
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, was printed; a second one here would hide the test's own.
            let _ = thread.join();
        }
    }
}

/// A socket to the server. Every call fails after [`PATIENCE`] instead of waiting for ever.
pub struct Raw(pub TcpStream);

impl Raw {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time-out");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Self(stream)
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the server takes it");
    }

    /// Sends a message with its `i32be` header.
    pub fn send_frame(&mut self, payload: &[u8]) {
        self.send(&frame(payload));
    }

    pub fn recv(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).expect("the server answers");
        bytes
    }

    /// Receives a message with its `i32be` header.
    pub fn recv_frame(&mut self) -> Vec<u8> {
        let header = self.recv(4).try_into().expect("four bytes");
        self.recv(usize::try_from(i32::from_be_bytes(header)).expect("a length"))
    }

    /// Everything up to the server's FIN.
    pub fn recv_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0
            .read_to_end(&mut bytes)
            .expect("the server's FIN, not a reset");
        bytes
    }

    /// Waits until the connection is over, by FIN or reset.
    pub fn wait_for_end(&mut self) {
        let mut bytes = [0; 65536];
        loop {
            match self.0.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
                Err(error) => panic!("no end of the connection: {error}"),
            }
        }
    }

    pub fn shutdown_write(&self) {
        self.0.shutdown(Shutdown::Write).expect("a connection");
    }

    /// Closes with a reset.
    pub fn reset(self) {
        let socket = socket2::Socket::from(self.0);
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
    }
}

/// A payload with its `i32be` header.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let len = i32::try_from(payload.len()).expect("a short payload");
    [&len.to_be_bytes(), payload].concat()
}

/// Resident memory of this process, in bytes.
pub fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a line VmRSS");
    let kib: usize = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number");
    kib * 1024
}
