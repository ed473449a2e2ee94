//! A session without a socket: bytes are fed to it as a driver would, and what it answers is taken
//! as by a kernel that is never full.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use gateloop::limits::{JOBS_QUEUED_MAX, Limits};
use gateloop::protocol::{FramingKind, HandshakeRules, Pool};
use gateloop::service::{Jobs, Service};
use gateloop::session::{Budget, Lent, Rules, Session};

/// What a reactor has once, for one session.
pub struct Bed<S: Service> {
    service: S,
    rules: Rules,
    out: Vec<u8>,
    pool: Pool,
    jobs: Jobs,
    session: Session<S>,
}

impl<S: Service> Bed<S> {
    /// A session that has no handshake to pass.
    pub fn new(mut service: S, framing: FramingKind) -> Self {
        let rules = Rules {
            handshake: HandshakeRules::None,
            framing,
            limits: Limits::default(),
            penalties: Default::default(),
            stats: Arc::default(),
            epoch: Instant::now(),
        };
        let (mut out, mut pool) = (Vec::new(), Pool::default());
        let mut jobs = Jobs {
            taken: Vec::new(),
            room: JOBS_QUEUED_MAX,
            launches: None,
        };
        let mut lent = Lent {
            service: &mut service,
            rules: &rules,
            out: &mut out,
            pool: &mut pool,
            jobs: &mut jobs,
            entropy: &mut |_| {},
            now: rules.epoch,
            budget: Budget::of(&rules.limits),
        };
        let session = Session::open(1, None, &mut lent);
        Self {
            service,
            rules,
            out,
            pool,
            jobs,
            session,
        }
    }

    /// One turn in which a read finds these bytes; how many the session has answered.
    pub fn turn(&mut self, mut bytes: &[u8]) -> usize {
        let mut lent = Lent {
            service: &mut self.service,
            rules: &self.rules,
            out: &mut self.out,
            pool: &mut self.pool,
            jobs: &mut self.jobs,
            entropy: &mut |_| {},
            now: self.rules.epoch,
            budget: Budget::of(&self.rules.limits),
        };
        self.session.serve(&mut lent);
        while !bytes.is_empty() {
            if let Some(space) = self.session.long_space(bytes.len(), lent.pool) {
                // A long message is not looked into, and the kernel's copy, which would be most of
                // what is measured, is not ours.
                let n = black_box(space).len();
                bytes = &bytes[n..];
                self.session.long_received(n, &mut lent);
            } else {
                self.session.received(bytes, &mut lent);
                break;
            }
        }
        let answered = self.session.connection().pending(lent.out);
        self.session.wrote(answered, &mut lent);
        self.session.settle(&mut lent);
        answered
    }
}
