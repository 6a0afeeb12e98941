//! The same PUBLISHes both ways: as bytes, and as the messages that are made of all others.

use std::collections::BTreeMap;

use super::*;
use crate::auth::Acl;
use crate::broker::example;
use crate::config::Settings;
use crate::mqtt::codec::{Decoder, Input};
use crate::mqtt::packet::{
    Connect, Packet, PacketId, Payload, Publish, RetainHandling, Subscribe, SubscriptionOptions,
};
use crate::mqtt::reply::EncodeContext;
use crate::turn::{ConnectionId, Event, Kind, Outgoing, Output};

const NOW: Timestamp = Timestamp(1);
const PUBLISHER: ConnectionId = ConnectionId { slot: 0, generation: 0 };
const FULL: ConnectionId = ConnectionId { slot: 2, generation: 0 };

/// Each has a peculiarity.
const CLIENTS: [(&str, Version, u16, Option<u32>); 10] = [
    ("publisher", Version::V5, 0, None),
    ("plain", Version::V5, 0, None),
    ("full", Version::V311, 0, None),
    ("old", Version::V311, 0, None),
    ("older", Version::V31, 0, None),
    ("aliases", Version::V5, 3, None),
    ("small", Version::V5, 0, Some(25)),
    ("no-rights", Version::V5, 0, None),
    ("another", Version::V5, 0, None),
    ("member", Version::V5, 0, None),
];

fn broker(turn: &mut Turn) -> Broker {
    let mut settings = Settings::default();
    settings.dead_letters.include_qos0 = true;
    let mut broker = Broker::new(settings, 1, NOW);
    let acl = Acl::parse("topic readwrite #\npattern deny a/%c/#").unwrap();
    broker.set_acl(Some(acl));
    for (slot, (client_id, version, aliases, size)) in (0..).zip(CLIENTS) {
        let connect = Connect {
            version,
            maximum_packet_size: size,
            topic_alias_maximum: aliases,
            ..example::connect(client_id)
        };
        let id = ConnectionId { slot, generation: 0 };
        broker.handle_connect(id, example::anonymous(), connect, NOW, turn);
        let filter = if client_id == "member" { "$share/g/#" } else { "#" };
        subscribe(&mut broker, id, filter, None, turn);
        if client_id == "another" {
            subscribe(&mut broker, id, "+/+", Some(7), turn);
        }
    }
    broker.handle_outbox(FULL, true, NOW, turn);
    broker
}

fn subscribe(
    broker: &mut Broker,
    id: ConnectionId,
    filter: &str,
    subscription_id: Option<u32>,
    turn: &mut Turn,
) {
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: id == PUBLISHER && !filter.starts_with('$'),
        retain_as_published: false,
        retain_handling: RetainHandling::DoNotSend,
    };
    let packet_id = PacketId::new(1).unwrap();
    let subscribe = Subscribe { packet_id, subscription_id, filters: vec![(filter, options)] };
    broker.handle_packet(id, &Packet::Subscribe(subscribe), NOW, turn);
}

/// What a client of `version` sends.
fn sent(version: Version, (topic, properties, payloads): Publishes<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for payload in payloads {
        let properties = if version == Version::V5 { properties } else { &[] };
        let publish = Packet::Publish(publish(topic, properties, payload));
        codec::client::encode(&publish, version, &mut bytes);
    }
    bytes
}

/// It as it is read.
fn run(bytes: &[u8], version: Version) -> Run<'_> {
    let mut decoder = Decoder::new(bytes, version, usize::MAX);
    let Ok(Some(Input::Run(run))) = decoder.next_input() else {
        panic!("no run");
    };
    assert!(decoder.rest().is_empty());
    run
}

fn publish<'a>(topic: &'a str, properties: &'a [u8], payload: &'a [u8]) -> Publish<'a> {
    Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        topic_alias: None,
        message_expiry: None,
        properties: properties.into(),
        payload: Payload::Borrowed(payload),
    }
}

/// What the clients get, as bytes, and how many bytes the core encoded for that.
fn told(turn: &mut Turn) -> (Vec<(ConnectionId, Vec<u8>)>, usize) {
    let encoded = turn.written.size();
    let (written, output) = turn.take_output();
    let told = output.map(|(until, Outgoing { connection, output })| {
        assert_eq!(until, None);
        let bytes = match output {
            Output::Written(piece) => {
                let is_v5 = version_of(connection) == Version::V5;
                let is_of_v5 = matches!(piece.kind(), Kind::Publish(Version::V5, _));
                assert_eq!(is_of_v5, is_v5);
                written.bytes(&piece).to_vec()
            }
            Output::Packet(reply) => {
                let context = EncodeContext { version: version_of(connection), now: NOW };
                let mut bytes = Vec::new();
                codec::encode(&reply, context, usize::MAX, &mut bytes);
                bytes
            }
            Output::Close => panic!("nobody is closed"),
        };
        (connection, bytes)
    });
    let told = told.collect();
    turn.written.clear();
    (told, encoded)
}

fn version_of(id: ConnectionId) -> Version {
    CLIENTS[id.slot as usize].1
}

/// What is remembered of all that was said.
fn counted(broker: &Broker) -> String {
    let links = broker.sessions.len();
    let owners = (1..=broker.last_owner).map(crate::turn::OwnerId);
    let sessions = owners.filter_map(|owner| broker.sessions.get(&owner));
    let links: Vec<_> = sessions.map(|session| (&session.link, links)).collect();
    format!("{links:?} {:?} {:?}", broker.counters(), broker.gauges(NOW))
}

/// Two brokers that were told the same, with their turns.
struct Both {
    passing: (Broker, Turn),
    making: (Broker, Turn),
    publisher: SessionId,
}

impl Both {
    fn new() -> Self {
        let (mut one, mut other) = (Turn::default(), Turn::default());
        let (mut passing, making) = (broker(&mut one), broker(&mut other));
        assert_eq!(told(&mut one), told(&mut other));
        let publisher = passing.sessions.of_connection(PUBLISHER).unwrap().id;
        Self { passing: (passing, one), making: (making, other), publisher }
    }

    fn publish(&mut self, run: &Run<'_>) {
        let publisher = self.publisher;
        let (broker, turn) = &mut self.passing;
        assert!(broker.may_pass_on(publisher, run));
        broker.pass_on(publisher, run, NOW, turn);
        broker.settle(NOW, turn);
        let (broker, turn) = &mut self.making;
        for publish in run.publishes() {
            let message = broker.copy_message(&publish, publish.topic.into(), NOW);
            broker.accept(&message, Some(publisher), RecordNumber::default(), NOW, turn);
            broker.settle(NOW, turn);
        }
    }
}

/// What each client gets in all.
fn by_connection(told: Vec<(ConnectionId, Vec<u8>)>) -> BTreeMap<ConnectionId, Vec<u8>> {
    let mut all = BTreeMap::<_, Vec<u8>>::new();
    for (connection, bytes) in told {
        all.entry(connection).or_default().extend(bytes);
    }
    all
}

/// Topic, properties and payloads of a run.
type Publishes<'a> = (&'a str, &'a [u8], &'a [&'a [u8]]);

const LONG: [u8; 300] = [b'x'; 300];
const USER_PROPERTY: [u8; 7] = [0x26, 0, 1, b'k', 0, 1, b'v'];
const RUNS: [Publishes<'_>; 8] = [
    ("a", &[], &[b""]),
    ("a/b", &[1, 1], &[b"payload"]),
    ("a/no-rights/b", &USER_PROPERTY, &[b"withheld from one"]),
    ("a/b", &[], &[&LONG]),
    ("a/b", &[], &[b"small enough"]),
    ("a/b", &[], &[b"all", b"are", b"small"]),
    ("a/no-rights/b", &[], &[b"a", b"larger", b"one", &LONG, b"is", b"among", b"them"]),
    ("b", &USER_PROPERTY, &[&LONG, &LONG]),
];
const PUBLISHERS: [Version; 3] = [Version::V5, Version::V311, Version::V31];

#[test]
fn everybody_gets_what_messages_would_be() {
    for version in PUBLISHERS {
        let mut both = Both::new();
        for publishes in RUNS {
            let bytes = sent(version, publishes);
            let run = run(&bytes, version);
            assert_eq!(run.count, publishes.2.len());
            both.publish(&run);
            let Both { passing: (passing, one), making: (making, other), .. } = &mut both;
            let ((passed, once), (made, for_each)) = (told(one), told(other));
            assert!(0 < once && once < for_each, "{once} of {for_each}");
            assert_eq!(counted(passing), counted(making));
            if run.count == 1 {
                assert_eq!(passed, made);
                assert_eq!(one.records, other.records);
                assert_eq!(one.events, other.events);
            }
            assert_eq!(by_connection(passed), by_connection(made), "{publishes:?}");
            assert_eq!(one.records.len(), other.records.len());
            assert_eq!(one.events.len(), other.events.len());
        }
    }
}

#[test]
fn everybody_gets_a_batch_in_its_order() {
    let mut both = Both::new();
    for version in PUBLISHERS {
        for publishes in RUNS {
            both.publish(&run(&sent(version, publishes), version));
        }
    }
    let [passed, made] = [&mut both.passing.1, &mut both.making.1].map(|turn| told(turn).0);
    assert_eq!(by_connection(passed), by_connection(made));
}

#[test]
fn what_may_not_be_passed_on_is_refused_or_a_message() {
    let mut turn = Turn::default();
    let mut broker = broker(&mut turn);
    told(&mut turn);
    let publisher = broker.sessions.of_connection(PUBLISHER).unwrap().id;
    let deep = "/".repeat(broker.settings.limits.topic_levels);
    let mut send = |broker: &mut Broker, topic| {
        let bytes = sent(Version::V5, (topic, &[], &[b"x", b"y"]));
        let run = run(&bytes, Version::V5);
        let is_passed_on = broker.may_pass_on(publisher, &run);
        turn.events.clear();
        broker.handle_run(PUBLISHER, &run, NOW, &mut turn);
        let is_refused = |event: &&Event| matches!(event, Event::PublishRefused { .. });
        (is_passed_on, turn.events.iter().filter(is_refused).count())
    };
    assert_eq!(send(&mut broker, "a"), (true, 0));
    assert_eq!(send(&mut broker, "$SYS/x"), (false, 2));
    assert_eq!(send(&mut broker, "a/publisher/x"), (false, 2));
    broker.settings.limits.message_expiry = Some(1);
    assert_eq!(send(&mut broker, "a"), (false, 0), "all expire");
    broker.settings.limits.message_expiry = None;
    let received = broker.counters().messages_received;
    assert_eq!(received, 8);
    assert_eq!(send(&mut broker, &deep), (false, 0));
    assert!(broker.sessions.of_connection(PUBLISHER).is_none(), "closed at the first of two");
    assert_eq!(broker.counters().messages_received, received + 1);
}
