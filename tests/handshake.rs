//! The handshakes between two who keep to them, each pair of settings in three deliveries.

#[path = "util/random.rs"]
mod random;
#[path = "util/seed.rs"]
mod seed;
#[path = "util/shared_key.rs"]
mod shared_key;

use std::mem;

use gateloop::error::ProtocolError::{self, DigestNotAccepted, KeyRefused};
use gateloop::protocol::framing::Decoded;
use gateloop::protocol::handshake::challenge::{self, Proof};
use gateloop::protocol::handshake::mutual::Rules;
use gateloop::protocol::handshake::{AnyHandshake, Digest, Digests, HandshakeRules, Key, Step};
use random::Random;
use seed::seed;
use shared_key::{FAILURE, KEY, rules};

enum Delivery {
    Whole,
    ByteByByte,
    Cuts(Random),
}

impl Delivery {
    fn all(random: &mut Random) -> [Self; 3] {
        [
            Self::Whole,
            Self::ByteByByte,
            Self::Cuts(Random(random.next())),
        ]
    }

    fn piece(&mut self, waiting: usize) -> usize {
        match self {
            Self::Whole => waiting,
            Self::ByteByByte => 1,
            Self::Cuts(random) => random.up_to(waiting),
        }
    }
}

struct Side {
    handshake: AnyHandshake,
    entropy: Random,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    steps: Vec<Step>,
    end: Option<Result<Step, ProtocolError>>,
}

impl Side {
    fn server(rules: Rules, seed: u64) -> Self {
        Self::accept(&HandshakeRules::Mutual(rules), seed)
    }

    fn client(rules: Rules, seed: u64) -> Self {
        Self::connect(&HandshakeRules::Mutual(rules), seed)
    }

    fn accept(rules: &HandshakeRules, seed: u64) -> Self {
        let (mut entropy, mut outbox) = (Random(seed), Vec::new());
        let server = AnyHandshake::accept(rules, &mut |nonce| entropy.fill(nonce), &mut outbox);
        Self::new(server.unwrap(), entropy, outbox)
    }

    fn connect(rules: &HandshakeRules, seed: u64) -> Self {
        let client = AnyHandshake::connect(rules);
        Self::new(client.unwrap(), Random(seed), Vec::new())
    }

    fn new(handshake: AnyHandshake, entropy: Random, outbox: Vec<u8>) -> Self {
        Self {
            handshake,
            entropy,
            inbox: Vec::new(),
            outbox,
            steps: Vec::new(),
            end: None,
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        while self.end.is_none() {
            let decoded = self.handshake.decode(&self.inbox).unwrap();
            let Decoded::Message { payload, wire } = decoded else {
                return;
            };
            let message = self.inbox[payload].to_vec();
            self.inbox.drain(..wire);
            let mut entropy = |nonce: &mut [u8]| self.entropy.fill(nonce);
            let step = self
                .handshake
                .advance(&message, &mut entropy, &mut self.outbox);
            match step {
                Ok(step @ (Step::Continue | Step::PeerProved)) => self.steps.push(step),
                end => self.end = Some(end),
            }
        }
    }
}

/// Carries bytes to and fro until nobody has anything to say.
fn converse(server: &mut Side, client: &mut Side, delivery: &mut Delivery) {
    while !server.outbox.is_empty() || !client.outbox.is_empty() {
        carry(server, client, delivery);
        carry(client, server, delivery);
    }
}

fn carry(from: &mut Side, to: &mut Side, delivery: &mut Delivery) {
    if !from.outbox.is_empty() {
        let piece = delivery.piece(from.outbox.len());
        let bytes: Vec<u8> = from.outbox.drain(..piece).collect();
        to.receive(&bytes);
    }
}

#[test]
fn every_pair_of_digest_sets_agrees_in_every_delivery() {
    let mut random = Random(seed());
    let sets: Vec<Digests> = (1..32)
        .map(|members| {
            let chosen = (0..5).filter(|at| members >> at & 1 == 1);
            let names: Vec<_> = chosen.map(|at: usize| Digest::ALL[at].name()).collect();
            names.join(",").parse().unwrap()
        })
        .collect();
    for (server_set, client_set) in sets.iter().flat_map(|s| sets.iter().map(move |c| (s, c))) {
        for mut delivery in Delivery::all(&mut random) {
            let mut server = Side::server(rules(&server_set.to_string()), random.next());
            let mut client = Side::client(rules(&client_set.to_string()), random.next());
            converse(&mut server, &mut client, &mut delivery);
            let asked = server_set.strongest();
            let context = format!("server {server_set}, client {client_set}");
            if client_set.contains(asked) {
                assert_eq!(server.end, Some(Ok(Step::Passed(asked))), "{context}");
                assert_eq!(
                    server.steps,
                    [Step::PeerProved, Step::Continue],
                    "{context}"
                );
                let asked = client_set.strongest();
                assert_eq!(client.end, Some(Ok(Step::Passed(asked))), "{context}");
                assert_eq!(client.steps, [Step::Continue, Step::Continue], "{context}");
            } else {
                assert_eq!(server.end, None, "{context}");
                assert_eq!(client.end, Some(Err(DigestNotAccepted)), "{context}");
            }
        }
    }
}

#[test]
fn bytes_behind_the_welcome_are_left_for_the_commands() {
    let mut random = Random(seed());
    for mut delivery in Delivery::all(&mut random) {
        let mut server = Side::server(rules("md5,sha256"), random.next());
        let mut client = Side::client(rules("md5,sha256"), random.next());
        while client.end.is_none() {
            let out = mem::take(&mut server.outbox);
            client.receive(&out);
            if client.end.is_none() {
                let out = mem::take(&mut client.outbox);
                server.receive(&out);
            }
        }
        client.outbox.extend_from_slice(b"\0\0\0\x02hi");
        converse(&mut server, &mut client, &mut delivery);
        assert_eq!(server.end, Some(Ok(Step::Passed(Digest::Sha256))));
        assert_eq!(server.inbox, b"\0\0\0\x02hi");
    }
}

#[test]
fn different_keys_end_at_the_server_which_says_so_when_it_is_told_to() {
    let mut random = Random(seed());
    for digests in ["md5", "sha256", "sha384", "sha3_256", "sha3_384"] {
        for mut delivery in Delivery::all(&mut random) {
            let other = Rules {
                key: Key::new("宝塔镇河妖").unwrap(),
                ..rules(digests)
            };
            let mut server = Side::server(rules(digests), random.next());
            let mut client = Side::client(other, random.next());
            converse(&mut server, &mut client, &mut delivery);
            assert_eq!(server.end, Some(Ok(Step::WrongKey)));
            assert_eq!((client.end, &client.inbox), (None, &Vec::new()));
            server.handshake.refuse(&mut server.outbox);
            assert_eq!(server.outbox, FAILURE);
            converse(&mut server, &mut client, &mut delivery);
            assert_eq!(client.end, Some(Err(KeyRefused)));
        }
    }
}

// Where the client alone proves its key.

/// Server and client, each with its key, after their conversation in this delivery.
fn challenged(proof: Proof, keys: [&str; 2], delivery: &mut Delivery, seed: u64) -> [Side; 2] {
    let [server, client] = keys.map(|key| {
        HandshakeRules::Challenge(challenge::Rules {
            allow_own_challenges: true,
            ..challenge::Rules::new(Key::new(key).unwrap(), proof)
        })
    });
    let (mut server, mut client) = (Side::accept(&server, seed), Side::connect(&client, 0));
    assert_eq!(server.outbox.len(), challenge::CHALLENGE_BYTES);
    while client.end.is_none() {
        carry(&mut server, &mut client, delivery);
    }
    // Nothing is waited for: the first command leaves with the response.
    assert_eq!(client.outbox.len(), proof.response_bytes());
    client.outbox.extend_from_slice(b"\0\0\0\x02hi");
    converse(&mut server, &mut client, delivery);
    assert_eq!(client.end, Some(Ok(Step::Answered)));
    assert_eq!(
        (&server.outbox[..], &client.inbox[..]),
        (&b""[..], &b""[..])
    );
    [server, client]
}

#[test]
fn a_response_passes_and_the_bytes_glued_to_it_are_left_for_the_commands() {
    let mut random = Random(seed());
    for proof in [Proof::Hmac, Proof::Md5] {
        for mut delivery in Delivery::all(&mut random) {
            let [server, _] = challenged(proof, [KEY; 2], &mut delivery, random.next());
            assert_eq!(server.end, Some(Ok(Step::Passed(Digest::Md5))));
            assert_eq!(server.inbox, b"\0\0\0\x02hi");
        }
    }
}

#[test]
fn another_response_ends_at_the_server_which_has_no_word_for_it() {
    let mut random = Random(seed());
    for proof in [Proof::Hmac, Proof::Md5] {
        for mut delivery in Delivery::all(&mut random) {
            let keys = [KEY, "宝塔镇河妖"];
            let [mut server, _] = challenged(proof, keys, &mut delivery, random.next());
            assert_eq!(server.end, Some(Ok(Step::WrongKey)));
            server.handshake.refuse(&mut server.outbox);
            assert_eq!(server.outbox, b"");
        }
    }
}

#[test]
fn the_handshake_none_has_nothing_to_say() {
    let mut out = Vec::new();
    assert!(AnyHandshake::accept(&HandshakeRules::None, &mut |_| (), &mut out).is_none());
    assert!(AnyHandshake::connect(&HandshakeRules::None).is_none());
    assert_eq!(out, b"");
}
