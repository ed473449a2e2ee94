//! The framing `json`: whatever the cuts, each value is a message, and what is no JSON is refused
//! at the same byte.

#[path = "util/restore.rs"]
mod restore;
#[path = "util/seed.rs"]
mod seed;

use gateloop::error::ProtocolError::{self, JsonTooDeep, MessageTooLong, NotJson};
use gateloop::limits::JSON_DEPTH_MAX;
use gateloop::protocol::FramingKind;
use gateloop::protocol::framing::{Decoded, Framing, Json};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use restore::{Restored, restore, restore_each_way};

const MAX: usize = 2_000;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 256,
        rng_seed: RngSeed::Fixed(seed::seed()),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// What stands between two tokens.
fn blank() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,3}"
}

/// A string as it is written, with escapes of every kind, and runs of them.
fn string() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-z{}\\[\\],:天王盖地虎🐯]{0,6}",
        2 => "(\\\\\\\\){1,4}",
        2 => "(\\\\\"){1,4}",
        1 => Just("\\u5929".to_string()),
        1 => Just("\\n".to_string()),
    ];
    vec(part, 0..5).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

fn number() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,4})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?"
}

/// A value as it is written, with blanks wherever they may be.
fn value() -> impl Strategy<Value = String> {
    let literal = select(vec!["true", "false", "null", "{}", "[]"]).prop_map(str::to_owned);
    let leaf = prop_oneof![literal, number(), string()];
    leaf.prop_recursive(4, 24, 4, |value| {
        let value = (blank(), value, blank())
            .prop_map(|(a, value, b)| [a, value, b].concat())
            .boxed();
        let member = (string(), blank(), value.clone())
            .prop_map(|(name, blank, value)| format!("{name}{blank}:{value}"));
        prop_oneof![
            vec(value, 1..4).prop_map(|values| format!("[{}]", values.join(","))),
            vec(member, 1..4).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    vec(1..40_usize, 1..20)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn each_value_is_a_message(
        values in vec((value(), blank(), blank()), 0..8),
        pieces in pieces(),
    ) {
        let mut wire = String::new();
        for (value, before, behind) in &values {
            prop_assert!(serde_json::from_str::<serde_json::Value>(value).is_ok(), "{}", value);
            wire += before;
            // Two numbers with nothing between them are one.
            let number = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
            let continues = number(value.as_bytes().first()) || value.starts_with('-');
            if continues && number(wire.as_bytes().last()) {
                wire += "\n";
            }
            wire += value;
            wire += behind;
        }
        let messages = values.iter().map(|(value, ..)| value.clone().into_bytes()).collect();
        let expected = Restored { messages, end: Ok(0) };
        let restored = restore_each_way(FramingKind::Json, wire.as_bytes(), &pieces, MAX);
        prop_assert_eq!(restored, expected);
    }

    /// The parts of JSON in any order: what is served, what is left, and what is refused does not
    /// depend on the cuts.
    #[test]
    fn no_cut_changes_the_verdict(
        parts in vec(select(PARTS.to_vec()), 0..40),
        pieces in pieces(),
        max in 1..60_usize,
    ) {
        restore_each_way(FramingKind::Json, &parts.concat(), &pieces, max);
    }
}

const PARTS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\"",
    b"\\",
    b"\\\\",
    b"\\\"",
    b" ",
    b"\n",
    b":",
    b",",
    b"0",
    b"-",
    b"1.5",
    b"e",
    b"+7",
    b"true",
    b"nu",
    b"x",
    b"\0",
    b"\xff\xfe",
    "天".as_bytes(),
];

/// A stream in each delivery: its messages as text, and its end.
fn restored(wire: &[u8]) -> (Vec<String>, Result<usize, ProtocolError>) {
    let Restored { messages, end } = restore_each_way(FramingKind::Json, wire, &[3, 1, 7], MAX);
    let text = |message: Vec<u8>| String::from_utf8_lossy(&message).into_owned();
    (messages.into_iter().map(text).collect(), end)
}

#[test]
fn values_need_nothing_between_them() {
    let (messages, end) = restored(br#"{"a":1}{}"b"truefalsenull[1]-2 3"#);
    let expected = [
        r#"{"a":1}"#,
        "{}",
        "\"b\"",
        "true",
        "false",
        "null",
        "[1]",
        "-2",
        "3",
    ];
    assert_eq!(
        (messages, end),
        (expected.map(String::from).to_vec(), Ok(0))
    );
}

#[test]
fn what_is_no_json_ends_the_stream_behind_what_was() {
    for wire in [
        "{}]",
        "{} }",
        "[1]x",
        "\"a\"\0",
        "1 :",
        "[]\u{feff}",
        "nil",
        "01x",
        "{}+1",
    ] {
        let (messages, end) = restored(wire.as_bytes());
        assert_eq!(end, Err(NotJson), "{wire}");
        assert!(!messages.is_empty() || wire == "nil", "{wire}");
    }
}

#[test]
fn a_truncated_value_is_left() {
    for wire in [
        "{\"a\":", "[[]", "\"a\\", "\"\\\"", "tru", "-", "1e", "{\"a\":1",
    ] {
        assert_eq!(restored(wire.as_bytes()), (Vec::new(), Ok(wire.len())));
    }
    // But a number may end with the stream.
    assert_eq!(restored(b"[] 12"), (vec!["[]".into(), "12".into()], Ok(0)));
}

#[test]
fn invalid_utf_8_and_nul_in_a_value_are_for_its_reader_to_judge() {
    let wire = b"\"\xff\xfe\0\"[\0,\xc3]";
    let expected = [b"\"\xff\xfe\0\"".to_vec(), b"[\0,\xc3]".to_vec()].to_vec();
    let Restored { messages, end } = restore_each_way(FramingKind::Json, wire, &[2], MAX);
    assert_eq!((messages, end), (expected, Ok(0)));
}

#[test]
fn runs_of_escapes_keep_their_parity() {
    for run in 0..70 {
        for (escape, closes) in [("\\\\", true), ("\\\"", true), ("\\", run % 2 == 0)] {
            let value = format!("\"{}\"", escape.repeat(run));
            let (messages, end) = restored(value.as_bytes());
            let expected = if closes {
                vec![value.clone()]
            } else {
                Vec::new()
            };
            assert_eq!(messages, expected, "{value}");
            assert_eq!(end, Ok(if closes { 0 } else { value.len() }));
        }
    }
}

#[test]
fn ten_thousand_brackets_deep_is_refused_at_the_first_that_is_too_deep() {
    let most = usize::from(JSON_DEPTH_MAX);
    for open in ["[", "{\"a\":"] {
        let wire = open.repeat(10_000);
        assert_eq!(restored(wire.as_bytes()), (Vec::new(), Err(JsonTooDeep)));
        let to_the_bound = &wire.as_bytes()[..most * open.len()];
        assert_eq!(restored(to_the_bound).1, Ok(to_the_bound.len()));
    }
    let nested = ["[".repeat(most), "]".repeat(most)].concat();
    assert_eq!(restored(nested.as_bytes()), (vec![nested], Ok(0)));
}

#[test]
fn the_limit_is_judged_as_bytes_come() {
    let wire = |len: usize| format!("\"{}\"", "x".repeat(len - 2));
    let at_limit = restored(wire(MAX).as_bytes());
    assert_eq!(at_limit, (vec![wire(MAX)], Ok(0)));
    let (len, max) = (MAX as u64 + 1, MAX);
    for over in [
        wire(MAX + 1),
        wire(10 * MAX),
        format!("[{}", "1,".repeat(MAX)),
    ] {
        let refused = Err(MessageTooLong { len, max });
        assert_eq!(restored(over.as_bytes()), (Vec::new(), refused));
    }
    // Blanks are no part of a message, however many there are.
    let blank = " ".repeat(10 * MAX);
    let (messages, end) = restored(format!("{blank}7{blank}").as_bytes());
    assert_eq!((messages, end), (vec!["7".into()], Ok(0)));
}

/// Every byte that was seen, but for the first, is turned into a quotation mark afterwards:
/// whoever looked at one of them again would find an end there.
#[test]
fn each_byte_is_looked_at_once() {
    for (first, next, last) in [(b'"', b'x', b'"'), (b'[', b',', b']'), (b'1', b'0', b' ')] {
        let (mut json, mut bytes) = (Json::default(), vec![first]);
        while bytes.len() < MAX {
            let decoded = json.decode(&bytes, false, MAX);
            assert_eq!(decoded, Ok(Decoded::Incomplete), "{} bytes", bytes.len());
            bytes[1..].fill(b'"');
            bytes.push(next);
        }
        assert_eq!(json.decode(&bytes, false, MAX), Ok(Decoded::Incomplete));
        bytes.push(last);
        let end = MAX + usize::from(last != b' ');
        let message = Ok(Decoded::Message {
            payload: 0..end,
            wire: end,
        });
        assert_eq!(json.decode(&bytes, false, MAX + 1), message);
    }
}

#[test]
fn a_long_value_is_restored_from_ten_thousand_pieces() {
    let text = "\\\"天王盖地虎\\\\".repeat(100_000);
    let wire = format!("{{\"text\": [\"{text}\"]}}\n[]");
    let (value, _) = wire.split_once('\n').expect("two values");
    let pieces = std::iter::repeat(wire.len() / 10_000 + 1);
    let Restored { messages, end } =
        restore(FramingKind::Json, wire.as_bytes(), pieces, usize::MAX);
    assert!(messages == [value.as_bytes(), b"[]"], "other values");
    assert_eq!(end, Ok(0));
}
