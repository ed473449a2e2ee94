//! One whole handshake, both sides of it, in memory: what a new client costs.

use std::hint::black_box;
use std::mem;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gateloop::limits::Limits;
use gateloop::protocol::connection::{Connection, Event};
use gateloop::protocol::handshake::challenge::{self, Proof};
use gateloop::protocol::handshake::mutual;
use gateloop::protocol::{Digest, Digests, FramingKind, HandshakeRules, Key};

/// Takes in what the other side has said; answers into `out`.
fn take_in(side: &mut Connection, said: &[u8], limits: &Limits, out: &mut Vec<u8>) {
    let mut at = 0;
    let mut entropy = |nonce: &mut [u8]| nonce.fill(7);
    while let Event::Handshake { wire, .. } = side
        .advance(&said[at..], limits, &mut entropy, out)
        .expect("a handshake that is right")
    {
        at += wire;
    }
}

fn handshake(c: &mut Criterion) {
    let mut group = c.benchmark_group("handshake");
    let limits = Limits::default();
    let key = || Key::new("a key of sixteen bytes or more").expect("a key");
    let mutual = Digest::ALL.map(|digest| {
        let rules = HandshakeRules::Mutual(mutual::Rules {
            digests: Digests::from(digest),
            allow_own_challenges: true,
            ..mutual::Rules::new(key())
        });
        (BenchmarkId::new("mutual", digest), rules)
    });
    let challenge = [Proof::Hmac, Proof::Md5].map(|proof| {
        let rules = HandshakeRules::Challenge(challenge::Rules {
            allow_own_challenges: true,
            ..challenge::Rules::new(key(), proof)
        });
        (BenchmarkId::from_parameter(proof.name()), rules)
    });
    for (id, rules) in mutual.into_iter().chain(challenge) {
        let (mut said, mut answer) = (Vec::new(), Vec::new());
        group.bench_function(id, |b| {
            b.iter(|| {
                let framing = FramingKind::I32Be;
                let mut entropy = |nonce: &mut [u8]| nonce.fill(8);
                let mut server = Connection::accept(&rules, framing, &mut entropy, &mut said);
                let mut client = Connection::connect(&rules, framing);
                while !said.is_empty() {
                    take_in(&mut client, &said, &limits, &mut answer);
                    said.clear();
                    take_in(&mut server, &answer, &limits, &mut said);
                    answer.clear();
                }
                assert!(!server.is_stranger() && !client.is_stranger());
                black_box(mem::size_of_val(&server))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, handshake);
criterion_main!(benches);
