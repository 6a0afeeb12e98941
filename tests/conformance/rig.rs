//! The rig: a [`Broker`], a clock that only tests move, and a store that is a few maps. No
//! runtime, no disk, no bytes. Unless told otherwise each step is committed at once.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::time::Duration;

use kedgemq::auth::Identity;
use kedgemq::broker::Broker;
use kedgemq::config::Settings;
use kedgemq::mqtt::codec::{self, Decoder, Input};
use kedgemq::mqtt::packet::{Publish, SubscriptionOptions};
use kedgemq::mqtt::{Delivery, Packet, QoS, ReasonCode, Reply, Version};
use kedgemq::time::{Timestamp, WallClock};
use kedgemq::turn::{
    CloseCause, ConnectionId, Event, LetterLoad, Load, Outgoing, Output, Record, RecordNumber,
    StoreState, Turn,
};

use crate::packets::{ConnectOptions, options, subscribe, subscribe_with_id};
use crate::store::Store;
use crate::text::line;
use crate::wire::assert_well_formed;

/// What the world's clock shows at time 0 of the rig.
pub(crate) const UNIX_MS: u64 = 1_700_000_000_000;

const START: Timestamp = Timestamp(1_000_000);

/// What left to one client and was not looked at yet.
#[derive(Debug)]
struct Outbox {
    version: Version,
    left: Vec<Output>,
    closed: bool,
}

/// One broker and its world.
pub(crate) struct Rig {
    pub(crate) broker: Broker,
    pub(crate) store: Store,
    pub(crate) now: Timestamp,
    pub(crate) events: Vec<Event>,
    settings: Settings,
    turn: Turn,
    sent: Vec<Outgoing>,
    pending: Vec<Record>,
    committed: RecordNumber,
    held: Vec<(RecordNumber, Outgoing)>,
    /// With the last record before each that its answer has to know: a store answers in its order.
    loads: Vec<(RecordNumber, Ask)>,
    outboxes: BTreeMap<ConnectionId, Outbox>,
    holds_commits: bool,
    delays_loads: bool,
    digest: DefaultHasher,
}

/// What the broker wants to read.
enum Ask {
    Copies(Load),
    Letters(LetterLoad),
}

impl Rig {
    /// A broker with default settings, but without `$SYS`.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same, with changed settings.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings { node: "rig".to_owned(), ..Settings::default() };
        settings.limits.sys_interval = Duration::ZERO;
        change(&mut settings);
        Self {
            broker: start(&settings, &Store::default(), START),
            store: Store::default(),
            now: START,
            events: Vec::new(),
            settings,
            turn: Turn::default(),
            sent: Vec::new(),
            pending: Vec::new(),
            committed: RecordNumber(0),
            held: Vec::new(),
            loads: Vec::new(),
            outboxes: BTreeMap::new(),
            holds_commits: false,
            delays_loads: false,
            digest: DefaultHasher::new(),
        }
    }

    /// Sends a CONNECT on a new connection; all answers are left to be looked at.
    pub(crate) fn open(&mut self, connect: ConnectOptions) -> ConnectionId {
        let id = self.new_connection(connect.version);
        let who = Identity { user: connect.user.as_deref().map(Into::into), ..connect.identity() };
        self.step(|broker, now, turn| broker.handle_connect(id, who, connect.packet(), now, turn));
        id
    }

    /// Connects, and takes the successful CONNACK away. What follows it is left.
    pub(crate) fn connect(&mut self, connect: ConnectOptions) -> ConnectionId {
        let id = self.open(connect);
        let left = &mut self.outbox(id).left;
        assert!(!left.is_empty(), "no CONNACK");
        let first = left.remove(0);
        let Output::Packet(Reply::ConnAck(ack)) = &first else {
            panic!("{first:?} before CONNACK");
        };
        assert_eq!(ack.reason, ReasonCode::SUCCESS);
        id
    }

    /// A connection on which nothing was sent yet.
    pub(crate) fn new_connection(&mut self, version: Version) -> ConnectionId {
        let slot = u32::try_from(self.outboxes.len()).expect("few");
        let id = ConnectionId { slot, generation: 1 };
        self.outboxes.insert(id, Outbox { version, left: Vec::new(), closed: false });
        id
    }

    /// A packet from the client. What is read as a run, or as acknowledgements, is given as such.
    pub(crate) fn send(&mut self, client: ConnectionId, packet: Packet<'_>) {
        let version = self.outbox(client).version;
        let mut bytes = Vec::new();
        codec::client::encode(&packet, version, &mut bytes);
        match Decoder::new(&bytes, version, usize::MAX).next_input() {
            Ok(Some(Input::Run(run))) => {
                self.step(|broker, now, turn| broker.handle_run(client, &run, now, turn));
            }
            // What the wire of its protocol can't say is given as it is.
            Ok(Some(Input::Acks(acks))) if acks.packets().all(|one| one == packet) => {
                self.step(|broker, now, turn| broker.handle_acks(client, &acks, now, turn));
            }
            _ => self.step(|broker, now, turn| broker.handle_packet(client, &packet, now, turn)),
        }
    }

    /// Acknowledgements of one kind from the client, in one go.
    pub(crate) fn send_together(&mut self, client: ConnectionId, packets: &[Packet<'_>]) {
        let version = self.outbox(client).version;
        let mut bytes = Vec::new();
        packets.iter().for_each(|packet| codec::client::encode(packet, version, &mut bytes));
        let input = Decoder::new(&bytes, version, usize::MAX).next_input();
        let Ok(Some(Input::Acks(acks))) = input else {
            panic!("{input:?}");
        };
        assert_eq!(acks.count(), packets.len());
        self.step(|broker, now, turn| broker.handle_acks(client, &acks, now, turn));
    }

    /// A PUBLISH from the client.
    pub(crate) fn publish(&mut self, client: ConnectionId, publish: Publish<'_>) {
        self.send(client, Packet::Publish(publish));
    }

    /// Subscribes with success, and takes the SUBACK away.
    pub(crate) fn subscribe(&mut self, client: ConnectionId, filter: &str, qos: u8) {
        self.subscribe_with(client, filter, options(qos), None);
    }

    /// The same, with all options.
    pub(crate) fn subscribe_with(
        &mut self,
        client: ConnectionId,
        filter: &str,
        options: SubscriptionOptions,
        subscription_id: Option<u32>,
    ) {
        self.send(
            client,
            match subscription_id {
                None => subscribe(60_000, &[(filter, options)]),
                Some(id) => subscribe_with_id(60_000, id, &[(filter, options)]),
            },
        );
        let left = &mut self.outbox(client).left;
        let is_suback = |output: &Output| matches!(output, Output::Packet(Reply::SubAck(_)));
        let Output::Packet(Reply::SubAck(ack)) =
            left.remove(left.iter().position(is_suback).expect("SUBACK"))
        else {
            unreachable!("it is one");
        };
        assert!(ack.reasons.iter().all(|reason| !reason.is_error()), "{:?}", ack.reasons);
    }

    /// The client's DISCONNECT, without a reason, and its end of the connection.
    pub(crate) fn disconnect(&mut self, client: ConnectionId) {
        self.send(client, crate::packets::disconnect(0, None));
        self.close(client, CloseCause::Peer { flushed: true });
    }

    /// The network fails.
    pub(crate) fn cut(&mut self, client: ConnectionId) {
        self.close(client, CloseCause::Network("cut".into()));
    }

    /// The world ends a connection.
    pub(crate) fn close(&mut self, client: ConnectionId, cause: CloseCause) {
        self.step(|broker, now, turn| broker.handle_close(client, cause, now, turn));
        self.held.retain(|(_, held)| held.connection != client);
        self.outbox(client).closed = true;
    }

    /// The outbox of a connection is full, or drained.
    pub(crate) fn outbox_full(&mut self, client: ConnectionId, full: bool) {
        self.step(|broker, now, turn| broker.handle_outbox(client, full, now, turn));
    }

    /// The store fails or recovers.
    pub(crate) fn store_state(&mut self, state: StoreState) {
        self.step(|broker, now, turn| broker.handle_store_state(state, now, turn));
    }

    /// An operator does something.
    pub(crate) fn operate<R>(
        &mut self,
        act: impl FnOnce(&mut Broker, Timestamp, &mut Turn) -> R,
    ) -> R {
        let mut result = None;
        self.step(|broker, now, turn| result = Some(act(broker, now, turn)));
        result.expect("a step acts")
    }

    /// The broker stops.
    pub(crate) fn shut_down(&mut self) {
        self.step(|broker, now, turn| broker.handle_shutdown(now, turn));
    }

    /// Lets time pass, from one deadline of the broker to the next.
    pub(crate) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.broker.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.step(|_, _, _| {});
        }
        self.now = end;
    }

    /// The same in seconds.
    pub(crate) fn wait(&mut self, seconds: u64) {
        self.advance(Duration::from_secs(seconds));
    }

    /// From now on nothing is committed until [`commit`](Self::commit) says so.
    pub(crate) fn hold_commits(&mut self) {
        self.holds_commits = true;
    }

    /// Commits what is written, and from now on each step at once again.
    pub(crate) fn commit_at_once(&mut self) {
        self.holds_commits = false;
        self.commit();
    }

    /// Commits all that is written; what waited for it leaves.
    pub(crate) fn commit(&mut self) {
        loop {
            for record in mem::take(&mut self.pending) {
                self.store.apply(record);
            }
            self.store.settle();
            self.committed = self.turn.last_record();
            self.broker.set_committed(self.committed);
            for (until, outgoing) in mem::take(&mut self.held) {
                assert!(until <= self.committed, "waits for a record that does not exist");
                self.leave(outgoing);
            }
            if self.delays_loads || self.loads.is_empty() {
                return;
            }
            self.answer_loads();
        }
    }

    /// From now on loads wait for [`answer_loads`](Self::answer_loads).
    pub(crate) fn delay_loads(&mut self) {
        self.delays_loads = true;
    }

    /// Answers the loads that wait, and from now on each at once again.
    pub(crate) fn load_at_once(&mut self) {
        self.delays_loads = false;
        self.answer_loads();
    }

    /// Answers the loads that wait.
    pub(crate) fn answer_loads(&mut self) {
        let is_due = |(last, _): &(RecordNumber, Ask)| *last <= self.committed;
        let (due, waiting) = mem::take(&mut self.loads).into_iter().partition(is_due);
        self.loads = waiting;
        let due: Vec<(RecordNumber, Ask)> = due;
        for (_, ask) in due {
            match ask {
                Ask::Copies(load) => {
                    let loaded = self.store.load(load);
                    self.broker.handle_loaded(loaded, self.now, &mut self.turn);
                }
                Ask::Letters(load) => {
                    let letters = self.store.letters(load);
                    self.broker.handle_letters(&letters, self.now, &mut self.turn);
                }
            }
            self.take_turn();
        }
        self.run_timeouts();
        if !self.holds_commits && !self.pending.is_empty() {
            self.commit();
        }
    }

    /// How many loads wait.
    pub(crate) fn waiting_loads(&self) -> usize {
        self.loads.len()
    }

    /// The broker dies without a word and comes back with what was committed.
    pub(crate) fn crash(&mut self) {
        self.broker = start(&self.settings, &self.store, self.now);
        self.turn = Turn::default();
        self.committed = RecordNumber(0);
        self.pending.clear();
        self.held.clear();
        self.loads.clear();
        for outbox in self.outboxes.values_mut() {
            outbox.closed = true;
        }
        self.holds_commits = false;
        self.step(|_, _, _| {});
    }

    /// The broker stops at once and comes back with other settings.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.crash();
    }

    /// Takes what left to `client` as lines of text, see [`crate::text`].
    pub(crate) fn lines(&mut self, client: ConnectionId) -> Vec<String> {
        let outbox = self.outbox(client);
        let version = outbox.version;
        let left = mem::take(&mut outbox.left);
        left.iter().filter_map(|output| line(version, output)).collect()
    }

    /// Takes what left to `client`.
    pub(crate) fn received(&mut self, client: ConnectionId) -> Vec<Reply> {
        let left = mem::take(&mut self.outbox(client).left);
        left.into_iter()
            .filter_map(|output| match output {
                Output::Packet(reply) => Some(reply),
                Output::Close => None,
                Output::Written(_) => unreachable!("taken as a packet"),
            })
            .collect()
    }

    /// Takes what left to `client`, and gives the PUBLISH packets of it.
    pub(crate) fn deliveries(&mut self, client: ConnectionId) -> Vec<Delivery> {
        let received = self.received(client).into_iter();
        received
            .filter_map(|reply| match reply {
                Reply::Publish(delivery) => Some(delivery),
                _ => None,
            })
            .collect()
    }

    /// Takes what left to `client`: one PUBLISH with QoS > 0, and gives its Packet Identifier.
    pub(crate) fn packet_id(&mut self, client: ConnectionId) -> u16 {
        let deliveries = self.deliveries(client);
        assert_eq!(deliveries.len(), 1, "{deliveries:?}");
        deliveries[0].packet_id.expect("QoS > 0").get()
    }

    /// What the last step let leave at once, in lines.
    pub(crate) fn sent_now(&self, client: ConnectionId) -> Vec<String> {
        let version = self.outboxes[&client].version;
        let mine = self.sent.iter().filter(|out| out.connection == client);
        mine.filter_map(|out| line(version, &out.output)).collect()
    }

    /// What waits for a commit, in lines.
    pub(crate) fn held(&self, client: ConnectionId) -> Vec<String> {
        let version = self.outboxes[&client].version;
        let mine = self.held.iter().filter(|(_, held)| held.connection == client);
        mine.filter_map(|(_, held)| line(version, &held.output)).collect()
    }

    /// What is written and not committed.
    pub(crate) fn written(&self) -> &[Record] {
        &self.pending
    }

    /// Whether the broker or the world closed it.
    pub(crate) fn is_closed(&self, client: ConnectionId) -> bool {
        self.outboxes[&client].closed
    }

    /// Stands for all that the broker ever asked of its world.
    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// The dead letters that are kept: reason, owner, payload.
    pub(crate) fn dead(&self) -> Vec<String> {
        let dead = self.store.dead.values();
        dead.map(|letter| {
            let payload = String::from_utf8_lossy(&letter.message.payload);
            format!("{} {} {payload}", letter.reason.as_str(), letter.owner_name)
        })
        .collect()
    }

    fn step(&mut self, act: impl FnOnce(&mut Broker, Timestamp, &mut Turn)) {
        self.sent.clear();
        act(&mut self.broker, self.now, &mut self.turn);
        self.take_turn();
        self.run_timeouts();
        if !self.holds_commits {
            self.commit();
        }
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

    /// In the order of the core's decisions, as the server appends it to its outboxes.
    fn take_turn(&mut self) {
        let Turn { records, loads, events, .. } = &self.turn;
        format!("{records:?} {loads:?} {events:?}").hash(&mut self.digest);
        self.pending.append(&mut self.turn.records);
        let last = self.turn.last_record();
        let lazy = self.pending.iter().rev().take_while(|record| record.is_lazy()).count();
        let last_urgent = RecordNumber(last.0 - lazy as u64);
        self.loads.extend(
            self.turn
                .loads
                .drain(..)
                .map(|load| (if load.after_lazy { last } else { last_urgent }, Ask::Copies(load))),
        );
        self.loads.extend(self.turn.letters.drain(..).map(|load| (last, Ask::Letters(load))));
        self.events.append(&mut self.turn.events);
        for (until, outgoing) in self.turn.take_owned_output() {
            format!("{until:?} {outgoing:?}").hash(&mut self.digest);
            if until.is_none() {
                self.sent.push(outgoing.clone());
            }
            let until = until.unwrap_or_default();
            if self.must_wait(until, &outgoing) {
                self.held.push((until, outgoing));
            } else {
                self.leave(outgoing);
            }
        }
    }

    /// What may not pass a packet that is held.
    fn must_wait(&self, until: RecordNumber, outgoing: &Outgoing) -> bool {
        if until > self.committed {
            return true;
        }
        let mine = self.held.iter().filter(|(_, held)| held.connection == outgoing.connection);
        let held = || mine.clone().map(|(_, held)| &held.output);
        let publish = |output: &Output| matches!(output, Output::Packet(Reply::Publish(_)));
        let Output::Packet(reply) = &outgoing.output else {
            return false;
        };
        if held().any(|output| matches!(output, Output::Packet(Reply::ConnAck(_)))) {
            return true;
        }
        match reply {
            Reply::PingResp | Reply::Disconnect(_) => false,
            Reply::Publish(delivery) if delivery.qos == QoS::AtMostOnce => false,
            Reply::Publish(delivery) if delivery.qos == QoS::AtLeastOnce => held().any(publish),
            _ => held().next().is_some(),
        }
    }

    fn leave(&mut self, outgoing: Outgoing) {
        let id = outgoing.connection;
        let outbox = self.outbox(id);
        if outbox.closed {
            return;
        }
        if let Output::Packet(reply) = &outgoing.output {
            assert_well_formed(outbox.version, reply);
        }
        let closes = outgoing.output == Output::Close;
        outbox.left.push(outgoing.output);
        if closes {
            outbox.closed = true;
            self.held.retain(|(_, held)| held.connection != id);
        }
    }

    fn outbox(&mut self, client: ConnectionId) -> &mut Outbox {
        self.outboxes.get_mut(&client).expect("a connection of this rig")
    }
}

fn start(settings: &Settings, store: &Store, now: Timestamp) -> Broker {
    let mut broker = Broker::new(settings.clone(), 42, now);
    broker.set_wall_clock(WallClock::new(now, UNIX_MS + now.0));
    broker.restore(store.restored().into_iter(), now);
    broker
}
