//! The workers of a simulation: jobs that take their time, and the places that others take.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use gateloop::service::{Deferred, Jobs};

use crate::coverage::Coverage;
use crate::random::Random;
use crate::script::Draw;

/// A job that is being done.
pub struct Job {
    done_at: Duration,
    pub tag: u64,
    pub input_bytes: usize,
    pub answer: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Crowd {
    Comes,
    Goes,
}

/// See the module.
pub struct Workers {
    jobs: Vec<Job>,
    /// Times at which other connections take and give back the places that are free, the next one
    /// last.
    crowds: Vec<(Duration, Crowd)>,
    taken_by_others: usize,
}

impl Workers {
    /// `crowds` are when others come, and for how long.
    pub fn new(crowds: &[(Duration, Duration)]) -> Self {
        let moves = |&(at, time)| [(at, Crowd::Comes), (at + time, Crowd::Goes)];
        let mut crowds: Vec<_> = crowds.iter().flat_map(moves).collect();
        crowds.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Self {
            jobs: Vec::new(),
            crowds,
            taken_by_others: 0,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    pub fn submit(
        &mut self,
        job: Deferred,
        now: Duration,
        random: &mut Random,
        coverage: &mut Coverage,
    ) {
        let answer = panic::catch_unwind(AssertUnwindSafe(job.run));
        coverage.hit_if(answer.is_err(), "a job panicked");
        coverage.hit_if(!self.is_idle(), "two answers deferred at once");
        self.jobs.push(Job {
            done_at: now + random.millis(20),
            tag: job.tag,
            input_bytes: job.input_bytes,
            answer: answer.unwrap_or(job.if_panicked),
        });
    }

    /// When the next job is done, or others come or go.
    pub fn next(&self) -> Option<Duration> {
        let jobs = self.jobs.iter().map(|job| job.done_at);
        jobs.chain(self.crowds.last().map(|(at, _)| *at)).min()
    }

    /// The jobs that are done; their places are free again.
    pub fn completed(&mut self, now: Duration, jobs: &mut Jobs) -> Vec<Job> {
        let is_done = |job: &mut Job| job.done_at <= now;
        let done: Vec<Job> = self.jobs.extract_if(.., is_done).collect();
        jobs.room += done.len();
        done
    }

    /// Others come and go.
    pub fn move_crowds(&mut self, now: Duration, jobs: &mut Jobs) {
        while let Some((_, crowd)) = self.crowds.pop_if(|(at, _)| *at <= now) {
            match crowd {
                Crowd::Comes => self.taken_by_others += mem::take(&mut jobs.room),
                Crowd::Goes => jobs.room += mem::take(&mut self.taken_by_others),
            }
        }
    }
}
