//! Every reason for which a connection can end is reached by one of these scenarios, and counted.

#![cfg(feature = "cli")]

mod util;

use std::sync::Arc;
use std::time::Duration;

use gateloop::error::{CloseReason, ProtocolError};
use gateloop::limits::Limits;
use gateloop::protocol::Message;
use gateloop::service::{Echo, Flow, Replies};
use gateloop::stats::Stats;
use util::server::{Raw, TestServer, keyed_config, start};
use util::services::{fountain, ordered};

const MIB: usize = 1024 * 1024;
const TRUNCATED: CloseReason = CloseReason::Protocol(ProtocolError::TruncatedMessage);

/// Brings a connection to its end for a reason, waits for that, and returns the counters.
type Scenario = fn(CloseReason) -> Arc<Stats>;

/// Each reason, in the order of [`CloseReason::index`], and how it comes about.
const SCENARIOS: [(CloseReason, Scenario); CloseReason::COUNT] = [
    (CloseReason::PeerClosed, |reason| {
        ends(start(Limits::default(), Echo), reason, |client| {
            client.shutdown_write();
        })
    }),
    (CloseReason::PeerLeftHandshake, |reason| {
        ends(
            TestServer::start(keyed_config("key"), Echo),
            reason,
            |client| {
                client.shutdown_write();
            },
        )
    }),
    (CloseReason::Reset, |reason| {
        let server = start(Limits::default(), Echo);
        server.connect().reset();
        server.wait_for_closes(reason, 1);
        Arc::clone(&server.stats)
    }),
    (TRUNCATED, |reason| {
        ends(start(Limits::default(), Echo), reason, |client| {
            client.send(&[0]);
            client.shutdown_write();
        })
    }),
    (CloseReason::WrongKey, |reason| {
        ends(
            TestServer::start(keyed_config("key"), Echo),
            reason,
            |client| {
                client.send_frame(b"no MAC");
            },
        )
    }),
    (CloseReason::HandshakeTimeout, |reason| {
        let mut config = keyed_config("key");
        config.limits.handshake_timeout = SOON;
        ends(TestServer::start(config, Echo), reason, |_| {})
    }),
    (CloseReason::StrangerEvicted, |reason| {
        let mut config = keyed_config("key");
        config.limits.strangers_max = 1;
        let server = TestServer::start(config, Echo);
        let _clients = [server.connect(), server.connect()];
        server.wait_for_closes(reason, 1);
        Arc::clone(&server.stats)
    }),
    (CloseReason::IdleTimeout, |reason| {
        let limits = Limits {
            idle_timeout: Some(SOON),
            ..Limits::default()
        };
        ends(start(limits, Echo), reason, |_| {})
    }),
    (CloseReason::ArrivalTimeout, |reason| {
        let limits = Limits {
            arrival_timeout: SOON,
            ..Limits::default()
        };
        ends(start(limits, Echo), reason, |client| client.send(&[0]))
    }),
    (CloseReason::WriteTimeout, |reason| {
        let limits = Limits {
            write_stall_timeout: SOON,
            ..Limits::default()
        };
        let server = start(limits, fountain(false));
        let mut client = server.connect();
        client.send_frame(b"33000000");
        server.wait_for_closes(reason, 1);
        Arc::clone(&server.stats)
    }),
    (CloseReason::SendQueueFull, |reason| {
        let limits = Limits {
            send_hard_bytes: MIB,
            message_bytes_max: MIB,
            ..Limits::default()
        };
        ends(start(limits, fountain(false)), reason, |client| {
            client.send_frame(b"33000000");
        })
    }),
    (CloseReason::BufferMemory, |reason| {
        let limits = Limits {
            message_bytes_max: MIB,
            buffer_memory_bytes_max: MIB,
            ..Limits::default()
        };
        // Nobody reads meanwhile: the kernel could pass on all of the answer in one write.
        let server = start(limits, fountain(false));
        let mut client = server.connect();
        client.send_frame(b"33000000");
        server.wait_for_closes(reason, 1);
        client.wait_for_end();
        Arc::clone(&server.stats)
    }),
    (CloseReason::ServiceClosed, |reason| {
        ends(start(Limits::default(), fountain(true)), reason, |client| {
            client.send_frame(b"1");
        })
    }),
    (CloseReason::ServicePanic, |reason| {
        ends(start(Limits::default(), fountain(true)), reason, |client| {
            client.send_frame(b"no number");
        })
    }),
    (CloseReason::StreamLength, |reason| {
        let service = ordered(|_: &mut Message<'_>, replies: &mut Replies<'_>| {
            replies.begin(2).expect("there is room");
            replies.send_all(b"1");
            Flow::Close
        });
        ends(start(Limits::default(), service), reason, |client| {
            client.send_frame(b"");
        })
    }),
    (CloseReason::LoginFailures, |reason| {
        let service = ordered(|_: &mut Message<'_>, _: &mut Replies<'_>| {
            Flow::CloseFor(CloseReason::LoginFailures)
        });
        ends(start(Limits::default(), service), reason, |client| {
            client.send_frame(b"");
        })
    }),
    (CloseReason::Draining, |_| {
        let server = start(Limits::default(), Echo);
        let mut client = server.connect();
        client.echo(b"");
        server.stop.drain();
        assert_eq!(client.recv_to_end(), b"");
        client.shutdown_write();
        let stats = Arc::clone(&server.stats);
        assert_eq!(server.wait().cut, 0);
        stats
    }),
    (CloseReason::Aborted, |_| {
        let server = start(Limits::default(), fountain(false));
        let mut client = server.connect();
        client.send_frame(b"33000000");
        client.recv(1);
        server.stop.abort();
        // Nobody reads meanwhile: the kernel could pass on all of the answer in one write.
        let stats = Arc::clone(&server.stats);
        assert_eq!(server.wait().cut, 1);
        client.wait_for_end();
        stats
    }),
];

const SOON: Duration = Duration::from_millis(50);

/// Has one client do something, and waits for the end that this leads to, on both sides.
fn ends(server: TestServer, reason: CloseReason, act: impl FnOnce(&mut Raw)) -> Arc<Stats> {
    let mut client = server.connect();
    act(&mut client);
    client.wait_for_end();
    drop(client);
    server.wait_for_closes(reason, 1);
    Arc::clone(&server.stats)
}

#[test]
fn every_reason_is_reached_counted_and_named() {
    for (index, (reason, scenario)) in SCENARIOS.into_iter().enumerate() {
        assert_eq!(reason.index(), index);
        let stats = scenario(reason);
        let closes = stats.snapshot().closes.0;
        assert_eq!(closes[index], 1, "{reason}: {closes:?}");
    }
}
