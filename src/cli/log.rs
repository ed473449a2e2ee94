//! The log: to standard error, as text or JSON, filtered by `RUST_LOG`.

use std::env;
use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::Failure;

/// The variable that filters the log, as in most programs written in Rust.
const FILTER_VARIABLE: &str = "RUST_LOG";

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// Starts the log.
pub(super) fn start(format: Format) -> Result<(), Failure> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(env::var(FILTER_VARIABLE).unwrap_or_default())
        .map_err(|error| Failure::usage(format!("{FILTER_VARIABLE}: {error}")))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        Format::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        Format::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
