//! Lines of user files: hashes that cost little, and ones that are only to be read.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher};
use md5::{Digest, Md5};

/// A line with MD5, as existing files have it.
pub fn md5_line(name: &str, password: &str) -> String {
    let hash: [u8; 16] = Md5::new()
        .chain_update(name)
        .chain_update(password)
        .finalize()
        .into();
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name} | {digits}\n")
}

/// A line with the cheapest argon2id that there is.
pub fn cheap_line(name: &str, password: &str) -> String {
    argon2_line(name, password, 8, 1)
}

/// A line with argon2id that takes so many KiB and passes.
pub fn argon2_line(name: &str, password: &str, kib: u32, passes: u32) -> String {
    let costs = Params::new(kib, passes, 1, None).expect("costs");
    let hash: PasswordHash = Argon2::from(costs)
        .hash_password_with_salt(password.as_bytes(), b"salt of 16 bytes")
        .expect("a hash");
    format!("{name} | {hash}\n")
}

/// A PHC string of these costs that no password has.
pub fn phc(kib: u32, passes: u32, lanes: u32) -> String {
    let (salt, hash) = ("A".repeat(22), "A".repeat(43));
    format!("$argon2id$v=19$m={kib},t={passes},p={lanes}${salt}${hash}")
}
