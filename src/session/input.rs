//! The way in: bytes of the wire become messages, and messages meet the service.

use super::{Lent, Session};
use crate::error::CloseReason;
use crate::limits::{HEAD_BYTES, LONG_MESSAGE_BYTES};
use crate::protocol::connection::{Event, Input, Phase};
use crate::protocol::framing::Decoded;
use crate::protocol::{Message, Pool};
use crate::service::Service;

impl<S: Service> Session<S> {
    /// Bytes that were read into the driver's buffer.
    pub fn received(&mut self, mut bytes: &[u8], lent: &mut Lent<'_, S>) {
        // First what completes the message in the buffer.
        while !bytes.is_empty() && !self.connection.recv.is_empty() {
            let (front, rest) = bytes.split_at(self.missing(lent).min(bytes.len()));
            self.connection.recv.append(front);
            self.serve_buffer(lent);
            // What was appended beyond it can be served from where it came.
            let beyond = self.connection.recv.len();
            bytes = match front.len().checked_sub(beyond) {
                Some(used) => {
                    self.connection.recv.clear();
                    bytes.get(used..).unwrap_or_default()
                }
                None => rest,
            };
            if self.left_over || !self.may_serve(lent.jobs) {
                break;
            }
        }
        if self.connection.recv.is_empty() && !bytes.is_empty() {
            let served = self.serve_bytes(bytes, lent);
            bytes = bytes.get(served..).unwrap_or_default();
        }
        if !matches!(self.connection.phase, Phase::Handshake(_) | Phase::Commands) {
            return;
        }
        self.connection.recv.append(bytes);
        self.begin_long(lent);
        self.settle(lent);
    }

    /// How many bytes the message at the buffer's front lacks, as far as can be said.
    fn missing(&mut self, lent: &mut Lent<'_, S>) -> usize {
        let bytes = self.connection.recv.take_bytes();
        let missing = match self.connection.decode(&bytes, &lent.rules.limits) {
            Ok(Decoded::Header { header, payload }) => {
                header.saturating_add(payload).saturating_sub(bytes.len())
            }
            // As much again as is here, so that all copies together are as long as the message.
            _ => bytes.len().max(HEAD_BYTES),
        };
        self.connection.recv.put_back(bytes, 0);
        missing
    }

    /// Where bytes of a long message can be read to directly: at most `max` of them.
    #[inline]
    pub fn long_space(&mut self, max: usize, pool: &mut Pool) -> Option<&mut [u8]> {
        self.connection.recv.long_space(max, pool)
    }

    /// `n` bytes were read into [`Session::long_space`].
    pub fn long_received(&mut self, n: usize, lent: &mut Lent<'_, S>) {
        if let Some(message) = self.connection.recv.long_filled(n) {
            self.bulk = true;
            self.deliver(&mut Message::Owned(message), lent);
            self.settle(lent);
        }
    }

    /// The peer shut down its sending half.
    pub fn eof(&mut self, lent: &mut Lent<'_, S>) {
        self.connection.input = Input::Eof;
        if let Phase::Lingering(_) = self.connection.phase {
            self.connection.end(CloseReason::PeerClosed);
        }
        self.serve(lent);
    }

    /// The server stops: what is whole now is answered, and nothing later.
    pub fn stop_input(&mut self, lent: &mut Lent<'_, S>) {
        if self.refusing {
            return self.refuse(lent);
        }
        if self.connection.input == Input::Open {
            self.connection.input = Input::Stopped;
        }
        self.serve(lent);
    }

    /// Serves what waits in the buffer, as far as budget and marks allow.
    #[inline]
    pub fn serve(&mut self, lent: &mut Lent<'_, S>) {
        if self.connection.take_starved(lent.out, &lent.rules.limits) {
            self.call(lent, |service, state, replies| {
                service.writable(state, replies)
            });
        }
        if !self.connection.recv.is_empty() && !self.connection.recv.is_long() {
            self.serve_buffer(lent);
            self.begin_long(lent);
        }
        self.settle(lent);
    }

    fn serve_buffer(&mut self, lent: &mut Lent<'_, S>) {
        let bytes = self.connection.recv.take_bytes();
        let served = self.serve_bytes(&bytes, lent);
        if matches!(self.connection.phase, Phase::Handshake(_) | Phase::Commands) {
            self.connection.recv.put_back(bytes, served);
        } else {
            self.connection.recv.clear();
        }
    }

    /// Serves the whole messages at the front of `bytes`; returns how many bytes they took.
    fn serve_bytes(&mut self, bytes: &[u8], lent: &mut Lent<'_, S>) -> usize {
        let mut at = 0;
        loop {
            if self.refusing {
                // Nothing that follows a wrong key is of interest, nor worth keeping.
                self.left_over = false;
                return bytes.len();
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let stops = lent.budget.messages == 0 || !self.may_serve(lent.jobs);
            self.left_over = stops && !rest.is_empty();
            if stops || rest.is_empty() {
                break;
            }
            let limits = &lent.rules.limits;
            match self
                .connection
                .advance(rest, limits, lent.entropy, lent.out)
            {
                Ok(Event::Message { payload, wire }) => {
                    self.bulk = false;
                    let payload = rest.get(payload).unwrap_or_default();
                    self.deliver(&mut Message::InPlace(payload), lent);
                    at += wire;
                }
                Ok(Event::Handshake { step, wire }) => {
                    self.connection.recv.arrived();
                    self.greeted(step, lent);
                    at += wire;
                }
                Ok(Event::Blank { wire }) => at += wire,
                Ok(Event::Incomplete) => break,
                Err(error) => {
                    self.end(error.into());
                    return bytes.len();
                }
            }
        }
        at
    }

    /// Where the front of the buffer is a long message's beginning, gives it its own buffer.
    fn begin_long(&mut self, lent: &mut Lent<'_, S>) {
        if !matches!(self.connection.phase, Phase::Commands)
            || self.connection.recv.is_empty()
            || self.connection.recv.is_long()
            || self.left_over
        {
            return;
        }
        let bytes = self.connection.recv.take_bytes();
        let decoded = self.connection.decode(&bytes, &lent.rules.limits);
        if let Ok(Decoded::Header { header, payload }) = decoded
            && payload >= LONG_MESSAGE_BYTES
        {
            let first = bytes.get(header..).unwrap_or_default();
            self.connection.recv.begin_long(first, payload, lent.pool);
        } else {
            self.connection.recv.put_back(bytes, 0);
        }
    }
}
