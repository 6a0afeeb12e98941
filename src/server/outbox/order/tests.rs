use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::mqtt::reply::{Ack, ConnAck, Delivery, Disconnect, TopicAlias};
use crate::mqtt::{Message, PacketId, ReasonCode, Version};
use crate::time::Timestamp;
use crate::turn::Encoded;

fn publish(qos: QoS, alias: bool) -> Output {
    let message = Message {
        topic: "t".into(),
        properties: Default::default(),
        payload: Bytes::new(),
        qos,
        retain: false,
        received: Timestamp(0),
        expiry: None,
        past: None,
    };
    Output::from(Delivery {
        message: Arc::new(message),
        qos,
        packet_id: (qos != QoS::AtMostOnce).then(|| PacketId::new(1).unwrap()),
        dup: false,
        retain: false,
        subscription_ids: None,
        topic_alias: alias.then_some(TopicAlias::Define(1)),
    })
}

/// A PUBLISH that the core encoded.
fn written(qos: QoS) -> Output {
    Output::Written(Encoded::default().publish(Version::V5, qos, |_| ()))
}

/// Output by its name in the tables; with a prime it is encoded already.
fn output(name: &str) -> Output {
    let ack = || Ack {
        packet_id: PacketId::new(1).unwrap(),
        reason: ReasonCode::SUCCESS,
        reason_string: None,
    };
    match name {
        "connack" => Output::Packet(Reply::ConnAck(Box::new(ConnAck {
            session_present: false,
            reason: ReasonCode::SUCCESS,
            session_expiry: None,
            receive_maximum: None,
            maximum_packet_size: None,
            assigned_client_id: None,
            maximum_qos: None,
            retain_available: true,
            wildcard_subscriptions: true,
            subscription_identifiers: true,
            shared_subscriptions: true,
            topic_alias_maximum: 0,
            server_keep_alive: None,
            reason_string: None,
        }))),
        "puback" => Output::Packet(Reply::PubAck(ack())),
        "pubrel" => Output::Packet(Reply::PubRel(ack())),
        "pingresp" => Output::Packet(Reply::PingResp),
        "disconnect" => Output::Packet(Reply::Disconnect(Disconnect {
            reason: ReasonCode::SUCCESS,
            reason_string: None,
        })),
        "close" => Output::Close,
        "qos0" => publish(QoS::AtMostOnce, false),
        "qos1" => publish(QoS::AtLeastOnce, false),
        "qos2" => publish(QoS::ExactlyOnce, false),
        "qos0+alias" => publish(QoS::AtMostOnce, true),
        "qos1+alias" => publish(QoS::AtLeastOnce, true),
        "qos0'" => written(QoS::AtMostOnce),
        "qos1'" => written(QoS::AtLeastOnce),
        "qos2'" => written(QoS::ExactlyOnce),
        "ack'" => Output::Written(Encoded::default().ack([0x40, 2, 0, 1])),
        _ => panic!("no output is named {name}"),
    }
}

#[test]
fn what_may_pass_what_is_held() {
    let table = "
        held       | passes                                          | waits
                   | connack puback pubrel qos0 qos1 qos2 pingresp close |
                   | qos0' qos1' qos2' ack'                          |
        connack    |                                                 | qos0 pingresp disconnect
        connack    |                                                 | close qos0' qos1' qos2' ack'
        puback     | qos0 qos1 pingresp disconnect close qos1+alias  | puback pubrel qos2
        puback     | qos0' qos1'                                     | qos2' ack'
        pubrel     | qos0 qos1 pingresp disconnect close             | puback pubrel qos2
        qos2       | qos0 pingresp disconnect close qos0+alias qos0' | qos1 qos2 puback pubrel qos1'
        qos1       | qos0 pingresp disconnect close qos0'            | qos1 qos1+alias puback qos1'
        qos1+alias | qos0 pingresp disconnect close qos0'            | qos0+alias qos1 qos1+alias
    ";
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()).skip(1) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [held, passes, waits] = columns[..] else {
            panic!("three columns: {line}");
        };
        let mut order = Order::default();
        if !held.is_empty() {
            order.hold(RecordNumber(1), output(held));
        }
        for (names, expected) in [(passes, true), (waits, false)] {
            for name in names.split_whitespace() {
                let passes = order.may_pass(&output(name));
                assert_eq!(passes, expected, "{name} behind {held}");
            }
        }
    }
}

#[test]
fn leaves_from_the_front_as_far_as_the_disk_is() {
    let waiting = |name| Some(Waiting::Output(output(name)));
    let mut order = Order::default();
    order.hold(RecordNumber(5), output("puback"));
    order.hold(RecordNumber(0), output("qos2"));
    order.hold_acks(RecordNumber(6), &[0x40, 2, 0, 1]);
    order.hold(RecordNumber(7), output("pubrel"));
    assert_eq!(order.pop(RecordNumber(4)), None);
    assert_eq!(order.pop(RecordNumber(5)), waiting("puback"));
    assert_eq!(order.pop(RecordNumber(5)), waiting("qos2"));
    assert_eq!(order.pop(RecordNumber(5)), None);
    assert_eq!(order.pop(RecordNumber(6)), Some(Waiting::Acks(vec![0x40, 2, 0, 1])));
    assert!(!order.is_empty());
    assert_eq!(order.pop(RecordNumber(9)), waiting("pubrel"));
    assert!(order.is_empty());
    assert_eq!(order.pop(RecordNumber(9)), None);
}

#[test]
fn what_left_stands_in_nobodys_way() {
    let mut order = Order::default();
    for name in ["connack", "qos1+alias", "puback"] {
        order.hold(RecordNumber(1), output(name));
    }
    order.pop(RecordNumber(1)).unwrap();
    assert!(!order.may_pass(&output("qos0+alias")));
    order.pop(RecordNumber(1)).unwrap();
    assert!(order.may_pass(&output("qos0+alias")));
    assert!(order.may_pass(&output("qos1")));
    assert!(!order.may_pass(&output("puback")));
    order.clear();
    assert!(order.may_pass(&output("puback")));
}

#[test]
fn qos_0_keeps_its_order_when_the_connack_leaves_first() {
    for name in ["qos0", "qos0'"] {
        let mut order = Order::default();
        order.hold(RecordNumber(1), output("connack"));
        order.hold(RecordNumber(2), output("qos2"));
        assert!(!order.may_pass(&output(name)));
        order.hold(RecordNumber::default(), output("qos0"));
        order.pop(RecordNumber(1)).unwrap();
        assert_eq!(order.pop(RecordNumber(1)), None);
        assert!(!order.may_pass(&output(name)), "one from before waits");
        order.pop(RecordNumber(2)).unwrap();
        order.hold(RecordNumber(3), output("qos2"));
        order.pop(RecordNumber(2)).unwrap();
        assert!(order.may_pass(&output(name)), "it left");
    }
}

#[test]
fn qos_0_passes_what_waits_for_its_own_record() {
    let mut order = Order::default();
    order.hold(RecordNumber(1), output("qos0"));
    order.hold(RecordNumber::default(), output("qos1"));
    assert!(order.may_pass(&output("qos0'")));
    assert!(!order.may_pass(&output("qos1'")));
}
