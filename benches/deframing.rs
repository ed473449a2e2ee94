//! Bytes of the wire to messages to a service, by how the network cuts them.

mod bed;

use std::hint::black_box;

use bed::Bed;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gateloop::protocol::framing::{AnyFraming, Framing};
use gateloop::protocol::{FramingKind, Message};
use gateloop::service::{Echo, Flow, Replies, Service};

/// What one measurement feeds.
const WIRE_BYTES: usize = 4 << 20;
/// A byte; less than a header and its payload; a message of 64 bytes without its header; a segment
/// of TCP; a read of a loopback socket.
const CUTS: [usize; 5] = [1, 7, 64, 1_448, 65_536];

/// Looks at each message's end, and answers nothing.
#[derive(Clone)]
struct Sink;

impl Service for Sink {
    type State = ();

    fn name(&self) -> &'static str {
        "sink"
    }

    fn message(&mut self, _: &mut (), message: &mut Message<'_>, _: &mut Replies<'_>) -> Flow {
        black_box(message.bytes().last());
        Flow::Continue
    }
}

fn wire(framing: FramingKind, message: &[u8]) -> Vec<u8> {
    let framing = AnyFraming::new(framing);
    let mut wire = Vec::new();
    while wire.len() < WIRE_BYTES {
        framing.encode_with(&mut wire, |out| out.extend_from_slice(message));
    }
    wire
}

fn feed(
    c: &mut Criterion,
    service: impl Service,
    framing: FramingKind,
    message: &[u8],
    what: &str,
) {
    let wire = wire(framing, message);
    let len = message.len();
    let name = format!("{}/{framing}/{len} B {what}", service.name());
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(wire.len() as u64));
    group.sample_size(10);
    for cut in CUTS {
        let mut bed = Bed::new(service.clone(), framing);
        group.bench_function(BenchmarkId::new("cut at", cut), |b| {
            b.iter(|| {
                let answered = wire.chunks(cut).map(|bytes| bed.turn(bytes));
                black_box(answered.sum::<usize>())
            });
        });
    }
    group.finish();
}

fn deframing(c: &mut Criterion) {
    for message_bytes in [64, 1 << 20] {
        let message = vec![b'm'; message_bytes];
        for framing in [FramingKind::I32Be, FramingKind::Lines] {
            feed(c, Sink, framing, &message, "messages");
        }
        feed(c, Echo, FramingKind::I32Be, &message, "messages");
    }
    for (what, value) in values() {
        feed(c, Sink, FramingKind::Json, value.as_bytes(), what);
    }
}

/// What a scanner of JSON meets: something to do at every second byte, or next to nothing. None is
/// so short that the largest cut holds more messages than a turn serves.
fn values() -> [(&'static str, String); 6] {
    let login = r#"{"username": "\u65ed\u54e5", "passwd": "a password of some length"}"#;
    let call = r#"{"jsonrpc":"2.0","id":1001,"method":"add","params":[1.5,-20000.25]}"#;
    let many = |value: &str| {
        let count = (1 << 20) / (value.len() + 1);
        format!("[{}]", vec![value; count].join(","))
    };
    [
        ("logins", login.to_string()),
        ("calls", call.to_string()),
        ("batches of calls", many(call)),
        (
            "lists of texts in escapes",
            many(&format!("\"{}\"", "\\u5929".repeat(20))),
        ),
        (
            "texts of backslashes",
            format!("\"{}\"", "\\\\".repeat(1 << 19)),
        ),
        ("texts", format!("\"{}\"", "m".repeat(1 << 20))),
    ]
}

criterion_group!(benches, deframing);
criterion_main!(benches);
