//! `rpc.methods`: what can be called, in the order of the names.

use serde::Serialize;

use crate::service::rpc::method::{Call, Method, Run};
use crate::service::rpc::response::RpcError;

pub(super) fn method() -> Method {
    Method::new("rpc.methods", "none", "this list", Run::now(list)).in_datagrams()
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    params: &'static str,
    help: &'static str,
}

fn list(call: &Call<'_>) -> Result<Vec<Entry>, RpcError> {
    call.no_params()?;
    let entry = |method: &Method| Entry {
        name: method.name,
        params: method.params,
        help: method.help,
    };
    let mut entries: Vec<_> = call.context.table.iter().map(entry).collect();
    entries.sort_unstable_by_key(|entry| entry.name);
    Ok(entries)
}
