//! How the broker starts, stops and dies.

use std::time::Duration;

use kedgemq::broker::Broker;
use kedgemq::server::downtime;
use kedgemq::store::{Checkpoint, Database, Options, Restored, StoreError, open_backend};
use kedgemq::time::Timestamp;
use kedgemq::turn::{OwnerId, Record};

use super::World;
use crate::bug::Bug;
use crate::engine::{Engine, unix_ms};
use crate::history::Fact;
use crate::network::Parcel;
use crate::storage::Storage;

/// The longest downtime that is believed.
const MAX_DOWNTIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// Copies that may be on their way to the dead letters.
const DYING: usize = 200;

impl World {
    pub(super) fn open_store(&self) -> Result<(Database, Restored), StoreError> {
        let disk = self.disk.clone();
        let mut options = Options::new("simulated");
        options.cache_bytes = 64 * 1024;
        open_backend(move || Ok(disk.clone()), options)
    }

    /// Starts the broker on what the disk has. `Err` when the store is lost for good.
    pub(super) fn start(&mut self) -> Result<(), String> {
        let (mut database, mut restored) = match self.open_store() {
            Ok(opened) => opened,
            Err(StoreError::Io { why, .. } | StoreError::NoSpace { why, .. }) => {
                self.history.note(Fact::Store { what: format!("cannot start: {why}") });
                self.coverage.count("starts that the disk refused");
                self.start_at = self.now + self.rng.u64(100..1_000);
                return Ok(());
            }
            Err(error) => return Err(format!("the broker cannot start again: {error}")),
        };
        database.limit_log(self.plan.log_bytes);
        database.limit_hot(self.plan.hot_bytes);
        self.note_waiting(&restored.records);
        if self.bug == Some(Bug::ReusesIdentifiers) {
            reuse_identifiers(&mut restored.records);
        }
        if restored.records.iter().any(|record| matches!(record, Record::Task(_))) {
            self.coverage.count("tasks that went on after a crash");
        }
        let base = restored.checkpoint.map_or(0, |last| self.base(last));
        let skew = base.cast_signed() - self.now.cast_signed();
        let settings = self.plan.settings.clone();
        let packet_size = settings.limits.packet_size;
        let mut broker = Broker::new(settings, self.rng.u64(..), Timestamp(base));
        broker.set_acl(self.rights.acl(self.bug));
        broker.restore(restored.records.into_iter(), Timestamp(base));
        let rng = fastrand::Rng::with_seed(self.rng.u64(..));
        let plan = &self.plan;
        let storage = Storage::new(database, rng, self.bug, plan.slowness, plan.store_limit);
        let clocks = (skew, self.now, self.jumped);
        let engine = Engine::new(broker, storage, clocks, plan.outbox_limit, packet_size, self.bug);
        self.engine = Some(engine);
        self.starts += 1;
        self.history.note(Fact::Started);
        self.note_ledger();
        Ok(())
    }

    /// The broker's time at a start: downtime counts as far as the wall clock can be trusted.
    fn base(&mut self, last: Checkpoint) -> u64 {
        let shown = unix_ms(self.now, self.jumped);
        let down = shown.checked_sub(last.unix_ms).map(Duration::from_millis);
        if down.is_none_or(|down| down > MAX_DOWNTIME) {
            self.coverage.count("downtimes that cannot be");
        }
        let max = match self.bug {
            Some(Bug::TrustsDowntime) => Duration::MAX,
            _ => MAX_DOWNTIME,
        };
        // A start takes its time: by that the ledger tells new wills from what was sent before.
        (last.at + downtime(last.unix_ms, shown, max).max(Duration::from_millis(1))).0
    }

    /// The broker dies without a word: by a power cut, or alone.
    pub(super) fn crash(&mut self, power: bool) {
        let Some(engine) = self.engine.take() else {
            return;
        };
        self.note_sizes(&engine);
        let how = if power { "power cut" } else { "killed" };
        let committed = engine.committed();
        self.history.note(Fact::Crashed { how, committed });
        self.coverage.count(how);
        let Engine { broker, storage, .. } = engine;
        drop(broker);
        if storage.is_committing() && self.rng.u32(..4) > 0 {
            self.coverage.count("crashes in a commit");
            self.disk.cut_power_after(self.rng.u32(..25));
            storage.die();
        } else {
            drop(storage);
        }
        if power {
            self.disk.lose_power();
        } else {
            self.disk.keep_all();
        }
        self.end_connections();
        self.start_at = self.now + self.rng.u64(20..4_000);
    }

    /// The broker is stopped in order. When the disk fails, that ends as a kill does.
    pub(super) fn stop(&mut self) {
        let Some(mut engine) = self.engine.take() else {
            return;
        };
        self.note_sizes(&engine);
        engine.say_goodbye();
        self.engine = Some(engine);
        self.flush();
        self.note_ledger();
        let engine = self.engine.take().expect("given above");
        let committed = engine.committed();
        let committed = match engine.storage.stop(self.now) {
            Ok(()) => {
                self.coverage.count("stopped in order");
                u64::MAX
            }
            Err(_) => {
                self.coverage.count("stopped with a failing disk");
                committed
            }
        };
        self.history.note(Fact::Crashed { how: "stopped", committed });
        self.disk.keep_all();
        self.end_connections();
        self.start_at = self.now + self.rng.u64(20..4_000);
    }

    /// The clients hear of it, or not.
    fn end_connections(&mut self) {
        for at in 0..self.connections.len() {
            let connection = &mut self.connections[at];
            if connection.seat.take().is_none() {
                continue;
            }
            connection.up.drop_all();
            if !connection.down.ended {
                connection.down.cut(&mut self.rng);
                if self.rng.u32(..5) > 0 {
                    connection.down.ended = false;
                    let (now, weather) = (self.now, self.plan.network);
                    connection.down.end(Parcel::Reset, now, weather, &mut self.rng);
                }
            }
            self.note_gone(at);
        }
    }

    pub(super) fn note_sizes(&mut self, engine: &Engine) {
        self.history.note(Fact::Sizes {
            outbox: engine.largest,
            outbox_limit: self.plan.outbox_limit,
            pending: engine.storage.largest,
            pending_limit: self.plan.store_limit,
        });
        self.coverage.add("no room in the store's queue", engine.starvations);
        self.coverage.add("runs of PUBLISHes", engine.runs);
        self.coverage.add("acknowledgements together", engine.together);
    }

    fn note_waiting(&mut self, records: &[Record]) {
        let mut count: std::collections::BTreeMap<OwnerId, usize> = Default::default();
        for record in records {
            if let Record::Queued(copy) = record
                && copy.sent.is_none()
            {
                *count.entry(copy.owner).or_default() += 1;
            }
        }
        // That a copy was sent at QoS 1 is written lazily, so a window may count as waiting; and
        // what a full queue dropped is there until its body was loaded and its letter written.
        let limits = &self.plan.settings.limits;
        let limit = limits.queue_messages + usize::from(limits.in_flight) + DYING;
        for (OwnerId(owner), count) in count {
            self.history.note(Fact::Waiting { owner, count, limit });
        }
    }
}

/// Lets each session forget which Packet Identifiers it may have used.
fn reuse_identifiers(records: &mut [Record]) {
    let mut in_flight = std::collections::BTreeMap::new();
    for record in records.iter() {
        if let Record::Queued(copy) = record
            && let Some(sent) = &copy.sent
        {
            let last = in_flight.entry(sent.session).or_insert(0);
            *last = sent.ordinal.max(*last);
        }
    }
    for record in records {
        if let Record::Session(session) = record {
            session.ordinal_bound = in_flight.get(&session.id).map_or(0, |last| last + 1);
            session.taken.clear();
        }
    }
}
