//! What must hold when all clients came back and everything was told: each message reached whom
//! it was for or is a dead letter; at QoS 2 once; first deliveries in order.

use std::collections::{BTreeMap, BTreeSet};

use kedgemq::mqtt::QoS;
use kedgemq::turn::{DeadLetter, DeadReason, Record};

use super::client::{Client, Post, Published, to};
use super::scene::Scene;

/// What the broker left behind.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) clients: BTreeMap<&'static str, Vec<String>>,
    pub(super) letters: Vec<(String, String, DeadReason)>,
}

impl Scene {
    /// All clients connect and send again what they must.
    pub(super) fn come_back(&mut self) {
        for name in self.names() {
            self.connect(name);
        }
        self.drain();
    }

    /// Publishes once more under identifiers that are free again: none of them may be taken for
    /// an old one.
    pub(super) fn go_on(&mut self, publishers: &[&str], topic: &'static str) {
        for name in publishers {
            self.publish(name, to(topic, 2));
            self.publish(name, to(topic, 2));
            self.publish(name, to(topic, 1));
        }
        self.drain();
    }

    /// Checks what came of everything, and what is on the disk then.
    pub(super) fn judge(self) -> Outcome {
        let Self { world, clients, .. } = self;
        let (records, letters) = world.stop();
        for record in &records {
            let is_rest = matches!(
                record,
                Record::Queued(_) | Record::Received { .. } | Record::SessionEnded { .. }
            );
            assert!(!is_rest, "left behind: {record:?}");
        }
        let judgement = Judgement { clients: &clients, letters: &letters };
        for publisher in &clients {
            assert!(publisher.is_done(), "{}: something is not acknowledged", publisher.name);
            for published in &publisher.published {
                judgement.check_arrived(published);
            }
        }
        for reader in &clients {
            judgement.check_order(reader);
        }
        judgement.check_once();
        judgement.check_letters();
        let payloads = |client: &Client| client.got.iter().map(|it| it.payload.clone()).collect();
        Outcome {
            clients: clients.iter().map(|client| (client.name, payloads(client))).collect(),
            letters: letters.iter().map(name_letter).collect(),
        }
    }

    fn names(&self) -> Vec<&'static str> {
        self.clients.iter().map(|client| client.name).collect()
    }
}

struct Judgement<'a> {
    clients: &'a [Client],
    letters: &'a [DeadLetter],
}

impl Judgement<'_> {
    fn check_arrived(&self, published: &Published) {
        if published.is_optional {
            return;
        }
        let payload = &published.payload;
        for owner in &published.audience {
            let mut readers = self.clients.iter().filter(|client| reads_for(client, owner));
            let is_read = readers.any(|it| it.got.iter().any(|got| got.payload == *payload));
            assert!(is_read || self.is_dead(owner, payload), "{payload} for {owner} is lost");
        }
    }

    fn is_dead(&self, owner: &str, payload: &str) -> bool {
        let mut letters = self.letters.iter().map(name_letter);
        letters.any(|(whose, what, _)| whose == owner && what == payload)
    }

    fn posts(&self) -> BTreeMap<&String, Post> {
        let published = self.clients.iter().flat_map(|client| &client.published);
        published.map(|published| (&published.payload, published.post)).collect()
    }

    /// First deliveries of one publisher, topic and QoS come in its order; a group has several
    /// readers, so none is promised. Where the first copy died, that of a resend is a later one.
    fn check_order(&self, reader: &Client) {
        let mut seen = BTreeSet::new();
        let mut newest = BTreeMap::new();
        let posts = self.posts();
        if reader.owner() != reader.name {
            return;
        }
        for got in reader.got.iter().filter(|got| seen.insert(&got.payload)) {
            if self.is_dead(reader.name, &got.payload) {
                continue;
            }
            let (publisher, number) = got.payload.split_once('-').expect("as published");
            let number: u32 = number.parse().unwrap();
            // At QoS 0 what was published at QoS 1 need not wait, and what was at QoS 2 must.
            let stream = match got.qos {
                QoS::AtMostOnce => (0, posts[&got.payload].qos),
                qos => (qos as u8, 0),
            };
            let before = newest.insert((publisher, &got.topic, stream), number);
            assert!(before < Some(number), "{}: {} after {before:?}", reader.name, got.payload);
        }
    }

    /// What comes at QoS 2 comes once, and at QoS 0 what was published at QoS 2.
    fn check_once(&self) {
        let posts = self.posts();
        let mut seen = BTreeSet::new();
        for client in self.clients {
            for got in &client.got {
                let may_repeat = match got.qos {
                    QoS::AtMostOnce => posts[&got.payload].qos < 2,
                    QoS::AtLeastOnce => true,
                    QoS::ExactlyOnce => false,
                };
                let is_first = seen.insert((client.owner(), got.qos as u8, &got.payload));
                assert!(may_repeat || is_first, "{}: {} twice", client.owner(), got.payload);
            }
        }
    }

    /// A QoS 2 message dies once for an owner, and a QoS 2 copy not after its owner got it and kept
    /// its session, but for one that it never answered. At QoS 1 a crash may forget that it was
    /// sent.
    fn check_letters(&self) {
        let mut seen = BTreeSet::new();
        let posts = self.posts();
        for letter in self.letters {
            let (owner, payload, reason) = name_letter(letter);
            let post = posts.get(&payload).expect("a letter of what was published");
            assert!(reason != DeadReason::Expired || post.expiry.is_some(), "{payload} expired");
            if post.qos == 2 {
                assert!(seen.insert((owner.clone(), payload.clone())), "{payload}: two letters");
            }
            let readers = self.clients.iter().filter(|client| reads_for(client, &owner));
            let mut got = readers.filter(|it| !it.began_anew).flat_map(|reader| &reader.got);
            let is_read = letter.qos == QoS::ExactlyOnce && got.any(|got| got.payload == payload);
            let is_unanswered = reason == DeadReason::DeliveryLimit;
            assert!(!is_read || is_unanswered, "{payload} for {owner}: read, and {reason:?}");
        }
    }
}

fn reads_for(client: &Client, owner: &str) -> bool {
    client.name == owner || client.owner() == owner
}

fn name_letter(letter: &DeadLetter) -> (String, String, DeadReason) {
    let payload = String::from_utf8_lossy(&letter.message.payload).into_owned();
    (letter.owner_name.to_string(), payload, letter.reason)
}
