//! Who may speak: a handshake proves that both sides hold the key before a command is read.

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
    /// The peer's proof is wrong. Serving side: the caller decides when to say so, with
    /// [`AnyHandshake::refuse`], and then ends the connection. Connecting side: it has been said.
    WrongKey,
}

/// What a handshake is held under: which one, and with what.
#[derive(Clone, Debug)]
pub enum HandshakeRules {
    /// Both sides prove that they hold the key.
    Mutual(mutual::Rules),
    /// Straight to the commands.
    None,
}

impl HandshakeRules {
    /// The handshake's name, as `--handshake` takes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mutual(_) => "mutual",
            Self::None => "none",
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
}

impl AnyHandshake {
    /// The serving side; `None` where there is nothing to prove. What it has to say first is
    /// appended to `out`.
    pub fn accept(rules: &HandshakeRules, entropy: Entropy<'_>, out: &mut Vec<u8>) -> Option<Self> {
        match rules {
            HandshakeRules::None => None,
            HandshakeRules::Mutual(rules) => {
                Some(Self::MutualServer(mutual::Server::new(rules, entropy, out)))
            }
        }
    }

    /// The connecting side; `None` where there is nothing to prove.
    #[must_use]
    pub fn connect(rules: &HandshakeRules) -> Option<Self> {
        match rules {
            HandshakeRules::None => None,
            HandshakeRules::Mutual(rules) => {
                Some(Self::MutualClient(mutual::Client::new(rules.clone())))
            }
        }
    }

    /// Looks for a whole handshake message at the front of `bytes`.
    ///
    /// # Errors
    /// A message longer than a stranger's may be.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, ProtocolError> {
        match self {
            Self::MutualServer(_) | Self::MutualClient(_) => mutual::decode(bytes),
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
        }
    }

    /// Appends what a peer with a wrong key is told.
    pub fn refuse(&self, out: &mut Vec<u8>) {
        match self {
            Self::MutualServer(_) | Self::MutualClient(_) => mutual::refuse(out),
        }
    }
}
