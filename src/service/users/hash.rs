//! Hashes of passwords: MD5 as existing files have it, argon2id as we write it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{ARGON2ID_IDENT, Argon2, Params, PasswordHasher, Version};
use md5::{Digest, Md5};

use super::fault::Fault;
use crate::limits::{
    ARGON2_KIB_MAX, ARGON2_LANES_MAX, ARGON2_PASSES_MAX, ARGON2_SALT_BYTES, PASSWORD_BYTES_MAX,
};

const MD5_BYTES: usize = 16;
/// How PHC strings of argon2id begin.
const ARGON2ID: &str = "$argon2id$";
/// The salt of computations whose result is of no interest.
pub(super) const NO_SALT: [u8; ARGON2_SALT_BYTES] = [0; ARGON2_SALT_BYTES];

/// An entry's hash. Its text, in `Debug` too, is the kind and the costs alone.
pub(super) enum Hash {
    Md5([u8; MD5_BYTES]),
    /// A PHC string whose costs are within bounds. As text it takes a third of the memory.
    Argon2(Box<str>),
}

impl Hash {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        if text.starts_with(ARGON2ID) {
            costs(text)?;
            return Ok(Self::Argon2(text.into()));
        }
        let mut md5 = [0; MD5_BYTES];
        md5_of_digits(text, &mut md5).map(|()| Self::Md5(md5))
    }
}

/// Kind and costs, in the words of the PHC string.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Md5(_) => f.write_str("md5"),
            Self::Argon2(phc) => {
                let costs = phc.split('$').nth(3).unwrap_or_default();
                write!(f, "argon2id {costs}")
            }
        }
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn md5_of_digits(text: &str, bytes: &mut [u8; MD5_BYTES]) -> Result<(), Fault> {
    let digits = text.as_bytes();
    if digits.len() != 2 * MD5_BYTES {
        return Err(Fault::NoHash);
    }
    let value = |digit: u8| char::from(digit).to_digit(16).ok_or(Fault::NoHash);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (value(pair[0])? << 4 | value(pair[1])?) as u8;
    }
    Ok(())
}

/// The costs in a PHC string, if it can be computed within bounds.
pub(super) fn costs(phc: &str) -> Result<Params, Fault> {
    let parsed = PasswordHash::new(phc).map_err(|_| Fault::NoPhc)?;
    let version = parsed.version.map(Version::try_from);
    let params = Params::try_from(&parsed).map_err(|_| Fault::NoPhc)?;
    let salt = parsed.salt.map_or(0, |salt| salt.len());
    let stated = ["m", "t", "p"].map(|name| parsed.params.get(name).is_some());
    if parsed.algorithm != ARGON2ID_IDENT
        || !matches!(version, Some(Ok(Version::V0x13)))
        || stated != [true; 3]
        || parsed.params.iter().count() != stated.len()
        || salt < argon2::MIN_SALT_LEN
        || parsed.hash.is_none()
    {
        return Err(Fault::NoPhc);
    }
    if params.m_cost() > ARGON2_KIB_MAX
        || params.t_cost() > ARGON2_PASSES_MAX
        || params.p_cost() > ARGON2_LANES_MAX
    {
        return Err(Fault::TooDear);
    }
    Ok(params)
}

/// Whether a PHC string is that of a password.
pub(super) fn is_argon2_of(phc: &str, password: &str, runs: &AtomicU64) -> bool {
    let (Ok(costs), Ok(parsed)) = (costs(phc), PasswordHash::new(phc)) else {
        return false;
    };
    let (Some(salt), Some(hash)) = (parsed.salt, parsed.hash) else {
        return false;
    };
    // Outputs compare in constant time.
    argon2(&costs, &salt, password, runs) == Some(hash)
}

/// The argon2id of a password; `None` if there is no memory for it. It is counted in `runs`.
pub(super) fn argon2(
    costs: &Params,
    salt: &[u8],
    password: &str,
    runs: &AtomicU64,
) -> Option<Output> {
    runs.fetch_add(1, Relaxed);
    let computed = Argon2::from(costs).hash_password_with_salt(password.as_bytes(), salt);
    if let Err(error) = &computed {
        tracing::error!(%error, "a password could not be checked");
    }
    computed.ok()?.hash
}

/// The MD5 of a name followed by a password.
pub(super) fn md5(name: &str, password: &str) -> [u8; MD5_BYTES] {
    Md5::new()
        .chain_update(name)
        .chain_update(password)
        .finalize()
        .into()
}

/// Compares in a time that depends on nothing, as outputs do.
pub(super) fn equal(a: &[u8; MD5_BYTES], b: &[u8; MD5_BYTES]) -> bool {
    let output = |md5: &[u8]| Output::new(md5).ok();
    output(a) == output(b)
}

/// Whether a password may be given to a user.
///
/// # Errors
/// [`Fault::NoPassword`] and [`Fault::PasswordTooLong`].
pub fn check_password(password: &str) -> Result<(), Fault> {
    match password.len() {
        0 => Err(Fault::NoPassword),
        1..=PASSWORD_BYTES_MAX => Ok(()),
        _ => Err(Fault::PasswordTooLong),
    }
}

/// A new hash of a password for the file: argon2id with the costs that the crate `argon2`
/// recommends (those of OWASP: 19 MiB, two passes, one lane), as a PHC string. Blocks for some
/// tens of milliseconds.
///
/// # Errors
/// Those of [`check_password`].
///
/// # Panics
/// If the kernel gives no random bytes, or there is no memory.
pub fn make_hash(password: &str) -> Result<String, Fault> {
    check_password(password)?;
    let mut salt = NO_SALT;
    getrandom::fill(&mut salt).expect("the kernel gives random bytes");
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .expect("costs and lengths are ours, and there is memory");
    Ok(hash.to_string())
}
