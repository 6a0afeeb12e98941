//! The task of one admitted connection: reads batches into turns of the core, and writes what
//! nobody else could. All of it is one poll function around a boxed state, so that an idle
//! connection is small: a future would have room for each place where it was moved to.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep, timeout_at};

use super::accept::Place;
use super::engine::{Engine, Live, Step};
use super::link::Link;
use super::outbox::{Buffer, Outbox, Rest};
use super::reading::{Arrived, Batch, Carry, Read};
use super::work::By;
use crate::mqtt::Version;
use crate::turn::CloseCause;

/// For what is written last.
const CLOSE_TIMEOUT_MS: u32 = 5_000;

/// Bytes that a client may have handled while others wait: one that never stops sending has them
/// wait for no more than this takes.
const SHARE: usize = 64 * 1024;

/// For the client to close its side, so that what we wrote last is not lost by a reset.
const LINGER: Duration = Duration::from_secs(1);

/// A connection that had its CONNECT.
pub(super) struct Connection {
    inbound: Inbound,
    link: Link,
    carry: Carry,
    /// Whether the carry may have whole packets that wait for their turn.
    ready: bool,
    closing: bool,
    /// Whether writing failed.
    broken: bool,
    /// How long the socket may take nothing, in milliseconds.
    stall_ms: u32,
    writing: Option<Box<Writing>>,
    _live: Live,
    place: Option<Place>,
}

/// The way of packets into the core.
struct Inbound {
    seat: Seat,
    version: Version,
    /// Our Maximum Packet Size.
    packet_size: u32,
}

/// What was agreed on for a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Its protocol.
    pub(super) version: Version,
    /// Our Maximum Packet Size.
    pub(super) packet_size: u32,
    /// How long the socket may take nothing.
    pub(super) stall: Duration,
}

/// The task's own writing, while the socket is slow.
pub(super) struct Writing {
    half: Option<OwnedWriteHalf>,
    buffer: Buffer,
    /// Runs while the socket takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

/// A place among the connections. It is left for good, also when the task panics.
pub(super) struct Seat {
    pub(super) engine: Arc<Engine>,
    pub(super) outbox: Arc<Outbox>,
    /// Whether the core was told of the connection.
    pub(super) known: bool,
}

impl Seat {
    /// A turn of the core for this connection.
    pub(super) fn turn(&self, act: impl FnOnce(&mut Step<'_>)) {
        self.engine.turn(By::Connection(&self.outbox), act);
    }

    /// Tells the core why the connection is over, if it does not know.
    fn gone(&mut self, cause: CloseCause) {
        if std::mem::take(&mut self.known) {
            self.turn(|step| {
                if !self.outbox.is_closing() {
                    step.close(self.outbox.id(), cause);
                }
            });
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.known {
            self.gone(CloseCause::Network("the connection's task failed".into()));
        }
        self.turn(|step| step.leave(self.outbox.id()));
    }
}

/// Why the task is done.
enum End {
    /// All is written; the socket is closed in order.
    Closed,
    /// The client or the network ended it.
    Gone(CloseCause),
}

impl End {
    fn failed(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Gone(CloseCause::Peer { flushed: false }),
            _ => Self::Gone(CloseCause::Network(error.to_string().into())),
        }
    }
}

impl Connection {
    /// Serves the connection of `seat`, beginning with what `carry` has.
    pub(super) fn new(seat: Seat, link: Link, carry: Carry, terms: Terms) -> Box<Self> {
        let live = Live::new(&seat.engine);
        let ready = !carry.bytes().is_empty();
        let inbound = Inbound { seat, version: terms.version, packet_size: terms.packet_size };
        Box::new(Self {
            inbound,
            link,
            carry,
            ready,
            closing: false,
            broken: false,
            stall_ms: u32::try_from(terms.stall.as_millis()).unwrap_or(u32::MAX),
            writing: None,
            _live: live,
            place: None,
        })
    }

    /// Keeps `place` to its end.
    pub(super) fn keep(mut self: Box<Self>, place: Place) -> Box<Self> {
        self.place = Some(place);
        self
    }

    /// Its outbox.
    #[cfg(test)]
    pub(super) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.inbound.seat.outbox)
    }

    /// Serves it until all is written that ever will be: then it has to [`linger`](Self::linger),
    /// unless it is gone already.
    pub(super) fn poll_serve(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match ready!(self.poll(cx)) {
            End::Closed => Poll::Ready(true),
            End::Gone(cause) => {
                self.inbound.seat.gone(cause);
                Poll::Ready(false)
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.inbound.seat.outbox.take_gathering() {
            return give_way(cx);
        }
        let mut share = SHARE;
        loop {
            if let Poll::Ready(end) = self.poll_output(cx) {
                return Poll::Ready(end);
            }
            match self.poll_input(cx) {
                Poll::Ready(Ok(read)) if read < share => share -= read,
                Poll::Ready(Ok(_)) => return give_way(cx),
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                // This task's own turns only leave a mark.
                Poll::Pending if self.inbound.seat.outbox.is_signaled() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Handles one batch; says how many bytes it read.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, End>> {
        if self.closing || self.is_choked() {
            return Poll::Pending;
        }
        let Self { inbound, link, carry, .. } = self;
        if self.ready {
            if inbound.seat.outbox.is_starved() {
                return Poll::Pending;
            }
            self.ready = carry.again(|arrived| inbound.handle(arrived));
            return if self.ready { Poll::Pending } else { Poll::Ready(Ok(0)) };
        }
        match ready!(carry.poll_read(link, cx, |arrived| inbound.handle(arrived))) {
            Ok(Some(Read { count, result: must_wait, has_more })) => {
                self.ready = must_wait || has_more;
                Poll::Ready(Ok(count))
            }
            Ok(None) => {
                let flushed = !self.broken && inbound.seat.outbox.is_flushed();
                Poll::Ready(Err(End::Gone(CloseCause::Peer { flushed })))
            }
            Err(error) => Poll::Ready(Err(End::failed(&error))),
        }
    }

    /// Whether the client has to read before it may say more: what the core sends by itself stops
    /// at the outbox's limit, but each packet of the client has its answer.
    fn is_choked(&self) -> bool {
        let outbox = &self.inbound.seat.outbox;
        self.writing.is_some() && outbox.unwritten() > 2 * outbox.limit()
    }

    /// Writes what this task has to write. Pending also when there is nothing.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.inbound.seat.outbox.take_signal() {
            self.look();
        }
        if self.writing.is_none() {
            return Poll::Pending;
        }
        let wrote = self.poll_write(cx);
        self.inbound.tell_fullness();
        match wrote {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(end)) => Poll::Ready(end),
            Poll::Ready(Err(error)) if self.closing => Poll::Ready(End::failed(&error)),
            Poll::Ready(Err(_)) => {
                // Reading goes on to its own end: a DISCONNECT may be in what arrived before.
                self.writing = None;
                self.broken = true;
                Poll::Pending
            }
        }
    }

    /// Looks what the task was woken for.
    fn look(&mut self) {
        let outbox = &self.inbound.seat.outbox;
        if !self.closing && outbox.is_closing() {
            self.closing = true;
            self.stall_ms = CLOSE_TIMEOUT_MS;
            if let Some(writing) = &mut self.writing {
                writing.stalled = None;
            }
        }
        if let Some((half, buffer)) = outbox.take_over() {
            let stalled = None;
            self.writing = Some(Box::new(Writing { half, buffer, stalled }));
        }
        self.inbound.tell_fullness();
    }

    /// Writes until nothing is left, all was written that ever will be, or the socket is stuck.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<End>> {
        let Self { inbound, link, writing, stall_ms, .. } = self;
        let stall = Duration::from_millis(u64::from(*stall_ms));
        let outbox = &inbound.seat.outbox;
        let Some(work) = writing else {
            return Poll::Pending;
        };
        loop {
            if work.buffer.is_empty() {
                match link.poll_flush(cx) {
                    Poll::Pending => return work.poll_stalled(stall, cx).map(Ok),
                    Poll::Ready(flushed) => flushed?,
                }
                match outbox.rest(&mut work.half) {
                    Rest::More(more) => work.buffer = more,
                    Rest::Close => return Poll::Ready(Ok(End::Closed)),
                    Rest::Nothing => {
                        *writing = None;
                        return Poll::Pending;
                    }
                }
            }
            match link.poll_write(&mut work.half, cx, &work.buffer) {
                Poll::Pending => return work.poll_stalled(stall, cx).map(Ok),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => {
                    let count = count?;
                    outbox.wrote(count);
                    inbound.seat.engine.traffic().sent(count);
                    work.buffer.advance(count);
                    work.stalled = None;
                }
            }
        }
    }

    /// Closes our side and waits for the client to close its own.
    pub(super) async fn linger(mut self: Box<Self>) {
        self.writing = None; // Drops the half: FIN.
        let until = Instant::now() + LINGER;
        let shutdown = poll_fn(|cx| self.link.poll_shutdown(cx));
        if !matches!(timeout_at(until, shutdown).await, Ok(Ok(()))) {
            return;
        }
        let mut nothing = Carry::default();
        let mut discard = async || {
            let read = |cx: &mut Context<'_>| {
                nothing.poll_read(&mut self.link, cx, |arrived| (arrived.bytes.len(), ()))
            };
            poll_fn(read).await
        };
        while let Ok(Ok(Some(_))) = timeout_at(until, discard()).await {}
    }
}

impl Writing {
    /// Ends the connection when the socket takes nothing for too long.
    fn poll_stalled(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<End> {
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        let why = "the client does not read what it is sent";
        Poll::Ready(End::Gone(CloseCause::Network(why.into())))
    }
}

/// Lets all others go first, also those whose sockets the runtime has not looked at yet.
fn give_way(cx: &mut Context<'_>) -> Poll<End> {
    let _ = pin!(yield_now()).poll(cx);
    Poll::Pending
}

impl Inbound {
    /// Handles the whole packets of what arrived in one turn: how much of it is done with, and
    /// whether the rest waits for room in the store.
    fn handle(&self, arrived: Arrived<'_>) -> (usize, bool) {
        loop {
            let Some(batch) = self.decode(arrived) else {
                return (0, true);
            };
            if let Some(used) = self.take(batch, arrived.bytes.len()) {
                return (used, false);
            }
        }
    }

    /// Takes a batch in one turn: how much is done with, or `None` when others have filled the
    /// store since it was decoded. So what is pending goes over its bound by one turn at most.
    fn take(&self, batch: Batch<'_>, len: usize) -> Option<usize> {
        let seat = &self.seat;
        let needs_store = batch.needs_store();
        if batch.input.is_empty() && batch.error.is_none() {
            return Some(batch.used);
        }
        seat.engine.traffic().received(batch.used);
        let id = seat.outbox.id();
        let broken = batch.error.is_some();
        let mut is_late = false;
        seat.turn(|step| {
            is_late = needs_store && seat.engine.is_full();
            if is_late {
                return;
            }
            for input in &batch.input {
                step.input(id, input);
            }
            if let Some(error) = &batch.error {
                let reason = error.reason();
                let why = error.to_string().into();
                step.close(id, CloseCause::Malformed { reason, why });
            }
        });
        if is_late {
            return None;
        }
        if broken {
            seat.outbox.close();
            return Some(len);
        }
        Some(batch.used)
    }

    /// The packets, or `None` when the store has no room for them.
    fn decode<'a>(&self, arrived: Arrived<'a>) -> Option<Batch<'a>> {
        let batch = Batch::decode(arrived, self.version, self.packet_size as usize);
        let seat = &self.seat;
        let wait = seat.engine.is_full() && batch.needs_store();
        (!wait || !seat.engine.must_wait(&seat.outbox)).then_some(batch)
    }

    /// Tells the core when the outbox became full or drained.
    fn tell_fullness(&self) {
        if self.seat.outbox.fullness_changed() {
            self.seat.turn(|step| step.fullness(&self.seat.outbox));
        }
    }
}

#[cfg(test)]
mod tests;
