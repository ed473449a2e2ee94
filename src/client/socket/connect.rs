//! To connect: with an error or a code, waiting or not.

use std::io;
use std::time::Duration;

use rustix::event::PollFlags;
use socket2::SockAddr;

use super::{Errno, Socket, Wait, to_system};
use crate::address::Address;

/// The shortest time-out of the kernel's: less is taken for none.
const MICROSECOND: Duration = Duration::from_micros(1);

impl Socket {
    /// Connects to this address. A UDP socket only notes it as its peer.
    ///
    /// Not blocking, it fails with `EINPROGRESS`, and the connection is on its way: when the socket
    /// is writable, [`Socket::take_error`] tells what has become of it. A Unix socket is connected
    /// at once or not at all.
    ///
    /// A time-out that passes does not stop the connection: it may still come about, and until
    /// then `connect` fails with `EALREADY`. Drop the socket to give up.
    ///
    /// # Errors
    /// | errno | when |
    /// |---|---|
    /// | `ECONNREFUSED` | nobody listens there |
    /// | `EINPROGRESS` | non-blocking: it has begun |
    /// | `EALREADY` | an earlier call is still going on |
    /// | `EISCONN` | it is connected |
    /// | `TimedOut` | the peer has not answered in time, or there was no place in its queue |
    /// | `EAGAIN` | a Unix socket, non-blocking: no place in the listener's queue |
    /// | `ECONNABORTED` | an earlier call has failed, and `take_error` had the reason |
    /// | `EAFNOSUPPORT` | the address is of another family |
    /// | `EINVAL` | the address is of another family and shorter |
    /// | `ENETUNREACH` | no way leads there |
    /// | `ENOENT` | there is nothing at the path |
    /// | `EPROTOTYPE` | the socket at the path is not for streams |
    ///
    /// In one thing Python is poorer: with a time-out, a Unix socket whose listener's queue is full
    /// fails with `EAGAIN` there; here it waits.
    ///
    /// ```
    /// use gateloop::client::socket::{Errno, Socket};
    ///
    /// let nobody = Socket::tcp()?;
    /// nobody.bind(&"127.0.0.1:0".parse()?)?;
    /// let refused = Socket::tcp()?.connect(&nobody.local_name()?).unwrap_err();
    /// assert_eq!(Errno::of(&refused), Some(Errno::ECONNREFUSED));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect(&self, address: &Address) -> io::Result<()> {
        self.connect_within(address, self.mode.wait())
    }

    /// The same, with its code instead of an error: that of a time-out that passed is `EAGAIN`, as
    /// in Python. (0, which Python's gives for success, is `Ok` here.)
    ///
    /// Not blocking, and called again and again, it ends in this order: `EINPROGRESS`; `EALREADY`
    /// for as long as the peer does not answer; then once `Ok`, and `EISCONN` from there on. Where
    /// the peer refuses: `EINPROGRESS`, `EALREADY` …, `ECONNREFUSED`; after that a new attempt
    /// begins.
    ///
    /// # Errors
    /// The codes of [`Socket::connect`].
    ///
    /// ```
    /// use gateloop::client::socket::{Errno, Socket};
    ///
    /// let listener = Socket::tcp()?;
    /// listener.bind(&"127.0.0.1:0".parse()?)?;
    /// listener.listen(1)?;
    /// let address = listener.local_name()?;
    ///
    /// let mut client = Socket::tcp()?;
    /// client.set_blocking(false)?;
    /// assert_eq!(client.connect_ex(&address), Err(Errno::EINPROGRESS));
    /// // The kernel of the loopback has answered within that call.
    /// assert_eq!(client.connect_ex(&address), Ok(()));
    /// assert_eq!(client.connect_ex(&address), Err(Errno::EISCONN));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect_ex(&self, address: &Address) -> Result<(), Errno> {
        let connected = self.connect(address);
        connected.map_err(|error| Errno::of(&error).unwrap_or(Errno::EAGAIN))
    }

    /// The error that waits on the socket, if any, and clears it: `getsockopt` with `SO_ERROR`.
    /// After a `connect` that did not wait it tells, once the socket is writable, whether it is
    /// connected.
    ///
    /// ```
    /// use gateloop::client::socket::{Errno, Socket};
    ///
    /// let nobody = Socket::tcp()?;
    /// nobody.bind(&"127.0.0.1:0".parse()?)?;
    /// let mut client = Socket::tcp()?;
    /// client.set_blocking(false)?;
    /// assert_eq!(client.connect_ex(&nobody.local_name()?), Err(Errno::EINPROGRESS));
    /// // The kernel of the loopback has answered within that call.
    /// assert_eq!(client.take_error()?, Some(Errno::ECONNREFUSED));
    /// assert_eq!(client.take_error()?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// None that is known of.
    pub fn take_error(&self) -> io::Result<Option<Errno>> {
        Ok(self.inner.take_error()?.as_ref().and_then(Errno::of))
    }

    pub(crate) fn connect_within(&self, address: &Address, wait: Wait) -> io::Result<()> {
        let target = to_system(address)?;
        match address {
            Address::Tcp(_) => self.connect_ip(&target, wait),
            Address::Unix(_) => self.connect_unix(&target, wait),
        }
    }

    /// Where the call ends before the connection stands, the kernel goes on without it.
    fn connect_ip(&self, target: &SockAddr, wait: Wait) -> io::Result<()> {
        let Err(error) = self.inner.connect(target) else {
            return Ok(());
        };
        let goes_on = matches!(Errno::of(&error), Some(Errno::EINPROGRESS | Errno::EINTR));
        if !goes_on || matches!(wait, Wait::Never) {
            return Err(error);
        }
        self.wait_for(PollFlags::OUT, wait)?;
        match self.take_error()? {
            None => Ok(()),
            Some(errno) => Err(errno.into()),
        }
    }

    /// Here a call that ends early has begun nothing.
    fn connect_unix(&self, target: &SockAddr, wait: Wait) -> io::Result<()> {
        let connect = || self.inner.connect(target);
        match (self.call(PollFlags::OUT, Wait::Never, connect), wait) {
            (Err(error), Wait::Until(_)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.queue_unix(target, wait)
            }
            (connected, _) => connected,
        }
    }

    /// Waits for a place in the listener's queue. `poll` cannot, as the socket is not connected to
    /// anything: the kernel does, under its own time-out.
    fn queue_unix(&self, target: &SockAddr, wait: Wait) -> io::Result<()> {
        let before = self.inner.write_timeout()?;
        self.inner.set_nonblocking(false)?;
        let connected = self.call(PollFlags::OUT, Wait::Never, || {
            let left = wait.left()?.map(|left| left.max(MICROSECOND));
            self.inner.set_write_timeout(left)?;
            self.inner.connect(target)
        });
        self.inner.set_nonblocking(true)?;
        self.inner.set_write_timeout(before)?;
        connected.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => error,
        })
    }
}
