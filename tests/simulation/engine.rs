//! A stand-in for the server's engine and outboxes around the real `Broker`: one turn per batch
//! read, output in the order of the decisions, what is held leaves when its record is on disk.

use std::collections::BTreeMap;

use kedgemq::auth::{Admission, Identity};
use kedgemq::broker::Broker;
use kedgemq::mqtt::codec::{self, DecodeError, Decoder, Input};
use kedgemq::mqtt::reply::EncodeContext;
use kedgemq::mqtt::{Packet, QoS, Reply, Version};
use kedgemq::server::{Order, Waiting, has_jumped};
use kedgemq::store::Checkpoint;
use kedgemq::time::{Timestamp, WallClock};
use kedgemq::turn::{CloseCause, ConnectionId, Event, Outgoing, Output, RecordNumber, Turn};

use crate::bug::Bug;
use crate::ledger::Ledger;
use crate::plan::UNIX_MS;
use crate::storage::{News, Storage};

/// What one connection is going to be told.
pub(crate) struct Outbox {
    version: Version,
    size_maximum: usize,
    order: Order,
    /// Bytes that the socket has not taken.
    pub(crate) unwritten: Vec<u8>,
    told_full: bool,
    /// Nothing more comes, and nothing more is read.
    pub(crate) closing: bool,
    connected: bool,
    /// What was read and is not handled.
    input: Vec<u8>,
    /// Since when the socket takes nothing.
    pub(crate) stalled: Option<u64>,
    stall: u64,
}

/// The core, its connections and its store.
pub(crate) struct Engine {
    pub(crate) broker: Broker,
    pub(crate) storage: Storage,
    pub(crate) outboxes: BTreeMap<ConnectionId, Outbox>,
    turn: Turn,
    committed: RecordNumber,
    /// The broker's time is the world's plus this.
    skew: i64,
    now: u64,
    outbox_limit: usize,
    packet_size: usize,
    bug: Option<Bug>,
    generation: u32,
    wanted: bool,
    pub(crate) events: Vec<Event>,
    pub(crate) ledger: Ledger,
    wall: WallClock,
    /// How far the clock on the wall is from the world's.
    jumped: i64,
    /// The largest outbox so far.
    pub(crate) largest: usize,
    pub(crate) starvations: u64,
    /// Runs of more than one PUBLISH.
    pub(crate) runs: u64,
    /// Acknowledgements of which more than one came together.
    pub(crate) together: u64,
}

impl Engine {
    pub(crate) fn new(
        mut broker: Broker,
        storage: Storage,
        (skew, now, jumped): (i64, u64, i64),
        outbox_limit: usize,
        packet_size: usize,
        bug: Option<Bug>,
    ) -> Self {
        let time = Timestamp(now.saturating_add_signed(skew));
        let wall = WallClock::new(time, unix_ms(now, jumped));
        broker.set_wall_clock(wall);
        Self {
            ledger: Ledger::new(&broker, bug),
            wall,
            jumped,
            broker,
            storage,
            outboxes: BTreeMap::new(),
            turn: Turn::default(),
            committed: RecordNumber(0),
            skew,
            now,
            outbox_limit,
            packet_size,
            bug,
            generation: 0,
            wanted: false,
            events: Vec::new(),
            largest: 0,
            starvations: 0,
            runs: 0,
            together: 0,
        }
    }

    pub(crate) fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    /// Seats a connection.
    pub(crate) fn accept(&mut self) -> ConnectionId {
        let used = |slot: u32| self.outboxes.keys().any(|id| id.slot == slot);
        let slot = (0..).find(|slot| !used(*slot)).expect("there are few connections");
        self.generation += 1;
        let id = ConnectionId { slot, generation: self.generation };
        self.outboxes.insert(
            id,
            Outbox {
                version: Version::V311,
                size_maximum: usize::MAX,
                order: Order::default(),
                unwritten: Vec::new(),
                told_full: false,
                closing: false,
                connected: false,
                input: Vec::new(),
                stalled: None,
                stall: 60_000,
            },
        );
        id
    }

    /// Whether a CONNECT came.
    pub(crate) fn has_heard(&self, id: ConnectionId) -> bool {
        self.outboxes.get(&id).is_none_or(|outbox| outbox.connected)
    }

    /// Bytes came.
    pub(crate) fn read(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(outbox) = self.outboxes.get_mut(&id) else {
            return;
        };
        outbox.input.extend_from_slice(bytes);
        self.handle_input(id);
    }

    /// The peer is gone.
    pub(crate) fn peer_gone(&mut self, id: ConnectionId, reset: bool) {
        let Some(outbox) = self.outboxes.get(&id) else {
            return;
        };
        if !outbox.closing {
            let flushed = !reset && outbox.unwritten.is_empty() && outbox.order.is_empty();
            self.close(id, CloseCause::Peer { flushed });
        }
        self.outboxes.remove(&id);
    }

    /// The socket took nothing for too long.
    pub(crate) fn stuck(&mut self, id: ConnectionId) {
        self.close(id, CloseCause::Network("the client does not read what it is sent".into()));
        self.outboxes.remove(&id);
    }

    /// When the core or a stuck socket wants attention.
    pub(crate) fn due(&self) -> Option<u64> {
        let next = self.broker.next_timeout().map(|at| at.0.saturating_add_signed(-self.skew));
        next.map(|next| next.max(self.now))
    }

    pub(crate) fn stall_due(&self) -> Option<(u64, ConnectionId)> {
        let stalled = self.outboxes.iter();
        stalled.filter_map(|(id, out)| Some((out.stalled? + out.stall, *id))).min()
    }

    /// The clock on the wall jumps; nobody is told.
    pub(crate) fn jump(&mut self, jumped: i64) {
        self.jumped = jumped;
    }

    /// The core's time came.
    pub(crate) fn tick(&mut self) {
        let (now, shown) = (self.time(), unix_ms(self.now, self.jumped));
        if has_jumped(self.wall, now, shown) {
            self.wall = WallClock::new(now, shown);
            self.broker.set_wall_clock(self.wall);
        }
        self.act(|engine| engine.call(Broker::handle_timeout));
    }

    /// The storage thread has something to say.
    pub(crate) fn step_storage(&mut self) -> Vec<News> {
        self.storage.step(self.now)
    }

    pub(crate) fn tell(&mut self, news: News) {
        match news {
            News::Committed(last) => {
                self.committed = self.committed.max(last);
                self.release();
                self.retry_input();
            }
            News::Loaded(loaded) => self.act(|engine| {
                engine.call(|broker, now, turn| broker.handle_loaded(loaded, now, turn));
            }),
            News::Letters(letters) => self.act(|engine| {
                let action = engine.broker.task().map(|task| task.action);
                engine.ledger.give(&letters, action);
                engine.call(|broker, now, turn| broker.handle_letters(&letters, now, turn));
            }),
            News::Moved(_) => {}
            News::State(state, _) => self.act(|engine| {
                engine.call(|broker, now, turn| broker.handle_store_state(state, now, turn));
            }),
        }
    }

    /// Says goodbye to all.
    pub(crate) fn say_goodbye(&mut self) {
        self.act(|engine| engine.call(Broker::handle_shutdown));
    }

    /// An operator does something.
    pub(crate) fn operate<T>(
        &mut self,
        act: impl FnOnce(&mut Broker, Timestamp, &mut Turn) -> T,
    ) -> T {
        let mut result = None;
        self.act(|engine| {
            engine.call(|broker, now, turn| result = Some(act(broker, now, turn)));
        });
        result.expect("it was called")
    }

    /// The last record that is known to be on disk.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.0
    }

    /// Takes up to `room` bytes for the socket.
    pub(crate) fn write(&mut self, id: ConnectionId, room: usize) -> Vec<u8> {
        let Some(outbox) = self.outboxes.get_mut(&id) else {
            return Vec::new();
        };
        let count = room.min(outbox.unwritten.len());
        let written: Vec<u8> = outbox.unwritten.drain(..count).collect();
        if outbox.unwritten.is_empty() {
            outbox.stalled = None;
        } else if count > 0 || outbox.stalled.is_none() {
            outbox.stalled = Some(self.now);
        }
        if count > 0 {
            self.act(|engine| engine.tell_all(vec![id]));
            self.handle_input(id);
        }
        written
    }

    fn close(&mut self, id: ConnectionId, cause: CloseCause) {
        self.act(|engine| {
            engine.call(|broker, now, turn| broker.handle_close(id, cause, now, turn));
        });
    }

    fn act(&mut self, act: impl FnOnce(&mut Self)) {
        self.broker.set_committed(self.committed);
        act(self);
        self.finish();
    }

    fn time(&self) -> Timestamp {
        let jumped = match self.bug {
            Some(Bug::WallClockDrives) => self.jumped.max(0).cast_unsigned(),
            _ => 0,
        };
        Timestamp(self.now.saturating_add_signed(self.skew) + jumped)
    }

    fn call(&mut self, handle: impl FnOnce(&mut Broker, Timestamp, &mut Turn)) {
        let overflowed = self.step(handle);
        self.tell_all(overflowed);
    }

    /// One step of the core. Gives who is full now.
    fn step(
        &mut self,
        handle: impl FnOnce(&mut Broker, Timestamp, &mut Turn),
    ) -> Vec<ConnectionId> {
        let now = self.time();
        let (records, events) = (self.turn.records.len(), self.turn.events.len());
        self.ledger.before(&self.broker);
        handle(&mut self.broker, now, &mut self.turn);
        self.ledger.after(&self.broker, &self.turn, (records, events), now);
        self.append()
    }

    fn take_packet(&mut self, id: ConnectionId, packet: &Packet<'_>) {
        if !self.outboxes[&id].closing {
            self.ledger.hear(id, packet, &self.broker);
        }
        self.call(|broker, now, turn| broker.handle_packet(id, packet, now, turn));
    }

    fn take_input(&mut self, id: ConnectionId, input: &Input<'_>) {
        match input {
            Input::Packet(packet) => self.take_packet(id, packet),
            Input::Acks(acks) => {
                self.together += u64::from(acks.count() > 1);
                let is_heard = !self.outboxes[&id].closing;
                for packet in acks.packets().filter(|_| is_heard) {
                    self.ledger.hear(id, &packet, &self.broker);
                }
                self.call(|broker, now, turn| broker.handle_acks(id, acks, now, turn));
            }
            Input::Run(run) => {
                self.runs += u64::from(run.count > 1);
                let is_heard = !self.outboxes[&id].closing;
                for publish in run.publishes().filter(|_| is_heard) {
                    self.ledger.hear(id, &Packet::Publish(publish), &self.broker);
                }
                self.call(|broker, now, turn| broker.handle_run(id, run, now, turn));
            }
        }
    }

    /// Tells the core of outboxes that became full or drained, and of those that then do.
    fn tell_all(&mut self, mut changed: Vec<ConnectionId>) {
        while let Some(id) = changed.pop() {
            changed.append(&mut self.tell_fullness(id));
        }
    }

    fn tell_fullness(&mut self, id: ConnectionId) -> Vec<ConnectionId> {
        let limit = self.outbox_limit;
        let Some(full) = self.outboxes.get_mut(&id).and_then(|outbox| outbox.fullness(limit))
        else {
            return Vec::new();
        };
        self.step(|broker, now, turn| broker.handle_outbox(id, full, now, turn))
    }

    /// Appends output in the order of the decisions. Gives who is full now.
    fn append(&mut self) -> Vec<ConnectionId> {
        let mut output = self.turn.take_owned_output();
        if self.bug == Some(Bug::Lifo) {
            reverse_deliveries(&mut output);
        }
        let mut touched = Vec::new();
        let now = self.time();
        for (until, Outgoing { connection, output }) in output {
            let Some(outbox) = self.outboxes.get_mut(&connection).filter(|out| !out.closing) else {
                continue;
            };
            let until = until.filter(|_| !leaves_early(self.bug, &output));
            let committed = self.committed;
            let waits = match until {
                Some(until) => until > committed || !outbox.order.is_empty(),
                None => !outbox.order.may_pass(&output),
            };
            if waits {
                self.wanted = true;
                outbox.order.hold(until.unwrap_or_default(), output);
            } else {
                outbox.put(output, now);
            }
            touched.push(connection);
        }
        let limit = self.outbox_limit;
        touched.sort_unstable();
        touched.dedup();
        touched.retain(|id| self.outboxes[id].would_tell(limit) == Some(true));
        touched
    }

    fn finish(&mut self) {
        self.events.append(&mut self.turn.events);
        let wanted =
            std::mem::take(&mut self.wanted) || self.turn.loads.iter().any(|load| load.after_lazy);
        let has_asks = !self.turn.loads.is_empty() || !self.turn.letters.is_empty();
        if wanted || !self.turn.records.is_empty() || has_asks {
            let unix_ms = unix_ms(self.now, self.jumped);
            let checkpoint = Checkpoint { at: self.time(), unix_ms };
            self.storage.submit(&mut self.turn, wanted, checkpoint, self.now);
        }
        let sizes = self.outboxes.values().map(|outbox| outbox.unwritten.len());
        self.largest = self.largest.max(sizes.max().unwrap_or(0));
    }

    fn release(&mut self) {
        let now = self.time();
        for outbox in self.outboxes.values_mut() {
            while let Some(waiting) = outbox.order.pop(self.committed) {
                let Waiting::Output(output) = waiting else {
                    unreachable!("taken as packets");
                };
                outbox.put(output, now);
            }
        }
        let ids: Vec<_> = self.outboxes.keys().copied().collect();
        self.act(|engine| engine.tell_all(ids));
    }

    /// What could not be handled for want of room may go on.
    fn retry_input(&mut self) {
        let ids: Vec<_> = self.outboxes.keys().copied().collect();
        for id in ids {
            self.handle_input(id);
        }
    }

    fn handle_input(&mut self, id: ConnectionId) {
        let Some(outbox) = self.outboxes.get(&id) else {
            return;
        };
        let choked = outbox.unwritten.len() > 2 * self.outbox_limit;
        if outbox.closing || choked || outbox.input.is_empty() {
            return;
        }
        if !outbox.connected {
            return self.handle_first(id);
        }
        let input = std::mem::take(&mut self.outboxes.get_mut(&id).expect("seen above").input);
        let (batch, used, error) = batch(&input, self.outboxes[&id].version, self.packet_size);
        let starved = self.storage.is_full() && batch.iter().any(needs_store);
        if starved {
            self.starvations += 1;
            self.broker.handle_paused(id);
            self.outboxes.get_mut(&id).expect("seen above").input = input;
            return;
        }
        let broken = error.is_some();
        self.act(|engine| {
            for input in &batch {
                engine.take_input(id, input);
            }
            if let Some(error) = error {
                let cause = malformed(&error);
                engine.call(|broker, now, turn| broker.handle_close(id, cause, now, turn));
            }
        });
        let outbox = self.outboxes.get_mut(&id).expect("only the world removes it");
        outbox.input = input[used..].to_vec();
        if broken {
            outbox.close();
        }
    }

    /// The first packet must be a CONNECT.
    fn handle_first(&mut self, id: ConnectionId) {
        let outbox = self.outboxes.get_mut(&id).expect("the caller saw it");
        let input = std::mem::take(&mut outbox.input);
        if input[0] >> 4 != 1 {
            return outbox.close();
        }
        match codec::decode(&input, Version::V5, self.packet_size) {
            Ok(None) => outbox.input = input,
            Ok(Some((Packet::Connect(connect), used))) => {
                outbox.connected = true;
                outbox.version = connect.version;
                let maximum = connect.maximum_packet_size.map(|size| size as usize);
                outbox.size_maximum = maximum.unwrap_or(usize::MAX);
                outbox.stall = match connect.keep_alive {
                    0 => 60_000,
                    seconds => u64::from(seconds) * 1500,
                };
                let user = Some(connect.client_id.into());
                let who = Identity { user, admission: Admission::Granted };
                self.ledger.connect(id, connect.client_id);
                self.act(|engine| {
                    engine.call(|broker, now, turn| {
                        broker.handle_connect(id, who, *connect, now, turn);
                    });
                });
                if let Some(outbox) = self.outboxes.get_mut(&id) {
                    outbox.input = input[used..].to_vec();
                }
                self.handle_input(id);
            }
            Ok(Some(_)) => unreachable!("its type is CONNECT"),
            Err(error) => {
                let version = codec::connect_version(&input).unwrap_or(Version::V311);
                outbox.version = version;
                let (reason, why) = (error.reason(), error.to_string().into());
                self.close(id, CloseCause::BadConnect { version, reason, why });
                self.outboxes.get_mut(&id).expect("only the world removes it").close();
            }
        }
    }
}

impl Outbox {
    fn put(&mut self, output: Output, now: Timestamp) {
        if self.closing {
            return;
        }
        let Output::Packet(reply) = output else {
            return self.close();
        };
        let context = EncodeContext { version: self.version, now };
        codec::encode(&reply, context, self.size_maximum, &mut self.unwritten);
    }

    fn close(&mut self) {
        self.closing = true;
        self.order.clear();
        self.input.clear();
    }

    fn would_tell(&self, limit: usize) -> Option<bool> {
        match self.told_full {
            false if self.unwritten.len() > limit => Some(true),
            true if self.unwritten.len() < limit.div_ceil(2) => Some(false),
            _ => None,
        }
    }

    fn fullness(&mut self, limit: usize) -> Option<bool> {
        let full = self.would_tell(limit)?;
        self.told_full = full;
        Some(full)
    }
}

/// What the clock on the wall shows.
pub(crate) fn unix_ms(now: u64, jumped: i64) -> u64 {
    (UNIX_MS + now).saturating_add_signed(jumped)
}

type Batch<'a> = (Vec<Input<'a>>, usize, Option<DecodeError>);

fn batch(bytes: &[u8], version: Version, limit: usize) -> Batch<'_> {
    let (mut decoder, mut batch) = (Decoder::new(bytes, version, limit), Vec::new());
    let error = loop {
        match decoder.next_input() {
            Ok(Some(input)) => batch.push(input),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    (batch, bytes.len() - decoder.rest().len(), error)
}

fn malformed(error: &DecodeError) -> CloseCause {
    CloseCause::Malformed { reason: error.reason(), why: error.to_string().into() }
}

fn needs_store(input: &Input<'_>) -> bool {
    let packet = match input {
        Input::Packet(packet) => packet.clone(),
        Input::Acks(acks) => acks.packets().next().expect("there is one"),
        Input::Run(_) => return true,
    };
    !matches!(
        packet,
        Packet::PingReq
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubComp(_)
            | Packet::Disconnect(_)
    )
}

fn leaves_early(bug: Option<Bug>, output: &Output) -> bool {
    let Output::Packet(reply) = output else {
        return false;
    };
    match bug {
        Some(Bug::AcknowledgesEarly) => matches!(reply, Reply::PubAck(_) | Reply::PubRec(_)),
        Some(Bug::ReleasesEarly) => matches!(reply, Reply::PubRel(_)),
        _ => false,
    }
}

fn reverse_deliveries(output: &mut [(Option<RecordNumber>, Outgoing)]) {
    let is_delivery = |(_, outgoing): &(Option<RecordNumber>, Outgoing)| {
        matches!(&outgoing.output,
            Output::Packet(Reply::Publish(delivery)) if delivery.qos != QoS::AtMostOnce)
    };
    let mut at: Vec<usize> = (0..output.len()).filter(|at| is_delivery(&output[*at])).collect();
    while at.len() > 1 {
        let (first, last) = (at.remove(0), at.pop().expect("there are two"));
        output.swap(first, last);
    }
}
