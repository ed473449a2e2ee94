//! The flags of [`Limits`]; their defaults are its own.

use gateloop::limits::{self, Limits};

use super::units::{Size, Time, TimeOrNever};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitArgs {
    #[arg(long, value_name = "N", help = connections_help(' '), long_help = connections_help('\n'))]
    max_connections: Option<usize>,
    #[arg(long, value_name = "N", help = strangers_help(' '), long_help = strangers_help('\n'))]
    max_unauthenticated: Option<usize>,
    /// From accept until the handshake is passed
    #[arg(long, value_name = "TIME", default_value_t = Time(limits::HANDSHAKE_TIMEOUT))]
    handshake_timeout: Time,
    /// From the last message until a silent client is closed
    #[arg(long, value_name = "TIME|never", default_value_t = TimeOrNever(None))]
    idle_timeout: TimeOrNever,
    /// From a message's first byte to its last, and a second more for each 256KiB of it
    #[arg(long, value_name = "TIME", default_value_t = Time(limits::ARRIVAL_TIMEOUT))]
    arrival_timeout: Time,
    /// How long a client may take nothing of what is queued for it
    #[arg(long, value_name = "TIME", default_value_t = Time(limits::WRITE_STALL_TIMEOUT))]
    write_stall_timeout: Time,
    /// From the order to stop until whoever is left is cut off
    #[arg(long, value_name = "TIME", default_value_t = Time(limits::DRAIN_TIMEOUT))]
    drain_timeout: Time,
    /// How long a closing connection is still read, so that no reset overtakes its last answer
    #[arg(long, value_name = "TIME", default_value_t = Time(limits::LINGER_TIMEOUT))]
    linger_timeout: Time,
    /// A message's payload
    #[arg(long, value_name = "SIZE", default_value_t = Size(limits::MESSAGE_BYTES_MAX))]
    max_message: Size,
    /// Queued output of a client at which it is no longer read
    #[arg(long, value_name = "SIZE", default_value_t = Size(limits::SEND_HIGH_BYTES))]
    send_high: Size,
    /// Queued output at which it is read again
    #[arg(long, value_name = "SIZE", default_value_t = Size(limits::SEND_LOW_BYTES))]
    send_low: Size,
    /// Queued output, beside one message of the largest size, at which it is cut off
    #[arg(long, value_name = "SIZE", default_value_t = Size(limits::SEND_HARD_BYTES))]
    send_hard: Size,
    /// All clients' buffers together
    #[arg(long, value_name = "SIZE", default_value_t = Size(limits::BUFFER_MEMORY_BYTES_MAX))]
    buffer_memory: Size,
    /// Bytes read from one client in one turn of the loop
    #[arg(long, value_name = "SIZE", default_value_t = Size(limits::TURN_BYTES))]
    turn_bytes: Size,
    /// Messages served for one client in one turn
    #[arg(long, value_name = "N", default_value_t = limits::TURN_MESSAGES)]
    turn_messages: usize,
    /// Connections accepted from one listener in one turn
    #[arg(long, value_name = "N", default_value_t = limits::TURN_ACCEPTS)]
    turn_accepts: usize,
    /// Threads of each reactor for work that would block; with --model pool, those that serve
    #[arg(long, value_name = "N", default_value_t = limits::WORKERS)]
    workers: usize,
}

/// The default is not a value of the flag: it alone may be lowered.
fn connections_help(before_default: char) -> String {
    format!(
        "Connections at once; more than the descriptors that this process may open are refused\
         {before_default}[default: {}, or as many as those allow]",
        limits::CONNECTIONS_MAX
    )
}

fn strangers_help(before_default: char) -> String {
    format!(
        "Of these, how many may not have passed the handshake\
         {before_default}[default: {}, or a tenth of max-connections if that is less]",
        limits::STRANGERS_MAX
    )
}

impl LimitArgs {
    /// How many strangers may be among so many connections.
    pub(super) fn strangers_max(&self, connections_max: usize) -> usize {
        let tenth = (connections_max / 10).clamp(1, limits::STRANGERS_MAX);
        self.max_unauthenticated.unwrap_or(tenth)
    }

    /// Whether the number of connections was asked for, so that no other one will do.
    pub(super) fn connections_given(&self) -> bool {
        self.max_connections.is_some()
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            connections_max: self.max_connections.unwrap_or(limits::CONNECTIONS_MAX),
            strangers_max: self.strangers_max(limits::CONNECTIONS_MAX),
            handshake_timeout: self.handshake_timeout.0,
            idle_timeout: self.idle_timeout.0,
            arrival_timeout: self.arrival_timeout.0,
            write_stall_timeout: self.write_stall_timeout.0,
            drain_timeout: self.drain_timeout.0,
            linger_timeout: self.linger_timeout.0,
            message_bytes_max: self.max_message.0,
            send_high_bytes: self.send_high.0,
            send_low_bytes: self.send_low.0,
            send_hard_bytes: self.send_hard.0,
            buffer_memory_bytes_max: self.buffer_memory.0,
            turn_bytes: self.turn_bytes.0,
            turn_messages: self.turn_messages,
            turn_accepts: self.turn_accepts,
            workers: self.workers,
        }
    }
}
