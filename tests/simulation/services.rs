//! What is asked of the server in a simulation: its own services, and small ones that defer,
//! stream and say much; and the watch that sees what reaches them.

use std::collections::VecDeque;
use std::panic;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateloop::error::CloseReason;
use gateloop::limits::Limits;
use gateloop::protocol::{FramingKind, Message};
use gateloop::service::{Deferred, Flow, Replies, Service};

use crate::random::Random;
use crate::rpc;
use crate::script::{Command, Draw, Plan, Script, Sizes};

/// What a client sends, and what it is to get for it.
#[derive(Debug)]
pub struct Request {
    pub bytes: Vec<u8>,
    pub answers: Vec<Vec<u8>>,
}

impl Request {
    /// One without an answer.
    pub fn of(bytes: Vec<u8>) -> Self {
        let answers = Vec::new();
        Self { bytes, answers }
    }

    pub fn answer_bytes(&self) -> usize {
        self.answers.iter().map(Vec::len).sum()
    }
}

/// Text of `len` bytes that has no line break and is not the same from another `start`.
pub fn pattern(len: usize, start: usize) -> Vec<u8> {
    // A prime number of bytes: no period of a buffer's size hides a piece that was moved.
    const BLOCK: usize = 997;
    let block: Vec<u8> = (0..2 * BLOCK)
        .map(|at| b'#' + (at % BLOCK * 31 % 50) as u8)
        .collect();
    let block = &block[start % BLOCK..][..BLOCK];
    let mut text = Vec::with_capacity(len + BLOCK);
    while text.len() < len {
        text.extend_from_slice(block);
    }
    text.truncate(len);
    text
}

/// The same as a message of this framing: under `json`, a value of `len` bytes, or two.
pub fn text(framing: FramingKind, len: usize, start: usize) -> Vec<u8> {
    if framing != FramingKind::Json {
        return pattern(len, start);
    }
    // Brackets and quotation marks that are none.
    const TRAP: &[u8] = br#"{"\"}]\\":[""#;
    let (before, behind) = match len.checked_sub(TRAP.len() + 3) {
        Some(_) if start.is_multiple_of(2) => (TRAP, &b"\"]}"[..]),
        _ => (&b"\""[..], &b"\""[..]),
    };
    let len = len.saturating_sub(before.len() + behind.len());
    [before, &pattern(len, start), behind].concat()
}

/// The services of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Echo,
    Rpc,
    /// Defers, and answers in any order.
    Unordered,
    /// Defers, and answers in the order of the requests.
    Ordered,
    Stream,
    Much,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Echo,
        Self::Rpc,
        Self::Unordered,
        Self::Ordered,
        Self::Stream,
        Self::Much,
    ];

    pub fn draw(framing: FramingKind, random: &mut Random) -> Self {
        match framing {
            FramingKind::Raw => random.pick(&[Self::Echo, Self::Much]),
            // What a stream is asked for, and what it answers, is no JSON.
            FramingKind::Json => random.pick(&[
                Self::Echo,
                Self::Rpc,
                Self::Unordered,
                Self::Ordered,
                Self::Much,
            ]),
            _ => random.pick(&Self::ALL),
        }
    }

    /// Whether answers come in the order of the requests.
    pub fn is_in_order(self) -> bool {
        !matches!(self, Self::Rpc | Self::Unordered)
    }

    /// Whether every answer is given before the next message is served.
    pub fn answers_at_once(self) -> bool {
        self == Self::Echo
    }

    pub fn requests(
        self,
        framing: FramingKind,
        limits: &Limits,
        sizes: Sizes,
        random: &mut Random,
    ) -> Vec<Request> {
        let mut volume = 0;
        let count = random.up_to(40);
        let mut requests = Vec::new();
        while requests.len() < count && volume < 1_000_000 {
            let size = sizes.draw(random);
            let request = self.request(requests.len(), size, framing, limits, random);
            volume += request.bytes.len() + request.answer_bytes();
            requests.push(request);
        }
        requests
    }

    fn request(
        self,
        n: usize,
        size: usize,
        framing: FramingKind,
        limits: &Limits,
        random: &mut Random,
    ) -> Request {
        match self {
            Self::Rpc => rpc::request(n, size, random),
            Self::Stream => {
                let bytes = format!("{size} {n}").into_bytes();
                let answers = vec![pattern(size, n)];
                Request { bytes, answers }
            }
            Self::Much if !matches!(framing, FramingKind::Raw | FramingKind::Json) => {
                let copies = random.below(6);
                // There is room for one of these below the mark, and not for two.
                let most_of_the_mark = limits.send_high_bytes.min(50_000) * 2 / 3 + 1;
                let size = random.pick(&[size / (copies + 1), most_of_the_mark]);
                let manner = random.pick(&["all", "polite"]);
                let mut bytes = format!("{copies} {manner} ").into_bytes();
                bytes.extend(pattern(size, n));
                let answers = vec![bytes.clone(); copies];
                Request { bytes, answers }
            }
            _ => {
                let mut bytes = text(framing, size, n);
                let answers = vec![bytes.clone()];
                if framing == FramingKind::Json && random.chance(30) {
                    // Blanks before a value are no part of it.
                    bytes.insert(0, b'\n');
                }
                Request { bytes, answers }
            }
        }
    }
}

/// What one watch has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Messages that were served; under `raw`, bytes of them.
    pub served: usize,
    /// Calls of the service.
    pub calls: usize,
    /// Times it was told of room.
    pub writable: usize,
    /// The first thing that was wrong.
    pub violation: Option<String>,
}

/// A service under watch: what reaches it must be what was sent, in order, once.
#[derive(Clone)]
pub struct Watched<S> {
    pub service: S,
    pub expected: Arc<Expected>,
    pub seen: Arc<Mutex<Seen>>,
}

/// What is expected.
pub enum Expected {
    Messages(Vec<Vec<u8>>),
    /// The same, of which the last one may be cut short: under `lines`, the end of the stream ends
    /// a message as well.
    Lines(Vec<Vec<u8>>),
    /// The same, with blanks before some that are no part of them.
    Values(Vec<Vec<u8>>),
    /// Bytes without borders.
    Stream(Vec<u8>),
}

impl Expected {
    pub fn of(script: &Script) -> Self {
        let requests = script.requests.iter().map(|request| request.bytes.clone());
        match script.framing {
            FramingKind::Raw => Self::Stream(requests.flatten().collect()),
            FramingKind::Json => Self::Values(requests.collect()),
            FramingKind::Lines if matches!(script.plan, Plan::Short { .. }) => {
                Self::Lines(requests.collect())
            }
            _ => Self::Messages(requests.collect()),
        }
    }

    /// Whether `message` comes next after `served`, and what has been served then.
    fn next(&self, served: usize, message: &[u8]) -> Option<usize> {
        match self {
            Self::Messages(messages) | Self::Lines(messages) => {
                (messages.get(served)?.as_slice() == message).then_some(served + 1)
            }
            Self::Values(values) => {
                (values.get(served)?.trim_ascii_start() == message).then_some(served + 1)
            }
            Self::Stream(bytes) => {
                let end = served + message.len();
                (bytes.get(served..end)? == message).then_some(end)
            }
        }
    }

    /// Whether `message` is the beginning of the next one, which the end of the stream cut short.
    fn is_cut(&self, served: usize, message: &[u8]) -> bool {
        match self {
            Self::Lines(messages) => messages
                .get(served)
                .is_some_and(|next| next.starts_with(message)),
            Self::Messages(_) | Self::Values(_) | Self::Stream(_) => false,
        }
    }
}

impl<S: Service> Service for Watched<S> {
    type State = S::State;

    const ORDERED: bool = S::ORDERED;

    fn name(&self) -> &'static str {
        self.service.name()
    }

    fn message(
        &mut self,
        state: &mut S::State,
        message: &mut Message<'_>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        {
            let mut seen = self.seen.lock().expect("no panic while it is held");
            seen.calls += 1;
            match self.expected.next(seen.served, message.bytes()) {
                Some(served) => seen.served = served,
                None if self.expected.is_cut(seen.served, message.bytes()) => {
                    return Flow::Continue;
                }
                None => {
                    let (served, len) = (seen.served, message.bytes().len());
                    seen.violation.get_or_insert(format!(
                        "after {served} the service was given a message of {len} bytes that is \
                         not the next one sent"
                    ));
                }
            }
        }
        match Command::of(message.bytes()) {
            Some(command) => command.run(replies),
            None => self.service.message(state, message, replies),
        }
    }

    fn completed(
        &mut self,
        state: &mut S::State,
        tag: u64,
        answer: Vec<u8>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        self.seen.lock().expect("no panic while it is held").calls += 1;
        self.service.completed(state, tag, answer, replies)
    }

    fn held_bytes(state: &S::State) -> usize {
        S::held_bytes(state)
    }

    fn writable(&mut self, state: &mut S::State, replies: &mut Replies<'_>) -> Flow {
        {
            let mut seen = self.seen.lock().expect("no panic while it is held");
            seen.calls += 1;
            seen.writable += 1;
        }
        self.service.writable(state, replies)
    }
}

impl Command {
    pub const ALL: [Self; 6] = [
        Self::Bye,
        Self::Shut,
        Self::Panic,
        Self::Flood,
        Self::ShortStream,
        Self::LongStream,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Bye => "!bye",
            Self::Shut => "!shut",
            Self::Panic => "!panic",
            Self::Flood => "!flood",
            Self::ShortStream => "!short",
            Self::LongStream => "!long",
        }
    }

    fn of(message: &[u8]) -> Option<Self> {
        let quoted = message
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""));
        let is = |command: &Self| command.word().as_bytes() == quoted.unwrap_or(message);
        Self::ALL.into_iter().find(is)
    }

    fn run(self, replies: &mut Replies<'_>) -> Flow {
        match self {
            Self::Bye => return Flow::Close,
            Self::Shut => return Flow::CloseFor(CloseReason::LoginFailures),
            // It is planned, so nothing is printed.
            Self::Panic => replies.send_with(|out| {
                out.extend_from_slice(b"half of a message, which is not sent");
                panic::resume_unwind(Box::new(()));
            }),
            Self::Flood => {
                let most = replies.limits().send_queue_bytes_max();
                let part = pattern(most / 10 + 1, 0);
                (0..11).for_each(|_| replies.send_all(&part));
            }
            Self::ShortStream => {
                if replies.begin(10).is_ok() {
                    replies.send_all(b"short");
                }
                return Flow::Close;
            }
            Self::LongStream => {
                if replies.begin(3).is_err() {
                    return Flow::Close;
                }
                replies.send_all(b"long");
            }
        }
        Flow::Continue
    }
}

/// Defers or postpones most messages, some of them both, and then answers them with themselves.
#[derive(Clone)]
pub struct Later<const ORDERED: bool>;

impl<const ORDERED: bool> Service for Later<ORDERED> {
    type State = ();

    const ORDERED: bool = ORDERED;

    fn name(&self) -> &'static str {
        "later"
    }

    fn message(
        &mut self,
        _: &mut (),
        message: &mut Message<'_>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        match message.bytes().len() % 5 {
            3 => {
                replies.forward(message);
                return Flow::Continue;
            }
            4 => return postpone(message.take(), replies),
            _ => {}
        }
        let answer = message.take();
        let job = Deferred {
            tag: 0,
            input_bytes: answer.capacity(),
            run: Box::new(move || answer),
            if_panicked: Vec::new(),
        };
        // A message is served only while there is room for one job.
        assert!(replies.defer(job).is_ok(), "there is room for a first job");
        Flow::Continue
    }

    fn completed(
        &mut self,
        _: &mut (),
        tag: u64,
        answer: Vec<u8>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        if tag != POSTPONED && answer.len() % 5 == 2 {
            return postpone(answer, replies);
        }
        replies.forward(&mut Message::Owned(answer));
        Flow::Continue
    }
}

const POSTPONED: u64 = 1;

fn postpone(answer: Vec<u8>, replies: &mut Replies<'_>) -> Flow {
    let wait = Duration::from_millis(answer.len() as u64 % 20);
    let postponed = replies.postpone(wait, POSTPONED, answer);
    assert!(postponed.is_ok(), "there is room for a first answer");
    Flow::Continue
}

/// `LENGTH START` is answered with so much of the pattern, streamed in parts.
#[derive(Clone)]
pub struct Stream;

/// Streams that are asked for and not at their end, and how far the first one is.
#[derive(Default)]
pub struct Streams {
    asked: VecDeque<Vec<u8>>,
    begun: bool,
    sent: usize,
}

impl Stream {
    fn go_on(streams: &mut Streams, replies: &mut Replies<'_>) -> Flow {
        while let Some(text) = streams.asked.front() {
            if !streams.begun {
                if replies.begin(text.len() as u64).is_err() {
                    return Flow::Continue;
                }
                streams.begun = true;
            }
            while streams.sent < text.len() {
                let part = (streams.sent % 7_000 + 1).min(text.len() - streams.sent);
                let part = &text[streams.sent..][..part];
                if replies.send(part).is_err() {
                    return Flow::Continue;
                }
                streams.sent += part.len();
            }
            streams.asked.pop_front();
            (streams.begun, streams.sent) = (false, 0);
        }
        Flow::Continue
    }
}

impl Service for Stream {
    type State = Streams;

    fn name(&self) -> &'static str {
        "stream"
    }

    fn message(
        &mut self,
        streams: &mut Streams,
        message: &mut Message<'_>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        let text = String::from_utf8_lossy(message.bytes()).into_owned();
        let (len, start) = text.split_once(' ').expect("two numbers");
        let (len, start) = (len.parse(), start.parse());
        let text = pattern(len.expect("a number"), start.expect("a number"));
        streams.asked.push_back(text);
        Self::go_on(streams, replies)
    }

    fn held_bytes(streams: &Streams) -> usize {
        streams.asked.iter().map(Vec::capacity).sum()
    }

    fn writable(&mut self, streams: &mut Streams, replies: &mut Replies<'_>) -> Flow {
        Self::go_on(streams, replies)
    }
}

/// `N all TEXT` and `N polite TEXT` are answered N times with all of that, at once or as there is
/// room; anything else once, as there is room.
#[derive(Clone)]
pub struct Much;

impl Much {
    fn go_on(backlog: &mut VecDeque<Vec<u8>>, replies: &mut Replies<'_>) -> Flow {
        while let Some(message) = backlog.front_mut() {
            if let Err(full) = replies.send(message) {
                message.drain(..full.taken);
                break;
            }
            backlog.pop_front();
        }
        Flow::Continue
    }
}

impl Service for Much {
    type State = VecDeque<Vec<u8>>;

    fn name(&self) -> &'static str {
        "much"
    }

    fn message(
        &mut self,
        backlog: &mut VecDeque<Vec<u8>>,
        message: &mut Message<'_>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        let bytes = message.bytes();
        let copies = match bytes {
            [copies @ b'0'..=b'5', b' ', ..] => usize::from(copies - b'0'),
            _ => 1,
        };
        let polite = bytes.get(2) != Some(&b'a');
        for _ in 0..copies {
            if polite || !backlog.is_empty() {
                backlog.push_back(bytes.to_vec());
            } else {
                replies.send_all(bytes);
            }
        }
        Self::go_on(backlog, replies)
    }

    fn held_bytes(backlog: &VecDeque<Vec<u8>>) -> usize {
        backlog.iter().map(Vec::capacity).sum()
    }

    fn writable(&mut self, backlog: &mut VecDeque<Vec<u8>>, replies: &mut Replies<'_>) -> Flow {
        Self::go_on(backlog, replies)
    }
}
