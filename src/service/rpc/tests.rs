//! Deferred calls, in a whole [`Session`]: what waits, what overtakes, what is refused.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use super::{Rpc, RpcError};
use crate::limits::{DEFERRED_PER_CONNECTION_MAX, Limits};
use crate::penalties::Penalties;
use crate::protocol::{FramingKind, HandshakeRules, Pool};
use crate::service::{Deferred, Jobs};
use crate::session::{Budget, Lent, Rules, Session};
use crate::stats::Stats;

/// One conversation in lines, whose jobs run when the test says so.
struct Talk {
    session: Session<Rpc>,
    service: Rpc,
    rules: Rules,
    pool: Pool,
    jobs: VecDeque<Deferred>,
    room: usize,
    /// How often `count` has been run.
    counted: Arc<AtomicUsize>,
}

impl Talk {
    fn new(limits: Limits) -> Self {
        let rules = Rules {
            handshake: HandshakeRules::None,
            framing: FramingKind::Lines,
            limits,
            penalties: Penalties::default(),
            stats: Arc::new(Stats::default()),
            epoch: Instant::now(),
        };
        let counted = Arc::new(AtomicUsize::new(0));
        let counter = counted.clone();
        let mut service = Rpc::new()
            .deferred("later", "any", "echoes its params, later", |call| {
                let params = call.raw_params().map(str::to_owned);
                Ok(move || Ok(params))
            })
            .deferred("one", "[n]: number", "n, later", |call| {
                let (n,): (u64,) = call.params()?;
                Ok(move || {
                    if n == 0 {
                        Err(RpcError::new(1, "zero"))
                    } else {
                        Ok(n)
                    }
                })
            })
            .deferred("panic", "none", "panics", |_| {
                Ok(|| -> Result<(), RpcError> { panic!("a job that panics, as it should") })
            })
            .deferred("count", "none", "counts its calls", move |_| {
                let counter = counter.clone();
                Ok(move || Ok(counter.fetch_add(1, Relaxed)))
            });
        let mut pool = Pool::default();
        let mut lent = Lent {
            service: &mut service,
            rules: &rules,
            out: &mut Vec::new(),
            pool: &mut pool,
            jobs: &mut Jobs::default(),
            entropy: &mut |_| {},
            now: Instant::now(),
            budget: Budget::of(&rules.limits),
        };
        let session = Session::open(1, None, &mut lent);
        Self {
            session,
            service,
            rules,
            pool,
            jobs: VecDeque::new(),
            room: 1_024,
            counted,
        }
    }

    /// Calls the session; returns the lines it says.
    fn call(&mut self, call: impl FnOnce(&mut Session<Rpc>, &mut Lent<'_, Rpc>)) -> Vec<String> {
        let mut out = Vec::new();
        let mut jobs = Jobs {
            taken: Vec::new(),
            room: self.room,
            launches: None,
        };
        let mut lent = Lent {
            service: &mut self.service,
            rules: &self.rules,
            out: &mut out,
            pool: &mut self.pool,
            jobs: &mut jobs,
            entropy: &mut |_| {},
            now: Instant::now(),
            budget: Budget::of(&self.rules.limits),
        };
        call(&mut self.session, &mut lent);
        self.jobs.extend(jobs.taken);
        self.room = jobs.room;
        String::from_utf8(out)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn send(&mut self, message: &str) -> Vec<String> {
        let line = format!("{message}\n");
        self.call(|session, lent| session.received(line.as_bytes(), lent))
    }

    /// Runs the waiting job at `place`, as a worker would.
    fn run(&mut self, place: usize) -> Vec<String> {
        let Deferred {
            tag,
            input_bytes,
            run,
            if_panicked,
        } = self.jobs.remove(place).unwrap();
        self.room += 1;
        let answer = panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or(if_panicked);
        self.call(|session, lent| {
            session.completed(tag, input_bytes, answer, lent);
            session.serve(lent);
        })
    }
}

fn call(method: &str, params: &str, id: u32) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":{id}}}"#)
}

fn notification(method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#)
}

fn result(result: &str, id: u32) -> String {
    format!(r#"{{"jsonrpc":"2.0","result":{result},"id":{id}}}"#)
}

fn error(code: i32, message: &str, id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","error":{{"code":{code},"message":"{message}"}},"id":{id}}}"#)
}

const NOTHING: [&str; 0] = [];

#[test]
fn others_overtake_a_deferred_call() {
    let mut talk = Talk::new(Limits::default());
    assert_eq!(talk.send(&call("one", "[1]", 1)), NOTHING);
    assert_eq!(talk.send(&call("one", "[2]", 2)), NOTHING);
    assert_eq!(talk.send(&call("ping", "[]", 3)), [result("\"pong\"", 3)]);
    assert_eq!(talk.run(1), [result("2", 2)]);
    assert_eq!(talk.run(0), [result("1", 1)]);
}

#[test]
fn wrong_params_of_a_deferred_method_are_told_at_once() {
    let mut talk = Talk::new(Limits::default());
    let error = r#"{"code":-32602,"message":"Invalid params","data":"params: [n]: number"}"#;
    let told = format!(r#"{{"jsonrpc":"2.0","error":{error},"id":1}}"#);
    assert_eq!(talk.send(&call("one", "[\"1\"]", 1)), [told]);
    assert_eq!(talk.send(&notification("one")), NOTHING);
    assert!(talk.jobs.is_empty());
}

#[test]
fn a_job_may_fail_or_panic() {
    let mut talk = Talk::new(Limits::default());
    talk.send(&call("one", "[0]", 1));
    assert_eq!(talk.run(0), [error(1, "zero", "1")]);
    talk.send(&call("panic", "[]", 2));
    assert_eq!(talk.run(0), [error(-32603, "Internal error", "2")]);
    assert_eq!(talk.send(&call("ping", "[]", 3)), [result("\"pong\"", 3)]);
}

#[test]
fn a_deferred_notification_runs_and_says_nothing() {
    let mut talk = Talk::new(Limits::default());
    assert_eq!(talk.send(&notification("count")), NOTHING);
    let batch = format!("[{},{}]", notification("count"), notification("panic"));
    assert_eq!(talk.send(&batch), NOTHING);
    for _ in 0..3 {
        assert_eq!(talk.run(0), NOTHING);
    }
    assert_eq!(talk.counted.load(Relaxed), 2);
    assert_eq!(talk.session.held(), 0);
}

#[test]
fn a_batch_answers_when_its_last_member_has() {
    let mut talk = Talk::new(Limits::default());
    let batch = [
        call("one", "[1]", 1),
        notification("count"),
        call("ping", "[]", 2),
        call("panic", "[]", 3),
        "1".to_owned(),
        call("one", "[4]", 4),
    ];
    assert_eq!(talk.send(&format!("[{}]", batch.join(","))), NOTHING);
    assert_eq!(talk.run(3), NOTHING); // one [4]
    assert_eq!(talk.run(1), NOTHING); // count
    assert_eq!(talk.run(1), NOTHING); // panic
    let answers = [
        result("\"pong\"", 2),
        error(-32600, "Invalid Request", "null"),
        result("4", 4),
        error(-32603, "Internal error", "3"),
        result("1", 1),
    ];
    assert_eq!(talk.run(0), [format!("[{}]", answers.join(","))]);
}

#[test]
fn batches_wait_side_by_side_and_leave_nothing_behind() {
    let mut talk = Talk::new(Limits::default());
    for round in 0..3 {
        assert_eq!(talk.session.held(), 0, "round {round}");
        for id in [10, 20, 30] {
            let batch = format!(
                "[{},{}]",
                call("one", "[1]", id),
                call("one", "[2]", id + 1)
            );
            assert_eq!(talk.send(&batch), NOTHING);
        }
        assert_eq!(talk.run(2), NOTHING); // 20
        assert_eq!(talk.run(0), NOTHING); // 10
        assert!(talk.session.held() > 0);
        let whole = |id| format!("[{},{}]", result("1", id), result("2", id + 1));
        assert_eq!(talk.run(1), [whole(20)]);
        assert_eq!(talk.run(0), [whole(10)]);
        // A new batch beside one that waits must not be taken for one of the finished.
        talk.send(&format!("[{}]", call("one", "[5]", 40)));
        assert_eq!(talk.run(0), NOTHING);
        assert_eq!(talk.run(0), [whole(30)]);
        assert_eq!(talk.run(0), [format!("[{}]", result("5", 40))]);
    }
}

/// A batch at the bound, and one call beyond it.
#[test]
fn calls_beyond_the_bound_are_refused_one_by_one() {
    let mut talk = Talk::new(Limits::default());
    let calls: Vec<_> = (1..=DEFERRED_PER_CONNECTION_MAX as u32 + 1)
        .map(|id| call("one", "[1]", id))
        .collect();
    assert_eq!(talk.send(&format!("[{}]", calls.join(","))), NOTHING);
    assert_eq!(talk.jobs.len(), DEFERRED_PER_CONNECTION_MAX);
    while talk.jobs.len() > 1 {
        assert_eq!(talk.run(0), NOTHING);
    }
    let answer = talk.run(0).concat();
    let refused = error(-32000, "too many calls are waiting", "65");
    assert!(answer.starts_with(&format!("[{refused},")), "{answer}");
    assert_eq!(
        answer.matches("\"result\":1").count(),
        DEFERRED_PER_CONNECTION_MAX
    );
}

/// The workers' queue is full for everybody: a message is served again when there is room.
#[test]
fn no_room_among_the_workers() {
    let mut talk = Talk::new(Limits::default());
    talk.room = 1;
    let batch = format!("[{},{}]", call("one", "[1]", 1), call("one", "[2]", 2));
    assert_eq!(talk.send(&batch), NOTHING);
    assert_eq!(talk.send(&call("ping", "[]", 3)), NOTHING);
    let refused = error(-32000, "too many calls are waiting", "2");
    assert_eq!(
        talk.run(0),
        [
            format!("[{refused},{}]", result("1", 1)),
            result("\"pong\"", 3)
        ]
    );
}

/// A batch's answer may be as long as a message, and no longer.
#[test]
fn an_answer_of_the_largest_size_and_a_byte_more() {
    let member = call("later", "[\"0123456789\"]", 1);
    let answer = format!("[{0},{0}]", result(r#""[\"0123456789\"]""#, 1));
    for (message_bytes_max, fits) in [(answer.len(), true), (answer.len() - 1, false)] {
        let mut talk = Talk::new(Limits {
            message_bytes_max,
            ..Limits::default()
        });
        let batch = format!("[{member},{member}]");
        assert!(
            batch.len() > message_bytes_max,
            "the test needs a limit for answers alone"
        );
        talk.rules.limits.message_bytes_max = batch.len();
        talk.send(&batch);
        talk.rules.limits.message_bytes_max = message_bytes_max;
        assert_eq!(talk.run(0), NOTHING);
        let too_long = error(-32000, "the batch's answer is too long", "null");
        assert_eq!(talk.run(0), [if fits { answer.clone() } else { too_long }]);
        assert_eq!(talk.session.held(), 0);
    }
}
