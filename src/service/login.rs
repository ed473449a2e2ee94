//! `login`: a name and a password, and whether they are a user's.

use std::borrow::Cow;

use serde::Deserialize;

use super::logins::{Attempt, Failures};
use super::{Deferred, Flow, Logins, Replies, Service};
use crate::protocol::Message;

/// The service `login`: a message is a JSON object `{"username": "...", "passwd": "..."}`, and its
/// answer `success!` or `failed!`. Whatever else comes is a failed attempt: the clients of this
/// protocol know these two answers and no third.
///
/// An unknown user and a wrong password are answered alike, and in the same time; see
/// [`Users`](super::users::Users). Other members of the object are ignored.
#[derive(Clone, Debug)]
pub struct Login {
    logins: Logins,
}

const SUCCESS: &[u8] = b"success!";
const FAILED: &[u8] = b"failed!";

/// Tag of an answer that a worker gives.
const CHECKED: u64 = 0;
/// Tag of one whose time has come.
const PAID_FOR: u64 = 1;

#[derive(Deserialize)]
struct Credentials<'a> {
    #[serde(borrow)]
    username: Cow<'a, str>,
    #[serde(borrow)]
    passwd: Cow<'a, str>,
}

impl Login {
    /// The service for those who may log in.
    #[must_use]
    pub fn new(logins: Logins) -> Self {
        Self { logins }
    }

    fn failed(&self, failures: &mut Failures, replies: &mut Replies<'_>) -> Flow {
        let wait = self
            .logins
            .failed(replies.caller().peer, failures, replies.now());
        match replies.postpone(wait, PAID_FOR, FAILED.to_vec()) {
            Ok(()) => Flow::Continue,
            // There is one at a time, and always room for one.
            Err(_) => Flow::Close,
        }
    }
}

/// What a message says; `None` if it is no such object, or could not be right.
fn read(message: &[u8]) -> Option<Attempt> {
    // To serde an array of two is as good.
    if message.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let Credentials { username, passwd } = serde_json::from_slice(message).ok()?;
    Attempt::new(&username, passwd.into_owned())
}

impl Service for Login {
    type State = Failures;

    fn name(&self) -> &'static str {
        "login"
    }

    fn message(
        &mut self,
        failures: &mut Failures,
        message: &mut Message<'_>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        let Some(attempt) = read(message.bytes()) else {
            return self.failed(failures, replies);
        };
        let logins = self.logins.clone();
        let job = Deferred {
            tag: CHECKED,
            input_bytes: attempt.bytes(),
            run: Box::new(move || match logins.check(&attempt) {
                true => SUCCESS.to_vec(),
                false => FAILED.to_vec(),
            }),
            if_panicked: FAILED.to_vec(),
        };
        match replies.defer(job) {
            Ok(()) => Flow::Continue,
            // A message is served only while there is room for its first job.
            Err(_) => Flow::Close,
        }
    }

    fn completed(
        &mut self,
        failures: &mut Failures,
        tag: u64,
        answer: Vec<u8>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        if tag == CHECKED && answer != SUCCESS {
            return self.failed(failures, replies);
        }
        replies.forward(&mut Message::Owned(answer));
        if tag == PAID_FOR {
            return failures.flow();
        }
        self.logins.passed(replies.caller().peer, failures);
        Flow::Continue
    }
}
