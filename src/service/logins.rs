//! Logging in, as the service `login` and the methods of `rpc` have in common: who may, and what
//! it costs to be wrong.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use super::users::{UserFile, Verdict, check_name, check_password};
use super::{Flow, Peer};
use crate::error::CloseReason;
use crate::limits::LOGIN_FAILURES_MAX;
use crate::penalties::Penalties;

/// Who may log in, and what failures have cost, shared by all reactors of a server.
///
/// A wrong password costs its sender time, as [`Penalties`] says, and nobody else. So many in a row
/// on one connection ([`LOGIN_FAILURES_MAX`]) end it.
#[derive(Clone, Debug)]
pub struct Logins(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: Arc<UserFile>,
    penalties: Penalties,
    upgrades_hashes: bool,
}

impl Logins {
    /// Those in this file may log in. With `upgrades_hashes`, a good login through an MD5 entry
    /// replaces it by one of argon2id.
    #[must_use]
    pub fn new(file: Arc<UserFile>, upgrades_hashes: bool) -> Self {
        Self(Arc::new(Shared {
            file,
            penalties: Penalties::default(),
            upgrades_hashes,
        }))
    }

    /// Whether the attempt is right. It blocks: this is for the workers.
    pub(super) fn check(&self, attempt: &Attempt) -> bool {
        let Attempt { name, password } = attempt;
        match self.0.file.check(name, password) {
            Verdict::Wrong => false,
            Verdict::Right => true,
            Verdict::RightByMd5 => {
                if self.0.upgrades_hashes {
                    self.upgrade(name, password);
                }
                true
            }
        }
    }

    fn upgrade(&self, name: &str, password: &str) {
        let path = self.0.file.path().display();
        match self.0.file.upgrade(name, password) {
            Ok(true) => info!(%path, user = ?name, "MD5 replaced by argon2id"),
            Ok(false) => debug!(%path, "somebody else changes the file: MD5 stays"),
            Err(error) => warn!(%path, %error, "MD5 cannot be replaced by argon2id"),
        }
    }

    /// Counts a success.
    pub(super) fn passed(&self, peer: &Peer, failures: &mut Failures) {
        *failures = Failures::default();
        self.0.penalties.passed(address(peer));
        debug!(
            id = peer.id,
            peer = peer.address.map(tracing::field::display),
            "logged in"
        );
    }

    /// Counts a failure; returns how long to wait before saying so.
    pub(super) fn failed(&self, peer: &Peer, failures: &mut Failures, now: Instant) -> Duration {
        failures.0 = failures.0.saturating_add(1);
        debug!(
            id = peer.id,
            peer = peer.address.map(tracing::field::display),
            failures = failures.0,
            "login failed"
        );
        self.0.penalties.failed(address(peer), failures.0, now)
    }
}

fn address(peer: &Peer) -> Option<IpAddr> {
    peer.address.map(|address| address.ip())
}

/// Failures in a row of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures(u32);

impl Failures {
    /// How the conversation goes on after the last of them was told.
    pub(super) fn flow(self) -> Flow {
        if self.0 >= LOGIN_FAILURES_MAX {
            Flow::CloseFor(CloseReason::LoginFailures)
        } else {
            Flow::Continue
        }
    }
}

/// A name and a password that have been sent. It has no `Debug`, and is overwritten at its end.
pub(super) struct Attempt {
    name: Box<str>,
    password: Zeroizing<String>,
}

impl Attempt {
    /// `None` if no user can have such a name, or such a password.
    pub(super) fn new(name: &str, password: String) -> Option<Self> {
        let password = Zeroizing::new(password);
        check_name(name).ok()?;
        check_password(&password).ok()?;
        Some(Self {
            name: name.into(),
            password,
        })
    }

    /// What it holds, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.name.len() + self.password.capacity()
    }
}
