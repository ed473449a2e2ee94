//! `echo`: the parameters come back, byte for byte.

use crate::service::rpc::{Call, RpcError};

pub(super) fn echo(call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), RpcError> {
    out.extend_from_slice(call.raw_params().unwrap_or("null").as_bytes());
    Ok(())
}
