//! What one connection is going to be told: bytes that may leave, and output that still waits.
//!
//! **The right to write.** Whoever appends to an outbox that nobody writes takes the right with
//! the first byte, as the socket's writing half itself, and gives it back when all is written;
//! others only append. When the socket takes no more, the right goes to the connection's task, and
//! also when several others tell it something at the same time: the task lets all that are ready
//! go first, and writes what they brought together. The task of a TLS connection has it always.
//!
//! Lock order: the core, then outboxes; whoever has not the core's lock takes one at a time. No
//! system call is made under an outbox's lock.

mod buffer;
mod crowd;
mod order;
mod stencil;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::net::tcp::OwnedWriteHalf;

use crowd::Crowd;

use crate::mqtt::codec;
use crate::mqtt::reply::EncodeContext;
use crate::mqtt::{Reply, Version};
use crate::time::Timestamp;
use crate::turn::{ConnectionId, Encoded, Kind, Output, RecordNumber};

pub(super) use buffer::{Buffer, SHARED_FROM, SLICES};
pub use order::{Order, Waiting};
pub(super) use stencil::Stencil;

/// Who is at the other end, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its address.
    pub(super) address: SocketAddr,
    /// Whether it speaks TLS.
    pub(super) tls: bool,
}

/// The outbox of one connection.
#[derive(Debug)]
pub(super) struct Outbox {
    id: ConnectionId,
    peer: Peer,
    /// Bytes above which it is full.
    limit: usize,
    /// Of the connection's task, which stays one and the same for its life.
    waker: Waker,
    signal: AtomicBool,
    /// Whether the task is to let others go first.
    gathering: AtomicBool,
    /// Whether the engine has it in its list of those that wait for the store.
    starved: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    version: Version,
    maximum_packet_size: u32,
    queue: Buffer,
    order: Order,
    crowd: Crowd,
    right: Right,
    /// Bytes that were appended and are not yet handed to the operating system.
    unwritten: usize,
    /// What the core knows: that it is full.
    told_full: bool,
    /// Whether the engine has it in its list of those with held output.
    listed: bool,
    closing: bool,
}

/// Who has the right to write.
#[derive(Debug)]
enum Right {
    /// Nobody: it is there to be taken.
    Free(OwnedWriteHalf),
    /// Somebody, at the end of a turn.
    Taken,
    /// The connection's task, which has not taken it yet; with what is to be written first.
    ForTask(Option<OwnedWriteHalf>, Option<Box<Buffer>>),
    /// The connection's task, at work.
    Task,
}

/// Who is to write what was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// Who appended it.
    Caller,
    /// The connection's task.
    Task,
    /// The connection's task, together with what others append.
    Gatherer,
}

/// What the caller has to do after it appended.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Appended {
    /// Write this connection's output.
    pub(super) claimed: Option<OwnedWriteHalf>,
    /// Wake its task.
    pub(super) wake: bool,
    /// Let it write when all that are ready had their turn.
    pub(super) gather: bool,
    /// Output waits in an outbox where none did.
    pub(super) list: bool,
    /// Output waits.
    pub(super) held: bool,
    /// The core has to be told that the outbox is full.
    pub(super) overflowed: bool,
}

/// What the connection's task finds after it wrote.
#[derive(Debug)]
pub(super) enum Rest {
    /// More to write.
    More(Buffer),
    /// Nothing; the right is given back.
    Nothing,
    /// Nothing will come any more: the socket is to be closed.
    Close,
}

impl Outbox {
    /// An empty outbox. `half` is `None` for a connection that only its task can write to.
    pub(super) fn new(
        id: ConnectionId,
        peer: Peer,
        limit: usize,
        half: Option<OwnedWriteHalf>,
        waker: Waker,
    ) -> Self {
        let right = match half {
            Some(half) => Right::Free(half),
            None => Right::ForTask(None, None),
        };
        let state = State {
            version: Version::V311,
            maximum_packet_size: u32::MAX,
            queue: Buffer::default(),
            order: Order::default(),
            crowd: Crowd::new(id),
            right,
            unwritten: 0,
            told_full: false,
            listed: false,
            closing: false,
        };
        Self {
            id,
            peer,
            limit,
            waker,
            signal: AtomicBool::new(false),
            gathering: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// Whose it is.
    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    /// Who is at the other end.
    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    /// Bytes above which it is full.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Notes that its task waits for the store, or not any more. What was noted before.
    pub(super) fn set_starved(&self, starved: bool) -> bool {
        self.starved.swap(starved, Ordering::AcqRel)
    }

    /// Whether its task waits for the store.
    pub(super) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Acquire)
    }

    /// What the CONNECT says of how packets have to look.
    pub(super) fn set_protocol(&self, version: Version, maximum_packet_size: Option<u32>) {
        let mut state = self.lock();
        state.version = version;
        state.maximum_packet_size = maximum_packet_size.unwrap_or(u32::MAX);
    }

    /// Opens it for output, unless it is closed. All up to `committed` is on disk.
    pub(super) fn open(
        self: &Arc<Self>,
        committed: RecordNumber,
        now: Timestamp,
    ) -> Option<Opened<'_>> {
        let state = self.lock();
        let (held, list) = (false, false);
        (!state.closing).then_some(Opened { outbox: self, state, committed, now, held, list })
    }

    /// Lets go what waited for `committed`: the caller writes it, or wakes the task.
    pub(super) fn release(&self, committed: RecordNumber, now: Timestamp) -> Appended {
        let mut state = self.lock();
        let (mut stencil, none) = (Stencil::default(), Encoded::default());
        while let Some(waiting) = state.order.pop(committed) {
            match waiting {
                Waiting::Output(output) => state.append(output, &none, now, &mut stencil),
                Waiting::Acks(acks) => state.append_bytes(&acks),
            }
        }
        state.listed = !state.order.is_empty();
        let held = state.listed;
        let claimed = self.claim(&mut state, Writer::Caller);
        // No turn is made here, which could tell the core: the task does.
        let wake = claimed.wake || claimed.overflowed;
        Appended { held, wake, ..claimed }
    }

    /// Says that nothing will come any more: what is there is written, what waits is dropped.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.close();
        let _ = self.claim(&mut state, Writer::Task);
        drop(state);
        self.wake();
    }

    /// Whether it is closed for more output.
    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Whether all output was handed to the operating system.
    pub(super) fn is_flushed(&self) -> bool {
        let state = self.lock();
        state.unwritten == 0 && state.order.is_empty()
    }

    /// Bytes that wait for the socket.
    pub(super) fn unwritten(&self) -> usize {
        self.lock().unwritten
    }

    /// Whether [`take_fullness`](Self::take_fullness) has something to say.
    pub(super) fn fullness_changed(&self) -> bool {
        self.lock().fullness(self.limit).is_some()
    }

    /// What the core has to be told: that it is full, or that it drained. Under the core's lock.
    pub(super) fn take_fullness(&self) -> Option<bool> {
        let mut state = self.lock();
        let full = state.fullness(self.limit)?;
        state.told_full = full;
        Some(full)
    }

    /// Wakes the connection's task, which then looks here.
    pub(super) fn wake(&self) {
        if !self.signal.swap(true, Ordering::AcqRel) {
            self.waker.wake_by_ref();
        }
    }

    /// Like [`wake`](Self::wake), for output that others may add to at once.
    pub(super) fn wake_to_gather(&self) {
        if !self.signal.swap(true, Ordering::AcqRel) {
            self.gathering.store(true, Ordering::Release);
            self.waker.wake_by_ref();
        }
    }

    /// Whether the task is to let others go first, once.
    pub(super) fn take_gathering(&self) -> bool {
        self.gathering.load(Ordering::Relaxed) && self.gathering.swap(false, Ordering::AcqRel)
    }

    /// Like [`wake`](Self::wake), from the connection's task itself, which looks here before it
    /// sleeps.
    pub(super) fn mark(&self) {
        self.signal.store(true, Ordering::Release);
    }

    /// Whether somebody woke the task since it last took the signal.
    pub(super) fn is_signaled(&self) -> bool {
        self.signal.load(Ordering::Relaxed)
    }

    /// Takes the signal.
    pub(super) fn take_signal(&self) -> bool {
        self.is_signaled() && self.signal.swap(false, Ordering::AcqRel)
    }

    /// For who took the right at the end of a turn: the next bytes, after `written` are out.
    /// Without any, the right is given back with `half`.
    pub(super) fn next_to_write(&self, half: OwnedWriteHalf, written: usize) -> Next {
        let mut state = self.lock();
        state.unwritten -= written;
        if !state.queue.is_empty() {
            return Next::Write(half, std::mem::take(&mut state.queue));
        }
        let wake = state.closing || state.fullness(self.limit).is_some();
        state.right =
            if state.closing { Right::ForTask(Some(half), None) } else { Right::Free(half) };
        drop(state);
        if wake {
            self.wake();
        }
        Next::Nothing
    }

    /// The socket takes no more, or failed: the connection's task goes on, with `rest` first.
    pub(super) fn hand_over(&self, half: OwnedWriteHalf, rest: Buffer, written: usize) {
        let mut state = self.lock();
        state.unwritten -= written;
        state.right = Right::ForTask(Some(half), Some(Box::new(rest)));
        drop(state);
        self.wake();
    }

    /// For the task: the right to write, if it was given to it.
    pub(super) fn take_over(&self) -> Option<(Option<OwnedWriteHalf>, Buffer)> {
        let mut state = self.lock();
        if !matches!(state.right, Right::ForTask(..)) {
            return None;
        }
        match std::mem::replace(&mut state.right, Right::Task) {
            Right::ForTask(half, rest) => Some((half, rest.map(|rest| *rest).unwrap_or_default())),
            _ => None,
        }
    }

    /// For the task, when it wrote all that it had. `half` is given back when nothing is left.
    pub(super) fn rest(&self, half: &mut Option<OwnedWriteHalf>) -> Rest {
        let mut state = self.lock();
        if !state.queue.is_empty() {
            return Rest::More(std::mem::take(&mut state.queue));
        }
        if state.closing {
            return Rest::Close;
        }
        state.right = match half.take() {
            Some(half) => Right::Free(half),
            None => Right::ForTask(None, None),
        };
        Rest::Nothing
    }

    /// For the task: `count` bytes are out.
    pub(super) fn wrote(&self, count: usize) {
        self.lock().unwritten -= count;
    }

    /// Sees that somebody writes what was appended: `writer`, where nobody does yet.
    fn claim(&self, state: &mut State, writer: Writer) -> Appended {
        let overflowed = state.fullness(self.limit) == Some(true);
        let mut appended = Appended { overflowed, ..Appended::default() };
        if state.queue.is_empty() && !state.closing {
            return appended;
        }
        match &state.right {
            Right::Free(_) => {
                let half = state.take_free();
                if writer == Writer::Caller && !state.closing {
                    appended.claimed = half;
                } else {
                    state.right = Right::ForTask(half, None);
                    appended.wake = true;
                }
            }
            Right::ForTask(..) => appended.wake = true,
            Right::Taken | Right::Task => appended.wake = state.closing,
        }
        appended.gather = appended.wake && writer == Writer::Gatherer && !state.closing;
        appended
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An outbox that somebody appends to.
pub(super) struct Opened<'a> {
    outbox: &'a Arc<Outbox>,
    state: MutexGuard<'a, State>,
    committed: RecordNumber,
    now: Timestamp,
    /// Whether output waits that was appended here.
    held: bool,
    /// Whether it is the first that waits.
    list: bool,
}

impl<'a> Opened<'a> {
    /// Whose outbox it is.
    pub(super) fn outbox(&self) -> &'a Arc<Outbox> {
        self.outbox
    }

    /// Appends output that leaves when `until` is on disk, or, where it needs no record, at once,
    /// unless it has to stay behind what waits. `written` is of its turn.
    pub(super) fn append(
        &mut self,
        until: Option<RecordNumber>,
        output: Output,
        written: &Encoded,
        stencil: &mut Stencil,
    ) {
        let state = &mut *self.state;
        if state.closing {
            return;
        }
        let leaves = match until {
            Some(until) => until <= self.committed && state.order.is_empty(),
            None => state.order.may_pass(&output),
        };
        if leaves {
            return state.append(output, written, self.now, stencil);
        }
        let until = until.unwrap_or_default();
        match output {
            Output::Written(piece) if piece.kind() == Kind::Ack => {
                state.order.hold_acks(until, written.bytes(&piece));
            }
            Output::Written(piece) => {
                written.packets(&piece).for_each(|packet| state.order.hold(until, packet));
            }
            output => state.order.hold(until, output),
        }
        self.held = true;
        self.list |= !std::mem::replace(&mut state.listed, true);
    }

    /// Sees that somebody writes what was appended, at `micros`, in a turn of the connection `by`.
    pub(super) fn close(mut self, by: Option<ConnectionId>, micros: u32) -> Appended {
        let other = by.filter(|by| *by != self.outbox.id);
        let is_crowded = other.is_some_and(|by| self.state.crowd.tell(by, micros));
        let writer = if is_crowded { Writer::Gatherer } else { Writer::Caller };
        let claimed = self.outbox.claim(&mut self.state, writer);
        Appended { held: self.held, list: self.list, ..claimed }
    }
}

/// What who has the right to write does next.
#[derive(Debug)]
pub(super) enum Next {
    /// Writes these bytes.
    Write(OwnedWriteHalf, Buffer),
    /// Nothing.
    Nothing,
}

impl State {
    fn append(&mut self, output: Output, written: &Encoded, now: Timestamp, stencil: &mut Stencil) {
        let reply = match output {
            Output::Packet(reply) => reply,
            Output::Written(piece) => return self.append_bytes(written.bytes(&piece)),
            Output::Close => return self.close(),
        };
        let context = EncodeContext { version: self.version, now };
        let before = self.queue.len();
        match reply {
            Reply::Publish(delivery) if delivery.message.payload.len() > SHARED_FROM => {
                self.queue.append(|bytes| codec::encode_publish_head(&delivery, context, bytes));
                self.queue.share(delivery.message.payload.clone());
            }
            Reply::Publish(delivery) => {
                self.queue.append(|bytes| stencil.append(delivery, context, bytes));
            }
            reply => {
                let limit = self.maximum_packet_size as usize;
                self.queue.append(|bytes| codec::encode(&reply, context, limit, bytes));
            }
        }
        self.unwritten += self.queue.len() - before;
    }

    fn append_bytes(&mut self, bytes: &[u8]) {
        self.unwritten += bytes.len();
        self.queue.append(|out| out.extend_from_slice(bytes));
    }

    fn take_free(&mut self) -> Option<OwnedWriteHalf> {
        match std::mem::replace(&mut self.right, Right::Taken) {
            Right::Free(half) => Some(half),
            _ => None,
        }
    }

    fn close(&mut self) {
        self.closing = true;
        self.order.clear();
    }

    fn fullness(&self, limit: usize) -> Option<bool> {
        if !self.told_full && self.unwritten > limit {
            Some(true)
        } else if self.told_full && self.unwritten < limit.div_ceil(2) {
            Some(false)
        } else {
            None
        }
    }
}
