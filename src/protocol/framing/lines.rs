//! `lines`: a message a line, for netcat, telnet and people.
//!
//! ```text
//!   front of the bytes                                     end of the bytes
//!   ├── searched before: no '\n' in it ──┼── searched now ──┤
//! ```

use super::{Decoded, Framing};
use crate::error::ProtocolError;

/// A message ends at `\n`. A `\r` before it is dropped; an unfinished last line is a message.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// How much of the front line has been searched for its end. Without it, a line that comes
    /// one byte at a time would cost the square of its length. Beyond four GiB the rest is searched
    /// again, which is only slow; half a word matters, as every idle client holds one.
    searched: u32,
}

impl Framing for Lines {
    #[inline]
    fn decode(&mut self, bytes: &[u8], eof: bool, max: usize) -> Result<Decoded, ProtocolError> {
        let searched = self.searched as usize;
        let unsearched = bytes.get(searched..).unwrap_or_default();
        let (line, wire) = match memchr::memchr(b'\n', unsearched) {
            Some(at) => {
                let end = searched.saturating_add(at);
                let line = bytes.get(..end).unwrap_or_default();
                (
                    line.strip_suffix(b"\r").unwrap_or(line),
                    end.saturating_add(1),
                )
            }
            None if eof && !bytes.is_empty() => (bytes, bytes.len()),
            None => {
                self.searched = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                // A `\r` at the very end may turn out not to belong to the payload.
                let least = bytes.strip_suffix(b"\r").unwrap_or(bytes).len();
                return within(least, max).map(|()| Decoded::Incomplete);
            }
        };
        within(line.len(), max)?;
        self.searched = 0;
        Ok(Decoded::Message {
            payload: 0..line.len(),
            wire,
        })
    }

    #[inline]
    fn trailer(&self) -> &'static [u8] {
        b"\n"
    }
}

#[inline]
fn within(len: usize, max: usize) -> Result<(), ProtocolError> {
    if len > max {
        let len = len as u64;
        return Err(ProtocolError::MessageTooLong { len, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], eof: bool, max: usize) -> Result<Decoded, ProtocolError> {
        Lines::default().decode(bytes, eof, max)
    }

    fn message(payload: usize, wire: usize) -> Result<Decoded, ProtocolError> {
        let payload = 0..payload;
        Ok(Decoded::Message { payload, wire })
    }

    #[test]
    fn ends_at_the_line_feed_and_drops_one_carriage_return_before_it() {
        assert_eq!(decode(b"ab\ncd\n", false, 9), message(2, 3));
        assert_eq!(decode(b"ab\r\ncd", false, 9), message(2, 4));
        assert_eq!(decode(b"ab\r\r\n", false, 9), message(3, 5));
        assert_eq!(decode(b"a\rb\n", false, 9), message(3, 4));
        assert_eq!(decode(b"\n", false, 9), message(0, 1));
        assert_eq!(decode(b"\r\n", false, 9), message(0, 2));
    }

    #[test]
    fn takes_an_unfinished_last_line_at_the_end_of_the_stream() {
        assert_eq!(decode(b"ab", false, 9), Ok(Decoded::Incomplete));
        assert_eq!(decode(b"ab", true, 9), message(2, 2));
        assert_eq!(decode(b"ab\r", true, 9), message(3, 3));
        assert_eq!(decode(b"", true, 9), Ok(Decoded::Incomplete));
    }

    #[test]
    fn the_limit_is_about_the_payload() {
        let too_long = |len| Err(ProtocolError::MessageTooLong { len, max: 4 });
        assert_eq!(decode(b"abcd\n", false, 4), message(4, 5));
        assert_eq!(decode(b"abcd\r\n", false, 4), message(4, 6));
        assert_eq!(decode(b"abcd\r", false, 4), Ok(Decoded::Incomplete));
        assert_eq!(decode(b"abcd", true, 4), message(4, 4));
        assert_eq!(decode(b"abcde\n", false, 4), too_long(5));
        assert_eq!(decode(b"abcde", false, 4), too_long(5));
        assert_eq!(decode(b"abcde\r", false, 4), too_long(5));
        assert_eq!(decode(b"abcd\r", true, 4), too_long(5));
    }

    #[test]
    fn each_byte_is_searched_once() {
        let mut lines = Lines::default();
        assert_eq!(lines.decode(b"abc", false, 9), Ok(Decoded::Incomplete));
        // Against the contract: only one who looks again could find an end in what was seen.
        assert_eq!(lines.decode(b"a\nc", false, 9), Ok(Decoded::Incomplete));
        assert_eq!(lines.decode(b"abcd\n", false, 9), message(4, 5));
        assert_eq!(lines.decode(b"a\nc", false, 9), message(1, 2));
    }
}
