//! The key, the digests, and the proof of the one under the other: HMAC, RFC 2104.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac as _, SimpleHmac};
use md5::{Digest as _, Md5};
use sha2::{Sha256, Sha384};
use sha3::{Sha3_256, Sha3_384};
use zeroize::Zeroizing;

use crate::limits::KEY_BYTES_WARN;

/// What both sides know and nobody else: a byte string of any length but 0. A clone shares the
/// bytes; the last one to go overwrites them with zeros.
#[derive(Clone)]
pub struct Key(Arc<Zeroizing<Vec<u8>>>);

impl Key {
    /// Takes the key's bytes. Those of a key given as text are its UTF-8.
    ///
    /// # Errors
    /// [`EmptyKey`]: HMAC would take it, but everybody knows it.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, EmptyKey> {
        let bytes = Zeroizing::new(bytes.into());
        if bytes.is_empty() {
            return Err(EmptyKey);
        }
        Ok(Self(Arc::new(bytes)))
    }

    /// Whether the key is so short that it deserves a warning, see [`KEY_BYTES_WARN`].
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.len() < KEY_BYTES_WARN
    }

    /// MD5 of the key followed by `message`.
    pub(super) fn md5_with(&self, message: &[u8]) -> [u8; 16] {
        let hash = Md5::new().chain_update(&**self.0).chain_update(message);
        hash.finalize().into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A key of no bytes was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyKey;

impl fmt::Display for EmptyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key is empty, so everybody knows it: give it at least one byte")
    }
}

impl std::error::Error for EmptyKey {}

/// A hash function under HMAC. The names, and that there are these five, are those of
/// `_ALLOWED_DIGESTS` in CPython's `Lib/multiprocessing/connection.py`, 3.12 and later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// 16 bytes; all that a Python up to 3.11 knows.
    Md5,
    /// 32 bytes; what a Python from 3.12 on asks for.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 32 bytes.
    Sha3_256,
    /// 48 bytes.
    Sha3_384,
}

impl Digest {
    /// Every digest, the strongest first: the longer MAC, then the younger function.
    pub const ALL: [Self; 5] = [
        Self::Sha3_384,
        Self::Sha384,
        Self::Sha3_256,
        Self::Sha256,
        Self::Md5,
    ];

    /// The digest's name on the wire and in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha3_256 => "sha3_256",
            Self::Sha3_384 => "sha3_384",
        }
    }

    /// The HMAC of `message` under `key`.
    #[must_use]
    pub fn mac(self, key: &Key, message: &[u8]) -> Mac {
        match self {
            Self::Md5 => Mac::of(keyed::<Hmac<Md5>>(key, message)),
            Self::Sha256 => Mac::of(keyed::<Hmac<Sha256>>(key, message)),
            Self::Sha384 => Mac::of(keyed::<Hmac<Sha384>>(key, message)),
            Self::Sha3_256 => Mac::of(keyed::<SimpleHmac<Sha3_256>>(key, message)),
            Self::Sha3_384 => Mac::of(keyed::<SimpleHmac<Sha3_384>>(key, message)),
        }
    }

    /// Whether `mac` is the HMAC of `message` under `key`. How long that takes depends on the
    /// lengths alone, not on where the bytes differ.
    #[must_use]
    pub fn verify(self, key: &Key, message: &[u8], mac: &[u8]) -> bool {
        let verified = match self {
            Self::Md5 => keyed::<Hmac<Md5>>(key, message).verify_slice(mac),
            Self::Sha256 => keyed::<Hmac<Sha256>>(key, message).verify_slice(mac),
            Self::Sha384 => keyed::<Hmac<Sha384>>(key, message).verify_slice(mac),
            Self::Sha3_256 => keyed::<SimpleHmac<Sha3_256>>(key, message).verify_slice(mac),
            Self::Sha3_384 => keyed::<SimpleHmac<Sha3_384>>(key, message).verify_slice(mac),
        };
        verified.is_ok()
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Md5 => 1,
            Self::Sha256 => 2,
            Self::Sha384 => 4,
            Self::Sha3_256 => 8,
            Self::Sha3_384 => 16,
        }
    }
}

#[allow(clippy::expect_used, reason = "the key is ours, not a peer's bytes")]
fn keyed<M: hmac::Mac + KeyInit>(key: &Key, message: &[u8]) -> M {
    let mut mac = <M as KeyInit>::new_from_slice(&key.0).expect("HMAC takes keys of any length");
    mac.update(message);
    mac
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|digest| digest.name() == name);
        known.ok_or_else(|| format!("unknown digest `{name}` (known: {})", Digests::ALL))
    }
}

/// A MAC of any digest, where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Mac {
    bytes: [u8; Self::BYTES_MAX],
    len: usize,
}

impl Mac {
    /// The longest, of the two digests with 384 bits.
    const BYTES_MAX: usize = 48;

    fn of(mac: impl hmac::Mac) -> Self {
        let output = mac.finalize().into_bytes();
        let mut bytes = [0; Self::BYTES_MAX];
        for (to, from) in bytes.iter_mut().zip(&output) {
            *to = *from;
        }
        Self {
            bytes,
            len: output.len(),
        }
    }
}

impl Deref for Mac {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// A set of digests, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests(u8);

impl Digests {
    /// All five.
    pub const ALL: Self = Self(31);

    /// The set with `digest` in it.
    #[must_use]
    pub const fn with(self, digest: Digest) -> Self {
        Self(self.0 | digest.bit())
    }

    /// Whether `digest` is in the set.
    #[must_use]
    pub const fn contains(self, digest: Digest) -> bool {
        self.0 & digest.bit() != 0
    }

    /// The set's members, the strongest first.
    pub fn iter(self) -> impl Iterator<Item = Digest> {
        Digest::ALL
            .into_iter()
            .filter(move |digest| self.contains(*digest))
    }

    /// The member with the longest MAC.
    #[must_use]
    pub fn strongest(self) -> Digest {
        self.iter().next().unwrap_or(Digest::Md5)
    }
}

impl From<Digest> for Digests {
    fn from(digest: Digest) -> Self {
        Self(digest.bit())
    }
}

impl Default for Digests {
    /// What every Python speaks: md5 up to 3.11, sha256 from 3.12 on.
    fn default() -> Self {
        Self::from(Digest::Md5).with(Digest::Sha256)
    }
}

impl fmt::Display for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for digest in self.iter() {
            write!(f, "{separator}{digest}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl FromStr for Digests {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        if list.trim().is_empty() {
            return Err(format!("no digest given (known: {})", Self::ALL));
        }
        let mut bits = 0;
        for name in list.split(',') {
            bits |= name.trim().parse::<Digest>()?.bit();
        }
        Ok(Self(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_at_least_one_byte_and_shows_none() {
        assert_eq!(Key::new("").unwrap_err(), EmptyKey);
        let key = Key::new("sesame").unwrap();
        assert_eq!(format!("{key:?}"), "Key(..)");
        assert!(key.is_short());
        assert!(Key::new([7; KEY_BYTES_WARN - 1]).unwrap().is_short());
        assert!(!Key::new([7; KEY_BYTES_WARN]).unwrap().is_short());
    }

    #[test]
    fn a_set_of_digests_is_read_as_it_is_written() {
        assert_eq!("md5,sha256".parse(), Ok(Digests::default()));
        assert_eq!(" sha256 , md5".parse(), Ok(Digests::default()));
        assert_eq!(Digests::default().to_string(), "sha256,md5");
        let all = "sha3_384,sha384,sha3_256,sha256,md5";
        assert_eq!(Digests::ALL.to_string(), all);
        assert_eq!(all.parse(), Ok(Digests::ALL));
        for wrong in ["", " ", ",", "md5,", "sha1", "SHA256", "md5 sha256"] {
            assert!(wrong.parse::<Digests>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_strongest_has_the_longest_mac() {
        let key = Key::new("key").unwrap();
        for (stronger, weaker) in Digest::ALL.iter().zip(&Digest::ALL[1..]) {
            assert!(stronger.mac(&key, b"").len() >= weaker.mac(&key, b"").len());
            assert_eq!(
                Digests::from(*weaker).with(*stronger).strongest(),
                *stronger
            );
        }
        assert_eq!(Digests::default().strongest(), Digest::Sha256);
    }

    #[test]
    fn a_mac_verifies_and_nothing_else_does() {
        let (key, other) = (Key::new("key").unwrap(), Key::new("kez").unwrap());
        for digest in Digest::ALL {
            let mac = digest.mac(&key, b"message");
            assert!(digest.verify(&key, b"message", &mac));
            assert!(!digest.verify(&other, b"message", &mac));
            assert!(!digest.verify(&key, b"messagf", &mac));
            assert!(!digest.verify(&key, b"message", &mac[..mac.len() - 1]));
            assert!(!digest.verify(&key, b"message", &[&mac[..], &[0]].concat()));
            assert!(!digest.verify(&key, b"message", b""));
            for at in 0..mac.len() {
                let mut wrong = mac.to_vec();
                wrong[at] ^= 1;
                assert!(
                    !digest.verify(&key, b"message", &wrong),
                    "{digest} byte {at}"
                );
            }
        }
    }
    /// Computed with Python's `hmac`; the same stand in docs/PROTOCOL.md.
    #[test]
    fn the_macs_are_those_of_python() {
        let hex = |mac: Mac| {
            mac.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let key = Key::new("天王盖地虎").unwrap();
        let nonce: Vec<u8> = (0..40).collect();
        let vectors = [
            (Digest::Md5, "12250341131d824095f54126299db4f3"),
            (
                Digest::Sha256,
                "f088ccf7a37bb26fc6d373eb571411ce61f945f9d5016dc5e331be5b6497c00e",
            ),
            (
                Digest::Sha384,
                "20072946470d4bdd26fc021edf40bc7e2f58c04ac2f29e2c\
                 9af37265d234f7697c686fb7c12dd464b26302d37283ab98",
            ),
            (
                Digest::Sha3_256,
                "5175eccabaad29e64a1b609684bcabfe7f4027a3c821ff6801659b679c11ea11",
            ),
            (
                Digest::Sha3_384,
                "220cffc1be7291e68f4f3e768433e8bd74f10771550a84fb\
                 6eaaa2d6b043ef6987842ff9145e1df3ef3addab7d5a8e8a",
            ),
        ];
        for (digest, mac) in vectors {
            let challenge = [format!("{{{digest}}}").as_bytes(), &nonce].concat();
            assert_eq!(hex(digest.mac(&key, &challenge)), mac, "{digest}");
        }
        let plain: Vec<u8> = (0x40..0x54).collect();
        let mac = "1e302e7129b742837fc0eb8a3a36ac46";
        assert_eq!(hex(Digest::Md5.mac(&key, &plain)), mac);
    }
}
