//! What a student reads in the log: each step of a conversation, with who it was, and no payload.

#![cfg(feature = "cli")]

mod util;

use gateloop::server::Model;
use serde_json::Value;
use util::cli::{FREE_PORT, KEY, gateloop_with_key};
use util::{Serving, gateloop};

/// The log of a server of this model that was called once, as JSON.
fn log(level: &str, model: Model) -> Vec<Value> {
    let serve = ["serve", "--listen", FREE_PORT, "--log-format", "json"];
    let serving = Serving::from_command(
        gateloop()
            .args(serve)
            .args(["--model", model.name()])
            .env("GATELOOP_AUTHKEY", KEY)
            .env("RUST_LOG", format!("gateloop={level}")),
    );
    let call = ["call", serving.address(), "echo", "[\"a payload\"]"];
    assert_eq!(gateloop_with_key(&call).stdout, "[\"a payload\"]\n");
    let ended = serving.stop();
    assert!(!ended.stderr.contains("a payload"), "{}", ended.stderr);
    let lines = ended.stderr.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON a line")
}

fn fields<'a>(log: &'a [Value], message: &str) -> Vec<&'a Value> {
    log.iter()
        .filter(|fields| fields["message"] == message)
        .collect()
}

#[test]
fn debug_tells_of_each_end_with_its_reason_and_bytes() {
    Model::ALL.into_iter().for_each(tells_of_each_end);
}

fn tells_of_each_end(model: Model) {
    let log = log("debug", model);
    let [closed] = fields(&log, "closed")[..] else {
        panic!("one end: {log:?}")
    };
    assert_eq!(closed["reason"], "peer_closed");
    assert_eq!(closed["id"], 0);
    assert!(
        closed["peer"]
            .as_str()
            .is_some_and(|peer| peer.starts_with("127.0.0.1:"))
    );
    for bytes in ["bytes_in", "bytes_out"] {
        assert!(closed[bytes].as_u64() > Some(0), "{closed}");
    }
    assert_eq!(fields(&log, "accepted").len(), 1);
    let [ready] = fields(&log, "ready")[..] else {
        panic!("ready once: {log:?}")
    };
    assert_eq!(ready["model"], model.name());
    assert!(fields(&log, "read").is_empty());
}

#[test]
fn trace_tells_of_each_read_write_and_transition_and_whose_it_was() {
    Model::ALL.into_iter().for_each(tells_of_each_step);
}

fn tells_of_each_step(model: Model) {
    let log = log("trace", model);
    let closed = fields(&log, "closed")[0];
    for (message, all) in [("read", "bytes_in"), ("write", "bytes_out")] {
        let moved = fields(&log, message);
        let bytes = moved.iter().filter_map(|fields| fields["bytes"].as_u64());
        assert_eq!(Some(bytes.sum()), closed[all].as_u64(), "{message}");
    }
    let steps: Vec<_> = fields(&log, "handshake")
        .iter()
        .map(|f| f["step"].clone())
        .collect();
    assert_eq!(steps, ["PeerProved", "Continue", "Passed(Sha256)"]);
    let phases = fields(&log, "phase");
    let way: Vec<_> = phases
        .iter()
        .map(|f| (f["from"].clone(), f["to"].clone()))
        .collect();
    let expected = [
        ("handshake", "commands"),
        ("commands", "draining"),
        ("draining", "closed"),
    ];
    assert_eq!(way, expected.map(|(from, to)| (from.into(), to.into())));
    for message in ["read", "write", "handshake", "phase", "read EOF"] {
        let fields = fields(&log, message);
        assert!(!fields.is_empty(), "{message}");
        for fields in fields {
            assert_eq!(
                (&fields["id"], &fields["peer"]),
                (&closed["id"], &closed["peer"])
            );
        }
    }
}
