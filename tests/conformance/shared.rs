//! Shared subscriptions: the group is the owner of its queue.

use std::collections::BTreeMap;

use kedgemq::mqtt::{Packet, ReasonCode};

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

#[test]
fn each_message_goes_to_one_member_in_turn() {
    let mut rig = Rig::new();
    let members: Vec<_> = ["1", "2", "3"].map(|name| rig.connect(v5(name))).into();
    for member in &members {
        rig.subscribe(*member, "$share/g/a", 1);
    }
    let sender = rig.connect(v5("p"));
    for n in 1..=30 {
        rig.publish(sender, q1(n, "a", &n.to_string()));
    }
    let mut seen = BTreeMap::new();
    for member in members {
        let got = rig.deliveries(member);
        assert_eq!(got.len(), 10);
        for delivery in got {
            *seen.entry(delivery.message.payload.clone()).or_insert(0) += 1;
        }
    }
    assert_eq!(seen.len(), 30);
}

#[test]
fn qos_0_goes_to_one_member_too() {
    let mut rig = Rig::new();
    let one = rig.connect(v5("1"));
    let two = rig.connect(v5("2"));
    for member in [one, two] {
        rig.subscribe(member, "$share/g/a", 0);
    }
    for _ in 0..10 {
        rig.publish(one, q0("a", "x"));
    }
    assert_eq!(rig.deliveries(one).len() + rig.deliveries(two).len(), 10);
}

#[test]
fn mqtt_4_8_2_3_a_member_gets_its_granted_qos() {
    let mut rig = Rig::new();
    let zero = rig.connect(v5("0"));
    let two = rig.connect(v5("2"));
    rig.subscribe(zero, "$share/g/a", 0);
    rig.subscribe(two, "$share/g/a", 2);
    let sender = rig.connect(v5("p"));
    for n in 1..=10 {
        rig.publish(sender, q2(n, "a", "x"));
    }
    let (of_zero, of_two) = (rig.deliveries(zero), rig.deliveries(two));
    assert!(of_zero.iter().all(|d| d.qos as u8 == 0));
    assert!(of_two.iter().all(|d| d.qos as u8 == 2));
    assert_eq!(of_zero.len() + of_two.len(), 10);
    assert!(!of_two.is_empty());
}

#[test]
fn different_groups_and_plain_subscriptions_each_get_a_copy() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    for filter in ["$share/g/a", "$share/h/a", "$share/g/+", "a"] {
        rig.subscribe(client, filter, 0);
    }
    rig.publish(client, q0("a", "x"));
    assert_eq!(rig.deliveries(client).len(), 4);
}

#[test]
fn a_member_whose_window_is_full_is_passed_over() {
    let mut rig = Rig::new();
    let slow = rig.connect(v5("slow").window(1));
    let fast = rig.connect(v5("fast"));
    rig.subscribe(slow, "$share/g/a", 1);
    rig.subscribe(fast, "$share/g/a", 1);
    let sender = rig.connect(v5("p"));
    for n in 1..=10 {
        rig.publish(sender, q1(n, "a", "x"));
    }
    assert_eq!(rig.deliveries(slow).len(), 1);
    assert_eq!(rig.deliveries(fast).len(), 9);
}

#[test]
fn an_offline_member_is_passed_over() {
    let mut rig = Rig::new();
    let away = rig.connect(v5("away").stored());
    let here = rig.connect(v5("here").stored());
    rig.subscribe(away, "$share/g/a", 1);
    rig.subscribe(here, "$share/g/a", 1);
    rig.cut(away);
    let sender = rig.connect(v5("p"));
    for n in 1..=10 {
        rig.publish(sender, q1(n, "a", "x"));
    }
    assert_eq!(rig.deliveries(here).len(), 10);
}

#[test]
fn the_group_keeps_its_queue_while_all_are_away_and_over_a_crash() {
    let mut rig = Rig::new();
    for name in ["1", "2"] {
        let member = rig.connect(v5(name).stored());
        rig.subscribe(member, "$share/g/a", 1);
        rig.cut(member);
    }
    let sender = rig.connect(v5("p"));
    for n in 1..=4 {
        rig.publish(sender, q1(n, "a", &n.to_string()));
    }
    rig.crash();
    let one = rig.connect(v5("1").stored());
    let got = rig.deliveries(one);
    let payloads: Vec<_> = got.iter().map(|d| d.message.payload.clone()).collect();
    assert_eq!(payloads, ["1", "2", "3", "4"]);
}

#[test]
fn mqtt_4_8_2_4_a_sent_qos_2_message_is_completed_with_the_same_client() {
    let mut rig = Rig::new();
    let one = rig.connect(v5("1").stored());
    rig.subscribe(one, "$share/g/a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "a", "x"));
    let id = rig.packet_id(one);
    let two = rig.connect(v5("2").stored());
    rig.subscribe(two, "$share/g/a", 2);
    rig.cut(one);
    assert_eq!(rig.lines(two), NOTHING);
    rig.crash();
    let two = rig.connect(v5("2").stored());
    assert_eq!(rig.lines(two), NOTHING);
    let one = rig.connect(v5("1").stored());
    assert_eq!(rig.lines(one), ["PUBLISH a x q2 dup"]);
    rig.send(one, pubrec(id));
    rig.send(one, pubcomp(id));
    assert_eq!(rig.lines(one), ["PUBREL"]);
    assert!(rig.store.copies.is_empty());
}

#[test]
fn mqtt_4_8_2_5_a_sent_qos_2_message_goes_to_nobody_else_when_the_session_ends() {
    let mut rig = Rig::new();
    let one = rig.connect(v5("1"));
    rig.subscribe(one, "$share/g/a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "a", "x"));
    assert_eq!(rig.deliveries(one).len(), 1);
    let two = rig.connect(v5("2"));
    rig.subscribe(two, "$share/g/a", 2);
    rig.cut(one);
    assert_eq!(rig.lines(two), NOTHING);
}

#[test]
fn mqtt_4_8_2_6_a_refused_message_goes_to_nobody_else() {
    let mut rig = Rig::new();
    let one = rig.connect(v5("1"));
    rig.subscribe(one, "$share/g/a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let id = rig.packet_id(one);
    let two = rig.connect(v5("2"));
    rig.subscribe(two, "$share/g/a", 1);
    rig.send(one, Packet::PubAck(refusal(id, ReasonCode(0x83))));
    rig.cut(one);
    assert_eq!(rig.lines(two), NOTHING);
    assert_eq!(rig.dead(), ["rejected $share~g~a x"]);
}

#[test]
fn a_qos_1_message_of_a_member_that_is_gone_for_good_goes_to_another() {
    let mut rig = Rig::new();
    let one = rig.connect(v5("1"));
    rig.subscribe(one, "$share/g/a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    assert_eq!(rig.deliveries(one).len(), 1);
    let two = rig.connect(v5("2"));
    rig.subscribe(two, "$share/g/a", 1);
    rig.cut(one);
    let got = rig.deliveries(two);
    assert_eq!(got.len(), 1, "at least once, while the group lives");
}

#[test]
fn unsubscribe_leaves_the_group() {
    let mut rig = Rig::new();
    let one = rig.connect(v5("1"));
    let two = rig.connect(v5("2"));
    for member in [one, two] {
        rig.subscribe(member, "$share/g/a", 0);
    }
    rig.send(one, unsubscribe(1, &["$share/g/a"]));
    assert_eq!(rig.lines(one), ["UNSUBACK 1 00"]);
    for _ in 0..4 {
        rig.publish(two, q0("a", "x"));
    }
    assert_eq!(rig.lines(one), NOTHING);
    assert_eq!(rig.deliveries(two).len(), 4);
}

#[test]
fn without_members_the_group_is_gone() {
    let mut rig = Rig::new();
    let one = rig.connect(v5("1").stored());
    rig.subscribe(one, "$share/g/a", 1);
    assert_eq!(rig.store.groups.len(), 1);
    rig.send(one, unsubscribe(1, &["$share/g/a"]));
    rig.lines(one);
    rig.publish(one, q1(1, "a", "x"));
    assert_eq!(rig.lines(one), ["PUBACK 1 10"]);
    rig.wait(10);
    assert!(rig.store.groups.is_empty());
}

#[test]
fn the_last_member_that_leaves_makes_dead_letters_of_the_backlog() {
    let mut rig = Rig::new();
    let one = rig.connect(v5("1").stored().window(1));
    rig.subscribe(one, "$share/g/a", 1);
    let sender = rig.connect(v5("p"));
    for n in 1..=3 {
        rig.publish(sender, q1(n, "a", &n.to_string()));
    }
    rig.send(one, unsubscribe(1, &["$share/g/a"]));
    rig.wait(10);
    let dead = rig.dead();
    assert!(dead.contains(&"session_cleared $share~g~a 2".to_owned()), "{dead:?}");
    assert!(dead.contains(&"session_cleared $share~g~a 3".to_owned()), "{dead:?}");
}

#[test]
fn a_member_carries_its_own_subscription_identifier() {
    let mut rig = Rig::new();
    let one = rig.connect(v5("1"));
    let two = rig.connect(v5("2"));
    rig.subscribe_with(one, "$share/g/a", options(0), Some(1));
    rig.subscribe_with(two, "$share/g/a", options(0), Some(2));
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q0("a", "x"));
    rig.publish(sender, q0("a", "x"));
    for (member, id) in [(one, 1), (two, 2)] {
        for delivery in rig.deliveries(member) {
            assert_eq!(delivery.subscription_ids.as_deref(), Some(&[id][..]));
        }
    }
}

#[test]
fn a_wildcard_in_a_share_does_not_match_dollar_topics() {
    let mut rig = Rig::new();
    let one = rig.connect(v5("1"));
    rig.subscribe(one, "$share/g/#", 0);
    rig.publish(one, q0("$own/x", "x"));
    rig.publish(one, q0("a", "x"));
    assert_eq!(rig.lines(one), ["PUBLISH a x q0"]);
}

#[test]
fn v311_clients_can_share_too() {
    let mut rig = Rig::new();
    let one = rig.connect(v4("1"));
    let two = rig.connect(v4("2"));
    for member in [one, two] {
        rig.subscribe(member, "$share/g/a", 1);
    }
    let sender = rig.connect(v4("p"));
    for n in 1..=4 {
        rig.publish(sender, q1(n, "a", "x"));
    }
    assert_eq!(rig.deliveries(one).len() + rig.deliveries(two).len(), 4);
}

#[test]
fn a_group_that_ends_completes_what_it_has_in_flight() {
    // [MQTT-3.10.4-3], [MQTT-4.8.2-4]
    for crashes in [[false, false], [true, false], [false, true], [true, true]] {
        let mut rig = Rig::new();
        let one = rig.connect(v5("1").stored());
        rig.subscribe(one, "$share/g/a", 2);
        let sender = rig.connect(v5("p"));
        rig.publish(sender, q2(1, "a", "x"));
        let mut one = one;
        let mut before = rig.packet_id(one);
        let crash = |rig: &mut Rig| {
            rig.crash();
            let one = rig.connect(v5("1").stored());
            (one, rig.packet_id(one))
        };
        if crashes[0] {
            (one, before) = crash(&mut rig);
        }
        rig.send(one, unsubscribe(1, &["$share/g/a"]));
        rig.wait(10);
        if crashes[1] {
            rig.lines(one);
            (one, before) = crash(&mut rig);
        }
        rig.lines(one);
        rig.send(one, pubrec(before));
        rig.send(one, pubcomp(before));
        assert_eq!(rig.lines(one), ["PUBREL"], "{crashes:?}");
        rig.wait(10);
        assert!(rig.store.copies.is_empty() && rig.store.groups.is_empty(), "{crashes:?}");
        assert!(rig.dead().is_empty(), "{crashes:?}");
    }
}

#[test]
fn a_member_that_ends_gives_its_messages_to_those_that_stay() {
    // Not to itself, and not lost where nobody can take them yet.
    for others in [["away", "slow"], ["slow", "away"]] {
        let mut rig = Rig::new();
        for name in others {
            let other = rig.connect(v5(name).stored());
            rig.subscribe(other, "$share/g/a", 1);
            rig.cut(other);
        }
        let gone = rig.connect(ConnectOptions { session_expiry: Some(5), ..v5("gone").stored() });
        rig.subscribe(gone, "$share/g/a", 1);
        let sender = rig.connect(v5("p"));
        for n in 1..=3 {
            rig.publish(sender, q1(n, "a", &n.to_string()));
        }
        assert_eq!(rig.deliveries(gone).len(), 3);
        rig.cut(gone);
        rig.wait(6);
        let back = rig.connect(v5("away").stored());
        let got = rig.deliveries(back);
        let payloads: Vec<_> = got.iter().map(|d| d.message.payload.clone()).collect();
        assert_eq!(payloads, ["1", "2", "3"]);
        assert!(rig.dead().is_empty());
    }
}

#[test]
fn a_session_that_left_the_group_gets_what_is_in_flight_again() {
    // [MQTT-3.10.4-3], [MQTT-4.4.0-1]; and what it waits for must not stop the rest.
    for ends in [false, true] {
        let mut rig = Rig::new();
        let stays = rig.connect(v5("stays").stored());
        let leaves = rig.connect(v5("leaves").stored());
        rig.subscribe(leaves, "$share/g/a", 1);
        rig.subscribe(leaves, "b", 1);
        let sender = rig.connect(v5("p"));
        rig.publish(sender, q1(1, "a", "x"));
        let before = rig.packet_id(leaves);
        if !ends {
            rig.subscribe(stays, "$share/g/a", 1);
        }
        rig.send(leaves, unsubscribe(1, &["$share/g/a"]));
        rig.cut(leaves);
        rig.publish(sender, q1(1, "b", "y"));
        let leaves = rig.connect(v5("leaves").stored());
        let got = rig.deliveries(leaves);
        assert_eq!(got.len(), 2, "the group ended: {ends}; {got:?}");
        assert_eq!((got[0].packet_id, got[0].dup), (Some(id(before)), true));
    }
}

#[test]
fn a_group_that_becomes_stored_stores_what_comes_back_from_a_transient_member() {
    let mut rig = Rig::new();
    let transient = rig.connect(v5("transient"));
    rig.subscribe(transient, "$share/g/a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    assert_eq!(rig.deliveries(transient).len(), 1);
    let stored = rig.connect(v5("stored").stored());
    rig.subscribe(stored, "$share/g/a", 1);
    rig.cut(stored);
    rig.cut(transient);
    rig.crash();
    let stored = rig.connect(v5("stored").stored());
    assert_eq!(rig.deliveries(stored).len(), 1);
}

#[test]
fn mqtt_3_8_4_8_a_message_that_comes_back_has_its_qos_for_the_next_member() {
    for crashes in [false, true] {
        let mut rig = Rig::new();
        let two = rig.connect(v5("two").stored());
        rig.subscribe(two, "$share/g/a", 2);
        rig.cut(two);
        let one = rig.connect(ConnectOptions { session_expiry: Some(5), ..v5("one").stored() });
        rig.subscribe(one, "$share/g/a", 1);
        let sender = rig.connect(v5("p"));
        rig.publish(sender, q2(1, "a", "x"));
        assert_eq!(rig.lines(one), ["PUBLISH a x q1"]);
        if crashes {
            rig.crash();
        } else {
            rig.cut(one);
        }
        rig.wait(20);
        let two = rig.connect(v5("two").stored());
        assert_eq!(rig.lines(two), ["PUBLISH a x q2"], "after a crash: {crashes}");
    }
}

#[test]
fn what_a_member_had_at_qos_1_moves_on_when_it_goes_though_it_may_come_back() {
    let mut rig = Rig::new();
    let one = rig.connect(v5("1").stored());
    rig.subscribe(one, "$share/g/a", 1);
    let two = rig.connect(v5("2").stored());
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    rig.packet_id(one);
    rig.subscribe(two, "$share/g/a", 1);
    rig.cut(one);
    assert_eq!(rig.lines(two), ["PUBLISH a x q1"]);
    let one = rig.connect(v5("1").stored());
    assert_eq!(rig.lines(one), NOTHING);
}

#[test]
fn what_the_only_member_had_waits_for_it() {
    let mut rig = Rig::new();
    let one = rig.connect(v5("1").stored());
    rig.subscribe(one, "$share/g/a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    rig.packet_id(one);
    rig.cut(one);
    let one = rig.connect(v5("1").stored());
    assert_eq!(rig.lines(one), ["PUBLISH a x q1 dup"]);
}

#[test]
fn mqtt_3_3_4_5_each_of_several_copies_has_its_own_subscription_identifier() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.subscribe_with(client, "a", options(1), Some(1));
    rig.subscribe_with(client, "$share/g/a", options(1), Some(2));
    rig.subscribe_with(client, "$share/h/a", options(1), None);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let got = rig.deliveries(client);
    let mut ids: Vec<_> = got.iter().map(|d| d.subscription_ids.as_deref()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [None, Some(&[1][..]), Some(&[2][..])]);
}

#[test]
fn any_member_that_comes_back_gets_all_that_waits_when_all_were_away() {
    // What was in flight to another member at QoS 1, too, but for QoS 2 [MQTT-4.8.2-4].
    for crashes in [false, true] {
        let mut rig = Rig::new();
        let two = rig.connect(v5("2").stored());
        rig.subscribe(two, "$share/g/a", 2);
        rig.cut(two);
        let one = rig.connect(v5("1").stored().window(2));
        rig.subscribe(one, "$share/g/a", 2);
        let sender = rig.connect(v5("p"));
        rig.publish(sender, q2(9, "a", "mine"));
        for n in 1..=3 {
            rig.publish(sender, q1(n, "a", &n.to_string()));
        }
        assert_eq!(rig.lines(one), ["PUBLISH a mine q2", "PUBLISH a 1 q1"]);
        if crashes {
            rig.crash();
        } else {
            rig.cut(one);
        }
        let two = rig.connect(v5("2").stored());
        assert_eq!(
            rig.lines(two),
            ["PUBLISH a 1 q1", "PUBLISH a 2 q1", "PUBLISH a 3 q1"],
            "after a crash: {crashes}"
        );
        let one = rig.connect(v5("1").stored());
        assert_eq!(rig.lines(one), ["PUBLISH a mine q2 dup"]);
    }
}

#[test]
fn a_new_member_gets_what_one_that_is_away_has_in_flight() {
    let mut rig = Rig::new();
    let one = rig.connect(v5("1").stored());
    rig.subscribe(one, "$share/g/a", 1);
    rig.subscribe(one, "b", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    rig.publish(sender, q1(2, "b", "its own"));
    rig.deliveries(one);
    rig.cut(one);
    let two = rig.connect(v5("2"));
    rig.subscribe(two, "$share/g/a", 1);
    assert_eq!(rig.lines(two), ["PUBLISH a x q1"]);
    let one = rig.connect(v5("1").stored());
    assert_eq!(rig.lines(one), ["PUBLISH b its own q1 dup"]);
}

#[test]
fn no_message_is_handed_out_twice_while_its_member_is_there() {
    let mut rig = Rig::new();
    let one = rig.connect(v5("1").stored());
    rig.subscribe(one, "$share/g/a", 1);
    let sender = rig.connect(v5("p"));
    for n in 1..=5 {
        rig.publish(sender, q1(n, "a", "x"));
    }
    assert_eq!(rig.deliveries(one).len(), 5, "it acknowledges none");
    for name in ["2", "3"] {
        let other = rig.connect(v5(name).stored());
        rig.subscribe(other, "$share/g/a", 1);
        rig.cut(other);
        let other = rig.connect(v5(name).stored());
        rig.wait(3_000);
        assert_eq!(rig.lines(other), NOTHING);
    }
}

#[test]
fn members_of_every_version_share() {
    let mut rig = Rig::new();
    let members: Vec<_> = [v3("3"), v4("4"), v5("5")].map(|connect| rig.connect(connect)).into();
    for member in &members {
        rig.subscribe(*member, "$share/g/a", 1);
    }
    for n in 1..=9 {
        rig.publish(members[0], q1(n, "a", "x"));
    }
    for member in members {
        assert_eq!(rig.deliveries(member).len(), 3);
    }
}

#[test]
fn an_acknowledgement_brings_a_member_with_a_full_window_what_waits() {
    let mut rig = Rig::new();
    let members: Vec<_> = ["1", "2", "3"].map(|name| rig.connect(v5(name).window(1))).into();
    for member in &members {
        rig.subscribe(*member, "$share/g/a", 1);
    }
    let sender = rig.connect(v5("p"));
    for n in 1..=9 {
        rig.publish(sender, q1(n, "a", &n.to_string()));
    }
    let last: Vec<_> = members.iter().map(|member| rig.packet_id(*member)).collect();
    for (n, member) in [(4, 2), (5, 0), (6, 1)] {
        rig.send(members[member], puback(last[member]));
        assert_eq!(rig.lines(members[member]), [format!("PUBLISH a {n} q1")]);
    }
    rig.send(members[0], puback(last[0] + 1));
    rig.send(members[0], puback(last[0] + 2));
    assert_eq!(rig.deliveries(members[0]).len(), 2, "the others still have theirs");
}

#[test]
fn the_groups_of_a_member_with_a_full_window_take_turns() {
    let mut rig = Rig::new();
    let member = rig.connect(v5("1").window(1));
    let sender = rig.connect(v5("p"));
    for topic in ["a", "b", "c"] {
        rig.subscribe(member, &format!("$share/g/{topic}"), 1);
        for n in 1..=3 {
            rig.publish(sender, q1(n, topic, &n.to_string()));
        }
    }
    let mut seen = Vec::new();
    for id in 1.. {
        let came = rig.lines(member);
        if came.is_empty() {
            break;
        }
        seen.extend(came);
        rig.send(member, puback(id));
    }
    let expected = ["a 1", "a 2", "b 1", "c 1", "a 3", "b 2", "c 2", "b 3", "c 3"];
    assert_eq!(seen, expected.map(|what| format!("PUBLISH {what} q1")));
}

#[test]
fn an_outbox_that_drains_lets_a_member_take_its_turns_again() {
    let mut rig = Rig::new();
    let member = rig.connect(v5("1").window(1));
    rig.subscribe(member, "$share/g/a", 1);
    let sender = rig.connect(v5("p"));
    rig.outbox_full(member, true);
    rig.publish(sender, q0("a", "dropped"));
    for n in 1..=2 {
        rig.publish(sender, q1(n, "a", &n.to_string()));
    }
    assert_eq!(rig.lines(member), NOTHING);
    rig.outbox_full(member, false);
    let got = rig.deliveries(member);
    assert_eq!(got.len(), 1);
    rig.outbox_full(member, true);
    rig.publish(sender, q0("a", "dropped"));
    rig.outbox_full(member, false);
    rig.publish(sender, q0("a", "taken"));
    assert_eq!(rig.lines(member), ["PUBLISH a taken q0"], "though its window is full");
    rig.send(member, puback(got[0].packet_id.unwrap().get()));
    assert_eq!(rig.lines(member), ["PUBLISH a 2 q1"]);
}

#[test]
fn a_member_that_comes_back_takes_its_turns_again() {
    for crashes in [false, true] {
        let mut rig = Rig::new();
        let member = rig.connect(v5("1").stored().window(1));
        rig.subscribe(member, "$share/g/a", 2);
        let mut sender = rig.connect(v5("p"));
        rig.publish(sender, q2(1, "a", "in flight"));
        rig.deliveries(member);
        if crashes {
            rig.crash();
            sender = rig.connect(v5("p"));
        } else {
            rig.cut(member);
        }
        rig.publish(sender, q0("a", "dropped"));
        rig.publish(sender, q1(2, "a", "waits"));
        let member = rig.connect(v5("1").stored().window(1));
        let got = rig.deliveries(member);
        assert_eq!(got.len(), 1);
        rig.publish(sender, q0("a", "taken"));
        assert_eq!(rig.lines(member), ["PUBLISH a taken q0"], "though its window is full");
        let id = got[0].packet_id.unwrap().get();
        rig.send(member, pubrec(id));
        rig.send(member, pubcomp(id));
        assert_eq!(rig.lines(member), ["PUBREL", "PUBLISH a waits q1"]);
    }
}

#[test]
fn a_member_takes_what_waits_when_the_store_lost_what_it_had() {
    let mut rig = Rig::new();
    let members = ["1", "2"].map(|name| v5(name).stored().window(2));
    for member in &members {
        let member = rig.connect(member.clone());
        rig.subscribe(member, "$share/g/a", 2);
    }
    let sender = rig.connect(v5("p"));
    for n in 1..=2 {
        rig.publish(sender, q2(n, "a", "in flight"));
    }
    rig.crash();
    rig.store.copies.clear();
    rig.delay_loads();
    let [one, two] = members.map(|member| rig.connect(member));
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "waits"));
    assert_eq!(rig.lines(one), NOTHING);
    rig.answer_loads();
    assert_eq!(rig.lines(one), ["PUBLISH a waits q1"]);
    for n in 2..=3 {
        rig.publish(sender, q1(n, "a", &n.to_string()));
    }
    assert_eq!(rig.lines(two), ["PUBLISH a 2 q1"]);
    assert_eq!(rig.lines(one), ["PUBLISH a 3 q1"]);
}
