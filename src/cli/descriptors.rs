//! How many descriptors this process may open, and so how many connections it can hold.

use gateloop::limits::{CHILD_DESCRIPTORS, CHILDREN_MAX, Limits};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Failure;

/// What a process holds beside sockets: the standard streams, the log, files of its libraries.
const SPARE: usize = 32;
/// What each reactor holds beside sockets: its poll and its waker, and one to spare.
const PER_REACTOR: usize = 3;

/// Raises the limit on descriptors as far as this process may, and lowers the number of
/// connections to what then fits. A number that was `given` is not lowered but refused: whoever
/// asked for it counts on it. Room is left for the pipes of `children`, if any may run.
pub(super) fn fit(
    limits: &mut Limits,
    given: bool,
    reactors: usize,
    listeners: usize,
    children: bool,
) -> Result<(), Failure> {
    let Some(descriptors) = raise() else {
        return Ok(());
    };
    let of_children = if children {
        CHILDREN_MAX * CHILD_DESCRIPTORS
    } else {
        0
    };
    let own = SPARE + reactors * (PER_REACTOR + listeners) + of_children;
    let room = usize::try_from(descriptors)
        .unwrap_or(usize::MAX)
        .saturating_sub(own);
    if limits.connections_max <= room {
        return Ok(());
    }
    let wanted = limits.connections_max;
    if given || room == 0 {
        return Err(Failure::failed(format!(
            "this process may open {descriptors} descriptors, enough for {room} connections and \
             not for {wanted}: raise `ulimit -n`, or lower --max-connections"
        )));
    }
    tracing::warn!(
        descriptors,
        wanted,
        connections = room,
        "max-connections lowered to fit"
    );
    limits.connections_max = room;
    Ok(())
}

/// Raises the soft limit to the hard one. What is then in force; `None`: no limit.
fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit on descriptors");
            current
        }
    }
}
