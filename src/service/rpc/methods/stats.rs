//! `stats`: the server's counters.

use crate::service::rpc::{Call, RpcError};
use crate::stats::Snapshot;

pub(super) fn stats(call: &Call<'_>) -> Result<Snapshot, RpcError> {
    call.no_params()?;
    Ok(call.stats().snapshot())
}
