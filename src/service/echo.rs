//! `echo`: whatever comes goes back.

use super::{Asked, Datagrams, Flow, Replies, Service};
use crate::protocol::Message;

/// Answers each message with the same bytes; a long one is moved, not copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Service for Echo {
    type State = ();

    fn name(&self) -> &'static str {
        "echo"
    }

    #[inline]
    fn message(
        &mut self,
        _state: &mut (),
        message: &mut Message<'_>,
        replies: &mut Replies<'_>,
    ) -> Flow {
        replies.forward(message);
        Flow::Continue
    }

    fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        Some(self)
    }
}

impl Datagrams for Echo {
    fn datagram(&mut self, payload: &[u8], _asked: Asked<'_>, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(payload);
        true
    }
}
