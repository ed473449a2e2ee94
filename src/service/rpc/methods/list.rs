//! `rpc.methods`: what can be called, in the order of the names.

use serde::Serialize;

use crate::service::rpc::{Call, RpcError};

#[derive(Serialize)]
pub(super) struct Entry {
    name: &'static str,
    params: &'static str,
    help: &'static str,
}

pub(super) fn list(call: &Call<'_>) -> Result<Vec<Entry>, RpcError> {
    call.no_params()?;
    let entries = call.table.iter();
    Ok(entries.map(|m| Entry { name: m.name, params: m.params, help: m.help }).collect())
}
