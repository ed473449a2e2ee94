//! Every bound of the server: a constant with its unit in its name and the reason for its size.
//!
//! A constant here is either a fixed bound of the design or the default of a field of [`Limits`],
//! which is what an operator can set. Relations between them are checked when this file compiles.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Connections at once. A turn costs nothing for those that are idle, so this is a matter of
/// descriptors and memory: ten thousand are what an ordinary hard limit on descriptors allows.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Connections at once that have not passed the handshake. Ten per cent of all, so that silent
/// strangers can never crowd out those who proved who they are.
pub const STRANGERS_MAX: usize = 1_000;
/// From accept until the handshake is passed. No byte renews it.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A handshake message's size. What Python's `multiprocessing.connection` itself reads at most.
pub const HANDSHAKE_MESSAGE_BYTES_MAX: usize = 256;
/// From a message's first byte to its last, before what [`TRANSFER_BYTES_PER_S_MIN`] adds.
pub const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);
/// The slowest transfer that is still served, either way: a message's arrival may take a second
/// more for each so many bytes of it, and a queue must move as many each second.
pub const TRANSFER_BYTES_PER_S_MIN: usize = 256 * KIB;
/// How long a client may take nothing of what is queued for it.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// From the order to stop until everybody left is cut.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a closing connection is read and discarded after our FIN, so that what was still on
/// its way to the peer is not lost to a reset.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// A message's payload.
pub const MESSAGE_BYTES_MAX: usize = 64 * MIB;
/// Queued output at which a session stops reading and serving.
pub const SEND_HIGH_BYTES: usize = MIB;
/// Queued output at which it goes on. A quarter of the high mark: far enough below for one to be
/// left behind before the other is reached again.
pub const SEND_LOW_BYTES: usize = 256 * KIB;
/// Queued output at which a connection ends, beside one message of the largest size.
pub const SEND_HARD_BYTES: usize = 64 * MIB;
/// Brackets that may be open at once in a value of the framing `json`: as many as `serde_json`
/// reads, so no service here could make anything of more.
pub const JSON_DEPTH_MAX: u8 = 127;
/// A value of the framing `json`, whatever the limit of a message: how much of it has been scanned
/// is held in 32 bits for each client.
pub const JSON_MESSAGE_BYTES_MAX: usize = u32::MAX as usize;
/// What a framing adds to a message at most: the header of `i32be` for a length of 64 bits.
pub const FRAMING_BYTES_MAX: usize = 12;
/// All clients' buffers together, over all reactors.
pub const BUFFER_MEMORY_BYTES_MAX: usize = 1024 * MIB;

/// Bytes read from one connection in one turn; also the size of a reactor's read buffer, so that
/// one read can use a turn up. The sixteen are for a header: else a message of a power of two
/// bytes would leave its last four for a turn of their own.
pub const TURN_BYTES: usize = 256 * KIB + 16;
/// Messages served for one connection in one turn.
pub const TURN_MESSAGES: usize = 1_024;
/// Connections accepted from one listener in one turn.
pub const TURN_ACCEPTS: usize = 64;
/// Events taken from the kernel in one turn. More than this stay for the next poll.
pub const TURN_EVENTS: usize = 1_024;

/// A message of at least this size is read into a buffer of its own. Below it, copying an
/// unfinished message is cheaper than a read call of its own.
pub const LONG_MESSAGE_BYTES: usize = 64 * KIB;
/// What is added to an unfinished message at a time until its length is known: a header and then
/// some.
pub const HEAD_BYTES: usize = 64;
/// What a read asks for after a long message: the next one's header and little more, as all that
/// comes with it must be copied.
pub const PEEK_BYTES: usize = 4 * KIB;
/// What one read of a thread asks for that is not a reactor: there may be thousands of them, and
/// longer messages are read to a place of their own anyway.
pub const THREAD_READ_BYTES: usize = LONG_MESSAGE_BYTES;
/// What one read of the client asks for.
pub const CLIENT_READ_BYTES: usize = 64 * KIB;
/// What a long message's buffer starts with where no recycled one fits: it grows as bytes come,
/// never by what the header claims.
pub const LONG_MESSAGE_START_BYTES: usize = 256 * KIB;
/// What a reactor keeps of given-back buffers.
pub const POOL_BYTES_MAX: usize = 32 * MIB;
/// How many of them: a search through the pool stays short.
pub const POOL_BUFFERS_MAX: usize = 32;
/// The largest buffer worth keeping.
pub const POOL_BUFFER_BYTES_MAX: usize = 4 * MIB;
/// Capacity that a reactor's scratch buffers keep between two runs.
pub const SCRATCH_BYTES_KEPT: usize = MIB;
/// Up to this much that the kernel refused is copied to the client's queue; beyond it the buffer
/// itself moves there.
pub const SEND_COPY_BYTES_MAX: usize = 64 * KIB;
/// Pieces of a queue handed to the kernel in one write.
pub const SEND_SLICES_MAX: usize = 16;

/// Threads of a reactor for work that would block; of a pool, those that serve.
pub const WORKERS: usize = 2;
/// Answers that one connection may have deferred at once.
pub const DEFERRED_PER_CONNECTION_MAX: usize = 64;
/// Jobs that may wait for a reactor's workers.
pub const JOBS_QUEUED_MAX: usize = 1_024;

/// Programs that run at once for clients, over all reactors. What they print is held up to
/// [`EXEC_OUTPUT_BYTES_MAX`] each, which together stays well below the limit of all buffers.
pub const CHILDREN_MAX: usize = 256;
/// Programs that run at once for one connection: one client cannot take all places.
pub const CHILDREN_PER_CONNECTION_MAX: usize = 32;
/// Descriptors that a running program costs: its standard output, its standard error, its end.
pub const CHILD_DESCRIPTORS: usize = 3;
/// How long a program may run, unless the table of commands says otherwise.
pub const CHILD_TIMEOUT: Duration = Duration::from_secs(60);
/// From SIGTERM to SIGKILL: enough to remove a temporary file, too little to notice.
pub const CHILD_GRACE: Duration = Duration::from_secs(2);
/// How long a stopping server waits for programs after SIGKILL. The kernel takes milliseconds,
/// unless a program hangs in a system call that cannot be interrupted.
pub const CHILD_REAP_TIMEOUT: Duration = Duration::from_secs(1);
/// What is read of a program's output at once: as much as a pipe of Linux holds.
pub const CHILD_READ_BYTES: usize = 64 * KIB;
/// Programs whose output is read in one turn. All the others wait for the next, so that chatty
/// programs cannot hold up a ping: 1 MiB at most, of which JSON can make six.
pub const TURN_CHILDREN: usize = 8;
/// What is kept of a command's output for its answer, unless the table of commands says otherwise.
pub const EXEC_OUTPUT_BYTES_MAX: usize = MIB;
/// The longest argument that a caller may add, before its pattern is asked: the longest path that
/// Linux knows.
pub const EXEC_ARGUMENT_BYTES_MAX: usize = 4 * KIB;
/// Arguments that callers may add to one command.
pub const EXEC_ARGUMENTS_MAX: usize = 64;
/// The longest command line of `shell`: half of what Linux allows one argument to be.
pub const SHELL_LINE_BYTES_MAX: usize = 64 * KIB;
/// The parameters of `exec` and `shell`, as JSON: they are only parsed up to this length. The
/// longest of them in their longest spelling, `\u0000`, fit.
pub const EXEC_PARAMS_BYTES_MAX: usize = 6 * EXEC_ARGUMENTS_MAX * EXEC_ARGUMENT_BYTES_MAX + 4 * KIB;

/// A listener that could not accept (no descriptor, no slot) tries again after this at the latest.
pub const ACCEPT_REST: Duration = Duration::from_millis(250);
/// The kernel's queue of connections that wait to be accepted.
pub const BACKLOG: u32 = 1_024;

/// Requests of one `rpc` batch. To the turn's budget a batch is one message, so it must not take
/// much longer than what a turn's bytes can hold of the shortest requests: some 6 000 of them.
pub const RPC_BATCH_REQUESTS_MAX: usize = 10_000;

/// The first wait that a wrong key or password costs; it doubles with each recent one from that
/// address.
pub const PENALTY_FIRST: Duration = Duration::from_millis(100);
/// The longest such wait.
pub const PENALTY_MAX: Duration = Duration::from_secs(10);
/// For how long a wrong key or password is "recent".
pub const PENALTY_MEMORY: Duration = Duration::from_secs(60);
/// Addresses remembered for them; the oldest goes first.
pub const PENALTY_ADDRESSES_MAX: usize = 10_000;

/// A user file: four hundred thousand users with argon2id.
pub const USER_FILE_BYTES_MAX: usize = 64 * MIB;
/// A user file that was changed this short a while ago is read anew for each attempt: the time of
/// its last change may be that coarse (two seconds on some file systems), and hide another one.
pub const USER_FILE_SETTLES: Duration = Duration::from_secs(2);
/// A user's name: longer than any that is in use, and short enough for each line of a log.
pub const USER_NAME_BYTES_MAX: usize = 256;
/// A password. Nobody types more, and hashing much more would take a worker's time.
pub const PASSWORD_BYTES_MAX: usize = 4 * KIB;
/// Memory of one argon2 computation, in KiB, that a user file may ask for: as much as libsodium's
/// `MODERATE`. Each worker may need it at once.
pub const ARGON2_KIB_MAX: u32 = 256 * 1024;
/// Passes over that memory. With the largest of both, one computation takes some seconds.
pub const ARGON2_PASSES_MAX: u32 = 16;
/// Lanes of that memory. They are computed one after the other here, so they cost nothing.
pub const ARGON2_LANES_MAX: u32 = 16;
/// Random bytes in a new hash: what RFC 9106 recommends.
pub const ARGON2_SALT_BYTES: usize = 16;
/// Failed logins in a row after which a connection ends: as many as sshd allows.
pub const LOGIN_FAILURES_MAX: u32 = 6;

/// A datagram. What UDP over IPv4 can carry: 65 535 less the headers of both. IPv6 could carry 20
/// more; the limit is the same for both.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;
/// What a datagram is received into: none is cut off, as UDP has no longer ones.
pub const DATAGRAM_BUFFER_BYTES: usize = 64 * KIB;
/// How far the clocks of the two sides, and the way between them, may set a datagram's date off
/// from the server's time, in either direction.
pub const DATAGRAM_SKEW_MAX: Duration = Duration::from_secs(30);
/// Ids of datagrams remembered, so that none is served twice: seven eighths of 2^20, which is what
/// a hash table of 17 MiB holds; with what says when to forget them, 31 to 45 MiB when it is full.
/// An id is remembered for 30 s and a little, so this is good for 29 000 datagrams a second. What
/// comes while it is full is dropped: to forget an id early would let it be replayed.
pub const DATAGRAM_IDS_MAX: usize = 917_504;
/// Ids forgotten for each datagram at most: more than one, so that forgetting keeps up, and few, so
/// that a datagram after a flood does not pay for all of it.
pub const DATAGRAM_IDS_FORGOTTEN: usize = 16;
/// Datagrams served from one socket in one turn. Each costs two system calls and two MACs, some
/// 5 µs: a flood holds up the others for less than a millisecond a turn.
pub const TURN_DATAGRAMS: usize = 128;
/// Datagrams served from one socket at the order to stop, after its last turn: more than the 277
/// of the shortest ones that the kernel's buffer usually holds, so that all that has arrived is
/// answered and a flood is not.
pub const DRAIN_DATAGRAMS: usize = 384;
/// What `call` fills a datagram up to, with blanks, where nobody proves anything: an answer may be
/// no longer than its request. Twice as long as the longest answer of a built-in method.
pub const DATAGRAM_PADDED_BYTES: usize = 4 * KIB;
/// Sockets for datagrams of one server: as many tokens of a poll are kept for them.
pub const DATAGRAM_SOCKETS_MAX: usize = 64;

/// A key shorter than this is warned of at start: 16 bytes are 128 bits.
pub const KEY_BYTES_WARN: usize = 16;
/// The longest time-out that can be set: a year, which is as good as none.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Reactors of one server.
pub const REACTORS_MAX: usize = 64;
/// Addresses that one server listens on: as many tokens of a poll are kept for listeners.
pub const LISTENERS_MAX: usize = 1_024;
/// How long a start or an end waits for another one's in the same folder, over Unix sockets. Each
/// takes less than a millisecond.
pub const SOCKET_LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two attempts to get that lock: as long as it is held.
pub const SOCKET_LOCK_PAUSE: Duration = Duration::from_millis(1);
/// How long a client waits for each of its calls, unless it is told otherwise.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The slab entry of one connection, which is all that an idle client costs.
pub const CONNECTION_BYTES_MAX: usize = 160;

const _: () = {
    assert!(STRANGERS_MAX <= CONNECTIONS_MAX);
    assert!(SEND_LOW_BYTES < SEND_HIGH_BYTES && SEND_HIGH_BYTES < SEND_HARD_BYTES);
    assert!(HANDSHAKE_MESSAGE_BYTES_MAX < LONG_MESSAGE_BYTES);
    assert!(LONG_MESSAGE_BYTES <= TURN_BYTES && TURN_BYTES <= SEND_HIGH_BYTES);
    assert!(SEND_COPY_BYTES_MAX <= SCRATCH_BYTES_KEPT);
    assert!(POOL_BUFFER_BYTES_MAX <= POOL_BYTES_MAX);
    assert!(SEND_HARD_BYTES + MESSAGE_BYTES_MAX < BUFFER_MEMORY_BYTES_MAX);
    assert!(DEFERRED_PER_CONNECTION_MAX <= JOBS_QUEUED_MAX);
    assert!(DATAGRAM_BYTES_MAX < DATAGRAM_BUFFER_BYTES && DATAGRAM_IDS_FORGOTTEN > 1);
    assert!(CHILDREN_PER_CONNECTION_MAX <= DEFERRED_PER_CONNECTION_MAX);
    assert!(CHILDREN_PER_CONNECTION_MAX < CHILDREN_MAX);
    assert!(CHILDREN_MAX * EXEC_OUTPUT_BYTES_MAX <= BUFFER_MEMORY_BYTES_MAX / 2);
    assert!(6 * SHELL_LINE_BYTES_MAX <= EXEC_PARAMS_BYTES_MAX);
    assert!(CHILD_GRACE.as_nanos() < DRAIN_TIMEOUT.as_nanos());
};

/// What an operator can set. [`Limits::default`] is the constants of this module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, over all reactors.
    pub connections_max: usize,
    /// Connections at once that have not passed the handshake, over all reactors.
    pub strangers_max: usize,
    /// From accept until the handshake is passed.
    pub handshake_timeout: Duration,
    /// From the last message until a silent client is closed; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// From a message's first byte to its last (and a second more per 256 KiB of it).
    pub arrival_timeout: Duration,
    /// How long a client may take nothing of what is queued for it.
    pub write_stall_timeout: Duration,
    /// From the order to stop until everybody left is cut.
    pub drain_timeout: Duration,
    /// How long a closing connection is still read and discarded.
    pub linger_timeout: Duration,
    /// A message's payload, in bytes.
    pub message_bytes_max: usize,
    /// Queued output at which a session stops reading and serving, in bytes.
    pub send_high_bytes: usize,
    /// Queued output at which it goes on, in bytes.
    pub send_low_bytes: usize,
    /// Queued output, beside one message of the largest size, at which a connection ends.
    pub send_hard_bytes: usize,
    /// All clients' buffers together, in bytes.
    pub buffer_memory_bytes_max: usize,
    /// Bytes read from one connection in one turn.
    pub turn_bytes: usize,
    /// Messages served for one connection in one turn.
    pub turn_messages: usize,
    /// Connections accepted from one listener in one turn.
    pub turn_accepts: usize,
    /// Threads of a reactor for work that would block; of a pool, those that serve.
    pub workers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            strangers_max: STRANGERS_MAX,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            idle_timeout: None,
            arrival_timeout: ARRIVAL_TIMEOUT,
            write_stall_timeout: WRITE_STALL_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
            linger_timeout: LINGER_TIMEOUT,
            message_bytes_max: MESSAGE_BYTES_MAX,
            send_high_bytes: SEND_HIGH_BYTES,
            send_low_bytes: SEND_LOW_BYTES,
            send_hard_bytes: SEND_HARD_BYTES,
            buffer_memory_bytes_max: BUFFER_MEMORY_BYTES_MAX,
            turn_bytes: TURN_BYTES,
            turn_messages: TURN_MESSAGES,
            turn_accepts: TURN_ACCEPTS,
            workers: WORKERS,
        }
    }
}

impl Limits {
    /// The queue length at which a connection ends: one message of the largest size may always
    /// be queued on top of [`Limits::send_hard_bytes`].
    #[must_use]
    pub fn send_queue_bytes_max(&self) -> usize {
        let message = self.message_bytes_max.saturating_add(FRAMING_BYTES_MAX);
        self.send_hard_bytes.saturating_add(message)
    }

    /// Whether these limits can work together; the error says which cannot and why.
    ///
    /// # Errors
    /// A sentence for the operator, naming the two settings that contradict each other.
    pub fn check(&self) -> Result<(), String> {
        let zero = |name: &str| Err(format!("{name} must be at least 1"));
        if self.connections_max == 0 {
            return zero("max-connections");
        }
        if self.strangers_max == 0 {
            return zero("max-unauthenticated");
        }
        if self.handshake_timeout.is_zero() {
            return Err(
                "a cap on unauthenticated connections without a handshake-timeout would \
                        stay full for ever: give handshake-timeout a time above 0"
                    .into(),
            );
        }
        let timeouts = [
            ("handshake-timeout", self.handshake_timeout),
            ("arrival-timeout", self.arrival_timeout),
            ("write-stall-timeout", self.write_stall_timeout),
            ("idle-timeout", self.idle_timeout.unwrap_or(TIMEOUT_MAX)),
        ];
        if let Some((name, _)) = timeouts.iter().find(|(_, timeout)| timeout.is_zero()) {
            return Err(format!("{name} must be above 0"));
        }
        let others = [
            ("drain-timeout", self.drain_timeout),
            ("linger-timeout", self.linger_timeout),
        ];
        let mut all = timeouts.iter().chain(&others);
        if let Some((name, _)) = all.find(|(_, timeout)| *timeout > TIMEOUT_MAX) {
            return Err(format!("{name} must not exceed a year"));
        }
        if self.message_bytes_max == 0 || self.turn_bytes == 0 || self.turn_messages == 0 {
            return zero("max-message, turn-bytes and turn-messages");
        }
        if self.turn_accepts == 0 || self.workers == 0 {
            return zero("turn-accepts and workers");
        }
        if self.send_low_bytes >= self.send_high_bytes {
            return Err(format!(
                "send-low ({}) must lie below send-high ({})",
                self.send_low_bytes, self.send_high_bytes
            ));
        }
        if self.send_high_bytes > self.send_hard_bytes {
            return Err(format!(
                "send-high ({}) must not exceed send-hard ({})",
                self.send_high_bytes, self.send_hard_bytes
            ));
        }
        if self.message_bytes_max > self.buffer_memory_bytes_max {
            return Err(format!(
                "max-message ({}) must not exceed buffer-memory ({})",
                self.message_bytes_max, self.buffer_memory_bytes_max
            ));
        }
        Ok(())
    }
}
