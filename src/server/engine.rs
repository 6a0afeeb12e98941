//! The one lock around the core, and what a turn of it means for sockets and disk.
//!
//! A [`turn`](Engine::turn) locks, lets the core handle what came, and still under the lock
//! appends output to the outboxes and records to the store: memory copies only, so that output
//! and log are in the order of the decisions. System calls come after the unlock: who produced
//! output writes it, once, at the end of its turn; what several bring to one connection at a time
//! is gathered, and its own task writes it.
//!
//! A panic under the lock aborts the process: what is on disk is the recovery.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use super::clock::{self, Clock};
use super::disk::Disk;
use super::handle::Seen;
use super::outbox::{Outbox, Peer};
use super::slots::Slots;
use super::traffic::Traffic;
use super::work::{By, Work};
use super::{log, store};
use crate::auth::Identity;
use crate::auth::acl::Acl;
use crate::broker::{Broker, SessionView};
use crate::mqtt::codec::Input;
use crate::mqtt::packet::Connect;
use crate::store::{Checkpoint, StoreError};
use crate::time::{Timestamp, WallClock};
use crate::turn::{CloseCause, ConnectionId, Event, Outgoing, RecordNumber, Turn};

/// Packets whose output is appended together. Meanwhile an outbox may pass its limit without the
/// core's knowledge: by a PUBLISH for each of these, and by the run that is the last of them.
const TOGETHER: usize = 64;

/// Output that is appended before more packets come, as some bring it to many.
const MUCH: usize = 1024;

/// The core and all that its turns touch.
pub(super) struct Engine {
    core: Mutex<Core>,
    clock: Clock,
    disk: OnceLock<Box<dyn Disk>>,
    /// All records up to this one are on disk.
    committed: AtomicU64,
    /// Outboxes with output that waits for the disk.
    waiting: Mutex<Vec<Arc<Outbox>>>,
    /// Connections whose next packets need room in the store.
    starved: Mutex<Vec<Arc<Outbox>>>,
    outbox_bytes: usize,
    traffic: Traffic,
    /// The time that the timer sleeps until.
    due: AtomicU64,
    timer: Notify,
    /// When the store last got something, and with it the time.
    submitted: AtomicU64,
    stopping: AtomicBool,
    /// Told when the store has ended by itself.
    lost: Notify,
    /// Admitted connections.
    live: AtomicUsize,
    quiet: Notify,
}

struct Core {
    broker: Broker,
    turn: Turn,
    slots: Slots,
    wall: WallClock,
}

thread_local! {
    static SPARE_WORK: Cell<Work> = Cell::default();
}

impl Engine {
    /// An engine around `broker`, before [`start`](Self::start).
    pub(super) fn new(broker: Broker, clock: Clock, wall: WallClock, outbox_bytes: usize) -> Self {
        let core = Core { broker, turn: Turn::default(), slots: Slots::default(), wall };
        let now = clock.now();
        Self {
            core: Mutex::new(core),
            clock,
            disk: OnceLock::new(),
            committed: AtomicU64::new(0),
            waiting: Mutex::default(),
            starved: Mutex::default(),
            outbox_bytes,
            traffic: Traffic::default(),
            due: AtomicU64::new(u64::MAX),
            timer: Notify::new(),
            submitted: AtomicU64::new(now.0),
            stopping: AtomicBool::new(false),
            lost: Notify::new(),
            live: AtomicUsize::new(0),
            quiet: Notify::new(),
        }
    }

    /// Gives it the store, once, before the first turn.
    pub(super) fn start(&self, disk: Box<dyn Disk>) {
        assert!(self.disk.set(disk).is_ok(), "the store is given once");
    }

    /// Lets the core act, and does what it asks for.
    pub(super) fn turn<R>(&self, by: By<'_>, act: impl FnOnce(&mut Step<'_>) -> R) -> R {
        let mut work = SPARE_WORK.take();
        let committed = self.committed();
        let (result, events) = {
            let mut core = self.lock();
            let _abort = AbortOnPanic::new();
            let (now, micros) = self.clock.now_finely();
            let mut step = Step {
                engine: self,
                core: &mut core,
                work: &mut work,
                by,
                now,
                micros,
                committed,
                packets: 0,
            };
            step.core.broker.set_committed(committed);
            let result = act(&mut step);
            (result, step.finish())
        };
        for (event, peer) in events {
            log::write(&event, peer);
        }
        if work.wanted && self.committed() != committed {
            self.release(); // The commit may have come before what waits for it was listed.
        }
        work.carry_out(by, &self.traffic);
        SPARE_WORK.set(work);
        result
    }

    /// Seats a connection. `waker` wakes its task.
    pub(super) fn seat(
        &self,
        peer: Peer,
        half: Option<OwnedWriteHalf>,
        waker: Waker,
    ) -> Arc<Outbox> {
        self.traffic.accepted();
        let make = |id| Outbox::new(id, peer, self.outbox_bytes, half, waker);
        self.lock().slots.insert(make)
    }

    /// All records up to `up_to` are on disk: lets go what waited for them.
    pub(super) fn set_committed(&self, up_to: RecordNumber) {
        self.committed.fetch_max(up_to.0, Ordering::SeqCst);
        self.release();
    }

    /// Whether a packet that needs the store has to wait. If so, `outbox` is woken when there is
    /// room, and its Keep Alive does not run meanwhile.
    pub(super) fn must_wait(&self, outbox: &Arc<Outbox>) -> bool {
        if !self.is_full() {
            return false;
        }
        if !outbox.set_starved(true) {
            self.lock().broker.handle_paused(outbox.id());
            lock(&self.starved).push(Arc::clone(outbox));
        }
        self.is_full() // Room may have come before it stood in the list.
    }

    /// Whether the store's queue is full.
    pub(super) fn is_full(&self) -> bool {
        self.disk().is_full()
    }

    /// The store has room again.
    pub(super) fn room(&self) {
        for outbox in std::mem::take(&mut *lock(&self.starved)) {
            outbox.set_starved(false);
            outbox.wake();
        }
    }

    /// Counts what passes.
    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Now.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The broker's clock.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// When the core wants to be called next.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let due = self.due.load(Ordering::SeqCst);
        (due != u64::MAX).then_some(Timestamp(due))
    }

    /// Calls the core, as it wanted.
    pub(super) fn tick(&self) {
        self.due.store(u64::MAX, Ordering::SeqCst); // The turn sets it anew.
        self.turn(By::Server, |step| {
            step.core.broker.set_traffic(self.traffic.so_far());
            step.call(Broker::handle_timeout);
        });
    }

    /// Told when [`due`](Self::due) got earlier.
    pub(super) fn timer(&self) -> &Notify {
        &self.timer
    }

    /// When the store last got something.
    pub(super) fn last_checkpoint(&self) -> Timestamp {
        Timestamp(self.submitted.load(Ordering::Relaxed))
    }

    /// Writes the time into the store, though nothing else happened.
    pub(super) fn checkpoint(&self) {
        let at = self.clock.now();
        self.disk().confirm(Checkpoint { at, unix_ms: clock::unix_ms() });
        self.submitted.store(at.0, Ordering::Relaxed);
    }

    /// Takes the wall clock anew where it was set.
    pub(super) fn check_wall_clock(&self) {
        let shown = clock::unix_ms();
        let mut core = self.lock();
        let now = self.clock.now();
        if clock::has_jumped(core.wall, now, shown) {
            core.wall = WallClock::new(now, shown);
            let wall = core.wall;
            core.broker.set_wall_clock(wall);
        }
    }

    /// What a clock on the wall shows.
    pub(super) fn wall_clock(&self) -> WallClock {
        self.lock().wall
    }

    /// Takes other rights.
    pub(super) fn set_acl(&self, acl: Option<Acl>) {
        self.lock().broker.set_acl(acl);
    }

    /// Whether the broker stops: no client is admitted any more.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Says goodbye to all clients.
    pub(super) fn say_goodbye(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.turn(By::Server, |step| {
            step.call(Broker::handle_shutdown);
            for outbox in step.core.slots.iter() {
                outbox.close();
            }
        });
    }

    /// Waits until no admitted connection is left.
    pub(super) async fn quiet(&self) {
        loop {
            let quiet = self.quiet.notified();
            if self.live.load(Ordering::SeqCst) == 0 {
                return;
            }
            quiet.await;
        }
    }

    /// The store has ended by itself: nothing is committed any more.
    pub(super) fn lose_store(&self) {
        self.lost.notify_one();
    }

    /// Waits until the store has ended by itself, as often as it is asked.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
        self.lost.notify_one();
    }

    /// What is on disk now.
    pub(super) fn snapshot(&self) -> Result<store::Snapshot, StoreError> {
        self.disk().snapshot()
    }

    /// Stops the store: all that was submitted is on disk then.
    pub(super) fn stop_store(&self) -> Result<(), StoreError> {
        self.disk().stop()
    }

    fn release(&self) {
        let mut work = SPARE_WORK.take();
        loop {
            let up_to = self.committed();
            let now = self.clock.now();
            let mut waiting = std::mem::take(&mut *lock(&self.waiting));
            waiting.retain(|outbox| work.release(outbox, up_to, now));
            lock(&self.waiting).append(&mut waiting);
            // A commit meanwhile may have found the list empty.
            if self.committed() == up_to {
                break;
            }
        }
        work.carry_out(By::Server, &self.traffic);
        SPARE_WORK.set(work);
    }

    fn committed(&self) -> RecordNumber {
        RecordNumber(self.committed.load(Ordering::SeqCst))
    }

    fn disk(&self) -> &dyn Disk {
        let disk = self.disk.get().expect("the store is given before the first turn");
        &**disk
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One turn of the core, under its lock.
pub(super) struct Step<'a> {
    engine: &'a Engine,
    core: &'a mut Core,
    work: &'a mut Work,
    by: By<'a>,
    now: Timestamp,
    /// The same, finer.
    micros: u32,
    committed: RecordNumber,
    /// Those whose output is to be appended.
    packets: usize,
}

impl Step<'_> {
    /// A CONNECT came.
    pub(super) fn connect(&mut self, id: ConnectionId, who: Identity, connect: Connect<'_>) {
        self.call(|broker, now, turn| broker.handle_connect(id, who, connect, now, turn));
    }

    /// A client sent something. What it brings is appended with that of the next packets, or at the
    /// end of the step.
    pub(super) fn input(&mut self, id: ConnectionId, input: &Input<'_>) {
        let Core { broker, turn, .. } = &mut *self.core;
        match input {
            Input::Packet(packet) => {
                broker.handle_packet(id, packet, self.now, turn);
                self.packets += 1;
            }
            Input::Acks(acks) => {
                broker.handle_acks(id, acks, self.now, turn);
                self.packets += acks.count();
            }
            Input::Run(run) => {
                broker.handle_run(id, run, self.now, turn);
                self.packets += run.count;
            }
        }
        if self.packets >= TOGETHER || turn.send.len() + turn.held.len() >= MUCH {
            self.packets = 0;
            self.append();
        }
    }

    /// A connection ends.
    pub(super) fn close(&mut self, id: ConnectionId, cause: CloseCause) {
        self.call(|broker, now, turn| broker.handle_close(id, cause, now, turn));
    }

    /// Tells the core that an outbox became full or drained, if so.
    pub(super) fn fullness(&mut self, outbox: &Outbox) {
        if let Some(full) = outbox.take_fullness() {
            let id = outbox.id();
            self.call(|broker, now, turn| broker.handle_outbox(id, full, now, turn));
        }
    }

    /// Sessions with their peers; see [`Broker::sessions_after`].
    pub(super) fn sessions_after(&self, after: Option<&str>, limit: usize) -> Vec<Seen> {
        let sessions = self.core.broker.sessions_after(after, limit).into_iter();
        sessions.map(|session| self.seen(session)).collect()
    }

    /// A session with its peer.
    pub(super) fn session(&self, client_id: &str) -> Option<Seen> {
        self.core.broker.session_view(client_id).map(|session| self.seen(session))
    }

    fn seen(&self, session: SessionView) -> Seen {
        let outbox = session.connection.and_then(|id| self.core.slots.get(id));
        let peer = outbox.map(|outbox| outbox.peer()).map(|peer| (peer.address, peer.tls));
        Seen { session, peer }
    }

    /// Frees the seat of a connection.
    pub(super) fn leave(&mut self, id: ConnectionId) {
        self.core.slots.remove(id);
    }

    /// Calls the core and appends its output.
    pub(super) fn call(&mut self, handle: impl FnOnce(&mut Broker, Timestamp, &mut Turn)) {
        handle(&mut self.core.broker, self.now, &mut self.core.turn);
        self.append();
    }

    /// Appends output, and tells the core which outboxes are full now.
    fn append(&mut self) {
        self.append_output();
        while let Some(outbox) = self.work.overflowed.pop() {
            if let Some(full) = outbox.take_fullness() {
                let Core { broker, turn, .. } = &mut *self.core;
                broker.handle_outbox(outbox.id(), full, self.now, turn);
                self.append_output();
            }
        }
    }

    /// Appends output, in the order of the decisions. Each outbox is opened once.
    fn append_output(&mut self) {
        let Core { turn, slots, .. } = &mut *self.core;
        let (written, output) = turn.take_output();
        let mut opening = slots.opening(self.committed, self.now);
        for (until, Outgoing { connection, output }) in output {
            if let Some(opened) = opening.get(connection) {
                opened.append(until, output, written, &mut self.work.stencil);
            }
        }
        opening.finish().for_each(|opened| self.work.close(opened, self.by, self.micros));
        self.work.stencil.clear();
        turn.written.clear();
    }

    /// Hands the records to the store. Events come with who is at the other end.
    fn finish(mut self) -> Vec<(Event, Option<Peer>)> {
        self.append();
        let engine = self.engine;
        let core = self.core;
        if !self.work.listed.is_empty() {
            lock(&engine.waiting).append(&mut self.work.listed);
        }
        let turn = &mut core.turn;
        let has_asks = !turn.loads.is_empty() || !turn.letters.is_empty();
        if self.work.wanted || !turn.records.is_empty() || has_asks {
            // What the clock shows now: where it was set meanwhile, `wall` knows it later only,
            // and the next start would take the difference for downtime.
            let checkpoint = Checkpoint { at: self.now, unix_ms: clock::unix_ms() };
            let last = turn.last_record();
            let wanted = self.work.wanted || turn.loads.iter().any(|load| load.after_lazy);
            let disk = engine.disk();
            if !turn.loads.is_empty() {
                let count = turn.loads.iter().map(|load| load.count as usize).sum();
                disk.recycle(&mut core.broker.spare(count));
            }
            disk.submit(&turn.records, &mut turn.loads, last, wanted, checkpoint);
            core.broker.take_back(turn.records.drain(..));
            if !turn.letters.is_empty() {
                disk.ask(&mut turn.letters);
            }
            engine.submitted.store(self.now.0, Ordering::Relaxed);
        }
        let next = core.broker.next_timeout().map_or(u64::MAX, |next| next.0);
        if next < engine.due.load(Ordering::SeqCst) {
            engine.due.store(next, Ordering::SeqCst);
            engine.timer.notify_one();
        }
        let slots = &core.slots;
        let events = core.turn.events.drain(..);
        events
            .map(|event| (log::connection(&event).and_then(|id| slots.get(id)), event))
            .map(|(outbox, event)| (event, outbox.map(|outbox| outbox.peer())))
            .collect()
    }
}

/// Counts an admitted connection as long as it lives.
pub(super) struct Live(Arc<Engine>);

impl Live {
    /// One more.
    pub(super) fn new(engine: &Arc<Engine>) -> Self {
        engine.live.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(engine))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.0.live.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.quiet.notify_waiters();
        }
    }
}

/// Aborts when a panic begins while it lives; not for one that leads here, as a connection's task
/// leaves its seat when it panics.
struct AbortOnPanic {
    before: bool,
}

impl AbortOnPanic {
    fn new() -> Self {
        Self { before: std::thread::panicking() }
    }
}

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.before {
            std::process::abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
