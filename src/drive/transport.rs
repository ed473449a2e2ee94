//! A connected socket that does not block, over TCP or Unix alike.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// A connected socket that does not block. Reading and writing need no more than a shared one, as
/// another thread may have to shut it down.
#[derive(Debug)]
pub enum Transport {
    /// Over IPv4 or IPv6.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Transport {
    /// As `read(2)`.
    #[inline]
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).read(buffer),
            Self::Unix(stream) => (&*stream).read(buffer),
        }
    }

    /// As `writev(2)`.
    pub fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Self::Tcp(stream), [one]) => (&*stream).write(one),
            (Self::Unix(stream), [one]) => (&*stream).write(one),
            (Self::Tcp(stream), many) => (&*stream).write_vectored(many),
            (Self::Unix(stream), many) => (&*stream).write_vectored(many),
        }
    }

    /// As `shutdown(2)`: `Shutdown::Write` sends our FIN.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}
