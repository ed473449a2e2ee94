//! The methods `login` and `logout`, which change what their connection remembers.
//!
//! | a login | is answered |
//! |---|---|
//! | with the user's password | as soon as a worker has checked it |
//! | with another one, or of nobody | after the wait that this costs its sender |
//! | while another one of its connection is not answered | at once, with an error |

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::dispatch::{self, Outlet};
use super::method::{Call, Method, Run, Table};
use super::response::{RpcError, write_response};
use super::state::State;
use crate::service::logins::{Attempt, Failures};
use crate::service::{Deferred, Flow, Logins, TooManyDeferred};

/// Tag of a login that a worker has checked.
pub(super) const CHECKED: u64 = 2;
/// Tag of one whose failure is paid for.
pub(super) const PAID_FOR: u64 = 3;

const LOGIN_TAKES: &str = "name: string, password: string";
const RIGHT: &[u8] = b"right";

/// Adds both methods for those who may log in.
pub(super) fn add_methods(table: &mut Table, logins: Logins) {
    let help = "who you are from now on, on this connection";
    table.add(Method::new("login", LOGIN_TAKES, help, Run::Login(logins)));
    let help = "you are nobody again";
    table.add(Method::new("logout", "none", help, Run::Logout));
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    password: Cow<'a, str>,
}

/// The result of both: who the caller is now.
#[derive(Serialize)]
struct Who<'a> {
    user: Option<&'a str>,
}

/// Appends the result of both.
pub(super) fn write_who(user: Option<&str>, out: &mut Vec<u8>) -> Result<(), RpcError> {
    serde_json::to_writer(out, &Who { user }).map_err(|_| RpcError::INTERNAL_ERROR)
}

/// A login that is not answered yet.
pub(super) struct Pending {
    logins: Logins,
    name: Box<str>,
    /// Where its answer goes, as the tag of a deferred call says it.
    answer_to: u64,
    /// `None` if it is a notification.
    id: Option<Box<str>>,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending(..)")
    }
}

/// Begins a login, whose answer goes to `answer_to`.
pub(super) fn begin<'a>(
    call: &Call<'_>,
    id: Option<&str>,
    answer_to: u64,
    logins: &Logins,
    state: &mut State,
    outlet: &mut impl Outlet<'a>,
) -> Result<(), RpcError> {
    let Params { name, password } = call.params()?;
    if state.is_logging_in() {
        return Err(RpcError::LOGIN_UNDER_WAY);
    }
    let pending = Pending {
        logins: logins.clone(),
        name: name.as_ref().into(),
        answer_to,
        id: id.map(Box::from),
    };
    match Attempt::new(&name, password.into_owned()) {
        Some(attempt) => {
            let logins = logins.clone();
            let job = Deferred {
                tag: CHECKED,
                input_bytes: attempt.bytes(),
                run: Box::new(move || match logins.check(&attempt) {
                    true => RIGHT.to_vec(),
                    false => Vec::new(),
                }),
                if_panicked: Vec::new(),
            };
            outlet
                .defer(job)
                .map_err(|TooManyDeferred(_)| RpcError::TOO_MANY_WAITING)?;
        }
        None => state.change(|kept| fail(&pending, &mut kept.failures, outlet))?,
    }
    state.change(|kept| kept.login = Some(pending));
    Ok(())
}

fn fail<'a>(
    pending: &Pending,
    failures: &mut Failures,
    outlet: &mut impl Outlet<'a>,
) -> Result<(), RpcError> {
    let wait = pending
        .logins
        .failed(outlet.caller().peer, failures, outlet.now());
    outlet
        .postpone(wait, PAID_FOR, Vec::new())
        .map_err(|TooManyDeferred(_)| RpcError::TOO_MANY_WAITING)
}

/// A worker has checked a login.
pub(super) fn checked<'a>(state: &mut State, answer: &[u8], outlet: &mut impl Outlet<'a>) -> Flow {
    let Some(pending) = state.change(|kept| kept.login.take()) else {
        return Flow::Continue;
    };
    if answer != RIGHT {
        // One answer is owed less than a moment ago: there is room for this one.
        let failed = state.change(|kept| {
            let failed = fail(&pending, &mut kept.failures, outlet);
            kept.login = Some(pending);
            failed
        });
        return failed.map_or(Flow::Close, |()| Flow::Continue);
    }
    state.change(|kept| {
        let peer = outlet.caller().peer;
        pending.logins.passed(peer, &mut kept.failures);
        kept.user = Some(pending.name.clone());
    });
    answer_pending(state, &pending, outlet, |out| {
        write_who(Some(&pending.name), out)
    });
    Flow::Continue
}

/// A failed login is to be told.
pub(super) fn paid_for<'a>(state: &mut State, outlet: &mut impl Outlet<'a>) -> Flow {
    let Some(pending) = state.change(|kept| kept.login.take()) else {
        return Flow::Continue;
    };
    answer_pending(state, &pending, outlet, |_| Err(RpcError::LOGIN_FAILED));
    state.change(|kept| kept.failures).flow()
}

fn answer_pending<'a>(
    state: &mut State,
    pending: &Pending,
    outlet: &mut impl Outlet<'a>,
    result: impl FnOnce(&mut Vec<u8>) -> Result<(), RpcError>,
) {
    if let Some(id) = &pending.id {
        let mut answer = Vec::new();
        write_response(&mut answer, id, LOGIN_TAKES, result);
        dispatch::deliver(state, pending.answer_to, answer, outlet);
    }
}

/// Ends what a login has begun.
pub(super) fn end(call: &Call<'_>, state: &mut State) -> Result<(), RpcError> {
    call.no_params()?;
    state.change(|kept| kept.user = None);
    Ok(())
}
