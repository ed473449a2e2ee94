//! Programs that run for one connection: what they print is gathered, or told as it comes, and how
//! they end becomes an answer.

use std::borrow::Cow;
use std::io::{self, Write};
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;

use super::response::{RpcError, write_response};
use crate::service::{ChildEnd, Pipe};

/// The code of a program that could not be started.
const NOT_STARTED: i64 = -32_003;

/// The programs of one connection. Without any, it holds no memory.
#[derive(Debug, Default)]
pub(super) struct Programs {
    next_tag: u64,
    /// A few dozen at most, so that a search is short.
    running: Vec<Program>,
}

/// A program that runs, and what is to become of it.
#[derive(Debug)]
pub(super) struct Program {
    /// Its own tag.
    pub(super) tag: u64,
    /// The tag under which its answer is deferred.
    pub(super) reply: u64,
    /// The request's id as JSON text; `None`: a notification, which nobody is told of.
    pub(super) id: Option<Box<str>>,
    /// What its method takes.
    pub(super) takes: &'static str,
    pub(super) output: Output,
}

/// What a program has printed.
#[derive(Debug)]
pub(super) struct Output {
    /// Of each pipe what is kept: all, up to the bound, or, where it is told as it comes, the
    /// beginning of a character whose end has not come.
    pipes: [Vec<u8>; 2],
    /// How much may be kept of both together. `None`: it is told as it comes.
    bytes_max: Option<usize>,
    truncated: bool,
}

impl Programs {
    /// The next program's tag.
    pub(super) fn next_tag(&self) -> u64 {
        self.next_tag
    }

    /// Keeps a program that was launched.
    pub(super) fn add(&mut self, program: Program) {
        self.next_tag = program.tag + 1;
        self.running.push(program);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.running.iter().map(Program::bytes).sum()
    }

    /// Takes what a program has printed. If somebody is to be told, `tell` gets a notification.
    pub(super) fn printed(
        &mut self,
        tag: u64,
        pipe: Pipe,
        bytes: &[u8],
        tell: impl FnOnce(&dyn Fn(&mut Vec<u8>)),
    ) {
        let mut running = self.running.iter_mut();
        let Some(program) = running.find(|program| program.tag == tag) else {
            return;
        };
        let kept = &mut program.output.pipes[pipe as usize];
        match &program.id {
            Some(id) if program.output.bytes_max.is_none() => {
                let part = whole_characters(kept, bytes);
                if !part.is_empty() {
                    tell(&|out| write_notification(out, id, pipe, &part));
                }
            }
            _ => program.output.keep(pipe, bytes),
        }
    }

    /// A program has ended: it is given back.
    pub(super) fn ended(&mut self, tag: u64) -> Option<Program> {
        let mut running = self.running.iter();
        let place = running.position(|program| program.tag == tag)?;
        Some(self.running.swap_remove(place))
    }
}

impl Program {
    fn bytes(&self) -> usize {
        let id = self.id.as_ref().map_or(0, |id| id.len());
        id + self.output.pipes.iter().map(Vec::capacity).sum::<usize>()
    }

    /// The last notifications of a program whose output was told: what never became a character.
    pub(super) fn tell_rest(&mut self, mut tell: impl FnMut(&dyn Fn(&mut Vec<u8>))) {
        if let (Some(id), None) = (&self.id, self.output.bytes_max) {
            for pipe in [Pipe::Stdout, Pipe::Stderr] {
                let rest = mem::take(&mut self.output.pipes[pipe as usize]);
                if !rest.is_empty() {
                    tell(&|out| write_notification(out, id, pipe, &rest));
                }
            }
        }
    }

    /// The response.
    pub(super) fn answer(&self, end: ChildEnd) -> Vec<u8> {
        let mut answer = Vec::new();
        if let Some(id) = &self.id {
            write_response(&mut answer, id, self.takes, |out| match end {
                ChildEnd::Ended { status, timed_out } => {
                    self.output.write_result(out, status, timed_out);
                    Ok(())
                }
                ChildEnd::NotStarted(kind) => {
                    let message = format!("the command could not be started: {kind}");
                    Err(RpcError::new(NOT_STARTED, message))
                }
            });
        }
        answer
    }
}

impl Output {
    /// `bytes_max` bounds what is kept of it; `None`: it is told as it comes.
    pub(super) fn new(bytes_max: Option<usize>) -> Self {
        Self {
            pipes: Default::default(),
            bytes_max,
            truncated: false,
        }
    }

    /// Keeps what there is room for. The buffer never grows beyond the bound.
    fn keep(&mut self, pipe: Pipe, bytes: &[u8]) {
        let bytes_max = self.bytes_max.unwrap_or(0);
        let room = bytes_max.saturating_sub(self.pipes.iter().map(Vec::len).sum());
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.truncated |= kept.len() < bytes.len();
        let buffer = &mut self.pipes[pipe as usize];
        if buffer.capacity() - buffer.len() < kept.len() {
            let growth = buffer.len().max(kept.len()).min(room);
            buffer.reserve_exact(growth);
        }
        buffer.extend_from_slice(kept);
    }

    fn write_result(&self, out: &mut Vec<u8>, status: ExitStatus, timed_out: bool) {
        let [stdout, stderr] = &self.pipes;
        out.extend_from_slice(br#"{"status":"#);
        write_number(out, status.code());
        out.extend_from_slice(br#","signal":"#);
        write_number(out, status.signal());
        for (pipe, bytes) in [(Pipe::Stdout, stdout), (Pipe::Stderr, stderr)] {
            out.push(b',');
            write_output(out, pipe, self.readable(bytes));
        }
        let rest = format_args!(
            r#","truncated":{},"timed_out":{timed_out}}}"#,
            self.truncated
        );
        written(out.write_fmt(rest));
    }

    /// What was cut off in the middle of a character ends before it.
    fn readable<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        match std::str::from_utf8(bytes) {
            Err(error) if self.truncated && error.error_len().is_none() => {
                &bytes[..error.valid_up_to()]
            }
            _ => bytes,
        }
    }
}

/// What was kept and what has come, up to its last whole character; the beginning of another is
/// kept.
fn whole_characters<'a>(kept: &mut Vec<u8>, bytes: &'a [u8]) -> Cow<'a, [u8]> {
    let mut part = Cow::Borrowed(bytes);
    if !kept.is_empty() {
        kept.extend_from_slice(bytes);
        part = Cow::Owned(mem::take(kept));
    }
    let whole = match std::str::from_utf8(&part) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => part.len(),
    };
    kept.extend_from_slice(&part[whole..]);
    match part {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[..whole]),
        Cow::Owned(mut bytes) => {
            bytes.truncate(whole);
            Cow::Owned(bytes)
        }
    }
}

fn write_notification(out: &mut Vec<u8>, id: &str, pipe: Pipe, bytes: &[u8]) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","method":"exec.output","params":{"id":"#);
    out.extend_from_slice(id.as_bytes());
    out.push(b',');
    write_output(out, pipe, bytes);
    out.extend_from_slice(b"}}");
}

/// Appends a member: its name says whether its string is the text, or base64 of what is no text.
fn write_output(out: &mut Vec<u8>, pipe: Pipe, bytes: &[u8]) {
    let name = match pipe {
        Pipe::Stdout => "stdout",
        Pipe::Stderr => "stderr",
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            written(write!(out, r#""{name}":"#));
            written(serde_json::to_writer(out, text).map_err(io::Error::from));
        }
        Err(_) => {
            let base64 = Base64Display::new(bytes, &STANDARD);
            written(write!(out, r#""{name}_base64":"{base64}""#));
        }
    }
}

fn write_number(out: &mut Vec<u8>, number: Option<i32>) {
    match number {
        Some(number) => written(write!(out, "{number}")),
        None => out.extend_from_slice(b"null"),
    }
}

/// A vector takes all that is written to it.
fn written(result: io::Result<()>) {
    debug_assert!(result.is_ok(), "a vector refused bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(bytes_max: usize, parts: &[&[u8]]) -> (Vec<u8>, bool, usize) {
        let mut output = Output::new(Some(bytes_max));
        for part in parts {
            output.keep(Pipe::Stdout, part);
        }
        let capacity = output.pipes[0].capacity();
        (output.pipes[0].clone(), output.truncated, capacity)
    }

    #[test]
    fn keeps_up_to_the_bound_and_not_one_byte_more() {
        assert_eq!(kept(6, &[b"abc", b"def"]), (b"abcdef".to_vec(), false, 6));
        assert_eq!(kept(5, &[b"abc", b"def"]), (b"abcde".to_vec(), true, 5));
        assert_eq!(kept(0, &[b"a"]), (Vec::new(), true, 0));
        let part = vec![b'x'; 1000];
        let (bytes, truncated, capacity) = kept(5_500, &[&*part; 9]);
        assert_eq!((bytes.len(), truncated, capacity), (5_500, true, 5_500));
    }

    #[test]
    fn both_pipes_share_the_bound() {
        let mut output = Output::new(Some(5));
        output.keep(Pipe::Stdout, b"abc");
        output.keep(Pipe::Stderr, b"defg");
        assert_eq!(output.pipes, [b"abc".to_vec(), b"de".to_vec()]);
        assert!(output.truncated);
    }

    fn member(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write_output(&mut out, Pipe::Stdout, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_no_text_says_that_it_is_base64() {
        assert_eq!(member("a\"é\n".as_bytes()), r#""stdout":"a\"é\n""#);
        assert_eq!(member(b"\xff\x00"), r#""stdout_base64":"/wA=""#);
    }

    #[test]
    fn text_that_was_cut_off_in_a_character_stays_text() {
        let mut output = Output::new(Some(4));
        output.keep(Pipe::Stdout, "abé€".as_bytes());
        assert_eq!(output.readable(&output.pipes[0]), "abé".as_bytes());
        let mut output = Output::new(Some(3));
        output.keep(Pipe::Stdout, "abé".as_bytes());
        assert_eq!(output.readable(&output.pipes[0]), b"ab");
    }

    #[test]
    fn a_character_is_never_told_in_two_parts() {
        let text = "aé€🦀z".as_bytes();
        for cut in 0..=text.len() {
            let mut kept = Vec::new();
            let first = whole_characters(&mut kept, &text[..cut]).into_owned();
            assert!(std::str::from_utf8(&first).is_ok() && kept.len() <= 3);
            let second = whole_characters(&mut kept, &text[cut..]).into_owned();
            assert!(std::str::from_utf8(&second).is_ok() && kept.is_empty());
            assert_eq!([first, second].concat(), text);
        }
        let mut kept = vec![0xe2];
        assert_eq!(&*whole_characters(&mut kept, b"x"), b"\xe2x");
    }
}
