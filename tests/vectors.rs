//! The document cannot lie: each table and dump of docs/PROTOCOL.md that carries a `vectors` mark
//! is held against the code.

#[path = "util/restore.rs"]
mod restore;

use std::mem;
use std::time::{Duration, Instant};

use gateloop::error::ProtocolError::{self, KeyRefused, MessageTooLong, NegativeLength};
use gateloop::limits::MESSAGE_BYTES_MAX;
use gateloop::protocol::datagram::{self, Gate, Header, Kind};
use gateloop::protocol::framing::{AnyFraming, Decoded, Framing, FramingKind};
use gateloop::protocol::handshake::challenge::{CHALLENGE_BYTES, Proof};
use gateloop::protocol::handshake::mutual::{self, Client, Rules, Server};
use gateloop::protocol::handshake::{Digest, Key, Step};
use gateloop::service::rpc::Rpc;
use gateloop::service::users::{Users, Verdict};
use gateloop::service::{Asked, Caller, Datagrams, Peer};
use gateloop::stats::Stats;

const DOCUMENT: &str = include_str!("../docs/PROTOCOL.md");
const MARK: &str = "<!-- vectors: ";

// Reading the document.

/// The lines of the table or dump behind a mark.
fn block(name: &str) -> Vec<&'static str> {
    let mark = format!("{MARK}{name} -->");
    let (_, rest) = DOCUMENT
        .split_once(&mark)
        .expect("the mark is in the document");
    let lines = rest.lines().skip_while(|line| line.is_empty());
    lines.take_while(|line| !line.is_empty()).collect()
}

/// The rows of a table of `N` columns.
fn table<const N: usize>(name: &str) -> Vec<[&'static str; N]> {
    let cells = |row: &'static str| {
        let cells = row.trim_matches('|').split(" | ").map(str::trim);
        let cells: Vec<_> = cells.collect();
        <[&str; N]>::try_from(cells).expect("a cell for each column")
    };
    let rows: Vec<_> = block(name).into_iter().skip(2).map(cells).collect();
    assert!(!rows.is_empty(), "{name} has no rows");
    rows
}

/// Bytes written as `68 69` or as `6869`.
fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.trim_matches('`').split_whitespace().collect();
    assert!(digits.len().is_multiple_of(2), "{text:?}");
    let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
    let bytes = pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal"));
    bytes.collect()
}

/// Bytes written as text and ranges: `"{sha256}"`, `00..27`.
fn parts(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in text.split(", ").map(|part| part.trim_matches('`')) {
        match part.split_once("..") {
            Some((first, last)) => bytes.extend(hex(first)[0]..=hex(last)[0]),
            None => bytes.extend_from_slice(part.trim_matches('"').as_bytes()),
        }
    }
    bytes
}

/// Bytes written as text in quotation marks, or in hexadecimal.
fn hex_or_text(text: &str) -> Vec<u8> {
    match text.starts_with("`\"") {
        true => parts(text),
        false => hex(text),
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Server,
    Client,
}

/// A dump's messages, each with who sent it: the side in 8 columns, the bytes in 48, a remark.
fn transcript(name: &str) -> Vec<(Side, Vec<u8>)> {
    let mut messages: Vec<(Side, Vec<u8>)> = Vec::new();
    for line in block(name)
        .into_iter()
        .filter(|line| !line.starts_with("```"))
    {
        let (side, rest) = line.split_at(8);
        let bytes = hex(rest.get(..48).unwrap_or(rest));
        match side.trim() {
            "server" => messages.push((Side::Server, bytes)),
            "client" => messages.push((Side::Client, bytes)),
            "" => messages.last_mut().expect("a side first").1.extend(bytes),
            other => panic!("neither server nor client: {other:?}"),
        }
    }
    messages
}

#[test]
fn every_mark_is_looked_up_here() {
    let marks = DOCUMENT.split(MARK).skip(1);
    let names: Vec<_> = marks
        .map(|rest| rest.split(" -->").next().unwrap())
        .collect();
    let known = [
        "i32be headers",
        "i32be refused",
        "i32be streams",
        "i32le headers",
        "i32le refused",
        "i32le streams",
        "json streams",
        "json refused",
        "lines streams",
        "key",
        "macs",
        "transcript of named digests",
        "transcript of an old client",
        "transcript of an old server",
        "transcript of a wrong key",
        "responses",
        "rpc",
        "login",
        "users",
        "datagrams",
    ];
    assert_eq!(names, known);
}

// Framing.

/// The framings with a length before each message.
const WITH_HEADERS: [FramingKind; 2] = [FramingKind::I32Be, FramingKind::I32Le];

#[test]
fn headers() {
    for kind in WITH_HEADERS {
        for [len, header] in table(&format!("{kind} headers")) {
            let (len, header) = (len.parse().unwrap(), hex(header));
            let (mut framing, mut out) = (AnyFraming::new(kind), Vec::new());
            framing.encode_header(len, &mut out);
            assert_eq!(out, header, "{kind} {len}");
            let claim = match framing.decode(&header, false, usize::MAX).unwrap() {
                Decoded::Header { header, payload } => (header, payload),
                Decoded::Message { payload, wire } => (wire, payload.len()),
                other => panic!("{len}: a whole header, not {other:?}"),
            };
            assert_eq!(claim, (header.len(), len));
        }
    }
}

#[test]
fn refused_headers() {
    for kind in WITH_HEADERS {
        for [header, why] in table(&format!("{kind} refused")) {
            let decoded = AnyFraming::new(kind).decode(&hex(header), false, MESSAGE_BYTES_MAX);
            let refused = match decoded {
                Err(NegativeLength(len)) => format!("negative length {len}"),
                Err(MessageTooLong { len, .. }) => format!("length {len} over the limit"),
                other => panic!("{header}: {other:?}"),
            };
            assert_eq!(refused, why, "{kind} {header}");
        }
    }
}

#[test]
fn streams() {
    for (kind, name, end) in [
        (FramingKind::I32Be, "i32be streams", None),
        (FramingKind::I32Le, "i32le streams", None),
        (FramingKind::Json, "json streams", None),
        (
            FramingKind::Json,
            "json refused",
            Some(ProtocolError::NotJson),
        ),
        (FramingKind::Lines, "lines streams", None),
    ] {
        for [stream, messages] in table(name) {
            let messages: Vec<String> = serde_json::from_str(messages.trim_matches('`')).unwrap();
            for pieces in [Some(1), None] {
                let wire = hex(stream);
                let pieces = pieces.into_iter().cycle();
                let restored = restore::restore(kind, &wire, pieces, MESSAGE_BYTES_MAX);
                let text = restored.messages.into_iter().map(String::from_utf8);
                let text: Vec<_> = text.map(|message| message.expect("text")).collect();
                assert_eq!(
                    (text, restored.end.err()),
                    (messages.clone(), end),
                    "{stream}"
                );
            }
        }
    }
}

// Handshake.

fn key() -> Key {
    let [[text, bytes]] = table("key")[..] else {
        panic!("one key");
    };
    assert_eq!(text.trim_matches('`').as_bytes(), hex(bytes));
    Key::new(hex(bytes)).unwrap()
}

fn rules(key: Key) -> Rules {
    // The transcripts share their challenges, and the tests run at the same time.
    Rules {
        allow_own_challenges: true,
        ..Rules::new(key)
    }
}

/// Random bytes as the document has them: counted up from `first`.
fn counted(first: u8) -> impl FnMut(&mut [u8]) {
    move |nonce| {
        for (byte, value) in nonce.iter_mut().zip(first..) {
            *byte = value;
        }
    }
}

fn payload(message: &[u8]) -> &[u8] {
    let decoded = mutual::decode(message).unwrap();
    let Decoded::Message { payload, wire } = decoded else {
        panic!("{decoded:?} of {message:?}");
    };
    assert_eq!(wire, message.len());
    &message[payload]
}

/// Plays the server's part and returns what it came to.
fn serve(name: &str, key: Key) -> Result<Step, ProtocolError> {
    let mut out = Vec::new();
    let mut server = Server::new(&rules(key), &mut counted(0), &mut out);
    let mut end = Ok(Step::Continue);
    for (side, message) in transcript(name) {
        if side == Side::Server {
            assert_eq!(mem::take(&mut out), message, "{name}");
            continue;
        }
        end = server.advance(payload(&message), &mut out);
        if end == Ok(Step::WrongKey) {
            mutual::refuse(&mut out);
        }
    }
    assert_eq!(out, b"", "{name}: more than the document has");
    end
}

/// Plays the client's part and returns what it came to.
fn connect(name: &str, key: Key) -> Result<Step, ProtocolError> {
    let mut out = Vec::new();
    let mut client = Client::new(rules(key));
    let mut end = Ok(Step::Continue);
    let mut messages = transcript(name).into_iter().peekable();
    while let Some((side, message)) = messages.next() {
        assert_eq!(side, Side::Server, "{name}");
        end = client.advance(payload(&message), &mut counted(0x80), &mut out);
        let mut said = Vec::new();
        while let Some((_, message)) = messages.next_if(|(side, _)| *side == Side::Client) {
            said.extend(message);
        }
        assert_eq!(mem::take(&mut out), said, "{name}");
    }
    end
}

#[test]
fn macs() {
    let key = key();
    for [name, challenge, mac] in table("macs") {
        let digest: Digest = name.parse().unwrap();
        let (challenge, mac) = (parts(challenge), hex(mac));
        assert_eq!(digest.mac(&key, &challenge).to_vec(), mac, "{name}");
        assert!(digest.verify(&key, &challenge, &mac), "{name}");
    }
}

#[test]
fn transcripts() {
    let named = "transcript of named digests";
    assert_eq!(serve(named, key()), Ok(Step::Passed(Digest::Sha256)));
    assert_eq!(connect(named, key()), Ok(Step::Passed(Digest::Sha256)));
    let old_client = "transcript of an old client";
    assert_eq!(serve(old_client, key()), Ok(Step::Passed(Digest::Md5)));
    let old_server = "transcript of an old server";
    assert_eq!(connect(old_server, key()), Ok(Step::Passed(Digest::Md5)));
    let wrong_key = "transcript of a wrong key";
    assert_eq!(serve(wrong_key, key()), Ok(Step::WrongKey));
    let wrong = Key::new("wrong").unwrap();
    assert_eq!(connect(wrong_key, wrong), Err(KeyRefused));
}

#[test]
fn responses() {
    let key = key();
    for [name, challenge, response] in table("responses") {
        let mut proofs = [Proof::Hmac, Proof::Md5].into_iter();
        let proof = proofs.find(|proof| proof.name() == name);
        let proof = proof.expect("a handshake with a response");
        let (challenge, response) = (parts(challenge), hex_or_text(response));
        assert_eq!(challenge.len(), CHALLENGE_BYTES);
        assert_eq!(response.len(), proof.response_bytes());
        assert_eq!(proof.response(&key, &challenge), response, "{name}");
        assert!(proof.verify(&key, &challenge, &response), "{name}");
    }
}

// Services.

const NOBODY: Peer = Peer {
    id: 1,
    address: None,
};

fn caller() -> Caller<'static> {
    Caller {
        peer: &NOBODY,
        handshake: "none",
        digest: None,
        connected: Duration::ZERO,
    }
}

#[test]
fn rpc() {
    for [message, answer] in table("rpc") {
        let message = message.trim_matches('`').as_bytes();
        let said = Rpc::new().answer(message, caller(), &Stats::default());
        let said = said.map(|said| String::from_utf8(said).unwrap());
        let answer = (answer != "none").then(|| answer.trim_matches('`').to_owned());
        assert_eq!(said, answer);
    }
}

/// The user file of the document: its lines, each with its user's name and password.
fn users() -> Vec<(String, String, String)> {
    let unquoted = |cell: &str| cell.trim_matches('`').replace(r"\|", "|");
    let rows = table("users").into_iter().map(|[line, password]| {
        let (line, password) = (unquoted(line), unquoted(password));
        let (name, _) = line.rsplit_once('|').unwrap();
        (name.trim().to_owned(), line.clone(), password)
    });
    rows.collect()
}

#[test]
fn lines_of_the_user_file() {
    for (name, line, password) in users() {
        let users = Users::parse(line.as_bytes()).unwrap();
        let check = |password: &str| users.check(&name, password, &0.into());
        assert_ne!(check(&password), Verdict::Wrong, "{line}");
        assert_eq!(check(&format!("{password} ")), Verdict::Wrong, "{line}");
    }
}

// Datagrams.

#[test]
fn datagrams() {
    let messages = transcript("datagrams");
    let [(Side::Client, request), (Side::Server, reply)] = &messages[..] else {
        panic!("a request and its reply");
    };
    let opened = datagram::open(&key(), request).unwrap();
    let (Header { kind, id, .. }, payload) = opened;
    let (sent_at, answered_at) = (opened.0.sent_at_ms, sent_at_ms(reply));
    assert_eq!(kind, Some(Kind::Request));
    let mut sealed = Vec::new();
    datagram::seal(&key(), Kind::Request, sent_at, &id, payload, &mut sealed);
    assert_eq!(sealed, *request);

    let mut gate = Gate::keyed(key(), MESSAGE_BYTES_MAX, 1, sent_at, 0);
    let admitted = gate.admit(request, answered_at).unwrap();
    let asked = Asked {
        caller: caller(),
        stats: &Stats::default(),
        now: Instant::now(),
        answer_bytes_max: gate.answer_bytes_max(),
    };
    let mut said = Vec::new();
    let answer = |out: &mut Vec<u8>| Rpc::new().datagram(admitted.payload, asked, out);
    assert_eq!(
        gate.reply(&admitted, answered_at, &mut said, answer),
        Ok(true)
    );
    assert_eq!(said, *reply);
    assert_eq!(gate.answer_bytes_max(), 65_449);
}

fn sent_at_ms(datagram: &[u8]) -> u64 {
    datagram::open(&key(), datagram).unwrap().0.sent_at_ms
}
