//! From a message to its answer: each request finds its method, runs or is deferred, and answers.
//!
//! | a message of | is answered |
//! |---|---|
//! | one request, run on the spot | straight into the output, without a buffer in between |
//! | one request, deferred | when it is done, among other answers: the id tells which it is |
//! | a batch | when its last member has been, with all answers in one array |
//! | notifications only | not at all, whatever comes of them |

use serde_json::value::RawValue;

use super::method::{Call, Context, Now, Run, Table, Work};
use super::request::{Incoming, Request};
use super::response::{Refused, RpcError, write_response};
use super::waiting::{Gathered, Waiting};
use crate::service::{Caller, Deferred, TooManyDeferred};
use crate::stats::Stats;

/// Tag of a deferred call that is answered by itself.
const ALONE: u64 = 0;
/// Tag of a deferred notification.
const NOTIFICATION: u64 = 1;
/// The first tag of a batch. Those who were deferred for the same batch have the same tag.
pub(super) const FIRST_BATCH: u64 = 2;

/// Where answers leave, and what is known there.
pub(super) trait Outlet<'a> {
    fn caller(&self) -> Caller<'a>;
    fn stats(&self) -> &'a Stats;
    /// How long a batch's answer may be, in bytes: some answers are far longer than their requests.
    fn answer_bytes_max(&self) -> usize;
    /// Sends the message that `write` appends.
    fn send_with(&mut self, write: impl FnOnce(&mut Vec<u8>));
    /// Sends a message.
    fn send(&mut self, message: Vec<u8>);
    /// Has a job done elsewhere; [`completed`] gets its answer.
    fn defer(&mut self, job: Deferred) -> Result<(), TooManyDeferred>;
}

/// Serves one message.
#[inline]
pub(super) fn serve<'a>(
    table: &Table,
    waiting: &mut Waiting,
    message: &[u8],
    outlet: &mut impl Outlet<'a>,
) {
    let context = Context {
        caller: outlet.caller(),
        stats: outlet.stats(),
        table,
    };
    match Incoming::parse(message) {
        Ok(Incoming::One(request)) => match start(&request, ALONE, &context, outlet) {
            Started::Silent | Started::Deferred => {}
            Started::Answer(answer) => outlet.send_with(|out| answer.write(out)),
        },
        Ok(Incoming::Batch(members)) => batch(&members, &context, waiting, outlet),
        Err(refused) => outlet.send_with(|out| refused.write(out)),
    }
}

/// Takes the answer of a job that was deferred under `tag`.
pub(super) fn completed<'a>(
    waiting: &mut Waiting,
    tag: u64,
    answer: Vec<u8>,
    outlet: &mut impl Outlet<'a>,
) {
    match tag {
        ALONE => outlet.send(answer),
        NOTIFICATION => {}
        batch => {
            if let Some(whole) = waiting.completed(batch, &answer, outlet.answer_bytes_max()) {
                outlet.send(whole);
            }
        }
    }
}

fn batch<'a>(
    members: &[&RawValue],
    context: &Context<'_>,
    waiting: &mut Waiting,
    outlet: &mut impl Outlet<'a>,
) {
    let tag = waiting.next_tag();
    let mut gathered = Gathered::default();
    let mut deferred = 0;
    for member in members {
        let started = match Request::member(member) {
            Ok(request) => start(&request, tag, context, outlet),
            Err(refused) => Started::Answer(Answer::Refused(refused)),
        };
        match started {
            Started::Silent => {}
            Started::Deferred => deferred += 1,
            Started::Answer(answer) => gathered.push(|out| answer.write(out)),
        }
        if gathered.limit(outlet.answer_bytes_max()) {
            break;
        }
    }
    if deferred > 0 {
        waiting.add(tag, gathered, deferred, outlet.answer_bytes_max());
    } else if let Some(whole) = gathered.finish() {
        outlet.send(whole);
    }
}

/// What has become of a request.
enum Started<'a> {
    /// Nothing is to be said.
    Silent,
    /// The answer comes later.
    Deferred,
    /// The answer is to be written now.
    Answer(Answer<'a>),
}

/// An answer that needs a place to be written to.
enum Answer<'a> {
    Refused(Refused<'a>),
    /// The method has not run yet: its result is written straight into that place.
    Call {
        id: &'a str,
        takes: &'static str,
        run: &'a Now,
        call: Call<'a>,
    },
}

impl Answer<'_> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Refused(refused) => refused.write(out),
            Self::Call {
                id,
                takes,
                run,
                call,
            } => {
                write_response(out, id, takes, |out| run(call, out));
            }
        }
    }
}

/// Finds a request's method and does what can be done without a place for the answer. A deferred
/// answer will come under `tag`.
#[inline]
fn start<'r, 'a>(
    request: &Request<'r>,
    tag: u64,
    context: &'r Context<'r>,
    outlet: &mut impl Outlet<'a>,
) -> Started<'r> {
    let Some(method) = request
        .method
        .as_deref()
        .and_then(|name| context.table.find(name))
    else {
        return refused(request.id, |id| {
            Refused::new(id, RpcError::METHOD_NOT_FOUND)
        });
    };
    let takes = method.params;
    let call = Call {
        params: request.params,
        context,
    };
    match (&method.run, request.id) {
        (Run::Now(run), Some(id)) => Started::Answer(Answer::Call {
            id,
            takes,
            run: &**run,
            call,
        }),
        (Run::Now(run), None) => {
            // Not wanting to know how it went is what makes it a notification.
            let _ = run(&call, &mut Vec::new());
            Started::Silent
        }
        (Run::Later(prepare), _) => match prepare(&call) {
            Ok(work) => match outlet.defer(job(request, takes, tag, work)) {
                Ok(()) if request.id.is_some() => Started::Deferred,
                Ok(()) => Started::Silent,
                Err(TooManyDeferred(_)) => refused(request.id, |id| {
                    Refused::new(id, RpcError::TOO_MANY_WAITING)
                }),
            },
            Err(error) => refused(request.id, |id| Refused::by_method(id, error, takes)),
        },
    }
}

/// Notifications are not even told what is wrong with them.
fn refused<'r>(id: Option<&'r str>, refused: impl FnOnce(&'r str) -> Refused<'r>) -> Started<'r> {
    id.map_or(Started::Silent, |id| {
        Started::Answer(Answer::Refused(refused(id)))
    })
}

/// A request's work as a job. It answers with the whole response, so that whatever waits for it
/// need not know the request.
fn job(request: &Request<'_>, takes: &'static str, tag: u64, work: Work) -> Deferred {
    let params_bytes = request.params.map_or(0, str::len);
    let Some(id) = request.id else {
        return Deferred {
            tag: NOTIFICATION,
            input_bytes: params_bytes,
            run: Box::new(move || {
                let _ = work(&mut Vec::new());
                Vec::new()
            }),
            if_panicked: Vec::new(),
        };
    };
    let mut if_panicked = Vec::new();
    Refused::new(id, RpcError::INTERNAL_ERROR).write(&mut if_panicked);
    let id = Box::<str>::from(id);
    Deferred {
        tag,
        input_bytes: params_bytes + id.len() + if_panicked.capacity(),
        run: Box::new(move || {
            let mut answer = Vec::new();
            write_response(&mut answer, &id, takes, work);
            answer
        }),
        if_panicked,
    }
}
