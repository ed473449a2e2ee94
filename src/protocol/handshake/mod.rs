//! Who may speak: a handshake proves that both sides hold the key before a command is read.

pub mod challenge;
mod issued;
mod key;
pub mod mutual;

use std::fmt;

use crate::error::ProtocolError;
use crate::protocol::framing::Decoded;
pub use key::{Digest, Digests, EmptyKey, Key, Mac};

/// Fills a buffer with random bytes. The core has no source of its own.
pub type Entropy<'a> = &'a mut dyn FnMut(&mut [u8]);

/// What one handshake message led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next message is awaited.
    Continue,
    /// Serving side: the peer has proved its key, and still wants ours proved to it.
    PeerProved,
    /// Both sides are satisfied: the very next byte belongs to the commands. The digest is the one
    /// with which the peer proved its key.
    Passed(Digest),
    /// Connecting side of a handshake in which nothing is proved to it: the very next byte belongs
    /// to the commands, if the server takes the answer. If not, it closes without a word.
    Answered,
    /// The peer's proof is wrong. Serving side: the caller decides when to say so, with
    /// [`AnyHandshake::refuse`], and then ends the connection. Connecting side: it has been said.
    WrongKey,
}

/// What a handshake is held under: which one, and with what.
#[derive(Clone, Debug)]
pub enum HandshakeRules {
    /// Both sides prove that they hold the key.
    Mutual(mutual::Rules),
    /// The client proves that it holds the key: `hmac` or `md5`.
    Challenge(challenge::Rules),
    /// Straight to the commands.
    None,
}

impl HandshakeRules {
    /// The handshake's name, as `--handshake` takes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mutual(_) => "mutual",
            Self::Challenge(rules) => rules.proof.name(),
            Self::None => "none",
        }
    }

    /// What both sides hold; `None` where nothing is proved. Datagrams, which no handshake can
    /// precede, are proved with it.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Mutual(rules) => Some(&rules.key),
            Self::Challenge(rules) => Some(&rules.key),
            Self::None => None,
        }
    }
}

impl fmt::Display for HandshakeRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One connection's handshake, whichever it is, on either side.
#[derive(Debug)]
pub enum AnyHandshake {
    /// The serving side of `mutual`.
    MutualServer(mutual::Server),
    /// The connecting side of `mutual`.
    MutualClient(mutual::Client),
    /// The serving side of `hmac` or `md5`.
    ChallengeServer(challenge::Server),
    /// The connecting side of `hmac` or `md5`.
    ChallengeClient(challenge::Client),
}

impl AnyHandshake {
    /// The serving side; `None` where there is nothing to prove. What it has to say first is
    /// appended to `out`.
    pub fn accept(rules: &HandshakeRules, entropy: Entropy<'_>, out: &mut Vec<u8>) -> Option<Self> {
        Some(match rules {
            HandshakeRules::None => return None,
            HandshakeRules::Mutual(rules) => {
                Self::MutualServer(mutual::Server::new(rules, entropy, out))
            }
            HandshakeRules::Challenge(rules) => {
                Self::ChallengeServer(challenge::Server::new(rules, entropy, out))
            }
        })
    }

    /// The connecting side; `None` where there is nothing to prove.
    #[must_use]
    pub fn connect(rules: &HandshakeRules) -> Option<Self> {
        Some(match rules.clone() {
            HandshakeRules::None => return None,
            HandshakeRules::Mutual(rules) => Self::MutualClient(mutual::Client::new(rules)),
            HandshakeRules::Challenge(rules) => {
                Self::ChallengeClient(challenge::Client::new(rules))
            }
        })
    }

    /// Looks for a whole handshake message at the front of `bytes`.
    ///
    /// # Errors
    /// A message longer than a stranger's may be.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, ProtocolError> {
        match self {
            Self::MutualServer(_) | Self::MutualClient(_) => mutual::decode(bytes),
            Self::ChallengeServer(server) => Ok(server.decode(bytes)),
            Self::ChallengeClient(client) => Ok(client.decode(bytes)),
        }
    }

    /// Takes one whole message and appends what is to be said to `out`.
    ///
    /// # Errors
    /// A message that this step of the protocol does not allow.
    pub fn advance(
        &mut self,
        message: &[u8],
        entropy: Entropy<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Step, ProtocolError> {
        match self {
            Self::MutualServer(server) => server.advance(message, out),
            Self::MutualClient(client) => client.advance(message, entropy, out),
            Self::ChallengeServer(server) => server.advance(message),
            Self::ChallengeClient(client) => client.advance(message, out),
        }
    }

    /// Appends what a peer with a wrong key is told, if it is told anything.
    pub fn refuse(&self, out: &mut Vec<u8>) {
        match self {
            Self::MutualServer(_) | Self::MutualClient(_) => mutual::refuse(out),
            Self::ChallengeServer(_) | Self::ChallengeClient(_) => {}
        }
    }
}
