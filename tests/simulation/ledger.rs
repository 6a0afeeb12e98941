//! Looks over the core's shoulder: what it is told, what its records and counters say of copies.
//! It enters that into the event log and judges nothing.

use std::collections::{BTreeMap, BTreeSet};

use kedgemq::broker::Broker;
use kedgemq::metrics::Counters;
use kedgemq::mqtt::{Packet, QoS, Reply};
use kedgemq::time::Timestamp;
use kedgemq::turn::{Action, ConnectionId, DeadId, DeadReason, Event, Letters, Output, OwnerId};
use kedgemq::turn::{Outgoing, Record, Turn};

use crate::bug::Bug;
use crate::clients::tag_of;
use crate::history::{Departure, Entered, Fact, Seat, Table, Tag};

/// What is known of a connection.
struct Peer {
    name: Tag,
    /// Topics that the client gave an alias.
    aliases: BTreeMap<u16, String>,
    /// Messages by Packet Identifier that the client has not answered.
    unanswered: BTreeMap<u16, Tag>,
}

/// What the core is about to be told.
enum Heard {
    Publish { id: ConnectionId, tag: Tag, topic: Tag, qos: QoS, received: u64, refused: u64 },
    Answer { client: Tag, tag: Tag },
    Subscription,
}

/// What is remembered between two steps of the core.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) facts: Vec<Fact>,
    peers: BTreeMap<ConnectionId, Peer>,
    table: Table,
    names: BTreeMap<OwnerId, Tag>,
    is_stale: bool,
    bug: Option<Bug>,
    counters: Counters,
    wills: BTreeSet<Tag>,
    heard: Vec<Heard>,
    /// Letters that the core was given, and where those of them go that it forgets now.
    given: Option<(Letters, Departure)>,
}

impl Ledger {
    pub(crate) fn new(broker: &Broker, bug: Option<Bug>) -> Self {
        let mut ledger = Self { bug, counters: broker.counters(), ..Self::default() };
        ledger.refresh(broker);
        ledger
    }

    /// A CONNECT came.
    pub(crate) fn connect(&mut self, id: ConnectionId, name: &str) {
        let (aliases, unanswered) = Default::default();
        self.peers.insert(id, Peer { name: name.into(), aliases, unanswered });
    }

    /// A packet is given to the core.
    pub(crate) fn hear(&mut self, id: ConnectionId, packet: &Packet<'_>, broker: &Broker) {
        let peer = self.peers.get_mut(&id).expect("its CONNECT came");
        let client = peer.name.clone();
        match packet {
            Packet::Publish(publish) => {
                let alias = publish.topic_alias.map(std::num::NonZeroU16::get);
                let topic = match (publish.topic, alias) {
                    ("", Some(alias)) => peer.aliases.get(&alias).cloned().unwrap_or_default(),
                    (topic, alias) => {
                        let topic = topic.to_owned();
                        peer.aliases.extend(alias.map(|alias| (alias, topic.clone())));
                        topic
                    }
                };
                let tag = tag_of(publish.payload.as_slice(), &topic);
                let topic: Tag = topic.into();
                let (qos, refused) = (publish.qos, refusals(&self.counters));
                let received = match qos {
                    QoS::ExactlyOnce => received(broker, &client),
                    _ => 0,
                };
                self.facts.push(Fact::Heard { client, tag: tag.clone(), topic: topic.clone() });
                if qos != QoS::AtMostOnce {
                    self.heard.push(Heard::Publish { id, tag, topic, qos, received, refused });
                }
            }
            Packet::PubAck(ack) | Packet::PubRec(ack) => {
                let tag = peer.unanswered.remove(&ack.packet_id.get());
                let tag = tag.filter(|_| !ack.reason.is_error());
                self.heard.extend(tag.map(|tag| Heard::Answer { client, tag }));
            }
            Packet::Subscribe(_) | Packet::Unsubscribe(_) => {
                self.heard.push(Heard::Subscription);
            }
            _ => {}
        }
    }

    /// Letters are given to the core: by a task that does `action`, or to be tried again.
    pub(crate) fn give(&mut self, letters: &Letters, action: Option<Action>) {
        let load = letters.load;
        let is_retry = load.first == load.last && load.bytes == u32::MAX;
        let to_topic = match (is_retry, action, letters.letters.first()) {
            (true, _, Some(letter)) => {
                letter.owner_name.starts_with("$share~") && letter.reason == DeadReason::Rejected
            }
            (_, action, _) => action == Some(Action::RedriveToTopic),
        };
        let how = match action {
            Some(Action::Purge) if !is_retry => Departure::Purged,
            _ if to_topic => Departure::ToTopic,
            _ => Departure::ToOwner,
        };
        self.given = Some((letters.clone(), how));
    }

    /// Before a step of the core.
    pub(crate) fn before(&mut self, broker: &Broker) {
        if self.is_stale && !matches!(self.heard[..], [Heard::Answer { .. }, ..]) {
            self.refresh(broker);
        }
    }

    /// After it: its records and events from these on are new, and its output is all new.
    pub(crate) fn after(
        &mut self,
        broker: &Broker,
        turn: &Turn,
        (records, events): (usize, usize),
        now: Timestamp,
    ) {
        let changes =
            |event: &Event| matches!(event, Event::Connected { .. } | Event::Disconnected { .. });
        self.is_stale |= turn.events[events..].iter().any(changes);
        self.is_stale |= broker.sessions() != self.table.len();
        let record = turn.last_record().0;
        self.read_records(&turn.records[records..], record, broker);
        self.read_output(turn, record, broker, now);
        self.read_counters(record, broker);
        self.given = None;
        for heard in std::mem::take(&mut self.heard) {
            match heard {
                Heard::Answer { client, tag } => {
                    self.enter(record, Entered::Settled { client, tag });
                }
                Heard::Subscription => self.is_stale = true,
                Heard::Publish { .. } => {}
            }
        }
    }

    fn enter(&mut self, record: u64, entered: Entered) {
        self.facts.push(Fact::Ledger { record, entered });
    }

    fn read_records(&mut self, records: &[Record], number: u64, broker: &Broker) {
        for (at, record) in records.iter().enumerate() {
            match record {
                // Its retry is over: it stays dead.
                Record::Dead(letter) if self.is_given(letter.id) => {}
                Record::Dead(letter) => {
                    let tag = tag_of(&letter.message.payload, &letter.message.topic);
                    let (id, owner, reason) =
                        (letter.id.0, letter.owner_name.clone(), letter.reason);
                    self.enter(number, Entered::Died { id, owner, tag, reason });
                }
                Record::DeadForgotten { id } => self.forgotten(id.0, number),
                Record::Message { message, .. } if message.past.is_none() => {
                    let tag = tag_of(&message.payload, &message.topic);
                    self.perhaps_will(tag, &message.topic, message.qos, number, broker);
                }
                Record::Queued(copy) if copy.retain => {
                    let body = records[..at].iter().rev().find_map(|record| match record {
                        Record::Message { id, message } if *id == copy.message => Some(message),
                        _ => None,
                    });
                    let owner = self.names.get(&copy.owner).cloned();
                    if let (Some(body), Some(owner)) = (body.filter(|b| b.past.is_none()), owner) {
                        let tag = tag_of(&body.payload, &body.topic);
                        self.enter(number, Entered::Retained { owner, tag });
                    }
                }
                _ => {}
            }
        }
    }

    fn is_given(&self, id: DeadId) -> bool {
        let given = self.given.as_ref();
        given.is_some_and(|(given, _)| given.letters.iter().any(|letter| letter.id == id))
    }

    fn forgotten(&mut self, id: u64, number: u64) {
        let given = self.given.as_ref();
        let letter = given.and_then(|(letters, how)| {
            let letter = letters.letters.iter().find(|letter| letter.id.0 == id)?;
            Some((letter.clone(), *how))
        });
        let (owner, tag, topic, how) = match letter {
            Some((letter, how)) => {
                let (topic, payload) = (letter.message.topic.clone(), &letter.message.payload);
                (letter.owner_name, tag_of(payload, &topic), topic, how)
            }
            None => ("".into(), "".into(), "".into(), Departure::Dropped),
        };
        self.enter(number, Entered::Forgotten { id, owner, tag, topic, how });
    }

    fn read_output(&mut self, turn: &Turn, number: u64, broker: &Broker, now: Timestamp) {
        let held = turn.held.iter().map(|held| &held.outgoing);
        let mut is_acknowledged = false;
        let mut outputs = Vec::new();
        for Outgoing { connection, output } in turn.send.iter().chain(held).cloned() {
            match output {
                Output::Written(piece) => {
                    outputs.extend(turn.written.packets(&piece).map(|it| (connection, it)));
                }
                output => outputs.push((connection, output)),
            }
        }
        for (id, output) in outputs {
            let Output::Packet(reply) = &output else {
                continue;
            };
            match reply {
                Reply::Publish(delivery) => {
                    let message = &delivery.message;
                    let tag = tag_of(&message.payload, &message.topic);
                    let Some(peer) = self.peers.get_mut(&id) else { continue };
                    if message.topic.starts_with("$dead/") {
                        continue;
                    }
                    if let Some(packet_id) = delivery.packet_id {
                        peer.unanswered.insert(packet_id.get(), tag.clone());
                    }
                    if !delivery.dup {
                        let (client, topic) = (peer.name.clone(), message.topic.clone());
                        self.facts.push(Fact::Sent { client, tag: tag.clone(), topic });
                    }
                    if message.past.is_none() && message.received == now {
                        self.perhaps_will(tag, &message.topic, message.qos, number, broker);
                    }
                }
                Reply::PubAck(ack) | Reply::PubRec(ack) if !ack.reason.is_error() => {
                    is_acknowledged |=
                        matches!(self.heard[..], [Heard::Publish { id: at, .. }] if at == id);
                }
                _ => {}
            }
        }
        let Some(Heard::Publish { id, tag, topic, qos, received: before, refused }) =
            self.heard.pop_if(|heard| matches!(heard, Heard::Publish { .. }))
        else {
            return;
        };
        let publisher = self.peers[&id].name.clone();
        let is_new = qos != QoS::ExactlyOnce || received(broker, &publisher) > before;
        if is_acknowledged && is_new && refusals(&broker.counters()) == refused {
            let (publisher, after) = (Some(publisher), None);
            self.enter(number, Entered::Took { topic, tag, publisher, after });
        }
    }

    /// A will is published once, by no packet.
    fn perhaps_will(&mut self, tag: Tag, topic: &str, qos: QoS, number: u64, broker: &Broker) {
        let is_will = tag.starts_with('w') && topic.starts_with("t/") && qos != QoS::AtMostOnce;
        if !is_will || !self.wills.insert(tag.clone()) {
            return;
        }
        let (before, facts) = (self.table.clone(), self.facts.len());
        self.refresh(broker);
        self.facts.truncate(facts);
        let after = std::mem::replace(&mut self.table, before);
        self.is_stale = true;
        let (topic, publisher, after) = (topic.into(), None, Some(after));
        self.enter(number, Entered::Took { topic, tag, publisher, after });
    }

    fn read_counters(&mut self, record: u64, broker: &Broker) {
        let now = broker.counters();
        let before = &self.counters;
        let mut dead = now.dead;
        for (dead, before) in dead.iter_mut().zip(before.dead) {
            *dead -= before;
        }
        let session_ended = now.session_ended - before.session_ended;
        let dead_dropped = now.dead_dropped - before.dead_dropped;
        let aged_out = now.dead_aged_out - before.dead_aged_out;
        self.counters = now;
        if self.bug == Some(Bug::ForgetsToCount) && record.is_multiple_of(4) {
            return;
        }
        let others = session_ended + dead_dropped + aged_out;
        if others > 0 || dead.iter().any(|count| *count > 0) {
            self.enter(record, Entered::Counted { dead, session_ended, dead_dropped, aged_out });
        }
    }

    /// Reads the broker's sessions anew.
    fn refresh(&mut self, broker: &Broker) {
        self.is_stale = false;
        let views = broker.sessions_after(None, usize::MAX);
        for view in &views {
            self.names.insert(view.id, view.client_id.clone());
        }
        let seats = views.into_iter().map(|view| Seat {
            name: view.client_id,
            stored: view.stored,
            subscriptions: view
                .subscriptions
                .into_iter()
                .map(|(filter, how)| (filter, how.options.qos as u8, how.options.no_local))
                .collect(),
        });
        let table: Vec<Seat> = seats.collect();
        if table != *self.table {
            self.table = table.into();
            self.facts.push(Fact::Table(self.table.clone()));
        }
    }
}

fn refusals(counters: &Counters) -> u64 {
    counters.refused_publishes + counters.unauthorized_publishes
}

fn received(broker: &Broker, client: &str) -> u64 {
    broker.session_view(client).map_or(0, |view| view.received)
}
