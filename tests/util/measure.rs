//! What the kernel knows of a process: processor time, memory, descriptors, sockets.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Resource, Rlimit, getrlimit, pidfd_getfd, pidfd_open,
    prlimit, setrlimit,
};
use socket2::{Socket, Type};

use super::eventually;
use super::server::Raw;

/// Processor time of all threads of a process that are alive.
pub fn cpu_time(process: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    tasks
        .filter_map(|task| task_cpu_time(&task.ok()?.path()))
        .sum()
}

/// Processor time of the thread in a folder of /proc; `None` if it has ended.
pub fn task_cpu_time(task: &Path) -> Option<Duration> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    let nanoseconds = text.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Resident memory of a process, in bytes.
pub fn resident_bytes(process: u32) -> usize {
    status_bytes(process, "VmRSS:")
}

/// The most resident memory that a process ever had, in bytes.
pub fn peak_resident_bytes(process: u32) -> usize {
    status_bytes(process, "VmHWM:")
}

fn status_bytes(process: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix(name));
    let kib = line.map(|line| line.trim().trim_end_matches(" kB"));
    1024 * kib.and_then(|kib| kib.parse::<usize>().ok()).expect("KiB")
}

/// Leaves a process so many descriptors to open beside those that it has.
pub fn leave_descriptors(process: u32, free: usize) {
    let open = fs::read_dir(format!("/proc/{process}/fd")).expect("a process");
    let names = open.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let open: HashSet<u64> = names.filter_map(|name| name.parse().ok()).collect();
    let last = (0..).filter(|number| !open.contains(number)).nth(free);
    let id = i32::try_from(process).ok().and_then(Pid::from_raw);
    let limit = Rlimit {
        current: last,
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    prlimit(Some(id.expect("a process id")), Resource::Nofile, limit).expect("a process of ours");
}

/// Raises this process's limit on descriptors to at least `wanted`.
pub fn need_descriptors(wanted: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let current = Some(wanted);
        setrlimit(Resource::Nofile, Rlimit { current, maximum })
            .unwrap_or_else(|error| panic!("this test needs {wanted} descriptors: {error}"));
    }
}

/// Bytes that IPv4 sockets bound to `locals` have sent and that the other side's kernel has not
/// acknowledged: 0 means that all has arrived there.
pub fn unacknowledged_bytes(locals: &[SocketAddr]) -> u64 {
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc");
    let ports: Vec<u16> = locals.iter().map(SocketAddr::port).collect();
    let queues = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (_, port) = fields.next()?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let (sent, _) = fields.nth(2)?.split_once(':')?;
        let sent = u64::from_str_radix(sent, 16).ok()?;
        ports.contains(&port).then_some(sent)
    });
    queues.sum()
}

/// Waits until all that these clients have sent lies on the server's side.
pub fn wait_until_arrived<'a>(clients: impl IntoIterator<Item = &'a Raw>) {
    let locals: Vec<_> = clients.into_iter().map(Raw::local).collect();
    eventually("what was sent is acknowledged", || {
        (unacknowledged_bytes(&locals) == 0).then_some(())
    });
}

/// The socket of a process that is connected to `peer`: another descriptor of the very same one.
pub fn socket_to(process: u32, peer: SocketAddr) -> Socket {
    socket_of(process, |socket| {
        let other = socket.peer_addr().ok();
        other.and_then(|other| other.as_socket()) == Some(peer)
    })
}

/// The socket of a process that receives datagrams at `local`, likewise.
pub fn datagram_socket_at(process: u32, local: SocketAddr) -> Socket {
    socket_of(process, |socket| {
        let own = socket.local_addr().ok();
        let is_udp = socket.r#type().is_ok_and(|kind| kind == Type::DGRAM);
        is_udp && own.and_then(|own| own.as_socket()) == Some(local)
    })
}

fn socket_of(process: u32, is_meant: impl Fn(&Socket) -> bool) -> Socket {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw);
    let pidfd = pidfd_open(id.expect("a process id"), PidfdFlags::empty()).expect("a process");
    let open = fs::read_dir(format!("/proc/{process}/fd")).expect("a process of ours");
    let mut sockets = open.filter_map(|entry| {
        let entry = entry.ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:")?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        let socket = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty());
        Some(Socket::from(socket.expect("a process of ours")))
    });
    sockets
        .find(is_meant)
        .expect("the process has such a socket")
}
