//! The handshake `mutual` against somebody who does not keep to it: each side, at each step.

#[path = "util/shared_key.rs"]
mod shared_key;

use std::mem;

use gateloop::error::ProtocolError::{
    self, ChallengeTooShort, DigestNotAccepted, KeyRefused, ReflectedChallenge,
    UnexpectedHandshakeMessage,
};
use gateloop::limits::HANDSHAKE_MESSAGE_BYTES_MAX;
use gateloop::protocol::framing::Decoded;
use gateloop::protocol::handshake::mutual::{self, Client, Rules, Server};
use gateloop::protocol::handshake::{Digest, Key, Step};
use shared_key::{FAILURE, KEY, rules};

/// Takes the one framed message that `out` holds.
fn said(out: &mut Vec<u8>) -> Vec<u8> {
    let decoded = mutual::decode(out).unwrap();
    let Decoded::Message { payload, wire } = decoded else {
        panic!("{decoded:?} of {out:?}");
    };
    assert_eq!(wire, out.len(), "more than one message");
    mem::take(out)[payload].to_vec()
}

fn challenge(of: impl AsRef<[u8]>) -> Vec<u8> {
    [b"#CHALLENGE#", of.as_ref()].concat()
}

fn named(name: &str, rest: &[u8]) -> Vec<u8> {
    [b"{", name.as_bytes(), b"}", rest].concat()
}

// The server against a client that does not keep to the protocol.

/// A server after step 1, and the challenge it made.
fn fresh_server(digests: &str) -> (Server, Vec<u8>) {
    let mut out = Vec::new();
    let server = Server::new(&rules(digests), &mut |nonce| nonce.fill(b'n'), &mut out);
    (server, said(&mut out)[b"#CHALLENGE#".len()..].to_vec())
}

/// A server after step 3.
fn proved_server(digests: &str) -> Server {
    let (mut server, challenge) = fresh_server(digests);
    let rules = rules(digests);
    let digest = rules.digests.strongest();
    let response = named(digest.name(), &digest.mac(&rules.key, &challenge));
    let step = server.advance(&response, &mut Vec::new());
    assert_eq!(step, Ok(Step::PeerProved));
    server
}

#[test]
fn server_takes_a_right_response_in_each_form() {
    let key = Key::new(KEY).unwrap();
    let (_, nonce) = fresh_server("md5,sha256");
    let (md5, sha256) = (
        Digest::Md5.mac(&key, &nonce),
        Digest::Sha256.mac(&key, &nonce),
    );
    for response in [md5.to_vec(), named("md5", &md5), named("sha256", &sha256)] {
        let (mut server, mut out) = (fresh_server("md5,sha256").0, Vec::new());
        assert_eq!(server.advance(&response, &mut out), Ok(Step::PeerProved));
        assert_eq!(said(&mut out), b"#WELCOME#");
    }
}

#[test]
fn server_takes_no_other_response_and_says_nothing_yet() {
    let key = Key::new(KEY).unwrap();
    let (_, nonce) = fresh_server("sha256");
    let right = Digest::Sha256.mac(&key, &nonce);
    let md5 = Digest::Md5.mac(&key, &nonce);
    let mut flipped = right.to_vec();
    flipped[31] ^= 1;
    let refused = [
        Vec::new(),
        md5.to_vec(),
        named("md5", &md5),
        vec![0; 16],
        right.to_vec(),
        named("sha256", &[]),
        named("sha256", &right[..31]),
        named("sha256", &[&right[..], b"\0"].concat()),
        named("sha256", &flipped),
        named(
            "sha256",
            &Digest::Sha256.mac(&key, &nonce[b"{sha256}".len()..]),
        ),
        named("sha384", &Digest::Sha384.mac(&key, &nonce)),
        named("SHA256", &right),
        named("sha1", &right[..20]),
        named("", &right),
        [b" ", &named("sha256", &right)[..]].concat(),
        [b"{sha256", &right[..]].concat(),
        b"#WELCOME#".to_vec(),
        challenge(&nonce),
    ];
    for response in refused {
        let (mut server, mut out) = (fresh_server("sha256").0, Vec::new());
        let step = server.advance(&response, &mut out);
        assert_eq!(
            (step, &out[..]),
            (Ok(Step::WrongKey), &b""[..]),
            "{response:?}"
        );
        let after = server.advance(&named("sha256", &right), &mut out);
        assert_eq!(after, Err(UnexpectedHandshakeMessage), "a second try");
    }
}

#[test]
fn server_answers_a_challenge_of_each_digest() {
    let key = Key::new(KEY).unwrap();
    for digest in Digest::ALL {
        let (mut server, mut out) = (proved_server("sha256"), Vec::new());
        let nonce = named(digest.name(), &[b'c'; 40]);
        let step = server.advance(&challenge(&nonce), &mut out);
        assert_eq!(step, Ok(Step::Continue));
        let mac = digest.mac(&key, &nonce);
        assert_eq!(said(&mut out), named(digest.name(), &mac));
    }
    // Exactly 20 bytes are a plain challenge, whatever they look like.
    for nonce in [&[b'c'; 20][..], b"{sha256}............"] {
        let (mut server, mut out) = (proved_server("md5,sha256"), Vec::new());
        let step = server.advance(&challenge(nonce), &mut out);
        assert_eq!(step, Ok(Step::Continue));
        assert_eq!(said(&mut out), Digest::Md5.mac(&key, nonce).to_vec());
    }
}

/// What is no challenge, on either side, under digests without md5.
fn no_challenges() -> Vec<(Vec<u8>, ProtocolError)> {
    vec![
        (Vec::new(), UnexpectedHandshakeMessage),
        (b"#WELCOME#".to_vec(), UnexpectedHandshakeMessage),
        (b"#FAILURE#".to_vec(), UnexpectedHandshakeMessage),
        (named("sha256", &[0; 40]), UnexpectedHandshakeMessage),
        (
            b"#challenge#{sha256}....................".to_vec(),
            UnexpectedHandshakeMessage,
        ),
        (challenge([b'c'; 21]), UnexpectedHandshakeMessage),
        (challenge([b'c'; 48]), UnexpectedHandshakeMessage),
        (challenge([]), ChallengeTooShort),
        (challenge([b'c'; 19]), ChallengeTooShort),
        (challenge(named("sha256", &[b'c'; 11])), ChallengeTooShort),
        (challenge([b'c'; 20]), DigestNotAccepted),
        (challenge(named("sha1", &[b'c'; 40])), DigestNotAccepted),
        (challenge(named("", &[b'c'; 40])), DigestNotAccepted),
        (
            challenge([b"{sha256", &[b'c'; 40][..]].concat()),
            DigestNotAccepted,
        ),
    ]
}

#[test]
fn server_refuses_what_is_no_challenge() {
    for (message, error) in no_challenges() {
        let (mut server, mut out) = (proved_server("sha256"), Vec::new());
        let step = server.advance(&message, &mut out);
        assert_eq!((step, &out[..]), (Err(error), &b""[..]), "{message:?}");
    }
}

/// What is no welcome, on either side.
const NO_WELCOMES: [(&[u8], ProtocolError); 5] = [
    (b"#FAILURE#", KeyRefused),
    (b"", UnexpectedHandshakeMessage),
    (b"#WELCOME", UnexpectedHandshakeMessage),
    (b"#WELCOME##", UnexpectedHandshakeMessage),
    (b"#CHALLENGE#", UnexpectedHandshakeMessage),
];

#[test]
fn server_refuses_what_is_no_welcome() {
    for (message, error) in NO_WELCOMES {
        let (mut server, mut out) = (proved_server("sha256"), Vec::new());
        let nonce = named("sha256", &[b'c'; 40]);
        server.advance(&challenge(nonce), &mut out).unwrap();
        let step = server.advance(message, &mut Vec::new());
        assert_eq!(step, Err(error), "{message:?}");
    }
}

// The client against a server that does not keep to the protocol.

fn nonce(bytes: &mut [u8]) {
    bytes.fill(b'n');
}

/// A client after step 2.
fn answered_client(digests: &str) -> Client {
    let rules = rules(digests);
    let asked = named(rules.digests.strongest().name(), &[b's'; 40]);
    let mut client = Client::new(rules);
    let step = client.advance(&challenge(asked), &mut nonce, &mut Vec::new());
    assert_eq!(step, Ok(Step::Continue));
    client
}

/// A client after step 4, and the challenge it made.
fn asking_client(digests: &str) -> (Client, Vec<u8>) {
    let (mut client, mut out) = (answered_client(digests), Vec::new());
    let step = client.advance(b"#WELCOME#", &mut nonce, &mut out);
    assert_eq!(step, Ok(Step::Continue));
    (client, said(&mut out)[b"#CHALLENGE#".len()..].to_vec())
}

#[test]
fn client_refuses_what_is_no_challenge() {
    let not_accepted = (challenge(named("sha384", &[b'c'; 40])), DigestNotAccepted);
    for (message, error) in no_challenges().into_iter().chain([not_accepted]) {
        let (mut client, mut out) = (Client::new(rules("sha256")), Vec::new());
        let step = client.advance(&message, &mut nonce, &mut out);
        assert_eq!((step, &out[..]), (Err(error), &b""[..]), "{message:?}");
    }
}

#[test]
fn client_refuses_what_is_no_welcome() {
    for (message, error) in NO_WELCOMES {
        let (mut client, mut out) = (answered_client("sha256"), Vec::new());
        let step = client.advance(message, &mut nonce, &mut out);
        assert_eq!((step, &out[..]), (Err(error), &b""[..]), "{message:?}");
    }
}

#[test]
fn client_asks_for_its_strongest_digest_and_plainly_for_md5() {
    assert_eq!(asking_client("md5").1, [b'n'; 20]);
    for digests in [
        "sha256",
        "md5,sha256",
        "sha384",
        "sha256,sha3_256",
        "sha384,sha3_384",
    ] {
        let strongest = rules(digests).digests.strongest();
        assert_eq!(
            asking_client(digests).1,
            named(strongest.name(), &[b'n'; 40])
        );
    }
}

#[test]
fn client_takes_a_right_response_in_each_form() {
    let key = Key::new(KEY).unwrap();
    let (_, asked) = asking_client("md5,sha256");
    let (md5, sha256) = (
        Digest::Md5.mac(&key, &asked),
        Digest::Sha256.mac(&key, &asked),
    );
    let right = [
        (md5.to_vec(), Digest::Md5),
        (named("md5", &md5), Digest::Md5),
        (named("sha256", &sha256), Digest::Sha256),
    ];
    for (response, digest) in right {
        let (mut client, mut out) = (asking_client("md5,sha256").0, Vec::new());
        let step = client.advance(&response, &mut nonce, &mut out);
        assert_eq!(step, Ok(Step::Passed(digest)));
        assert_eq!(said(&mut out), b"#WELCOME#");
    }
}

#[test]
fn client_refuses_every_other_response_and_says_so() {
    let key = Key::new(KEY).unwrap();
    let (_, asked) = asking_client("sha256");
    let (md5, right) = (
        Digest::Md5.mac(&key, &asked),
        Digest::Sha256.mac(&key, &asked),
    );
    let other = Key::new("宝塔镇河妖").unwrap();
    let refused = [
        (
            named("sha256", &Digest::Sha256.mac(&other, &asked)),
            Ok(Step::WrongKey),
        ),
        (named("sha256", &right[..31]), Ok(Step::WrongKey)),
        (named("sha256", &[]), Ok(Step::WrongKey)),
        (md5.to_vec(), Err(DigestNotAccepted)),
        (named("md5", &md5), Err(DigestNotAccepted)),
        (
            named("sha384", &Digest::Sha384.mac(&key, &asked)),
            Err(DigestNotAccepted),
        ),
        (named("sha1", &right[..20]), Err(DigestNotAccepted)),
        (right.to_vec(), Err(UnexpectedHandshakeMessage)),
        (Vec::new(), Err(UnexpectedHandshakeMessage)),
        (b"#WELCOME#".to_vec(), Err(UnexpectedHandshakeMessage)),
    ];
    for (response, end) in refused {
        let (mut client, mut out) = (asking_client("sha256").0, Vec::new());
        let step = client.advance(&response, &mut nonce, &mut out);
        assert_eq!((step, &out[..]), (end, FAILURE), "{response:?}");
        let after = client.advance(&named("sha256", &right), &mut nonce, &mut out);
        assert_eq!(after, Err(UnexpectedHandshakeMessage), "a second try");
    }
}

// Challenges handed back to the process that made them.

/// Hands `asked` to a fresh client as a server's challenge.
fn reflect(asked: &[u8], allow_own_challenges: bool) -> Result<Step, ProtocolError> {
    let mut client = Client::new(Rules {
        allow_own_challenges,
        ..rules("md5,sha256")
    });
    client.advance(&challenge(asked), &mut nonce, &mut Vec::new())
}

#[test]
fn a_client_answers_no_open_challenge_of_a_server_of_its_process() {
    let mut out = Vec::new();
    // A nonce that no other test here uses.
    let mut server = Server::new(&rules("sha256"), &mut |nonce| nonce.fill(b'1'), &mut out);
    let asked = said(&mut out)[b"#CHALLENGE#".len()..].to_vec();
    assert_eq!(reflect(&asked, false), Err(ReflectedChallenge));
    assert_eq!(reflect(&asked, true), Ok(Step::Continue));
    // Once answered, rightly or not, it is good for nothing.
    assert_eq!(server.advance(b"", &mut out), Ok(Step::WrongKey));
    assert_eq!(reflect(&asked, false), Ok(Step::Continue));
}

#[test]
fn a_client_answers_no_open_challenge_of_another_client_of_its_process() {
    let mut out = Vec::new();
    for digests in ["md5", "sha256"] {
        let mut first = answered_client(digests);
        let mut entropy = |nonce: &mut [u8]| nonce.fill(b'2');
        first.advance(b"#WELCOME#", &mut entropy, &mut out).unwrap();
        let asked = said(&mut out)[b"#CHALLENGE#".len()..].to_vec();
        assert_eq!(reflect(&asked, false), Err(ReflectedChallenge));
        drop(first);
        assert_eq!(reflect(&asked, false), Ok(Step::Continue));
    }
}

// The framing of strangers.

#[test]
fn a_handshake_message_has_at_most_256_bytes() {
    assert_eq!(HANDSHAKE_MESSAGE_BYTES_MAX, 256);
    let payload = 256;
    let header = Decoded::Header { header: 4, payload };
    assert_eq!(mutual::decode(&256i32.to_be_bytes()), Ok(header));
    let too_long = |len| Err(ProtocolError::MessageTooLong { len, max: 256 });
    assert_eq!(mutual::decode(&257i32.to_be_bytes()), too_long(257));
    let long = b"\xff\xff\xff\xff\0\0\0\0\0\0\x01\x01";
    assert_eq!(mutual::decode(long), too_long(257));
    let negative = Err(ProtocolError::NegativeLength(-2));
    assert_eq!(mutual::decode(&(-2i32).to_be_bytes()), negative);
}
