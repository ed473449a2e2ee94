//! Where the key comes from: a file, the environment, or, for a server, chance. Never an
//! argument, which other users of the machine could read.

use std::env;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use gateloop::limits::KEY_BYTES_WARN;
use gateloop::protocol::handshake::{challenge, mutual};
use gateloop::protocol::{Digest, Digests, HandshakeRules, Key};
use zeroize::Zeroizing;

use super::Failure;

/// The variable that holds the key where no file does.
const VARIABLE: &str = "GATELOOP_AUTHKEY";
/// Random bytes in a made-up key: 256 bits, as many as the strongest digest in use is wide.
const MADE_UP_BYTES: usize = 32;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Handshake {
    /// Both sides prove that they hold the key, as Python's multiprocessing does
    Mutual,
    /// The client answers 10 random bytes with their HMAC-MD5; the server proves nothing
    Hmac,
    /// The same with plain MD5 of the key and those bytes, which is weak
    Md5,
    /// No proof; a server takes it on loopback and Unix sockets, or with --insecure
    None,
}

/// The flags of the handshake, the same for both sides.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Handshake")]
pub(super) struct HandshakeArgs {
    /// How the two sides prove who they are
    #[arg(long, value_enum, default_value_t = Handshake::Mutual)]
    handshake: Handshake,
    /// Digests that a proof may be made with, separated by commas; Python up to 3.11 speaks md5
    /// alone
    #[arg(long, value_name = "NAMES", default_value_t = Digests::default())]
    digests: Digests,
    /// A file that holds the key; a newline at its end is not part of it. Without one, the key is
    /// the variable GATELOOP_AUTHKEY
    #[arg(long, value_name = "FILE")]
    authkey_file: Option<PathBuf>,
}

/// A key that was made up, as text, to be shown once.
pub(super) struct MadeUp(pub(super) Zeroizing<String>);

impl HandshakeArgs {
    /// The serving side's handshake; with it the key, if one had to be made up.
    pub(super) fn server_rules(&self) -> Result<(HandshakeRules, Option<MadeUp>), Failure> {
        match self.handshake {
            Handshake::None => return Ok((self.without_key(), None)),
            Handshake::Md5 => tracing::warn!(
                "--handshake md5 is weak: it is for clients that speak nothing better, on networks \
                 that you trust"
            ),
            Handshake::Hmac | Handshake::Mutual => {}
        }
        match self.given()? {
            Some(key) => Ok((self.rules(key)?, None)),
            None => {
                let made_up = make_up()?;
                let key = Key::new(made_up.0.as_bytes()).map_err(Failure::failed)?;
                Ok((self.rules(key)?, Some(made_up)))
            }
        }
    }

    /// The connecting side's handshake.
    pub(super) fn client_rules(&self) -> Result<HandshakeRules, Failure> {
        match self.handshake {
            Handshake::None => Ok(HandshakeRules::None),
            _ => match self.given()? {
                Some(key) => self.rules(key),
                None => Err(Failure::usage(format!(
                    "no key: give --authkey-file or {VARIABLE}, or --handshake none"
                ))),
            },
        }
    }

    fn without_key(&self) -> HandshakeRules {
        if self.authkey_file.is_some() || env::var_os(VARIABLE).is_some() {
            tracing::warn!("with --handshake none the key is not used: nobody proves anything");
        }
        HandshakeRules::None
    }

    /// The handshake under this key.
    fn rules(&self, key: Key) -> Result<HandshakeRules, Failure> {
        let proof = match self.handshake {
            Handshake::None => return Ok(HandshakeRules::None),
            Handshake::Mutual => {
                return Ok(HandshakeRules::Mutual(mutual::Rules {
                    digests: self.digests,
                    ..mutual::Rules::new(key)
                }));
            }
            Handshake::Hmac => challenge::Proof::Hmac,
            Handshake::Md5 => challenge::Proof::Md5,
        };
        if !self.digests.contains(Digest::Md5) {
            return Err(Failure::usage(format!(
                "--handshake {} knows no digest but md5, which --digests leaves out",
                proof.name()
            )));
        }
        Ok(HandshakeRules::Challenge(challenge::Rules::new(key, proof)))
    }

    /// The key that was given, if one was: the file's before the variable's.
    fn given(&self) -> Result<Option<Key>, Failure> {
        let (bytes, source) = if let Some(path) = &self.authkey_file {
            (read(path)?, path.display().to_string())
        } else if let Some(key) = env::var_os(VARIABLE) {
            (key.into_vec(), VARIABLE.to_string())
        } else {
            return Ok(None);
        };
        let key = Key::new(bytes).map_err(|error| Failure::failed(format!("{source}: {error}")))?;
        if key.is_short() {
            tracing::warn!(
                source,
                "a key of less than {KEY_BYTES_WARN} bytes may be guessed"
            );
        }
        Ok(Some(key))
    }
}

/// The key in a file, without the newline that editors and `echo` put at its end.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = fs::read(path).and_then(|key| Ok((key, fs::metadata(path)?.permissions().mode())));
    let (mut key, mode) = read.map_err(|error| {
        Failure::failed(format!(
            "cannot read the key file {}: {error}",
            path.display()
        ))
    })?;
    if mode & 0o044 != 0 {
        let path = path.display();
        tracing::warn!(%path, "others than its owner can read the key: `chmod 600` its file");
    }
    if key.pop_if(|last| *last == b'\n').is_some() {
        key.pop_if(|last| *last == b'\r');
    }
    Ok(key)
}

/// A key nobody can guess, in hexadecimal, so that it can be pasted anywhere.
fn make_up() -> Result<MadeUp, Failure> {
    let mut bytes = Zeroizing::new([0; MADE_UP_BYTES]);
    getrandom::fill(&mut *bytes)
        .map_err(|error| Failure::failed(format!("no random bytes for a key: {error}")))?;
    let mut text = Zeroizing::new(String::with_capacity(2 * MADE_UP_BYTES));
    for byte in &*bytes {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(MadeUp(text))
}
