//! Bytes on their way to a socket: small packets together, big payloads from where they are.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

/// A larger payload is written from where it is; a smaller one is cheaper to copy.
pub(in crate::server) const SHARED_FROM: usize = 4 * 1024;

/// Slices of one write.
pub(in crate::server) const SLICES: usize = 16;

/// Bytes of spare memory that a thread keeps: small pieces for many outboxes, or few large ones.
const SPARE: usize = 2 * 1024 * 1024;
/// A larger piece is not kept.
const SPARE_CAPACITY: usize = 64 * 1024;
const FIRST_CAPACITY: usize = 1024;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { spare: Vec::new(), bytes: 0 }) };
}

/// Spare memory.
struct Pool {
    spare: Vec<Vec<u8>>,
    /// What they have room for, all together.
    bytes: usize,
}

/// Bytes in order. An empty one owns no memory.
#[derive(Debug, Default)]
pub(in crate::server) struct Buffer {
    /// What is before the tail, where there was a big payload.
    front: Option<Box<Front>>,
    tail: Vec<u8>,
    /// Written bytes of the first chunk.
    start: usize,
    len: usize,
}

#[derive(Debug, Default)]
struct Front(VecDeque<Chunk>);

#[derive(Debug)]
enum Chunk {
    Packets(Vec<u8>),
    Payload(Bytes),
}

impl Chunk {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Packets(bytes) => bytes,
            Self::Payload(bytes) => bytes,
        }
    }
}

impl Buffer {
    /// Bytes that are not written yet.
    pub(in crate::server) fn len(&self) -> usize {
        self.len
    }

    /// Whether all is written.
    pub(in crate::server) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends what `write` appends.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.tail.capacity() == 0 {
            self.tail = spare();
        }
        let before = self.tail.len();
        write(&mut self.tail);
        self.len += self.tail.len() - before;
        if self.tail.is_empty() {
            recycle(std::mem::take(&mut self.tail)); // DISCONNECT is nothing in 3.1.1.
        }
    }

    /// Appends a payload without copying it.
    pub(super) fn share(&mut self, payload: Bytes) {
        let Front(front) = &mut **self.front.get_or_insert_default();
        if !self.tail.is_empty() {
            front.push_back(Chunk::Packets(std::mem::take(&mut self.tail)));
        }
        self.len += payload.len();
        front.push_back(Chunk::Payload(payload));
    }

    /// The next bytes to write: fills `slices` from its front and gives how many it filled.
    pub(in crate::server) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let chunks = self.front.iter().flat_map(|front| &front.0).map(Chunk::as_slice);
        let all = chunks.chain(std::iter::once(self.tail.as_slice()));
        let mut count = 0;
        for (slot, bytes) in slices.iter_mut().zip(all) {
            let skip = if count == 0 { self.start } else { 0 };
            *slot = IoSlice::new(&bytes[skip..]);
            count += 1;
        }
        count
    }

    /// `count` more bytes are written. Memory of what is written goes back to the pool.
    pub(in crate::server) fn advance(&mut self, count: usize) {
        self.len -= count;
        self.start += count;
        if let Some(Front(front)) = self.front.as_deref_mut() {
            while let Some(first) = front.front() {
                let length = first.as_slice().len();
                if self.start < length {
                    return;
                }
                self.start -= length;
                if let Some(Chunk::Packets(bytes)) = front.pop_front() {
                    recycle(bytes);
                }
            }
        }
        if self.len == 0 {
            self.start = 0;
            self.front = None;
            recycle(std::mem::take(&mut self.tail));
        }
    }
}

fn spare() -> Vec<u8> {
    let spare = POOL.with_borrow_mut(|pool| {
        let spare = pool.spare.pop()?;
        pool.bytes -= spare.capacity();
        Some(spare)
    });
    spare.unwrap_or_else(|| Vec::with_capacity(FIRST_CAPACITY))
}

fn recycle(mut bytes: Vec<u8>) {
    if bytes.capacity() == 0 || bytes.capacity() > SPARE_CAPACITY {
        return;
    }
    bytes.clear();
    POOL.with_borrow_mut(|pool| {
        if pool.bytes + bytes.capacity() <= SPARE {
            pool.bytes += bytes.capacity();
            pool.spare.push(bytes);
        }
    });
}

#[cfg(test)]
mod tests;
