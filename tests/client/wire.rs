//! A blocking TCP connection that speaks in packets.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use kedgemq::mqtt::codec::client::decode;
use kedgemq::mqtt::{Reply, Version};

/// One connection.
pub(crate) struct Wire {
    stream: TcpStream,
    version: Version,
    input: Vec<u8>,
    taken: usize,
    /// What waits for [`Wire::flush`].
    pub(crate) output: Vec<u8>,
}

impl Wire {
    /// Connects. A read fails when nothing comes for `patience`.
    pub(crate) fn connect(
        address: SocketAddr,
        version: Version,
        patience: Duration,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream, version, input: Vec::new(), taken: 0, output: Vec::new() })
    }

    /// Writes all that waits.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    /// The next packet that is here already.
    ///
    /// Panics at bytes that are no packet: the broker must not write any.
    pub(crate) fn next(&mut self) -> Option<Reply> {
        match decode(&self.input[self.taken..], self.version) {
            Ok(Some((reply, size))) => {
                self.taken += size;
                Some(reply)
            }
            Ok(None) => None,
            Err(error) => panic!("the broker wrote what is no packet: {error:?}"),
        }
    }

    /// Waits for more bytes. `Err` when the connection is gone.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        self.input.drain(..self.taken);
        self.taken = 0;
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.input.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}
