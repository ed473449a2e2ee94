//! How long others wait beside a client that asks for more than is its due.

#![cfg(feature = "cli")]

mod util;

use std::io::{ErrorKind, Write};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use gateloop::limits::Limits;
use gateloop::server::Config;
use gateloop::service::Echo;
use util::datagrams::RawDatagrams;
use util::measure::{peak_resident_bytes, resident_bytes};
use util::server::{Raw, TestServer, frame, open_config, start};
use util::{Ends, Serving, eventually, gateloop};

const MIB: usize = 1024 * 1024;

/// Held by a test while it measures, as one beside it would change what it measures.
static MEASURING: Mutex<()> = Mutex::new(());

/// Times of pings, sorted.
struct Times(Vec<Duration>);

impl Times {
    /// Pings as often as this, and until `done`.
    fn of(client: &mut Raw, at_least: usize, mut done: impl FnMut() -> bool) -> Self {
        let mut times = Vec::new();
        while times.len() < at_least || !done() {
            let sent = Instant::now();
            client.echo(b"ping");
            times.push(sent.elapsed());
        }
        times.sort_unstable();
        Self(times)
    }

    fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() - 1) * percent / 100]
    }

    /// A ping waits for a turn of the others: 1 024 messages, 128 datagrams or 256 KiB each, some
    /// milliseconds without optimisation. The rest is for a machine that has other things to do.
    fn assert_near(&self, quiet: &Self) {
        for (percent, turns) in [(50, 20), (99, 150)] {
            let bound = 2 * quiet.percentile(percent) + Duration::from_millis(turns);
            let time = self.percentile(percent);
            assert!(
                time < bound,
                "{percent} % of the pings take up to {time:?}, not {bound:?}"
            );
        }
    }
}

/// Sends short messages without waiting for their answers, until it is over.
fn flood(server: &TestServer, over: &AtomicBool) {
    let mut reader = server.connect();
    let writer = reader.0.try_clone().expect("a descriptor");
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut writer = Raw::from(writer);
            let messages = frame(b"flood").repeat(20_000);
            while !over.load(Relaxed) {
                writer.send(&messages);
            }
            writer.shutdown_write();
        });
        reader.wait_for_end();
    });
}

#[test]
fn a_flood_of_messages_does_not_starve_a_ping() {
    let _alone = MEASURING.lock();
    let server = start(Limits::default(), Echo);
    let mut client = server.connect();
    let quiet = Times::of(&mut client, 500, || true);
    let over = AtomicBool::new(false);
    let flooded = thread::scope(|scope| {
        let _ends = Ends(&over);
        (0..2).for_each(|_| {
            scope.spawn(|| flood(&server, &over));
        });
        eventually("the flood is there", || {
            (server.stats.messages.load(Relaxed) > 20_000).then_some(())
        });
        Times::of(&mut client, 200, || true)
    });
    flooded.assert_near(&quiet);
}

#[test]
fn a_flood_of_datagrams_does_not_starve_a_ping() {
    let _alone = MEASURING.lock();
    let config = Config {
        udp: vec!["127.0.0.1:0".parse().expect("an address")],
        ..open_config()
    };
    let server = TestServer::start(config, Echo);
    let mut client = server.connect();
    let quiet = Times::of(&mut client, 500, || true);
    let over = AtomicBool::new(false);
    let flooded = thread::scope(|scope| {
        let _ends = Ends(&over);
        (0..2).for_each(|_| {
            scope.spawn(|| {
                let flooder = RawDatagrams::to(server.udp[0]);
                while !over.load(Relaxed) {
                    flooder.send(b"flood");
                }
            });
        });
        eventually("the flood is there", || {
            (server.stats.datagrams.load(Relaxed) > 20_000).then_some(())
        });
        Times::of(&mut client, 200, || true)
    });
    flooded.assert_near(&quiet);
}

/// Asks for echoes and never reads one, until the server has had enough; how much it has taken.
fn ask_and_never_read(mut client: Raw, echoes: usize, request: &[u8]) -> usize {
    let mut taken = 0;
    for _ in 0..echoes {
        match client.0.write(request) {
            Ok(len) => taken += len,
            Err(error) => {
                let reset = matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                );
                assert!(reset, "{error}");
                return taken;
            }
        }
    }
    panic!("the server has taken all of it");
}

#[test]
fn who_asks_for_a_gibibyte_and_never_reads_harms_only_itself() {
    let _alone = MEASURING.lock();
    let serve = "serve --listen 127.0.0.1:0 --handshake none --service echo";
    let server = Serving::from_command(
        gateloop()
            .args(serve.split(' '))
            .args(["--write-stall-timeout", "2s"])
            .env("RUST_LOG", "gateloop=debug"),
    );
    let process = server.process.id();
    let mut client = server.connect();
    let quiet = Times::of(&mut client, 500, || true);
    let before = resident_bytes(process);
    let (taken, beside) = thread::scope(|scope| {
        let greedy = server.connect();
        let request = frame(&[b'g'; 64 * 1024 - 4]);
        let greedy = scope.spawn(move || ask_and_never_read(greedy, 16 * 1024, &request));
        let beside = Times::of(&mut client, 500, || greedy.is_finished());
        (greedy.join().expect("no panic"), beside)
    });
    // One high-water mark here, and what the kernel holds of both directions.
    assert!(taken < 64 * MIB, "{taken} bytes were taken");
    let grown = peak_resident_bytes(process).saturating_sub(before);
    assert!(grown < 16 * MIB, "the server has grown by {grown} bytes");
    let log = server.process.stderr();
    let ends: Vec<_> = log.lines().filter(|line| line.contains("closed")).collect();
    assert_eq!(ends.len(), 1, "{log}");
    assert!(ends[0].contains("write_timeout"), "{log}");
    let bound = 2 * quiet.percentile(50) + Duration::from_millis(2);
    assert!(
        beside.percentile(50) < bound,
        "{:?}, not {bound:?}",
        beside.percentile(50)
    );
}
