//! A socket as a file of lines.

use std::io::{self, BufRead, BufReader, LineWriter, Read, Write};

use super::Socket;

/// A socket with buffers, read and written as a file: see [`Socket::make_file`].
#[derive(Debug)]
pub struct SocketFile<'a> {
    reader: BufReader<&'a Socket>,
    writer: LineWriter<&'a Socket>,
}

impl Socket {
    /// A view of the socket as a file, with a buffer each way: few system calls for many small
    /// reads and writes. What is written goes out with each line break, and at [`Write::flush`]: a
    /// question without either waits in the buffer, and its answer for ever.
    ///
    /// What the reader has taken from the socket, and nobody from it, is lost with the view, so use
    /// one for the whole conversation.
    ///
    /// **With a time-out, or non-blocking, what is half done stays half done.** Each read or write
    /// of the socket below has a deadline of its own. Where it passes in the middle,
    /// [`BufRead::read_until`] has left in its `Vec` what had come, and called again with the same
    /// `Vec` it goes on. All that return what they read lose it: [`BufRead::lines`],
    /// [`Read::read_exact`], and [`BufRead::read_line`] where a character is cut in two. Of a
    /// [`Write::write_all`] nobody knows how much was taken; a [`Write::flush`] can be called
    /// again. (Python forbids what follows: `cannot read from timed out object`.)
    ///
    /// ```
    /// use std::io::{BufRead, Write};
    /// use gateloop::client::socket::Socket;
    ///
    /// let (left, right) = Socket::pair()?;
    /// let (mut left, mut right) = (left.make_file(), right.make_file());
    /// write!(left, "one\ntwo, ")?;
    /// let mut line = String::new();
    /// right.read_line(&mut line)?;
    /// assert_eq!(line, "one\n");
    ///
    /// left.write_all(b"three")?;
    /// left.flush()?;
    /// drop(left);
    /// assert_eq!(right.fill_buf()?, b"two, three");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn make_file(&self) -> SocketFile<'_> {
        SocketFile {
            reader: BufReader::new(self),
            writer: LineWriter::new(self),
        }
    }
}

impl Read for SocketFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl BufRead for SocketFile<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        self.reader.consume(len);
    }
}

impl Write for SocketFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
