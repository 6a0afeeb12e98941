//! PUBLISH to clients: QoS, DUP, RETAIN, identifiers, one copy for overlapping filters, resending.

use std::num::NonZeroU16;

use kedgemq::mqtt::packet::SubscriptionOptions;

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

#[test]
fn mqtt_3_8_4_8_the_lower_qos_of_message_and_subscription_counts() {
    for (granted, expected) in [(0, [0, 0, 0]), (1, [0, 1, 1]), (2, [0, 1, 2])] {
        let mut rig = Rig::new();
        let watcher = rig.connect(v5("w"));
        rig.subscribe(watcher, "a", granted);
        let sender = rig.connect(v4("p"));
        rig.publish(sender, q0("a", "x"));
        rig.publish(sender, q1(1, "a", "x"));
        rig.publish(sender, q2(2, "a", "x"));
        let got = rig.deliveries(watcher);
        assert_eq!(got.iter().map(|d| d.qos as u8).collect::<Vec<_>>(), expected);
        assert!(got.iter().all(|d| d.packet_id.is_some() == (d.qos as u8 > 0)));
        assert!(got.iter().all(|d| !d.dup), "[MQTT-3.3.1-2], [MQTT-4.3.2-2], [MQTT-4.3.3-2]");
    }
}

#[test]
fn mqtt_2_2_1_4_identifiers_in_use_differ() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v5("p"));
    for n in 1..=40 {
        rig.publish(sender, q1(n, "a", "x"));
        rig.publish(sender, q2(n + 100, "a", "x"));
    }
    let mut ids: Vec<_> = rig.deliveries(watcher).iter().map(|d| d.packet_id).collect();
    assert_eq!(ids.len(), 80);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 80);
}

#[test]
fn mqtt_2_2_1_4_an_identifier_that_is_still_in_use_is_passed_over() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "sits"));
    let taken = rig.packet_id(watcher);
    for _ in 0..65_536 {
        rig.publish(sender, q1(1, "a", "x"));
        let id = rig.packet_id(watcher);
        assert_ne!(id, taken);
        rig.send(watcher, puback(id));
        rig.lines(sender);
    }
}

#[test]
fn mqtt_3_3_1_12_without_retain_as_published_retain_is_0() {
    for connect in [v4("w"), v5("w")] {
        let mut rig = Rig::new();
        let watcher = rig.connect(connect);
        rig.subscribe(watcher, "a", 1);
        rig.publish(watcher, keep(1, "a", "x"));
        assert!(!rig.deliveries(watcher)[0].retain);
    }
}

#[test]
fn mqtt_3_3_1_13_retain_as_published_keeps_the_flag() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    let as_published = SubscriptionOptions { retain_as_published: true, ..options(0) };
    rig.subscribe_with(watcher, "a", as_published, None);
    rig.publish(watcher, retained(q0("a", "x")));
    rig.publish(watcher, q0("a", "y"));
    assert_eq!(rig.lines(watcher), ["PUBLISH a x q0 retain", "PUBLISH a y q0"]);
}

#[test]
fn retain_as_published_is_kept_through_the_queue() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    let as_published = SubscriptionOptions { retain_as_published: true, ..options(1) };
    rig.subscribe_with(watcher, "a", as_published, None);
    rig.cut(watcher);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, keep(1, "a", "x"));
    rig.crash();
    let watcher = rig.connect(v5("w").stored());
    assert_eq!(rig.lines(watcher), ["PUBLISH a x q1 retain"]);
}

#[test]
fn mqtt_3_3_4_2_overlapping_filters_give_one_copy_with_the_highest_qos() {
    for connect in [v4("w"), v5("w"), v5("w").stored()] {
        let mut rig = Rig::new();
        let watcher = rig.connect(connect);
        rig.subscribe(watcher, "a/#", 0);
        rig.subscribe(watcher, "a/+", 2);
        rig.subscribe(watcher, "a/b", 1);
        let sender = rig.connect(v5("p"));
        rig.publish(sender, q2(1, "a/b", "x"));
        assert_eq!(rig.lines(watcher), ["PUBLISH a/b x q2"]);
    }
}

#[test]
fn mqtt_3_3_4_4_one_copy_has_all_subscription_identifiers() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe_with(watcher, "a/#", options(0), Some(3));
    rig.subscribe_with(watcher, "a/+", options(1), None);
    rig.subscribe_with(watcher, "a/b", options(1), Some(268_435_455));
    rig.publish(watcher, q1(1, "a/b", "x"));
    let ids = rig.deliveries(watcher)[0].subscription_ids.clone().expect("two");
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    assert_eq!(ids, [3, 268_435_455]);
}

#[test]
fn subscription_identifiers_survive_queue_and_crash() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe_with(watcher, "a", options(1), Some(7));
    rig.cut(watcher);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    rig.crash();
    let watcher = rig.connect(v5("w").stored());
    let first = rig.deliveries(watcher);
    assert_eq!(first[0].subscription_ids.as_deref(), Some(&[7][..]));
    rig.publish(watcher, q0("a", "y"));
    let second = rig.deliveries(watcher);
    assert_eq!(second[0].subscription_ids.as_deref(), Some(&[7][..]));
}

#[test]
fn mqtt_3_3_2_3_only_what_matches_is_sent() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a/+/c", 0);
    for topic in ["a/b/c", "a//c", "a/c", "a/b/c/d", "b/b/c", "a/b/d"] {
        rig.publish(watcher, q0(topic, "x"));
    }
    assert_eq!(rig.lines(watcher), ["PUBLISH a/b/c x q0", "PUBLISH a//c x q0"]);
}

#[test]
fn mqtt_4_4_0_1_a_resume_sends_again_in_order_with_dup_and_the_same_identifiers() {
    for connect in [v4("w").stored(), v5("w").stored()] {
        let mut rig = Rig::new();
        let watcher = rig.connect(connect.clone());
        rig.subscribe(watcher, "#", 2);
        let sender = rig.connect(v5("p"));
        rig.publish(sender, q1(1, "a", "1"));
        rig.publish(sender, q2(2, "b", "2"));
        rig.publish(sender, q1(3, "c", "3"));
        let before = rig.deliveries(watcher);
        rig.cut(watcher);
        let watcher = rig.connect(connect);
        let after = rig.deliveries(watcher);
        assert_eq!(after.len(), 3);
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before.packet_id, after.packet_id);
            assert_eq!(before.message.payload, after.message.payload);
            assert_eq!(before.qos, after.qos);
            assert!(!before.dup && after.dup, "[MQTT-3.3.1-1]");
        }
    }
}

#[test]
fn what_was_never_sent_follows_what_is_sent_again_and_has_no_dup() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "1"));
    rig.cut(watcher);
    rig.publish(sender, q1(2, "a", "2"));
    let watcher = rig.connect(v5("w").stored());
    assert_eq!(rig.lines(watcher), ["PUBLISH a 1 q1 dup", "PUBLISH a 2 q1"]);
}

#[test]
fn mqtt_4_4_0_1_nothing_is_sent_again_on_the_same_connection() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 2);
    rig.publish(watcher, q1(1, "a", "1"));
    rig.publish(watcher, q2(2, "a", "2"));
    rig.lines(watcher);
    rig.wait(100_000);
    assert_eq!(rig.lines(watcher), NOTHING);
}

#[test]
fn mqtt_4_3_2_3_what_is_acknowledged_is_not_sent_again() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "1"));
    let id = rig.packet_id(watcher);
    rig.send(watcher, puback(id));
    rig.cut(watcher);
    let watcher = rig.open(v5("w").stored());
    assert_eq!(rig.lines(watcher), ["CONNACK 00 present"]);
}

#[test]
fn acknowledgements_may_come_in_any_order() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 1);
    let sender = rig.connect(v5("p"));
    for (n, payload) in [(1, "1"), (2, "2"), (3, "3")] {
        rig.publish(sender, q1(n, "a", payload));
    }
    let sent = rig.deliveries(watcher);
    rig.send(watcher, puback(sent[1].packet_id.expect("QoS 1").get()));
    rig.cut(watcher);
    let watcher = rig.connect(v5("w").stored());
    assert_eq!(rig.lines(watcher), ["PUBLISH a 1 q1 dup", "PUBLISH a 3 q1 dup"]);
}

#[test]
fn mqtt_4_4_0_2_a_refused_publish_is_not_sent_again() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "1"));
    let first = rig.packet_id(watcher);
    rig.publish(sender, q2(2, "a", "2"));
    let second = rig.packet_id(watcher);
    let reason = kedgemq::mqtt::ReasonCode(0x83);
    rig.send(watcher, kedgemq::mqtt::Packet::PubAck(refusal(first, reason)));
    rig.send(watcher, kedgemq::mqtt::Packet::PubRec(refusal(second, reason)));
    rig.cut(watcher);
    let watcher = rig.open(v5("w").stored());
    assert_eq!(rig.lines(watcher), ["CONNACK 00 present"]);
}

#[test]
fn mqtt_3_1_2_24_nothing_larger_than_maximum_packet_size_is_sent() {
    // [MQTT-3.1.2-25]: it is discarded as if it had been sent.
    let mut rig = Rig::new();
    let watcher = rig.connect(ConnectOptions { maximum_packet_size: Some(100), ..v5("w") });
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v5("p"));
    let big = "x".repeat(200);
    rig.publish(sender, q0("a", &big));
    rig.publish(sender, q1(1, "a", &big));
    rig.publish(sender, q2(2, "a", &big));
    rig.publish(sender, q1(3, "a", "small"));
    assert_eq!(rig.lines(watcher), ["PUBLISH a small q1"]);
    assert!(!rig.is_closed(watcher));
}

#[test]
fn a_packet_of_exactly_maximum_packet_size_is_sent() {
    // Fixed header 2, topic 3, identifier 2, property length 1, payload 92.
    let mut rig = Rig::new();
    let watcher = rig.connect(ConnectOptions { maximum_packet_size: Some(100), ..v5("w") });
    rig.subscribe(watcher, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", &"x".repeat(92)));
    rig.publish(sender, q1(2, "a", &"y".repeat(93)));
    let got = rig.deliveries(watcher);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].message.payload.len(), 92);
}

#[test]
fn a_publisher_that_subscribes_gets_its_own_messages() {
    let mut rig = Rig::new();
    for connect in [v4("c"), v5("d")] {
        let client = rig.connect(connect);
        rig.subscribe(client, "a", 0);
        rig.publish(client, q0("a", "x"));
        assert_eq!(rig.deliveries(client).len(), 1);
        rig.disconnect(client);
    }
}

#[test]
fn v311_clients_get_no_topic_alias() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v4("w"));
    rig.subscribe(watcher, "a", 0);
    let sender = rig.connect(v5("p"));
    for _ in 0..3 {
        rig.publish(sender, aliased(NonZeroU16::MIN.get(), q0("a", "x")));
    }
    let got = rig.deliveries(watcher);
    assert_eq!(got.len(), 3);
    assert!(got.iter().all(|d| d.topic_alias.is_none() && &*d.message.topic == "a"));
}
