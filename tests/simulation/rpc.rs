//! What is asked of the service `rpc` in a simulation: calls, batches, notifications, mistakes.

use std::panic;

use gateloop::service::rpc::{Rpc, RpcError};
use serde_json::{Value, json};

use crate::random::Random;
use crate::script::Draw;
use crate::services::{Request, pattern};

/// With two methods that are deferred: `later` answers its parameter, `panics` does.
pub fn service() -> Rpc {
    Rpc::new()
        .deferred("later", "[text]", "the text", |call| {
            let (text,): (String,) = call.params()?;
            Ok(move || Ok(text))
        })
        .deferred("panics", "[]", "nothing", |call| {
            call.no_params()?;
            // It says nothing, as it is planned.
            Ok(|| -> Result<(), RpcError> { panic::resume_unwind(Box::new(())) })
        })
}

/// The `n`th request, with about `size` bytes of parameters.
pub fn request(n: usize, size: usize, random: &mut Random) -> Request {
    let text = String::from_utf8(pattern(size, n)).expect("text");
    let call = |id: usize, method: &str| {
        let params = json!([text]);
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    };
    let result = |id: usize, result: Value| response(json!(id), "result", result);
    let error = |id: Value, code: i32, message: &str| {
        response(id, "error", json!({"code": code, "message": message}))
    };
    let notification = |method: &str| json!({"jsonrpc": "2.0", "method": method});
    let id = 10 * n;
    let (request, answer) = match random.below(8) {
        0..=1 => (call(id, "echo"), result(id, json!([text]))),
        2..=3 => (call(id, "later"), result(id, json!(text))),
        4 => (notification("ping"), Value::Null),
        // One deferred member: a second one might find no room, and be told so.
        5 => (
            json!([
                call(id, "echo"),
                notification("ping"),
                call(id + 1, "later")
            ]),
            json!([result(id, json!([text])), result(id + 1, json!(text))]),
        ),
        6 => (
            json!({"jsonrpc": "2.0", "id": id, "method": "panics"}),
            error(json!(id), -32603, "Internal error"),
        ),
        _ => {
            let bytes = format!("{{\"id\": {n}, }}").into_bytes();
            let answers = vec![canonical(error(Value::Null, -32700, "Parse error"))];
            return Request { bytes, answers };
        }
    };
    let bytes = request.to_string().into_bytes();
    let answers = match answer {
        Value::Null => Vec::new(),
        answer => vec![canonical(answer)],
    };
    Request { bytes, answers }
}

fn response(id: Value, member: &str, value: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, member: value})
}

/// The same for whatever means the same: members of an object, and answers of a batch, may come in
/// any order.
pub fn canonical(mut answer: Value) -> Vec<u8> {
    if let Some(members) = answer.as_array_mut() {
        members.sort_by_key(Value::to_string);
    }
    answer.to_string().into_bytes()
}
