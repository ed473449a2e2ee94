//! A user file that is in use: read anew when it has changed, and never given up for a broken one.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tracing::{info, warn};

use super::fault::{Refused, UserFileError};
use super::{Users, Verdict, store};
use crate::limits::USER_FILE_SETTLES;

/// A file, and what it said when it was last whole. To be shared by all who need it; whatever may
/// read the file blocks.
#[derive(Debug)]
pub struct UserFile {
    path: PathBuf,
    read: Mutex<State>,
    argon2_runs: AtomicU64,
}

#[derive(Debug)]
struct State {
    users: Arc<Users>,
    /// What was there when it was last read, whatever came of that.
    seen: Result<Stamp, io::ErrorKind>,
    /// It was so young then that a later change may have left no trace in the stamp.
    young: bool,
}

/// What tells a file from the same one after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl UserFile {
    /// Reads a file for the first time.
    ///
    /// # Errors
    /// [`UserFileError`]: nobody starts with a broken file.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, UserFileError> {
        let path = path.into();
        let (content, metadata) = store::read(&path)?;
        let state = State {
            users: Arc::new(Users::parse(&content)?),
            young: is_young(&metadata),
            seen: Ok(Stamp::from(&metadata)),
        };
        Ok(Self {
            path,
            read: Mutex::new(state),
            argon2_runs: AtomicU64::new(0),
        })
    }

    /// Its path, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many computations of argon2 attempts have cost so far.
    #[must_use]
    pub fn argon2_runs(&self) -> u64 {
        self.argon2_runs.load(Relaxed)
    }

    /// What the file says, read anew if it has changed. One that is broken or gone is warned of,
    /// and what it last said stays in force.
    #[must_use]
    pub fn users(&self) -> Arc<Users> {
        let mut state = self.lock();
        let there = self.stamp();
        if state.young || there != state.seen {
            self.read_anew(&mut state, there, false);
        }
        Arc::clone(&state.users)
    }

    /// Reads it anew in any case, and says in the log what has come of it.
    pub fn reload(&self) {
        let mut state = self.lock();
        self.read_anew(&mut state, self.stamp(), true);
    }

    /// Whether this is the user's password. Blocks for as long as the costs in the file say.
    #[must_use]
    pub fn check(&self, name: &str, password: &str) -> Verdict {
        self.users().check(name, password, &self.argon2_runs)
    }

    /// Replaces a user's MD5 by argon2id; see [`upgrade`](super::upgrade).
    ///
    /// # Errors
    /// Those of [`upgrade`](super::upgrade).
    pub fn upgrade(&self, name: &str, password: &str) -> Result<bool, Refused> {
        store::upgrade(&self.path, name, password)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamp(&self) -> Result<Stamp, io::ErrorKind> {
        let metadata = fs::metadata(&self.path);
        metadata
            .map(|metadata| Stamp::from(&metadata))
            .map_err(|error| error.kind())
    }

    /// `there` is what is there now, unless somebody changes it at this moment. What comes of it
    /// goes to the log if it is new, or `asked` for.
    fn read_anew(&self, state: &mut State, there: Result<Stamp, io::ErrorKind>, asked: bool) {
        let (read, seen, young) = match store::read(&self.path) {
            Ok((content, metadata)) => {
                let seen = Ok(Stamp::from(&metadata));
                (Users::parse(&content), seen, is_young(&metadata))
            }
            Err(error) => (Err(error), there, false),
        };
        let is_news = asked || seen != state.seen;
        (state.seen, state.young) = (seen, young);
        let path = self.path.display();
        match read {
            Ok(users) => {
                if is_news {
                    info!(%path, users = users.len(), "user file read");
                }
                state.users = Arc::new(users);
            }
            Err(error) if is_news => {
                warn!(%path, %error, "user file not read: what it last said stays in force");
            }
            Err(_) => {}
        }
    }
}

/// Whether a change right after this one could leave the same time behind.
fn is_young(metadata: &Metadata) -> bool {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    modified.elapsed().is_ok_and(|age| age < USER_FILE_SETTLES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change that leaves the same stamp behind, as a coarse clock makes it, is seen while the
    /// file is young.
    #[test]
    fn a_young_file_is_not_trusted() {
        let name = format!("gateloop-young-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let write = |name: &str| fs::write(&path, format!("{name} | {}", "0".repeat(32)));
        write("alice").expect("a file");
        let file = UserFile::open(&path).expect("a user file");
        assert!(file.lock().young);
        for (young, seen) in [(true, true), (false, false)] {
            write("alice").expect("a file");
            file.reload();
            write("bobby").expect("a file");
            let metadata = fs::metadata(&path).expect("a file");
            let mut state = file.lock();
            (state.seen, state.young) = (Ok(Stamp::from(&metadata)), young);
            drop(state);
            assert_eq!(file.users().contains("bobby"), seen);
        }
        let long_ago = SystemTime::now() - 2 * USER_FILE_SETTLES;
        let old = fs::File::options()
            .append(true)
            .open(&path)
            .expect("a file");
        old.set_modified(long_ago).expect("a file of ours");
        let _ = file.users();
        assert!(!file.lock().young);
        fs::remove_file(&path).expect("a file");
    }
}
