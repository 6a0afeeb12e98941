//! Bytes from a socket to whole packets: one read buffer per thread, and per connection only what
//! is left of a packet that is not whole yet. Memory grows with what arrives, not with what a
//! length field announces.

use std::cell::{Cell, RefCell};
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes};

use super::link::Link;
use super::outbox::SHARED_FROM;
use crate::mqtt::codec::{self, AckKind, DecodeError, Decoder, Input};
use crate::mqtt::packet::Payload;
use crate::mqtt::{Packet, Version};

/// Bytes of one read.
const READ: usize = 64 * 1024;

/// A smaller rest is copied in front of the next read, so that packets are decoded from one piece.
const SMALL: usize = 4 * 1024;

/// A large packet gets memory for so many times what came of it, at most: untouched, that is no
/// more than a promise of the system. Large enough for most to be moved only once.
const GROWTH: usize = 31;

/// Packets, or runs of them, that a thread keeps room for.
const ROOM: usize = 512;

thread_local! {
    /// Without packets.
    static SPARE: Cell<Vec<Input<'static>>> = const { Cell::new(Vec::new()) };
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// What is left of a packet that is not whole yet. An empty one owns no memory.
#[derive(Debug, Default)]
pub(super) struct Carry(Vec<u8>);

/// Bytes of the stream, from the beginning of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived<'a> {
    /// All of them.
    pub(super) bytes: &'a [u8],
    /// The memory that they have for themselves, when they are one packet.
    owner: Option<&'a Bytes>,
}

impl<'a> From<&'a [u8]> for Arrived<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, owner: None }
    }
}

/// What one read has given.
#[derive(Debug)]
pub(super) struct Read<T> {
    /// Bytes that came.
    pub(super) count: usize,
    /// What handling them gave.
    pub(super) result: T,
    /// Whether bytes came that were not handled: [`Carry::again`] does.
    pub(super) has_more: bool,
}

impl Carry {
    /// What is left.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads once and gives `handle` what is there: all, or of a large packet what came of it. It
    /// says how much of that is done with; the rest stays. `Ok(None)` is the end of the stream.
    pub(super) fn poll_read<T>(
        &mut self,
        link: &mut Link,
        cx: &mut Context<'_>,
        handle: impl FnOnce(Arrived<'_>) -> (usize, T),
    ) -> Poll<io::Result<Option<Read<T>>>> {
        let is_large = self.0.len() > SMALL;
        if is_large && self.missing() >= READ {
            return self.poll_read_in_place(link, cx, handle);
        }
        BUFFER.with_borrow_mut(|buffer| {
            let start = if is_large { 0 } else { self.0.len() };
            buffer[..start].copy_from_slice(&self.0[..start]);
            let count = ready!(link.poll_read(cx, &mut &mut buffer[start..]))?;
            if count == 0 {
                return Poll::Ready(Ok(None));
            }
            let all = &buffer[..start + count];
            let (result, has_more) = if is_large {
                self.extend(all, handle)
            } else {
                let (used, result) = handle(all.into());
                self.keep(&all[used..]);
                (result, false)
            };
            Poll::Ready(Ok(Some(Read { count, result, has_more })))
        })
    }

    /// Gives `handle` what is left, without reading.
    pub(super) fn again<T>(&mut self, handle: impl FnOnce(Arrived<'_>) -> (usize, T)) -> T {
        let (used, result) = handle(self.0.as_slice().into());
        if used == self.0.len() {
            self.0 = Vec::new();
        } else {
            self.0.drain(..used);
        }
        result
    }

    /// Bytes that are to come of the packet that is left.
    fn missing(&self) -> usize {
        codec::packet_size(&self.0).map_or(0, |size| size.saturating_sub(self.0.len()))
    }

    /// Reads the middle of a large packet to where it stays.
    fn poll_read_in_place<T>(
        &mut self,
        link: &mut Link,
        cx: &mut Context<'_>,
        handle: impl FnOnce(Arrived<'_>) -> (usize, T),
    ) -> Poll<io::Result<Option<Read<T>>>> {
        let missing = self.missing();
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(missing.min(GROWTH * self.0.len()));
        }
        let count = ready!(link.poll_read(cx, &mut (&mut self.0).limit(READ)))?;
        let handled = (count > 0).then(|| self.handle_large(count == missing, handle));
        Poll::Ready(Ok(handled.map(|result| Read { count, result, has_more: false })))
    }

    /// Adds what came to a large packet, up to its end. Says whether more came.
    fn extend<T>(
        &mut self,
        came: &[u8],
        handle: impl FnOnce(Arrived<'_>) -> (usize, T),
    ) -> (T, bool) {
        let missing = self.missing();
        let (front, behind) = came.split_at(missing.min(came.len()));
        self.0.reserve_exact(front.len());
        self.0.extend_from_slice(front);
        let result = self.handle_large(front.len() == missing, handle);
        self.0.extend_from_slice(behind);
        (result, !behind.is_empty())
    }

    /// A packet that is whole gives its memory away, so that its payload is not copied once more.
    fn handle_large<T>(
        &mut self,
        is_whole: bool,
        handle: impl FnOnce(Arrived<'_>) -> (usize, T),
    ) -> T {
        if !is_whole {
            return self.again(handle);
        }
        self.0.shrink_to_fit(); // Its payload may stay for long.
        let all = Bytes::from(std::mem::take(&mut self.0));
        let (used, result) = handle(Arrived { bytes: &all, owner: Some(&all) });
        if used < all.len() {
            self.0 = all.into();
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
    pub(super) input: Vec<Input<'a>>,
    /// Bytes that they took.
    pub(super) used: usize,
    /// What is wrong with the packet behind them.
    pub(super) error: Option<DecodeError>,
}

impl<'a> Batch<'a> {
    /// Decodes what is whole. Big payloads are copied, so that no lock is held for it later, or
    /// share the memory of their packet.
    pub(super) fn decode(arrived: Arrived<'a>, version: Version, limit: usize) -> Self {
        let Arrived { bytes, owner } = arrived;
        let mut batch = Self { input: SPARE.take(), used: 0, error: None };
        let mut decoder = Decoder::new(bytes, version, limit);
        batch.error = loop {
            match decoder.next_input() {
                Ok(Some(input)) => {
                    batch.input.push(input);
                    let input = batch.input.last_mut().expect("it was pushed");
                    share_payload(input, owner);
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
        self.input.iter().any(|input| match input {
            Input::Packet(packet) => needs_store(packet),
            Input::Acks(acks) => acks.kind == AckKind::PubRel,
            Input::Run(_) => true,
        })
    }
}

fn needs_store(packet: &Packet<'_>) -> bool {
    !matches!(
        packet,
        Packet::PingReq
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubComp(_)
            | Packet::Disconnect(_)
    )
}

/// The memory of its packets is for the next batch.
impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut input = std::mem::take(&mut self.input);
        if input.capacity() <= ROOM {
            input.clear();
            // Collecting in place, for another lifetime: nothing is left that lived for the first.
            SPARE.set(input.into_iter().map(|_| unreachable!("it is cleared")).collect());
        }
    }
}

fn share_payload(input: &mut Input<'_>, owner: Option<&Bytes>) {
    if let Input::Packet(Packet::Publish(publish)) = input
        && let Payload::Borrowed(bytes) = publish.payload
        && bytes.len() > SHARED_FROM
    {
        let shared =
            owner.map_or_else(|| Bytes::copy_from_slice(bytes), |all| all.slice_ref(bytes));
        publish.payload = Payload::Shared(shared);
    }
}

#[cfg(test)]
mod tests;
