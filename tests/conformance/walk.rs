//! Random walks: clients of both versions that keep the protocol publish, read, vanish and come
//! back, commits lag, the broker dies. What is then checked is what the guarantees table says. On a
//! rough walk clients also refuse, begin anew and stay away too long, and queues are short: there
//! each copy was read or is a dead letter.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fastrand::Rng;
use kedgemq::mqtt::{Delivery, Packet, QoS, Reply};
use kedgemq::turn::{CloseCause, ConnectionId};

use crate::packets::*;
use crate::rig::Rig;

const WALKS: u64 = 300;
const STEPS: usize = 250;

/// What a publisher has not seen the end of.
#[derive(Clone, Debug)]
struct Outgoing {
    packet_id: u16,
    qos: u8,
    topic: &'static str,
    payload: String,
    pubrec_arrived: bool,
}

/// A client with a stored session.
struct Client {
    is_rough: bool,
    connect: ConnectOptions,
    filter: Option<(&'static str, u8)>,
    connection: Option<ConnectionId>,
    /// CONNACK came on this connection.
    is_accepted: bool,
    was_connected: bool,
    outgoing: VecDeque<Outgoing>,
    next_packet_id: u16,
    published: u32,
    /// QoS 2 identifiers between PUBLISH and PUBREL.
    received: BTreeSet<u16>,
    /// Answers that it has not sent yet.
    answers: VecDeque<Packet<'static>>,
    /// Identifiers that count against its Receive Maximum.
    open: BTreeSet<u16>,
    got: Vec<(String, String, QoS)>,
    by_packet_id: BTreeMap<u16, String>,
    /// It threw them away, so it does not know them when they come again.
    refused: BTreeSet<String>,
}

impl Client {
    fn new(connect: ConnectOptions, filter: Option<(&'static str, u8)>) -> Self {
        Self {
            is_rough: false,
            connect: connect.stored(),
            filter,
            connection: None,
            is_accepted: false,
            was_connected: false,
            outgoing: VecDeque::new(),
            next_packet_id: 0,
            published: 0,
            received: BTreeSet::new(),
            answers: VecDeque::new(),
            open: BTreeSet::new(),
            got: Vec::new(),
            by_packet_id: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }

    fn window(&self) -> usize {
        usize::from(self.connect.receive_maximum.unwrap_or(100))
    }

    fn lose_connection(&mut self) {
        self.connection = None;
        self.is_accepted = false;
        self.answers.clear();
        self.open.clear();
    }

    /// Connects; an open connection of the same client is taken over.
    fn connect(&mut self, rig: &mut Rig) {
        self.lose_connection();
        self.connection = Some(rig.open(self.connect.clone()));
    }

    fn after_connack(&mut self, rig: &mut Rig, present: bool) {
        let connection = self.connection.expect("CONNACK came on it");
        if !present {
            assert!(self.is_rough || !self.was_connected, "the session is gone");
            self.was_connected = false;
            self.outgoing.clear();
            self.received.clear();
        }
        if let Some((filter, qos)) = self.filter.filter(|_| !self.was_connected) {
            rig.send(connection, subscribe(60_000, &[(filter, options(qos))]));
        }
        self.was_connected = true;
        self.is_accepted = true;
        for out in self.outgoing.clone() {
            match out.pubrec_arrived {
                true => rig.send(connection, pubrel(out.packet_id)),
                false => rig.publish(connection, dup(out.packet())),
            }
        }
    }

    fn publish(&mut self, rig: &mut Rig, rng: &mut Rng) {
        let Some(connection) = self.connection.filter(|_| self.is_accepted) else {
            return;
        };
        if self.outgoing.len() >= 20 {
            return;
        }
        self.published += 1;
        self.next_packet_id = self.next_packet_id % 200 + 1;
        let taken = |id: u16| self.outgoing.iter().any(|out| out.packet_id == id);
        while taken(self.next_packet_id) {
            self.next_packet_id = self.next_packet_id % 200 + 1;
        }
        let out = Outgoing {
            packet_id: self.next_packet_id,
            qos: rng.u8(1..=2),
            topic: rng.choice(["t/a", "t/b"]).expect("two"),
            payload: format!("{}-{}", self.connect.client_id, self.published),
            pubrec_arrived: false,
        };
        if self.is_rough && rng.u8(..4) == 0 {
            rig.publish(connection, expiring(rng.u32(1..20), out.packet()));
        } else {
            rig.publish(connection, out.packet());
        }
        self.outgoing.push_back(out);
    }

    /// Refuses the oldest PUBLISH that it has not answered.
    fn refuse(&mut self, rig: &mut Rig) {
        match self.answers.front_mut() {
            Some(Packet::PubAck(ack) | Packet::PubRec(ack)) if ack.reason.0 == 0 => {
                ack.reason = kedgemq::mqtt::ReasonCode(0x80);
                self.received.remove(&ack.packet_id.get());
                self.refused.insert(self.by_packet_id[&ack.packet_id.get()].clone());
                self.answer(rig);
            }
            _ => {}
        }
    }

    fn answer(&mut self, rig: &mut Rig) {
        if let (Some(connection), Some(packet)) = (self.connection, self.answers.pop_front()) {
            match &packet {
                Packet::PubAck(ack) | Packet::PubComp(ack) => {
                    self.open.remove(&ack.packet_id.get());
                }
                Packet::PubRec(ack) if ack.reason.is_error() => {
                    self.open.remove(&ack.packet_id.get());
                }
                _ => {}
            }
            rig.send(connection, packet);
        }
    }

    /// Reads what came. True if something did.
    fn read(&mut self, rig: &mut Rig) -> bool {
        let Some(connection) = self.connection else {
            return false;
        };
        let replies = rig.received(connection);
        assert!(!rig.is_closed(connection), "{}: {replies:?}", self.connect.client_id);
        let came = !replies.is_empty();
        for reply in replies {
            match reply {
                Reply::ConnAck(ack) => self.after_connack(rig, ack.session_present),
                Reply::Publish(delivery) => self.take(&delivery),
                Reply::PubAck(ack) => self.finished(ack.packet_id.get(), 1),
                Reply::PubComp(ack) => self.finished(ack.packet_id.get(), 2),
                Reply::PubRec(ack) => {
                    let id = ack.packet_id.get();
                    let mine = self.outgoing.iter_mut().find(|out| out.packet_id == id);
                    mine.expect("PUBREC of what was published").pubrec_arrived = true;
                    rig.send(connection, pubrel(id));
                }
                Reply::PubRel(ack) => {
                    let id = ack.packet_id.get();
                    self.received.remove(&id);
                    self.open.insert(id);
                    self.answers.push_back(pubcomp(id));
                }
                Reply::SubAck(_) | Reply::UnsubAck(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(self.open.len() <= self.window(), "[MQTT-3.3.4-9]");
        came
    }

    fn take(&mut self, delivery: &Delivery) {
        let id = delivery.packet_id.expect("QoS > 0").get();
        let is_new = delivery.qos == QoS::AtLeastOnce || self.received.insert(id);
        self.open.insert(id);
        self.answers.push_back(match delivery.qos {
            QoS::ExactlyOnce => pubrec(id),
            _ => puback(id),
        });
        let message = &delivery.message;
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        self.by_packet_id.insert(id, payload.clone());
        if is_new {
            self.got.push((message.topic.to_string(), payload, delivery.qos));
        }
    }

    fn finished(&mut self, packet_id: u16, qos: u8) {
        let mine = |out: &Outgoing| out.packet_id == packet_id && out.qos == qos;
        self.outgoing.retain(|out| !mine(out));
    }
}

impl Outgoing {
    fn packet(&self) -> kedgemq::mqtt::packet::Publish<'_> {
        match self.qos {
            1 => q1(self.packet_id, self.topic, &self.payload),
            _ => q2(self.packet_id, self.topic, &self.payload),
        }
    }
}

/// All clients and their broker.
struct Walk {
    rig: Rig,
    rng: Rng,
    clients: Vec<Client>,
}

impl Walk {
    fn new(seed: u64) -> Self {
        Self::with(seed, Rig::new(), false)
    }

    fn rough(seed: u64) -> Self {
        let rig = Rig::with(|settings| {
            settings.limits.queue_messages = 6;
            settings.limits.max_deliveries = 2;
        });
        Self::with(seed, rig, true)
    }

    fn with(seed: u64, rig: Rig, is_rough: bool) -> Self {
        let clients = vec![
            Client::new(v5("p5"), None),
            Client::new(v4("p4"), None),
            Client::new(v5("all5").window(3), Some(("t/#", 2))),
            Client::new(v4("all4"), Some(("#", 2))),
            Client::new(v5("one5").window(1), Some(("t/+", 1))),
            Client::new(v5("m1").window(2), Some(("$share/g/t/#", 2))),
            Client::new(v5("m2").window(2), Some(("$share/g/t/#", 2))),
        ];
        let mut walk = Self { rig, rng: Rng::with_seed(seed), clients };
        for client in &mut walk.clients {
            client.is_rough = is_rough;
            client.connect(&mut walk.rig);
            client.read(&mut walk.rig);
            client.read(&mut walk.rig);
        }
        walk
    }

    fn step(&mut self) {
        let (rig, rng) = (&mut self.rig, &mut self.rng);
        let index = rng.usize(..self.clients.len());
        match rng.u8(..100) {
            0..30 => {
                let publisher = rng.usize(..2);
                self.clients[publisher].publish(rig, rng);
            }
            30..70 => self.clients[index].answer(rig),
            70..76 => {
                if let Some(connection) = self.clients[index].connection {
                    self.clients[index].lose_connection();
                    match rng.bool() {
                        true => rig.cut(connection),
                        false => rig.disconnect(connection),
                    }
                }
            }
            76..84 if self.clients[index].connection.is_none() => {
                self.clients[index].connect(rig);
            }
            84..86 => self.clients[index].connect(rig),
            86..90 => rig.hold_commits(),
            90..93 => rig.commit(),
            93..95 => rig.commit_at_once(),
            95..97 => {
                for client in &mut self.clients {
                    client.lose_connection();
                }
                rig.crash();
            }
            _ => rig.wait(1),
        }
        for client in &mut self.clients {
            client.read(rig);
        }
    }

    /// What only happens on a rough walk.
    fn rough_step(&mut self) {
        let (rig, rng) = (&mut self.rig, &mut self.rng);
        let index = rng.usize(..self.clients.len());
        let client = &mut self.clients[index];
        match (rng.u8(..10), client.connection) {
            (0..3, _) if client.connect.version == kedgemq::mqtt::Version::V5 => client.refuse(rig),
            (3, _) if index > 1 => {
                client.lose_connection();
                client.connection = Some(rig.open(client.connect.clone().clean()));
            }
            (4, Some(connection)) if rng.bool() => {
                client.lose_connection();
                rig.close(connection, CloseCause::Peer { flushed: true });
            }
            (5, _) => rig.wait(rng.u64(..30)),
            (6, _) if rng.u8(..10) == 0 => rig.wait(3_700),
            (7, Some(connection)) if client.is_accepted && index > 4 => {
                rig.send(connection, unsubscribe(60_001, &["$share/g/t/#"]));
                let filter = [("$share/g/t/#", options(2))];
                if rng.bool() {
                    rig.send(connection, subscribe(60_000, &filter));
                }
            }
            (8, Some(connection)) if client.is_accepted && index > 4 => {
                rig.send(connection, subscribe(60_000, &[("$share/g/t/#", options(2))]));
            }
            _ => {}
        }
        for client in &mut self.clients {
            client.read(rig);
        }
    }

    /// Everybody comes back, and all is read to its end.
    fn finish(&mut self) {
        self.rig.commit_at_once();
        for client in &mut self.clients {
            client.read(&mut self.rig);
            if client.connection.is_none() {
                client.connect(&mut self.rig);
            }
        }
        loop {
            let mut came = false;
            for client in &mut self.clients {
                came |= client.read(&mut self.rig);
                came |= !client.answers.is_empty();
                client.answer(&mut self.rig);
            }
            if !came {
                return;
            }
        }
    }

    fn check(&self, seed: u64) {
        let mut sent = BTreeSet::new();
        for publisher in &self.clients[..2] {
            assert!(publisher.outgoing.is_empty(), "seed {seed}: {:?}", publisher.outgoing);
            let name = &publisher.connect.client_id;
            sent.extend((1..=publisher.published).map(|n| format!("{name}-{n}")));
        }
        for reader in &self.clients[2..5] {
            self.check_reader(seed, reader, &sent);
        }
        let members = self.clients[5..].iter().flat_map(|member| &member.got);
        let of_group: BTreeSet<String> = members.map(|(_, payload, _)| payload.clone()).collect();
        assert_eq!(of_group, sent, "seed {seed}: the share group");
        let mut twice = BTreeMap::new();
        for (_, payload, qos) in self.clients[5..].iter().flat_map(|member| &member.got) {
            *twice.entry((payload, *qos as u8)).or_insert(0) += 1;
        }
        for ((payload, qos), count) in twice {
            assert!(qos < 2 || count == 1, "seed {seed}: {payload} {count} times in the group");
        }
        assert_eq!(self.rig.dead(), [""; 0], "seed {seed}");
        assert!(self.rig.store.copies.is_empty(), "seed {seed}: {:?}", self.rig.store.copies);
        assert!(self.rig.store.received.is_empty(), "seed {seed}");
    }

    /// Each copy that ever was stored was read or is a dead letter; QoS 2 was read once.
    fn check_rough(&self, seed: u64) {
        let mut ends = BTreeSet::new();
        let mut once = BTreeSet::new();
        for (index, client) in self.clients.iter().enumerate() {
            let owner = if index > 4 { "$share~g~t/#" } else { &client.connect.client_id };
            for (_, payload, qos) in &client.got {
                ends.insert((owner.to_owned(), payload.clone()));
                let is_new = *qos == QoS::AtLeastOnce || once.insert((owner, payload));
                let is_new = is_new || client.refused.contains(payload);
                assert!(is_new, "seed {seed}: {owner}: {payload} twice");
            }
        }
        for letter in self.rig.store.dead.values() {
            let payload = String::from_utf8_lossy(&letter.message.payload).into_owned();
            ends.insert((letter.owner_name.to_string(), payload));
        }
        for copy in &self.rig.store.history {
            assert!(ends.contains(copy), "seed {seed}: {copy:?} vanished");
        }
        assert!(self.rig.store.copies.is_empty(), "seed {seed}: {:?}", self.rig.store.copies);
    }

    fn check_reader(&self, seed: u64, reader: &Client, sent: &BTreeSet<String>) {
        let name = &reader.connect.client_id;
        let mut seen = BTreeSet::new();
        let mut newest = BTreeMap::new();
        for (topic, payload, qos) in &reader.got {
            let is_first = seen.insert(payload.clone());
            assert!(is_first || *qos != QoS::ExactlyOnce, "seed {seed}: {name}: {payload} twice");
            if is_first {
                let (publisher, number) = payload.split_once('-').expect("as published");
                let number: u32 = number.parse().expect("a number");
                let order = (topic.clone(), publisher.to_owned(), *qos as u8);
                let before = newest.insert(order, number);
                assert!(before < Some(number), "seed {seed}: {name}: {payload} after {before:?}");
            }
        }
        assert_eq!(&seen, sent, "seed {seed}: {name}");
    }
}

#[test]
fn whatever_happens_the_guarantees_hold() {
    for seed in 0..WALKS {
        let mut walk = Walk::new(seed);
        for _ in 0..STEPS {
            walk.step();
        }
        walk.finish();
        walk.check(seed);
    }
}

#[test]
fn on_a_rough_walk_no_copy_vanishes() {
    for seed in 0..WALKS {
        let mut walk = Walk::rough(seed);
        for _ in 0..STEPS {
            walk.step();
            walk.rough_step();
        }
        walk.finish();
        walk.rig.wait(100);
        walk.check_rough(seed);
    }
}
