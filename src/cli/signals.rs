//! SIGTERM and SIGINT: the first asks the server to drain, the second makes it stop at once.

use std::io;
use std::thread;

use gateloop::server::StopHandle;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Watches for both signals from now on, in a thread of its own.
pub(super) fn watch(stop: StopHandle) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let watcher = move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            tracing::info!("draining: a second signal aborts");
            stop.drain();
        }
        if signals.next().is_some() {
            tracing::warn!("aborting");
            stop.abort();
        }
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(watcher)?;
    Ok(())
}
