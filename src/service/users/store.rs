//! The user file on its disk: reading it, and changing it so that whoever reads sees the old file
//! or the new one, whole, also after a loss of power.
//!
//! A change writes a new file beside the old one, has the kernel write that to the disk, gives it
//! the old one's name, and has the folder's entry written, too. Those who change a file wait for
//! each other at a lock. It is on the folder: a lock on the file would go with the file that is
//! replaced, and one on a file of its own would lie around, owned by whoever came first.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::fault::{Refused, UserFileError};
use super::hash::Hash;
use super::{Users, hash, text};
use crate::limits::USER_FILE_BYTES_MAX;

/// Only its owner can read a file that we make.
const MODE: u32 = 0o600;
/// What the group and all others may do.
const MODE_OF_GROUP: u32 = 0o070;

/// Reads a file's content, with what is known of the file.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, Metadata), UserFileError> {
    // To open a pipe would block.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file").into());
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut content = Vec::new();
    file.take(USER_FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut content)?;
    if content.len() > USER_FILE_BYTES_MAX {
        return Err(UserFileError::TooLong);
    }
    Ok((content, metadata))
}

/// Adds a user to a file, which is made if it is not there. Blocks while somebody else changes it.
///
/// # Errors
/// [`Refused::Taken`], or [`Refused::File`] if the file is broken or cannot be changed.
pub fn add(path: &Path, name: &str, hash: &str) -> Result<(), Refused> {
    let change = Change::begin(path, true)?;
    change.apply(|text| text::add(text, name, hash))
}

/// Gives a user of a file another hash. Blocks while somebody else changes it.
///
/// # Errors
/// [`Refused::Unknown`], or [`Refused::File`] if the file is broken or cannot be changed.
pub fn passwd(path: &Path, name: &str, hash: &str) -> Result<(), Refused> {
    let change = Change::begin(path, false)?;
    change.apply(|text| text::set_hash(text, name, hash, |_| true))
}

/// Takes a user out of a file. Blocks while somebody else changes it.
///
/// # Errors
/// [`Refused::Unknown`], or [`Refused::File`] if the file is broken or cannot be changed.
pub fn remove(path: &Path, name: &str) -> Result<(), Refused> {
    let change = Change::begin(path, false)?;
    change.apply(|text| text::remove(text, name))
}

/// Replaces a user's MD5 by the argon2id of the password that it was made of. Returns whether it
/// has: it does not wait for others who change the file, and where the MD5 is not that of this
/// password any more, there is nothing to do.
///
/// # Errors
/// [`Refused::File`] if the file is broken or cannot be changed.
pub fn upgrade(path: &Path, name: &str, password: &str) -> Result<bool, Refused> {
    let hash = hash::make_hash(password).map_err(|fault| io::Error::other(fault.to_string()))?;
    let Some(change) = Change::try_begin(path)? else {
        return Ok(false);
    };
    let by_md5 = hash::md5(name, password);
    let is_the_same =
        |old: &str| matches!(Hash::parse(old), Ok(Hash::Md5(md5)) if hash::equal(&md5, &by_md5));
    match change.apply(|text| text::set_hash(text, name, &hash, is_the_same)) {
        Ok(()) => Ok(true),
        Err(Refused::Unknown) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A file that is being changed; nobody else changes it meanwhile.
struct Change {
    /// The file itself, where the name given was a link to it.
    path: PathBuf,
    /// Locked until it is dropped.
    folder: File,
    may_create: bool,
}

impl Change {
    fn begin(path: &Path, may_create: bool) -> io::Result<Self> {
        let change = Self::unlocked(path, may_create)?;
        change.folder.lock()?;
        Ok(change)
    }

    /// `None` if somebody else changes it.
    fn try_begin(path: &Path) -> io::Result<Option<Self>> {
        let change = Self::unlocked(path, false)?;
        match change.folder.try_lock() {
            Ok(()) => Ok(Some(change)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn unlocked(path: &Path, may_create: bool) -> io::Result<Self> {
        let path = match path.canonicalize() {
            Err(error) if may_create && error.kind() == io::ErrorKind::NotFound => path.into(),
            other => other?,
        };
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let folder = File::open(folder)?;
        Ok(Self {
            path,
            folder,
            may_create,
        })
    }

    /// Changes the text and writes it. A file that is broken is not touched.
    fn apply(self, edit: impl FnOnce(&mut String) -> Result<(), Refused>) -> Result<(), Refused> {
        let (content, old) = match read(&self.path) {
            Ok((content, metadata)) => (content, Some(metadata)),
            Err(UserFileError::Io(error))
                if self.may_create && error.kind() == io::ErrorKind::NotFound =>
            {
                (Vec::new(), None)
            }
            Err(error) => return Err(error.into()),
        };
        Users::parse(&content)?;
        let mut text = text::decode(&content)?.to_string();
        edit(&mut text)?;
        if text.len() > USER_FILE_BYTES_MAX {
            return Err(UserFileError::TooLong.into());
        }
        Ok(self.replace(&text, old.as_ref())?)
    }

    fn replace(&self, text: &str, old: Option<&Metadata>) -> io::Result<()> {
        let mut name = OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        name.push(".new");
        let new = self.path.with_file_name(name);
        // What is left of somebody who was killed in the middle of this.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = self.write(&new, text, old);
        if written.is_err() {
            // The first error is the one to be told.
            let _ = fs::remove_file(&new);
        }
        written
    }

    fn write(&self, new: &Path, text: &str, old: Option<&Metadata>) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(MODE).open(new)?;
        file.write_all(text.as_bytes())?;
        if let Some(old) = old {
            inherit(&file, old)?;
        }
        file.sync_all()?;
        fs::rename(new, &self.path)?;
        self.folder.sync_all()
    }
}

/// Gives a new file the owner, group and mode of the old one, as far as we may.
fn inherit(file: &File, old: &Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    let mut mode = old.mode() & 0o777;
    if new.gid() != old.gid() && fchown(file, None, Some(old.gid())).is_err() {
        // What its old group might do, ours may not.
        mode &= !MODE_OF_GROUP;
    }
    if new.uid() != old.uid() {
        // Only the superuser may: another one becomes the owner.
        let _ = fchown(file, Some(old.uid()), None);
    }
    file.set_permissions(Permissions::from_mode(mode))
}
