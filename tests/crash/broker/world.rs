//! A [`Broker`] and its [`Database`] without threads and sockets: turns' records wait for a commit,
//! held output waits for the same commit, and the clock moves when told.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kedgemq::auth::{Acl, Identity};
use kedgemq::broker::Broker;
use kedgemq::config::Settings;
use kedgemq::mqtt::{Packet, QoS, Reply};
use kedgemq::store::{Checkpoint, Database};
use kedgemq::time::{Timestamp, WallClock};
use kedgemq::turn::{
    CloseCause, ConnectionId, DeadLetter, LetterLoad, Load, Outgoing, Output, Record, RecordNumber,
    StoreState, Turn,
};

use super::packets::ConnectOptions;
use crate::backend::{Disk, Failure};
use crate::store::open;

const UNIX_MS: u64 = 1_700_000_000_000;

/// So few that a client that is away overflows its queue.
pub(super) const QUEUE_MESSAGES: usize = 8;

/// What an operator wrote into files, which no crash changes.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) settings: Settings,
    pub(super) acl: Option<Acl>,
}

/// One run of the broker on one disk.
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) disk: Disk,
    pub(super) rules: Rules,
    database: Database,
    broker: Broker,
    turn: Turn,
    pending: Vec<Record>,
    /// What a commit that failed is to repeat.
    failed: Option<Batch>,
    committed: RecordNumber,
    loads: Vec<Load>,
    letters: Vec<LetterLoad>,
    lines: BTreeMap<ConnectionId, Line>,
    crashed: Arc<Mutex<Vec<Disk>>>,
}

/// The records of some turns on their way to the disk.
struct Batch {
    number: u64,
    records: Vec<Record>,
    last: RecordNumber,
}

/// What goes to one connection.
#[derive(Default)]
struct Line {
    held: VecDeque<(RecordNumber, Output)>,
    left: Vec<Reply>,
    closed: bool,
}

impl World {
    /// Starts a broker with what is on `disk`.
    pub(super) fn start(disk: Disk, now: Timestamp, rules: Rules) -> Self {
        let (database, restored) = open(&disk).expect("what a crash leaves can be opened");
        assert!(restored.checkpoint.is_none_or(|checkpoint| checkpoint.at <= now));
        let mut broker = Broker::new(rules.settings.clone(), 42, now);
        broker.set_acl(rules.acl.clone());
        broker.set_wall_clock(WallClock::new(now, UNIX_MS + now.0));
        broker.restore(restored.records.into_iter(), now);
        let mut world = Self {
            now,
            disk,
            rules,
            database,
            broker,
            turn: Turn::default(),
            pending: Vec::new(),
            failed: None,
            committed: RecordNumber(0),
            loads: Vec::new(),
            letters: Vec::new(),
            lines: BTreeMap::new(),
            crashed: Arc::default(),
        };
        world.run_timeouts();
        world
    }

    /// From now on each sync leaves what a crash there would leave.
    pub(super) fn keep_crashes(&self) {
        let crashed = self.crashed.clone();
        self.disk.at_each_sync(move |disk| crashed.lock().unwrap().push(disk));
    }

    /// The crashes since the last call.
    pub(super) fn crashes(&self) -> Vec<Disk> {
        mem::take(&mut self.crashed.lock().unwrap())
    }

    /// Lets the operation fail that is the `nth` from here.
    pub(super) fn fail(&self, nth: u64, failure: Failure) {
        let at = self.disk.operations() + nth;
        self.disk.fail(Failure { at, ..failure });
    }

    /// Sends a CONNECT on a new connection.
    pub(super) fn open(&mut self, connect: &ConnectOptions) -> ConnectionId {
        let slot = u32::try_from(self.lines.len()).unwrap();
        let id = ConnectionId { slot, generation: 1 };
        self.lines.insert(id, Line::default());
        let who: Identity = connect.identity();
        let packet = connect.packet();
        self.step(|broker, now, turn| broker.handle_connect(id, who, packet, now, turn));
        id
    }

    /// A packet from a client.
    pub(super) fn send(&mut self, id: ConnectionId, packet: Packet<'_>) {
        self.step(|broker, now, turn| broker.handle_packet(id, &packet, now, turn));
    }

    /// The network fails.
    pub(super) fn cut(&mut self, id: ConnectionId) {
        self.close(id, CloseCause::Network("cut".into()));
    }

    /// A connection ends.
    pub(super) fn close(&mut self, id: ConnectionId, cause: CloseCause) {
        self.step(|broker, now, turn| broker.handle_close(id, cause, now, turn));
        self.line(id).close();
    }

    /// The rights are others from now on.
    pub(super) fn set_acl(&mut self, text: &str) {
        self.rules.acl = Some(Acl::parse(text).unwrap());
        self.broker.set_acl(self.rules.acl.clone());
    }

    /// An operator does something.
    pub(super) fn operate<R>(&mut self, act: impl FnOnce(&mut Broker, Timestamp, &mut Turn) -> R) {
        self.step(|broker, now, turn| drop(act(broker, now, turn)));
    }

    /// Takes what left to a client; whether the connection is closed.
    pub(super) fn receive(&mut self, id: ConnectionId) -> (Vec<Reply>, bool) {
        let line = self.line(id);
        (mem::take(&mut line.left), line.closed)
    }

    /// Lets time pass, from one deadline of the broker to the next.
    pub(super) fn wait(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(at) = self.broker.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.run_timeouts();
        }
        self.now = end;
    }

    /// Commits what is pending, or again what failed; what waited for it leaves. False when the
    /// disk fails.
    pub(super) fn commit(&mut self) -> bool {
        if !self.write() {
            return false;
        }
        self.answer_loads();
        true
    }

    /// Whether a commit would start by itself, without waiting for others.
    pub(super) fn wants_commit(&self) -> bool {
        let is_held = self.lines.values().any(|line| !line.held.is_empty());
        let mut records = self.pending.iter();
        is_held
            || !(self.loads.is_empty() && self.letters.is_empty())
            || records.any(|record| !record.is_lazy())
    }

    /// Whether everything is told and on disk.
    pub(super) fn is_quiet(&self) -> bool {
        !self.wants_commit() && self.pending.is_empty() && self.failed.is_none()
    }

    /// What is on the disk, and the dead letters among it. Ends the run.
    pub(super) fn stop(self) -> (Vec<Record>, Vec<DeadLetter>) {
        self.database.close().unwrap();
        let (database, restored) = open(&self.disk).unwrap();
        let letters = restored.records.iter().filter_map(|record| match record {
            Record::DeadIndex(index) => database.dead_letter(index.id).unwrap(),
            _ => None,
        });
        let letters = letters.collect();
        (restored.records, letters)
    }

    fn write(&mut self) -> bool {
        let time = Checkpoint { at: self.now, unix_ms: UNIX_MS + self.now.0 };
        let (batch, written) = match self.failed.take() {
            None if self.pending.is_empty() => return true,
            None => {
                let number = self.database.batch() + 1;
                let records = mem::take(&mut self.pending);
                let batch = Batch { number, records, last: self.turn.last_record() };
                let written = self.database.commit(&batch.records, time);
                (batch, written)
            }
            Some(batch) => {
                let written = self.database.reopen().and_then(|()| {
                    let is_there = self.database.batch() >= batch.number;
                    let missing = if is_there { &[][..] } else { &batch.records };
                    self.database.commit(missing, time)
                });
                (batch, written)
            }
        };
        if written.is_err() {
            self.failed = Some(batch);
            self.set_state(StoreState::Failing);
            return false;
        }
        self.committed = batch.last;
        self.set_state(StoreState::Ready);
        self.release();
        true
    }

    fn set_state(&mut self, state: StoreState) {
        self.step(|broker, now, turn| broker.handle_store_state(state, now, turn));
    }

    fn answer_loads(&mut self) {
        for load in mem::take(&mut self.loads) {
            let stored = self.database.load(load).expect("this disk fails at writes only");
            self.step(|broker, now, turn| broker.handle_loaded(stored, now, turn));
        }
        for load in mem::take(&mut self.letters) {
            let letters = self.database.letters(load).expect("this disk fails at writes only");
            self.step(|broker, now, turn| broker.handle_letters(&letters, now, turn));
        }
    }

    fn step(&mut self, act: impl FnOnce(&mut Broker, Timestamp, &mut Turn)) {
        self.broker.set_committed(self.committed);
        act(&mut self.broker, self.now, &mut self.turn);
        self.take_turn();
        self.run_timeouts();
    }

    fn run_timeouts(&mut self) {
        let mut runs = 0;
        while self.broker.next_timeout().is_some_and(|at| at <= self.now) {
            self.broker.handle_timeout(self.now, &mut self.turn);
            self.take_turn();
            runs += 1;
            assert!(runs < 100_000, "the broker asks for the same time without end");
        }
    }

    fn take_turn(&mut self) {
        self.pending.append(&mut self.turn.records);
        self.loads.append(&mut self.turn.loads);
        self.letters.append(&mut self.turn.letters);
        self.turn.events.clear();
        for (until, Outgoing { connection, output }) in self.turn.take_owned_output() {
            let line = self.lines.get_mut(&connection).expect("a connection of this world");
            let until = until.unwrap_or_default();
            if until > self.committed || !line.may_pass(&output) {
                line.held.push_back((until, output));
            } else {
                line.leave(output);
            }
        }
    }

    fn release(&mut self) {
        for line in self.lines.values_mut() {
            while let Some((until, output)) = line.held.pop_front() {
                if until > self.committed {
                    line.held.push_front((until, output));
                    break;
                }
                line.leave(output);
            }
        }
    }

    fn line(&mut self, id: ConnectionId) -> &mut Line {
        self.lines.get_mut(&id).expect("a connection of this world")
    }
}

impl Line {
    /// Whether `output`, which needs no record, may leave before what is held.
    fn may_pass(&self, output: &Output) -> bool {
        let mut held = self.held.iter().map(|(_, output)| output);
        let is_connack = |output: &Output| matches!(output, Output::Packet(Reply::ConnAck(_)));
        let is_publish = |output: &Output| matches!(output, Output::Packet(Reply::Publish(_)));
        if self.held.is_empty() {
            return true;
        }
        if held.clone().any(is_connack) {
            return false;
        }
        match output {
            Output::Packet(Reply::Publish(delivery)) => match delivery.qos {
                QoS::AtMostOnce => true,
                QoS::AtLeastOnce => !held.any(is_publish),
                QoS::ExactlyOnce => false,
            },
            Output::Packet(Reply::PingResp | Reply::Disconnect(_)) | Output::Close => true,
            Output::Packet(_) => false,
            Output::Written(_) => unreachable!("taken as a packet"),
        }
    }

    fn leave(&mut self, output: Output) {
        match output {
            _ if self.closed => {}
            Output::Packet(reply) => self.left.push(reply),
            Output::Close => self.close(),
            Output::Written(_) => unreachable!("taken as a packet"),
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.held.clear();
    }
}

impl Default for Rules {
    fn default() -> Self {
        let mut settings = Settings { node: "crash".to_owned(), ..Settings::default() };
        settings.limits.sys_interval = Duration::ZERO;
        settings.limits.queue_messages = QUEUE_MESSAGES;
        Self { settings, acl: None }
    }
}
