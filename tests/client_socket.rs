//! How long the calls of a client's socket wait: modes, deadlines, signals; and the client that
//! stands on it.

#![cfg(feature = "cli")]

mod util;

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gateloop::address::Address;
use gateloop::client::socket::options::{
    SO_KEEPALIVE, SO_LINGER, SO_RCVBUF, SO_REUSEADDR, SO_REUSEPORT, SO_SNDBUF, TCP_NODELAY,
};
use gateloop::client::socket::{Errno, Mode, Partial, Socket};
use gateloop::client::{Client, Config, Error};
use gateloop::protocol::HandshakeRules;
use gateloop::service::Echo;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::{Pid, Signal, kill_process};
use socket2::SockRef;
use util::server::{frame, open_config};
use util::{Folder, PATIENCE, dawdle, eventually};

/// A time-out that is to pass.
const SHORT: Duration = Duration::from_millis(150);
/// No deadline that is kept passes as late as this, also on a machine that is busy.
const LATE: Duration = Duration::from_secs(20);
/// More than the kernel's buffers hold.
const MUCH: usize = 64 << 20;

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

fn in_mode(mut socket: Socket, mode: Mode) -> Socket {
    socket.set_mode(mode).expect("a mode");
    socket
}

fn pair(mode: Mode) -> (Socket, Socket) {
    let (socket, peer) = Socket::pair().expect("sockets");
    (in_mode(socket, mode), peer)
}

fn tcp_listener() -> (Socket, Address) {
    let listener = Socket::tcp().expect("a socket");
    listener.bind(&address("127.0.0.1:0")).expect("a free port");
    listener.listen(16).expect("a listener");
    let name = listener.local_name().expect("a name");
    (listener, name)
}

fn tcp_pair() -> (Socket, Socket) {
    let (listener, name) = tcp_listener();
    let client = Socket::tcp().expect("a socket");
    client.connect(&name).expect("a listener");
    (client, listener.accept().expect("a connection").0)
}

fn is_time_out(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none()
}

fn errno(error: &io::Error) -> Option<Errno> {
    Errno::of(error)
}

/// Runs a call that must fail, and not before its time-out.
fn times_out<E: Into<io::Error>>(call: impl FnOnce() -> Result<(), E>) {
    let start = Instant::now();
    let error = call().expect_err("nothing comes").into();
    let elapsed = start.elapsed();
    assert!(is_time_out(&error), "{error}");
    assert!((SHORT..LATE).contains(&elapsed), "after {elapsed:?}");
}

// Deadlines.

#[test]
fn a_slow_reader_does_not_renew_the_deadline_of_send_all() {
    const CHUNK: usize = 4096;
    let (socket, peer) = pair(Mode::NonBlocking);
    let much = vec![0; MUCH];
    let filled = socket.send_all(&much).expect_err("nobody reads").bytes;
    let reader = thread::spawn(move || {
        let mut read = 0;
        loop {
            match peer.recv(CHUNK).expect("a connection").len() {
                0 => return read,
                len => read += len,
            }
            if read > filled {
                dawdle(Duration::from_millis(1));
            }
        }
    });
    let socket = in_mode(socket, Mode::Timeout(SHORT));
    let mut sent = 0;
    times_out(|| {
        let partial = socket.send_all(&much);
        partial.inspect_err(|partial| sent = partial.bytes)
    });
    assert!(sent > 0, "the reader has made room");
    drop(socket);
    let read = reader.join().expect("no panic");
    assert_eq!(read, filled + sent, "what was taken has arrived");
}

#[test]
fn a_slow_sender_does_not_renew_the_deadline_of_recv_exact() {
    let (socket, peer) = pair(Mode::Timeout(SHORT));
    let sender = thread::spawn(move || {
        let start = Instant::now();
        while peer.send(b"x").is_ok() && start.elapsed() < LATE {
            dawdle(Duration::from_millis(1));
        }
    });
    let mut buffer = vec![0; 1 << 20];
    let mut received = 0;
    times_out(|| {
        let partial = socket.recv_exact(&mut buffer);
        partial.inspect_err(|partial| received = partial.bytes)
    });
    drop(socket);
    sender.join().expect("no panic");
    assert!(received > 1, "{received}");
    assert!(buffer[..received].iter().all(|byte| *byte == b'x'));
    assert!(buffer[received..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_peer_that_does_nothing_is_waited_for_until_the_deadline() {
    let (socket, _peer) = pair(Mode::Timeout(SHORT));
    times_out(|| socket.recv(1).map(drop));
    times_out(|| socket.peek(1).map(drop));
    times_out(|| socket.recv_exact(&mut [0]));
    times_out(|| (&socket).read(&mut [0]).map(drop));
    times_out(|| socket.send_all(&vec![0; MUCH]));
    times_out(|| socket.send(b"x").map(drop));
    times_out(|| (&socket).write(b"x").map(drop));
    let udp = in_mode(Socket::udp().expect("a socket"), Mode::Timeout(SHORT));
    times_out(|| udp.recv_from(1).map(drop));
    let listener = in_mode(tcp_listener().0, Mode::Timeout(SHORT));
    times_out(|| listener.accept().map(drop));
}

#[test]
fn what_can_be_done_at_once_is_done_in_every_mode() {
    let longest = Mode::Timeout(Duration::MAX);
    let shortest = Mode::Timeout(Duration::from_nanos(1));
    for mode in [Mode::Blocking, Mode::NonBlocking, shortest, longest] {
        let (socket, peer) = pair(mode);
        assert_eq!(socket.mode(), mode);
        socket.send_all(b"there").expect("room");
        peer.send_all(b"and back").expect("room");
        assert_eq!(peer.recv(100).expect("bytes"), b"there");
        assert_eq!(socket.peek(3).expect("bytes"), b"and");
        assert_eq!(socket.recv(3).expect("bytes"), b"and");
        socket.recv_exact(&mut [0; 5]).expect("bytes");
        drop(peer);
        assert_eq!(socket.recv(100).expect("the end"), b"");
        assert_eq!(
            errno(&socket.send(b"x").expect_err("no peer")),
            Some(Errno::EPIPE)
        );
    }
}

#[test]
fn a_call_that_may_wait_goes_on_when_the_peer_does() {
    for mode in [Mode::Blocking, Mode::Timeout(PATIENCE)] {
        let (socket, peer) = pair(mode);
        let sender = thread::spawn(move || {
            socket.send_all(&vec![7; MUCH]).expect("a reader");
            socket.recv(1).expect("an answer")
        });
        let mut bytes = vec![0; MUCH];
        peer.recv_exact(&mut bytes).expect("all of it");
        assert!(bytes.iter().all(|byte| *byte == 7));
        peer.send_all(b"!").expect("a reader");
        assert_eq!(sender.join().expect("no panic"), b"!");
    }
}

#[test]
fn modes_are_as_in_python() {
    let mut socket = Socket::tcp().expect("a socket");
    assert_eq!((socket.mode(), socket.timeout()), (Mode::Blocking, None));
    let second = Duration::from_secs(1);
    for (timeout, mode) in [
        (Some(Duration::ZERO), Mode::NonBlocking),
        (Some(second), Mode::Timeout(second)),
        (None, Mode::Blocking),
    ] {
        socket.set_timeout(timeout).expect("a mode");
        assert_eq!((socket.mode(), socket.timeout()), (mode, timeout));
    }
    socket
        .set_mode(Mode::Timeout(Duration::ZERO))
        .expect("a mode");
    assert_eq!(socket.mode(), Mode::NonBlocking);
    socket.set_blocking(true).expect("a mode");
    assert_eq!(socket.mode(), Mode::Blocking);

    let (mut listener, name) = tcp_listener();
    listener.set_timeout(Some(PATIENCE)).expect("a mode");
    socket.connect(&name).expect("a listener");
    let (server, peer) = listener.accept().expect("a connection");
    assert_eq!(server.mode(), Mode::Blocking, "not the listener's");
    assert_eq!(peer, socket.local_name().expect("a name"));
}

// To connect.

/// Whether a socket is ready, or becomes it in time.
fn becomes(ready: PollFlags, socket: &Socket) -> bool {
    let patience = Timespec::try_from(PATIENCE).expect("a time");
    let polled = poll(&mut [PollFd::new(socket, ready)], Some(&patience));
    polled.expect("a descriptor") == 1
}

#[test]
fn a_connection_that_is_not_waited_for_tells_by_being_writable() {
    let (listener, name) = tcp_listener();
    let client = in_mode(Socket::tcp().expect("a socket"), Mode::NonBlocking);
    let begun = client.connect(&name).expect_err("it does not wait");
    assert_eq!(errno(&begun), Some(Errno::EINPROGRESS));
    assert!(becomes(PollFlags::OUT, &client));
    assert_eq!(client.take_error().expect("an option"), None);
    assert_eq!(client.peer_name().expect("a peer"), name);
    drop(listener);

    let silent = Socket::tcp().expect("a socket");
    silent.bind(&address("127.0.0.1:0")).expect("a free port");
    let client = in_mode(Socket::tcp().expect("a socket"), Mode::NonBlocking);
    let name = silent.local_name().expect("a name");
    assert_eq!(client.connect_ex(&name), Err(Errno::EINPROGRESS));
    assert!(becomes(PollFlags::OUT, &client));
    assert_eq!(
        client.take_error().expect("an option"),
        Some(Errno::ECONNREFUSED)
    );
}

#[test]
fn a_connection_that_no_one_answers_is_waited_for_until_the_deadline() {
    let listener = Socket::tcp().expect("a socket");
    listener.bind(&address("127.0.0.1:0")).expect("a free port");
    listener.listen(0).expect("a listener");
    let name = listener.local_name().expect("a name");
    let first = Socket::tcp().expect("a socket");
    first.connect(&name).expect("the only place");

    let second = in_mode(Socket::tcp().expect("a socket"), Mode::Timeout(SHORT));
    times_out(|| second.connect(&name));
    assert_eq!(second.connect_ex(&name), Err(Errno::EALREADY), "it goes on");
    let mut third = Config::new(HandshakeRules::None);
    third.timeout = Some(SHORT);
    let error = Client::connect(&name, third).expect_err("no place");
    assert!(matches!(error, Error::TimedOut), "{error}");
}

#[test]
fn a_place_in_a_unix_queue_is_waited_for() {
    let (listener, name, _first) = full_unix_queue();
    let late = in_mode(Socket::unix().expect("a socket"), Mode::Timeout(SHORT));
    times_out(|| late.connect(&name));
    let its = SockRef::from(&late);
    assert!(its.nonblocking().expect("a flag"), "as before");
    let kernels = its.write_timeout().expect("an option");
    assert_eq!(kernels, None, "as before");

    let waiting = Waiting::start(move || {
        let late = in_mode(late, Mode::Timeout(PATIENCE));
        late.connect(&name).map(|()| late)
    });
    waiting.wait_until_asleep();
    listener.accept().expect("the first");
    let late = waiting.join().expect("a place");
    assert_eq!(late.mode(), Mode::Timeout(PATIENCE));
    listener.accept().expect("the late one");
}

fn full_unix_queue() -> (Socket, Address, Socket) {
    let listener = Socket::unix().expect("a socket");
    listener.bind(&Address::Unix("".into())).expect("a name");
    listener.listen(0).expect("a listener");
    let name = listener.local_name().expect("a name");
    let first = Socket::unix().expect("a socket");
    first.connect(&name).expect("the only place");
    (listener, name, first)
}

// Signals.

/// A thread in a call that waits.
struct Waiting<T> {
    thread: JoinHandle<T>,
    id: Pid,
}

impl<T: Send + 'static> Waiting<T> {
    fn start(call: impl FnOnce() -> T + Send + 'static) -> Self {
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            tell.send(fs::read_link("/proc/thread-self"))
                .expect("somebody waits");
            call()
        });
        let path = told.recv().expect("a thread").expect("/proc");
        let id = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let id = id.and_then(Pid::from_raw).expect("a thread's number");
        Self { thread, id }
    }

    fn is_asleep(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/self/task/{}/stat", self.id));
        stat.is_ok_and(|stat| {
            stat.rsplit_once(") ")
                .is_some_and(|(_, state)| state.starts_with('S'))
        })
    }

    fn wait_until_asleep(&self) {
        eventually("the call waits", || self.is_asleep().then_some(()));
    }

    /// Interrupts the call: by the number of a thread, `kill` reaches that thread first.
    fn interrupt(&self, arrived: &AtomicBool) {
        arrived.store(false, Relaxed);
        kill_process(self.id, Signal::USR1).expect("a thread of ours");
        eventually("the signal is handled", || {
            arrived.load(Relaxed).then_some(())
        });
    }

    fn join(self) -> T {
        self.thread.join().expect("no panic")
    }
}

/// Signals do nothing but interrupt; the flag says that one has.
fn handle_signals() -> Arc<AtomicBool> {
    let arrived = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&arrived))
        .expect("a signal that can be handled");
    arrived
}

#[test]
fn a_signal_does_not_end_a_call() {
    let arrived = handle_signals();
    let (socket, peer) = pair(Mode::Timeout(PATIENCE));
    let recv = Waiting::start(move || socket.recv(100));
    let (listener, name, _first) = full_unix_queue();
    let connect = Waiting::start(move || {
        let late = in_mode(Socket::unix().expect("a socket"), Mode::Timeout(PATIENCE));
        late.connect(&name).map(|()| late)
    });
    for _ in 0..10 {
        recv.wait_until_asleep();
        recv.interrupt(&arrived);
        connect.wait_until_asleep();
        connect.interrupt(&arrived);
    }
    peer.send_all(b"at last").expect("a reader");
    assert_eq!(recv.join().expect("no error"), b"at last");
    listener.accept().expect("the first");
    connect.join().expect("no error");
}

#[test]
fn signals_do_not_renew_a_deadline() {
    let arrived = handle_signals();
    let (socket, _peer) = pair(Mode::Timeout(SHORT));
    let start = Instant::now();
    let recv = Waiting::start(move || socket.recv(1));
    while !recv.thread.is_finished() {
        assert!(start.elapsed() < PATIENCE, "it never ends");
        if recv.is_asleep() {
            // It may end first: then the signal goes to another thread.
            arrived.store(false, Relaxed);
            let _ = kill_process(recv.id, Signal::USR1);
        }
        thread::yield_now();
    }
    assert!(is_time_out(&recv.join().expect_err("nothing comes")));
    assert!(start.elapsed() >= SHORT);
}

// What is not about time.

#[test]
fn half_a_connection_is_closed() {
    let (client, server) = tcp_pair();
    client.send_all(b"the last").expect("a reader");
    client.shutdown(Shutdown::Write).expect("a connection");
    assert_eq!(server.recv(100).expect("bytes"), b"the last");
    assert_eq!(server.recv(100).expect("the end"), b"");
    server.send_all(b"an answer").expect("a reader");
    assert_eq!(client.recv(100).expect("bytes"), b"an answer");
    client.shutdown(Shutdown::Read).expect("a connection");
    assert_eq!(client.recv(100).expect("an end of its own making"), b"");
}

#[test]
fn a_datagram_keeps_its_borders_and_a_stream_has_no_sender() {
    let (server, client) = (
        Socket::udp().expect("a socket"),
        Socket::udp().expect("a socket"),
    );
    server.bind(&address("127.0.0.1:0")).expect("a free port");
    client.bind(&address("127.0.0.1:0")).expect("a free port");
    let to = server.local_name().expect("a name");
    for message in [&b"one"[..], b"", b"three"] {
        let sent = client.send_to(message, &to).expect("room");
        assert_eq!(sent, message.len());
    }
    for message in [&b"one"[..], b"", b"thr"] {
        let (received, from) = server.recv_from(3).expect("a datagram");
        assert_eq!(received, message);
        assert_eq!(from, client.local_name().expect("a name"));
    }

    let (client, server) = tcp_pair();
    client.send_to(b"x", &to).expect("its own peer gets it");
    let (received, from) = server.recv_from(3).expect("bytes");
    assert_eq!((received, from), (b"x".to_vec(), Address::Unix("".into())));
}

#[test]
fn names_of_unix_sockets_come_back_as_they_were_given() {
    let folder = Folder::new("names");
    let named = Address::Unix(folder.path("named"));
    for name in [named, Address::Unix("\0gateloop, abstract".into())] {
        let listener = Socket::unix().expect("a socket");
        listener.bind(&name).expect("a name");
        listener.listen(1).expect("a listener");
        let client = Socket::unix().expect("a socket");
        client.connect(&name).expect("a listener");
        assert_eq!(client.peer_name().expect("a peer"), name);
        let (server, peer) = listener.accept().expect("a connection");
        assert_eq!(server.local_name().expect("a name"), name);
        assert_eq!(peer, Address::Unix("".into()));
    }
}

/// The kernel takes a path that fills its place to the last byte, with no room for a NUL.
#[test]
fn the_longest_path_of_a_peer_is_a_name_like_others() {
    const LEN: usize = 108;
    let listener = Socket::unix().expect("a socket");
    listener.bind(&Address::Unix("".into())).expect("a name");
    listener.listen(1).expect("a listener");
    let name = listener.local_name().expect("a name");
    let Address::Unix(path) = name else {
        panic!("{name}")
    };
    let abstract_name = &path.as_os_str().as_bytes()[1..];

    let folder = std::env::temp_dir();
    let folder = folder.to_str().expect("UTF-8");
    let own = format!("{folder}/{}", std::process::id());
    let own = format!("{own}{}", "x".repeat(LEN - own.len()));
    let peer = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None);
    let peer = peer.expect("a socket");
    rustix::net::bind(&peer, &SocketAddrUnix::new(own.as_str()).expect("a path")).expect("a name");
    let to = SocketAddrUnix::new_abstract_name(abstract_name).expect("a name");
    rustix::net::connect(&peer, &to).expect("a listener");

    let accepted = listener.accept();
    fs::remove_file(&own).expect("its socket");
    assert_eq!(accepted.expect("a connection").1, Address::Unix(own.into()));
}

#[test]
fn options_hold_what_was_set() {
    let socket = Socket::tcp().expect("a socket");
    for option in [TCP_NODELAY, SO_KEEPALIVE, SO_REUSEADDR, SO_REUSEPORT] {
        assert!(!socket.option(option).expect("a value"), "{option:?}");
        socket.set_option(option, true).expect("an option");
        assert!(socket.option(option).expect("a value"), "{option:?}");
    }
    for option in [SO_SNDBUF, SO_RCVBUF] {
        socket.set_option(option, 30_000).expect("an option");
        let doubled = socket.option(option).expect("a value");
        assert_eq!(doubled, 60_000, "{option:?}");
    }
    let linger = Some(Duration::from_secs(3));
    assert_eq!(socket.option(SO_LINGER).expect("a value"), None);
    socket.set_option(SO_LINGER, linger).expect("an option");
    assert_eq!(socket.option(SO_LINGER).expect("a value"), linger);
    assert_eq!(format!("{SO_LINGER:?}"), "SO_LINGER");
}

#[test]
fn a_descriptor_outlives_its_socket() {
    let (socket, peer) = pair(Mode::Blocking);
    let number = socket.as_raw_fd();
    let descriptor = OwnedFd::from(socket);
    assert_eq!(descriptor.as_raw_fd(), number);
    rustix::io::write(&descriptor, b"still here").expect("a connection");
    assert_eq!(peer.recv(100).expect("bytes"), b"still here");
    drop(descriptor);
    assert_eq!(peer.recv(100).expect("the end"), b"");
}

#[test]
fn a_time_out_in_the_middle_of_a_line_leaves_its_half_in_the_vec() {
    let (socket, peer) = pair(Mode::Timeout(SHORT));
    let mut file = socket.make_file();
    peer.send_all(b"one\nhal").expect("a reader");
    let mut line = Vec::new();
    file.read_until(b'\n', &mut line).expect("a line");
    assert_eq!(line, b"one\n");
    line.clear();
    times_out(|| file.read_until(b'\n', &mut line).map(drop));
    assert_eq!(line, b"hal");
    peer.send_all(b"f\nrest").expect("a reader");
    file.read_until(b'\n', &mut line).expect("the other half");
    assert_eq!(line, b"half\n");

    // What returns what it has read loses it.
    times_out(|| (&mut file).lines().next().expect("no end").map(drop));
    peer.send_all(b"!\n").expect("a reader");
    line.clear();
    file.read_until(b'\n', &mut line).expect("a line");
    assert_eq!(line, b"!\n");
}

#[test]
fn a_flush_that_timed_out_is_finished_by_another() {
    let (socket, peer) = pair(Mode::Timeout(SHORT));
    let mut file = socket.make_file();
    write!(file, "no line break").expect("a buffer");
    assert_eq!(
        errno(&nothing_yet(&peer)),
        Some(Errno::EAGAIN),
        "it waits in the buffer"
    );
    let filled = socket
        .send_all(&vec![0; MUCH])
        .expect_err("nobody reads")
        .bytes;
    times_out(|| file.flush());
    peer.recv_exact(&mut vec![0; filled])
        .expect("what filled it");
    file.flush().expect("room");
    assert_eq!(peer.recv(100).expect("bytes"), b"no line break");
}

/// Looks, without waiting, whether anything has come.
fn nothing_yet(peer: &Socket) -> io::Error {
    let flags = rustix::net::RecvFlags::DONTWAIT;
    let received = rustix::net::recv(peer, &mut [0; 1], flags);
    received.expect_err("nothing has come").into()
}

#[test]
fn two_threads_share_a_socket() {
    let (socket, peer) = pair(Mode::Timeout(PATIENCE));
    thread::scope(|scope| {
        scope.spawn(|| socket.send_all(&vec![1; MUCH]).expect("a reader"));
        scope.spawn(|| socket.recv_exact(&mut vec![0; MUCH]).expect("a sender"));
        scope.spawn(|| peer.recv_exact(&mut vec![0; MUCH]).expect("a sender"));
        peer.send_all(&vec![2; MUCH]).expect("a reader");
    });
}

#[test]
fn what_was_done_before_an_error_is_said_with_it() {
    let error = io::ErrorKind::TimedOut.into();
    let partial = Partial { bytes: 7, error };
    assert_eq!(partial.to_string(), "after 7 bytes: timed out");
    assert_eq!(errno(&io::Error::from(Errno::EPIPE)), Some(Errno::EPIPE));
    assert_eq!(Errno::from(9999).to_string(), "errno 9999");
}

// The client.

/// A client without a handshake, and its raw peer.
fn client(timeout: Option<Duration>) -> (Client, Socket) {
    let (listener, name) = tcp_listener();
    let mut config = Config::new(HandshakeRules::None);
    config.timeout = timeout;
    let client = Client::connect(&name, config).expect("a listener");
    (client, listener.accept().expect("a connection").0)
}

#[test]
fn half_a_message_is_kept_when_the_time_out_passes() {
    let (mut client, peer) = client(Some(SHORT));
    let message = frame(b"in two halves");
    let (first, second) = message.split_at(7);
    peer.send_all(first).expect("a reader");
    assert!(matches!(client.recv(), Err(Error::TimedOut)));
    client.set_timeout(Some(Duration::ZERO)).expect("a mode");
    assert!(matches!(client.recv(), Err(Error::TimedOut)));
    client.set_timeout(Some(PATIENCE)).expect("a mode");
    assert_eq!(client.timeout(), Some(PATIENCE));
    peer.send_all(second).expect("a reader");
    assert_eq!(
        client.recv().expect("a message").expect("no end"),
        b"in two halves"
    );
}

#[test]
fn what_a_time_out_left_unsent_still_goes_out_and_first() {
    let (mut client, peer) = client(Some(SHORT));
    let long = vec![9; MUCH];
    let start = Instant::now();
    assert!(matches!(client.send(&long), Err(Error::TimedOut)));
    assert!(start.elapsed() >= SHORT);
    assert!(matches!(client.send(b"first"), Err(Error::TimedOut)));
    assert!(matches!(client.flush(), Err(Error::TimedOut)));
    let (tell, told): (_, Receiver<Vec<u8>>) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut bytes = vec![0; 4 + MUCH + 2 * (4 + 5)];
        peer.recv_exact(&mut bytes).expect("all messages");
        tell.send(bytes).expect("somebody waits");
    });
    client.set_timeout(None).expect("a mode");
    client.flush().expect("a reader");
    client.send(b"other").expect("a reader");
    let bytes = told.recv_timeout(PATIENCE).expect("all messages");
    reader.join().expect("no panic");
    assert!(bytes == [frame(&long), frame(b"first"), frame(b"other")].concat());
}

#[test]
fn a_client_says_who_speaks_to_whom() {
    let server = util::server::TestServer::start(open_config(), Echo);
    let name = Address::Tcp(server.address);
    let mut client = Client::connect(&name, Config::new(HandshakeRules::None)).expect("a server");
    assert_eq!(client.peer_address().expect("a name"), name);
    assert_ne!(client.local_address().expect("a name"), name);
    assert!(client.as_fd().as_raw_fd() > 2);
    client.send(b"echo").expect("a server");
    assert_eq!(client.recv().expect("an answer").expect("no end"), b"echo");
    client.shutdown(Shutdown::Both).expect("a connection");
    assert!(client.recv().expect("its own end").is_none());
}
