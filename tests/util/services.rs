//! Services for one test each: a closure, and a gate that holds their jobs back.

use std::sync::{Arc, Condvar, Mutex};

use gateloop::protocol::Message;
use gateloop::service::{Deferred, Flow, Replies, Service};

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
