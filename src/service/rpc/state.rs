//! What one connection remembers between messages: batches that wait, programs that run, and who
//! has logged in.

use super::login::Pending;
use super::running::Programs;
use super::waiting::Waiting;
use crate::service::logins::Failures;

/// One connection's memory. Empty, as it almost always is, it takes none itself.
#[derive(Debug, Default)]
pub struct State(Option<Box<Kept>>);

const _: () = assert!(size_of::<State>() <= 8, "every idle client pays for it");

/// Each of these is as it is in the beginning when nothing is to be remembered.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) waiting: Waiting,
    pub(super) programs: Programs,
    /// Who has logged in.
    pub(super) user: Option<Box<str>>,
    /// A login that is not answered yet.
    pub(super) login: Option<Pending>,
    pub(super) failures: Failures,
}

impl State {
    /// The tag of the next batch.
    pub(super) fn next_tag(&self) -> u64 {
        let kept = self.0.as_ref();
        kept.map_or_else(
            || Waiting::default().next_tag(),
            |kept| kept.waiting.next_tag(),
        )
    }

    /// The tag of the next program.
    pub(super) fn next_program(&self) -> u64 {
        self.0.as_ref().map_or(0, |kept| kept.programs.next_tag())
    }

    /// Who has logged in.
    #[inline]
    pub(super) fn user(&self) -> Option<&str> {
        self.0.as_ref()?.user.as_deref()
    }

    /// Whether a login is not answered yet.
    pub(super) fn is_logging_in(&self) -> bool {
        self.0.as_ref().is_some_and(|kept| kept.login.is_some())
    }

    /// Changes what is remembered, and forgets it where there is nothing left.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Kept) -> T) -> T {
        let kept = self.0.get_or_insert_default();
        let changed = change(kept);
        if kept.is_empty() {
            self.0 = None;
        }
        changed
    }

    /// What is held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let kept = self.0.as_ref();
        kept.map_or(0, |kept| kept.waiting.bytes() + kept.programs.bytes())
    }
}

impl Kept {
    fn is_empty(&self) -> bool {
        let nobody = self.user.is_none() && self.login.is_none();
        let nothing = self.waiting.is_empty() && self.programs.is_empty();
        nobody && nothing && self.failures == Failures::default()
    }
}
