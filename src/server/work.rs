//! What a turn, or a commit, leaves to be done after the unlock: writing and waking.
//!
//! Invariant: who produced output, or let it go after a commit, writes it, once, at the end, unless
//! it is gathered; no lock is held.

use std::io;
use std::sync::Arc;

use tokio::net::tcp::OwnedWriteHalf;

use super::outbox::{Buffer, Next, Opened, Outbox, SLICES, Stencil};
use super::traffic::Traffic;
use crate::time::Timestamp;
use crate::turn::{ConnectionId, RecordNumber};

/// Writes at the end of one turn; the tasks of other connections are woken.
pub(super) const INLINE_WRITES: usize = 64;

/// Who makes a turn.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    /// A connection's task, which looks at its own outbox before it sleeps.
    Connection(&'a Outbox),
    /// The timer, who starts and stops, or what the store said.
    Server,
}

impl By<'_> {
    fn connection(self) -> Option<ConnectionId> {
        match self {
            Self::Connection(own) => Some(own.id()),
            Self::Server => None,
        }
    }
}

/// What is to be done after the unlock.
#[derive(Default)]
pub(super) struct Work {
    /// Claimed outboxes and their sockets.
    write: Vec<(Arc<Outbox>, OwnedWriteHalf)>,
    /// Connections whose task goes on.
    wake: Vec<Arc<Outbox>>,
    /// Those whose task goes on when all that are ready had their turn.
    gather: Vec<Arc<Outbox>>,
    /// Outboxes with output that began to wait.
    pub(super) listed: Vec<Arc<Outbox>>,
    pub(super) overflowed: Vec<Arc<Outbox>>,
    /// Whether output of this turn waits for the disk.
    pub(super) wanted: bool,
    pub(super) stencil: Stencil,
}

impl Work {
    /// What appending to an outbox asks for.
    pub(super) fn close(&mut self, opened: Opened<'_>, by: By<'_>, micros: u32) {
        let outbox = opened.outbox();
        let appended = opened.close(by.connection(), micros);
        self.wanted |= appended.held;
        if let Some(half) = appended.claimed {
            self.write.push((Arc::clone(outbox), half));
        }
        if appended.gather {
            self.gather.push(Arc::clone(outbox));
        } else if appended.wake {
            self.wake.push(Arc::clone(outbox));
        }
        if appended.list {
            self.listed.push(Arc::clone(outbox));
        }
        if appended.overflowed {
            self.overflowed.push(Arc::clone(outbox));
        }
    }

    /// What a commit lets go of an outbox. Whether output still waits there.
    pub(super) fn release(
        &mut self,
        outbox: &Arc<Outbox>,
        up_to: RecordNumber,
        now: Timestamp,
    ) -> bool {
        let appended = outbox.release(up_to, now);
        if let Some(half) = appended.claimed {
            self.write.push((Arc::clone(outbox), half));
        }
        if appended.wake {
            self.wake.push(Arc::clone(outbox));
        }
        appended.held
    }

    /// Writes and wakes, without any lock.
    pub(super) fn carry_out(&mut self, by: By<'_>, traffic: &Traffic) {
        self.wanted = false;
        for (done, (outbox, half)) in self.write.drain(..).enumerate() {
            if done < INLINE_WRITES {
                write_out(&outbox, half, traffic);
            } else {
                outbox.hand_over(half, Buffer::default(), 0);
            }
        }
        for outbox in self.wake.drain(..) {
            match by {
                By::Connection(own) if own.id() == outbox.id() => outbox.mark(),
                _ => outbox.wake(),
            }
        }
        self.gather.drain(..).for_each(|outbox| outbox.wake_to_gather());
    }
}

/// Writes until nothing is left or the socket takes no more.
fn write_out(outbox: &Outbox, mut half: OwnedWriteHalf, traffic: &Traffic) {
    let mut written = 0;
    while let Next::Write(back, mut buffer) = outbox.next_to_write(half, written) {
        half = back;
        written = 0;
        while !buffer.is_empty() {
            match write_some(&half, &buffer) {
                Ok(count) if count > 0 => {
                    written += count;
                    traffic.sent(count);
                    buffer.advance(count);
                }
                // The task meets the same error, and ends the connection for it.
                _ => return outbox.hand_over(half, buffer, written),
            }
        }
    }
}

fn write_some(half: &OwnedWriteHalf, buffer: &Buffer) -> io::Result<usize> {
    let mut slices = [io::IoSlice::new(&[]); SLICES];
    match buffer.slices(&mut slices) {
        1 => half.try_write(&slices[0]),
        count => half.try_write_vectored(&slices[..count]),
    }
}
