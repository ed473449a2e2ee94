//! `ping`: whether anybody is there.

use crate::service::rpc::method::{Call, Method, Run};
use crate::service::rpc::response::RpcError;

pub(super) fn method() -> Method {
    Method::new("ping", "none", "answers \"pong\"", Run::now(ping)).in_datagrams()
}

fn ping(call: &Call<'_>) -> Result<&'static str, RpcError> {
    call.no_params()?;
    Ok("pong")
}
