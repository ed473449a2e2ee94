//! `json`: JSON values one after another, for clients that send `json.dumps(...)` and no length.
//!
//! ```text
//!   white space │ { … "a \" string" … [ … ] … } │ white space │ 12.5 │ true │ "text"
//!    dropped        depth 1, in a string, depth 2     dropped    ends where no number goes on
//! ```
//!
//! This finds where a value ends, and does not judge it: that is for whoever reads it. Only what
//! can be seen at once to be no JSON ends the conversation here, as nobody could tell where the
//! next value begins. A bracket of the wrong kind inside a value is not among it: to know the kind
//! of each open one, every idle client would hold as many bits as a value may be deep.

use super::{Decoded, Framing};
use crate::error::ProtocolError;
use crate::limits::{JSON_DEPTH_MAX, JSON_MESSAGE_BYTES_MAX};

/// How far the front value has been scanned, and what lies there. Each byte is looked at once, but
/// for a backslash whose second half has not come, and the four or five letters of a literal.
#[derive(Clone, Debug, Default)]
pub struct Json {
    /// Half a word, as every idle client holds one: hence [`JSON_MESSAGE_BYTES_MAX`].
    scanned: u32,
    /// Brackets that are open.
    depth: u8,
    in_string: bool,
    number: Number,
}

impl Framing for Json {
    fn decode(&mut self, bytes: &[u8], eof: bool, max: usize) -> Result<Decoded, ProtocolError> {
        let Some(&first) = bytes.first() else {
            return Ok(Decoded::Incomplete);
        };
        let max = max.min(JSON_MESSAGE_BYTES_MAX);
        let all = bytes;
        // Beyond its first byte too many nothing is looked at, so that no cut changes the verdict.
        let bytes = all.get(..max.saturating_add(1)).unwrap_or(all);
        let end = match first {
            b' ' | b'\t' | b'\n' | b'\r' => {
                let wire = all.iter().take_while(|byte| is_blank(**byte)).count();
                return Ok(Decoded::Blank { wire });
            }
            b'[' | b'{' | b'"' => self.scan(first, bytes)?,
            b'-' | b'0'..=b'9' => self.scan_number(bytes, eof)?,
            b't' => literal(b"true", bytes)?,
            b'f' => literal(b"false", bytes)?,
            b'n' => literal(b"null", bytes)?,
            _ => return Err(ProtocolError::NotJson),
        };
        let len = end.unwrap_or(bytes.len());
        if len > max {
            let len = len as u64;
            return Err(ProtocolError::MessageTooLong { len, max });
        }
        if end.is_none() {
            return Ok(Decoded::Incomplete);
        }
        *self = Self::default();
        Ok(Decoded::Message {
            payload: 0..len,
            wire: len,
        })
    }
}

impl Json {
    /// Scans on through an object, an array or a string that begins with `first`; says where it
    /// ends.
    fn scan(&mut self, first: u8, bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let mut rest = bytes.get(self.scanned as usize..).unwrap_or_default();
        loop {
            let found = match self.in_string {
                true => end_of_text(rest),
                false => rest.iter().position(|byte| is_structure(*byte)),
            };
            let Some((byte, behind)) = found.and_then(|at| rest.get(at..)?.split_first()) else {
                self.scanned = position(bytes, &[]);
                return Ok(None);
            };
            match byte {
                b'\\' => match behind.split_first() {
                    Some((_escaped, behind)) => {
                        rest = behind;
                        continue;
                    }
                    None => {
                        self.scanned = position(bytes, std::slice::from_ref(byte));
                        return Ok(None);
                    }
                },
                b'"' => self.in_string = !self.in_string,
                b'[' | b'{' if self.depth == JSON_DEPTH_MAX => {
                    return Err(ProtocolError::JsonTooDeep);
                }
                b'[' | b'{' => self.depth = self.depth.saturating_add(1),
                _ => self.depth = self.depth.saturating_sub(1),
            }
            rest = behind;
            if self.depth == 0 && !self.in_string {
                return match (first, byte) {
                    (b'[', b']') | (b'{', b'}') | (b'"', b'"') => {
                        Ok(Some(bytes.len().saturating_sub(rest.len())))
                    }
                    _ => Err(ProtocolError::NotJson),
                };
            }
        }
    }

    /// Scans on through a number; says where it ends.
    fn scan_number(&mut self, bytes: &[u8], eof: bool) -> Result<Option<usize>, ProtocolError> {
        let scanned = self.scanned as usize;
        for (at, &byte) in bytes.iter().enumerate().skip(scanned) {
            match self.number.next(byte) {
                Some(number) => self.number = number,
                None if self.number.is_whole() => return Ok(Some(at)),
                None => return Err(ProtocolError::NotJson),
            }
        }
        self.scanned = position(bytes, &[]);
        Ok((eof && self.number.is_whole()).then_some(bytes.len()))
    }
}

/// Where a string's next quotation mark or backslash is. Most are near, where a search by vectors
/// takes longer to begin than a few bytes take to be looked at.
#[inline]
fn end_of_text(bytes: &[u8]) -> Option<usize> {
    const NEAR: usize = 16;
    let near = bytes.iter().take(NEAR);
    near.copied()
        .position(|byte| matches!(byte, b'"' | b'\\'))
        .or_else(|| {
            let far = bytes.get(NEAR..)?;
            memchr::memchr2(b'"', b'\\', far).map(|at| at.saturating_add(NEAR))
        })
}

/// Where the last part of `bytes` begins. What lies beyond [`JSON_MESSAGE_BYTES_MAX`] is refused.
fn position(bytes: &[u8], last: &[u8]) -> u32 {
    u32::try_from(bytes.len().saturating_sub(last.len())).unwrap_or(u32::MAX)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[inline]
fn is_structure(byte: u8) -> bool {
    matches!(byte, b'"' | b'[' | b']' | b'{' | b'}')
}

/// Where a literal ends: at its own last letter, so that nothing needs to follow it.
fn literal(word: &[u8], bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
    let there = bytes.len().min(word.len());
    match bytes.get(..there) == word.get(..there) {
        true => Ok((there == word.len()).then_some(there)),
        false => Err(ProtocolError::NotJson),
    }
}

/// How far a number is, by the grammar of RFC 8259.
#[derive(Clone, Copy, Debug, Default)]
enum Number {
    #[default]
    Start,
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

impl Number {
    /// How far it is with one more byte, if that can continue it.
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Start, b'-') => Self::Minus,
            (Self::Start | Self::Minus, b'0') => Self::Zero,
            (Self::Start | Self::Minus, b'1'..=b'9') => Self::Integer,
            (Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::Sign,
            (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Self::Power,
            _ => return None,
        })
    }

    /// Whether it may end here.
    fn is_whole(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Integer | Self::Fraction | Self::Power
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], eof: bool) -> Result<Decoded, ProtocolError> {
        Json::default().decode(bytes, eof, usize::MAX)
    }

    fn message(wire: usize) -> Result<Decoded, ProtocolError> {
        let payload = 0..wire;
        Ok(Decoded::Message { payload, wire })
    }

    #[test]
    fn a_value_ends_at_its_own_last_byte() {
        for value in [
            "{}",
            "[]",
            "\"\"",
            r#"{"a":[1,{"b":"]}"}],"c":null}"#,
            r#""a \" b""#,
            r#""\\""#,
            r#""\\\"""#,
            "true",
            "false",
            "null",
            "\"\u{0}天王盖地虎\"",
            "[[[[]]],{}]",
        ] {
            for behind in ["", " ", "{", "x", "\""] {
                let bytes = format!("{value}{behind}");
                assert_eq!(
                    decode(bytes.as_bytes(), false),
                    message(value.len()),
                    "{bytes}"
                );
            }
            for cut in 1..value.len() {
                let cut = &value.as_bytes()[..cut];
                assert_eq!(decode(cut, true), Ok(Decoded::Incomplete), "{cut:?}");
            }
        }
    }

    #[test]
    fn a_number_ends_where_it_cannot_go_on() {
        for number in ["0", "-0", "7", "1200", "-1.5", "0.25e3", "1E+10", "2e-0"] {
            for behind in [" ", "]", "-", "{", "true", "\"", "\0"] {
                let bytes = format!("{number}{behind}");
                assert_eq!(
                    decode(bytes.as_bytes(), false),
                    message(number.len()),
                    "{bytes}"
                );
            }
            let open = decode(number.as_bytes(), false);
            assert_eq!(open, Ok(Decoded::Incomplete), "{number}");
            assert_eq!(decode(number.as_bytes(), true), message(number.len()));
        }
        for two in ["01", "1-2"] {
            assert_eq!(decode(two.as_bytes(), false), message(1), "{two}");
        }
        for unfinished in ["-", "1.", "1e", "1e+"] {
            let cut = decode(unfinished.as_bytes(), true);
            assert_eq!(cut, Ok(Decoded::Incomplete), "{unfinished}");
            let bytes = format!("{unfinished} ");
            let ended = decode(bytes.as_bytes(), false);
            assert_eq!(ended, Err(ProtocolError::NotJson), "{unfinished}");
        }
    }

    #[test]
    fn blanks_are_dropped_as_they_come() {
        let blank = |wire| Ok(Decoded::Blank { wire });
        assert_eq!(decode(b" \t\r\n{", false), blank(4));
        assert_eq!(decode(b"\n", true), blank(1));
        assert_eq!(decode(b"", true), Ok(Decoded::Incomplete));
    }

    #[test]
    fn what_begins_no_value_is_refused_at_once() {
        for byte in 0..=u8::MAX {
            let begins = b" \t\r\n[{\"-0123456789tfn".contains(&byte);
            assert_eq!(decode(&[byte], false).is_ok(), begins, "{byte:#x}");
        }
        for bytes in ["tr\"", "nul ", "falsE", "[}", "{]", "[[]}", "{\"a\":{}]"] {
            let refused = decode(bytes.as_bytes(), false);
            assert_eq!(refused, Err(ProtocolError::NotJson), "{bytes}");
        }
        // Inside of a value, kinds are not told apart: it is whole, and no JSON.
        assert_eq!(decode(b"[{]]", false), message(4));
    }

    #[test]
    fn depth_has_its_bound_which_is_that_of_who_reads_it() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        let most = usize::from(JSON_DEPTH_MAX);
        for (depth, framed) in [
            (most, message(2 * most)),
            (most + 1, Err(ProtocolError::JsonTooDeep)),
        ] {
            let value = nested(depth);
            let parsed = serde_json::from_str::<serde_json::Value>(&value);
            assert_eq!(parsed.is_ok(), framed.is_ok(), "{parsed:?}");
            assert_eq!(decode(value.as_bytes(), false), framed);
        }
    }

    #[test]
    fn the_limit_is_about_the_value() {
        let too_long = |len| Err(ProtocolError::MessageTooLong { len, max: 4 });
        let decode = |bytes: &str, eof| Json::default().decode(bytes.as_bytes(), eof, 4);
        assert_eq!(decode("[12]", false), message(4));
        assert_eq!(decode("[123]", false), too_long(5));
        assert_eq!(decode("[123", false), Ok(Decoded::Incomplete));
        assert_eq!(decode("[1234", false), too_long(5));
        assert_eq!(decode("[12345]", false), too_long(5));
        assert_eq!(decode("1234", false), Ok(Decoded::Incomplete));
        assert_eq!(decode("1234 ", false), message(4));
        assert_eq!(decode("12345", false), too_long(5));
        assert_eq!(decode("false", false), too_long(5));
        assert_eq!(decode("      ", false), Ok(Decoded::Blank { wire: 6 }));
    }

    #[test]
    fn an_idle_client_holds_two_words_of_half_size() {
        assert_eq!(size_of::<Json>(), 8);
        assert_eq!(size_of::<super::super::AnyFraming>(), 8);
    }
}
