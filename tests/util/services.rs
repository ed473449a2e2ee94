//! Services for one test each: a closure, and a gate that holds their jobs back.

use std::sync::{Arc, Condvar, Mutex};

use gateloop::protocol::Message;
use gateloop::service::{Deferred, Flow, Full, Replies, Service};

use super::PATIENCE;

/// A service that is a closure.
#[derive(Clone)]
pub struct Closure<F, const ORDERED: bool>(F);

/// A service whose answers keep the order of their requests.
pub fn ordered<F>(message: F) -> Closure<F, true>
where
    F: FnMut(&mut Message<'_>, &mut Replies<'_>) -> Flow,
{
    Closure(message)
}

/// A service whose deferred answers may overtake each other.
pub fn unordered<F>(message: F) -> Closure<F, false>
where
    F: FnMut(&mut Message<'_>, &mut Replies<'_>) -> Flow,
{
    Closure(message)
}

impl<F, const ORDERED: bool> Service for Closure<F, ORDERED>
where
    F: FnMut(&mut Message<'_>, &mut Replies<'_>) -> Flow + Clone + Send + 'static,
{
    type State = ();

    const ORDERED: bool = ORDERED;

    fn name(&self) -> &'static str {
        "closure"
    }

    fn message(
        &mut self,
        _state: &mut (),
        message: &mut Message<'_>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        (self.0)(message, replies)
    }
}

/// A job that answers with what `run` returns.
pub fn job(input_bytes: usize, run: impl FnOnce() -> Vec<u8> + Send + 'static) -> Deferred {
    Deferred {
        tag: 0,
        input_bytes,
        run: Box::new(run),
        if_panicked: b"panicked".to_vec(),
    }
}

/// Defers a job for which there must be room.
pub fn defer(replies: &mut Replies<'_>, run: impl FnOnce() -> Vec<u8> + Send + 'static) -> Flow {
    let taken = replies.defer(job(0, run));
    assert!(
        taken.is_ok(),
        "a message is served only while there is room"
    );
    Flow::Continue
}

/// Answers a decimal number with so many bytes at once; under `close`, then closes.
pub fn fountain(close: bool) -> impl Service {
    ordered(
        move |message: &mut Message<'_>, replies: &mut Replies<'_>| {
            let text = std::str::from_utf8(message.bytes()).expect("a number");
            let len = text.parse().expect("a number");
            replies.send_all(&vec![b'f'; len]);
            if close { Flow::Close } else { Flow::Continue }
        },
    )
}

/// Holds back whoever comes to it until it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn pass(&self) {
        let (open, opened) = &*self.0;
        let guard = open.lock().expect("no panic");
        let waited = opened.wait_timeout_while(guard, PATIENCE, |open| !*open);
        assert!(*waited.expect("no panic").0, "nobody opened the gate");
    }

    pub fn open(&self) {
        *self.0.0.lock().expect("no panic") = true;
        self.0.1.notify_all();
    }
}

/// Echoes; a message that begins with `slow` waits for the gate elsewhere.
pub fn slow(
    gate: &Gate,
) -> impl FnMut(&mut Message<'_>, &mut Replies<'_>) -> Flow + Clone + Send + use<> {
    let gate = gate.clone();
    move |message, replies| {
        if !message.bytes().starts_with(b"slow") {
            replies.forward(message);
            return Flow::Continue;
        }
        let (gate, message) = (gate.clone(), message.take());
        defer(replies, move || {
            gate.pass();
            message
        })
    }
}

/// Answers `TOTAL PART` (decimal) with so many bytes in parts of that size, each a message of its
/// own or all of them one, as fast as there is room and not faster. What they are: [`pattern`].
#[derive(Clone)]
pub struct Source {
    pub one_message: bool,
    pattern: Arc<Vec<u8>>,
}

/// What is still to be sent.
#[derive(Default)]
pub struct Rest {
    total: u64,
    sent: u64,
    part: usize,
    begun: bool,
}

const PERIOD: usize = 251;

/// The bytes of a source's stream from a position on.
pub fn pattern(position: u64, len: usize) -> Vec<u8> {
    let first = (position % PERIOD as u64) as usize;
    let period: Vec<u8> = (0..=u8::MAX).take(PERIOD).collect();
    let mut bytes = period.repeat((first + len).div_ceil(PERIOD));
    bytes.drain(..first);
    bytes.truncate(len);
    bytes
}

impl Source {
    pub fn new(one_message: bool) -> Self {
        Self {
            one_message,
            pattern: Arc::new(pattern(0, 1024 * 1024 + PERIOD)),
        }
    }

    fn go_on(&self, rest: &mut Rest, replies: &mut Replies<'_>) -> Result<(), Full> {
        if self.one_message && !rest.begun && rest.total > 0 {
            replies.begin(rest.total)?;
            rest.begun = true;
        }
        while rest.sent < rest.total {
            let first = (rest.sent % PERIOD as u64) as usize;
            let len = rest.part.min((rest.total - rest.sent) as usize);
            replies.send(&self.pattern[first..first + len])?;
            rest.sent += len as u64;
        }
        *rest = Rest::default();
        Ok(())
    }
}

impl Service for Source {
    type State = Rest;

    fn name(&self) -> &'static str {
        "source"
    }

    fn message(
        &mut self,
        rest: &mut Rest,
        message: &mut Message<'_>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        let text = std::str::from_utf8(message.bytes()).expect("two numbers");
        let (total, part) = text.split_once(' ').expect("two numbers");
        rest.total = total.parse().expect("a number");
        rest.part = part.parse().expect("a number");
        self.writable(rest, replies)
    }

    fn writable(&mut self, rest: &mut Rest, replies: &mut Replies<'_>) -> Flow {
        // Who is refused room is called again when there is some.
        let _ = self.go_on(rest, replies);
        Flow::Continue
    }
}
