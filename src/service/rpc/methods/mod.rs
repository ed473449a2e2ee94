//! The methods that every `rpc` service has, one a file.

mod echo;
mod list;
mod ping;
mod stats;
mod time;
mod whoami;

use super::method::{Method, Run, Table};

/// The table before anybody has added to it.
pub(super) fn built_in() -> Table {
    let mut table = Table::default();
    let mut add = |name, params, help, run| table.add(Method { name, params, help, run });
    add("ping", "none", "answers \"pong\"", Run::now(ping::ping));
    add("echo", "any", "answers its params as they were written", Run::raw(echo::echo));
    add("time", "none", "the time as Unix seconds and as RFC 3339 text", Run::now(time::time));
    add("whoami", "none", "what the server knows of this connection", Run::now(whoami::whoami));
    add("stats", "none", "the server's counters", Run::now(stats::stats));
    add("rpc.methods", "none", "this list", Run::now(list::list));
    table
}
