//! The key that both sides of a handshake share, and the rules around it.

use gateloop::protocol::handshake::Key;
use gateloop::protocol::handshake::mutual::Rules;

pub const KEY: &str = "天王盖地虎";
/// What who is refused reads, framed.
pub const FAILURE: &[u8] = b"\0\0\0\x09#FAILURE#";

/// Accepts these digests; both sides of a test live in one process.
pub fn rules(digests: &str) -> Rules {
    Rules {
        digests: digests.parse().expect("names of digests"),
        allow_own_challenges: true,
        ..Rules::new(Key::new(KEY).expect("a key"))
    }
}
