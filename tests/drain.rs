//! Stopping: what had wholly arrived by then is answered, once; nothing later is; and it ends, at
//! the latest at the drain time-out, saying how many were cut off.
//!
//! That a request has arrived, the client's kernel knows: the server's has acknowledged all of it.

#![cfg(feature = "cli")]

mod util;

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use gateloop::limits::{Limits, PENALTY_MAX};
use gateloop::service::Service;
use rustix::process::Signal;
use util::measure::wait_until_arrived;
use util::random::Random;
use util::seed::seed;
use util::server::{Raw, TestServer, frame, open_config, start};
use util::services::{Gate, fountain, ordered, slow, unordered};
use util::{Ended, Serving, eventually, gateloop};

const MIB: usize = 1024 * 1024;

/// Every way to drive sessions. The pool has a thread for each client.
const WAYS: [&[&str]; 6] = [
    &[],
    &["--reactors", "2"],
    &["--model", "blocking"],
    &["--model", "threads"],
    &["--model", "pool", "--workers", "200"],
    &["--model", "spin"],
];
/// Those that serve several clients at once.
const SEVERAL: [&[&str]; 5] = [WAYS[0], WAYS[1], WAYS[3], WAYS[4], WAYS[5]];

/// The service `echo` for everybody.
fn serving(args: &[&str]) -> Serving {
    Serving::start(&[&["--handshake", "none", "--service", "echo"], args].concat())
}

fn assert_nobody_was_cut(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

// What had arrived.

/// A client under load, and what it has sent and received.
struct Loaded {
    client: Raw,
    number: usize,
    requests: usize,
    asked: Vec<u8>,
    answered: Vec<u8>,
}

impl Loaded {
    fn new(number: usize, client: Raw) -> Self {
        Self {
            client,
            number,
            requests: 0,
            asked: Vec::new(),
            answered: Vec::new(),
        }
    }

    fn ask(&mut self, random: &mut Random) {
        let mut message = format!("request {} of {} ", self.requests, self.number).into_bytes();
        message.resize(message.len() + random.magnitude(10), b'.');
        let message = frame(&message);
        self.client.send(&message);
        self.asked.extend(message);
        self.requests += 1;
    }

    fn take_answers(&mut self) {
        self.answered.extend(self.client.recv_now());
    }

    /// Bytes that are not answered yet. They stay below what the server's kernel has room for.
    fn in_flight(&self) -> usize {
        self.asked.len() - self.answered.len()
    }

    fn assert_answered_once(mut self) {
        self.answered.extend(self.client.recv_to_end());
        assert!(
            self.answered == self.asked,
            "client {}: {} bytes are no echo of {}",
            self.number,
            self.answered.len(),
            self.asked.len()
        );
    }
}

/// Many clients ask on and on. With requests of all of them in flight the server stands still,
/// until they have arrived; the signal is the first that it sees then.
fn stop_under_load(signal: Signal, args: &[&str]) {
    const CLIENTS: usize = 100;
    const ROUNDS: usize = 50;
    const IN_FLIGHT_BYTES: usize = 16 * 1024;
    let mut random = Random(seed());
    let server = serving(args);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|n| Loaded::new(n, server.connect()))
        .collect();
    for _ in 0..ROUNDS {
        for client in &mut clients {
            if client.in_flight() < IN_FLIGHT_BYTES {
                (0..random.up_to(4)).for_each(|_| client.ask(&mut random));
            }
            client.take_answers();
        }
    }
    assert!(clients.iter().any(|client| !client.answered.is_empty()));

    server.process.pause();
    for client in &mut clients {
        client.take_answers();
        (0..random.up_to(40)).for_each(|_| client.ask(&mut random));
        if client.number.is_multiple_of(3) {
            let unfinished = frame(b"a request whose end never comes");
            client
                .client
                .send(&unfinished[..random.up_to(unfinished.len() - 1)]);
        }
    }
    wait_until_arrived(clients.iter().map(|client| &client.client));
    server.process.signal(signal);
    server.process.resume();

    clients.into_iter().for_each(Loaded::assert_answered_once);
    assert_nobody_was_cut(&server.process.wait());
}

#[test]
fn every_request_that_had_arrived_is_answered_once() {
    stop_under_load(Signal::TERM, &[]);
}

#[test]
fn an_interrupt_is_as_good() {
    stop_under_load(Signal::INT, &[]);
}

#[test]
fn whoever_waits_in_another_way_answers_what_had_arrived() {
    for way in &WAYS[1..] {
        stop_under_load(Signal::TERM, way);
    }
}

#[test]
fn small_budgets_leave_nothing_behind() {
    stop_under_load(
        Signal::TERM,
        &["--turn-bytes", "1KiB", "--turn-messages", "2"],
    );
}

#[test]
fn who_waits_in_the_backlog_is_let_in_and_answered() {
    const CLIENTS: usize = 200;
    for way in WAYS {
        let server = serving(&[&["--turn-accepts", "1"], way].concat());
        server.process.pause();
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.send_frame(b"asked in the backlog");
        }
        wait_until_arrived(&clients);
        server.process.signal(Signal::TERM);
        server.process.resume();
        for mut client in clients {
            assert!(client.recv_to_end() == frame(b"asked in the backlog"));
        }
        assert_nobody_was_cut(&server.process.wait());
    }
}

#[test]
fn who_stays_after_his_answer_does_not_hold_up_those_behind_him() {
    for way in WAYS {
        let time = ["--linger-timeout", "1h", "--drain-timeout", "1h"];
        let server = serving(&[&time, way].concat());
        let mut served = server.connect();
        served.echo(b"is served");
        let mut clients = [served, server.connect(), server.connect()];
        for client in &mut clients {
            client.send_frame(b"asked before");
        }
        wait_until_arrived(&clients);
        // With a reactor all are answered by now, with one thread for one client only the first.
        assert_eq!(clients[0].recv_frame(), b"asked before");
        server.process.signal(Signal::TERM);
        assert_eq!(clients[0].recv_to_end(), b"");
        let [first, others @ ..] = clients;
        drop(first);
        for client in others.iter().rev() {
            let mut client = Raw(client.0.try_clone().expect("a socket"));
            assert_eq!(client.recv_to_end(), frame(b"asked before"));
        }
        drop(others);
        assert_nobody_was_cut(&server.process.wait());
    }
}

#[test]
fn an_end_that_had_arrived_ends_the_last_line() {
    for way in WAYS {
        let server = serving(&[&["--framing", "lines"], way].concat());
        let mut connected = server.connect();
        connected.send(b"asked before\n");
        assert_eq!(connected.recv(13), b"asked before\n");
        server.process.pause();
        let mut clients = [connected, server.connect()];
        for client in &mut clients {
            client.send(b"a line\nand the last");
            client.shutdown_write();
        }
        wait_until_arrived(&clients);
        server.process.signal(Signal::TERM);
        server.process.resume();
        for client in &mut clients {
            let answers = client.recv_to_end();
            assert_eq!(String::from_utf8_lossy(&answers), "a line\nand the last\n");
        }
        drop(clients);
        assert_nobody_was_cut(&server.process.wait());
    }
}

// What had not.

/// Waits until the server follows an order to stop: this client of it is shown out.
fn wait_until_stopping(mut idle: Raw) {
    assert_eq!(idle.recv_to_end(), b"");
}

#[test]
fn what_comes_after_the_order_is_not_answered() {
    for way in WAYS {
        let server = serving(way);
        let mut client = server.connect();
        client.echo(b"before");
        server.process.signal(Signal::TERM);
        assert_eq!(client.recv_to_end(), b"");
        client.send_frame(b"after");
        wait_until_arrived([&client]);
        assert_eq!(client.recv_to_end(), b"");
        drop(client);
        assert_nobody_was_cut(&server.process.wait());
    }
}

/// A client of whom the server does not read, for it waits for `gate` or for him; what he has sent
/// by the order is served then, and what he sends after it is not.
fn ask_before_and_after_the_order(
    server: TestServer,
    mut client: Raw,
    request: &[u8],
    go_on: impl FnOnce(),
) -> Vec<u8> {
    let idle = server.connect();
    server.wait_until_open(2);
    let requests = server.stats.messages.load(Relaxed);
    client.send(&[frame(request), frame(request)].concat());
    wait_until_arrived([&client]);
    eventually("the first request is served", || {
        (server.stats.messages.load(Relaxed) > requests).then_some(())
    });
    server.stop.drain();
    wait_until_stopping(idle);
    client.send_frame(request);
    wait_until_arrived([&client]);
    go_on();
    let answers = client.recv_to_end();
    drop(client);
    let stats = Arc::clone(&server.stats);
    assert_eq!(server.wait().cut, 0);
    assert_eq!(stats.messages.load(Relaxed), requests + 2);
    answers
}

fn deferred_answers(service: impl Service, gate: &Gate) {
    let server = TestServer::start(open_config(), service);
    let client = server.connect();
    let open = || gate.open();
    let answers = ask_before_and_after_the_order(server, client, b"slow", open);
    assert_eq!(answers, frame(b"slow").repeat(2));
}

#[test]
fn a_deferred_answer_is_waited_for() {
    let gate = Gate::default();
    deferred_answers(ordered(slow(&gate)), &gate);
}

#[test]
fn deferred_answers_with_ids_are_waited_for() {
    let gate = Gate::default();
    deferred_answers(unordered(slow(&gate)), &gate);
}

#[test]
fn who_is_slow_to_read_is_waited_for() {
    let limits = Limits {
        // Room for one request: the second stays in the kernel.
        turn_bytes: frame(b"33000000").len(),
        ..Limits::default()
    };
    let server = start(limits, fountain(false));
    let client = Raw::connect_narrow(server.address);
    let answers = ask_before_and_after_the_order(server, client, b"33000000", || ());
    assert!(answers == frame(&vec![b'f'; 33_000_000]).repeat(2));
}

#[test]
fn who_never_stops_asking_is_answered_up_to_the_order() {
    WAYS.into_iter().for_each(flood);
}

fn flood(way: &[&str]) {
    let server = serving(&[&["--drain-timeout", "1h"], way].concat());
    let mut client = server.connect();
    client.echo(b"it serves");
    let requests = frame(&[b'x'; 1000]).repeat(100);
    let mut sender = client.0.try_clone().expect("a descriptor");
    let flood = requests.clone();
    let sender = thread::spawn(move || {
        // Until the server has gone.
        while sender.write_all(&flood).is_ok() {}
    });
    let answers = client.recv(MIB);
    server.process.signal(Signal::TERM);
    let answers = [answers, client.recv_to_end()].concat();
    assert_nobody_was_cut(&server.process.wait());
    sender.join().expect("no panic");
    assert_eq!(answers.len() % frame(&[b'x'; 1000]).len(), 0);
    let mut sent = answers.chunks(requests.len());
    assert!(sent.all(|answers| requests.starts_with(answers)));
}

// Who holds it up, and for how long.

/// A client that is owed much and reads nothing.
fn deaf_client(server: &Serving) -> Raw {
    let mut client = Raw::connect_narrow(server.socket_address());
    client.send_frame(&vec![b'x'; 16 * MIB]);
    client
}

/// A client that the server has shown out, and who stays.
fn lingering_client(server: &Serving) -> Raw {
    let mut client = server.connect();
    client.send(&(-2_i32).to_be_bytes());
    assert_eq!(client.recv_to_end(), b"");
    client
}

fn idle_client(server: &Serving) -> Raw {
    let mut client = server.connect();
    client.echo(b"and now it is idle");
    client
}

#[test]
fn who_reads_nothing_is_cut_off_at_the_time_out_and_counted() {
    const TIMEOUT: Duration = Duration::from_millis(500);
    for way in SEVERAL {
        let patience = ["--drain-timeout", "500ms", "--linger-timeout", "1h"];
        let server = serving(&[&patience, way].concat());
        let _others = [idle_client(&server), lingering_client(&server)];
        let deaf: Vec<_> = (0..3).map(|_| deaf_client(&server)).collect();
        wait_until_arrived(&deaf);
        let begin = Instant::now();
        let ended = server.stop();
        assert!(begin.elapsed() >= TIMEOUT, "{:?}", begin.elapsed());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let error = "error: 3 connections were cut off before they had all that they were owed\n";
        assert!(ended.stderr.ends_with(error), "{ended:?}");
    }
}

#[test]
fn a_second_signal_cuts_them_off_at_once() {
    let signals = [(Signal::TERM, Signal::INT), (Signal::INT, Signal::TERM)];
    for (way, (first, second)) in SEVERAL.into_iter().zip(signals.into_iter().cycle()) {
        let server = serving(&[&["--drain-timeout", "1h"], way].concat());
        let (idle, deaf) = (idle_client(&server), deaf_client(&server));
        wait_until_arrived([&deaf]);
        server.process.signal(first);
        wait_until_stopping(idle);
        server.process.signal(second);
        let ended = server.process.wait();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let error = "error: 1 connection was cut off before it had all that it was owed\n";
        assert!(ended.stderr.ends_with(error), "{ended:?}");
    }
}

#[test]
fn who_is_owed_nothing_is_not_cut_off() {
    let (short, long) = ("100ms", "1h");
    for (linger, drain) in [(short, long), (long, short)] {
        for way in SEVERAL {
            let patience = ["--linger-timeout", linger, "--drain-timeout", drain];
            let server = serving(&[&patience, way].concat());
            let _clients = [
                idle_client(&server),
                lingering_client(&server),
                server.connect(),
            ];
            assert_nobody_was_cut(&server.stop());
        }
    }
}

/// A stranger with a wrong key, who waits to be told so.
fn wrong_key(server: &Serving) -> Raw {
    let mut client = server.connect();
    assert!(client.recv_frame().starts_with(b"#CHALLENGE#"));
    client.send_frame(&[0; 16]);
    client
}

#[test]
fn strangers_do_not_hold_it_up() {
    SEVERAL.into_iter().for_each(strangers_stay);
}

fn strangers_stay(way: &[&str]) {
    let (time, key) = ("1h", "a key that nobody here knows");
    let server = Serving::from_command(
        gateloop()
            .env("GATELOOP_AUTHKEY", key)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--handshake-timeout", time, "--drain-timeout", time])
            .args(way),
    );
    let mut silent: Vec<_> = (0..3).map(|_| server.connect()).collect();
    // So many that the last of them would wait for the longest time there is.
    let wrong: Vec<_> = (0..8).map(|_| wrong_key(&server)).collect();
    wait_until_arrived(&wrong);
    let begin = Instant::now();
    server.process.signal(Signal::TERM);
    for client in &mut silent {
        assert!(client.recv_frame().starts_with(b"#CHALLENGE#"));
        assert_eq!(client.recv_to_end(), b"");
    }
    for mut client in wrong {
        assert_eq!(client.recv_to_end(), frame(b"#FAILURE#"));
    }
    // These do not even hang up.
    assert_nobody_was_cut(&server.process.wait());
    assert!(begin.elapsed() < PENALTY_MAX / 2);
    drop(silent);
}

#[test]
fn nobody_is_let_in_who_comes_after_the_order() {
    SEVERAL.into_iter().for_each(late_comer);
}

fn late_comer(way: &[&str]) {
    let server = serving(&[&["--drain-timeout", "1h"], way].concat());
    let (idle, mut deaf) = (idle_client(&server), deaf_client(&server));
    wait_until_arrived([&deaf]);
    let address = server.socket_address();
    server.process.signal(Signal::TERM);
    wait_until_stopping(idle);
    // Where others than who shows this one out let in, that may end a little later.
    let refused = eventually("nobody listens", || {
        std::net::TcpStream::connect(address).err()
    });
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(deaf.recv_to_end() == frame(&vec![b'x'; 16 * MIB]));
    drop(deaf);
    assert_nobody_was_cut(&server.process.wait());
}
