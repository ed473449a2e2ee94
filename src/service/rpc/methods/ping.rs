//! `ping`: whether anybody is there.

use crate::service::rpc::{Call, RpcError};

pub(super) fn ping(call: &Call<'_>) -> Result<&'static str, RpcError> {
    call.no_params()?;
    Ok("pong")
}
