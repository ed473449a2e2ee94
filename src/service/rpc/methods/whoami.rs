//! `whoami`: what the server knows of the connection that asks.

use std::net::SocketAddr;

use serde::Serialize;

use crate::service::rpc::{Call, RpcError};

#[derive(Serialize)]
pub(super) struct Who {
    /// `null` on a Unix socket.
    address: Option<SocketAddr>,
    handshake: &'static str,
    /// `null` without a handshake.
    digest: Option<&'static str>,
    connected_s: f64,
}

pub(super) fn whoami(call: &Call<'_>) -> Result<Who, RpcError> {
    call.no_params()?;
    let caller = call.caller();
    Ok(Who {
        address: caller.peer.address,
        handshake: caller.handshake,
        digest: caller.digest.map(|digest| digest.name()),
        connected_s: caller.connected.as_secs_f64(),
    })
}
