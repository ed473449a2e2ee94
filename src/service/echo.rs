//! `echo`: whatever comes goes back.

use super::{Flow, Replies, Service};
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
}
