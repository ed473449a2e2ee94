//! What a turn of the loop costs, by the number of connections that are ready in it: each has
//! sent 64 bytes over loopback, and the time runs until the last has its echo.
//!
//! All are ready at once because one more client holds the loop up, inside of its service, until
//! everybody has sent.

#[path = "../tests/util/mod.rs"]
mod util;

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gateloop::service::Flow;
use util::measure::need_descriptors;
use util::server::{Raw, TestServer, open_config};
use util::services::ordered;

const READY: [usize; 3] = [1, 50, 1_000];
const HOLD: &[u8] = b"hold";
const MESSAGE: [u8; 64] = [7; 64];

/// A server that echoes, and the client that can hold it up.
struct Held {
    server: TestServer,
    holder: Raw,
    barrier: Arc<Barrier>,
}

impl Held {
    fn new() -> Self {
        let barrier = Arc::new(Barrier::new(2));
        let held = Arc::clone(&barrier);
        let service = ordered(move |message, replies| {
            if message.bytes() == HOLD {
                held.wait();
                held.wait();
            } else {
                replies.forward(message);
            }
            Flow::Continue
        });
        let server = TestServer::start(open_config(), service);
        let holder = server.connect();
        Self {
            server,
            holder,
            barrier,
        }
    }

    fn connect(&self, count: usize) -> Vec<Raw> {
        let clients = (0..count).map(|_| {
            let mut client = self.server.connect();
            client.echo(&MESSAGE);
            client
        });
        clients.collect()
    }

    /// From when the loop goes on until the last has its echo. By then all have: the kernel hands
    /// out events in the order in which the sockets became ready.
    fn turn(&mut self, clients: &mut [Raw]) -> Duration {
        self.holder.send_frame(HOLD);
        self.barrier.wait();
        for client in &mut *clients {
            client.send_frame(&MESSAGE);
        }
        let (last, others) = clients.split_last_mut().expect("somebody is ready");
        let start = Instant::now();
        self.barrier.wait();
        last.recv_frame();
        let turn = start.elapsed();
        for client in others {
            assert!(
                !client.recv_now().is_empty(),
                "the last was not served last"
            );
        }
        turn
    }
}

fn turn(criterion: &mut Criterion) {
    need_descriptors(2 * READY[2] as u64 + 100);
    let mut group = criterion.benchmark_group("turn");
    for ready in READY {
        let mut held = Held::new();
        let mut clients = held.connect(ready);
        group.throughput(Throughput::Elements(ready as u64));
        group.bench_function(BenchmarkId::new("ready clients", ready), |bencher| {
            bencher.iter_custom(|turns| (0..turns).map(|_| held.turn(&mut clients)).sum());
        });
    }
}

criterion_group!(benches, turn);
criterion_main!(benches);
