//! Binds a server's addresses: every reactor its own socket for TCP, one shared socket for Unix,
//! and for datagrams one that a single reactor serves.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use socket2::{Domain, SockAddr, Socket as RawSocket, Type};

use super::{BindError, Config};
use crate::address::{Address, UdpAddress};
use crate::drive::Socket;
use crate::limits::{SOCKET_LOCK_PAUSE, SOCKET_LOCK_TIMEOUT};

/// What was bound, and what must be tidied up for it at the end.
#[derive(Debug)]
pub(super) struct Bound {
    addresses: Vec<Address>,
    /// For each reactor, a socket an address.
    sockets: Vec<Vec<Socket>>,
    udp_addresses: Vec<UdpAddress>,
    datagram_sockets: Vec<UdpSocket>,
    _files: Vec<SocketFile>,
}

impl Bound {
    pub(super) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub(super) fn take_sockets(&mut self) -> Vec<Vec<Socket>> {
        std::mem::take(&mut self.sockets)
    }

    pub(super) fn udp_addresses(&self) -> &[UdpAddress] {
        &self.udp_addresses
    }

    pub(super) fn take_datagram_sockets(&mut self) -> Vec<UdpSocket> {
        std::mem::take(&mut self.datagram_sockets)
    }
}

pub(super) fn bind(config: &Config) -> Result<Bound, BindError> {
    let mut addresses = Vec::new();
    let mut files = Vec::new();
    let mut sockets: Vec<Vec<Socket>> = (0..config.reactors).map(|_| Vec::new()).collect();
    for address in &config.listen {
        let refused = |error| BindError::Listen(address.clone(), error);
        let (bound, of_address) = match address {
            Address::Tcp(wanted) => {
                let (bound, listeners) = bind_tcp(*wanted, config).map_err(refused)?;
                (Address::Tcp(bound), listeners)
            }
            Address::Unix(path) => {
                let (file, listeners) = bind_unix(path, config).map_err(refused)?;
                files.push(file);
                (address.clone(), listeners)
            }
        };
        addresses.push(bound);
        for (of_reactor, socket) in sockets.iter_mut().zip(of_address) {
            of_reactor.push(socket);
        }
    }
    let (mut udp_addresses, mut datagram_sockets) = (Vec::new(), Vec::new());
    for address in &config.udp {
        let refused = |error| BindError::ListenUdp(*address, error);
        let socket = bind_udp(address.0).map_err(refused)?;
        udp_addresses.push(UdpAddress(socket.local_addr().map_err(refused)?));
        datagram_sockets.push(socket);
    }
    Ok(Bound {
        addresses,
        sockets,
        udp_addresses,
        datagram_sockets,
        _files: files,
    })
}

/// The first socket binds without SO_REUSEPORT, so that a second server on the same port is told
/// so; then it allows siblings, which bind the address that it got.
fn bind_tcp(wanted: SocketAddr, config: &Config) -> io::Result<(SocketAddr, Vec<Socket>)> {
    let first = tcp_socket(wanted)?;
    first.bind(&wanted.into())?;
    let bound = first
        .local_addr()?
        .as_socket()
        .ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut listeners = vec![first];
    if config.reactors > 1 {
        listeners[0].set_reuse_port(true)?;
        for _ in 1..config.reactors {
            let sibling = tcp_socket(bound)?;
            sibling.set_reuse_port(true)?;
            sibling.bind(&bound.into())?;
            listeners.push(sibling);
        }
    }
    let backlog = i32::try_from(config.backlog).unwrap_or(i32::MAX);
    let sockets = listeners.into_iter().map(|listener| {
        listener.listen(backlog)?;
        Ok(Socket::Tcp(TcpListener::from(listener)))
    });
    Ok((bound, sockets.collect::<io::Result<_>>()?))
}

/// The options that Linux hands on from a listener to what it accepts are set here, once.
fn tcp_socket(address: SocketAddr) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Without SO_REUSEADDR, which would let a second server take this one's datagrams.
fn bind_udp(wanted: SocketAddr) -> io::Result<UdpSocket> {
    let socket = RawSocket::new(Domain::for_address(wanted), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    if wanted.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&wanted.into())?;
    Ok(socket.into())
}

/// Nobody can connect before `listen`, and by then only the owner may.
fn bind_unix(path: &Path, config: &Config) -> io::Result<(SocketFile, Vec<Socket>)> {
    let _lock = lock_beside(path);
    remove_stale(path)?;
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))?;
    let listener = UnixListener::from(socket);
    let clones = (0..config.reactors).map(|_| Ok(Socket::Unix(listener.try_clone()?)));
    Ok((file, clones.collect::<io::Result<_>>()?))
}

/// Held while a socket file is judged and replaced or removed: else of two starts both could find
/// it stale, or a server that ends could take its successor's away. Whoever has a lock on a folder
/// for longer, or forbids to read it, must not keep a server from starting: it does without.
fn lock_beside(path: &Path) -> Option<File> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = File::open(folder.unwrap_or(Path::new("."))).ok()?;
    let deadline = Instant::now() + SOCKET_LOCK_TIMEOUT;
    while let Err(TryLockError::WouldBlock) = folder.try_lock() {
        if Instant::now() >= deadline {
            return None;
        }
        thread::park_timeout(SOCKET_LOCK_PAUSE);
    }
    Some(folder)
}

/// Removes a socket file that nobody listens on any more, and nothing else.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::other("the file exists and is not a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let probe = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    // A listener whose backlog is full answers at once that this would block: it is alive.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(()) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::AddrInUse.into())
        }
        Err(error) => Err(error),
    }
}

/// A Unix socket's file, removed at the end if it is still the one that was made here.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.into(),
            identity: identity(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _lock = lock_beside(&self.path);
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // Whoever cannot remove it leaves a stale file, which the next start replaces.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device, inode and time of a file. The time is that of `bind`, as nothing is ever written to it:
/// it tells a successor's file that was given the same inode.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::symlink_metadata(path)?;
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    Ok((metadata.dev(), metadata.ino(), seconds, nanoseconds))
}
