//! QoS 2 to subscribers: PUBLISH, PUBREC, PUBREL, PUBCOMP, and what a resume repeats.

use kedgemq::mqtt::{Packet, ReasonCode};
use kedgemq::turn::ConnectionId;

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

/// A subscriber to whom one QoS 2 PUBLISH went, and its Packet Identifier.
fn one_in_flight(rig: &mut Rig, connect: ConnectOptions) -> (ConnectionId, u16) {
    let watcher = rig.connect(connect);
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "a", "x"));
    let id = rig.packet_id(watcher);
    (watcher, id)
}

#[test]
fn mqtt_4_3_3_4_pubrec_is_answered_by_pubrel() {
    for connect in [v4("w"), v5("w"), v4("w").stored(), v5("w").stored()] {
        let mut rig = Rig::new();
        let (watcher, id) = one_in_flight(&mut rig, connect);
        rig.send(watcher, pubrec(id));
        let kedgemq::mqtt::Reply::PubRel(ack) = rig.received(watcher).remove(0) else {
            panic!("no PUBREL");
        };
        assert_eq!(ack.packet_id.get(), id);
        rig.send(watcher, pubcomp(id));
        assert_eq!(rig.lines(watcher), NOTHING);
        assert!(rig.store.copies.is_empty());
    }
}

#[test]
fn mqtt_4_3_3_3_without_pubrec_the_publish_is_sent_again() {
    for connect in [v4("w").stored(), v5("w").stored()] {
        let mut rig = Rig::new();
        let (watcher, id) = one_in_flight(&mut rig, connect.clone());
        rig.cut(watcher);
        let watcher = rig.connect(connect);
        let again = rig.deliveries(watcher);
        assert_eq!((again[0].packet_id, again[0].dup), (Some(crate::packets::id(id)), true));
    }
}

#[test]
fn mqtt_4_3_3_6_after_pubrel_only_pubrel_is_sent_again() {
    for connect in [v4("w").stored(), v5("w").stored()] {
        let mut rig = Rig::new();
        let (watcher, id) = one_in_flight(&mut rig, connect.clone());
        rig.send(watcher, pubrec(id));
        rig.cut(watcher);
        let watcher = rig.open(connect.clone());
        assert_eq!(rig.lines(watcher), ["CONNACK 00 present", "PUBREL"]);
        rig.crash();
        let watcher = rig.open(connect.clone());
        assert_eq!(rig.lines(watcher), ["CONNACK 00 present", "PUBREL"]);
        rig.send(watcher, pubcomp(id));
        rig.cut(watcher);
        let watcher = rig.open(connect);
        assert_eq!(rig.lines(watcher), ["CONNACK 00 present"]);
    }
}

#[test]
fn mqtt_4_3_3_5_pubcomp_ends_it() {
    let mut rig = Rig::new();
    let (watcher, id) = one_in_flight(&mut rig, v5("w").stored());
    rig.send(watcher, pubrec(id));
    rig.send(watcher, pubcomp(id));
    rig.cut(watcher);
    let watcher = rig.open(v5("w").stored());
    assert_eq!(rig.lines(watcher), ["CONNACK 00 present"]);
}

#[test]
fn mqtt_4_4_0_1_pubrel_and_publish_are_sent_again_in_order_of_the_publishes() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v5("p"));
    for (n, payload) in [(1, "1"), (2, "2"), (3, "3")] {
        rig.publish(sender, q2(n, "a", payload));
    }
    let sent = rig.deliveries(watcher);
    let ids: Vec<u16> = sent.iter().map(|d| d.packet_id.expect("QoS 2").get()).collect();
    rig.send(watcher, pubrec(ids[0]));
    rig.cut(watcher);
    let watcher = rig.connect(v5("w").stored());
    let again = rig.lines(watcher);
    let publishes: Vec<_> = again.iter().filter(|line| line.starts_with("PUBLISH")).collect();
    assert_eq!(publishes, ["PUBLISH a 2 q2 dup", "PUBLISH a 3 q2 dup"]);
    assert_eq!(again.iter().filter(|line| *line == "PUBREL").count(), 1);
    assert_eq!(again.len(), 3);
}

#[test]
fn a_repeated_pubrec_gets_pubrel_again() {
    let mut rig = Rig::new();
    let (watcher, id) = one_in_flight(&mut rig, v5("w").stored());
    rig.send(watcher, pubrec(id));
    rig.send(watcher, pubrec(id));
    assert_eq!(rig.lines(watcher), ["PUBREL", "PUBREL"]);
}

#[test]
fn pubrec_for_an_unknown_identifier_gets_pubrel_with_0x92() {
    let mut rig = Rig::new();
    let five = rig.connect(v5("five"));
    rig.send(five, pubrec(77));
    assert_eq!(rig.lines(five), ["PUBREL 92"]);
    assert!(!rig.is_closed(five));
}

#[test]
fn puback_and_pubcomp_for_unknown_identifiers_harm_nobody() {
    let mut rig = Rig::new();
    for connect in [v4("c"), v5("d")] {
        let client = rig.connect(connect);
        rig.send(client, puback(77));
        rig.send(client, pubcomp(78));
        rig.send(client, Packet::PingReq);
        assert!(rig.is_closed(client) || rig.lines(client).contains(&"PINGRESP".to_owned()));
    }
    let other = rig.connect(v5("e"));
    rig.send(other, Packet::PingReq);
    assert_eq!(rig.lines(other), ["PINGRESP"]);
}

#[test]
fn puback_does_not_end_a_qos_2_message() {
    let mut rig = Rig::new();
    let (watcher, id) = one_in_flight(&mut rig, v5("w").stored());
    rig.send(watcher, puback(id));
    rig.cut(watcher);
    let watcher = rig.connect(v5("w").stored());
    assert_eq!(rig.lines(watcher), ["PUBLISH a x q2 dup"]);
}

#[test]
fn a_refusing_pubrec_frees_the_identifier_and_has_no_pubrel() {
    let mut rig = Rig::new();
    let (watcher, id) = one_in_flight(&mut rig, v5("w").stored().window(1));
    rig.send(watcher, Packet::PubRec(refusal(id, ReasonCode(0x80))));
    assert_eq!(rig.lines(watcher), NOTHING);
    let sender = rig.connect(v5("p2"));
    rig.publish(sender, q2(1, "a", "next"));
    assert_eq!(rig.lines(watcher), ["PUBLISH a next q2"], "its place in the window is free");
}

#[test]
fn pubrec_with_no_matching_subscribers_is_a_success() {
    let mut rig = Rig::new();
    let (watcher, id) = one_in_flight(&mut rig, v5("w"));
    rig.send(watcher, Packet::PubRec(refusal(id, ReasonCode(0x10))));
    assert_eq!(rig.lines(watcher), ["PUBREL"]);
    assert!(rig.dead().is_empty());
}

#[test]
fn pubcomp_with_0x92_ends_it_too() {
    let mut rig = Rig::new();
    let (watcher, id) = one_in_flight(&mut rig, v5("w").stored());
    rig.send(watcher, pubrec(id));
    rig.lines(watcher);
    rig.send(watcher, Packet::PubComp(refusal(id, ReasonCode(0x92))));
    rig.cut(watcher);
    let watcher = rig.open(v5("w").stored());
    assert_eq!(rig.lines(watcher), ["CONNACK 00 present"]);
}

#[test]
fn mqtt_4_3_3_7_an_expired_message_goes_on_once_it_was_sent() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, expiring(5, q2(1, "a", "x")));
    let id = rig.packet_id(watcher);
    rig.cut(watcher);
    rig.wait(100);
    let watcher = rig.connect(v5("w").stored());
    assert_eq!(rig.lines(watcher), ["PUBLISH a x q2 dup"]);
    rig.send(watcher, pubrec(id));
    assert_eq!(rig.lines(watcher), ["PUBREL"]);
    assert!(rig.dead().is_empty());
}

#[test]
fn the_publishers_flow_survives_a_crash() {
    for connect in [v4("p").stored(), v5("p").stored()] {
        let mut rig = Rig::new();
        let watcher = rig.connect(v5("w").stored());
        rig.subscribe(watcher, "a", 2);
        let sender = rig.connect(connect.clone());
        rig.publish(sender, q2(1, "a", "x"));
        rig.crash();
        let sender = rig.connect(connect);
        rig.publish(sender, dup(q2(1, "a", "x")));
        rig.send(sender, pubrel(1));
        assert_eq!(rig.lines(sender).len(), 2);
        let watcher = rig.connect(v5("w").stored());
        assert_eq!(rig.deliveries(watcher).len(), 1);
        assert!(rig.store.received.is_empty());
    }
}

#[test]
fn a_transient_publishers_identifiers_end_with_its_session() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 0);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "a", "x"));
    rig.cut(sender);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "a", "y"));
    assert_eq!(rig.lines(watcher), ["PUBLISH a x q0", "PUBLISH a y q0"]);
}

#[test]
fn the_two_directions_have_their_own_identifiers() {
    let mut rig = Rig::new();
    let (watcher, id) = one_in_flight(&mut rig, v5("w"));
    rig.publish(watcher, q2(id, "b", "mine"));
    assert_eq!(rig.lines(watcher), [format!("PUBREC {id} 10")]);
    rig.send(watcher, pubrec(id));
    assert_eq!(rig.lines(watcher), ["PUBREL"]);
    rig.send(watcher, pubrel(id));
    assert_eq!(rig.lines(watcher), [format!("PUBCOMP {id} 00")]);
}

#[test]
fn mqtt_4_6_0_4_pubrels_leave_in_the_order_of_their_pubrecs() {
    for connect in [v4("w"), v5("w"), v4("w").stored(), v5("w").stored()] {
        let mut rig = Rig::new();
        let watcher = rig.connect(connect);
        rig.subscribe(watcher, "a", 2);
        let sender = rig.connect(v5("p"));
        for n in 1..=4 {
            rig.publish(sender, q2(n, "a", "x"));
        }
        let sent = rig.deliveries(watcher);
        let mut ids: Vec<u16> = sent.iter().map(|d| d.packet_id.expect("QoS 2").get()).collect();
        ids.reverse();
        for id in &ids {
            rig.send(watcher, pubrec(*id));
        }
        let released = rig.received(watcher).into_iter().map(|reply| match reply {
            kedgemq::mqtt::Reply::PubRel(ack) => ack.packet_id.get(),
            other => panic!("{other:?}"),
        });
        assert_eq!(released.collect::<Vec<_>>(), ids);
    }
}
