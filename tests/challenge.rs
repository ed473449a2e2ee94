//! The handshakes `hmac` and `md5` over real sockets: whoever answers the challenge is served,
//! however his answer comes; whoever does not is shown out without a word.

#![cfg(feature = "cli")]

mod util;

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use gateloop::address::Address;
use gateloop::client::{self, Client, Error};
use gateloop::error::{CloseReason, ProtocolError};
use gateloop::limits::PENALTY_FIRST;
use gateloop::protocol::handshake::challenge::{CHALLENGE_BYTES, Proof, Rules};
use gateloop::protocol::{HandshakeRules, Key};
use gateloop::server::Config;
use gateloop::service::{Echo, rpc::Rpc};
use serde_json::Value;
use util::cli::{assert_error, gateloop_with_key, serving_with_key};
use util::random::Random;
use util::seed::seed;
use util::server::{Raw, TestServer, frame, open_config};
use util::{Serving, eventually, gateloop};

const CHINESE_KEY: &str = "天王盖地虎";
const PROOFS: [Proof; 2] = [Proof::Hmac, Proof::Md5];

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

fn config(proof: Proof) -> Config {
    Config {
        handshake: HandshakeRules::Challenge(Rules::new(key(CHINESE_KEY), proof)),
        ..open_config()
    }
}

fn start(proof: Proof) -> TestServer {
    TestServer::start(config(proof), Echo)
}

/// Connects and takes the challenge; what answers it under this key.
fn challenged(server: &TestServer, proof: Proof, of: &str) -> (Raw, Vec<u8>) {
    let mut client = server.connect();
    let challenge = client.recv(CHALLENGE_BYTES);
    let response = proof.response(&key(of), &challenge);
    (client, response)
}

/// A client in this process, to a server in it.
fn client(server: &TestServer, proof: Proof, of: &str, own: bool) -> Result<Client, Error> {
    let rules = Rules {
        allow_own_challenges: own,
        ..Rules::new(key(of), proof)
    };
    let config = client::Config::new(HandshakeRules::Challenge(rules));
    Client::connect(&Address::Tcp(server.address), config)
}

// Who is let in.

#[test]
fn an_answer_is_taken_whole_in_pieces_and_with_commands_behind_it() {
    let mut random = Random(seed());
    let commands = [frame(b"first"), frame(b""), frame(&[7; 70_000])].concat();
    for proof in PROOFS {
        let server = start(proof);
        for delivery in 0..4 {
            let (mut client, response) = challenged(&server, proof, CHINESE_KEY);
            let said = [response.as_slice(), &commands].concat();
            let mut rest = said.as_slice();
            while !rest.is_empty() {
                let piece = match delivery {
                    0 => rest.len(),
                    1 if rest.len() > commands.len() => 1,
                    2 if rest.len() > commands.len() => response.len(),
                    1 | 2 => rest.len(),
                    _ => random.up_to(rest.len()),
                };
                client.send(&rest[..piece]);
                rest = &rest[piece..];
            }
            assert!(client.recv(commands.len()) == commands, "{proof:?}");
        }
        eventually("each command is counted", || {
            (server.stats.messages.load(Relaxed) == 4 * 3).then_some(())
        });
    }
}

#[test]
fn our_own_client_passes_and_whoami_tells_how() {
    for (proof, name) in [(Proof::Hmac, "hmac"), (Proof::Md5, "md5")] {
        let server = TestServer::start(config(proof), Rpc::new());
        let mut client = client(&server, proof, CHINESE_KEY, true).expect("the right key");
        let request = br#"{"jsonrpc":"2.0","id":1,"method":"whoami"}"#;
        client.send(request).expect("a server that reads");
        let answer = client.recv().expect("an answer").expect("an answer");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(answer["result"]["handshake"], name);
        assert_eq!(answer["result"]["digest"], "md5");
        // What ends after an answer has not refused the key.
        client.shutdown_write().expect("a connection");
        assert!(matches!(client.recv(), Ok(None)));
    }
}

// Who is not.

/// Sends a wrong answer; how long the server takes to close.
fn wait_for_refusal(server: &TestServer, proof: Proof) -> Duration {
    let (mut client, response) = challenged(server, proof, "another key");
    let sent = Instant::now();
    client.send(&[response, frame(b"a command")].concat());
    assert_eq!(client.recv_to_end(), b"", "not a word");
    // Both ends count in whole milliseconds.
    sent.elapsed() + Duration::from_millis(1)
}

#[test]
fn a_wrong_answer_is_closed_on_without_a_word_later_each_time() {
    for proof in PROOFS {
        let server = start(proof);
        for doubled in [1, 2] {
            let waited = wait_for_refusal(&server, proof);
            assert!(waited >= PENALTY_FIRST * doubled, "{waited:?}, {doubled}");
        }
        // A right one is not held up, and clears what the wrong ones have collected.
        let (mut right, response) = challenged(&server, proof, CHINESE_KEY);
        right.send(&response);
        right.echo(b"let in");
        let again = wait_for_refusal(&server, proof);
        assert!(again < PENALTY_FIRST * 4, "{again:?}");
        server.wait_for_closes(CloseReason::WrongKey, 3);
        assert_eq!(server.stats.messages.load(Relaxed), 1);
    }
}

#[test]
fn an_answer_must_be_right_to_the_letter() {
    let server = start(Proof::Md5);
    for spoil in [
        |response: &mut Vec<u8>| response.make_ascii_uppercase(),
        |response: &mut Vec<u8>| response[31] = b' ',
        |response: &mut Vec<u8>| response.insert(0, b'0'),
    ] {
        let (mut client, right) = loop {
            let (client, response) = challenged(&server, Proof::Md5, CHINESE_KEY);
            // One without a letter is the same in upper case.
            if response.iter().any(u8::is_ascii_lowercase) {
                break (client, response);
            }
        };
        let mut response = right;
        spoil(&mut response);
        client.send(&response);
        assert_eq!(client.recv_to_end(), b"");
    }
    server.wait_for_closes(CloseReason::WrongKey, 3);
}

#[test]
fn an_answer_is_good_for_its_own_challenge_alone() {
    for proof in PROOFS {
        let server = start(proof);
        let (_first, response) = challenged(&server, proof, CHINESE_KEY);
        let (mut second, _) = challenged(&server, proof, CHINESE_KEY);
        second.send(&response);
        assert_eq!(second.recv_to_end(), b"");
        drop(second);
        server.wait_for_closes(CloseReason::WrongKey, 1);
    }
}

#[test]
fn who_leaves_inside_the_answer_is_counted_as_that() {
    for proof in PROOFS {
        let server = start(proof);
        for (n, sent) in [0, 1, proof.response_bytes() - 1].into_iter().enumerate() {
            let (mut client, response) = challenged(&server, proof, CHINESE_KEY);
            client.send(&response[..sent]);
            client.shutdown_write();
            assert_eq!(client.recv_to_end(), b"");
            server.wait_for_closes(CloseReason::PeerLeftHandshake, n as u64 + 1);
        }
        server.wait_until_empty();
    }
}

#[test]
fn no_byte_of_an_answer_renews_its_time() {
    const TIME: Duration = Duration::from_millis(200);
    for proof in PROOFS {
        let mut config = config(proof);
        config.limits.handshake_timeout = TIME;
        let server = TestServer::start(config, Echo);
        let connected = Instant::now();
        let (mut client, response) = challenged(&server, proof, CHINESE_KEY);
        let tick = Some(Duration::from_millis(20));
        client.0.set_read_timeout(tick).expect("a time-out");
        let mut slowly = response[..response.len() - 1].iter();
        while client.is_open() {
            // When there is no byte left but the last, it says nothing more.
            slowly
                .next()
                .into_iter()
                .for_each(|&byte| client.send(&[byte]));
        }
        assert!(connected.elapsed() + Duration::from_millis(1) >= TIME);
        drop(client);
        server.wait_for_closes(CloseReason::HandshakeTimeout, 1);
    }
}

#[test]
fn the_oldest_stranger_makes_room_for_one_more() {
    for proof in PROOFS {
        let mut config = config(proof);
        config.limits.strangers_max = 2;
        let server = TestServer::start(config, Echo);
        let (mut known, response) = challenged(&server, proof, CHINESE_KEY);
        known.send(&response);
        known.echo(b"a stranger no more");
        let mut strangers = [(); 3].map(|()| challenged(&server, proof, CHINESE_KEY).0);
        strangers[0].wait_for_end();
        server.wait_for_closes(CloseReason::StrangerEvicted, 1);
        assert!(strangers[1..].iter().all(Raw::is_silent));
        known.echo(b"still there");
    }
}

// Our own client, refused or asked by the wrong one.

#[test]
fn our_own_client_says_how_a_refusal_looks() {
    for proof in PROOFS {
        let server = start(proof);
        let mut client = client(&server, proof, "another key", true).expect("nothing is told yet");
        let refused = client.recv();
        assert!(matches!(refused, Err(Error::Unanswered)), "{refused:?}");
        drop(client);
        server.wait_for_closes(CloseReason::WrongKey, 1);
    }
}

#[test]
fn our_own_client_answers_no_challenge_of_its_own_process() {
    for proof in PROOFS {
        let server = start(proof);
        let reflected = client(&server, proof, CHINESE_KEY, false);
        assert!(
            matches!(
                reflected,
                Err(Error::Protocol(ProtocolError::ReflectedChallenge))
            ),
            "{reflected:?}"
        );
        server.wait_for_closes(CloseReason::PeerLeftHandshake, 1);
    }
}

// The binary.

#[test]
fn serve_and_call_speak_both() {
    for (handshake, warns) in [("hmac", false), ("md5", true)] {
        let serving = serving_with_key(&["--handshake", handshake]);
        let call = ["call", serving.address(), "ping", "--handshake", handshake];
        let called = gateloop_with_key(&call);
        assert_eq!((called.code, &*called.stdout), (Some(0), "\"pong\"\n"));
        let refused = util::run(gateloop().args(call).env("GATELOOP_AUTHKEY", "wrong"));
        let why = "closed without a word, which is how this handshake refuses a key";
        assert_error(&refused, 1, why);
        let log = serving.stop().stderr;
        assert_eq!(log.contains("--handshake md5 is weak"), warns, "{log}");
    }
}

#[test]
fn both_may_listen_everywhere_and_make_up_a_key_that_is_not_for_python() {
    for handshake in ["hmac", "md5"] {
        let args = ["serve", "--listen", "0.0.0.0:0", "--handshake", handshake];
        let serving = Serving::from_command(gateloop().args(args));
        assert!(serving.made_up_key().is_some());
        let stdout = serving.process.stdout();
        assert!(!stdout.contains("multiprocessing"), "{stdout}");
    }
}

#[test]
fn digests_without_md5_cannot_go_with_them() {
    for handshake in ["hmac", "md5"] {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--handshake", handshake];
        let strict = [&serve[..], &["--digests", "sha256"]].concat();
        assert_error(&gateloop_with_key(&strict), 2, "--digests leaves out");
    }
    assert_error(
        &util::run(gateloop().args(["call", "127.0.0.1:1", "ping", "--handshake", "hmac"])),
        2,
        "no key",
    );
}
