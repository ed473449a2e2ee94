//! Datagrams: each is admitted, served and answered by itself, with no slot, timer or queue.
//!
//! An answer that the kernel does not take at once is dropped, as the network might have done. So
//! the only thing to remember is whether a socket may hold more than the turn's budget allowed.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustix::io::Errno;
use tracing::debug;

use super::Reactor;
use super::token::Source;
use crate::drive::Kit;
use crate::error::DropReason;
use crate::limits::{DATAGRAM_BUFFER_BYTES, DATAGRAM_IDS_MAX, DRAIN_DATAGRAMS, TURN_DATAGRAMS};
use crate::protocol::datagram::{self, Gate};
use crate::service::{Asked, Caller, Peer, Service};
use crate::session::{Budget, Rules};

/// Sockets for datagrams, and what stands before all of them.
#[derive(Debug)]
pub struct DatagramSockets {
    sockets: Vec<Socket>,
    gate: Gate,
    /// Every socket receives into this.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Socket {
    udp: UdpSocket,
    /// It may hold datagrams of which nobody will tell again.
    ready: bool,
}

impl DatagramSockets {
    /// No socket, which costs nothing.
    #[must_use]
    pub fn none() -> Self {
        Self {
            sockets: Vec::new(),
            gate: Gate::open(0),
            buffer: Vec::new(),
        }
    }

    fn new(sockets: Vec<Socket>, rules: &Rules, entropy: fn(&mut [u8])) -> Self {
        let payload_bytes_max = rules.limits.message_bytes_max;
        let gate = match rules.handshake.key() {
            Some(key) => {
                let mut seed = [0; size_of::<u128>()];
                entropy(&mut seed);
                Gate::keyed(
                    key.clone(),
                    payload_bytes_max,
                    DATAGRAM_IDS_MAX,
                    unix_ms(),
                    u128::from_ne_bytes(seed),
                )
            }
            None => Gate::open(payload_bytes_max),
        };
        Self {
            sockets,
            gate,
            buffer: vec![0; DATAGRAM_BUFFER_BYTES],
        }
    }

    /// An edge: a socket has received something.
    pub fn note(&mut self, n: usize) {
        if let Some(socket) = self.sockets.get_mut(n) {
            socket.ready = true;
        }
    }

    /// Whether one of them may hold datagrams that can be served now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.sockets.iter().any(|socket| socket.ready)
    }

    /// Serves what the sockets that are ready hold, each within the budget.
    fn serve<S: Service>(&mut self, budget: Budget, kit: &mut Kit<S>, ids: &AtomicU64) {
        for socket in &mut self.sockets {
            let (now_ms, mut left) = (unix_ms(), budget);
            while socket.ready && !left.is_spent() {
                left.messages -= 1;
                let Some((len, sender)) = socket.recv(&mut self.buffer) else {
                    continue;
                };
                left.bytes = left.bytes.saturating_sub(len);
                kit.moved.bytes_in += len as u64;
                let datagram = Incoming {
                    bytes: &self.buffer[..len],
                    peer: Peer {
                        id: ids.fetch_add(1, Relaxed),
                        address: Some(sender),
                    },
                    now_ms,
                };
                let stats = &kit.rules.stats;
                stats.datagrams.fetch_add(1, Relaxed);
                if let Err(reason) = datagram.answer(&mut self.gate, &socket.udp, kit) {
                    kit.rules.stats.dropped(reason);
                    debug!(peer = %sender, %reason, bytes = len, "datagram dropped");
                }
                kit.out.clear();
                kit.trim();
            }
        }
    }
}

impl Socket {
    /// Receives one datagram, whole: none is longer than the buffer. `None`: none has come, or what
    /// has is an error.
    fn recv(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let error = match self.udp.recv_from(buffer) {
            Ok(received) => return Some(received),
            Err(error) => error,
        };
        match Errno::from_io_error(&error) {
            Some(Errno::AGAIN) => self.ready = false,
            // What ICMP has to say about answers of ours. They are gone, and there may be more.
            Some(
                Errno::INTR
                | Errno::CONNREFUSED
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::NETDOWN
                | Errno::MSGSIZE
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::PERM,
            ) => {}
            // The next datagram's edge tries again.
            _ => {
                debug!(%error, "cannot receive datagrams for now");
                self.ready = false;
            }
        }
        None
    }
}

/// A datagram that has come.
struct Incoming<'a> {
    bytes: &'a [u8],
    peer: Peer,
    now_ms: u64,
}

impl Incoming<'_> {
    /// Serves it, and sends what there is to answer.
    fn answer<S: Service>(
        &self,
        gate: &mut Gate,
        udp: &UdpSocket,
        kit: &mut Kit<S>,
    ) -> Result<(), DropReason> {
        let request = gate.admit(self.bytes, self.now_ms)?;
        kit.moved.messages += 1;
        let handshake = &kit.rules.handshake;
        let asked = Asked {
            caller: Caller {
                peer: &self.peer,
                handshake: handshake.name(),
                digest: handshake.key().map(|_| datagram::DIGEST),
                connected: Duration::ZERO,
            },
            stats: &kit.rules.stats,
            now: kit.now,
            answer_bytes_max: gate.answer_bytes_max(),
        };
        let (service, out) = (&mut kit.service, &mut kit.out);
        let write = |out: &mut Vec<u8>| {
            let datagrams = service.datagrams();
            datagrams.is_some_and(|service| service.datagram(request.payload, asked, out))
        };
        let reply = AssertUnwindSafe(|| gate.reply(&request, self.now_ms, out, write));
        let is_there = panic::catch_unwind(reply).unwrap_or(Err(DropReason::ServicePanic))?;
        if let Some(sender) = self.peer.address.filter(|_| is_there) {
            let sent = udp.send_to(&kit.out, sender);
            kit.moved.bytes_out += sent.map_err(|_| DropReason::Unsent)? as u64;
        }
        Ok(())
    }
}

impl<S: Service> Reactor<S> {
    /// Has this reactor serve datagrams from sockets that are bound and do not block. No other
    /// reactor of the server may.
    ///
    /// # Errors
    /// If the kernel cannot watch them.
    pub fn take_datagram_sockets(&mut self, sockets: Vec<UdpSocket>) -> io::Result<()> {
        let mut watched = Vec::new();
        for (n, udp) in sockets.into_iter().enumerate() {
            let token = Token::from(Source::Datagrams(n));
            let mut source = SourceFd(&udp.as_raw_fd());
            let registry = self.poll.registry();
            registry.register(&mut source, token, Interest::READABLE)?;
            watched.push(Socket { udp, ready: true });
        }
        self.datagrams = DatagramSockets::new(watched, &self.kit.rules, self.kit.entropy);
        Ok(())
    }

    /// Serves datagrams, within the budget. Sockets with some left over stay ready.
    pub(super) fn serve_datagrams(&mut self) {
        if self.datagrams.is_ready() {
            let budget = Budget {
                messages: TURN_DATAGRAMS,
                ..Budget::of(&self.kit.rules.limits)
            };
            self.datagrams
                .serve(budget, &mut self.kit, &self.common.ids);
        }
    }

    /// Serves what has come by now, and closes the sockets.
    pub(super) fn end_datagrams(&mut self) {
        let mut datagrams = std::mem::replace(&mut self.datagrams, DatagramSockets::none());
        (0..datagrams.sockets.len()).for_each(|n| datagrams.note(n));
        let budget = Budget {
            bytes: usize::MAX,
            messages: DRAIN_DATAGRAMS,
        };
        datagrams.serve(budget, &mut self.kit, &self.common.ids);
        self.kit.count();
    }
}

/// The time that datagrams are dated by.
fn unix_ms() -> u64 {
    // A clock that was set to before 1970 shows 1970, and then no datagram is in time.
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
