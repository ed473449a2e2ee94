//! `echo`: the parameters come back, byte for byte.

use crate::service::rpc::method::{Call, Method, Run};
use crate::service::rpc::response::RpcError;

pub(super) fn method() -> Method {
    Method::new(
        "echo",
        "any",
        "answers its params as they are",
        Run::raw(echo),
    )
}

fn echo(call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), RpcError> {
    out.extend_from_slice(call.raw_params().unwrap_or("null").as_bytes());
    Ok(())
}
