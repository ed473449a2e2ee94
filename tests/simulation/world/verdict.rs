//! Whether a simulation ended as its script explains, with everything delivered that was owed.

use std::time::Duration;

use gateloop::error::{CloseReason, ProtocolError};
use gateloop::limits::PENALTY_FIRST;
use gateloop::protocol::{FramingKind, HandshakeRules};
use gateloop::service::Service;

use super::World;
use crate::client::End;
use crate::link::Side;
use crate::script::{Command, Event, Plan};

impl<S: Service> World<S> {
    /// Judges a world in which nothing happens any more.
    pub(crate) fn judge(&mut self) {
        let Some((reason, _)) = self.record.closed else {
            panic!("stuck: nothing happens any more: {}", self.describe());
        };
        assert!(
            self.explains(reason),
            "{reason} is not explained: first {:?}; {}",
            self.record.first_end,
            self.describe()
        );
        let refused = matches!(self.client.end, Some(End::Refused(_)));
        let keyless = self.script.plan.is_keyless();
        assert!(!refused || keyless, "refused: {}", self.describe());
        self.check_delivery(reason);
        self.coverage.service(self.script.kind);
        self.coverage.framing(self.script.framing);
        self.coverage
            .hit_if(self.client.end == Some(End::Reset), "the client was reset");
        let refused = Some(End::Refused(Some(ProtocolError::KeyRefused)));
        self.coverage.hit_if(
            self.client.end == refused,
            "the client was told of a wrong key",
        );
        let unproved = matches!(self.script.server_rules, HandshakeRules::Challenge(_));
        let shown_out = unproved && reason == CloseReason::WrongKey;
        let silently = shown_out && self.client.end == Some(End::Eof);
        self.coverage
            .hit_if(silently, "a wrong response was closed on");
        let served = self.script.requests.iter().take(self.served());
        let empty = served.filter(|request| request.bytes.is_empty()).count();
        self.coverage.hit_if(empty > 0, "a message of no bytes");
        let told = self.seen.lock().expect("no panic").writable > 0;
        self.coverage.hit_if(told, "told of room");
    }

    fn passed(&self) -> bool {
        self.record.passed_at.is_some()
    }

    /// Whether the script, and what really happened, explain this end.
    fn explains(&self, reason: CloseReason) -> bool {
        let plan = self.script.plan;
        let happened = |wanted: fn(Event) -> bool| match plan {
            Plan::Event { event, .. } => self.event.is_none() && wanted(event),
            _ => false,
        };
        let commanded = |wanted: &[Command]| match plan {
            Plan::Command(command) => {
                wanted.contains(&command) && self.served() == self.script.last + 1
            }
            _ => false,
        };
        match reason {
            CloseReason::PeerClosed => {
                self.passed() && self.link.fin_arrived(Side::Server) && !plan.is_request()
            }
            CloseReason::PeerLeftHandshake => {
                let told = matches!(plan, Plan::WrongKey { .. });
                !self.passed() && self.link.fin_arrived(Side::Server) && !told
            }
            CloseReason::Reset => self.link.is_broken(Side::Server),
            CloseReason::Protocol(error) => self.explains_error(error),
            CloseReason::WrongKey => {
                let waited = self
                    .record
                    .first_end
                    .is_some_and(|(_, at)| at >= PENALTY_FIRST);
                // Of a digest that it does not take, a server says no more than this either.
                waited && plan.is_keyless()
            }
            CloseReason::StrangerEvicted => {
                !self.passed() && happened(|event| event == Event::Evict)
            }
            CloseReason::BufferMemory => happened(|event| event == Event::Memory),
            CloseReason::Aborted => happened(|event| event == Event::Abort),
            CloseReason::Draining => happened(|event| event == Event::Stop),
            CloseReason::SendQueueFull => commanded(&[Command::Flood]),
            CloseReason::ServicePanic => commanded(&[Command::Panic]),
            // A stream that finds no room does not begin, and so is not too short or too long.
            CloseReason::ServiceClosed => {
                commanded(&[Command::Bye, Command::ShortStream, Command::LongStream])
            }
            CloseReason::LoginFailures => commanded(&[Command::Shut]),
            CloseReason::StreamLength => commanded(&[Command::ShortStream, Command::LongStream]),
            CloseReason::HandshakeTimeout
            | CloseReason::IdleTimeout
            | CloseReason::ArrivalTimeout
            | CloseReason::WriteTimeout => self.explains_timeout(reason),
            _ => false,
        }
    }

    fn explains_error(&self, error: ProtocolError) -> bool {
        match error {
            ProtocolError::MessageTooLong { .. } => {
                self.script.plan == Plan::TooLong && self.served() == self.script.last
            }
            ProtocolError::TruncatedMessage => {
                let commands = self.driver.bytes_in - self.client.greeting_bytes.unwrap_or(0);
                let whole = self.script.whole_requests(commands);
                let framing = self.script.framing;
                matches!(self.script.plan, Plan::Short { .. })
                    && !matches!(framing, FramingKind::Lines | FramingKind::Raw)
                    && self.script.wire_bytes(whole) != commands
            }
            ProtocolError::DigestNotAccepted => self.script.plan == Plan::OtherDigests,
            _ => false,
        }
    }

    fn explains_timeout(&self, reason: CloseReason) -> bool {
        let limits = &self.script.limits;
        let at = self.record.first_end.map_or(self.now, |(_, at)| at);
        let ended_at = self.record.closed.map_or(self.now, |(_, at)| at);
        // A session counts in whole milliseconds.
        let since = |event: Duration| at.saturating_sub(event) + Duration::from_millis(1);
        let busy_at = self
            .record
            .served_at
            .max(self.record.passed_at.unwrap_or_default());
        let expected = self.script.silent || !self.script.patient;
        expected
            && match reason {
                CloseReason::HandshakeTimeout => !self.passed() && at >= limits.handshake_timeout,
                CloseReason::IdleTimeout => {
                    let idle = self.passed() && !self.record.owed_at_end;
                    let timeout = limits.idle_timeout;
                    timeout.is_some_and(|timeout| idle && since(busy_at) >= timeout)
                }
                // The time stands still while the server is the one who does not read.
                CloseReason::ArrivalTimeout => {
                    self.passed()
                        && self.record.heard + Duration::from_millis(1) >= limits.arrival_timeout
                }
                CloseReason::WriteTimeout => {
                    let stalled = ended_at - self.driver.moved_at.min(ended_at);
                    let slow = ended_at - self.driver.low_at.min(ended_at);
                    stalled.max(slow) >= limits.write_stall_timeout
                }
                _ => false,
            }
    }

    fn served(&self) -> usize {
        self.seen.lock().expect("no panic").served
    }

    /// Answers, or, without borders, bytes of them, that are owed for what was served.
    fn owed(&self) -> usize {
        match self.script.framing {
            FramingKind::Raw => self.served(),
            _ => self.script.requests[..self.served()]
                .iter()
                .map(|request| request.answers.len())
                .sum(),
        }
    }

    /// What was asked before an end that owes nothing was served; what was served was answered.
    fn check_delivery(&mut self, reason: CloseReason) {
        let served = self.served();
        let asked = match reason {
            CloseReason::PeerClosed => Some(self.client.sent),
            CloseReason::Draining if self.passed() => self.driver.stop_at,
            _ => None,
        };
        if let Some(whole) = asked.map(|asked| self.whole_in(asked)) {
            // The end of the stream may come between a line and its line feed.
            let ended_line = self.script.framing == FramingKind::Lines
                && matches!(self.script.plan, Plan::Short { .. })
                && served == whole + 1;
            let all = served == whole || ended_line;
            assert!(
                all,
                "{whole} were asked, not all served: {}",
                self.describe()
            );
        }
        let undisturbed = self.client.end == Some(End::Eof) && !self.link.is_lossy();
        let owes_all = asked.is_some() || reason.flushes() && self.script.kind.answers_at_once();
        if self.passed() && undisturbed && owes_all {
            let (got, owed) = (self.client.answers.got(), self.owed());
            assert_eq!(got, owed, "not all was answered: {}", self.describe());
        }
        // Whoever reads to the end sees an end, not a reset that overtakes the last answers.
        let patient = self.script.patient && reason.flushes();
        if patient && !self.link.is_broken(Side::Server) && !self.link.is_lossy() {
            assert_ne!(self.client.end, Some(End::Reset), "{}", self.describe());
        }
    }
}
