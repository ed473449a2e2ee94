//! Several reactors are one server: they share the work and the caps. And where a server listens,
//! nobody else does, nor is anything of others touched.

#![cfg(feature = "cli")]

mod util;

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier};
use std::thread;

use gateloop::address::Address;
use gateloop::client::{self, Client};
use gateloop::error::CloseReason;
use gateloop::limits::{Limits, REACTORS_MAX};
use gateloop::protocol::{HandshakeRules, Message};
use gateloop::server::{BindError, Config, Server};
use gateloop::service::{Echo, Flow, Replies, Service};
use socket2::{Domain, SockAddr, Socket, Type};
use util::measure::socket_to;
use util::server::{Raw, TestServer, frame, keyed_config, open_config};
use util::{Ended, Folder, Serving, eventually, gateloop, run};

const KIB: usize = 1024;
const REACTORS: usize = 4;

/// Answers each message with the number of the copy that serves it: each reactor has its own.
#[derive(Default)]
struct Numbered {
    number: u8,
    copies: Arc<AtomicUsize>,
}

impl Clone for Numbered {
    fn clone(&self) -> Self {
        let number = self.copies.fetch_add(1, Relaxed);
        Self {
            number: u8::try_from(number).expect("few copies"),
            copies: Arc::clone(&self.copies),
        }
    }
}

impl Service for Numbered {
    type State = ();

    fn name(&self) -> &'static str {
        "numbered"
    }

    fn message(&mut self, (): &mut (), _: &mut Message<'_>, replies: &mut Replies<'_>) -> Flow {
        replies.send_all(&[self.number]);
        Flow::Continue
    }
}

/// Four reactors, under these limits.
fn start(limits: Limits) -> TestServer {
    let config = Config {
        limits,
        reactors: REACTORS,
        ..open_config()
    };
    TestServer::start(config, Numbered::default())
}

#[test]
fn there_are_as_many_reactors_as_may_be_and_no_more() {
    let with = |reactors| Config {
        reactors,
        ..open_config()
    };
    let server = TestServer::start(with(REACTORS_MAX), Echo);
    server.connect().echo(b"served");
    for reactors in [0, REACTORS_MAX + 1] {
        let refused = Server::bind(with(reactors), Echo).err();
        assert!(matches!(refused, Some(BindError::Config(_))), "{reactors}");
    }
}

/// The number of the reactor that serves this client.
fn reactor_of(client: &mut Raw) -> u8 {
    client.send_frame(b"who are you?");
    client.recv_frame()[0]
}

#[test]
fn every_reactor_gets_clients() {
    // The kernel spreads by chance: one of them goes without at one in ten million.
    const CLIENTS: usize = 64;
    let server = start(Limits::default());
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    let reactors: Vec<u8> = clients.iter_mut().map(reactor_of).collect();
    assert_eq!(HashSet::<_>::from_iter(&reactors).len(), REACTORS);
    // Who has been let in by one stays with it.
    let again: Vec<u8> = clients.iter_mut().map(reactor_of).collect();
    assert_eq!(again, reactors);
    drop(clients);
    server.wait_until_empty();
}

// Caps hold over all of them.

#[test]
fn connections_are_counted_over_all_reactors() {
    const MAX: usize = 8;
    let server = start(Limits {
        connections_max: MAX,
        ..Limits::default()
    });
    let mut clients: Vec<_> = (0..MAX).map(|_| server.connect()).collect();
    let reactors: HashSet<u8> = clients.iter_mut().map(reactor_of).collect();
    assert!(reactors.len() > 1);

    let mut waiting: Vec<_> = (0..MAX).map(|_| server.connect()).collect();
    let rests = server.stats.rests_full.load(Relaxed);
    eventually("a listener rests", || {
        (server.stats.rests_full.load(Relaxed) > rests).then_some(())
    });
    assert_eq!(server.stats.accepted.load(Relaxed), MAX as u64);
    server.wait_until_open(MAX);
    assert!(waiting.iter().all(Raw::is_silent));
    clients.clear();
    // They wait with any of the reactors, and each place that is freed is for whoever waits.
    waiting.iter_mut().for_each(|client| {
        reactor_of(client);
    });
    server.wait_until_open(MAX);
}

#[test]
fn strangers_are_counted_over_all_reactors() {
    const MAX: usize = 6;
    const MORE: usize = 100;
    let limits = Limits {
        strangers_max: MAX,
        ..Limits::default()
    };
    let config = Config {
        limits,
        reactors: REACTORS,
        ..keyed_config("key")
    };
    let server = TestServer::start(config, Numbered::default());
    let challenged = || {
        let mut client = server.connect();
        assert!(client.recv_frame().starts_with(b"#CHALLENGE#"));
        client
    };
    let _strangers: Vec<_> = (0..MAX).map(|_| challenged()).collect();
    assert_eq!(server.stats.strangers.load(Relaxed), MAX);
    assert_eq!(server.closes(CloseReason::StrangerEvicted), 0);

    // A reactor that has none of them to send away lets one more in.
    let bound = MAX + REACTORS - 1;
    let _more: Vec<_> = (0..MORE)
        .map(|_| {
            let client = challenged();
            let strangers = server.stats.strangers.load(Relaxed);
            assert!(strangers <= bound, "{strangers}");
            client
        })
        .collect();
    eventually("all the others are sent away", || {
        let evicted = server.closes(CloseReason::StrangerEvicted);
        (evicted >= (MAX + MORE - bound) as u64).then_some(())
    });
    let mut guest = server.connect();
    guest.greet("key");
    reactor_of(&mut guest);
}

#[test]
fn buffers_are_one_sum_over_all_reactors() {
    const LEN: usize = 600 * KIB;
    let server = start(Limits {
        message_bytes_max: LEN,
        buffer_memory_bytes_max: 2 * LEN - 100 * KIB,
        ..Limits::default()
    });
    let mut first = server.connect();
    let number = reactor_of(&mut first);
    let mut second = eventually("another reactor gets a client", || {
        let mut client = server.connect();
        (reactor_of(&mut client) != number).then_some(client)
    });

    let message = frame(&[b'x'; LEN]);
    let (last, beginning) = message.split_last().expect("a byte");
    first.send(beginning);
    eventually("the first one's message is held", || {
        (server.stats.buffer_bytes.load(Relaxed) >= LEN).then_some(())
    });
    // It is cut off while it sends.
    let _ = second.0.write_all(beginning);
    second.wait_for_end();
    server.wait_for_closes(CloseReason::BufferMemory, 1);
    first.send(&[*last]);
    assert_eq!(first.recv_frame(), [number]);
    drop((first, second));
    server.wait_until_empty();
}

// Where a server listens.

/// The service `echo` for everybody who comes to `address`.
fn serve(address: &str, reactors: &str) -> Serving {
    Serving::from_command(gateloop().args(arguments(address, reactors)))
}

fn arguments<'a>(address: &'a str, reactors: &'a str) -> [&'a str; 9] {
    [
        "serve",
        "--handshake",
        "none",
        "--service",
        "echo",
        "--reactors",
        reactors,
        "--listen",
        address,
    ]
}

/// It must be refused, in one line.
fn refusal(address: &str, reactors: &str) -> String {
    let Ended { code, stderr, .. } = run(gateloop().args(arguments(address, reactors)));
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

fn assert_serves(address: &str) {
    let address = address.parse().expect("an address");
    let mut clients: Vec<_> = (0..20)
        .map(|_| {
            let config = client::Config::new(HandshakeRules::None);
            Client::connect(&address, config).expect("a server that listens")
        })
        .collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let message = format!("message {n}").into_bytes();
        client.send(&message).expect("it is taken");
        assert_eq!(client.recv().expect("an answer"), Some(message));
    }
}

#[test]
fn a_port_has_one_server_whatever_its_reactors() {
    for of_first in ["1", "3"] {
        let first = serve("127.0.0.1:0", of_first);
        for of_second in ["1", "3"] {
            let address = first.address();
            assert_eq!(
                refusal(address, of_second),
                format!("error: cannot listen on {address}: it is in use\n")
            );
        }
        assert_serves(first.address());
        assert_eq!(first.stop().code, Some(0));
    }
}

#[test]
fn every_kind_of_address_is_served_by_several_reactors() {
    let folder = Folder::new("every-kind");
    let unix = format!("unix:{}", folder.path("socket").display());
    let server = serve(&format!("127.0.0.1:0,[::1]:0,{unix}"), "2");
    let addresses = &server.addresses;
    assert_eq!(addresses.len(), 3);
    assert!(addresses[1].starts_with("[::1]:"), "{addresses:?}");
    assert_eq!(addresses[2], unix);
    addresses.iter().for_each(|address| assert_serves(address));
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn small_answers_go_at_once_and_dead_peers_are_found() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        for reactors in ["1", "2"] {
            let server = serve(address, reactors);
            for _ in 0..8 {
                let mut client = server.connect();
                client.echo(b"it is accepted");
                let accepted = socket_to(server.process.id(), client.local());
                assert!(accepted.tcp_nodelay().expect("an option"));
                assert!(accepted.keepalive().expect("an option"));
            }
        }
    }
}

// Unix sockets and their files.

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

#[test]
fn a_unix_socket_is_its_owner_s_and_goes_with_the_server() {
    let folder = Folder::new("owner");
    let path = folder.path("socket");
    for reactors in ["1", "2"] {
        let server = serve(&unix(&path), reactors);
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_serves(server.address());
        assert_eq!(server.stop().code, Some(0));
        assert!(!path.exists());
    }
}

#[test]
fn a_stale_file_is_replaced() {
    let folder = Folder::new("stale");
    let path = folder.path("socket");
    // It is killed.
    drop(serve(&unix(&path), "1"));
    assert!(path.exists());
    let server = serve(&unix(&path), "1");
    assert_serves(server.address());
    assert_eq!(server.stop().code, Some(0));
    assert!(!path.exists());
}

#[test]
fn of_two_starts_on_one_stale_file_one_serves() {
    let folder = Folder::new("race");
    let path = folder.path("socket");
    for _ in 0..100 {
        drop(UnixListener::bind(&path).expect("a free path"));
        let start = Barrier::new(2);
        let bind = || {
            let mut config = open_config();
            config.listen = vec![Address::Unix(path.clone())];
            start.wait();
            Server::bind(config, Echo)
        };
        let (one, other) = thread::scope(|scope| {
            let one = scope.spawn(bind);
            (bind(), one.join().expect("no panic"))
        });
        let served = [&one, &other].map(Result::is_ok);
        assert!(served[0] != served[1], "{served:?}");
    }
}

#[test]
fn the_socket_of_a_living_server_is_not_touched() {
    let folder = Folder::new("living");
    let path = folder.path("socket");
    let address = unix(&path);
    let _first = serve(&address, "1");
    for reactors in ["1", "2"] {
        assert_eq!(
            refusal(&address, reactors),
            format!("error: cannot listen on {address}: it is in use\n")
        );
    }
    assert_serves(&address);
}

#[test]
fn a_server_with_a_full_backlog_is_a_living_one() {
    let folder = Folder::new("backlog");
    let path = folder.path("socket");
    let address = unix(&path);
    let first = Serving::from_command(
        gateloop()
            .args(arguments(&address, "1"))
            .args(["--backlog", "1"]),
    );
    first.process.pause();
    let path = SockAddr::unix(&path).expect("a short path");
    let waiting: Vec<_> = std::iter::from_fn(|| {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("an option");
        socket.connect(&path).ok().map(|()| socket)
    })
    .collect();
    let refused = refusal(&address, "1");
    assert_eq!(
        refused,
        format!("error: cannot listen on {address}: it is in use\n")
    );
    first.process.resume();
    drop(waiting);
    assert_serves(&address);
}

#[test]
fn a_file_that_is_no_socket_is_not_touched() {
    let folder = Folder::new("no-socket");
    let content = "somebody's work";
    let file = folder.write("file", content);
    let link = folder.path("link");
    symlink(&file, &link).expect("a link");
    for path in [Path::new(&file), &link] {
        let address = unix(path);
        assert_eq!(
            refusal(&address, "1"),
            format!("error: cannot listen on {address}: the file exists and is not a socket\n")
        );
    }
    assert_eq!(fs::read_to_string(&file).expect("the file"), content);
    assert!(link.is_symlink());
}

#[test]
fn the_file_of_a_successor_stays() {
    let folder = Folder::new("successor");
    let path = folder.path("socket");
    let first = serve(&unix(&path), "1");
    fs::remove_file(&path).expect("the file");
    let second = serve(&unix(&path), "1");
    let inode = |path| fs::metadata(path).expect("the file").ino();
    let its_own = inode(&path);
    assert_eq!(first.stop().code, Some(0));
    assert_eq!(inode(&path), its_own);
    assert_serves(second.address());
    assert_eq!(second.stop().code, Some(0));
    assert!(!path.exists());
}

#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let folder = Folder::new("fails");
    let path = folder.path("socket");
    let taken = serve("127.0.0.1:0", "1");
    let addresses = format!("{},{}", unix(&path), taken.address());
    let refused = refusal(&addresses, "2");
    assert!(refused.contains(taken.address()), "{refused}");
    assert!(!path.exists());
}
