//! A real server on a thread of the test, and raw clients that speak bytes to it.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use gateloop::address::Address;
use gateloop::error::CloseReason;
use gateloop::limits::Limits;
use gateloop::protocol::handshake::{Step, mutual};
use gateloop::protocol::{HandshakeRules, Key};
use gateloop::server::{Config, Outcome, Server, StopHandle};
use gateloop::service::Service;
use gateloop::stats::Stats;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::measure::task_cpu_time;
use super::{PATIENCE, eventually};

/// A running server. Dropping it cuts everybody off and waits for its end.
pub struct TestServer {
    pub address: SocketAddr,
    /// Where it serves datagrams.
    pub udp: Vec<SocketAddr>,
    pub stats: Arc<Stats>,
    pub stop: StopHandle,
    /// Its first reactor's thread, as /proc knows it.
    task: PathBuf,
    thread: Option<JoinHandle<io::Result<Outcome>>>,
}

/// No handshake, a free port, the default limits.
pub fn open_config() -> Config {
    let mut config = Config::new(HandshakeRules::None);
    config.listen = vec![Address::Tcp(([127, 0, 0, 1], 0).into())];
    config
}

/// The handshake `mutual` under this key, a free port, the default limits.
pub fn keyed_config(key: &str) -> Config {
    Config {
        handshake: HandshakeRules::Mutual(rules(key)),
        ..open_config()
    }
}

/// Both sides of a test live in one process, so its clients answer its own challenges.
pub fn rules(key: &str) -> mutual::Rules {
    mutual::Rules {
        allow_own_challenges: true,
        ..mutual::Rules::new(Key::new(key).expect("a key"))
    }
}

/// A server without a handshake, under these limits.
pub fn start(limits: Limits, service: impl Service) -> TestServer {
    let config = Config {
        limits,
        ..open_config()
    };
    TestServer::start(config, service)
}

impl TestServer {
    pub fn start(config: Config, service: impl Service) -> Self {
        let server = Server::bind(config, service).expect("a server that can start");
        let Some(Address::Tcp(address)) = server.addresses().first().cloned() else {
            panic!("the first address is of TCP")
        };
        let udp = server.udp_addresses().iter().map(|udp| udp.0).collect();
        let (stats, stop) = (server.stats(), server.stop_handle());
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let task = Path::new("/proc").join(fs::read_link("/proc/thread-self")?);
            tell.send(task).expect("somebody waits");
            server.run()
        });
        Self {
            address,
            udp,
            stats,
            stop,
            task: told.recv().expect("a thread"),
            thread: Some(thread),
        }
    }

    /// Processor time that its first reactor has used.
    pub fn cpu_time(&self) -> Duration {
        task_cpu_time(&self.task).expect("a thread that is alive")
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

    /// Waits until `count` connections have ended for this reason, and no more have.
    pub fn wait_for_closes(&self, reason: CloseReason, count: u64) {
        eventually(reason.name(), || {
            let closes = self.closes(reason);
            assert!(closes <= count, "{closes} are {reason}, not {count}");
            (closes == count).then_some(())
        });
    }

    /// Waits until nobody is connected, nothing is held and each end is counted once.
    pub fn wait_until_empty(&self) {
        eventually("everybody is gone and nothing is held", || {
            let now = self.stats.snapshot();
            let closes: u64 = now.closes.0.iter().sum();
            assert!(closes <= now.accepted, "an end is counted twice: {now:?}");
            let empty = (now.open, now.strangers, now.buffer_bytes) == (0, 0, 0);
            (empty && closes == now.accepted).then_some(())
        });
    }

    /// Waits until this many clients are connected.
    pub fn wait_until_open(&self, count: usize) {
        eventually("they are connected", || {
            (self.stats.open.load(Relaxed) == count).then_some(())
        });
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

impl From<TcpStream> for Raw {
    fn from(stream: TcpStream) -> Self {
        let patience = Some(PATIENCE);
        stream.set_read_timeout(patience).expect("a time-out");
        stream.set_write_timeout(patience).expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Self(stream)
    }
}

impl Raw {
    pub fn connect(address: SocketAddr) -> Self {
        Self::from(TcpStream::connect(address).expect("the server listens"))
    }

    /// Connects from an address of this machine's own.
    pub fn connect_from(source: impl Into<IpAddr>, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
        let socket = socket.expect("a socket");
        let source = SocketAddr::new(source.into(), 0);
        socket.bind(&source.into()).expect("an address of ours");
        socket.connect(&address.into()).expect("the server listens");
        Self::from(TcpStream::from(socket))
    }

    /// Connects with little room for what comes, in small segments: the server soon finds that a
    /// write is not taken whole.
    pub fn connect_narrow(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
        let socket = socket.expect("a socket");
        socket.set_recv_buffer_size(4096).expect("an option");
        socket.set_tcp_mss(1024).expect("an option");
        socket.connect(&address.into()).expect("the server listens");
        Self::from(TcpStream::from(socket))
    }

    /// Passes the handshake `mutual` with this key.
    pub fn greet(&mut self, key: &str) {
        let mut client = mutual::Client::new(rules(key));
        let mut entropy = |bytes: &mut [u8]| getrandom::fill(bytes).expect("randomness");
        let mut step = Step::Continue;
        while step == Step::Continue {
            let mut out = Vec::new();
            let advanced = client.advance(&self.recv_frame(), &mut entropy, &mut out);
            step = advanced.expect("the server keeps to the protocol");
            self.send(&out);
        }
        assert!(matches!(step, Step::Passed(_)), "{step:?}");
    }

    /// Sends a message and expects the same one back.
    pub fn echo(&mut self, payload: &[u8]) {
        self.send_frame(payload);
        let answer = self.recv_frame();
        assert!(answer == payload, "another answer than was asked for");
    }

    /// Calls a method of the service `rpc`; its result.
    pub fn call(&mut self, method: &str) -> Value {
        let request = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method});
        self.send_frame(request.to_string().as_bytes());
        let mut answer: Value = serde_json::from_slice(&self.recv_frame()).expect("JSON");
        answer["result"].take()
    }

    pub fn local(&self) -> SocketAddr {
        self.0.local_addr().expect("a connection")
    }

    /// Whether nothing has come, and the connection is not over.
    pub fn is_silent(&self) -> bool {
        self.0.set_nonblocking(true).expect("an option");
        let peeked = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false).expect("an option");
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether nothing comes for so long, and the connection is not over then.
    pub fn stays_silent(&mut self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).expect("a time-out");
        let read = self.0.read(&mut [0]);
        self.0.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// What has come so far, without waiting for more.
    pub fn recv_now(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.set_nonblocking(true).expect("an option");
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        self.0.set_nonblocking(false).expect("an option");
        bytes
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

    /// Reads and discards, once: whether the connection is not over yet.
    pub fn is_open(&mut self) -> bool {
        match self.0.read(&mut [0; 65536]) {
            Ok(len) => len > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
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

    /// Sends this, and waits until the connection is over.
    pub fn wait_for_end_after(mut self, bytes: &[u8]) {
        self.send(bytes);
        self.wait_for_end();
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
