//! Bugs that were found and fixed, each with the test that shows it.

#![cfg(feature = "cli")]

mod util;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use gateloop::error::CloseReason;
use gateloop::limits::{DEFERRED_PER_CONNECTION_MAX, JOBS_QUEUED_MAX, Limits};
use gateloop::protocol::Message;
use gateloop::service::{Echo, Flow, Replies, Service};
use util::measure::{need_descriptors, wait_until_arrived};
use util::server::{TestServer, frame, keyed_config, open_config, start};
use util::services::{Gate, Rest, Source, defer, job, unordered};
use util::{dawdle, eventually};

/// What a job's answer holds while it lies in the reactor's inbox.
const ANSWER: usize = 1_000;

fn wait_for_buffer_bytes(server: &TestServer, what: &str, bytes: usize) {
    eventually(what, || {
        (server.stats.buffer_bytes.load(Relaxed) == bytes).then_some(())
    });
}

/// A connection that was closed in a turn still counted as there when its completions were taken
/// later in that turn. It took none, and what its jobs had held was never counted off.
#[test]
fn completions_of_a_connection_closed_in_the_same_turn_are_counted_off() {
    const INPUT: usize = 50_000;
    const JOBS: usize = 3;
    let (finish, go_on) = (Gate::default(), Gate::default());
    let held_up = Arc::new(AtomicUsize::new(0));
    let (finished, goes_on, holds_up) = (finish.clone(), go_on.clone(), Arc::clone(&held_up));
    let service = unordered(
        move |message: &mut Message<'_>, replies: &mut Replies<'_>| {
            if message.bytes() == b"hold up the loop" {
                holds_up.fetch_add(1, Relaxed);
                goes_on.pass();
                return Flow::Continue;
            }
            let finished = finished.clone();
            let run = move || {
                finished.pass();
                vec![0; ANSWER]
            };
            assert!(replies.defer(job(INPUT, run)).is_ok(), "there is room");
            Flow::Continue
        },
    );
    let server = TestServer::start(open_config(), service);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.send(&frame(b"job").repeat(JOBS));
    wait_for_buffer_bytes(&server, "the jobs' inputs count", JOBS * INPUT);
    other.send_frame(b"hold up the loop");
    eventually("the loop is held up", || {
        (held_up.load(Relaxed) == 1).then_some(())
    });
    client.reset();
    finish.open();
    let both = JOBS * (INPUT + ANSWER);
    wait_for_buffer_bytes(&server, "the answers lie in the inbox", both);
    go_on.open();
    server.wait_for_closes(CloseReason::Reset, 1);
    wait_for_buffer_bytes(&server, "nothing is held any more", 0);
}

/// Defers `one` and `all` until their gates open, echoes anything else, and holds the loop up when
/// the first answer comes.
#[derive(Clone, Default)]
struct Crowded {
    one: Gate,
    all: Gate,
    go_on: Gate,
    completed: Arc<AtomicUsize>,
}

impl Service for Crowded {
    type State = ();

    const ORDERED: bool = false;

    fn name(&self) -> &'static str {
        "crowded"
    }

    fn message(
        &mut self,
        _: &mut (),
        message: &mut Message<'_>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        let gate = match message.bytes() {
            b"one" => self.one.clone(),
            b"all" => self.all.clone(),
            _ => {
                replies.forward(message);
                return Flow::Continue;
            }
        };
        let run = move || {
            gate.pass();
            vec![0; ANSWER]
        };
        assert!(replies.defer(job(0, run)).is_ok(), "there is room");
        Flow::Continue
    }

    fn completed(&mut self, _: &mut (), _: u64, _: Vec<u8>, _: &mut Replies<'_>) -> Flow {
        if self.completed.fetch_add(1, Relaxed) == 0 {
            self.go_on.pass();
        }
        Flow::Continue
    }
}

/// Who waited for a place among the workers was only woken by completions, one for each place.
/// Where all of these came at once, and some of the woken took no place, the rest waited for ever.
#[test]
fn nobody_is_forgotten_who_waited_for_the_workers() {
    const OTHERS: usize = JOBS_QUEUED_MAX + 100;
    need_descriptors(2 * OTHERS as u64 + 200);
    let service = Crowded::default();
    let Crowded {
        one,
        all,
        go_on,
        completed,
    } = service.clone();
    let server = TestServer::start(open_config(), service);
    let mut others: Vec<_> = (0..OTHERS).map(|_| server.connect()).collect();
    let mut busy = Vec::new();
    for n in 0..JOBS_QUEUED_MAX / DEFERRED_PER_CONNECTION_MAX {
        let first: &[u8] = if n == 0 { b"one" } else { b"all" };
        let rest = frame(b"all").repeat(DEFERRED_PER_CONNECTION_MAX - 1);
        busy.push(server.connect());
        busy[n].send(&[frame(first), rest].concat());
        let deferred = ((n + 1) * DEFERRED_PER_CONNECTION_MAX) as u64;
        eventually("all are deferred", || {
            (server.stats.messages.load(Relaxed) == deferred).then_some(())
        });
    }
    for other in &mut others {
        other.send_frame(b"quick");
    }
    wait_until_arrived(&others);
    one.open();
    eventually("the loop is held up by the first answer", || {
        (completed.load(Relaxed) == 1).then_some(())
    });
    all.open();
    let answers = (JOBS_QUEUED_MAX - 1) * ANSWER;
    eventually("all other answers lie in the inbox", || {
        (server.stats.buffer_bytes.load(Relaxed) >= answers).then_some(())
    });
    go_on.open();
    for other in &mut others {
        assert_eq!(other.recv_frame(), b"quick");
    }
}

/// A [`Source`] that counts how often it is called again within one turn. A turn has one time.
#[derive(Clone)]
struct Watched {
    source: Source,
    last: Option<Duration>,
    calls: Arc<AtomicUsize>,
    repeated: Arc<AtomicUsize>,
}

impl Service for Watched {
    type State = Rest;

    fn name(&self) -> &'static str {
        "watched"
    }

    fn message(
        &mut self,
        rest: &mut Rest,
        message: &mut Message<'_>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        self.source.message(rest, message, replies)
    }

    fn writable(&mut self, rest: &mut Rest, replies: &mut Replies<'_>) -> Flow {
        let time = replies.caller().connected;
        self.calls.fetch_add(1, Relaxed);
        if self.last.replace(time) == Some(time) {
            self.repeated.fetch_add(1, Relaxed);
        }
        self.source.writable(rest, replies)
    }
}

/// Parts that fill the queue to the very mark paused the session, each write lifted the pause, and
/// that started another round: one fast reader had the loop for as long as it kept up.
#[test]
fn who_streams_to_a_fast_reader_has_one_round_a_turn() {
    const PART: usize = 65_536 - 4;
    const PARTS: usize = 4_096;
    let watched = Watched {
        source: Source::new(false),
        last: None,
        calls: Arc::default(),
        repeated: Arc::default(),
    };
    let server = start(Limits::default(), watched.clone());
    let mut client = server.connect();
    client.send_frame(format!("{} {PART}", PART * PARTS).as_bytes());
    for _ in 0..PARTS {
        client.recv(PART + 4);
    }
    assert!(watched.calls.load(Relaxed) > 0, "the stream never paused");
    assert_eq!(watched.repeated.load(Relaxed), 0);
}

/// The places of finished jobs were free while their owners ran, who took them again at once: as
/// long as these few had more to ask, nobody else was served.
#[test]
fn who_has_jobs_without_end_starves_nobody() {
    const OWNERS: usize = JOBS_QUEUED_MAX / DEFERRED_PER_CONNECTION_MAX;
    const JOBS: usize = 200;
    let service = unordered(|message: &mut Message<'_>, replies: &mut Replies<'_>| {
        if message.bytes() == b"ping" {
            replies.forward(message);
            return Flow::Continue;
        }
        defer(replies, || {
            dawdle(Duration::from_millis(1));
            b"done".to_vec()
        })
    });
    let server = start(Limits::default(), service);
    let mut client = server.connect();
    client.echo(b"ping");
    let mut owners: Vec<_> = (0..OWNERS).map(|_| server.connect()).collect();
    for owner in &mut owners {
        owner.send(&frame(b"job").repeat(JOBS));
    }
    eventually("all places are taken", || {
        (server.stats.messages.load(Relaxed) > JOBS_QUEUED_MAX as u64).then_some(())
    });
    client.echo(b"ping");
    let done = server.stats.jobs.load(Relaxed) as usize;
    assert!(done < OWNERS * JOBS / 2, "{done} jobs were done before");
}

/// Each turn of a drain ended once more who had been refused: it was not lingered with, and what
/// it had sent behind its wrong key reset the connection before it had read that it was wrong.
#[test]
fn who_is_refused_in_a_drain_can_read_it() {
    let server = TestServer::start(keyed_config("key"), Echo);
    let mut client = server.connect();
    client.recv_frame();
    client.send_frame(b"certainly no MAC");
    eventually("the key was looked at", || {
        (server.stats.bytes_in.load(Relaxed) > 0).then_some(())
    });
    let mut socket = client.0.try_clone().expect("a descriptor");
    server.stop.drain();
    let sender = thread::spawn(move || socket.write_all(&vec![0; 8 * 1024 * 1024]));
    assert_eq!(client.recv_to_end(), frame(b"#FAILURE#"));
    let sent = sender.join().expect("no panic");
    assert!(sent.is_ok(), "{sent:?}");
    drop(client);
    assert_eq!(server.wait().cut, 0);
}
