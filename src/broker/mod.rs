//! The core: one [`Broker`] owns all MQTT state and decides everything. It has no socket, no
//! disk, no clock and no randomness of its own: the same inputs give the same turns.
//!
//! Each `handle_*` is one thing that happened; what follows from it is in the [`Turn`]. In the
//! order of a message's way: `connect` → `publish` → `deliver` → `pump` → `acknowledge`; at QoS 0
//! mostly `pass_on` alone; beside it `subscribe`, `retained`, `group`, `by_topic`, `close`,
//! `leaving`, `will`, `timer`, `sys`; `dead_letter` and `doomed` for what cannot be delivered;
//! `restore` at start.
//!
//! Invariant: every copy is in exactly one place: a queue, in flight, or dead.

mod acknowledge;
mod by_topic;
mod close;
mod connect;
mod dead_letter;
mod deliver;
mod doomed;
#[cfg(test)]
mod example;
mod group;
mod leaving;
mod letter;
mod load;
mod operator;
mod pass_on;
mod publish;
mod pump;
mod redrive;
mod restore;
mod retained;
mod sessions;
mod spare;
mod subscribe;
mod sys;
mod task;
mod timer;
mod will;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::auth::{Acl, Identity};
use crate::config::Settings;
use crate::metrics::{Counters, Traffic};
use crate::mqtt::Message;
use crate::mqtt::codec::{AckKind, Acks, Run};
use crate::mqtt::packet::{Connect, Packet};
use crate::router::{Retained, Route, Subscriptions};
use crate::session::Session;
use crate::session::queue::Totals;
use crate::session::violation::Violation;
use crate::time::{Timestamp, WallClock};
use crate::turn::{
    CloseCause, ConnectionId, Event, Letters, Loaded, MessageId, OwnerId, Record, RecordNumber,
    SessionId, StoreState, Turn,
};

pub use letter::dl_id;
pub use operator::SessionView;

use dead_letter::{Cemetery, Death};
use doomed::Doomed;
use group::Group;
use leaving::Leaving;
use load::Load;
use sessions::Sessions;
use spare::Spare;
use task::Tasks;
use timer::{Timer, Timers};

/// Timers that are handled in one go; the rest is due at once, after others had their turn.
const TIMERS_A_TURN: usize = 64;

/// Why the session of a connection has a link.
const LINKED: &str = "a connection has a session with this link";

/// A map that is never iterated: its order must not show.
type Map<K, V> = HashMap<K, V, FixedState>;

fn new_map<K: Eq + Hash, V>(seed: u64) -> Map<K, V> {
    HashMap::with_hasher(FixedState::with_seed(seed))
}

/// All MQTT state.
#[derive(Debug)]
pub struct Broker {
    settings: Settings,
    random: fastrand::Rng,
    wall: WallClock,
    acl: Option<Acl>,
    /// How often it changed.
    acl_changes: u64,
    store: StoreState,
    committed: RecordNumber,
    /// The last end of a stored session: a CONNACK waits for it, as a crash must bring back no
    /// session that a client was told is gone.
    last_ended: RecordNumber,
    started: Timestamp,
    last_owner: u64,
    last_message: u64,
    sessions: Sessions,
    clients: BTreeMap<Arc<str>, SessionId>,
    groups: Map<OwnerId, Group>,
    group_ids: Map<Arc<str>, OwnerId>,
    subscriptions: Subscriptions,
    leaving: Leaving,
    retained: Retained,
    cemetery: Cemetery,
    doomed: Doomed,
    tasks: Tasks,
    deaths: VecDeque<Death>,
    timers: Timers,
    totals: Totals,
    counters: Counters,
    /// Clients connected now.
    connected: u64,
    /// Memberships in share groups.
    memberships: usize,
    load: Load,
    /// Of the last message.
    route: Route,
    spare: Spare,
}

impl Broker {
    /// An empty broker. The same seed and inputs give the same turns.
    pub fn new(settings: Settings, seed: u64, now: Timestamp) -> Self {
        let mut timers = Timers::default();
        if !settings.limits.sys_interval.is_zero() {
            timers.set(now, Timer::Sys);
        }
        Self {
            settings,
            random: fastrand::Rng::with_seed(seed),
            wall: WallClock::default(),
            acl: None,
            acl_changes: 0,
            store: StoreState::Ready,
            committed: RecordNumber::default(),
            last_ended: RecordNumber::default(),
            started: now,
            last_owner: 0,
            last_message: 0,
            sessions: Sessions::new(seed),
            clients: BTreeMap::new(),
            groups: new_map(seed),
            group_ids: new_map(seed),
            subscriptions: Subscriptions::new(seed),
            leaving: Leaving::default(),
            retained: Retained::default(),
            cemetery: Cemetery::default(),
            doomed: Doomed::default(),
            tasks: Tasks::default(),
            deaths: VecDeque::new(),
            timers,
            totals: Totals::default(),
            counters: Counters::default(),
            connected: 0,
            memberships: 0,
            load: Load::default(),
            route: Route::default(),
            spare: Spare::default(),
        }
    }

    /// What the world's clock shows, for dead letters.
    pub fn set_wall_clock(&mut self, clock: WallClock) {
        self.wall = clock;
    }

    /// What the world counted so far, for `$SYS`.
    pub fn set_traffic(&mut self, traffic: Traffic) {
        self.counters.traffic = traffic;
    }

    /// The rights from now on; `None`: everybody may do everything.
    pub fn set_acl(&mut self, acl: Option<Acl>) {
        let letters = self.settings.dead_letters.topic.prefix();
        self.acl = acl.map(|acl| acl.guarding(letters));
        self.acl_changes += 1;
    }

    /// All records up to here are durable: what waited for them left.
    pub fn set_committed(&mut self, up_to: RecordNumber) {
        self.committed = up_to;
    }

    /// A CONNECT came on a connection that is not known yet.
    pub fn handle_connect(
        &mut self,
        id: ConnectionId,
        who: Identity,
        connect: Connect<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        self.connect(id, who, &connect, now, turn);
        self.settle(now, turn);
    }

    /// A packet came. For a connection that is gone it is ignored.
    pub fn handle_packet(
        &mut self,
        id: ConnectionId,
        packet: &Packet<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let Some(session) = self.sessions.of_connection(id) else {
            return;
        };
        let link = session.link.as_mut().expect(LINKED);
        link.hear(1, now);
        if let Packet::Publish(publish) = packet {
            link.hear_publishes(1, publish.payload.as_slice().len());
        }
        let session = session.id;
        let result = match packet {
            Packet::Publish(publish) => self.publish(id, publish, now, turn),
            Packet::PubAck(ack) => self.pub_ack(id, ack, now, turn),
            Packet::PubRec(ack) => self.pub_rec(id, ack, now, turn),
            Packet::PubRel(ack) => self.pub_rel(id, ack, turn),
            Packet::PubComp(ack) => self.pub_comp(id, ack, now, turn),
            Packet::Subscribe(subscribe) => self.subscribe(session, subscribe, now, turn),
            Packet::Unsubscribe(unsubscribe) => {
                self.unsubscribe(session, unsubscribe, now, turn);
                Ok(())
            }
            Packet::PingReq => self.ping(session, turn),
            Packet::Disconnect(disconnect) => self.disconnect(session, disconnect, now, turn),
            Packet::Connect(_) => Err(Violation::SecondConnect),
            Packet::Auth(_) => Err(Violation::UnexpectedAuth),
        };
        self.conclude(session, result, now, turn);
    }

    /// Acknowledgements came together. As [`handle_packet`](Self::handle_packet) would for each of
    /// them, but that all were heard before the first is looked at.
    pub fn handle_acks(
        &mut self,
        id: ConnectionId,
        acks: &Acks<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let Some(session) = self.sessions.of_connection(id) else {
            return;
        };
        session.link.as_mut().expect(LINKED).hear(acks.count(), now);
        let session = session.id;
        let mut all = acks.each();
        let result = match acks.kind {
            AckKind::PubAck => all.try_for_each(|ack| self.pub_ack(id, &ack, now, turn)),
            AckKind::PubRec => all.try_for_each(|ack| self.pub_rec(id, &ack, now, turn)),
            AckKind::PubRel => all.try_for_each(|ack| self.pub_rel(id, &ack, turn)),
            AckKind::PubComp => all.try_for_each(|ack| self.pub_comp(id, &ack, now, turn)),
        };
        self.conclude(session, result, now, turn);
    }

    /// What a client sent was handled, or breaks the protocol.
    fn conclude(
        &mut self,
        session: SessionId,
        result: Result<(), Violation>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        if let Err(violation) = result {
            let why = violation.to_string().into();
            self.dismiss(session, violation.reason(), why, now, turn);
        }
        self.settle(now, turn);
    }

    /// A run of PUBLISHes came. As [`handle_packet`](Self::handle_packet) would for each of them,
    /// but in one go where that may be.
    pub fn handle_run(&mut self, id: ConnectionId, run: &Run<'_>, now: Timestamp, turn: &mut Turn) {
        let Some(session) = self.sessions.of_connection(id).map(|session| session.id) else {
            return;
        };
        if !self.may_pass_on(session, run) {
            for publish in run.publishes() {
                self.handle_packet(id, &Packet::Publish(publish), now, turn);
            }
            return;
        }
        let link = self.session(session).link.as_mut().expect(LINKED);
        link.hear(run.count, now);
        link.hear_publishes(run.count, run.payload);
        self.pass_on(session, run, now, turn);
        self.settle(now, turn);
    }

    /// The world ends a connection, known or not yet; the last words to it are in the turn.
    pub fn handle_close(
        &mut self,
        id: ConnectionId,
        cause: CloseCause,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        self.close(id, cause, now, turn);
        self.settle(now, turn);
    }

    /// The outbox of a connection passed its limit (`full`), or drained again.
    pub fn handle_outbox(&mut self, id: ConnectionId, full: bool, now: Timestamp, turn: &mut Turn) {
        let Some(session) = self.sessions.of_connection(id) else {
            return;
        };
        let session_id = session.id;
        let link = session.link.as_mut().expect(LINKED);
        link.outbox_full = full;
        if !full {
            self.tell_groups(session_id);
            self.pump(session_id, now, turn);
            self.settle(now, turn);
        }
    }

    /// The world reads no more from a connection, as the store has no room for what it says: until
    /// its next packet its Keep Alive does not run.
    pub fn handle_paused(&mut self, id: ConnectionId) {
        if let Some(link) =
            self.sessions.of_connection(id).and_then(|session| session.link.as_mut())
        {
            link.paused = true;
        }
    }

    /// Stored copies came.
    pub fn handle_loaded(&mut self, loaded: Loaded, now: Timestamp, turn: &mut Turn) {
        self.loaded(loaded, now, turn);
        self.settle(now, turn);
    }

    /// Dead letters of a [`crate::turn::LetterLoad`] came.
    pub fn handle_letters(&mut self, letters: &Letters, now: Timestamp, turn: &mut Turn) {
        self.letters(letters, now, turn);
        self.settle(now, turn);
    }

    /// The store failed, or takes records again.
    pub fn handle_store_state(&mut self, state: StoreState, _now: Timestamp, _turn: &mut Turn) {
        self.store = state;
    }

    /// The broker stops: says goodbye to all connections. Their wills are published, or
    /// stay in the store where they are due later.
    pub fn handle_shutdown(&mut self, now: Timestamp, turn: &mut Turn) {
        self.shut_down(now, turn);
        self.settle(now, turn);
    }

    /// The time of [`next_timeout`](Self::next_timeout) came.
    pub fn handle_timeout(&mut self, now: Timestamp, turn: &mut Turn) {
        for _ in 0..TIMERS_A_TURN {
            let Some(timer) = self.timers.pop_due(now) else {
                break;
            };
            self.timer(timer, now, turn);
            self.settle(now, turn);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// The records of a turn are with the store: their memory comes back.
    pub fn take_back(&mut self, records: impl Iterator<Item = Record>) {
        for record in records {
            if let Record::Message { message, .. } = record {
                self.spare.keep(message);
            }
        }
    }

    /// Up to so many messages that nobody has any more, for the memory of those that are loaded.
    pub fn spare(&mut self, count: usize) -> impl Iterator<Item = Arc<Message>> {
        self.spare.take(count)
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        for session in self.sessions.connected() {
            if let Some(link) = &session.link {
                sys::count(link, &mut counters);
                counters.in_flight += session.outbound.len() as u64;
            }
        }
        counters.clients_connected = self.connected;
        counters
    }

    /// How many sessions there are, connected or not.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    fn session(&mut self, id: SessionId) -> &mut Session {
        self.sessions.get_mut(&id).expect("a session in use is there")
    }

    fn new_owner(&mut self) -> OwnerId {
        self.last_owner += 1;
        OwnerId(self.last_owner)
    }

    fn new_message(&mut self) -> MessageId {
        self.last_message += 1;
        MessageId(self.last_message)
    }

    /// Copies were lost in the store: never silently.
    fn report_lost(&self, owner: OwnerId, count: u64, turn: &mut Turn) {
        if count > 0 {
            let owner = self.owner_name(owner);
            turn.events.push(Event::Lost { owner, count });
        }
    }
}
