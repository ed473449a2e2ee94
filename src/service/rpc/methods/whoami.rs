//! `whoami`: what the server knows of the connection that asks.

use std::net::SocketAddr;

use serde::Serialize;

use crate::service::rpc::method::{Call, Method, Run};
use crate::service::rpc::response::RpcError;

pub(super) fn method() -> Method {
    let help = "what the server knows of this connection";
    Method::new("whoami", "none", help, Run::now(whoami)).in_datagrams()
}

#[derive(Serialize)]
struct Who {
    /// `null` on a Unix socket.
    address: Option<SocketAddr>,
    handshake: &'static str,
    /// `null` without a handshake.
    digest: Option<&'static str>,
    connected_s: f64,
    /// `null` if nobody has logged in.
    user: Option<String>,
}

fn whoami(call: &Call<'_>) -> Result<Who, RpcError> {
    call.no_params()?;
    let caller = call.caller();
    Ok(Who {
        address: caller.peer.address,
        handshake: caller.handshake,
        digest: caller.digest.map(|digest| digest.name()),
        connected_s: caller.connected.as_secs_f64(),
        user: call.user().map(String::from),
    })
}
