//! What can be wrong with a user file, a name, or a change of the file.

use std::{fmt, io};

use crate::limits::{
    ARGON2_KIB_MAX, ARGON2_LANES_MAX, ARGON2_PASSES_MAX, PASSWORD_BYTES_MAX, USER_FILE_BYTES_MAX,
    USER_NAME_BYTES_MAX,
};

/// Why a user file cannot be used. Its text never quotes the file.
#[derive(Debug)]
#[non_exhaustive]
pub enum UserFileError {
    /// It cannot be read or written.
    Io(io::Error),
    /// It is longer than [`USER_FILE_BYTES_MAX`].
    TooLong,
    /// The line with this number, from 1 on, is broken.
    Line(usize, Fault),
}

/// What is wrong with a line, or with what is to become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is not UTF-8.
    NotUtf8,
    /// No `|` separates name and hash.
    NoSeparator,
    /// The name is empty.
    NoName,
    /// The name is longer than [`USER_NAME_BYTES_MAX`].
    NameTooLong,
    /// The name begins or ends with white space.
    NameWithBlanks,
    /// The name begins with `#`, as comments do.
    NameLikeComment,
    /// The name has a control character in it, such as a line break.
    NameWithControl,
    /// The name is in the file already.
    Duplicate {
        /// The line that has it.
        first: usize,
    },
    /// The hash is neither 32 hexadecimal digits nor begins with `$argon2id$`.
    NoHash,
    /// The PHC string is not what argon2id writes in its version 19.
    NoPhc,
    /// The costs are over [`ARGON2_KIB_MAX`], [`ARGON2_PASSES_MAX`] or [`ARGON2_LANES_MAX`].
    TooDear,
    /// The password is empty.
    NoPassword,
    /// The password is longer than [`PASSWORD_BYTES_MAX`].
    PasswordTooLong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::NoSeparator => f.write_str("no `|` between name and hash"),
            Self::NoName => f.write_str("the name is empty"),
            Self::NameTooLong => {
                write!(f, "the name is longer than {USER_NAME_BYTES_MAX} bytes")
            }
            Self::NameWithBlanks => f.write_str("the name begins or ends with white space"),
            Self::NameLikeComment => {
                f.write_str("the name begins with `#`, which makes the line a comment")
            }
            Self::NameWithControl => f.write_str("the name has a control character in it"),
            Self::Duplicate { first } => write!(f, "the same name as in line {first}"),
            Self::NoHash => {
                f.write_str("the hash is neither 32 hexadecimal digits nor $argon2id$...")
            }
            Self::NoPhc => f.write_str(
                "the hash is not of the form $argon2id$v=19$m=...,t=...,p=...$salt$hash",
            ),
            Self::TooDear => write!(
                f,
                "the hash costs more than is allowed: at most m={ARGON2_KIB_MAX} (KiB), \
                 t={ARGON2_PASSES_MAX}, p={ARGON2_LANES_MAX}"
            ),
            Self::NoPassword => f.write_str("the password is empty"),
            Self::PasswordTooLong => {
                write!(f, "the password is longer than {PASSWORD_BYTES_MAX} bytes")
            }
        }
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for UserFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::TooLong => write!(f, "longer than {USER_FILE_BYTES_MAX} bytes"),
            Self::Line(line, fault) => write!(f, "line {line}: {fault}"),
        }
    }
}

impl std::error::Error for UserFileError {}

impl From<io::Error> for UserFileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Why the file was not changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refused {
    /// It is broken, or cannot be read or written.
    File(UserFileError),
    /// There is a user of this name already.
    Taken,
    /// There is no user of this name.
    Unknown,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Taken => f.write_str("there is a user of this name already"),
            Self::Unknown => f.write_str("there is no user of this name"),
        }
    }
}

impl std::error::Error for Refused {}

impl From<UserFileError> for Refused {
    fn from(error: UserFileError) -> Self {
        Self::File(error)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::File(error.into())
    }
}
