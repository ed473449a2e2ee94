//! The methods that every `rpc` service has, one a file.

mod echo;
mod list;
mod ping;
mod stats;
mod time;
mod whoami;

use super::method::Table;

/// The table before anybody has added to it.
pub(super) fn built_in() -> Table {
    let mut table = Table::default();
    table.add(ping::method());
    table.add(echo::method());
    table.add(time::method());
    table.add(whoami::method());
    table.add(stats::method());
    table.add(list::method());
    table
}
