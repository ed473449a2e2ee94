//! What a reactor does for so many clients that are ready at once, over loopback sockets: each is
//! sent a request of 64 bytes, then the answers of all are read.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gateloop::address::Address;
use gateloop::protocol::HandshakeRules;
use gateloop::server::{Config, Server};
use gateloop::service::Echo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const REQUEST_BYTES: usize = 64;

/// Both ends of a thousand connections are descriptors of this process.
fn raise_limit_of_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).expect("up to the hard limit");
}

fn connect(address: &Address) -> TcpStream {
    let Address::Tcp(address) = address else {
        panic!("an address of TCP");
    };
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("an option");
    stream
}

fn turn(c: &mut Criterion) {
    raise_limit_of_descriptors();
    let mut config = Config::new(HandshakeRules::None);
    config.listen = vec!["127.0.0.1:0".parse().expect("an address")];
    let server = Server::bind(config, Echo).expect("a free port");
    let (address, stop) = (server.addresses()[0].clone(), server.stop_handle());
    let running = thread::spawn(move || server.run());

    let mut request = vec![b'r'; 4 + REQUEST_BYTES];
    request[..4].copy_from_slice(&(REQUEST_BYTES as u32).to_be_bytes());
    let mut answer = request.clone();
    let mut group = c.benchmark_group("turn");
    for ready in [1, 50, 1_000] {
        let mut clients: Vec<_> = (0..ready).map(|_| connect(&address)).collect();
        group.throughput(Throughput::Elements(ready));
        group.bench_function(BenchmarkId::new("ready clients", ready), |b| {
            b.iter(|| {
                for client in &mut clients {
                    client.write_all(&request).expect("the server reads");
                }
                for client in &mut clients {
                    client.read_exact(&mut answer).expect("the server answers");
                }
            });
        });
    }
    group.finish();
    stop.abort();
    running
        .join()
        .expect("no panic")
        .expect("a server that runs to its end");
}

criterion_group!(benches, turn);
criterion_main!(benches);
