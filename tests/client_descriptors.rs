//! A client's socket where the process has no descriptor left, which is why this is alone in a
//! process of its own.

#![cfg(feature = "cli")]

mod util;

use std::fs::File;

use gateloop::address::Address;
use gateloop::client::socket::{Errno, Socket};
use util::measure::leave_descriptors;

#[test]
fn without_a_descriptor_left_there_is_no_socket_and_nobody_is_lost() {
    let (listener, client) = (
        Socket::unix().expect("a socket"),
        Socket::unix().expect("a socket"),
    );
    listener.bind(&Address::Unix("".into())).expect("a name");
    listener.listen(1).expect("a listener");
    let name = listener.local_name().expect("a name");
    client.connect(&name).expect("a place in the queue");

    leave_descriptors(std::process::id(), 0);
    // It had a folder open itself, to count.
    let spare = File::open("/dev/null").expect("one more descriptor");
    let refused = [
        Socket::tcp().map(drop),
        Socket::udp().map(drop),
        Socket::pair().map(drop),
        listener.accept().map(drop),
    ];
    for result in refused {
        let error = result.expect_err("no descriptor");
        assert_eq!(Errno::of(&error), Some(Errno::EMFILE));
    }
    drop(spare);
    let (server, _) = listener.accept().expect("it is still in the queue");
    client.send_all(b"x").expect("a connection");
    assert_eq!(server.recv(1).expect("a connection"), b"x");
}
