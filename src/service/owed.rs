//! The answers that a connection is owed: of jobs and programs that are under way, and those whose
//! time has not come.

use std::time::Instant;

/// One connection's outstanding answers. Without any, as almost always, it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Owed(Option<Box<Answers>>);

const _: () = assert!(size_of::<Owed>() <= 8, "every idle client pays for it");

#[derive(Debug, Default)]
struct Answers {
    /// All of them; never 0.
    count: usize,
    /// What the jobs among them keep alive.
    job_bytes: usize,
    /// How many of them are of programs.
    programs: usize,
    /// When the first of the postponed is due.
    first: Option<Instant>,
    postponed: Vec<Postponed>,
}

/// An answer whose time has not come.
#[derive(Debug)]
pub(crate) struct Postponed {
    due: Instant,
    pub(crate) tag: u64,
    pub(crate) answer: Vec<u8>,
}

impl Owed {
    /// How many there are.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |answers| answers.count)
    }

    /// What jobs keep alive for them, in bytes.
    #[inline]
    pub(crate) fn job_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |answers| answers.job_bytes)
    }

    /// What the postponed hold, in bytes.
    #[inline]
    pub(crate) fn postponed_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |answers| {
            let postponed = answers.postponed.iter();
            postponed.map(|answer| answer.answer.capacity()).sum()
        })
    }

    /// A job begins.
    pub(crate) fn defer(&mut self, job_bytes: usize) {
        let answers = self.0.get_or_insert_default();
        answers.count += 1;
        answers.job_bytes += job_bytes;
    }

    /// A job is done.
    pub(crate) fn job_done(&mut self, job_bytes: usize) {
        if let Some(answers) = &mut self.0 {
            answers.job_bytes = answers.job_bytes.saturating_sub(job_bytes);
        }
        self.given(1);
    }

    /// How many programs run.
    #[inline]
    pub(crate) fn programs(&self) -> usize {
        self.0.as_ref().map_or(0, |answers| answers.programs)
    }

    /// A program begins.
    pub(crate) fn launch(&mut self) {
        let answers = self.0.get_or_insert_default();
        answers.count += 1;
        answers.programs += 1;
    }

    /// So many programs have ended, if they have not been forgotten, or are to be.
    pub(crate) fn programs_done(&mut self, count: usize) {
        let done = count.min(self.programs());
        if let Some(answers) = &mut self.0 {
            answers.programs -= done;
        }
        self.given(done);
    }

    /// An answer begins to wait.
    pub(crate) fn postpone(&mut self, due: Instant, tag: u64, answer: Vec<u8>) {
        let answers = self.0.get_or_insert_default();
        answers.count += 1;
        answers.postponed.push(Postponed { due, tag, answer });
        answers.find_first();
    }

    /// When the first of the postponed is due.
    #[inline]
    pub(crate) fn first_due(&self) -> Option<Instant> {
        self.0.as_ref().and_then(|answers| answers.first)
    }

    /// Takes out those that are due, the earliest first.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Postponed> {
        let Some(answers) = &mut self.0 else {
            return Vec::new();
        };
        let due = answers.postponed.extract_if(.., |other| other.due <= now);
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|other| other.due);
        answers.find_first();
        self.given(due.len());
        due
    }

    /// Has all of the postponed be due by now.
    pub(crate) fn hasten(&mut self, now: Instant) {
        if let Some(answers) = &mut self.0 {
            for other in &mut answers.postponed {
                other.due = other.due.min(now);
            }
            answers.find_first();
        }
    }

    fn given(&mut self, count: usize) {
        if let Some(answers) = &mut self.0 {
            answers.count = answers.count.saturating_sub(count);
            if answers.count == 0 {
                self.0 = None;
            }
        }
    }
}

impl Answers {
    fn find_first(&mut self) {
        self.first = self.postponed.iter().map(|other| other.due).min();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const STEP: Duration = Duration::from_millis(1);

    fn tags(answers: &[Postponed]) -> Vec<u64> {
        answers.iter().map(|answer| answer.tag).collect()
    }

    #[test]
    fn the_postponed_come_in_the_order_of_their_times() {
        let (mut owed, now) = (Owed::default(), Instant::now());
        for (steps, tag) in [(3, 30), (1, 10), (2, 20), (1, 11)] {
            owed.postpone(now + steps * STEP, tag, vec![0; 8]);
        }
        owed.defer(5);
        assert_eq!((owed.count(), owed.postponed_bytes()), (5, 32));
        assert_eq!(owed.first_due(), Some(now + STEP));
        assert!(owed.take_due(now).is_empty());
        assert_eq!(tags(&owed.take_due(now + 2 * STEP)), [10, 11, 20]);
        assert_eq!(owed.first_due(), Some(now + 3 * STEP));
        assert_eq!(tags(&owed.take_due(now + 3 * STEP)), [30]);
        assert_eq!(owed.first_due(), None);
        assert_eq!((owed.count(), owed.job_bytes()), (1, 5));
        owed.job_done(5);
        assert!(owed.0.is_none());
    }

    #[test]
    fn the_postponed_can_be_hastened() {
        let (mut owed, now) = (Owed::default(), Instant::now());
        owed.postpone(now + 2 * STEP, 2, Vec::new());
        owed.postpone(now - STEP, 1, Vec::new());
        owed.hasten(now);
        assert_eq!(owed.first_due(), Some(now - STEP));
        assert_eq!(tags(&owed.take_due(now)), [1, 2]);
        assert!(owed.0.is_none());
    }
}
