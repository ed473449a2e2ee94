//! In what each call of a client's socket can end: the tables of its documentation, row by row, and
//! the same calls in every Python at hand.

#![cfg(feature = "cli")]

mod util;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use gateloop::address::Address;
use gateloop::client::socket::options::{SO_LINGER, SO_REUSEADDR, TCP_NODELAY};
use gateloop::client::socket::{Errno, Mode, Socket};
use util::{Folder, python, run};

/// Long enough for the kernel of the loopback to answer, which it does within the call.
const SHORT: Duration = Duration::from_millis(10);
/// Where nothing is to arrive.
const DISCARD: &str = "127.0.0.1:9";
/// An address kept for documentation, which no machine has.
const ALIEN: &str = "203.0.113.77:0";
const BROADCAST: &str = "255.255.255.255:9";
/// More than a datagram can be.
const TOO_LONG: usize = 65_508;

/// A call and the end it must come to.
struct Case {
    /// The method, and what is the matter: `accept: nobody is there`.
    name: &'static str,
    end: &'static str,
    call: fn() -> io::Result<()>,
}

/// Cases that Python's own arguments rule out, or where it behaves otherwise, as documented.
const NOT_IN_PYTHON: [&str; 7] = [
    "bind: another family",
    "bind: another, shorter family",
    "connect: another family",
    "connect: another, shorter family",
    "connect: no place in a Unix queue in time",
    "recv_exact: the end comes first",
    "send_to: another family",
];

/// Rows that need a process of their own: tests/client_descriptors.rs.
const ELSEWHERE: [(&str, &str); 2] = [("tcp", "EMFILE"), ("accept", "EMFILE")];

const fn case(name: &'static str, end: &'static str, call: fn() -> io::Result<()>) -> Case {
    Case { name, end, call }
}

const CASES: &[Case] = &[
    case("bind: taken", "EADDRINUSE", || {
        let (_listener, taken) = tcp_listener(1)?;
        Socket::tcp()?.bind(&taken)
    }),
    case("bind: an alien address", "EADDRNOTAVAIL", || {
        Socket::tcp()?.bind(&address(ALIEN))
    }),
    case("bind: another family", "EAFNOSUPPORT", || {
        Socket::tcp()?.bind(&address("[::1]:0"))
    }),
    case("bind: another, shorter family", "EINVAL", || {
        Socket::tcp()?.bind(&Address::Unix("x".into()))
    }),
    case("bind: twice", "EINVAL", || {
        let socket = bound(Socket::tcp()?)?;
        socket.bind(&address("127.0.0.1:0"))
    }),
    case("bind: no folder", "ENOENT", || {
        Socket::unix()?.bind(&missing())
    }),
    case("listen: another listens", "EADDRINUSE", || {
        let (first, second) = (Socket::tcp()?, Socket::tcp()?);
        first.set_option(SO_REUSEADDR, true)?;
        second.set_option(SO_REUSEADDR, true)?;
        let first = bound(first)?;
        second.bind(&first.local_name()?)?;
        first.listen(1)?;
        second.listen(1)
    }),
    case("listen: connected", "EINVAL", || tcp_pair()?.0.listen(1)),
    case("listen: Unix, without a name", "EINVAL", || {
        Socket::unix()?.listen(1)
    }),
    case("listen: UDP", "EOPNOTSUPP", || Socket::udp()?.listen(1)),
    case("accept: nobody is there", "EAGAIN", || {
        accept(&in_mode(tcp_listener(1)?.0, Mode::NonBlocking)?)
    }),
    case("accept: nobody comes in time", "TimedOut", || {
        accept(&in_mode(tcp_listener(1)?.0, Mode::Timeout(SHORT))?)
    }),
    case("accept: no listener", "EINVAL", || {
        accept(&bound(Socket::tcp()?)?)
    }),
    case("accept: UDP", "EOPNOTSUPP", || {
        accept(&bound(Socket::udp()?)?)
    }),
    case("send: a full buffer", "EAGAIN", || {
        let (socket, _peer) = full_pair()?;
        socket.send(b"x").map(drop)
    }),
    case("send: a full buffer, for long", "TimedOut", || {
        let (socket, _peer) = full_pair()?;
        in_mode(socket, Mode::Timeout(SHORT))?.send(b"x").map(drop)
    }),
    case("send: the sending half is closed", "EPIPE", || {
        let (socket, _peer) = tcp_pair()?;
        socket.shutdown(Shutdown::Write)?;
        socket.send(b"x").map(drop)
    }),
    case("send: TCP, not connected", "EPIPE", || {
        Socket::tcp()?.send(b"x").map(drop)
    }),
    case("send: cut off", "ECONNRESET", || {
        cut_off()?.send(b"x").map(drop)
    }),
    case("send: cut off, and told so", "EPIPE", || {
        let socket = cut_off()?;
        assert!(socket.send(b"x").is_err());
        socket.send(b"x").map(drop)
    }),
    case("send: Unix, not connected", "ENOTCONN", || {
        Socket::unix()?.send(b"x").map(drop)
    }),
    case("send: UDP without a peer", "EDESTADDRREQ", || {
        Socket::udp()?.send(b"x").map(drop)
    }),
    case("send: UDP to nobody", "ECONNREFUSED", || {
        let (socket, _nobody) = udp_to_nobody()?;
        socket.send(b"x")?;
        socket.send(b"x").map(drop)
    }),
    case("send: UDP, too long", "EMSGSIZE", || {
        udp_to_nobody()?.0.send(&[0; TOO_LONG]).map(drop)
    }),
    case("recv: nothing is there", "EAGAIN", || {
        let (socket, _peer) = tcp_pair()?;
        in_mode(socket, Mode::NonBlocking)?.recv(1).map(drop)
    }),
    case("recv: nothing comes in time", "TimedOut", || {
        let (socket, _peer) = tcp_pair()?;
        in_mode(socket, Mode::Timeout(SHORT))?.recv(1).map(drop)
    }),
    case("recv: cut off", "ECONNRESET", || {
        cut_off()?.recv(1).map(drop)
    }),
    case("recv: cut off, and told so", "ok", || {
        let socket = cut_off()?;
        assert!(socket.recv(1).is_err());
        let end = socket.recv(1)?;
        assert_eq!(end, b"");
        Ok(())
    }),
    case("recv: TCP, not connected", "ENOTCONN", || {
        Socket::tcp()?.recv(1).map(drop)
    }),
    case("recv: Unix, not connected", "EINVAL", || {
        Socket::unix()?.recv(1).map(drop)
    }),
    case("recv: UDP from nobody", "ECONNREFUSED", || {
        let (socket, _nobody) = udp_to_nobody()?;
        socket.send(b"x")?;
        socket.recv(1).map(drop)
    }),
    case("send_all: a full buffer", "EAGAIN", || {
        let (socket, _peer) = full_pair()?;
        Ok(socket.send_all(b"x")?)
    }),
    case("send_all: a full buffer, for long", "TimedOut", || {
        let (socket, _peer) = full_pair()?;
        Ok(in_mode(socket, Mode::Timeout(SHORT))?.send_all(b"x")?)
    }),
    case("recv_exact: the end comes first", "UnexpectedEof", || {
        let (socket, peer) = tcp_pair()?;
        peer.send_all(b"x")?;
        drop(peer);
        Ok(socket.recv_exact(&mut [0; 2])?)
    }),
    case("send_to: too long", "EMSGSIZE", || {
        send_to(&Socket::udp()?, &[0; TOO_LONG], DISCARD)
    }),
    case("send_to: broadcast", "EACCES", || {
        send_to(&Socket::udp()?, b"x", BROADCAST)
    }),
    case("send_to: another family", "EAFNOSUPPORT", || {
        send_to(&Socket::udp()?, b"x", "[::1]:9")
    }),
    case("send_to: TCP, not connected", "EPIPE", || {
        send_to(&Socket::tcp()?, b"x", DISCARD)
    }),
    case("send_to: Unix, connected", "EISCONN", || {
        Socket::pair()?.0.send_to(b"x", &missing()).map(drop)
    }),
    case("send_to: Unix, not connected", "EOPNOTSUPP", || {
        Socket::unix()?.send_to(b"x", &missing()).map(drop)
    }),
    case("shutdown: not connected", "ENOTCONN", || {
        Socket::tcp()?.shutdown(Shutdown::Write)
    }),
    case("peer_name: not connected", "ENOTCONN", || {
        Socket::tcp()?.peer_name().map(drop)
    }),
    case("option: Unix has none", "EOPNOTSUPP", || {
        Socket::unix()?.option(TCP_NODELAY).map(drop)
    }),
    case("option: UDP has none", "EOPNOTSUPP", || {
        Socket::udp()?.option(TCP_NODELAY).map(drop)
    }),
    case("set_option: Unix has none", "EOPNOTSUPP", || {
        Socket::unix()?.set_option(TCP_NODELAY, true)
    }),
    case("set_option: UDP has none", "ENOPROTOOPT", || {
        Socket::udp()?.set_option(TCP_NODELAY, true)
    }),
];

/// A socket about to connect, and what must live meanwhile.
struct Connecting {
    socket: Socket,
    to: Address,
    others: Vec<Socket>,
}

/// What is prepared for `connect`, and how it and `connect_ex` end.
type Connect = (&'static str, &'static str, fn() -> io::Result<Connecting>);

const CONNECTS: &[Connect] = &[
    ("somebody listens", "ok", || {
        let (listener, to) = tcp_listener(1)?;
        connecting(Socket::tcp()?, to, [listener])
    }),
    ("somebody listens, with a time-out", "ok", || {
        let (listener, to) = tcp_listener(1)?;
        let socket = in_mode(Socket::tcp()?, Mode::Timeout(util::PATIENCE))?;
        connecting(socket, to, [listener])
    }),
    ("nobody listens", "ECONNREFUSED", || {
        let (silent, to) = silent()?;
        connecting(Socket::tcp()?, to, [silent])
    }),
    ("nobody listens, with a time-out", "ECONNREFUSED", || {
        let (silent, to) = silent()?;
        let socket = in_mode(Socket::tcp()?, Mode::Timeout(util::PATIENCE))?;
        connecting(socket, to, [silent])
    }),
    ("not blocking", "EINPROGRESS", || {
        let (listener, to) = tcp_listener(1)?;
        let socket = in_mode(Socket::tcp()?, Mode::NonBlocking)?;
        connecting(socket, to, [listener])
    }),
    ("not blocking, and again", "ok", || {
        let (listener, to) = tcp_listener(1)?;
        let socket = begun(&to)?;
        connecting(socket, to, [listener])
    }),
    ("going on", "EALREADY", || {
        let (others, to) = full_tcp_queue()?;
        connecting(begun(&to)?, to, others)
    }),
    ("refused meanwhile", "ECONNREFUSED", || {
        let (silent, to) = silent()?;
        connecting(begun(&to)?, to, [silent])
    }),
    ("refused, and the reason was taken", "ECONNABORTED", || {
        let (silent, to) = silent()?;
        let socket = begun(&to)?;
        assert_eq!(socket.take_error()?, Some(Errno::ECONNREFUSED));
        connecting(socket, to, [silent])
    }),
    ("connected", "EISCONN", || {
        let (socket, peer) = tcp_pair()?;
        let to = socket.peer_name()?;
        connecting(socket, to, [peer])
    }),
    ("no answer in time", "TimedOut", || {
        let (others, to) = full_tcp_queue()?;
        connecting(in_mode(Socket::tcp()?, Mode::Timeout(SHORT))?, to, others)
    }),
    ("no place in a Unix queue", "EAGAIN", || {
        let (others, to) = full_unix_queue()?;
        connecting(in_mode(Socket::unix()?, Mode::NonBlocking)?, to, others)
    }),
    ("no place in a Unix queue in time", "TimedOut", || {
        let (others, to) = full_unix_queue()?;
        connecting(in_mode(Socket::unix()?, Mode::Timeout(SHORT))?, to, others)
    }),
    ("another family", "EAFNOSUPPORT", || {
        connecting(Socket::tcp()?, address("[::1]:1"), [])
    }),
    ("another, shorter family", "EINVAL", || {
        connecting(Socket::tcp()?, Address::Unix("x".into()), [])
    }),
    ("no way", "ENETUNREACH", || {
        connecting(Socket::tcp()?, address(BROADCAST), [])
    }),
    ("no such path", "ENOENT", || {
        connecting(Socket::unix()?, missing(), [])
    }),
];

fn connecting(
    socket: Socket,
    to: Address,
    others: impl IntoIterator<Item = Socket>,
) -> io::Result<Connecting> {
    let others = others.into_iter().collect();
    Ok(Connecting { socket, to, others })
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

fn missing() -> Address {
    Address::Unix("/no such folder/socket".into())
}

fn in_mode(mut socket: Socket, mode: Mode) -> io::Result<Socket> {
    socket.set_mode(mode)?;
    Ok(socket)
}

fn bound(socket: Socket) -> io::Result<Socket> {
    socket.bind(&address("127.0.0.1:0"))?;
    Ok(socket)
}

/// One that has an address and does not listen: who connects there is refused.
fn silent() -> io::Result<(Socket, Address)> {
    let socket = bound(Socket::tcp()?)?;
    let name = socket.local_name()?;
    Ok((socket, name))
}

fn tcp_listener(backlog: u32) -> io::Result<(Socket, Address)> {
    let listener = bound(Socket::tcp()?)?;
    listener.listen(backlog)?;
    let name = listener.local_name()?;
    Ok((listener, name))
}

fn tcp_pair() -> io::Result<(Socket, Socket)> {
    let (listener, name) = tcp_listener(1)?;
    let client = Socket::tcp()?;
    client.connect(&name)?;
    Ok((client, listener.accept()?.0))
}

/// One that does not block, and whose buffer is full.
fn full_pair() -> io::Result<(Socket, Socket)> {
    let (socket, peer) = Socket::pair()?;
    let socket = in_mode(socket, Mode::NonBlocking)?;
    while socket.send(&[0; 65_536]).is_ok() {}
    Ok((socket, peer))
}

/// One whose peer has cut the connection.
fn cut_off() -> io::Result<Socket> {
    let (socket, peer) = tcp_pair()?;
    peer.set_option(SO_LINGER, Some(Duration::ZERO))?;
    drop(peer);
    Ok(socket)
}

/// A socket whose peer's port is held by one that takes nothing from it: a port that is merely
/// free could be another test's by then.
fn udp_to_nobody() -> io::Result<(Socket, Socket)> {
    let nobody = bound(Socket::udp()?)?;
    nobody.connect(&address(DISCARD))?;
    let socket = Socket::udp()?;
    socket.connect(&nobody.local_name()?)?;
    Ok((socket, nobody))
}

/// A listener with no place left for one more.
fn full_tcp_queue() -> io::Result<(Vec<Socket>, Address)> {
    let (listener, name) = tcp_listener(0)?;
    let first = Socket::tcp()?;
    first.connect(&name)?;
    Ok((vec![listener, first], name))
}

fn full_unix_queue() -> io::Result<(Vec<Socket>, Address)> {
    let (listener, first) = (Socket::unix()?, Socket::unix()?);
    listener.bind(&Address::Unix("".into()))?;
    listener.listen(0)?;
    let name = listener.local_name()?;
    first.connect(&name)?;
    Ok((vec![listener, first], name))
}

/// One that does not block and has begun to connect.
fn begun(to: &Address) -> io::Result<Socket> {
    let socket = in_mode(Socket::tcp()?, Mode::NonBlocking)?;
    assert_eq!(socket.connect_ex(to), Err(Errno::EINPROGRESS));
    Ok(socket)
}

fn accept(listener: &Socket) -> io::Result<()> {
    listener.accept().map(drop)
}

fn send_to(socket: &Socket, bytes: &[u8], to: &str) -> io::Result<()> {
    socket.send_to(bytes, &address(to)).map(drop)
}

/// `ok`, the name of the code, or that of the kind where there is no code.
fn end_of<T>(result: Result<T, io::Error>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(error) => match Errno::of(&error) {
            Some(errno) => errno.to_string(),
            None => format!("{:?}", error.kind()),
        },
    }
}

/// Each case with the end that it has come to and the one that it should: seen once, for all tests.
static ENDS: LazyLock<BTreeMap<String, (String, &str)>> = LazyLock::new(all_ends);

fn all_ends() -> BTreeMap<String, (String, &'static str)> {
    let mut ends = BTreeMap::new();
    for case in CASES {
        ends.insert(case.name.into(), (end_of((case.call)()), case.end));
    }
    for (name, end, prepare) in CONNECTS {
        let c = prepare().unwrap_or_else(|error| panic!("{name}: {error}"));
        let connected = end_of(c.socket.connect(&c.to));
        ends.insert(format!("connect: {name}"), (connected, end));
        drop(c.others);
        let c = prepare().unwrap_or_else(|error| panic!("{name}: {error}"));
        let connected = c.socket.connect_ex(&c.to);
        let connected = end_of(connected.map_err(io::Error::from));
        let code = if *end == "TimedOut" { "EAGAIN" } else { end };
        ends.insert(format!("connect_ex: {name}"), (connected, code));
        drop(c.others);
    }
    let wrong_kind = unix_socket_of_another_kind();
    ends.insert("connect: another kind".into(), (wrong_kind, "EPROTOTYPE"));
    ends
}

fn unix_socket_of_another_kind() -> String {
    let folder = Folder::new("another-kind");
    let path = folder.path("datagrams");
    let _socket = UnixDatagram::bind(&path).expect("a socket for datagrams");
    let stream = Socket::unix().expect("a socket");
    end_of(stream.connect(&Address::Unix(path)))
}

/// The rows of each method's table.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/client/socket");
    let mut tables = BTreeMap::new();
    for file in std::fs::read_dir(folder).expect("a folder") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("source");
        let (mut rows, mut in_table) = (BTreeSet::new(), false);
        for line in text.lines().map(str::trim) {
            let row = line.strip_prefix("/// |");
            in_table = row.is_some_and(|row| in_table || row == " errno | when |");
            if let (true, Some(row)) = (in_table, row) {
                let first = row.split('|').next().unwrap_or_default();
                rows.extend(first.split('`').skip(1).step_by(2).map(String::from));
            }
            if let Some(method) = line.strip_prefix("pub fn ") {
                let name = method.split(['(', '<']).next().unwrap_or_default();
                tables.insert(name.to_string(), std::mem::take(&mut rows));
            }
        }
    }
    tables.retain(|_, rows| !rows.is_empty());
    tables
}

#[test]
fn every_call_ends_as_it_should() {
    for (name, (end, expected)) in &*ENDS {
        assert_eq!(end, expected, "{name}");
    }
}

#[test]
fn the_tables_of_the_documentation_have_what_was_seen_and_nothing_else() {
    let documented = documented();
    assert!(documented.contains_key("connect"), "{documented:?}");
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let ends = ENDS.iter().map(|(name, (_, end))| {
        let method = name.split(':').next().unwrap_or_default();
        (method, *end)
    });
    for (method, end) in ends.chain(ELSEWHERE) {
        if end != "ok" && documented.contains_key(method) {
            seen.entry(method.into()).or_default().insert(end.into());
        }
    }
    assert_eq!(documented, seen);
}

#[test]
fn every_python_ends_the_same() {
    let expected: BTreeMap<&str, &str> = ENDS
        .iter()
        .map(|(name, (_, end))| (name.as_str(), *end))
        .filter(|(name, _)| {
            let as_connect = name.replace("connect_ex", "connect");
            !NOT_IN_PYTHON.contains(&as_connect.as_str())
        })
        .collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/socket_ends.py");
    for program in python::installed() {
        let ended = run(Command::new(&program).arg("-I").arg(&script));
        let program = program.display();
        assert_eq!(ended.code, Some(0), "{program}: {}", ended.stderr);
        let its: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&ended.stdout).expect("ends");
        let its: BTreeMap<&str, String> = its
            .iter()
            .map(|(name, end)| {
                let code = end.as_i64().and_then(|code| i32::try_from(code).ok());
                let end = match code {
                    Some(0) => "ok".into(),
                    Some(code) => Errno::from(code).to_string(),
                    None => end.as_str().expect("a code or a text").into(),
                };
                (name.as_str(), end)
            })
            .collect();
        for (name, end) in &expected {
            assert_eq!(
                its.get(name).map(String::as_str),
                Some(*end),
                "{program}: {name}"
            );
        }
        assert_eq!(its.len(), expected.len(), "{program}: {its:?}");
    }
}
