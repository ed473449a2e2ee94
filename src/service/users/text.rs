//! The user file as text: its lines, and changes that leave all others as they are.

use std::ops::Range;

use super::fault::{Fault, Refused, UserFileError};
use crate::limits::USER_NAME_BYTES_MAX;

const SEPARATOR: char = '|';
const COMMENT: char = '#';
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A line that holds a user.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// Its number, from 1 on.
    pub(super) line: usize,
    pub(super) name: &'a str,
    pub(super) hash: &'a str,
    /// The line's place in the text, its end included, and the hash's.
    span: Range<usize>,
    hash_span: Range<usize>,
}

/// A file's content as text.
pub(super) fn decode(content: &[u8]) -> Result<&str, UserFileError> {
    str::from_utf8(content).map_err(|error| {
        let before = content.get(..error.valid_up_to()).unwrap_or_default();
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        UserFileError::Line(line, Fault::NotUtf8)
    })
}

/// The users in a text, in its order.
pub(super) fn entries(text: &str) -> impl Iterator<Item = Result<Entry<'_>, UserFileError>> {
    let mut start = 0;
    (1..)
        .zip(text.split_inclusive('\n'))
        .filter_map(move |(number, line)| {
            let span = start..start + line.len();
            start = span.end;
            let entry = entry(number, line, span);
            entry
                .map_err(|fault| UserFileError::Line(number, fault))
                .transpose()
        })
}

fn entry(number: usize, line: &str, span: Range<usize>) -> Result<Option<Entry<'_>>, Fault> {
    let content = match number {
        1 => line.trim_start_matches(BYTE_ORDER_MARK).trim(),
        _ => line.trim(),
    };
    if content.is_empty() || content.starts_with(COMMENT) {
        return Ok(None);
    }
    let (name, hash) = content.rsplit_once(SEPARATOR).ok_or(Fault::NoSeparator)?;
    let (name, hash) = (name.trim_end(), hash.trim_start());
    check_name(name)?;
    let behind = line.len() - line.trim_end().len();
    let hash_end = span.end - behind;
    Ok(Some(Entry {
        line: number,
        name,
        hash,
        hash_span: hash_end - hash.len()..hash_end,
        span,
    }))
}

/// Whether a name can stand in the file.
///
/// # Errors
/// The [`Fault`] that a line with it would have.
pub fn check_name(name: &str) -> Result<(), Fault> {
    if name.trim().is_empty() {
        Err(Fault::NoName)
    } else if name.trim() != name {
        Err(Fault::NameWithBlanks)
    } else if name.starts_with(COMMENT) {
        Err(Fault::NameLikeComment)
    } else if name.starts_with(BYTE_ORDER_MARK) || name.contains(char::is_control) {
        Err(Fault::NameWithControl)
    } else if name.len() > USER_NAME_BYTES_MAX {
        Err(Fault::NameTooLong)
    } else {
        Ok(())
    }
}

fn find<'a>(text: &'a str, name: &str) -> Result<Option<Entry<'a>>, Refused> {
    for entry in entries(text) {
        let entry = entry?;
        if entry.name == name {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Adds a user behind all others, with line ends like those that are there.
pub(super) fn add(text: &mut String, name: &str, hash: &str) -> Result<(), Refused> {
    if find(text, name)?.is_some() {
        return Err(Refused::Taken);
    }
    let end = if text
        .lines()
        .next()
        .is_some_and(|first| text[first.len()..].starts_with("\r\n"))
    {
        "\r\n"
    } else {
        "\n"
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push_str(end);
    }
    text.push_str(&format!("{name} {SEPARATOR} {hash}{end}"));
    Ok(())
}

/// Gives a user another hash, if `old` says that it may be replaced.
pub(super) fn set_hash(
    text: &mut String,
    name: &str,
    hash: &str,
    old: impl FnOnce(&str) -> bool,
) -> Result<(), Refused> {
    let found = find(text, name)?.filter(|entry| old(entry.hash));
    let span = found.ok_or(Refused::Unknown)?.hash_span;
    text.replace_range(span, hash);
    Ok(())
}

/// Takes a user out.
pub(super) fn remove(text: &mut String, name: &str) -> Result<(), Refused> {
    let span = find(text, name)?.ok_or(Refused::Unknown)?.span;
    // A byte order mark stays in front of what comes next.
    let mark = if span.start == 0 && text.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len_utf8()
    } else {
        0
    };
    text.replace_range(span.start + mark..span.end, "");
    Ok(())
}
