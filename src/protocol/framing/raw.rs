//! `raw`: no borders at all, for what streams bytes.

use super::{Decoded, Framing};
use crate::error::ProtocolError;

/// All the bytes there are, at most the limit, are a message; nothing marks its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raw;

impl Framing for Raw {
    #[inline]
    fn decode(&mut self, bytes: &[u8], _eof: bool, max: usize) -> Result<Decoded, ProtocolError> {
        match bytes.len().min(max) {
            0 => Ok(Decoded::Incomplete),
            wire => Ok(Decoded::Message {
                payload: 0..wire,
                wire,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_there_up_to_the_limit() {
        let message = |wire| {
            let payload = 0..wire;
            Ok(Decoded::Message { payload, wire })
        };
        assert_eq!(Raw.decode(b"", true, 4), Ok(Decoded::Incomplete));
        assert_eq!(Raw.decode(b"abc", false, 4), message(3));
        assert_eq!(Raw.decode(b"abcd", false, 4), message(4));
        assert_eq!(Raw.decode(b"abcde", false, 4), message(4));
    }
}
