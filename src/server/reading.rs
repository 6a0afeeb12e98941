//! Bytes from a socket to whole packets: one read buffer per thread, and per connection only what
//! is left of a packet that is not whole yet. Memory grows with what arrives, never with what a
//! length field announces.

use std::cell::{Cell, RefCell};
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::link::Link;
use super::outbox::SHARED_FROM;
use crate::mqtt::codec::{DecodeError, Decoder};
use crate::mqtt::packet::Payload;
use crate::mqtt::{Packet, Version};

/// Bytes of one read.
const READ: usize = 64 * 1024;

/// A smaller rest is copied in front of the next read, so that packets are decoded from one piece.
const SMALL: usize = 4 * 1024;

/// Packets that a thread keeps room for.
const ROOM: usize = 512;

thread_local! {
    /// Without packets.
    static SPARE: Cell<Vec<Packet<'static>>> = const { Cell::new(Vec::new()) };
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// What is left of a packet that is not whole yet. An empty one owns no memory.
#[derive(Debug, Default)]
pub(super) struct Carry(Vec<u8>);

impl Carry {
    /// What is left.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads once and gives `handle` all that is there. It says how much of that is done with; the
    /// rest stays. Gives how many bytes were read, too; `Ok(None)` is the end of the stream.
    pub(super) fn poll_read<T>(
        &mut self,
        link: &mut Link,
        cx: &mut Context<'_>,
        handle: impl FnOnce(&[u8]) -> (usize, T),
    ) -> Poll<io::Result<Option<(usize, T)>>> {
        BUFFER.with_borrow_mut(|buffer| {
            let start = if self.0.len() <= SMALL { self.0.len() } else { 0 };
            buffer[..start].copy_from_slice(&self.0[..start]);
            let count = ready!(link.poll_read(cx, &mut buffer[start..]))?;
            if count == 0 {
                return Poll::Ready(Ok(None));
            }
            let result = if start == self.0.len() {
                let all = &buffer[..start + count];
                let (used, result) = handle(all);
                self.keep(&all[used..]);
                result
            } else {
                self.0.extend_from_slice(&buffer[..count]);
                self.again(handle)
            };
            Poll::Ready(Ok(Some((count, result))))
        })
    }

    /// Gives `handle` what is left, without reading.
    pub(super) fn again<T>(&mut self, handle: impl FnOnce(&[u8]) -> (usize, T)) -> T {
        let (used, result) = handle(&self.0);
        if used == self.0.len() {
            self.0 = Vec::new();
        } else {
            self.0.drain(..used);
        }
        result
    }

    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.0 = Vec::new();
        } else {
            self.0.clear();
            self.0.extend_from_slice(rest);
        }
    }
}

/// The whole packets at the front of some bytes.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    /// In their order.
    pub(super) packets: Vec<Packet<'a>>,
    /// Bytes that they took.
    pub(super) used: usize,
    /// What is wrong with the packet behind them.
    pub(super) error: Option<DecodeError>,
}

impl<'a> Batch<'a> {
    /// Decodes what is whole. Big payloads are copied, so that no lock is held for it later.
    pub(super) fn decode(bytes: &'a [u8], version: Version, limit: usize) -> Self {
        let mut batch = Self { packets: SPARE.take(), used: 0, error: None };
        let mut decoder = Decoder::new(bytes, version, limit);
        batch.error = loop {
            match decoder.next_packet() {
                Ok(Some(mut packet)) => {
                    share_payload(&mut packet);
                    batch.packets.push(packet);
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        batch.used = bytes.len() - decoder.rest().len();
        batch
    }

    /// Whether a packet of it makes records that the store must have room for.
    pub(super) fn needs_store(&self) -> bool {
        self.packets.iter().any(|packet| {
            !matches!(
                packet,
                Packet::PingReq
                    | Packet::PubAck(_)
                    | Packet::PubRec(_)
                    | Packet::PubComp(_)
                    | Packet::Disconnect(_)
            )
        })
    }
}

/// The memory of its packets is for the next batch.
impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut packets = std::mem::take(&mut self.packets);
        if packets.capacity() <= ROOM {
            packets.clear();
            // Collecting in place, for another lifetime: nothing is left that lived for the first.
            SPARE.set(packets.into_iter().map(|_| unreachable!("it is cleared")).collect());
        }
    }
}

fn share_payload(packet: &mut Packet<'_>) {
    if let Packet::Publish(publish) = packet
        && let Payload::Borrowed(bytes) = publish.payload
        && bytes.len() > SHARED_FROM
    {
        publish.payload = Payload::Shared(Bytes::copy_from_slice(bytes));
    }
}

#[cfg(test)]
mod tests;
