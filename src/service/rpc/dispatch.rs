//! From a message to its answer: each request finds its method, runs or is deferred, and answers.
//!
//! | a message of | is answered |
//! |---|---|
//! | one request, run on the spot | straight into the output, without a buffer in between |
//! | one request, deferred | when it is done, among other answers: the id tells which it is |
//! | a batch | when its last member has been, with all answers in one array |
//! | notifications only | not at all, whatever comes of them |

use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::exec::Prepared;
use super::login;
use super::method::{Call, Context, Method, Now, Run, Table, Work};
use super::request::{Incoming, Request};
use super::response::{Refused, RpcError, write_response};
use super::running::{Output, Program};
use super::state::State;
use super::waiting::Gathered;
use crate::service::{
    Caller, ChildEnd, Deferred, Flow, Launch, NotLaunched, Pipe, TooManyDeferred,
};
use crate::stats::Stats;

/// Tag of a deferred call that is answered by itself.
const ALONE: u64 = 0;
/// Tag of a deferred notification.
const NOTIFICATION: u64 = 1;
/// The first tag of a batch. Those who were deferred for the same batch have the same tag.
pub(super) const FIRST_BATCH: u64 = 4;
/// How long a byte of output can become in JSON: `\u0000`. The rest of an answer fits into what is
/// more than that.
const JSON_BYTES_PER_BYTE: usize = 8;

const _: () = assert!(NOTIFICATION < login::CHECKED && login::PAID_FOR < FIRST_BATCH);

/// Where answers leave, and what is known there.
pub(super) trait Outlet<'a> {
    fn caller(&self) -> Caller<'a>;
    fn stats(&self) -> &'a Stats;
    fn now(&self) -> Instant;
    /// Whether a method can be called from here.
    fn allows(&self, _method: &Method) -> bool {
        true
    }
    /// How long a batch's answer may be, in bytes: some answers are far longer than their requests.
    fn answer_bytes_max(&self) -> usize;
    /// Sends the message that `write` appends.
    fn send_with(&mut self, write: impl FnOnce(&mut Vec<u8>));
    /// Sends a message.
    fn send(&mut self, message: Vec<u8>);
    /// Has a job done elsewhere; [`completed`] gets its answer.
    fn defer(&mut self, job: Deferred) -> Result<(), TooManyDeferred>;
    /// Has [`completed`] get this answer later.
    fn postpone(
        &mut self,
        wait: Duration,
        tag: u64,
        answer: Vec<u8>,
    ) -> Result<(), TooManyDeferred<Vec<u8>>>;
    /// Has a program run; [`printed`] and [`ended`] get what comes of it.
    fn launch(&mut self, launch: Launch) -> Result<(), NotLaunched>;
}

/// Serves one message.
#[inline]
pub(super) fn serve<'a>(
    table: &Table,
    state: &mut State,
    message: &[u8],
    outlet: &mut impl Outlet<'a>,
) {
    let context = Context {
        caller: outlet.caller(),
        stats: outlet.stats(),
        table,
    };
    match Incoming::parse(message) {
        Ok(Incoming::One(request)) => match start(&request, ALONE, &context, state, outlet) {
            Started::Silent | Started::Deferred => {}
            Started::Answer(answer) => outlet.send_with(|out| answer.write(out)),
        },
        Ok(Incoming::Batch(members)) => batch(&members, &context, state, outlet),
        Err(refused) => outlet.send_with(|out| refused.write(out)),
    }
}

/// Takes the answer that was deferred, or postponed, under `tag`.
pub(super) fn completed<'a>(
    state: &mut State,
    tag: u64,
    answer: Vec<u8>,
    outlet: &mut impl Outlet<'a>,
) -> Flow {
    match tag {
        login::CHECKED => return login::checked(state, &answer, outlet),
        login::PAID_FOR => return login::paid_for(state, outlet),
        _ => deliver(state, tag, answer, outlet),
    }
    Flow::Continue
}

/// Has an answer go where its tag says.
pub(super) fn deliver<'a>(
    state: &mut State,
    tag: u64,
    answer: Vec<u8>,
    outlet: &mut impl Outlet<'a>,
) {
    match tag {
        ALONE => outlet.send(answer),
        NOTIFICATION => {}
        batch => {
            let bytes_max = outlet.answer_bytes_max();
            let whole = state.change(|kept| kept.waiting.completed(batch, &answer, bytes_max));
            if let Some(whole) = whole {
                outlet.send(whole);
            }
        }
    }
}

fn batch<'a>(
    members: &[&RawValue],
    context: &Context<'_>,
    state: &mut State,
    outlet: &mut impl Outlet<'a>,
) {
    let tag = state.next_tag();
    let mut gathered = Gathered::default();
    let mut deferred = 0;
    for member in members {
        let started = match Request::member(member) {
            Ok(request) => start(&request, tag, context, state, outlet),
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
        let bytes_max = outlet.answer_bytes_max();
        state.change(|kept| kept.waiting.add(tag, gathered, deferred, bytes_max));
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
    /// The caller is nobody any more.
    LoggedOut {
        id: &'a str,
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
            Self::LoggedOut { id } => {
                write_response(out, id, "none", |out| login::write_who(None, out));
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
    state: &'r mut State,
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
    if !outlet.allows(method) {
        let error = RpcError::NOT_IN_DATAGRAMS;
        return refused(request.id, |id| Refused::new(id, error));
    }
    let takes = method.params;
    let call = Call {
        params: request.params,
        context,
        user: None,
    };
    let later = |begun: Result<(), RpcError>| match begun {
        Ok(()) => deferred(request.id),
        Err(error) => refused(request.id, |id| Refused::by_method(id, error, takes)),
    };
    match (&method.run, request.id) {
        (Run::Now(run), Some(id)) => Started::Answer(Answer::Call {
            id,
            takes,
            run: &**run,
            call: call.by(state.user()),
        }),
        (Run::Now(run), None) => {
            // Not wanting to know how it went is what makes it a notification.
            let _ = run(&call.by(state.user()), &mut Vec::new());
            Started::Silent
        }
        (Run::Later(prepare), id) => match prepare(&call.by(state.user())) {
            Ok(work) => match outlet.defer(job(request, takes, tag, work)) {
                Ok(()) => deferred(id),
                Err(TooManyDeferred(_)) => {
                    refused(id, |id| Refused::new(id, RpcError::TOO_MANY_WAITING))
                }
            },
            Err(error) => refused(id, |id| Refused::by_method(id, error, takes)),
        },
        (Run::Program(prepare), id) => {
            let prepared = prepare(&call.by(state.user()));
            later(prepared.and_then(|it| launch(it, tag, id, takes, state, outlet)))
        }
        (Run::Login(logins), id) => {
            let answer_to = id.map_or(NOTIFICATION, |_| tag);
            later(login::begin(&call, id, answer_to, logins, state, outlet))
        }
        (Run::Logout, id) => match login::end(&call, state) {
            Ok(()) => id.map_or(Started::Silent, |id| {
                Started::Answer(Answer::LoggedOut { id })
            }),
            Err(error) => refused(id, |id| Refused::by_method(id, error, takes)),
        },
    }
}

/// A notification is not waited for.
fn deferred<'r>(id: Option<&str>) -> Started<'r> {
    id.map_or(Started::Silent, |_| Started::Deferred)
}

/// Has a program run whose answer will come under `tag`.
fn launch<'a>(
    prepared: Prepared,
    tag: u64,
    id: Option<&str>,
    takes: &'static str,
    state: &mut State,
    outlet: &mut impl Outlet<'a>,
) -> Result<(), RpcError> {
    let Prepared {
        mut launch,
        output_bytes_max,
        stream,
    } = prepared;
    let bytes_max = match id {
        Some(_) if stream => None,
        Some(_) => Some(output_bytes_max.min(outlet.answer_bytes_max() / JSON_BYTES_PER_BYTE)),
        None => Some(0),
    };
    launch.tag = state.next_program();
    let program = Program {
        tag: launch.tag,
        reply: if id.is_some() { tag } else { NOTIFICATION },
        id: id.map(Box::from),
        takes,
        output: Output::new(bytes_max),
    };
    let launched = outlet.launch(launch);
    if launched.is_ok() {
        state.change(|kept| kept.programs.add(program));
    }
    launched.map_err(|refused| match refused {
        NotLaunched::TooMany => RpcError::TOO_MANY_PROGRAMS,
        NotLaunched::Unsupported => RpcError::NO_PROGRAMS,
    })
}

/// Takes what a program has printed.
pub(super) fn printed<'a>(
    state: &mut State,
    tag: u64,
    pipe: Pipe,
    bytes: &[u8],
    outlet: &mut impl Outlet<'a>,
) {
    state.change(|kept| {
        let programs = &mut kept.programs;
        programs.printed(tag, pipe, bytes, |write| outlet.send_with(write));
    });
}

/// A program has ended, or was not started: that is its answer.
pub(super) fn ended<'a>(state: &mut State, tag: u64, end: ChildEnd, outlet: &mut impl Outlet<'a>) {
    if let Some(mut program) = state.change(|kept| kept.programs.ended(tag)) {
        program.tell_rest(|write| outlet.send_with(write));
        deliver(state, program.reply, program.answer(end), outlet);
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
