//! Durable before told: what waits for the disk, what does not, and in which order it leaves.

use kedgemq::mqtt::{Packet, ReasonCode};

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

/// A broker with an offline stored session that wants topic `a` at QoS 2.
fn with_offline_owner() -> Rig {
    let mut rig = Rig::new();
    let owner = rig.connect(v5("owner").stored());
    rig.subscribe(owner, "a", 2);
    rig.cut(owner);
    rig
}

#[test]
fn puback_waits_for_the_copy_of_a_persistent_owner() {
    for connect in [v4("p"), v5("p"), v4("p").stored(), v5("p").stored()] {
        let mut rig = with_offline_owner();
        let sender = rig.connect(connect);
        rig.hold_commits();
        rig.publish(sender, q1(1, "a", "x"));
        assert_eq!(rig.lines(sender), NOTHING);
        assert_eq!(rig.held(sender).len(), 1);
        rig.commit();
        assert_eq!(rig.lines(sender).len(), 1);
        assert_eq!(rig.store.copies_of("owner").len(), 1);
    }
}

#[test]
fn puback_waits_for_the_retained_change() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    rig.hold_commits();
    rig.publish(sender, keep(1, "a", "x"));
    assert_eq!(rig.lines(sender), NOTHING);
    rig.commit();
    assert_eq!(rig.lines(sender), ["PUBACK 1 10"]);
    assert_eq!(rig.store.retained.len(), 1);
}

#[test]
fn puback_waits_for_a_dead_letter() {
    let mut rig = Rig::new();
    let tiny = rig.connect(ConnectOptions { maximum_packet_size: Some(20), ..v5("tiny") });
    rig.subscribe(tiny, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.hold_commits();
    rig.publish(sender, q1(1, "a", &"x".repeat(50)));
    assert_eq!(rig.lines(sender), NOTHING);
    rig.commit();
    assert_eq!(rig.lines(sender), ["PUBACK 1 00"]);
    assert_eq!(rig.dead().len(), 1);
}

#[test]
fn puback_waits_for_nothing_where_nothing_is_stored() {
    let mut rig = with_offline_owner();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "b", 1);
    for connect in [v4("p"), v5("q"), v5("r").stored()] {
        let sender = rig.connect(connect);
        rig.hold_commits();
        rig.publish(sender, q1(1, "b", "x"));
        rig.publish(sender, q1(2, "nobody", "x"));
        assert_eq!(rig.lines(sender).len(), 2);
        rig.commit_at_once();
    }
}

#[test]
fn another_clients_uncommitted_records_hold_nobody_up() {
    let mut rig = with_offline_owner();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "b", 1);
    let one = rig.connect(v5("1"));
    let two = rig.connect(v5("2"));
    rig.hold_commits();
    rig.publish(one, q1(1, "a", "x"));
    rig.publish(two, q1(1, "b", "x"));
    assert_eq!(rig.lines(two), ["PUBACK 1 00"]);
    assert_eq!(rig.lines(watcher), ["PUBLISH b x q1"]);
}

#[test]
fn a_repeat_of_an_uncommitted_qos_1_publish_waits_too() {
    let mut rig = with_offline_owner();
    let sender = rig.connect(v5("p").stored());
    rig.hold_commits();
    rig.publish(sender, q1(1, "a", "x"));
    rig.cut(sender);
    let sender = rig.open(v5("p").stored());
    rig.publish(sender, dup(q1(1, "a", "x")));
    assert!(!rig.lines(sender).iter().any(|line| line.starts_with("PUBACK")));
    rig.commit();
    assert_eq!(rig.lines(sender).last().expect("PUBACK"), "PUBACK 1 00");
}

#[test]
fn pubrec_waits_for_the_received_identifier_of_a_persistent_publisher() {
    for connect in [v4("p").stored(), v5("p").stored()] {
        let mut rig = Rig::new();
        let sender = rig.connect(connect);
        rig.hold_commits();
        rig.publish(sender, q2(1, "nobody", "x"));
        assert_eq!(rig.lines(sender), NOTHING);
        rig.commit();
        assert_eq!(rig.lines(sender).len(), 1);
        assert_eq!(rig.store.received.len(), 1);
    }
}

#[test]
fn pubrec_waits_for_a_persistent_copy_of_a_transient_publisher() {
    let mut rig = with_offline_owner();
    let sender = rig.connect(v5("p"));
    rig.hold_commits();
    rig.publish(sender, q2(1, "a", "x"));
    assert_eq!(rig.lines(sender), NOTHING);
    rig.commit();
    assert_eq!(rig.lines(sender), ["PUBREC 1 00"]);
}

#[test]
fn a_repeat_of_an_uncommitted_qos_2_publish_waits_too() {
    let mut rig = with_offline_owner();
    for connect in [v5("p"), v5("q").stored()] {
        let sender = rig.connect(connect);
        rig.hold_commits();
        rig.publish(sender, q2(1, "a", "x"));
        rig.publish(sender, dup(q2(1, "a", "x")));
        assert_eq!(rig.lines(sender), NOTHING);
        rig.commit();
        assert_eq!(rig.lines(sender), ["PUBREC 1 00", "PUBREC 1 00"]);
        rig.commit_at_once();
    }
    assert_eq!(rig.store.copies_of("owner").len(), 2);
}

#[test]
fn pubcomp_waits_for_the_release() {
    for connect in [v4("p").stored(), v5("p").stored()] {
        let mut rig = with_offline_owner();
        let sender = rig.connect(connect);
        rig.publish(sender, q2(1, "a", "x"));
        rig.lines(sender);
        rig.hold_commits();
        rig.send(sender, pubrel(1));
        assert_eq!(rig.lines(sender), NOTHING);
        rig.commit();
        assert_eq!(rig.lines(sender).len(), 1);
        assert!(rig.store.received.is_empty());
    }
}

#[test]
fn a_repeated_pubrel_waits_for_the_release_too() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p").stored());
    rig.publish(sender, q2(1, "a", "x"));
    rig.lines(sender);
    rig.hold_commits();
    rig.send(sender, pubrel(1));
    rig.send(sender, pubrel(1));
    assert_eq!(rig.lines(sender), NOTHING);
    rig.commit();
    let lines = rig.lines(sender);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], "PUBCOMP 1 00");
}

#[test]
fn pubcomp_to_a_transient_publisher_waits_for_nothing() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    rig.hold_commits();
    rig.publish(sender, q2(1, "a", "x"));
    rig.send(sender, pubrel(1));
    assert_eq!(rig.lines(sender), ["PUBREC 1 10", "PUBCOMP 1 00"]);
}

#[test]
fn a_qos_2_publish_to_a_persistent_subscriber_waits_for_message_and_identifier() {
    for connect in [v4("w").stored(), v5("w").stored()] {
        let mut rig = Rig::new();
        let watcher = rig.connect(connect);
        rig.subscribe(watcher, "a", 2);
        let sender = rig.connect(v5("p"));
        rig.hold_commits();
        rig.publish(sender, q2(1, "a", "x"));
        assert_eq!(rig.lines(watcher), NOTHING);
        rig.commit();
        let sent = rig.packet_id(watcher);
        let copies = rig.store.copies_of("w");
        let stored = copies[0].sent.as_ref().expect("Sent is stored");
        assert_eq!(stored.packet_id().get(), sent);
    }
}

#[test]
fn a_qos_2_publish_to_a_transient_subscriber_waits_for_nothing() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.hold_commits();
    rig.publish(sender, q2(1, "a", "x"));
    assert_eq!(rig.lines(watcher), ["PUBLISH a x q2"]);
}

/// Its publisher sends it again when a crash forgets that it came.
#[test]
fn a_qos_2_publish_out_of_a_queue_waits_for_the_received_identifier() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").window(1));
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v5("p").stored());
    rig.publish(sender, q2(1, "a", "x"));
    let first = rig.packet_id(watcher);
    rig.hold_commits();
    rig.publish(sender, q2(2, "a", "y"));
    rig.send(watcher, pubrec(first));
    rig.send(watcher, pubcomp(first));
    assert_eq!(rig.lines(watcher), ["PUBREL"]);
    rig.commit();
    assert_eq!(rig.lines(watcher), ["PUBLISH a y q2"]);
}

#[test]
fn a_qos_2_publish_to_a_share_group_waits_for_the_received_identifier() {
    for (qos, told) in [(0, "PUBLISH a x q0"), (2, "PUBLISH a x q2")] {
        for connect in [v5("w"), v5("w").stored()] {
            let mut rig = Rig::new();
            let member = rig.connect(connect);
            rig.subscribe(member, "$share/g/a", qos);
            let sender = rig.connect(v5("p").stored());
            rig.hold_commits();
            rig.publish(sender, q2(1, "a", "x"));
            assert_eq!(rig.lines(member), NOTHING);
            rig.commit();
            assert_eq!(rig.lines(member), [told]);
        }
    }
}

#[test]
fn pubrel_to_a_persistent_subscriber_waits_for_pubrec_to_be_stored() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "a", "x"));
    let id = rig.packet_id(watcher);
    rig.hold_commits();
    rig.send(watcher, pubrec(id));
    rig.send(watcher, pubrec(id));
    assert_eq!(rig.lines(watcher), NOTHING, "the repeat waits too");
    rig.commit();
    assert_eq!(rig.lines(watcher), ["PUBREL", "PUBREL"]);
    let copies = rig.store.copies_of("w");
    assert!(copies[0].sent.as_ref().expect("sent").pubrec_arrived);
}

#[test]
fn pubrel_to_a_transient_subscriber_waits_for_nothing() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "a", "x"));
    let id = rig.packet_id(watcher);
    rig.hold_commits();
    rig.send(watcher, pubrec(id));
    assert_eq!(rig.lines(watcher), ["PUBREL"]);
}

#[test]
fn connack_waits_for_a_session_that_is_made_or_changed() {
    for connect in [v4("c").stored(), v5("c").stored()] {
        let mut rig = Rig::new();
        rig.hold_commits();
        let client = rig.open(connect.clone());
        assert_eq!(rig.lines(client), NOTHING);
        rig.commit();
        assert_eq!(rig.lines(client), ["CONNACK 00"]);
        assert!(rig.store.session_of("c").is_some());
        rig.cut(client);
        rig.commit();
        let client = rig.open(connect);
        assert_eq!(rig.lines(client), NOTHING);
        rig.commit();
        assert_eq!(rig.lines(client), ["CONNACK 00 present"]);
    }
}

#[test]
fn connack_waits_for_a_session_that_ended() {
    for connect in [v4("c"), v5("c")] {
        let mut rig = Rig::new();
        let client = rig.connect(connect.clone().stored());
        rig.cut(client);
        rig.hold_commits();
        let client = rig.open(connect);
        assert_eq!(rig.lines(client), NOTHING);
        rig.commit();
        assert_eq!(rig.lines(client), ["CONNACK 00"]);
        assert!(rig.store.session_of("c").is_none());
    }
}

#[test]
fn connack_of_a_transient_session_waits_for_nothing() {
    let mut rig = Rig::new();
    rig.hold_commits();
    for connect in [v4("c"), v5("d")] {
        let client = rig.open(connect);
        assert_eq!(rig.lines(client), ["CONNACK 00"]);
    }
}

#[test]
fn suback_and_unsuback_wait_for_stored_subscriptions() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.hold_commits();
    rig.send(client, subscribe(1, &[("a", options(1))]));
    rig.send(client, subscribe(2, &[("a", options(1))]));
    assert_eq!(rig.lines(client), NOTHING, "the repeat waits too");
    rig.commit();
    assert_eq!(rig.lines(client), ["SUBACK 1 01", "SUBACK 2 01"]);
    rig.send(client, unsubscribe(3, &["a"]));
    rig.send(client, unsubscribe(4, &["a"]));
    assert_eq!(rig.lines(client), NOTHING, "the repeat waits too");
    rig.commit();
    assert_eq!(rig.lines(client), ["UNSUBACK 3 00", "UNSUBACK 4 11"]);
}

#[test]
fn suback_and_unsuback_of_a_transient_session_wait_for_nothing() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.hold_commits();
    rig.send(client, subscribe(1, &[("a", options(1)), ("$share/g/a", options(1))]));
    rig.send(client, unsubscribe(2, &["a", "$share/g/a"]));
    assert_eq!(rig.lines(client), ["SUBACK 1 01 01", "UNSUBACK 2 00 00"]);
}

#[test]
fn rule_1_all_that_a_resume_sends_waits_for_what_is_uncommitted() {
    let mut rig = Rig::new();
    let first = rig.connect(v5("w").stored());
    rig.subscribe(first, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.hold_commits();
    rig.publish(sender, q2(1, "a", "x"));
    let second = rig.open(v5("w").stored());
    assert_eq!(rig.lines(second), NOTHING);
    rig.commit();
    let lines = rig.lines(second);
    assert_eq!(lines[0], "CONNACK 00 present");
    assert_eq!(lines.len(), 2);
    assert!(lines[1].starts_with("PUBLISH a x q2"));
}

#[test]
fn nothing_overtakes_a_held_connack() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.hold_commits();
    let client = rig.open(v5("c").stored());
    rig.send(client, Packet::PingReq);
    rig.publish(sender, q0("a", "0"));
    rig.publish(sender, q1(1, "a", "1"));
    assert_eq!(rig.lines(client), NOTHING);
    rig.commit();
    let lines = rig.lines(client);
    assert_eq!(lines[0], "CONNACK 00 present");
    assert!(lines.contains(&"PUBLISH a 1 q1".to_owned()), "{lines:?}");
}

#[test]
fn acknowledgements_leave_in_the_order_of_their_publishes() {
    let mut rig = with_offline_owner();
    let sender = rig.connect(v5("p"));
    rig.hold_commits();
    rig.publish(sender, q1(1, "a", "held"));
    rig.publish(sender, q1(2, "nobody", "free"));
    rig.publish(sender, q2(3, "nobody", "free"));
    rig.publish(sender, q1(4, "$dead/x", "refused"));
    rig.publish(sender, q1(5, "a", "held"));
    assert_eq!(rig.lines(sender), NOTHING);
    rig.commit();
    let lines = rig.lines(sender);
    let order: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(order, ["1", "2", "3", "4", "5"], "{lines:?}");
}

#[test]
fn publishes_of_one_topic_stay_in_order_behind_a_held_one() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.hold_commits();
    rig.publish(sender, q2(1, "a", "1"));
    rig.publish(sender, q1(2, "a", "2"));
    rig.publish(sender, q2(3, "a", "3"));
    assert_eq!(rig.lines(watcher), NOTHING);
    rig.commit();
    assert_eq!(rig.lines(watcher), ["PUBLISH a 1 q2", "PUBLISH a 2 q1", "PUBLISH a 3 q2"]);
}

#[test]
fn rule_4_an_arriving_puback_starts_no_commit() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let id = rig.packet_id(watcher);
    rig.hold_commits();
    rig.send(watcher, puback(id));
    assert!(rig.written().iter().all(kedgemq::turn::Record::is_lazy));
    assert!(!rig.written().is_empty());
}

#[test]
fn rule_4_an_arriving_pubcomp_starts_no_commit() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "a", "x"));
    let id = rig.packet_id(watcher);
    rig.send(watcher, pubrec(id));
    rig.hold_commits();
    rig.send(watcher, pubcomp(id));
    assert!(rig.written().iter().all(kedgemq::turn::Record::is_lazy));
    assert!(!rig.written().is_empty());
}

#[test]
fn rule_7_disconnect_is_not_lazy() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored().will(will("w", "x")));
    rig.hold_commits();
    rig.send(client, disconnect(0, Some(5)));
    assert!(rig.written().iter().any(|record| !record.is_lazy()));
    rig.commit();
    let stored = rig.store.session_of("c").expect("stored");
    assert_eq!((stored.expiry, stored.will.is_some()), (5, false));
    assert!(stored.disconnected.is_some());
}

#[test]
fn rule_5_a_refused_publish_reaches_nobody() {
    let mut rig = Rig::with(|settings| settings.limits.retained_messages = 0);
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 1);
    let stored = rig.connect(v5("s").stored());
    rig.subscribe(stored, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, keep(1, "a", "x"));
    assert_eq!(rig.lines(sender), ["PUBACK 1 97"]);
    assert_eq!(rig.lines(watcher), NOTHING);
    assert_eq!(rig.lines(stored), NOTHING);
    assert!(rig.store.copies.is_empty());
}

#[test]
fn a_dead_letters_publication_follows_its_record() {
    let mut rig = Rig::new();
    let reader = rig.connect(v5("reader"));
    rig.subscribe(reader, "$dead/#", 0);
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let id = rig.packet_id(client);
    rig.hold_commits();
    rig.send(client, Packet::PubAck(refusal(id, ReasonCode(0x80))));
    assert_eq!(rig.lines(reader), NOTHING);
    rig.commit();
    assert_eq!(rig.lines(reader), ["PUBLISH $dead/rejected/c/a x q0"]);
}

#[test]
fn held_output_of_a_closed_connection_is_dropped() {
    let mut rig = with_offline_owner();
    let sender = rig.connect(v5("p"));
    rig.hold_commits();
    rig.publish(sender, q1(1, "a", "x"));
    rig.cut(sender);
    rig.commit();
    assert!(!rig.lines(sender).iter().any(|line| line.starts_with("PUBACK")));
    assert_eq!(rig.store.copies_of("owner").len(), 1, "what was taken stays taken");
}

#[test]
fn applying_what_is_stored_gives_the_same_answers() {
    // A broker that was restored does as the one that went on would have done.
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a/#", 2);
    let sender = rig.connect(v5("p").stored());
    rig.publish(sender, q1(1, "a/1", "1"));
    rig.publish(sender, q2(2, "a/2", "2"));
    rig.publish(sender, keep(3, "a/3", "3"));
    let sent = rig.deliveries(watcher);
    rig.cut(watcher);
    for _ in 0..3 {
        rig.crash();
        let watcher = rig.connect(v5("w").stored());
        let again = rig.deliveries(watcher);
        let ids = |all: &[kedgemq::mqtt::Delivery]| -> Vec<_> {
            all.iter().map(|d| (d.packet_id, d.message.payload.clone())).collect()
        };
        assert_eq!(ids(&again), ids(&sent));
        assert!(again.iter().all(|d| d.dup));
    }
}

#[test]
fn a_backlog_is_taken_without_a_commit() {
    let mut rig = with_offline_owner();
    let sender = rig.connect(v5("p"));
    for n in 0..1000 {
        rig.publish(sender, q1(1, "a", &n.to_string()));
    }
    let owner = rig.connect(v5("owner").stored());
    rig.hold_commits();
    let mut taken = Vec::new();
    while taken.len() < 1000 {
        let deliveries = rig.deliveries(owner);
        assert!(!deliveries.is_empty(), "{} came", taken.len());
        for delivery in deliveries {
            taken.push(String::from_utf8_lossy(&delivery.message.payload).into_owned());
            rig.send(owner, puback(delivery.packet_id.expect("QoS 1").get()));
        }
        rig.answer_loads();
    }
    assert_eq!(taken, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
    rig.commit();
    assert!(rig.store.copies.is_empty());
}
