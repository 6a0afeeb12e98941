//! A TCP connection that knows of MQTT no more than where a packet ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use kedgemq::mqtt::Version;

use crate::notation::Writer;

/// For one answer. Each row that fails may cost as much.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection, and in whose words it is spoken to.
pub(crate) struct Socket {
    stream: TcpStream,
    version: Version,
    client_id: String,
    input: Vec<u8>,
}

impl Socket {
    pub(crate) fn open(address: SocketAddr, version: Version, client_id: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { stream, version, client_id: client_id.into(), input: Vec::new() }
    }

    /// What `text` stands for on this connection, see [`crate::notation`].
    pub(crate) fn bytes(&self, text: &str) -> Vec<u8> {
        Writer { version: self.version, client_id: &self.client_id }.bytes(text)
    }

    /// Sends what `text` stands for.
    pub(crate) fn send(&mut self, text: &str) {
        let bytes = self.bytes(text);
        self.send_bytes(&bytes);
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        // Who ended the connection meanwhile has said so in what is read next.
        let _ = self.stream.write_all(bytes);
    }

    /// The next packet.
    pub(crate) fn packet(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(size) = packet_size(&self.input).filter(|size| *size <= self.input.len()) {
                return Ok(self.input.drain(..size).collect());
            }
            if !self.read()? {
                return Err(format!("it is closed after {:02X?}", self.input));
            }
        }
    }

    /// The next packet must be what `text` stands for.
    pub(crate) fn expect(&mut self, text: &str) -> Result<(), String> {
        let expected = self.bytes(text);
        let packet = self.packet().map_err(|why| format!("in place of {text}: {why}"))?;
        if packet == expected {
            return Ok(());
        }
        Err(format!("in place of {text}, which is {expected:02X?}: {packet:02X?}"))
    }

    /// Nothing more comes but the end.
    pub(crate) fn expect_end(&mut self) -> Result<(), String> {
        while self.read()? {}
        if self.input.is_empty() {
            return Ok(());
        }
        Err(format!("in place of the end: {:02X?}", self.input))
    }

    /// Reads once; false at the end.
    fn read(&mut self) -> Result<bool, String> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.input.extend(&buffer[..count]);
                Ok(true)
            }
            // Closed while we were writing.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(format!("nothing comes, and no end: {error}")),
        }
    }
}

/// Bytes of the packet at the front, when its length is there.
fn packet_size(bytes: &[u8]) -> Option<usize> {
    let (mut size, mut unit) = (0, 1);
    for (at, byte) in bytes.iter().enumerate().skip(1).take(4) {
        size += usize::from(byte & 0x7F) * unit;
        unit *= 128;
        if byte & 0x80 == 0 {
            return Some(at + 1 + size);
        }
    }
    None
}
