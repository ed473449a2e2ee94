//! `stats`: the server's counters.

use crate::service::rpc::method::{Call, Method, Run};
use crate::service::rpc::response::RpcError;
use crate::stats::Snapshot;

pub(super) fn method() -> Method {
    Method::new("stats", "none", "the server's counters", Run::now(stats)).in_datagrams()
}

fn stats(call: &Call<'_>) -> Result<Snapshot, RpcError> {
    call.no_params()?;
    Ok(call.stats().snapshot())
}
