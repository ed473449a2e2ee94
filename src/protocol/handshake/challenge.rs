//! `hmac` and `md5`: the client alone proves that it holds the key, with no framing and no words.
//!
//! ```text
//!   Server   ExpectResponse ──right──► passed        Client   ExpectChallenge ──► answered
//! ```
//!
//! | step | the server | the client |
//! |---|---|---|
//! | 1 | 10 random bytes | |
//! | 2 | | `hmac`: 16 bytes, HMAC-MD5 of them under the key; `md5`: 32 lower-case hexadecimal digits, MD5 of the key and then them |
//! | 3 | nothing if it is right; closes if not | the commands begin, perhaps in the same segment |
//!
//! Both lengths are fixed, so the byte behind the response is the first of the commands. Nothing
//! tells the client how it went, nor who it has answered: it is passed on its own word.

use std::fmt::Write as _;

use constant_time::CtEq as _;

use super::issued::{self, Issued};
use super::{Digest, Entropy, Key, Step};
use crate::error::ProtocolError;
use crate::protocol::framing::Decoded;

/// Random bytes that the server begins with. No other handshake here answers a challenge of this
/// length, so none of its answers can be passed off as one of another.
pub const CHALLENGE_BYTES: usize = 10;

/// What the client makes of key and challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The 16 bytes of HMAC-MD5 of the challenge under the key.
    Hmac,
    /// MD5 of the key followed by the challenge, in 32 lower-case hexadecimal digits. Weak: a hash
    /// over a secret is no MAC, and MD5 is fast to try keys with.
    Md5,
}

impl Proof {
    /// The handshake's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hmac => "hmac",
            Self::Md5 => "md5",
        }
    }

    /// The length of every response, in bytes.
    #[must_use]
    pub fn response_bytes(self) -> usize {
        match self {
            Self::Hmac => 16,
            Self::Md5 => 32,
        }
    }

    /// What a client that holds the key answers.
    #[must_use]
    pub fn response(self, key: &Key, challenge: &[u8]) -> Vec<u8> {
        match self {
            Self::Hmac => Digest::Md5.mac(key, challenge).to_vec(),
            Self::Md5 => hexadecimal(&key.md5_with(challenge)),
        }
    }

    /// Whether this is what a client that holds the key answers. How long that takes depends on
    /// the lengths alone.
    #[must_use]
    pub fn verify(self, key: &Key, challenge: &[u8], response: &[u8]) -> bool {
        match self {
            Self::Hmac => Digest::Md5.verify(key, challenge, response),
            Self::Md5 => self
                .response(key, challenge)
                .as_slice()
                .ct_eq(response)
                .to_bool(),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> Vec<u8> {
    let mut digits = String::new();
    for byte in bytes {
        // Writing to a `String` cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits.into_bytes()
}

/// What either side holds the handshake under.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What both sides must hold.
    pub key: Key,
    /// What the client makes of it.
    pub proof: Proof,
    /// Whether a client answers a challenge that this very process issued and still waits on; as
    /// in `mutual`.
    pub allow_own_challenges: bool,
}

impl Rules {
    /// Rules under which no challenge of one's own is answered.
    #[must_use]
    pub fn new(key: Key, proof: Proof) -> Self {
        Self {
            key,
            proof,
            allow_own_challenges: false,
        }
    }
}

/// The first `len` bytes, once they have come, are the message.
fn decode(bytes: &[u8], len: usize) -> Decoded {
    if bytes.len() < len {
        return Decoded::Incomplete;
    }
    Decoded::Message {
        payload: 0..len,
        wire: len,
    }
}

/// The serving side. It takes one response.
#[derive(Debug)]
pub struct Server {
    rules: Rules,
    issued: Option<Issued>,
}

impl Server {
    /// Step 1: appends a challenge to `out`.
    pub fn new(rules: &Rules, entropy: Entropy<'_>, out: &mut Vec<u8>) -> Self {
        let mut challenge = [0; CHALLENGE_BYTES];
        entropy(&mut challenge);
        out.extend_from_slice(&challenge);
        Self {
            rules: rules.clone(),
            issued: Some(Issued::new(&challenge)),
        }
    }

    /// Looks for a whole response at the front of `bytes`.
    #[must_use]
    pub fn decode(&self, bytes: &[u8]) -> Decoded {
        decode(bytes, self.rules.proof.response_bytes())
    }

    /// Takes the response. Neither verdict is told to the client.
    ///
    /// # Errors
    /// If one has been taken before.
    pub fn advance(&mut self, response: &[u8]) -> Result<Step, ProtocolError> {
        let issued = self.issued.take();
        let issued = issued.ok_or(ProtocolError::UnexpectedHandshakeMessage)?;
        let Rules { key, proof, .. } = &self.rules;
        Ok(match proof.verify(key, issued.challenge(), response) {
            true => Step::Passed(Digest::Md5),
            false => Step::WrongKey,
        })
    }
}

/// The connecting side. It takes one challenge.
#[derive(Debug)]
pub struct Client {
    rules: Option<Rules>,
}

impl Client {
    /// A client waits for the server to speak first.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules: Some(rules) }
    }

    /// Looks for a whole challenge at the front of `bytes`.
    #[must_use]
    pub fn decode(&self, bytes: &[u8]) -> Decoded {
        decode(bytes, CHALLENGE_BYTES)
    }

    /// Takes the challenge and appends the response to `out`.
    ///
    /// # Errors
    /// A challenge of this process itself, and one after the first.
    pub fn advance(&mut self, challenge: &[u8], out: &mut Vec<u8>) -> Result<Step, ProtocolError> {
        let rules = self.rules.take();
        let rules = rules.ok_or(ProtocolError::UnexpectedHandshakeMessage)?;
        if !rules.allow_own_challenges && issued::is_open(challenge) {
            return Err(ProtocolError::ReflectedChallenge);
        }
        out.extend_from_slice(&rules.proof.response(&rules.key, challenge));
        Ok(Step::Answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    /// Computed with Python's `hmac` and `hashlib`; the same stand in docs/PROTOCOL.md.
    #[test]
    fn the_responses_are_those_of_python() {
        let challenge: Vec<u8> = (0..10).collect();
        let key = key("天王盖地虎");
        let hmac = Proof::Hmac.response(&key, &challenge);
        assert_eq!(hexadecimal(&hmac), b"1aa68e839189213c5c09858b556eb42d");
        let md5 = Proof::Md5.response(&key, &challenge);
        assert_eq!(md5, b"3d884589cd2ebca897620664c1385277");
    }

    #[test]
    fn a_response_verifies_and_nothing_else_does() {
        for proof in [Proof::Hmac, Proof::Md5] {
            let right = proof.response(&key("key"), b"0123456789");
            assert_eq!(right.len(), proof.response_bytes());
            assert!(proof.verify(&key("key"), b"0123456789", &right));
            assert!(!proof.verify(&key("kez"), b"0123456789", &right));
            assert!(!proof.verify(&key("key"), b"0123456780", &right));
            assert!(!proof.verify(&key("key"), b"0123456789", &right[1..]));
            for at in 0..right.len() {
                let mut wrong = right.clone();
                // In the hexadecimal form this also turns a letter into its upper case.
                wrong[at] ^= 0x20;
                assert!(!proof.verify(&key("key"), b"0123456789", &wrong), "{at}");
            }
        }
    }

    #[test]
    fn each_side_takes_one_message() {
        let (mut out, mut entropy) = (Vec::new(), |bytes: &mut [u8]| bytes.fill(b'c'));
        let rules = Rules {
            allow_own_challenges: true,
            ..Rules::new(key("key"), Proof::Md5)
        };
        let mut server = Server::new(&rules, &mut entropy, &mut out);
        let challenge = std::mem::take(&mut out);
        assert_eq!(challenge, [b'c'; CHALLENGE_BYTES]);
        let mut client = Client::new(rules);
        assert_eq!(client.advance(&challenge, &mut out), Ok(Step::Answered));
        assert_eq!(server.advance(&out), Ok(Step::Passed(Digest::Md5)));
        let unexpected = Err(ProtocolError::UnexpectedHandshakeMessage);
        assert_eq!(client.advance(&challenge, &mut out), unexpected);
        assert_eq!(server.advance(&out), unexpected);
    }
}
