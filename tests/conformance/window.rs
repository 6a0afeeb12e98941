//! Receive Maximum, both ways: what restores a place and what does not, what goes on without one,
//! and what a reconnect does to it. Packet Identifiers over a whole round of them.

use std::collections::BTreeSet;

use kedgemq::mqtt::reply::Delivery;
use kedgemq::mqtt::{Packet, QoS, ReasonCode, Reply};
use kedgemq::turn::ConnectionId;

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

const ERROR: ReasonCode = ReasonCode(0x80);

fn packet_id(delivery: &Delivery) -> u16 {
    delivery.packet_id.expect("QoS > 0").get()
}

/// Publishes `count` messages to `a`, of QoS 1 and 2 in turn; the payloads count from 0.
fn publish_mixed(rig: &mut Rig, count: u16) {
    let sender = rig.connect(v5("p"));
    for n in 0..count {
        let payload = n.to_string();
        match n % 2 {
            0 => rig.publish(sender, q1(1, "a", &payload)),
            _ => {
                rig.publish(sender, q2(1, "a", &payload));
                rig.send(sender, pubrel(1));
            }
        }
    }
}

/// The payloads, in their order.
fn payloads(deliveries: &[Delivery]) -> Vec<String> {
    let text = |delivery: &Delivery| String::from_utf8_lossy(&delivery.message.payload).into();
    deliveries.iter().map(text).collect()
}

#[test]
fn mqtt_4_9_0_1_each_ending_restores_one_place_and_nothing_else_does() {
    // [MQTT-4.9.0-2], section 4.9
    for connect in [v4("w"), v5("w"), v4("w").stored(), v5("w").stored()] {
        let mut rig = Rig::with(|settings| settings.limits.in_flight = 4);
        let watcher = rig.connect(connect);
        rig.subscribe(watcher, "a", 2);
        publish_mixed(&mut rig, 20);
        let ids: Vec<u16> = rig.deliveries(watcher).iter().map(packet_id).collect();
        let [one, two, three, four] = ids[..] else { panic!("four places: {ids:?}") };
        let never = four + 1000;
        let steps = [
            (puback(never), 0),
            (pubrec(two), 0),
            (pubrec(two), 0),
            (puback(one), 1),
            (puback(one), 0),
            (pubcomp(two), 1),
            (pubcomp(two), 0),
            (puback(three), 1),
            (Packet::PubRec(refusal(four, ERROR)), 1),
            (Packet::PubRec(refusal(four, ERROR)), 0),
            (pubcomp(four), 0),
            (pubrec(never), 0),
            (pubcomp(never), 0),
        ];
        for (packet, freed) in steps {
            let step = format!("{packet:?}");
            rig.send(watcher, packet);
            assert!(!rig.is_closed(watcher), "{step}");
            assert_eq!(rig.deliveries(watcher).len(), freed, "{step}");
        }
    }
}

#[test]
fn a_refusing_puback_restores_a_place() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").window(1));
    rig.subscribe(watcher, "a", 1);
    publish_mixed(&mut rig, 3);
    let id = rig.packet_id(watcher);
    rig.send(watcher, Packet::PubAck(refusal(id, ERROR)));
    assert_eq!(rig.lines(watcher), ["PUBLISH a 1 q1"]);
}

#[test]
fn mqtt_3_3_4_10_without_a_place_all_else_is_answered() {
    // [MQTT-4.9.0-3]
    for connect in [v4("w"), v5("w"), v5("w").stored()] {
        let mut rig = Rig::with(|settings| settings.limits.in_flight = 1);
        let watcher = rig.connect(connect);
        rig.subscribe(watcher, "a", 2);
        let sender = rig.connect(v5("p"));
        rig.publish(sender, keep(1, "kept", "waits"));
        rig.publish(sender, q2(2, "a", "x"));
        let id = rig.packet_id(watcher);
        rig.send(watcher, Packet::PingReq);
        assert_eq!(rig.lines(watcher), ["PINGRESP"]);
        rig.send(watcher, subscribe(7, &[("kept", options(1)), ("b", options(0))]));
        assert_eq!(rig.lines(watcher), ["SUBACK 7 01 00"]);
        rig.publish(watcher, q2(9, "b", "mine"));
        rig.send(watcher, pubrel(9));
        let lines = rig.lines(watcher);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines.contains(&"PUBLISH b mine q0".to_owned()), "{lines:?}");
        rig.send(watcher, unsubscribe(8, &["b"]));
        assert!(rig.lines(watcher)[0].starts_with("UNSUBACK 8"));
        rig.send(watcher, pubrec(id));
        assert_eq!(rig.lines(watcher), ["PUBREL"]);
        rig.send(watcher, pubcomp(id));
        assert_eq!(rig.lines(watcher), ["PUBLISH kept waits q1 retain"]);
    }
}

/// Reads and answers until nothing comes; the connection is cut behind each answer. What came
/// first, by payload.
fn read_with_cuts(rig: &mut Rig, connect: &ConnectOptions, window: usize) -> Vec<String> {
    let mut got = Vec::new();
    let mut taken = BTreeSet::new();
    loop {
        let watcher = rig.connect(connect.clone());
        let received = rig.received(watcher);
        assert!(received.len() <= window, "[MQTT-3.3.4-9] {received:?}");
        let Some(first) = received.into_iter().next() else {
            return got;
        };
        match first {
            Reply::Publish(delivery) => {
                let id = packet_id(&delivery);
                let is_new = delivery.qos == QoS::AtLeastOnce || taken.insert(id);
                assert!(is_new, "PUBREC is known over a reconnect [MQTT-4.3.3-6]");
                got.extend(payloads(std::slice::from_ref(&delivery)));
                let is_one = delivery.qos == QoS::AtLeastOnce;
                rig.send(watcher, if is_one { puback(id) } else { pubrec(id) });
            }
            Reply::PubRel(ack) => {
                assert!(taken.remove(&ack.packet_id.get()), "PUBREL of what was taken");
                rig.send(watcher, pubcomp(ack.packet_id.get()));
            }
            other => panic!("{other:?}"),
        }
        rig.cut(watcher);
    }
}

#[test]
fn a_full_window_stalls_nothing_over_any_number_of_reconnects() {
    for connect in [v4("w").stored(), v5("w").stored()] {
        for window in [1, 2, 5] {
            let mut rig = Rig::with(|settings| {
                settings.limits.in_flight = window;
                settings.limits.max_deliveries = 0;
            });
            let watcher = rig.connect(connect.clone());
            rig.subscribe(watcher, "a", 2);
            publish_mixed(&mut rig, 20);
            rig.cut(watcher);
            let got = read_with_cuts(&mut rig, &connect, usize::from(window));
            let all: Vec<String> = (0..20).map(|n| n.to_string()).collect();
            assert_eq!(got, all, "window {window}");
            assert!(rig.dead().is_empty() && rig.store.copies.is_empty());
        }
    }
}

#[test]
fn a_wider_window_is_used_at_once_and_a_narrower_one_kept() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored().window(2));
    rig.subscribe(watcher, "a", 2);
    publish_mixed(&mut rig, 12);
    assert_eq!(rig.deliveries(watcher).len(), 2);
    rig.cut(watcher);
    let watcher = rig.connect(v5("w").stored().window(9));
    let got = rig.deliveries(watcher);
    assert_eq!(payloads(&got), (0..9).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(got.iter().filter(|delivery| delivery.dup).count(), 2);
    rig.cut(watcher);
    let watcher = rig.connect(v5("w").stored().window(1));
    let got = rig.deliveries(watcher);
    assert_eq!((payloads(&got), got[0].dup), (vec!["0".to_owned()], true));
}

/// Ends the QoS 1 or 2 message that came last; gives its Packet Identifier.
fn take_one(rig: &mut Rig, watcher: ConnectionId) -> u16 {
    let deliveries = rig.deliveries(watcher);
    assert_eq!(deliveries.len(), 1, "{deliveries:?}");
    let id = packet_id(&deliveries[0]);
    if deliveries[0].qos == QoS::AtLeastOnce {
        rig.send(watcher, puback(id));
    } else {
        rig.send(watcher, pubrec(id));
        rig.lines(watcher);
        rig.send(watcher, pubcomp(id));
    }
    id
}

#[test]
fn mqtt_2_2_1_4_70_000_messages_pass_over_the_identifiers_that_are_open() {
    let mut rig = Rig::new();
    let mut watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 2);
    let mut sender = rig.connect(v5("p"));
    let mut open = BTreeSet::new();
    // One at each stage: sent at QoS 1, sent at QoS 2, PUBREL owed its PUBCOMP.
    for publish in [q1(1, "a", "sits"), q2(2, "a", "sits"), q2(3, "a", "sits")] {
        rig.publish(sender, publish);
        open.insert(rig.packet_id(watcher));
    }
    let mut last = *open.last().expect("three");
    rig.send(watcher, pubrec(last));
    rig.lines(watcher);
    let mut rounds = 0;
    for n in 0..70_000 {
        if n == 30_000 {
            rig.crash();
            watcher = rig.connect(v5("w").stored());
            let again = ["PUBLISH a sits q1 dup", "PUBLISH a sits q2 dup", "PUBREL"];
            assert_eq!(rig.lines(watcher), again);
            sender = rig.connect(v5("p"));
        }
        if n % 2 == 0 {
            rig.publish(sender, q1(9, "a", "x"));
        } else {
            rig.publish(sender, q2(9, "a", "x"));
            rig.send(sender, pubrel(9));
        }
        rig.lines(sender);
        let id = take_one(&mut rig, watcher);
        assert!(!open.contains(&id), "{id} is open");
        rounds += u32::from(id < last);
        last = id;
    }
    assert_eq!(rounds, 1, "once past 65,535");
    assert!(!rig.is_closed(watcher));
}

#[test]
fn our_receive_maximum_counts_what_is_open_and_nothing_else() {
    // [MQTT-3.3.4-7], section 4.9
    let mut rig = Rig::with(|settings| settings.limits.receive_maximum = 2);
    let sender = rig.connect(v5("p"));
    // A refusing PUBREC ends its message: nobody may publish to $SYS.
    for n in 1..=5 {
        rig.publish(sender, q2(n, "$SYS/x", "x"));
        rig.publish(sender, q1(n, "$SYS/x", "x"));
    }
    rig.publish(sender, q2(1, "a", "x"));
    rig.publish(sender, q2(2, "a", "x"));
    // PUBREL frees one place, once; one for nothing frees none.
    rig.send(sender, pubrel(1));
    rig.send(sender, pubrel(1));
    rig.send(sender, pubrel(7));
    rig.lines(sender);
    rig.publish(sender, q1(3, "a", "x"));
    rig.publish(sender, q2(4, "a", "x"));
    assert_eq!(rig.lines(sender), ["PUBACK 3 10", "PUBREC 4 10"]);
    rig.publish(sender, q0("a", "x"));
    rig.send(sender, Packet::PingReq);
    assert_eq!(rig.lines(sender), ["PINGRESP"]);
    rig.publish(sender, q1(5, "a", "x"));
    assert_eq!(rig.lines(sender), ["DISCONNECT 93", "CLOSE"]);
}

#[test]
fn a_v311_publisher_has_no_receive_maximum() {
    let mut rig = Rig::with(|settings| settings.limits.receive_maximum = 2);
    let sender = rig.connect(v4("p"));
    for n in 1..=50 {
        rig.publish(sender, q2(n, "a", "x"));
    }
    assert_eq!(rig.lines(sender).len(), 50);
    assert!(!rig.is_closed(sender));
}

/// What came of one topic and QoS, once each.
fn firsts(got: &[Delivery], topic: &str, level: u8) -> Vec<String> {
    let mine = |delivery: &&Delivery| {
        &*delivery.message.topic == topic && delivery.qos == qos(level) && !delivery.dup
    };
    payloads(&got.iter().filter(mine).cloned().collect::<Vec<_>>())
}

#[test]
fn mqtt_4_6_0_5_order_holds_for_each_topic_and_qos_also_behind_a_resume() {
    for connect in [v4("w").stored(), v5("w").stored()] {
        let mut rig = Rig::with(|settings| settings.limits.in_flight = 7);
        let mut watcher = rig.connect(connect.clone());
        rig.subscribe(watcher, "#", 2);
        let sender = rig.connect(v5("p"));
        let mut got = Vec::new();
        for n in 0..120_u32 {
            let topic = ["a", "b"][(n / 3 % 2) as usize];
            let payload = format!("{n:03}");
            match n % 3 {
                0 => rig.publish(sender, q0(topic, &payload)),
                1 => rig.publish(sender, q1(1, topic, &payload)),
                _ => {
                    rig.publish(sender, q2(2, topic, &payload));
                    rig.send(sender, pubrel(2));
                }
            }
            if n % 17 == 16 {
                got.extend(rig.deliveries(watcher));
                rig.cut(watcher);
                watcher = rig.connect(connect.clone());
            }
        }
        // Answers all, also what a resume sent again, until nothing comes.
        rig.cut(watcher);
        let watcher = rig.connect(connect);
        loop {
            let deliveries = rig.deliveries(watcher);
            if deliveries.is_empty() {
                break;
            }
            for delivery in &deliveries {
                let id = packet_id(delivery);
                if delivery.qos == QoS::AtLeastOnce {
                    rig.send(watcher, puback(id));
                } else {
                    rig.send(watcher, pubrec(id));
                    rig.send(watcher, pubcomp(id));
                }
            }
            got.extend(deliveries);
        }
        assert_eq!(rig.lines(watcher), NOTHING);
        for topic in ["a", "b"] {
            for level in 0..=2 {
                let payloads = firsts(&got, topic, level);
                assert_eq!(payloads.len(), 20, "{topic} {level}: {payloads:?}");
                assert!(payloads.is_sorted(), "{topic} {level}: {payloads:?}");
            }
        }
    }
}

#[test]
fn acknowledgements_that_come_together_restore_a_place_each() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored().window(3));
    rig.subscribe(watcher, "a", 2);
    publish_mixed(&mut rig, 10);
    let first: Vec<u16> = rig.deliveries(watcher).iter().map(packet_id).collect();
    let [one, two, three] = first[..] else { panic!("three places: {first:?}") };
    rig.send_together(watcher, &[puback(three), puback(three), puback(one)]);
    let next = rig.deliveries(watcher);
    assert_eq!(payloads(&next), ["3", "4"]);
    let (four, five) = (packet_id(&next[0]), packet_id(&next[1]));
    rig.send_together(watcher, &[pubrec(two), pubrec(four)]);
    assert_eq!(rig.lines(watcher), ["PUBREL", "PUBREL"]);
    rig.send_together(watcher, &[pubcomp(four), pubcomp(two)]);
    let next = rig.deliveries(watcher);
    assert_eq!(payloads(&next), ["5", "6"]);
    let (six, seven) = (packet_id(&next[0]), packet_id(&next[1]));

    // What comes behind one that breaks the protocol was never heard.
    rig.send_together(watcher, &[puback(five), puback(six), puback(seven)]);
    assert!(rig.is_closed(watcher));
    let watcher = rig.connect(v5("w").stored().window(3));
    assert_eq!(payloads(&rig.deliveries(watcher)), ["5", "6", "7"]);
}
