//! Random walks: clients of both versions that keep the protocol publish, read, vanish and come
//! back, commits lag, the broker dies. What is then checked is what the guarantees table says. On a
//! rough walk clients also refuse, begin anew and stay away too long, and queues are short: there
//! each copy was read or is a dead letter.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use kedgemq::mqtt::{QoS, Version};
use kedgemq::turn::CloseCause;

use crate::client::Client;
use crate::packets::*;
use crate::rig::Rig;

const WALKS: u64 = 300;
const STEPS: usize = 250;

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
            97 => match rng.bool() {
                true => rig.delay_loads(),
                false => rig.answer_loads(),
            },
            98 => {
                if let Some(connection) = self.clients[index].connection {
                    rig.outbox_full(connection, rng.bool());
                }
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
            (0..3, _) if client.connect.version == Version::V5 => client.refuse(rig),
            (3, _) if index > 1 => {
                client.begins_anew = true;
                client.connect(rig);
            }
            (4, Some(connection)) if rng.bool() => {
                client.lose_connection();
                rig.close(connection, CloseCause::Peer { flushed: true });
            }
            (5, _) => rig.wait(rng.u64(..30)),
            (6, _) if rng.u8(..10) == 0 => {
                for away in self.clients.iter_mut().filter(|c| c.connection.is_none()) {
                    away.begins_anew = true;
                }
                rig.wait(3_700);
            }
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
        self.rig.load_at_once();
        for client in &mut self.clients {
            if let Some(connection) = client.connection {
                self.rig.outbox_full(connection, false);
            }
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

#[test]
fn the_same_inputs_give_the_same_turns() {
    let walk = |seed| {
        let mut walk = Walk::rough(seed);
        for _ in 0..STEPS {
            walk.step();
            walk.rough_step();
        }
        walk.finish();
        walk.rig.digest()
    };
    for seed in 0..20 {
        assert_eq!(walk(seed), walk(seed), "seed {seed}");
    }
    assert_ne!(walk(0), walk(1));
}
