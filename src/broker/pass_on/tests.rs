//! The same PUBLISH both ways: as bytes, and as the message that is made of every other one.

use std::collections::BTreeMap;

use super::*;
use crate::auth::Acl;
use crate::broker::example;
use crate::config::Settings;
use crate::mqtt::packet::{
    Connect, Packet, PacketId, Payload, RetainHandling, Subscribe, SubscriptionOptions,
};
use crate::mqtt::reply::EncodeContext;
use crate::turn::{ConnectionId, Kind, Outgoing, Output};

const NOW: Timestamp = Timestamp(1);
const PUBLISHER: ConnectionId = ConnectionId { slot: 0, generation: 0 };
const FULL: ConnectionId = ConnectionId { slot: 2, generation: 0 };

/// Each has a peculiarity.
const CLIENTS: [(&str, Version, u16, Option<u32>); 9] = [
    ("publisher", Version::V5, 0, None),
    ("plain", Version::V5, 0, None),
    ("full", Version::V311, 0, None),
    ("old", Version::V311, 0, None),
    ("older", Version::V31, 0, None),
    ("aliases", Version::V5, 3, None),
    ("small", Version::V5, 0, Some(25)),
    ("no-rights", Version::V5, 0, None),
    ("another", Version::V5, 0, None),
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
        subscribe(&mut broker, id, "#", None, turn);
        match client_id {
            "another" => subscribe(&mut broker, id, "+/+", Some(7), turn),
            "plain" => subscribe(&mut broker, id, "$share/g/#", None, turn),
            _ => {}
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

    fn publish(&mut self, publish: &Publish<'_>) {
        let publisher = self.publisher;
        let (broker, turn) = &mut self.passing;
        assert!(broker.may_pass_on(publisher, publish));
        broker.pass_on(publisher, publish, NOW, turn);
        broker.settle(NOW, turn);
        let (broker, turn) = &mut self.making;
        let message = broker.copy_message(publish, publish.topic.into(), NOW);
        broker.accept(&message, Some(publisher), RecordNumber::default(), NOW, turn);
        broker.settle(NOW, turn);
    }
}

const LONG: [u8; 300] = [b'x'; 300];
const USER_PROPERTY: [u8; 7] = [0x26, 0, 1, b'k', 0, 1, b'v'];
const PUBLISHES: [(&str, &[u8], &[u8]); 6] = [
    ("a", &[], b""),
    ("a/b", &[1, 1], b"payload"),
    ("a/no-rights/b", &USER_PROPERTY, b"withheld from one"),
    ("a/b", &[], &LONG),
    ("a/b", &[], b"small enough"),
    ("b", &USER_PROPERTY, &LONG),
];

#[test]
fn everybody_gets_what_a_message_would_be() {
    let mut both = Both::new();
    for (topic, properties, payload) in PUBLISHES {
        both.publish(&publish(topic, properties, payload));
        let Both { passing: (passing, one), making: (making, other), .. } = &mut both;
        let ((passed, once), (made, for_each)) = (told(one), told(other));
        assert_eq!(passed, made);
        assert!(0 < once && once < for_each, "{once} of {for_each}");
        assert_eq!(one.records, other.records);
        assert_eq!(one.events, other.events);
        assert_eq!(counted(passing), counted(making));
    }
}

#[test]
fn everybody_gets_a_batch_in_its_order() {
    let mut both = Both::new();
    for (topic, properties, payload) in PUBLISHES {
        both.publish(&publish(topic, properties, payload));
    }
    let by_connection = |turn: &mut Turn| {
        let mut all = BTreeMap::<_, Vec<u8>>::new();
        for (connection, bytes) in told(turn).0 {
            all.entry(connection).or_default().extend(bytes);
        }
        all
    };
    assert_eq!(by_connection(&mut both.passing.1), by_connection(&mut both.making.1));
}

#[test]
fn what_stays_is_a_message() {
    let (mut turn, large) = (Turn::default(), [0; SIZE_MAX]);
    let mut broker = broker(&mut turn);
    let publisher = broker.sessions.of_connection(PUBLISHER).unwrap().id;
    let plain = publish("a", &[], b"x");
    assert!(broker.may_pass_on(publisher, &plain));
    let deep = "/".repeat(broker.settings.limits.topic_levels);
    for publish in [
        Publish { retain: true, ..plain.clone() },
        Publish { qos: QoS::AtLeastOnce, packet_id: PacketId::new(1), ..plain.clone() },
        Publish { message_expiry: Some(1), ..plain.clone() },
        Publish { topic_alias: std::num::NonZeroU16::new(1), ..plain.clone() },
        Publish { payload: Payload::Borrowed(&large), ..plain.clone() },
        Publish { topic: &deep, ..plain.clone() },
        Publish { topic: "$SYS/x", ..plain.clone() },
        Publish { topic: "a/publisher/x", ..plain.clone() },
    ] {
        assert!(!broker.may_pass_on(publisher, &publish), "{publish:?}");
    }
    broker.settings.limits.message_expiry = Some(1);
    assert!(!broker.may_pass_on(publisher, &plain), "all expire");
}
