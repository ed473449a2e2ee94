//! The user file: who may log in. See [`Users`].

mod fault;
mod hash;
mod store;
mod text;
mod user_file;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::sync::atomic::AtomicU64;

use argon2::Params;
pub use fault::{Fault, Refused, UserFileError};
use hash::Hash;
pub use hash::{check_password, make_hash};
pub use store::{add, passwd, remove, upgrade};
pub use text::check_name;
pub use user_file::UserFile;

/// What a user file says: names and hashes of passwords.
///
/// The file is UTF-8 text, a user a line: `name | hash`. A line is split at its last `|`, and white
/// space around both parts is ignored. Empty lines say nothing, and neither do those that begin
/// with `#`, nor a byte order mark at the front. The hash is one of two:
///
/// | hash | of |
/// |---|---|
/// | 32 hexadecimal digits | MD5 of the name followed by the password, both in UTF-8 |
/// | `$argon2id$v=19$m=..,t=..,p=..$salt$hash` | argon2id of the password, as a PHC string |
///
/// # What an attempt costs
/// If there is any argon2 entry, each attempt costs one argon2 computation, those with an unknown
/// name and with an MD5 entry too: how long an answer takes does not say who is a user. Where
/// entries differ in their costs, a name without such an entry is given those of one of them, and
/// always of the same one.
#[derive(Debug, Default)]
pub struct Users {
    hashes: HashMap<Box<str>, Hash>,
    /// The costs of the argon2 entries, each with how many entries have these or earlier ones.
    costs: Vec<(Params, usize)>,
    /// Which costs a name without an argon2 entry is given. Nobody outside can foretell it.
    pretence: RandomState,
}

/// What has come of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no such user, or the password is another.
    Wrong,
    /// That is the password.
    Right,
    /// That is the password, and its hash is MD5.
    RightByMd5,
}

impl Users {
    /// Reads a file's content.
    ///
    /// # Errors
    /// [`UserFileError::Line`] names the first broken line.
    pub fn parse(content: &[u8]) -> Result<Self, UserFileError> {
        let mut lines: HashMap<&str, usize> = HashMap::new();
        let mut users = Self::default();
        for entry in text::entries(text::decode(content)?) {
            let entry = entry?;
            let wrong = |fault| UserFileError::Line(entry.line, fault);
            if let Some(first) = lines.insert(entry.name, entry.line) {
                return Err(wrong(Fault::Duplicate { first }));
            }
            let hash = Hash::parse(entry.hash).map_err(wrong)?;
            if let Hash::Argon2(phc) = &hash {
                users.count_cost(hash::costs(phc).map_err(wrong)?);
            }
            users.hashes.insert(entry.name.into(), hash);
        }
        let mut sum = 0;
        for (_, count) in &mut users.costs {
            sum += *count;
            *count = sum;
        }
        Ok(users)
    }

    fn count_cost(&mut self, costs: Params) {
        match self.costs.iter_mut().find(|(known, _)| *known == costs) {
            Some((_, count)) => *count += 1,
            None => self.costs.push((costs, 1)),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether there is a user of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.hashes.contains_key(name)
    }

    /// Names, each with the kind of its hash and its costs, in the order of the names.
    #[must_use]
    pub fn list(&self) -> Vec<(&str, String)> {
        let entries = self.hashes.iter();
        let mut list: Vec<_> = entries
            .map(|(name, hash)| (&**name, hash.to_string()))
            .collect();
        list.sort_unstable();
        list
    }

    /// Whether this is the user's password. Blocks for as long as the costs in the file say.
    /// `argon2_runs` counts the computations of argon2.
    #[must_use]
    pub fn check(&self, name: &str, password: &str, argon2_runs: &AtomicU64) -> Verdict {
        let hash = self.hashes.get(name);
        let by_md5 = hash::md5(name, password);
        if let Some(Hash::Argon2(phc)) = hash {
            return match hash::is_argon2_of(phc, password, argon2_runs) {
                true => Verdict::Right,
                false => Verdict::Wrong,
            };
        }
        if let Some(costs) = self.pretended_costs(name) {
            black_box(hash::argon2(costs, &hash::NO_SALT, password, argon2_runs));
        }
        match hash {
            Some(Hash::Md5(md5)) if hash::equal(md5, &by_md5) => Verdict::RightByMd5,
            _ => Verdict::Wrong,
        }
    }

    fn pretended_costs(&self, name: &str) -> Option<&Params> {
        let (_, all) = self.costs.last()?;
        let place = self.pretence.hash_one(name) % *all as u64;
        let mut costs = self.costs.iter();
        costs
            .find(|(_, until)| place < *until as u64)
            .map(|(costs, _)| costs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody can tell by the costs which names are users'.
    #[test]
    fn names_of_nobody_have_costs_as_users_have() {
        const NAMES: usize = 4_000;
        let entry = |n: usize| {
            let kib = if n.is_multiple_of(4) { 64 } else { 8 };
            let (salt, hash) = ("A".repeat(22), "A".repeat(43));
            format!("user{n} | $argon2id$v=19$m={kib},t=1,p=1${salt}${hash}\n")
        };
        let content: String = (0..8).map(entry).collect();
        let users = Users::parse(content.as_bytes()).unwrap();
        let kib = |n: usize| {
            let costs = users.pretended_costs(&format!("nobody{n}")).unwrap();
            costs.m_cost()
        };
        let dear = (0..NAMES).filter(|&n| kib(n) == 64).count();
        // A quarter; the bounds are ten standard deviations away.
        assert!((NAMES / 4 - 274..NAMES / 4 + 274).contains(&dear), "{dear}");
        assert!((0..NAMES).all(|n| kib(n) == kib(n)));
    }
}
