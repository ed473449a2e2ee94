//! `rpc` against the JSON-RPC 2.0 specification, without a socket: its own examples, and whatever
//! else a peer may think of.

#[path = "util/seed.rs"]
mod seed;

use std::net::SocketAddr;
use std::time::Duration;

use gateloop::limits::RPC_BATCH_REQUESTS_MAX;
use gateloop::service::rpc::{Call, Rpc, RpcError};
use gateloop::service::{Caller, Peer};
use gateloop::stats::Stats;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

const PARSE_ERROR: &str =
    r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}"#;
const INVALID_REQUEST: &str =
    r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request"},"id":null}"#;
const PONG: &str = r#"{"jsonrpc":"2.0","result":"pong","id":1}"#;

#[derive(Deserialize)]
struct Subtraction {
    minuend: i64,
    subtrahend: i64,
}

fn nothing(_: &Call<'_>) -> Result<(), RpcError> {
    Ok(())
}

/// The service with the methods that the specification's examples call.
fn rpc() -> Rpc {
    Rpc::new()
        .method(
            "subtract",
            "minuend, subtrahend: integers",
            "their difference",
            |call| {
                let Subtraction {
                    minuend,
                    subtrahend,
                } = call.params()?;
                Ok(minuend - subtrahend)
            },
        )
        .method("sum", "integers", "their sum", |call| {
            Ok(call.params::<Vec<i64>>()?.iter().sum::<i64>())
        })
        .deferred("get_data", "none", "some data", |call| {
            call.no_params()?;
            Ok(|| Ok(("hello", 5)))
        })
        .method("update", "any", "nothing", nothing)
        .method("notify_hello", "any", "nothing", nothing)
        .method("notify_sum", "any", "nothing", nothing)
        .method("optional", "[n]: number; or none", "n, or null", |call| {
            Ok(call.params::<Option<[u8; 1]>>()?.map(|[n]| n))
        })
        .method("teapot", "none", "fails", |_| {
            Err::<(), _>(RpcError::new(418, "a \"teapot\""))
        })
        .method("no_json", "none", "a map that JSON cannot have", |_| {
            Ok(std::collections::BTreeMap::from([((1, 2), 3)]))
        })
        .deferred("panic", "none", "panics", |_| {
            Ok(|| -> Result<(), RpcError> { panic!("a job that panics, as it should") })
        })
}

fn answer_from(rpc: &Rpc, address: Option<SocketAddr>, message: &[u8]) -> Option<Vec<u8>> {
    let peer = Peer { id: 1, address };
    let connected = Duration::from_millis(1_500);
    let caller = Caller {
        peer: &peer,
        handshake: "none",
        digest: None,
        connected,
    };
    rpc.answer(message, caller, &Stats::default())
}

fn answer_of(rpc: &Rpc, message: impl AsRef<[u8]>) -> Option<String> {
    answer_from(rpc, None, message.as_ref()).map(|answer| String::from_utf8(answer).unwrap())
}

/// The answer to a message; `""` where there is none.
fn answer(message: impl AsRef<[u8]>) -> String {
    answer_of(&rpc(), message).unwrap_or_default()
}

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

/// Section 7 of the specification, in its order and its notation: data sent to the server, and data
/// sent to the client, if any.
const EXAMPLES: &str = r#"
--> {"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}
<-- {"jsonrpc": "2.0", "result": 19, "id": 1}

--> {"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}
<-- {"jsonrpc": "2.0", "result": -19, "id": 2}

--> {"jsonrpc": "2.0", "method": "subtract",
     "params": {"subtrahend": 23, "minuend": 42}, "id": 3}
<-- {"jsonrpc": "2.0", "result": 19, "id": 3}

--> {"jsonrpc": "2.0", "method": "subtract",
     "params": {"minuend": 42, "subtrahend": 23}, "id": 4}
<-- {"jsonrpc": "2.0", "result": 19, "id": 4}

--> {"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}

--> {"jsonrpc": "2.0", "method": "foobar"}

--> {"jsonrpc": "2.0", "method": "foobar", "id": "1"}
<-- {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}

--> {"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]
<-- {"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}

--> {"jsonrpc": "2.0", "method": 1, "params": "bar"}
<-- {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}

--> [
        {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
        {"jsonrpc": "2.0", "method"
    ]
<-- {"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}

--> []
<-- {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}

--> [1]
<-- [
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}
    ]

--> [1,2,3]
<-- [
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}
    ]

--> [
        {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
        {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
        {"foo": "boo"},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
    ]
<-- [
        {"jsonrpc": "2.0", "result": 7, "id": "1"},
        {"jsonrpc": "2.0", "result": 19, "id": "2"},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
        {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},
        {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}
    ]

--> [
        {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
    ]
"#;

#[test]
fn the_examples_of_the_specification() {
    let examples: Vec<_> = EXAMPLES.split("-->").skip(1).collect();
    assert_eq!(examples.len(), 15);
    for example in examples {
        match example.split_once("<--") {
            Some((message, expected)) => assert_eq!(value(&answer(message)), value(expected)),
            None => assert_eq!(answer(example), "", "{example}"),
        }
    }
}

#[test]
fn an_id_comes_back_byte_for_byte() {
    let ids = [
        "1",
        "0",
        "-0",
        "-7",
        "1.0",
        "1e2",
        "1E+2",
        "-1.50e-300",
        "1e999",
        "null",
        "123456789012345678901234567890",
        r#""""#,
        r#""a""#,
        r#""\u0041""#,
        r#""\"\\\/\n""#,
        r#""\ud800""#,
        r#""\ud83d\ude00""#,
        "\"\u{7f}\u{1f600}\"",
        "\"旭哥\"",
    ];
    for id in ids {
        for space in ["", " ", "\n\t\r "] {
            let ping = format!(r#"{{"id":{space}{id}{space},"jsonrpc":"2.0","method":"ping"}}"#);
            assert_eq!(
                answer(&ping),
                format!(r#"{{"jsonrpc":"2.0","result":"pong","id":{id}}}"#)
            );
            let lost = ping.replace("ping", "pong");
            let not_found = r#""error":{"code":-32601,"message":"Method not found"}"#;
            assert_eq!(
                answer(&lost),
                format!(r#"{{"jsonrpc":"2.0",{not_found},"id":{id}}}"#)
            );
        }
    }
}

/// An invalid request is told by its id if that at least is legal, and there only once.
#[test]
fn whose_invalid_request_it_was() {
    let told = [
        (r#"{"id":7,"method":"ping"}"#, "7"),
        (r#"{"id":"a","jsonrpc":"2.0"}"#, "\"a\""),
        (r#"{"id":1.0,"jsonrpc":"2.0","method":null}"#, "1.0"),
        (
            r#"{"id":7,"jsonrpc":"2.0","method":"ping","params":null}"#,
            "7",
        ),
        (
            r#"{"id":7,"jsonrpc":"2.0","method":"ping","params":"x"}"#,
            "7",
        ),
        (
            r#"{"id":7,"jsonrpc":"2.0","method":"ping","params":1}"#,
            "7",
        ),
        (
            r#"{"id":7,"jsonrpc":"2.0","method":"ping","params":true}"#,
            "7",
        ),
        (r#"{"id":7,"jsonrpc":2.0,"method":"ping"}"#, "7"),
        (r#"{"id":7,"jsonrpc":"1.0","method":"ping"}"#, "7"),
        (r#"{"id":7,"jsonrpc":"2.0 ","method":"ping"}"#, "7"),
        (r#"{"id":7,"jsonrpc":"\ud800","method":"ping"}"#, "7"),
        (
            r#"{"id":7,"jsonrpc":"2.0","jsonrpc":"2.0","method":"ping"}"#,
            "7",
        ),
        (
            r#"{"id":7,"jsonrpc":"2.0","method":"ping","method":"ping"}"#,
            "7",
        ),
        (
            r#"{"id":7,"jsonrpc":"2.0","method":"ping","params":[],"params":[]}"#,
            "7",
        ),
        (
            r#"{"id":7,"jsonrpc":"2.0","method":"ping","\u006dethod":"ping"}"#,
            "7",
        ),
        (r#"{"id":7,"jsonrpc":"2.0","result":"pong"}"#, "7"),
        (r#"{"id":7,"id":7,"jsonrpc":"2.0","method":"ping"}"#, "null"),
        (
            r#"{"id":7,"\u0069d":8,"jsonrpc":"2.0","method":"ping"}"#,
            "null",
        ),
        (r#"{"id":true,"jsonrpc":"2.0","method":"ping"}"#, "null"),
        (r#"{"id":false,"jsonrpc":"2.0","method":"ping"}"#, "null"),
        (r#"{"id":[1],"jsonrpc":"2.0","method":"ping"}"#, "null"),
        (r#"{"id":{},"jsonrpc":"2.0","method":"ping"}"#, "null"),
        (r#"{"jsonrpc":"2.0","method":"ping","params":"x"}"#, "null"),
        (r#"{"ID":7}"#, "null"),
        ("{}", "null"),
    ];
    for (message, id) in told {
        let expected = INVALID_REQUEST.replace("\"id\":null", &format!("\"id\":{id}"));
        assert_eq!(answer(message), expected, "{message}");
        assert_eq!(
            answer(format!("[{message}]")),
            format!("[{expected}]"),
            "{message}"
        );
    }
}

#[test]
fn spellings_that_mean_the_same() {
    let pings = [
        r#"{"jsonrpc":"2.0","method":"ping","id":1}"#,
        r#" { "method" : "ping" , "id" : 1 , "jsonrpc" : "2.0" } "#,
        r#"{"jsonrpc":"\u0032.0","method":"p\u0069ng","id":1}"#,
        r#"{"json\u0072pc":"2.0","\u006dethod":"ping","\u0069d":1,"par\u0061ms":[]}"#,
        r#"{"jsonrpc":"2.0","method":"ping","id":1,"params":[ ]}"#,
        r#"{"jsonrpc":"2.0","method":"ping","id":1,"params":{}}"#,
        r#"{"jsonrpc":"2.0","method":"ping","id":1,"extra":[{"id":2}],"extra":1e999}"#,
        r#"{"jsonrpc":"2.0","method":"ping","id":1,"\ud800":"\udfff"}"#,
    ];
    for ping in pings {
        assert_eq!(answer(ping), PONG, "{ping}");
        assert_eq!(answer(format!("[{ping}]")), format!("[{PONG}]"), "{ping}");
    }
}

#[test]
fn values_that_are_no_objects() {
    for message in [
        "1",
        "-1.5e999",
        "null",
        "true",
        "false",
        "\"ping\"",
        "\"\\ud800\"",
        " 0 ",
    ] {
        assert_eq!(answer(message), INVALID_REQUEST, "{message}");
    }
    let positional = r#"["2.0", "ping", [], 1]"#;
    assert_eq!(
        answer(format!("[{positional}]")),
        format!("[{INVALID_REQUEST}]")
    );
    assert_eq!(answer("[[]]"), format!("[{INVALID_REQUEST}]"));
}

#[test]
fn notifications_are_never_answered() {
    let silent = [
        r#"{"jsonrpc":"2.0","method":"ping"}"#,
        r#"{"jsonrpc":"2.0","method":"ping","params":[1]}"#,
        r#"{"jsonrpc":"2.0","method":"subtract","params":["a"]}"#,
        r#"{"jsonrpc":"2.0","method":"teapot"}"#,
        r#"{"jsonrpc":"2.0","method":"no_json"}"#,
        r#"{"jsonrpc":"2.0","method":"missing"}"#,
        r#"{"jsonrpc":"2.0","method":"\ud800"}"#,
        r#"{"jsonrpc":"2.0","method":"get_data"}"#,
        r#"{"jsonrpc":"2.0","method":"get_data","params":[1]}"#,
        r#"{"jsonrpc":"2.0","method":"panic"}"#,
    ];
    for message in silent {
        assert_eq!(answer(message), "", "{message}");
        assert_eq!(answer(format!("[{message}]")), "", "{message}");
    }
    assert_eq!(answer(format!("[{}]", silent.join(","))), "");
    let ping = r#"{"jsonrpc":"2.0","method":"ping","id":1}"#;
    assert_eq!(
        answer(format!("[{},{ping}]", silent.join(","))),
        format!("[{PONG}]")
    );
}

#[test]
fn messages_that_are_no_json() {
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"echo","params":["é\u00e9",{"a":[-1e3]}]}"#;
    assert!(answer(request).contains("result"));
    for end in 0..request.len() {
        assert_eq!(
            answer(&request.as_bytes()[..end]),
            PARSE_ERROR,
            "cut at {end}"
        );
        let batch = [b"[", &request.as_bytes()[..end]].concat();
        assert_eq!(answer(batch), PARSE_ERROR, "batch cut at {end}");
    }
    // Pickles of None, of a str and of a dict, by protocols 4, 0 and 2.
    let pickles: [&[u8]; 3] = [
        b"\x80\x04N.",
        b"Vping\np0\n.",
        b"\x80\x02}q\x00X\x02\x00\x00\x00idq\x01K\x01s.",
    ];
    for pickle in pickles {
        assert_eq!(answer(pickle), PARSE_ERROR, "{pickle:?}");
    }
    let others: [&[u8]; 18] = [
        b"",
        b" ",
        b"\0",
        b"\0\0\0\0",
        b"\n",
        b"{",
        b"[",
        b"]",
        b",",
        b"nul",
        b"NaN",
        b"'a'",
        b"[1,]",
        b"{\"a\":1,}",
        b"{}{}",
        b"[] 1",
        b"\x0c{}",
        b"\xef\xbb\xbf{}",
    ];
    for message in others {
        assert_eq!(answer(message), PARSE_ERROR, "{message:?}");
    }
}

#[test]
fn a_byte_that_may_not_stand_there() {
    let request = br#"{"jsonrpc":"2.0","id":1,"method":"ping","x":"y"}"#;
    for byte in [0x00, 0x1f, 0x80, 0xc0, 0xff] {
        for place in 0..=request.len() {
            let mut message = request.to_vec();
            message.insert(place, byte);
            assert_eq!(answer(message), PARSE_ERROR, "{byte:#04x} at {place}");
        }
    }
    // Half a surrogate pair in UTF-8, an overlong slash, a character beyond the last.
    for text in [&b"\xed\xa0\x80"[..], b"\xc0\xaf", b"\xf4\x90\x80\x80"] {
        let ignored = [b"{\"x\":\"", text, b"\"}"].concat();
        assert_eq!(answer(ignored), PARSE_ERROR, "{text:?}");
    }
}

#[test]
fn echo_gives_its_params_back_byte_for_byte() {
    let texts = [
        "[]",
        "{}",
        "[ 1.0 , 1e2 ]",
        r#"{"a":1,"a":2}"#,
        r#"["\u0041\ud800\/"]"#,
        "[1e999]",
        "[\"\u{7f}\u{2028}\"]",
        r#"{"b":{},"a":[[]]}"#,
        "[\n1\r\n]",
    ];
    for text in texts {
        let message = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"echo","params": {text} }}"#);
        let expected = format!(r#"{{"jsonrpc":"2.0","result":{text},"id":1}}"#);
        assert_eq!(answer(message), expected);
    }
    let without = r#"{"jsonrpc":"2.0","id":1,"method":"echo"}"#;
    assert_eq!(answer(without), r#"{"jsonrpc":"2.0","result":null,"id":1}"#);
}

fn call(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
}

#[test]
fn wrong_params_are_answered_with_the_right_ones() {
    let wrong = |params: &str| {
        let error = format!(r#"{{"code":-32602,"message":"Invalid params","data":"{params}"}}"#);
        format!(r#"{{"jsonrpc":"2.0","error":{error},"id":1}}"#)
    };
    for method in ["ping", "time", "whoami", "stats", "rpc.methods", "get_data"] {
        for params in ["[1]", "[null]", "[[]]", "{\"a\":1}"] {
            assert_eq!(
                answer(call(method, params)),
                wrong("params: none"),
                "{method} {params}"
            );
        }
    }
    let subtract = wrong("params: minuend, subtrahend: integers");
    for params in [
        "[]",
        "[1]",
        "[1,2,3]",
        "[\"1\",2]",
        "{}",
        "{\"minuend\":1}",
        "[1,2.5]",
    ] {
        assert_eq!(answer(call("subtract", params)), subtract, "{params}");
    }
    assert!(answer(call("optional", "[7]")).contains("\"result\":7"));
    assert!(answer(r#"{"jsonrpc":"2.0","id":1,"method":"optional"}"#).contains("\"result\":null"));
}

#[test]
fn errors_of_methods() {
    let error = |code: i32, message: &str| {
        let error = json!({"code": code, "message": message});
        json!({"jsonrpc": "2.0", "id": 1, "error": error})
    };
    assert_eq!(
        value(&answer(call("teapot", "[]"))),
        error(418, "a \"teapot\"")
    );
    assert_eq!(
        value(&answer(call("no_json", "[]"))),
        error(-32603, "Internal error")
    );
    assert_eq!(
        value(&answer(call("panic", "[]"))),
        error(-32603, "Internal error")
    );
    for method in [
        "", "PING", "ping ", "pin", "pingg", "rpc.", "\\u0000", "\\ud800",
    ] {
        let expected = error(-32601, "Method not found");
        assert_eq!(value(&answer(call(method, "[]"))), expected, "{method}");
    }
}

#[test]
fn what_the_built_in_methods_say() {
    let result = |method: &str| value(&answer(call(method, "[]")))["result"].take();
    assert_eq!(result("ping"), "pong");

    let time = result("time");
    assert!(time["unix"].as_f64().unwrap() > 1.7e9, "{time}");
    let utc = time["utc"].as_str().unwrap();
    assert_eq!(utc.len(), "1970-01-01T00:00:00.000000Z".len(), "{utc}");

    let who = json!({
        "address": null, "handshake": "none", "digest": null, "connected_s": 1.5, "user": null
    });
    assert_eq!(result("whoami"), who);
    for (address, text) in [("127.0.0.1:9", "127.0.0.1:9"), ("[::1]:9090", "[::1]:9090")] {
        let address = Some(address.parse().unwrap());
        let answer = answer_from(&rpc(), address, call("whoami", "{}").as_bytes()).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["result"]["address"], text);
    }

    let stats = result("stats");
    assert_eq!(stats["accepted"], 0, "{stats}");
    assert!(stats["closes"].is_object(), "{stats}");

    let methods = result("rpc.methods");
    let mut names: Vec<_> = methods
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["name"])
        .collect();
    for name in [
        "ping",
        "echo",
        "time",
        "whoami",
        "stats",
        "rpc.methods",
        "sum",
        "get_data",
    ] {
        assert!(names.iter().any(|known| *known == name), "{name}");
    }
    names.dedup();
    assert_eq!(
        names.len(),
        methods.as_array().unwrap().len(),
        "a method is there twice"
    );
    let subtract = methods
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["name"] == "subtract");
    let params = "minuend, subtrahend: integers";
    let expected = json!({"name": "subtract", "params": params, "help": "their difference"});
    assert_eq!(subtract, Some(&expected));
}

#[test]
fn as_many_requests_as_a_batch_may_hold_and_one_more() {
    let rubbish = |n: usize| format!("[1{}]", ",1".repeat(n - 1));
    let full = value(&answer(rubbish(RPC_BATCH_REQUESTS_MAX)));
    assert_eq!(full.as_array().map(Vec::len), Some(RPC_BATCH_REQUESTS_MAX));
    let refused = value(&answer(rubbish(RPC_BATCH_REQUESTS_MAX + 1)));
    let message = format!("a batch may hold at most {RPC_BATCH_REQUESTS_MAX} requests");
    let error = json!({"code": -32000, "message": message});
    let expected = json!({"jsonrpc": "2.0", "id": null, "error": error});
    assert_eq!(refused, expected);
    let broken = rubbish(RPC_BATCH_REQUESTS_MAX + 5).replace("1]", "]");
    assert_eq!(answer(broken), PARSE_ERROR);
}

/// Depth costs no stack, and ten times the depth some ten times the work: all of it runs in an
/// instant, on a test thread's 2 MiB of stack.
#[test]
fn nested_a_million_deep() {
    for depth in [10_000, 1_000_000] {
        let arrays = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        for nested in [&arrays, &objects] {
            let echo = call("echo", nested);
            let echoed = format!(r#"{{"jsonrpc":"2.0","result":{nested},"id":1}}"#);
            assert!(answer(&echo) == echoed);
            assert!(answer(format!("[{echo}]")) == format!("[{echoed}]"));
            let typed = r#""data":"params: integers"},"id":1}"#;
            assert!(answer(call("sum", nested)).ends_with(typed));
            let id = format!(r#"{{"jsonrpc":"2.0","method":"ping","id":{nested}}}"#);
            assert_eq!(answer(id), INVALID_REQUEST);
            let ignored = format!(r#"{{"jsonrpc":"2.0","method":"ping","id":1,"x":{nested}}}"#);
            assert_eq!(answer(ignored), PONG);
        }
        assert_eq!(answer(&arrays), format!("[{INVALID_REQUEST}]"));
        assert_eq!(answer(&objects), INVALID_REQUEST);
        assert_eq!(answer("[".repeat(depth)), PARSE_ERROR);
        assert_eq!(answer("{\"a\":".repeat(depth)), PARSE_ERROR);
    }
}

#[test]
fn a_string_of_16_mib() {
    let long = "x".repeat(16 << 20);
    assert!(answer(call("echo", &format!("[\"{long}\"]"))).len() > long.len());
    assert!(answer(call(&long, "[]")).contains("Method not found"));
    assert_eq!(
        answer(format!(
            r#"{{"jsonrpc":"2.0","method":"ping","id":1,"{long}":1}}"#
        )),
        PONG
    );
    assert_eq!(answer(format!("\"{long}\"")), INVALID_REQUEST);
    assert_eq!(answer(format!("\"{long}")), PARSE_ERROR);
    let id = answer(format!(
        r#"{{"jsonrpc":"2.0","method":"ping","id":"{long}"}}"#
    ));
    assert!(id == format!(r#"{{"jsonrpc":"2.0","result":"pong","id":"{long}"}}"#));
}

#[test]
fn strings_of_any_length() {
    let ping = |id: &str| format!(r#"{{"jsonrpc":"2.0","method":"ping","id":{id}}}"#);
    for len in 0..200 {
        let text = "x".repeat(len);
        for id in [format!("\"{text}\""), format!("\"{text}\\n{text}é\"")] {
            let pong = format!(r#"{{"jsonrpc":"2.0","result":"pong","id":{id}}}"#);
            assert_eq!(answer(ping(&id)), pong);
        }
        for broken in [
            format!("\"{text}\n\""),
            format!("\"{text}\\x\""),
            format!("\"{text}"),
        ] {
            assert_eq!(answer(ping(&broken)), PARSE_ERROR, "{broken}");
        }
        let number = "1".repeat(len + 1);
        for id in [number.clone(), format!("{number}.5"), format!("{number}e7")] {
            assert!(
                answer(ping(&id)).ends_with(&format!("\"id\":{id}}}")),
                "{id}"
            );
        }
        for broken in [
            format!("{number}x"),
            format!("{number}."),
            format!("{number}e+"),
        ] {
            assert_eq!(answer(ping(&broken)), PARSE_ERROR, "{broken}");
        }
    }
}

#[test]
#[should_panic(expected = "there is a method `ping` already")]
fn a_name_that_is_taken() {
    let _ = Rpc::new().method("ping", "none", "another", |_| Ok(()));
}

#[test]
#[should_panic(expected = "names in `rpc.` are reserved")]
fn a_name_that_is_reserved() {
    let _ = Rpc::new().deferred("rpc.x", "none", "nothing", |_| Ok(|| Ok(())));
}

/// Adding to a copy leaves the original as it was.
#[test]
fn copies_are_apart() {
    let original = rpc();
    let copy = original.clone().method("new", "none", "nothing", |_| Ok(1));
    assert!(
        answer_of(&original, call("new", "[]"))
            .unwrap()
            .contains("-32601")
    );
    assert!(
        answer_of(&copy, call("new", "[]"))
            .unwrap()
            .contains("\"result\":1")
    );
}

/// Whatever comes, there is either no answer or a valid one: a response, or an array of them. It is
/// a parse error if, and only if, `serde_json` too finds that this is no JSON.
fn check_answer(rpc: &Rpc, message: &[u8]) -> Result<(), TestCaseError> {
    let is_json = std::str::from_utf8(message)
        .is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    let Some(answer) = answer_from(rpc, None, message) else {
        prop_assert!(is_json);
        return Ok(());
    };
    prop_assert_eq!(answer != PARSE_ERROR.as_bytes(), is_json);
    let answer: Value = serde_json::from_slice(&answer)
        .map_err(|error| TestCaseError::fail(format!("{error} in an answer")))?;
    let responses = match &answer {
        Value::Array(responses) => responses.iter().collect(),
        response => vec![response],
    };
    prop_assert!(!responses.is_empty());
    for response in responses {
        prop_assert_eq!(&response["jsonrpc"], "2.0");
        prop_assert!(response.get("id").is_some());
        prop_assert!(response.get("result").is_some() != response.get("error").is_some());
    }
    Ok(())
}

fn runner() -> TestRunner {
    TestRunner::new(Config {
        cases: 2_000,
        rng_seed: RngSeed::Fixed(seed::seed()),
        failure_persistence: None,
        ..Config::default()
    })
}

#[test]
fn any_bytes() {
    let rpc = rpc();
    let bytes = proptest::collection::vec(any::<u8>(), 0..200);
    runner()
        .run(&bytes, |bytes| check_answer(&rpc, &bytes))
        .unwrap();
}

/// Pieces of requests in any order come further than bytes do.
#[test]
fn any_pieces_of_requests() {
    let rpc = rpc();
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u0041",
        "\\ud800",
        " ",
        "\n",
        "\x0c",
        "\x1f",
        "é",
        "0",
        "12",
        ".",
        "e",
        "-1.5e3",
        "null",
        "true",
        "\"jsonrpc\":\"2.0\"",
        "\"method\":\"ping\"",
        "\"method\":\"sum\"",
        "\"method\":\"get_data\"",
        "\"id\":1",
        "\"id\":\"a\"",
        "\"params\":[1]",
        "\"params\":{}",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"get_data"}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":3,",
    ];
    let pieces = proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..16);
    runner()
        .run(&pieces, |pieces| {
            check_answer(&rpc, pieces.concat().as_bytes())
        })
        .unwrap();
    let joined = |pieces: Vec<&str>| format!("[{}]", pieces.join(","));
    runner()
        .run(&pieces, |pieces| {
            check_answer(&rpc, joined(pieces).as_bytes())
        })
        .unwrap();
}
