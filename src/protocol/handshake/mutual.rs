//! `mutual`: both sides prove that they hold the key, as in Python's `multiprocessing.connection`.
//!
//! ```text
//!   Server   ExpectResponse ──right──► ExpectChallenge ──answered──► ExpectWelcome ──► passed
//!   Client   ExpectChallenge ──answered──► ExpectWelcome ──challenged──► ExpectResponse ──► passed
//! ```
//!
//! | step | the server | the client |
//! |---|---|---|
//! | 1 | `#CHALLENGE#` and a nonce | |
//! | 2 | | its MAC of it |
//! | 3 | `#WELCOME#` or `#FAILURE#` | |
//! | 4 | | `#CHALLENGE#` and a nonce of its own |
//! | 5 | its MAC of it | |
//! | 6 | | `#WELCOME#` or `#FAILURE#` |
//! | 7 | the commands begin | |
//!
//! Every message is framed `i32be`. A challenge names the digest it asks for, `{sha256}` and
//! then the nonce, and the MAC covers that name, so nobody in the middle can talk it down. A
//! Python up to 3.11 knows no names: it sends 20 bytes and answers 16 raw bytes of HMAC-MD5.
//! Facts: `deliver_challenge` and `answer_challenge` in CPython's
//! `Lib/multiprocessing/connection.py`, 3.11 and 3.12.

use std::mem;

use super::issued::{self, Issued};
use super::{Digest, Digests, Entropy, Key, Step};
use crate::error::ProtocolError;
use crate::limits::HANDSHAKE_MESSAGE_BYTES_MAX;
use crate::protocol::framing::{Decoded, Framing, LengthPrefix};

const CHALLENGE: &[u8] = b"#CHALLENGE#";
const WELCOME: &[u8] = b"#WELCOME#";
const FAILURE: &[u8] = b"#FAILURE#";

/// A challenge of exactly this length names no digest: it asks for HMAC-MD5. None is shorter.
const PLAIN_CHALLENGE_BYTES: usize = 20;
/// A response of exactly this length names no digest: it is HMAC-MD5.
const PLAIN_RESPONSE_BYTES: usize = 16;
/// Random bytes behind the name of a digest.
const NONCE_BYTES: usize = 40;

/// What either side holds the handshake under.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What both sides must hold.
    pub key: Key,
    /// The digests accepted from the peer as proof; the strongest is the one asked for. A client
    /// also answers in no other.
    pub digests: Digests,
    /// Whether a client answers a challenge that this very process issued and still waits on.
    /// `false` keeps somebody in the middle from having our client answer for him. `true` is for
    /// a program that knowingly talks to a server of its own, such as a test or a benchmark.
    pub allow_own_challenges: bool,
}

impl Rules {
    /// Rules with the default digests, answering no challenge of one's own.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self {
            key,
            digests: Digests::default(),
            allow_own_challenges: false,
        }
    }
}

/// Looks for a whole handshake message at the front of `bytes`.
///
/// # Errors
/// A length that is negative or over [`HANDSHAKE_MESSAGE_BYTES_MAX`].
pub fn decode(bytes: &[u8]) -> Result<Decoded, ProtocolError> {
    LengthPrefix.decode(bytes, false, HANDSHAKE_MESSAGE_BYTES_MAX)
}

/// Appends what a peer with a wrong key is told.
pub fn refuse(out: &mut Vec<u8>) {
    send(&[FAILURE], out);
}

/// The serving side. After an error, a wrong key or the end it takes no message any more.
#[derive(Debug)]
pub struct Server {
    rules: Rules,
    state: ServerState,
}

#[derive(Debug)]
enum ServerState {
    ExpectResponse(Issued),
    ExpectChallenge(Digest),
    ExpectWelcome(Digest),
    Over,
}

impl Server {
    /// Step 1: appends a challenge to `out`.
    pub fn new(rules: &Rules, entropy: Entropy<'_>, out: &mut Vec<u8>) -> Self {
        let issued = challenge_named(rules.digests.strongest(), entropy, out);
        Self {
            rules: rules.clone(),
            state: ServerState::ExpectResponse(issued),
        }
    }

    /// Takes the client's next message; what is to be said to it is appended to `out`. A wrong
    /// key is not told: the caller does that when it sees fit, with [`refuse`].
    ///
    /// # Errors
    /// A challenge that is malformed, too short or names a digest that is not answered here; and,
    /// instead of the client's welcome, its refusal or anything else.
    pub fn advance(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<Step, ProtocolError> {
        match mem::replace(&mut self.state, ServerState::Over) {
            ServerState::ExpectResponse(issued) => {
                let Ok(Some(digest)) = verify(&self.rules, &issued, message) else {
                    return Ok(Step::WrongKey);
                };
                send(&[WELCOME], out);
                self.state = ServerState::ExpectChallenge(digest);
                Ok(Step::PeerProved)
            }
            ServerState::ExpectChallenge(digest) => {
                // Who asks by name has proved its key and may ask in any; the settings are about
                // proofs that are taken. Only the plain form can do no better than md5.
                let challenge = read_challenge(message)?;
                respond(&self.rules, Digests::ALL, challenge, out)?;
                self.state = ServerState::ExpectWelcome(digest);
                Ok(Step::Continue)
            }
            ServerState::ExpectWelcome(digest) => {
                expect_welcome(message)?;
                Ok(Step::Passed(digest))
            }
            ServerState::Over => Err(ProtocolError::UnexpectedHandshakeMessage),
        }
    }
}

/// The connecting side. After an error, a wrong key or the end it takes no message any more.
#[derive(Debug)]
pub struct Client {
    rules: Rules,
    state: ClientState,
}

#[derive(Debug)]
enum ClientState {
    ExpectChallenge,
    ExpectWelcome,
    ExpectResponse(Issued),
    Over,
}

impl Client {
    /// A client waits for the server to speak first.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: ClientState::ExpectChallenge,
        }
    }

    /// Takes the server's next message; what is to be said to it is appended to `out`, also where
    /// that is a refusal.
    ///
    /// # Errors
    /// A challenge that is malformed, too short, of this process itself or names a digest that is
    /// not answered here; instead of the server's welcome, its refusal or anything else; a response
    /// that is malformed or made with a digest that is not accepted.
    pub fn advance(
        &mut self,
        message: &[u8],
        entropy: Entropy<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Step, ProtocolError> {
        match mem::replace(&mut self.state, ClientState::Over) {
            ClientState::ExpectChallenge => {
                let challenge = read_challenge(message)?;
                if !self.rules.allow_own_challenges && issued::is_open(challenge) {
                    return Err(ProtocolError::ReflectedChallenge);
                }
                respond(&self.rules, self.rules.digests, challenge, out)?;
                self.state = ClientState::ExpectWelcome;
                Ok(Step::Continue)
            }
            ClientState::ExpectWelcome => {
                expect_welcome(message)?;
                let issued = match self.rules.digests.strongest() {
                    Digest::Md5 => challenge_plain(entropy, out),
                    digest => challenge_named(digest, entropy, out),
                };
                self.state = ClientState::ExpectResponse(issued);
                Ok(Step::Continue)
            }
            ClientState::ExpectResponse(issued) => {
                let verdict = verify(&self.rules, &issued, message);
                let Ok(Some(digest)) = verdict else {
                    refuse(out);
                    return verdict.map(|_| Step::WrongKey);
                };
                send(&[WELCOME], out);
                Ok(Step::Passed(digest))
            }
            ClientState::Over => Err(ProtocolError::UnexpectedHandshakeMessage),
        }
    }
}

/// Steps 1 and 4.
fn challenge_named(digest: Digest, entropy: Entropy<'_>, out: &mut Vec<u8>) -> Issued {
    let mut nonce = [0; NONCE_BYTES];
    entropy(&mut nonce);
    issue(
        &[b"{", digest.name().as_bytes(), b"}", &nonce].concat(),
        out,
    )
}

/// Step 4 by one who takes no answer but md5, as a Python up to 3.11 does it.
fn challenge_plain(entropy: Entropy<'_>, out: &mut Vec<u8>) -> Issued {
    let mut nonce = [0; PLAIN_CHALLENGE_BYTES];
    entropy(&mut nonce);
    issue(&nonce, out)
}

fn issue(challenge: &[u8], out: &mut Vec<u8>) -> Issued {
    send(&[CHALLENGE, challenge], out);
    Issued::new(challenge)
}

fn read_challenge(message: &[u8]) -> Result<&[u8], ProtocolError> {
    match message.strip_prefix(CHALLENGE) {
        None => Err(ProtocolError::UnexpectedHandshakeMessage),
        Some(challenge) if challenge.len() < PLAIN_CHALLENGE_BYTES => {
            Err(ProtocolError::ChallengeTooShort)
        }
        Some(challenge) => Ok(challenge),
    }
}

/// Steps 2 and 5. `named` are the digests that a challenge may ask for by name.
fn respond(
    rules: &Rules,
    named: Digests,
    challenge: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    if challenge.len() == PLAIN_CHALLENGE_BYTES {
        let digest = among(rules.digests, Digest::Md5)?;
        send(&[&digest.mac(&rules.key, challenge)], out);
    } else {
        let digest = among(named, split_name(challenge)?.0)?;
        let mac = digest.mac(&rules.key, challenge);
        send(&[b"{", digest.name().as_bytes(), b"}", &mac], out);
    }
    Ok(())
}

/// Steps 3 and 6: the digest with which the peer has proved its key; `None` if its MAC is wrong.
fn verify(
    rules: &Rules,
    issued: &Issued,
    response: &[u8],
) -> Result<Option<Digest>, ProtocolError> {
    let (digest, mac) = match response.len() {
        PLAIN_RESPONSE_BYTES => (Digest::Md5, response),
        _ => split_name(response)?,
    };
    let digest = among(rules.digests, digest)?;
    let right = digest.verify(&rules.key, issued.challenge(), mac);
    Ok(right.then_some(digest))
}

/// Splits `{NAME}` from what follows it.
fn split_name(message: &[u8]) -> Result<(Digest, &[u8]), ProtocolError> {
    let Some(rest) = message.strip_prefix(b"{") else {
        return Err(ProtocolError::UnexpectedHandshakeMessage);
    };
    let named = |digest: Digest| {
        let rest = rest.strip_prefix(digest.name().as_bytes())?;
        Some((digest, rest.strip_prefix(b"}")?))
    };
    let known = Digest::ALL.into_iter().find_map(named);
    known.ok_or(ProtocolError::DigestNotAccepted)
}

fn among(digests: Digests, digest: Digest) -> Result<Digest, ProtocolError> {
    if digests.contains(digest) {
        Ok(digest)
    } else {
        Err(ProtocolError::DigestNotAccepted)
    }
}

fn expect_welcome(message: &[u8]) -> Result<(), ProtocolError> {
    match message {
        WELCOME => Ok(()),
        FAILURE => Err(ProtocolError::KeyRefused),
        _ => Err(ProtocolError::UnexpectedHandshakeMessage),
    }
}

fn send(parts: &[&[u8]], out: &mut Vec<u8>) {
    LengthPrefix.encode_with(out, |out| {
        for part in parts {
            out.extend_from_slice(part);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(key: &str) -> Rules {
        Rules {
            allow_own_challenges: true,
            ..Rules::new(Key::new(key).unwrap())
        }
    }

    /// Takes the one message that `out` holds, without its header.
    fn take(out: &mut Vec<u8>) -> Vec<u8> {
        let message = decode(out).unwrap();
        let Decoded::Message { payload, wire } = message else {
            panic!("{message:?} in {out:?}");
        };
        assert_eq!(wire, out.len());
        mem::take(out)[payload].to_vec()
    }

    #[test]
    fn server_and_client_convince_each_other() {
        let mut out = Vec::new();
        let mut server = Server::new(&rules("key"), &mut |nonce| nonce.fill(b'1'), &mut out);
        let mut client = Client::new(rules("key"));
        let mut entropy = |nonce: &mut [u8]| nonce.fill(b'2');

        let challenge = take(&mut out);
        assert_eq!(
            challenge,
            [b"#CHALLENGE#{sha256}", &[b'1'; 40][..]].concat()
        );
        let step = client.advance(&challenge, &mut entropy, &mut out);
        assert_eq!(step, Ok(Step::Continue));
        let response = take(&mut out);
        assert_eq!((&response[..8], response.len()), (&b"{sha256}"[..], 40));
        assert_eq!(server.advance(&response, &mut out), Ok(Step::PeerProved));
        let welcome = take(&mut out);
        assert_eq!(welcome, b"#WELCOME#");
        let step = client.advance(&welcome, &mut entropy, &mut out);
        assert_eq!(step, Ok(Step::Continue));
        let challenge = take(&mut out);
        assert_eq!(
            challenge,
            [b"#CHALLENGE#{sha256}", &[b'2'; 40][..]].concat()
        );
        assert_eq!(server.advance(&challenge, &mut out), Ok(Step::Continue));
        let response = take(&mut out);
        let passed = Ok(Step::Passed(Digest::Sha256));
        assert_eq!(client.advance(&response, &mut entropy, &mut out), passed);
        let welcome = take(&mut out);
        assert_eq!(server.advance(&welcome, &mut out), passed);
        assert_eq!(out, b"");
    }

    #[test]
    fn neither_side_takes_a_message_after_the_end() {
        let unexpected = Err(ProtocolError::UnexpectedHandshakeMessage);
        let mut out = Vec::new();
        let mut server = Server::new(&rules("key"), &mut |_| (), &mut out);
        assert_eq!(server.advance(b"", &mut out), Ok(Step::WrongKey));
        assert_eq!(server.advance(WELCOME, &mut out), unexpected);
        let mut client = Client::new(rules("key"));
        assert_eq!(client.advance(b"", &mut |_| (), &mut out), unexpected);
        let challenge = [CHALLENGE, &[0; PLAIN_CHALLENGE_BYTES]].concat();
        assert_eq!(
            client.advance(&challenge, &mut |_| (), &mut out),
            unexpected
        );
    }
}
