//! Receive Maximum of the client, full outboxes, and limits of queues.

use kedgemq::mqtt::Packet;
use kedgemq::turn::StoreState;

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

#[test]
fn mqtt_3_3_4_9_never_more_than_receive_maximum_in_flight() {
    // [MQTT-4.9.0-1], [MQTT-4.9.0-2]
    for connect in [v5("w").window(2), v5("w").stored().window(2)] {
        let mut rig = Rig::new();
        let watcher = rig.connect(connect);
        rig.subscribe(watcher, "a", 1);
        let sender = rig.connect(v5("p"));
        for n in 1..=5 {
            rig.publish(sender, q1(n, "a", &n.to_string()));
        }
        let got = rig.deliveries(watcher);
        assert_eq!(got.len(), 2);
        rig.send(watcher, puback(got[0].packet_id.expect("QoS 1").get()));
        assert_eq!(rig.lines(watcher), ["PUBLISH a 3 q1"]);
        rig.send(watcher, puback(got[1].packet_id.expect("QoS 1").get()));
        assert_eq!(rig.lines(watcher), ["PUBLISH a 4 q1"]);
    }
}

#[test]
fn a_qos_2_message_holds_its_place_until_pubcomp() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").window(1));
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "a", "1"));
    rig.publish(sender, q2(2, "a", "2"));
    let id = rig.packet_id(watcher);
    rig.send(watcher, pubrec(id));
    assert_eq!(rig.lines(watcher), ["PUBREL"]);
    rig.send(watcher, pubcomp(id));
    assert_eq!(rig.lines(watcher), ["PUBLISH a 2 q2"]);
}

#[test]
fn mqtt_3_3_4_10_a_full_window_delays_nothing_but_qos_1_and_2() {
    // [MQTT-4.9.0-3]
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").window(1));
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "1"));
    rig.publish(sender, q1(2, "a", "2"));
    rig.lines(watcher);
    rig.send(watcher, Packet::PingReq);
    rig.publish(watcher, q1(9, "b", "x"));
    rig.publish(sender, q0("a", "0"));
    rig.send(watcher, unsubscribe(5, &["a"]));
    assert_eq!(rig.lines(watcher), ["PINGRESP", "PUBACK 9 10", "PUBLISH a 0 q0", "UNSUBACK 5 00"]);
}

#[test]
fn the_window_holds_for_a_resume_too() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored().window(3));
    rig.subscribe(watcher, "a", 1);
    let sender = rig.connect(v5("p"));
    for n in 1..=5 {
        rig.publish(sender, q1(n, "a", &n.to_string()));
    }
    let sent = rig.deliveries(watcher);
    assert_eq!(sent.len(), 3);
    rig.cut(watcher);
    let watcher = rig.connect(v5("w").stored().window(1));
    for (n, before) in sent.iter().enumerate() {
        let got = rig.deliveries(watcher);
        assert_eq!(got.len(), 1, "at {n}");
        assert_eq!((got[0].packet_id, got[0].dup), (before.packet_id, true));
        rig.send(watcher, puback(got[0].packet_id.expect("QoS 1").get()));
    }
    assert_eq!(rig.lines(watcher), ["PUBLISH a 4 q1"]);
}

#[test]
fn without_receive_maximum_our_own_cap_counts() {
    let mut rig = Rig::with(|settings| settings.limits.in_flight = 10);
    for connect in [v4("w"), v5("w"), v5("w").window(1_000)] {
        let watcher = rig.connect(connect);
        rig.subscribe(watcher, "a", 1);
        let sender = rig.connect(v5("p"));
        for n in 1..=20 {
            rig.publish(sender, q1(n, "a", "x"));
        }
        assert_eq!(rig.deliveries(watcher).len(), 10);
        rig.cut(watcher);
    }
}

#[test]
fn an_unknown_puback_opens_no_window() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").window(1));
    rig.subscribe(watcher, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "1"));
    rig.publish(sender, q1(2, "a", "2"));
    let id = rig.packet_id(watcher);
    rig.send(watcher, puback(id.wrapping_add(1).max(1)));
    rig.send(watcher, puback(id));
    rig.send(watcher, puback(id));
    assert!(rig.deliveries(watcher).len() <= 1, "one place was freed, once");
}

#[test]
fn a_full_outbox_drops_qos_0_and_keeps_qos_1() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.outbox_full(watcher, true);
    rig.publish(sender, q0("a", "0"));
    rig.publish(sender, q1(1, "a", "1"));
    rig.publish(sender, q1(2, "a", "2"));
    assert_eq!(rig.lines(watcher), NOTHING);
    assert_eq!(rig.lines(sender), ["PUBACK 1 00", "PUBACK 2 00"]);
    rig.outbox_full(watcher, false);
    assert_eq!(rig.lines(watcher), ["PUBLISH a 1 q1", "PUBLISH a 2 q1"]);
    assert_eq!(rig.broker.counters().qos0_dropped, 1);
}

#[test]
fn a_full_queue_drops_the_oldest() {
    let mut rig = Rig::with(|settings| settings.limits.queue_messages = 3);
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 1);
    rig.cut(watcher);
    let sender = rig.connect(v5("p"));
    for n in 1..=5 {
        rig.publish(sender, q1(n, "a", &n.to_string()));
    }
    assert_eq!(rig.dead(), ["queue_full w 1", "queue_full w 2"]);
    let watcher = rig.connect(v5("w").stored());
    assert_eq!(rig.lines(watcher), ["PUBLISH a 3 q1", "PUBLISH a 4 q1", "PUBLISH a 5 q1"]);
}

#[test]
fn a_full_queue_never_drops_what_was_sent() {
    let mut rig = Rig::with(|settings| settings.limits.queue_messages = 2);
    let watcher = rig.connect(v5("w").stored().window(1));
    rig.subscribe(watcher, "a", 1);
    let sender = rig.connect(v5("p"));
    for n in 1..=9 {
        rig.publish(sender, q1(n, "a", &n.to_string()));
    }
    assert!(!rig.dead().contains(&"queue_full w 1".to_owned()));
    rig.cut(watcher);
    let watcher = rig.connect(v5("w").stored().window(1));
    assert_eq!(rig.lines(watcher), ["PUBLISH a 1 q1 dup"]);
}

#[test]
fn a_queue_full_in_bytes_drops_the_oldest_and_takes_one_that_is_larger() {
    let mut rig = Rig::with(|settings| settings.limits.queue_bytes = 100);
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 1);
    rig.cut(watcher);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "small"));
    rig.publish(sender, q1(2, "a", &"x".repeat(500)));
    assert_eq!(rig.dead(), ["queue_full w small"]);
    let watcher = rig.connect(v5("w").stored());
    assert_eq!(rig.deliveries(watcher)[0].message.payload.len(), 500);
}

#[test]
fn while_the_store_fails_qos_1_is_refused_and_qos_0_flows() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 1);
    let stored = rig.connect(v5("s").stored());
    rig.subscribe(stored, "a", 1);
    let five = rig.connect(v5("five"));
    rig.hold_commits();
    rig.store_state(StoreState::Failing);
    rig.publish(five, q0("a", "0"));
    rig.publish(five, q1(1, "a", "1"));
    rig.publish(five, q2(2, "a", "2"));
    assert_eq!(rig.lines(watcher), ["PUBLISH a 0 q0"], "refused for all, or for none");
    let lines = rig.lines(five);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().all(|l| !l.ends_with(" 00") && !l.ends_with(" 10")), "{lines:?}");
    rig.store_state(StoreState::Ready);
    rig.publish(five, q1(1, "a", "again"));
    rig.commit();
    assert_eq!(rig.lines(five), ["PUBACK 1 00"]);
}

#[test]
fn while_the_store_fails_a_v311_publisher_is_closed_without_an_acknowledgement() {
    let mut rig = Rig::new();
    let stored = rig.connect(v5("s").stored());
    rig.subscribe(stored, "a", 1);
    let four = rig.connect(v4("four"));
    rig.hold_commits();
    rig.store_state(StoreState::Failing);
    rig.publish(four, q1(1, "a", "1"));
    assert_eq!(rig.lines(four), ["CLOSE"]);
}

/// Publishes 100 messages to three slow clients and reads all that still comes: what each got.
fn read_all(rig: &mut Rig, connect: impl Fn(&str) -> ConnectOptions, is_away: bool) -> Vec<usize> {
    let names = ["1", "2", "3"];
    for name in names {
        let client = rig.connect(connect(name));
        rig.subscribe(client, "a", 1);
        if is_away {
            rig.cut(client);
        }
    }
    let sender = rig.connect(v5("p"));
    for n in 1..=100 {
        rig.publish(sender, q1(n, "a", &"x".repeat(99)));
    }
    let mut counts = Vec::new();
    for (slot, name) in names.into_iter().enumerate() {
        let client = match is_away {
            true => rig.connect(connect(name)),
            false => kedgemq::turn::ConnectionId { slot: slot as u32, generation: 1 },
        };
        let mut count = 0;
        while let Some(delivery) = rig.deliveries(client).first() {
            count += 1;
            rig.send(client, puback(delivery.packet_id.expect("QoS 1").get()));
        }
        counts.push(count);
    }
    counts
}

#[test]
fn the_memory_of_all_queues_is_bounded_and_what_it_cannot_hold_is_a_letter() {
    let mut rig = Rig::with(|settings| settings.limits.memory_bytes = 10_000);
    let counts = read_all(&mut rig, |name| v5(name).window(1), false);
    let got: usize = counts.iter().sum();
    assert!((90..=110).contains(&got), "{counts:?}");
    assert_eq!(got + rig.dead().len(), 300);
    assert!(rig.dead().iter().all(|letter| letter.starts_with("storage_full ")));
}

#[test]
fn the_disk_of_all_queues_is_bounded_and_what_it_cannot_hold_is_a_letter() {
    let mut rig = Rig::with(|settings| settings.limits.disk_bytes = 10_000);
    let counts = read_all(&mut rig, |name| v5(name).stored().window(1), true);
    let got: usize = counts.iter().sum();
    assert!((90..=110).contains(&got), "{counts:?}");
    assert_eq!(got + rig.dead().len(), 300);
    assert!(rig.dead().iter().all(|letter| letter.starts_with("storage_full ")));
}

#[test]
fn a_long_backlog_is_loaded_in_parts() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored().window(5));
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    for n in 1..=2_000 {
        rig.publish(sender, q1(n, "a", &n.to_string()));
        rig.lines(sender);
    }
    rig.crash();
    rig.delay_loads();
    let client = rig.connect(v5("c").stored().window(5));
    let mut expected = 1;
    let mut loads = 0;
    while expected <= 2_000 {
        let got = rig.deliveries(client);
        if got.is_empty() {
            assert!(rig.waiting_loads() > 0, "stuck at {expected}");
            loads += 1;
            rig.answer_loads();
        }
        for delivery in got {
            assert_eq!(delivery.message.payload, expected.to_string());
            expected += 1;
            rig.send(client, puback(delivery.packet_id.expect("QoS 1").get()));
        }
    }
    assert!(loads > 4, "a queue holds in memory only what it is about to send");
}

#[test]
fn a_client_that_sits_on_its_oldest_message_is_disconnected_and_gets_it_again() {
    let timeout = std::time::Duration::from_secs(30);
    let mut rig = Rig::with(|settings| settings.limits.ack_timeout = Some(timeout));
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "prompt"));
    let id = rig.packet_id(watcher);
    rig.wait(20);
    rig.send(watcher, puback(id));
    rig.publish(sender, q1(2, "a", "slow"));
    rig.packet_id(watcher);
    rig.wait(29);
    assert!(!rig.is_closed(watcher), "the time counts from its own sending");
    rig.wait(2);
    assert!(rig.lines(watcher)[0].starts_with("DISCONNECT 98"));
    assert!(rig.is_closed(watcher));
    let watcher = rig.connect(v5("w").stored());
    assert_eq!(rig.lines(watcher), ["PUBLISH a slow q1 dup"]);
}

#[test]
fn our_receive_maximum_counts_what_came_on_this_connection() {
    // Section 3.2.2.3.3: it applies only to the current Network Connection.
    let mut rig = Rig::with(|settings| settings.limits.receive_maximum = 2);
    let client = rig.connect(v5("p").stored());
    rig.publish(client, q2(1, "a", "1"));
    rig.publish(client, q2(2, "a", "2"));
    rig.cut(client);
    let client = rig.connect(v5("p").stored());
    rig.publish(client, q1(3, "a", "3"));
    rig.publish(client, dup(q2(1, "a", "1")));
    rig.publish(client, dup(q2(2, "a", "2")));
    assert_eq!(rig.lines(client), ["PUBACK 3 10", "PUBREC 1 00", "PUBREC 2 00"]);
    rig.publish(client, q1(4, "a", "4"));
    assert!(rig.is_closed(client), "[MQTT-3.3.4-7]");
}
