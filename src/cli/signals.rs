//! SIGTERM and SIGINT: the first asks the server to drain, the second makes it stop at once.
//! SIGHUP: the user file is read anew.

use std::io;
use std::sync::Arc;
use std::thread;

use gateloop::server::StopHandle;
use gateloop::service::users::UserFile;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Watches for them from now on, in a thread of its own. Without a user file SIGHUP ends the
/// process, as it does others that have nothing to read.
pub(super) fn watch(stop: StopHandle, users: Option<Arc<UserFile>>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    if users.is_some() {
        signals.add_signal(SIGHUP)?;
    }
    let watcher = move || {
        let mut draining = false;
        for signal in signals.forever() {
            match (signal, &users) {
                (SIGHUP, Some(users)) => users.reload(),
                _ if draining => {
                    tracing::warn!("aborting");
                    return stop.abort();
                }
                _ => {
                    tracing::info!("draining: a second signal aborts");
                    stop.drain();
                    draining = true;
                }
            }
        }
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(watcher)?;
    Ok(())
}
