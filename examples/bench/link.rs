//! One connection of a client, plain or TLS, without a thread of its own: it reads what is there,
//! and writes what can be written.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

use crate::wire;

/// Where a broker listens.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// The beginning of a packet whose end is not here yet.
    partial: Vec<u8>,
    pub(crate) output: Vec<u8>,
    /// How much of the output is written.
    written: usize,
    /// Whether somebody has it on the list of what is to be flushed.
    pub(crate) is_listed: bool,
}

impl Link {
    /// Begins to connect.
    pub(crate) fn open(target: &Target) -> io::Result<Self> {
        let mut link = Self::over(TcpStream::connect(target.address)?);
        if let Some(config) = &target.tls {
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            let connection = ClientConnection::new(config.clone(), name);
            let mut connection = connection.map_err(io::Error::other)?;
            connection.set_buffer_limit(None);
            link.tls = Some(Box::new(connection));
        }
        Ok(link)
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        // Of one that is not connected yet this may fail, and it changes nothing of what is right.
        let _ = stream.set_nodelay(true);
        let (partial, output) = (Vec::new(), Vec::new());
        Self { stream, tls: None, partial, output, written: 0, is_listed: false }
    }

    /// Hands on each packet that is there: first byte, body, and where answers go. `false` when
    /// the broker has closed it. With `to_end` it goes on until nothing more comes.
    pub(crate) fn read<E: From<io::Error>>(
        &mut self,
        buffer: &mut [u8],
        to_end: bool,
        mut packet: impl FnMut(u8, &[u8], &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<bool, E> {
        loop {
            let count = match self.read_some(buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(true),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => return Ok(false),
                    _ => return Err(error.into()),
                },
            };
            self.split(&buffer[..count], &mut packet)?;
            // A socket that gives less than was asked for has no more.
            if count < buffer.len() && self.tls.is_none() && !to_end {
                return Ok(true);
            }
        }
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.stream.read(buffer);
        };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if tls.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }

    fn split<E>(
        &mut self,
        read: &[u8],
        packet: &mut impl FnMut(u8, &[u8], &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(read);
        }
        let bytes = if self.partial.is_empty() { read } else { &self.partial };
        let mut taken = 0;
        while let Some((head, size)) = wire::frame(&bytes[taken..]) {
            let whole = &bytes[taken..taken + size];
            packet(whole[0], &whole[head..], &mut self.output)?;
            taken += size;
        }
        if self.partial.is_empty() {
            self.partial.extend_from_slice(&read[taken..]);
        } else {
            self.partial.drain(..taken);
        }
        Ok(())
    }

    pub(crate) fn wants_write(&self) -> bool {
        !self.output.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Writes what the socket takes. What is left waits until it is writable.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let done = match &mut self.tls {
            None => self.flush_plain(),
            Some(tls) => {
                tls.writer().write_all(&self.output)?;
                self.output.clear();
                let mut done = Ok(());
                while tls.wants_write() && done.is_ok() {
                    done = tls.write_tls(&mut self.stream).map(|_| ());
                }
                done
            }
        };
        match done {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            done => done,
        }
    }

    fn flush_plain(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            self.written += self.stream.write(&self.output[self.written..])?;
        }
        self.written = 0;
        self.output.clear();
        Ok(())
    }
}
