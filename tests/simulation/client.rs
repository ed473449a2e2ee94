//! The client of the simulation: asks what the script says, at the script's pace, and compares
//! what it is answered.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateloop::error::ProtocolError;
use gateloop::limits::Limits;
use gateloop::protocol::connection::{Connection, Event, Output};
use gateloop::protocol::handshake::Step;
use gateloop::protocol::{FramingKind, Pool};

use crate::link::{Link, Side};
use crate::random::Random;
use crate::rpc;
use crate::script::{Draw, Plan, Script};
use crate::services::Kind;

/// Requests are put into the client's queue while it holds less than this.
const QUEUE_BYTES: usize = 64 * 1024;

/// How it ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server's FIN came.
    Eof,
    /// The connection was reset.
    Reset,
    /// The handshake failed, and it closed.
    Refused(Option<ProtocolError>),
    /// It went away, as planned.
    Gone,
}

pub struct Client {
    script: Arc<Script>,
    connection: Connection,
    limits: Limits,
    pool: Pool,
    input: Vec<u8>,
    out: Vec<u8>,
    /// The next request to put into the queue.
    next: usize,
    /// What the kernel has taken, and of this the handshake's.
    pub sent: usize,
    pub greeting_bytes: Option<usize>,
    read: usize,
    naps: VecDeque<(usize, Duration)>,
    naps_until: Duration,
    thinks_until: Duration,
    pub fin_sent: bool,
    pub answers: Answers,
    pub end: Option<End>,
    pub violation: Option<String>,
}

impl Client {
    pub fn new(script: Arc<Script>) -> Self {
        let connection = Connection::connect(&script.client_rules, script.framing);
        let mut naps = script.naps.clone();
        naps.sort();
        let mut client = Self {
            connection,
            limits: Limits::default(),
            pool: Pool::default(),
            input: Vec::new(),
            out: Vec::new(),
            next: 0,
            sent: 0,
            greeting_bytes: None,
            read: 0,
            naps: naps.into(),
            naps_until: Duration::ZERO,
            thinks_until: Duration::ZERO,
            fin_sent: false,
            answers: Answers::new(&script),
            end: None,
            violation: None,
            script,
        };
        client.note_passed();
        client
    }

    /// When it wants to go on by itself.
    pub fn next_moment(&self, now: Duration) -> Option<Duration> {
        let moments = [self.naps_until, self.thinks_until];
        let later = moments.into_iter().filter(|at| *at > now).min();
        later.filter(|_| self.end.is_none())
    }

    /// Reads, asks and writes as far as it can.
    pub fn act(&mut self, link: &mut Link, base: Instant, now: Duration, random: &mut Random) {
        while self.end.is_none() {
            let before = (
                self.read,
                self.sent,
                self.next,
                self.connection.pending(&self.out),
            );
            self.take_in(link, now, random);
            self.ask(base + now, now, random);
            self.write(link, base + now, now);
            self.shut(link, now);
            let after = (
                self.read,
                self.sent,
                self.next,
                self.connection.pending(&self.out),
            );
            if before == after {
                break;
            }
        }
    }

    fn take_in(&mut self, link: &mut Link, now: Duration, random: &mut Random) {
        let mut space = vec![0; random.pick(&[100, 4096, 65536])];
        while now >= self.naps_until && self.end.is_none() {
            let appetite = self.script.appetite - self.read;
            let max = appetite.min(space.len());
            if max == 0 {
                return;
            }
            match link.read(Side::Client, &mut space[..max], now) {
                Ok(0) => {
                    self.end = Some(End::Eof);
                    link.close(Side::Client, false, now);
                }
                Ok(n) => {
                    self.read += n;
                    self.input.extend_from_slice(&space[..n]);
                    self.parse(link, now, random);
                    if let Some((_, nap)) = self.naps.pop_front_if(|(at, _)| *at <= self.read) {
                        self.naps_until = now + nap;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.end = Some(End::Reset),
            }
        }
    }

    fn parse(&mut self, link: &mut Link, now: Duration, random: &mut Random) {
        let mut at = 0;
        let mut input = std::mem::take(&mut self.input);
        loop {
            let mut entropy = |bytes: &mut [u8]| random.fill(bytes);
            let rest = &input[at..];
            match self
                .connection
                .advance(rest, &self.limits, &mut entropy, &mut self.out)
            {
                Ok(Event::Message { payload, wire }) => {
                    if let Err(what) = self.answers.take(&rest[payload]) {
                        self.violation.get_or_insert(what);
                    }
                    at += wire;
                }
                Ok(Event::Handshake { step, wire }) => {
                    at += wire;
                    if step == Step::WrongKey {
                        self.end = Some(End::Refused(None));
                    }
                    self.note_passed();
                }
                Ok(Event::Blank { wire }) => at += wire,
                Ok(Event::Incomplete) => break,
                Err(error) => {
                    self.end = Some(End::Refused(Some(error)));
                    break;
                }
            }
        }
        input.drain(..at);
        self.input = input;
        if self.end.is_some() {
            link.close(Side::Client, false, now);
        }
    }

    fn note_passed(&mut self) {
        if !self.connection.is_stranger() && self.greeting_bytes.is_none() {
            self.greeting_bytes = Some(self.sent + self.connection.pending(&self.out));
        }
    }

    fn ask(&mut self, instant: Instant, now: Duration, random: &mut Random) {
        let script = Arc::clone(&self.script);
        while self.greeting_bytes.is_some()
            && self.end.is_none()
            && !self.fin_sent
            && now >= self.thinks_until
            && self.connection.pending(&self.out) < QUEUE_BYTES
            && self.answers.standing_out() < script.window
            && let Some(request) = script.requests.get(self.next)
        {
            self.next += 1;
            self.answers.expect(&request.answers);
            let mut io = Output {
                out: &mut self.out,
                limits: &self.limits,
                now: instant,
            };
            self.connection.send_all(&request.bytes, &mut io);
            self.connection.keep(&mut io);
            self.thinks_until = now + random.millis(script.think.as_millis() as usize);
        }
    }

    fn write(&mut self, link: &mut Link, instant: Instant, now: Duration) {
        let most = match self.script.plan {
            Plan::Short { bytes } | Plan::Mute { bytes } => bytes,
            _ => usize::MAX,
        };
        while self.end.is_none() && self.sent < most && self.connection.pending(&self.out) > 0 {
            let mut slices = [IoSlice::new(&[])];
            self.connection.slices(&self.out, &mut slices);
            let [first] = slices;
            let len = first.len().min(most - self.sent);
            match link.write(Side::Client, &[IoSlice::new(&first[..len])], now) {
                Ok(n) => {
                    self.sent += n;
                    let mut io = Output {
                        out: &mut self.out,
                        limits: &self.limits,
                        now: instant,
                    };
                    self.connection.wrote(n, &mut io, &mut self.pool);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.end = Some(End::Reset),
            }
        }
    }

    /// Shuts down the sending half when the script says so.
    fn shut(&mut self, link: &mut Link, now: Duration) {
        let all_asked = self.greeting_bytes.is_some()
            && self.next == self.script.requests.len()
            && self.connection.pending(&self.out) == 0;
        let due = match self.script.plan {
            Plan::Short { bytes } if self.sent >= bytes => true,
            Plan::Mute { .. } => false,
            Plan::WrongKey { early } => {
                early && self.sent > 0 && self.connection.pending(&self.out) == 0
            }
            Plan::Polite { early: true } => all_asked,
            _ => all_asked && self.answers.standing_out() == 0,
        };
        if due && !self.fin_sent && self.end.is_none() {
            self.fin_sent = true;
            // An error shows in the next read.
            let _ = link.shutdown_write(Side::Client, now);
        }
    }

    /// Closes the socket whatever is unread.
    pub fn leave(&mut self, link: &mut Link, now: Duration) {
        if self.end.is_none() {
            self.end = Some(End::Gone);
            link.close(Side::Client, true, now);
        }
    }
}

/// What was answered, against what should be.
pub enum Answers {
    InOrder {
        expected: VecDeque<Vec<u8>>,
        got: usize,
    },
    Unordered {
        expected: HashMap<Vec<u8>, usize>,
        is_json: bool,
        got: usize,
    },
    Stream {
        expected: VecDeque<u8>,
        got: usize,
    },
}

impl Answers {
    fn new(script: &Script) -> Self {
        match (script.framing, script.kind) {
            (FramingKind::Raw, _) => Self::Stream {
                expected: VecDeque::new(),
                got: 0,
            },
            (_, kind) if kind.is_in_order() => Self::InOrder {
                expected: VecDeque::new(),
                got: 0,
            },
            (_, kind) => Self::Unordered {
                expected: HashMap::new(),
                is_json: kind == Kind::Rpc,
                got: 0,
            },
        }
    }

    fn expect(&mut self, answers: &[Vec<u8>]) {
        for answer in answers {
            match self {
                Self::InOrder { expected, .. } => expected.push_back(answer.clone()),
                Self::Unordered { expected, .. } => {
                    *expected.entry(answer.clone()).or_default() += 1;
                }
                Self::Stream { expected, .. } => expected.extend(answer),
            }
        }
    }

    fn take(&mut self, message: &[u8]) -> Result<(), String> {
        let wrong = |got: &usize| {
            let len = message.len();
            let text = String::from_utf8_lossy(&message[..len.min(80)]).into_owned();
            Err(format!(
                "after {got} answers came a wrong one of {len} bytes: {text}"
            ))
        };
        match self {
            Self::InOrder { expected, got } => {
                if expected.pop_front().as_deref() != Some(message) {
                    return wrong(got);
                }
                *got += 1;
            }
            Self::Unordered {
                expected,
                is_json,
                got,
            } => {
                let message = if *is_json {
                    serde_json::from_slice(message).map_or_else(|_| Vec::new(), rpc::canonical)
                } else {
                    message.to_vec()
                };
                match expected.get_mut(&message) {
                    Some(times @ 1..) => *times -= 1,
                    _ => return wrong(got),
                }
                *got += 1;
            }
            Self::Stream { expected, got } => {
                if message.len() > expected.len()
                    || !expected.drain(..message.len()).eq(message.iter().copied())
                {
                    return wrong(got);
                }
                *got += message.len();
            }
        }
        Ok(())
    }

    /// Answers, or, without borders, bytes of them, that are still to come.
    pub fn standing_out(&self) -> usize {
        match self {
            Self::InOrder { expected, .. } => expected.len(),
            Self::Unordered { expected, .. } => expected.values().sum(),
            Self::Stream { expected, .. } => expected.len(),
        }
    }

    /// Answers, or, without borders, bytes of them, that came.
    pub fn got(&self) -> usize {
        match self {
            Self::InOrder { got, .. } | Self::Unordered { got, .. } | Self::Stream { got, .. } => {
                *got
            }
        }
    }
}
