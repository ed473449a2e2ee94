//! Datagrams: which are served, what is answered, and that nothing else is.

#![cfg(feature = "cli")]

mod util;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::Duration;

use gateloop::address::{Address, UdpAddress};
use gateloop::client::{DatagramClient, Error};
use gateloop::error::DropReason;
use gateloop::limits::{
    DATAGRAM_BYTES_MAX, DATAGRAM_SKEW_MAX, DATAGRAM_SOCKETS_MAX, DRAIN_DATAGRAMS, Limits,
    TURN_DATAGRAMS,
};
use gateloop::protocol::datagram::{self, ENVELOPE_BYTES, Gate, Id, Kind, VERSION};
use gateloop::protocol::handshake::challenge::{self, Proof};
use gateloop::protocol::{Digest, HandshakeRules, Key, Message};
use gateloop::server::{BindError, Config, Model, Server};
use gateloop::service::rpc::Rpc;
use gateloop::service::{Asked, Datagrams, Echo, Flow, Replies, Service};
use rustix::process::Signal;
use serde_json::{Value, json};
use socket2::SockRef;
use util::cli::{FREE_PORT, KEY, assert_error, gateloop_with_key, serving_with_key};
use util::datagrams::{PING, PONG, RawDatagrams, id_of, new_id, request, request_at, unix_ms};
use util::measure::datagram_socket_at;
use util::server::{Raw, TestServer, keyed_config, open_config};
use util::services::ordered;
use util::{Ends, Folder, Process, Serving, eventually, gateloop, run};

const ANSWER_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - ENVELOPE_BYTES;
const SKEW_MS: u64 = DATAGRAM_SKEW_MAX.as_millis() as u64;
const MIB: usize = 1024 * 1024;
/// A moment in 2023.
const START_MS: u64 = 1_700_000_000_000;

fn key() -> Key {
    Key::new(KEY).expect("a key")
}

fn with_udp(config: Config, addresses: &[&str]) -> Config {
    let udp = addresses
        .iter()
        .map(|text| text.parse().expect("an address"));
    Config {
        udp: udp.collect(),
        ..config
    }
}

/// A server with a key, and a client of its first address.
fn keyed(service: impl Service) -> (TestServer, RawDatagrams) {
    let server = TestServer::start(with_udp(keyed_config(KEY), &[FREE_PORT]), service);
    let client = RawDatagrams::to(server.udp[0]);
    (server, client)
}

/// A server without a key, and a client of its first address.
fn open(service: impl Service) -> (TestServer, RawDatagrams) {
    let server = TestServer::start(with_udp(open_config(), &[FREE_PORT]), service);
    let client = RawDatagrams::to(server.udp[0]);
    (server, client)
}

/// That so many datagrams were dropped for these reasons, and no others.
#[track_caller]
fn assert_drops(server: &TestServer, expected: &[(DropReason, u64)]) {
    let mut counts = [0; DropReason::COUNT];
    for (reason, count) in expected {
        counts[reason.index()] = *count;
    }
    let counted = server.stats.snapshot().datagram_drops.0;
    assert_eq!(counted, counts, "{:?}", DropReason::NAMES);
}

/// Messages are counted at a turn's end.
fn wait_for_messages(server: &TestServer, count: u64) {
    eventually("so many messages are served", || {
        (server.stats.messages.load(Relaxed) == count).then_some(())
    });
}

// Which are admitted: the rules by themselves, under a clock of the test's own.

/// A gate for those who hold the key.
fn gate(ids_max: usize) -> Gate {
    Gate::keyed(
        key(),
        Limits::default().message_bytes_max,
        ids_max,
        START_MS,
        7,
    )
}

fn admit(gate: &mut Gate, datagram: &[u8], now_ms: u64) -> Result<Vec<u8>, DropReason> {
    let admitted = gate.admit(datagram, now_ms);
    admitted.map(|request| request.payload.to_vec())
}

#[test]
fn a_date_may_be_off_by_30_s_and_not_by_a_millisecond_more() {
    let now = START_MS + 10 * SKEW_MS;
    for (sent_at, expected) in [
        (now - SKEW_MS, Ok(())),
        (now - SKEW_MS - 1, Err(DropReason::Late)),
        (now + SKEW_MS, Ok(())),
        (now + SKEW_MS + 1, Err(DropReason::Early)),
        (0, Err(DropReason::Late)),
        (u64::MAX, Err(DropReason::Early)),
    ] {
        let datagram = request_at(&key(), sent_at, &new_id(), b"hi");
        let admitted = admit(&mut gate(10), &datagram, now);
        assert_eq!(
            admitted.map(|payload| assert_eq!(payload, b"hi")),
            expected,
            "{sent_at}"
        );
    }
}

#[test]
fn what_is_from_before_the_start_is_dropped() {
    let mut gate = gate(10);
    let before = request_at(&key(), START_MS - 1, &new_id(), b"");
    let since = request_at(&key(), START_MS, &new_id(), b"");
    for now in [START_MS, START_MS + SKEW_MS - 1] {
        assert_eq!(admit(&mut gate, &before, now), Err(DropReason::BeforeStart));
    }
    assert_eq!(
        admit(&mut gate, &before, START_MS + SKEW_MS),
        Err(DropReason::Late)
    );
    assert_eq!(admit(&mut gate, &since, START_MS + SKEW_MS), Ok(vec![]));
}

/// Over the whole time in which its date alone would pass, from the earliest moment to the last.
#[test]
fn an_id_is_served_once() {
    let mut gate = gate(10);
    let (sent_at, id) = (START_MS + SKEW_MS, new_id());
    let datagram = request_at(&key(), sent_at, &id, b"once");
    assert_eq!(admit(&mut gate, &datagram, START_MS), Ok(b"once".to_vec()));
    for now in (START_MS..=sent_at + SKEW_MS).step_by(999) {
        assert_eq!(admit(&mut gate, &datagram, now), Err(DropReason::Replayed));
        let again = request_at(&key(), now, &id, b"another payload, another date");
        assert_eq!(admit(&mut gate, &again, now), Err(DropReason::Replayed));
    }
    let over = sent_at + SKEW_MS + 1;
    assert_eq!(admit(&mut gate, &datagram, over), Err(DropReason::Late));
}

#[test]
fn a_clock_that_is_set_back_lets_nothing_in_twice() {
    let mut gate = gate(10);
    let datagram = request_at(&key(), START_MS, &new_id(), b"");
    assert_eq!(admit(&mut gate, &datagram, START_MS), Ok(vec![]));
    // An hour later many others have made it forget this one.
    let later = START_MS + 3_600_000;
    for n in 0..20 {
        let other = request_at(&key(), later + n * 9_000, &new_id(), b"");
        assert_eq!(admit(&mut gate, &other, later + n * 9_000), Ok(vec![]));
    }
    assert_eq!(admit(&mut gate, &datagram, START_MS), Err(DropReason::Late));
}

#[test]
fn what_cannot_be_remembered_is_dropped() {
    const MAX: usize = 100;
    let mut gate = gate(MAX);
    for _ in 0..MAX {
        let datagram = request_at(&key(), START_MS, &new_id(), b"");
        assert_eq!(admit(&mut gate, &datagram, START_MS), Ok(vec![]));
    }
    let last = START_MS + SKEW_MS;
    let datagram = request_at(&key(), last, &new_id(), b"");
    for now in [START_MS, last] {
        let full = Err(DropReason::ReplayCacheFull);
        assert_eq!(admit(&mut gate, &datagram, now), full);
    }
    // Ids are forgotten by the second.
    assert_eq!(admit(&mut gate, &datagram, last + 1_000), Ok(vec![]));
}

/// The MAC first: whoever lacks the key cannot even learn which rule a datagram breaks.
#[test]
fn nothing_is_looked_at_before_the_mac() {
    let other = Key::new("another key").expect("a key");
    let mut gate = gate(1);
    let seen = request_at(&key(), START_MS, &new_id(), b"");
    assert_eq!(admit(&mut gate, &seen, START_MS), Ok(vec![]));
    for sent_at in [0, START_MS, u64::MAX] {
        let forged = request_at(&other, sent_at, &id_of(&key(), &seen), b"");
        assert_eq!(admit(&mut gate, &forged, START_MS), Err(DropReason::Forged));
    }
    for (at, byte) in [(0, VERSION + 1), (1, 1), (1, 2)] {
        let mut datagram = request_at(&key(), START_MS, &new_id(), b"");
        datagram[at] = byte;
        assert_eq!(
            admit(&mut gate, &datagram, START_MS),
            Err(DropReason::Forged)
        );
        let signed = datagram.len() - 32;
        let mac = Digest::Sha256.mac(&key(), &datagram[..signed]);
        datagram[signed..].copy_from_slice(&mac);
        let expected = [DropReason::Malformed, DropReason::NotARequest][at];
        assert_eq!(admit(&mut gate, &datagram, START_MS), Err(expected));
    }
}

// The same over real sockets: under its reason each is counted, and none is answered.

#[test]
fn what_is_cut_or_changed_anywhere_is_dropped() {
    let (server, client) = keyed(Echo);
    let whole = request(&key(), b"to be cut and changed");
    for len in 0..whole.len() {
        client.send(&whole[..len]);
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        client.send(&changed);
        // The kernel's buffer does not hold all of them at once.
        eventually("it is looked at", || {
            let came = server.stats.datagrams.load(Relaxed);
            (came == (whole.len() + at + 1) as u64).then_some(())
        });
    }
    client.send(&[&whole[..], b"and more"].concat());
    client.send(&whole);
    assert_eq!(
        client.recv_reply_to(&key(), &whole),
        b"to be cut and changed"
    );
    let (shorter, len) = (ENVELOPE_BYTES as u64, whole.len() as u64);
    assert_drops(
        &server,
        &[
            (DropReason::Malformed, shorter),
            (DropReason::Forged, len - shorter + len + 1),
        ],
    );
}

#[test]
fn a_replay_is_dropped_at_whichever_address() {
    let config = with_udp(keyed_config(KEY), &[FREE_PORT, FREE_PORT, "[::1]:0"]);
    let server = TestServer::start(config, Echo);
    let datagram = request(&key(), b"once");
    let clients: Vec<_> = server.udp.iter().copied().map(RawDatagrams::to).collect();
    clients[0].send(&datagram);
    assert_eq!(clients[0].recv_reply_to(&key(), &datagram), b"once");
    for client in &clients {
        client.send(&datagram);
        assert_eq!(client.ask(&key(), b"another"), b"another");
    }
    assert_drops(&server, &[(DropReason::Replayed, 3)]);
}

#[test]
fn a_replay_is_dropped_after_a_restart() {
    let (server, client) = keyed(Echo);
    let address = server.udp[0].to_string();
    let datagram = request(&key(), b"once");
    client.send(&datagram);
    assert_eq!(client.recv_reply_to(&key(), &datagram), b"once");
    server.stop.drain();
    server.wait();
    let sent_at = datagram::open(&key(), &datagram)
        .expect("ours")
        .0
        .sent_at_ms;
    eventually("the clock goes on", || (unix_ms() > sent_at).then_some(()));
    let server = TestServer::start(with_udp(keyed_config(KEY), &[&address]), Echo);
    client.send(&datagram);
    assert_eq!(client.ask(&key(), b"another"), b"another");
    assert_drops(&server, &[(DropReason::BeforeStart, 1)]);
}

#[test]
fn a_wrong_date_or_kind_is_dropped() {
    let (server, client) = keyed(Echo);
    let now = unix_ms();
    let second = 1_000;
    for sent_at in [
        now - second,
        now - SKEW_MS - second,
        now + SKEW_MS + 60 * second,
    ] {
        client.send(&request_at(&key(), sent_at, &new_id(), b"dropped"));
    }
    let early = request_at(&key(), now + SKEW_MS - second, &new_id(), b"early");
    client.send(&early);
    let reply = client.recv();
    // What the server says is nothing that it answers: two of them cannot be set on each other.
    client.send(&reply);
    assert_eq!(client.ask(&key(), b"in time"), b"in time");
    assert_drops(
        &server,
        &[
            (DropReason::BeforeStart, 1),
            (DropReason::Late, 1),
            (DropReason::Early, 1),
            (DropReason::NotARequest, 1),
        ],
    );
    assert_eq!(server.stats.datagrams.load(Relaxed), 6);
    wait_for_messages(&server, 2);
}

// Sizes.

#[test]
fn the_longest_datagram_is_answered_and_none_is_cut() {
    for address in [FREE_PORT, "[::1]:0"] {
        let server = TestServer::start(with_udp(keyed_config(KEY), &[address]), Echo);
        let client = RawDatagrams::to(server.udp[0]);
        for len in [0, 1, 1_472, 65_000, ANSWER_BYTES_MAX] {
            let payload: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
            assert!(client.ask(&key(), &payload) == payload, "{len} bytes");
        }
        assert_drops(&server, &[]);

        let open = TestServer::start(with_udp(open_config(), &[address]), Echo);
        let client = RawDatagrams::to(open.udp[0]);
        for len in [0, 1, 65_000, DATAGRAM_BYTES_MAX] {
            let payload: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
            client.send(&payload);
            assert!(client.recv() == payload, "{len} bytes");
        }
        assert_drops(&open, &[]);
    }
}

/// IPv6 has room for 20 bytes more.
#[test]
fn a_datagram_that_is_too_long_is_dropped() {
    let server = TestServer::start(with_udp(open_config(), &["[::1]:0"]), Echo);
    let client = RawDatagrams::to(server.udp[0]);
    for len in [DATAGRAM_BYTES_MAX + 1, DATAGRAM_BYTES_MAX + 20] {
        client.send(&vec![b'l'; len]);
    }
    client.send(b"short");
    assert_eq!(client.recv(), b"short");
    assert_drops(&server, &[(DropReason::TooLong, 2)]);
}

#[test]
fn a_payload_may_be_as_long_as_a_message() {
    let limited = |config| Config {
        limits: Limits {
            message_bytes_max: 100,
            ..Limits::default()
        },
        ..with_udp(config, &[FREE_PORT])
    };
    let (longest, longer) = ([b'l'; 100], [b'l'; 101]);
    let server = TestServer::start(limited(keyed_config(KEY)), Echo);
    let client = RawDatagrams::to(server.udp[0]);
    client.send(&request(&key(), &longer));
    assert_eq!(client.ask(&key(), &longest), longest);
    assert_drops(&server, &[(DropReason::TooLong, 1)]);

    let server = TestServer::start(limited(open_config()), Echo);
    let client = RawDatagrams::to(server.udp[0]);
    client.send(&longer);
    client.send(&longest);
    assert_eq!(client.recv(), longest);
    assert_drops(&server, &[(DropReason::TooLong, 1)]);
}

/// Answers a datagram of a decimal number with so many bytes.
#[derive(Clone)]
struct Fountain;

impl Service for Fountain {
    type State = ();

    fn name(&self) -> &'static str {
        "fountain"
    }

    fn message(
        &mut self,
        _: &mut (),
        message: &mut Message<'_>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        replies.forward(message);
        Flow::Continue
    }

    fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        Some(self)
    }
}

impl Datagrams for Fountain {
    fn datagram(&mut self, payload: &[u8], asked: Asked<'_>, out: &mut Vec<u8>) -> bool {
        let text = str::from_utf8(payload).expect("text");
        match text {
            "silence" => false,
            "max" => {
                out.extend_from_slice(asked.answer_bytes_max.to_string().as_bytes());
                true
            }
            number => {
                let len: usize = number.trim().parse().expect("a number");
                out.resize(out.len() + len, b'f');
                true
            }
        }
    }
}

#[test]
fn an_answer_that_is_too_long_is_dropped() {
    let (server, client) = keyed(Fountain);
    client.send(&request(
        &key(),
        (ANSWER_BYTES_MAX + 1).to_string().as_bytes(),
    ));
    let longest = client.ask(&key(), ANSWER_BYTES_MAX.to_string().as_bytes());
    assert_eq!(longest.len(), ANSWER_BYTES_MAX);
    assert_eq!(
        client.ask(&key(), b"max"),
        ANSWER_BYTES_MAX.to_string().as_bytes()
    );
    assert_drops(&server, &[(DropReason::AnswerTooLong, 1)]);
}

#[test]
fn without_a_key_no_answer_is_longer_than_what_was_asked() {
    let (server, client) = open(Fountain);
    client.send(b"5 ");
    client.send(format!("{DATAGRAM_BYTES_MAX}").as_bytes());
    client.send(b"5    ");
    assert_eq!(client.recv(), b"fffff");
    client.send(b"5     ");
    assert_eq!(client.recv(), b"fffff");
    assert_drops(&server, &[(DropReason::Amplified, 2)]);
}

// What the service makes of them.

#[test]
fn a_service_may_be_silent_or_panic_and_the_next_is_served() {
    let (server, client) = keyed(Fountain);
    for asked in [&b"silence"[..], b"no number", b"\xff"] {
        client.send(&request(&key(), asked));
    }
    assert_eq!(client.ask(&key(), b"2"), b"ff");
    assert_drops(&server, &[(DropReason::ServicePanic, 2)]);
    wait_for_messages(&server, 4);
}

fn call(method: &str) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": 7, "method": method})
        .to_string()
        .into_bytes()
}

#[test]
fn rpc_answers_its_methods_without_parameters_and_no_others() {
    let rpc = Rpc::new()
        .method("own", "none", "a method of one's own", |_| Ok(1))
        .deferred("later", "none", "a deferred method", |_| Ok(|| Ok(1)));
    let (server, client) = keyed(rpc);
    let ask = |request: &[u8]| -> Value {
        serde_json::from_slice(&client.ask(&key(), request)).expect("JSON")
    };
    assert_eq!(client.ask(&key(), PING), PONG);
    for method in ["time", "stats", "rpc.methods"] {
        assert!(!ask(&call(method))["result"].is_null(), "{method}");
    }
    let who = &ask(&call("whoami"))["result"];
    let own = client.0.local_addr().expect("a port").port();
    assert_eq!(who["address"], format!("127.0.0.1:{own}"));
    assert_eq!(
        (&who["handshake"], &who["digest"]),
        (&json!("mutual"), &json!("sha256"))
    );
    let refused = json!({"code": -32000, "message": "datagrams cannot call this method"});
    for method in ["echo", "own", "later"] {
        assert_eq!(ask(&call(method))["error"], refused, "{method}");
        let notification = json!({"jsonrpc": "2.0", "method": method}).to_string();
        client.send(&request(&key(), notification.as_bytes()));
    }
    assert_eq!(ask(&call("nope"))["error"]["code"], -32601);
    let with_params = json!({"jsonrpc": "2.0", "id": 7, "method": "ping", "params": [1]});
    assert_eq!(
        ask(with_params.to_string().as_bytes())["error"]["code"],
        -32602
    );
    assert_eq!(ask(b"hello")["error"]["code"], -32700);
    let silent = json!({"jsonrpc": "2.0", "method": "ping"}).to_string();
    client.send(&request(&key(), silent.as_bytes()));
    let batch = format!("[{silent},{},{}]", String::from_utf8_lossy(PING), silent);
    assert_eq!(
        client.ask(&key(), batch.as_bytes()),
        [b"[", PONG, b"]"].concat()
    );
    assert_drops(&server, &[]);
}

#[test]
fn the_answer_to_a_batch_is_no_longer_than_a_datagram() {
    let (server, client) = keyed(Rpc::new());
    let stats = String::from_utf8(call("stats")).expect("text");
    let batch = format!("[{}]", vec![stats; 1_000].join(","));
    let answer: Value =
        serde_json::from_slice(&client.ask(&key(), batch.as_bytes())).expect("JSON");
    assert_eq!(answer["error"]["message"], "the batch's answer is too long");
    assert_drops(&server, &[]);
}

#[test]
fn without_a_key_a_request_pays_for_its_answer() {
    let (server, client) = open(Rpc::new());
    client.send(PING);
    assert_eq!(client.recv(), PONG, "it is as long as its request");
    let mut stats = call("stats");
    client.send(&stats);
    stats.resize(2_000, b' ');
    client.send(&stats);
    let answer: Value = serde_json::from_slice(&client.recv()).expect("JSON");
    assert_eq!(answer["result"]["datagram_drops"]["amplified"], 1);
    assert_eq!(answer["result"]["datagrams"], 3);
    assert_drops(&server, &[(DropReason::Amplified, 1)]);
}

// What a server refuses at its start.

#[track_caller]
fn assert_refused(config: Config, service: impl Service, why: &str) {
    let Err(error) = Server::bind(config, service) else {
        panic!("it is not refused");
    };
    assert!(
        error.to_string().contains(why),
        "`{why}` is missing: {error}"
    );
}

#[test]
fn a_service_that_does_not_serve_datagrams_is_refused() {
    let service = ordered(|_: &mut Message<'_>, _: &mut Replies<'_>| Flow::Continue);
    let config = with_udp(open_config(), &[FREE_PORT]);
    assert_refused(
        config,
        service,
        "the service closure does not serve datagrams",
    );
}

#[test]
fn a_model_without_an_event_loop_is_refused() {
    for model in Model::ALL {
        let config = Config {
            model,
            ..with_udp(keyed_config(KEY), &[FREE_PORT])
        };
        if model == Model::Reactor {
            assert!(Server::bind(config, Echo).is_ok());
        } else {
            assert_refused(config, Echo, "choose the model reactor");
        }
    }
}

#[test]
fn handshake_none_is_refused_where_others_can_reach_it() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let config = with_udp(open_config(), &[FREE_PORT, address]);
        assert_refused(config.clone(), Echo, &format!("none on udp:{address}"));
        let insecure = Config {
            insecure: true,
            ..config
        };
        assert!(Server::bind(insecure, Echo).is_ok());
        assert!(Server::bind(with_udp(keyed_config(KEY), &[address]), Echo).is_ok());
    }
}

#[test]
fn there_are_as_many_sockets_as_there_may_be() {
    let many = vec![FREE_PORT; DATAGRAM_SOCKETS_MAX];
    let server = TestServer::start(with_udp(keyed_config(KEY), &many), Echo);
    for (n, address) in server.udp.iter().enumerate() {
        let n = n.to_string();
        assert_eq!(
            RawDatagrams::to(*address).ask(&key(), n.as_bytes()),
            n.as_bytes()
        );
    }
    let more = vec![FREE_PORT; DATAGRAM_SOCKETS_MAX + 1];
    let why = "more than 64 addresses for datagrams";
    assert_refused(with_udp(keyed_config(KEY), &more), Echo, why);
}

#[test]
fn an_address_in_use_is_told_and_not_shared() {
    let (server, _client) = keyed(Echo);
    let config = with_udp(keyed_config(KEY), &[&server.udp[0].to_string()]);
    let Err(error) = Server::bind(config, Echo) else {
        panic!("two servers share an address");
    };
    assert!(matches!(error, BindError::ListenUdp(..)));
    let expected = format!("cannot listen on udp:{}: it is in use", server.udp[0]);
    assert_eq!(error.to_string(), expected);
}

/// What is for IPv6 is for IPv6 alone, as with streams.
#[test]
fn all_networks_of_both_kinds_can_be_served_at_one_port() {
    let server = TestServer::start(with_udp(keyed_config(KEY), &["[::]:0"]), Echo);
    let port = server.udp[0].port();
    let config = with_udp(keyed_config(KEY), &[&format!("0.0.0.0:{port}")]);
    let _other = TestServer::start(config, Echo);
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let client = RawDatagrams::to(address.parse().expect("an address"));
        assert_eq!(client.ask(&key(), b"hi"), b"hi");
    }
    assert_eq!(server.stats.datagrams.load(Relaxed), 1);
}

#[test]
fn one_of_several_reactors_serves_them() {
    let config = Config {
        reactors: 3,
        ..with_udp(keyed_config(KEY), &[FREE_PORT, "[::1]:0"])
    };
    let server = TestServer::start(config, Rpc::new());
    for address in &server.udp {
        for _ in 0..10 {
            assert_eq!(RawDatagrams::to(*address).ask(&key(), PING), PONG);
        }
    }
    assert_eq!(server.stats.datagrams.load(Relaxed), 20);
}

// Budgets, errors and the end.

/// A server of its own process, which can be paused.
fn serving() -> (Serving, SocketAddr) {
    let serving = serving_with_key(&["--service", "echo", "--udp", FREE_PORT]);
    let udp: UdpAddress = serving.addresses[1].parse().expect("an address");
    assert!(serving.addresses[1].starts_with("udp:"));
    (serving, udp.0)
}

/// Sends so many requests while the server stands still.
fn send_while_paused(process: &Process, client: &RawDatagrams, count: usize) -> Vec<Vec<u8>> {
    process.pause();
    let requests: Vec<_> = (0..count)
        .map(|n| request(&key(), n.to_string().as_bytes()))
        .collect();
    requests.iter().for_each(|request| client.send(request));
    requests
}

#[track_caller]
fn assert_all_answered(client: &RawDatagrams, requests: &[Vec<u8>]) {
    for (n, request) in requests.iter().enumerate() {
        let answer = client.recv_reply_to(&key(), request);
        assert_eq!(answer, n.to_string().as_bytes());
    }
}

/// No edge tells of those that the first turn leaves over.
#[test]
fn what_a_turn_leaves_over_is_served_in_the_next() {
    let (serving, udp) = serving();
    let client = RawDatagrams::to(udp);
    let requests = send_while_paused(&serving.process, &client, TURN_DATAGRAMS * 3 / 2);
    serving.process.resume();
    assert_all_answered(&client, &requests);
}

#[test]
fn at_the_order_to_stop_what_has_arrived_is_answered() {
    let (serving, udp) = serving();
    let client = RawDatagrams::to(udp);
    assert_eq!(client.ask(&key(), b"before"), b"before");
    let requests = send_while_paused(&serving.process, &client, TURN_DATAGRAMS * 3 / 2);
    serving.process.signal(Signal::TERM);
    serving.process.resume();
    assert_all_answered(&client, &requests);
    assert_eq!(serving.process.wait().code, Some(0));
    assert!(eventually("nobody is there", || client
        .is_refused()
        .then_some(true)));
}

/// Of a server that has not run yet and is told to stop: it takes one turn, and ends.
#[test]
fn a_turn_and_the_end_have_a_budget_each() {
    const MOST: usize = TURN_DATAGRAMS + DRAIN_DATAGRAMS;
    for (count, left_over) in [(MOST, 0), (MOST + 1, 1)] {
        let config = with_udp(keyed_config(KEY), &[FREE_PORT]);
        let server = Server::bind(config, Echo).expect("a server that can start");
        let address = server.udp_addresses()[0].0;
        let client = RawDatagrams::to(address);
        let own = datagram_socket_at(std::process::id(), address);
        for socket in [&own, &SockRef::from(&client.0)] {
            // The kernel counts 768 bytes for each of these datagrams.
            socket.set_recv_buffer_size(MIB).expect("an option");
            let room = socket.recv_buffer_size().expect("an option");
            assert!(room > 768 * (MOST + 1), "net.core.rmem_max is too small");
        }
        drop(own);
        let requests: Vec<_> = (0..count)
            .map(|n| request(&key(), n.to_string().as_bytes()))
            .collect();
        requests.iter().for_each(|request| client.send(request));
        let stats = server.stats();
        server.stop_handle().drain();
        server.run().expect("no error of the poll");
        assert_eq!(stats.datagrams.load(Relaxed), (count - left_over) as u64);
        assert_eq!(stats.messages.load(Relaxed), (count - left_over) as u64);
        assert_all_answered(&client, &requests[..count - left_over]);
    }
}

/// Echoes datagrams; a message is answered with how many of them have come.
#[derive(Clone)]
struct Counting;

impl Service for Counting {
    type State = ();

    fn name(&self) -> &'static str {
        "counting"
    }

    fn message(&mut self, _: &mut (), _: &mut Message<'_>, replies: &mut Replies<'_>) -> Flow {
        let count = replies.stats().datagrams.load(Relaxed);
        replies.send_all(count.to_string().as_bytes());
        Flow::Continue
    }

    fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        Some(self)
    }
}

impl Datagrams for Counting {
    fn datagram(&mut self, payload: &[u8], asked: Asked<'_>, out: &mut Vec<u8>) -> bool {
        Echo.datagram(payload, asked, out)
    }
}

/// They were there first, and more than a turn's.
#[test]
fn a_message_waits_for_no_more_than_a_turn_of_datagrams() {
    let config = with_udp(open_config(), &[FREE_PORT]);
    let server = Server::bind(config, Counting).expect("a server that can start");
    let datagrams = RawDatagrams::to(server.udp_addresses()[0].0);
    for _ in 0..2 * TURN_DATAGRAMS {
        datagrams.send(b"first");
    }
    let Address::Tcp(address) = server.addresses()[0] else {
        panic!("not of TCP")
    };
    let mut client = Raw::connect(address);
    client.send_frame(b"how many?");
    let stop = server.stop_handle();
    let running = thread::spawn(move || server.run());
    let count = String::from_utf8(client.recv_frame()).expect("a number");
    let before: usize = count.parse().expect("a number");
    assert!(before <= TURN_DATAGRAMS, "{before} datagrams went before");
    for _ in 0..2 * TURN_DATAGRAMS {
        assert_eq!(datagrams.recv(), b"first");
    }
    stop.drain();
    running
        .join()
        .expect("no panic")
        .expect("no error of the poll");
}

#[test]
fn a_flood_does_not_hold_up_the_end() {
    let (serving, udp) = serving();
    let (sent, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let code = thread::scope(|scope| {
        let _ends = Ends(&over);
        for _ in 0..2 {
            scope.spawn(|| {
                let client = RawDatagrams::to(udp);
                while !over.load(Relaxed) {
                    // It is refused once the server is gone.
                    let _ = client.0.send(&[0; ENVELOPE_BYTES]);
                    sent.fetch_add(1, Relaxed);
                }
            });
        }
        eventually("the flood is there", || {
            (sent.load(Relaxed) > 10_000).then_some(())
        });
        serving.stop().code
    });
    assert_eq!(code, Some(0));
}

#[test]
fn who_is_gone_before_its_answer_harms_nobody() {
    let (serving, udp) = serving();
    let client = RawDatagrams::to(udp);
    for _ in 0..3 {
        send_while_paused(&serving.process, &RawDatagrams::to(udp), 10);
        serving.process.resume();
        assert_eq!(client.ask(&key(), b"still here"), b"still here");
    }
    assert_eq!(serving.stop().code, Some(0));
}

#[test]
fn an_answer_that_the_kernel_does_not_take_is_dropped() {
    let (server, client) = keyed(Echo);
    let (address, own) = (server.udp[0], std::process::id());
    let socket = datagram_socket_at(own, address);
    // It says that there is no connection, and does it all the same.
    let _ = socket.shutdown(std::net::Shutdown::Write);
    client.send(&request(&key(), b"never answered"));
    eventually("it is dropped", || {
        (server.stats.drops(DropReason::Unsent) == 1).then_some(())
    });
    assert_drops(&server, &[(DropReason::Unsent, 1)]);
}

#[test]
fn a_quiet_socket_costs_nothing() {
    let (server, client) = keyed(Echo);
    assert_eq!(client.ask(&key(), b"awake"), b"awake");
    let before = server.cpu_time();
    util::dawdle(Duration::from_millis(500));
    let used = server.cpu_time() - before;
    assert!(used < Duration::from_millis(2), "{used:?}");
}

// The client.

/// A socket that plays a server, and a client of it.
fn played() -> (UdpSocket, DatagramClient) {
    let server = UdpSocket::bind(FREE_PORT).expect("a free port");
    server
        .set_read_timeout(Some(util::PATIENCE))
        .expect("a time-out");
    let address = UdpAddress(server.local_addr().expect("an address"));
    let handshake = keyed_config(KEY).handshake;
    let client = DatagramClient::new(address, &handshake, Some(Duration::from_millis(200)));
    (server, client.expect("a socket"))
}

/// What is sent back to a request of this id before its right reply.
fn wrong_replies(id: &Id) -> Vec<Vec<u8>> {
    let reply = |key: &Key, kind, id: &Id| {
        let mut out = Vec::new();
        datagram::seal(key, kind, unix_ms(), id, b"wrong", &mut out);
        out
    };
    let right = reply(&key(), Kind::Reply, id);
    let mut changed = right.clone();
    changed[ENVELOPE_BYTES - 32] ^= 1;
    vec![
        vec![],
        right[..right.len() - 1].to_vec(),
        changed,
        reply(&Key::new("another key").expect("a key"), Kind::Reply, id),
        reply(&key(), Kind::Reply, &new_id()),
        reply(&key(), Kind::Request, id),
    ]
}

#[test]
fn a_client_takes_only_the_reply_to_its_request() {
    let (server, mut client) = played();
    thread::scope(|scope| {
        let right = scope.spawn(|| client.call(b"hi"));
        let mut buffer = [0; 100];
        let (len, sender) = server.recv_from(&mut buffer).expect("a request");
        let (header, payload) = datagram::open(&key(), &buffer[..len]).expect("the key");
        assert_eq!((header.kind, payload), (Some(Kind::Request), &b"hi"[..]));
        for wrong in wrong_replies(&header.id) {
            server.send_to(&wrong, sender).expect("the client is there");
        }
        let mut reply = Vec::new();
        // Whatever the server's clock says: the id is this request's.
        datagram::seal(&key(), Kind::Reply, 0, &header.id, b"right", &mut reply);
        server.send_to(&reply, sender).expect("the client is there");
        let right = right.join().expect("no panic");
        assert_eq!(right.expect("a reply"), b"right");
    });
}

#[test]
fn a_client_gives_up_in_time_and_asks_once() {
    let (server, mut client) = played();
    let timed_out = client.call(b"first");
    assert!(matches!(timed_out, Err(Error::TimedOut)), "{timed_out:?}");
    let timed_out = client.call(b"second");
    assert!(matches!(timed_out, Err(Error::TimedOut)), "{timed_out:?}");
    let mut ids = Vec::new();
    for expected in [&b"first"[..], b"second"] {
        let mut buffer = [0; 100];
        let len = server.recv(&mut buffer).expect("a request");
        let (header, payload) = datagram::open(&key(), &buffer[..len]).expect("the key");
        assert_eq!(payload, expected);
        ids.push(header.id);
    }
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_client_is_told_what_cannot_be() {
    let (server, mut client) = played();
    let too_long = client.call(&vec![0; ANSWER_BYTES_MAX + 1]);
    assert!(matches!(too_long, Err(Error::Io(_))), "{too_long:?}");
    drop(server);
    let refused = client.call(b"hi");
    let is_refusal = |error: &Error| match error {
        Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        _ => false,
    };
    assert!(refused.as_ref().is_err_and(is_refusal), "{refused:?}");
}

#[test]
fn a_client_speaks_with_a_server() {
    for address in [FREE_PORT, "[::1]:0"] {
        let server = TestServer::start(with_udp(keyed_config(KEY), &[address]), Echo);
        let address = UdpAddress(server.udp[0]);
        let handshake = keyed_config(KEY).handshake;
        let client = DatagramClient::new(address, &handshake, Some(util::PATIENCE));
        let mut client = client.expect("a socket");
        for len in [0, 1, ANSWER_BYTES_MAX] {
            let payload = vec![b'p'; len];
            assert!(client.call(&payload).expect("an answer") == payload);
        }
        let open = TestServer::start(with_udp(open_config(), &[FREE_PORT]), Echo);
        let address = UdpAddress(open.udp[0]);
        let client = DatagramClient::new(address, &HandshakeRules::None, Some(util::PATIENCE));
        assert_eq!(
            client.expect("a socket").call(b"hi").expect("an answer"),
            b"hi"
        );
    }
}

/// It is the key that counts, whatever a connection would have to do with it.
#[test]
fn they_are_proved_alike_under_each_handshake_with_a_key() {
    for proof in [Proof::Hmac, Proof::Md5] {
        let config = Config {
            handshake: HandshakeRules::Challenge(challenge::Rules::new(key(), proof)),
            ..with_udp(open_config(), &[FREE_PORT])
        };
        let handshake = config.handshake.clone();
        let server = TestServer::start(config, Rpc::new());
        let client = RawDatagrams::to(server.udp[0]);
        client.send(PING);
        assert_eq!(client.ask(&key(), PING), PONG);
        assert_drops(&server, &[(DropReason::Malformed, 1)]);
        let address = UdpAddress(server.udp[0]);
        let client = DatagramClient::new(address, &handshake, Some(util::PATIENCE));
        let who = client.expect("a socket").call(&call("whoami"));
        let who: Value = serde_json::from_slice(&who.expect("an answer")).expect("JSON");
        assert_eq!(who["result"]["handshake"], proof.name());
        assert_eq!(who["result"]["digest"], "sha256", "of the datagram");
    }
}

// The binary.

#[test]
fn methods_are_called_from_the_command_line() {
    let serving = serving_with_key(&["--udp", "127.0.0.1:0,[::1]:0"]);
    let udp = serving.addresses[1..].to_vec();
    assert_eq!(udp.len(), 2);
    for address in &udp {
        let called = gateloop_with_key(&["call", address, "ping"]);
        assert_eq!(
            (called.code, &*called.stdout),
            (Some(0), "\"pong\"\n"),
            "{called:?}"
        );
    }
    let call = |args: &[&str]| gateloop_with_key(&[&["call", &udp[0]], args].concat());
    assert_error(
        &call(&["ping", "[1]"]),
        2,
        "only methods without parameters",
    );
    assert_error(&call(&["nope"]), 1, "Method not found (-32601)");
    assert_error(&call(&["echo"]), 1, "datagrams cannot call this method");
    let wrong_key = run(gateloop()
        .args(["call", &udp[0], "ping", "--timeout", "200ms"])
        .env("GATELOOP_AUTHKEY", "another key of enough bytes"));
    assert_error(&wrong_key, 1, "timed out");
    let stats: Value = serde_json::from_str(&call(&["stats"]).stdout).expect("JSON");
    assert_eq!(stats["datagram_drops"]["forged"], 1);
    assert_error(
        &gateloop_with_key(&["call", "udp:127.0.0.1", "ping"]),
        2,
        "HOST:PORT",
    );
    assert_eq!(serving.stop().code, Some(0));
    assert_error(&call(&["ping"]), 1, "refused");
}

#[test]
fn without_a_key_a_call_pays_for_every_answer() {
    let serving = Serving::start_open(&["--udp", FREE_PORT]);
    for method in ["ping", "time", "whoami", "stats", "rpc.methods"] {
        let args = ["call", &serving.addresses[1], method, "--handshake", "none"];
        let called = run(gateloop().args(args));
        assert_eq!(called.code, Some(0), "{called:?}");
    }
    let open = ["serve", "--listen", FREE_PORT, "--udp", "0.0.0.0:0"];
    let refused = run(gateloop().args(open).args(["--handshake", "none"]));
    assert_error(&refused, 2, "handshake none on udp:0.0.0.0:0");
}

#[test]
fn where_to_serve_them_is_a_key_of_the_file_too() {
    let folder = Folder::new("udp");
    let file = folder.write("gateloop.toml", "udp = [\"127.0.0.1:0\", \"[::1]:0\"]\n");
    let serving = serving_with_key(&["--config", &file]);
    assert_eq!(serving.addresses.len(), 3);
}

#[test]
fn drops_are_logged_under_their_reason_without_what_they_hold() {
    let mut command = gateloop();
    command
        .args(["serve", "--listen", FREE_PORT, "--udp", FREE_PORT])
        .env("GATELOOP_AUTHKEY", KEY)
        .env("RUST_LOG", "gateloop=debug");
    let serving = Serving::from_command(&mut command);
    let udp: UdpAddress = serving.addresses[1].parse().expect("an address");
    let client = RawDatagrams::to(udp.0);
    let mut forged = request(&key(), b"not to be logged");
    forged[0] ^= 0x80;
    client.send(&forged);
    client.send(b"not to be logged");
    assert_eq!(client.ask(&key(), PING), PONG);
    let log = serving.stop().stderr;
    for reason in ["forged", "malformed"] {
        let reason = format!("reason={reason}");
        let line = log.lines().find(|line| line.contains(&reason));
        let line = line.expect("the reason is in the log");
        assert!(line.contains("datagram dropped"), "{line}");
        let peer = client.0.local_addr().expect("a port").port();
        assert!(line.contains(&format!("127.0.0.1:{peer}")), "{line}");
    }
    assert!(!log.contains("not to be logged"), "{log}");
}
