//! Sessions: how long they last, what they keep, and what is queued while nobody is connected.

use kedgemq::mqtt::packet::Will;

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

fn expiry(seconds: u32) -> ConnectOptions {
    ConnectOptions { session_expiry: Some(seconds), ..v5("c").stored() }
}

fn is_present(rig: &mut Rig, connect: ConnectOptions) -> bool {
    let client = rig.open(connect);
    rig.lines(client)[0] == "CONNACK 00 present"
}

#[test]
fn mqtt_3_1_2_23_a_session_is_kept_for_its_expiry_interval() {
    // [MQTT-4.1.0-2]
    let mut rig = Rig::new();
    let client = rig.connect(expiry(100));
    rig.cut(client);
    rig.wait(99);
    assert!(is_present(&mut rig, expiry(100)));

    let mut rig = Rig::new();
    let client = rig.connect(expiry(100));
    rig.cut(client);
    rig.wait(101);
    assert!(!is_present(&mut rig, expiry(100)));
}

#[test]
fn an_expired_session_is_gone_from_the_store() {
    let mut rig = Rig::new();
    let client = rig.connect(expiry(100));
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    rig.wait(101);
    assert!(rig.store.session_of("c").is_none());
    assert!(rig.store.subscriptions.is_empty());
}

#[test]
fn mqtt_4_1_0_1_a_session_does_not_expire_while_connected() {
    let mut rig = Rig::new();
    let client = rig.connect(expiry(10));
    rig.subscribe(client, "a", 1);
    rig.wait(1_000);
    rig.publish(client, q0("a", "x"));
    assert_eq!(rig.lines(client), ["PUBLISH a x q0"]);
    rig.cut(client);
    rig.wait(9);
    assert!(is_present(&mut rig, expiry(10)));
}

#[test]
fn expiry_0_or_none_ends_with_the_connection() {
    for session_expiry in [None, Some(0)] {
        let mut rig = Rig::new();
        let connect = ConnectOptions { session_expiry, ..v5("c").stored() };
        let client = rig.connect(connect.clone());
        rig.cut(client);
        assert!(!is_present(&mut rig, connect));
        assert!(rig.store.sessions.is_empty(), "nothing of it is stored");
    }
}

#[test]
fn expiry_ffffffff_never_ends() {
    let mut rig = Rig::new();
    let client = rig.connect(expiry(u32::MAX));
    rig.cut(client);
    rig.wait(u64::from(u32::MAX) + 1);
    assert!(is_present(&mut rig, expiry(1)));
}

#[test]
fn mqtt311_3_1_2_6_clean_session_1_ends_with_the_connection() {
    let mut rig = Rig::new();
    let client = rig.connect(v4("c"));
    rig.cut(client);
    assert!(!is_present(&mut rig, v4("c").stored()));
}

#[test]
fn mqtt311_3_1_2_4_clean_session_0_stays() {
    let mut rig = Rig::new();
    let client = rig.connect(v4("c").stored());
    rig.disconnect(client);
    rig.wait(10_000_000);
    assert!(is_present(&mut rig, v4("c").stored()));
}

#[test]
fn mqtt311_a_session_resumed_with_clean_session_1_is_gone_afterwards() {
    let mut rig = Rig::new();
    let client = rig.connect(v4("c").stored());
    rig.disconnect(client);
    assert!(!is_present(&mut rig, v4("c")));
    assert!(!is_present(&mut rig, v4("c").stored()));
}

#[test]
fn the_servers_cap_on_expiry_is_used() {
    let mut rig = Rig::with(|settings| settings.limits.session_expiry = 50);
    let client = rig.connect(expiry(1_000));
    rig.cut(client);
    rig.wait(51);
    assert!(!is_present(&mut rig, expiry(1_000)));
}

#[test]
fn the_expiry_interval_can_change_at_connect() {
    let mut rig = Rig::new();
    let client = rig.connect(expiry(10));
    rig.cut(client);
    let client = rig.connect(expiry(1_000));
    rig.cut(client);
    rig.wait(500);
    assert!(is_present(&mut rig, expiry(10)));
}

#[test]
fn disconnect_changes_the_expiry_interval() {
    let mut rig = Rig::new();
    let client = rig.connect(expiry(10));
    rig.send(client, disconnect(0, Some(1_000)));
    rig.wait(500);
    assert!(is_present(&mut rig, expiry(10)));

    let client = rig.connect(expiry(1_000));
    rig.send(client, disconnect(0, Some(0)));
    assert!(!is_present(&mut rig, expiry(10)));
}

#[test]
fn disconnect_cannot_raise_an_expiry_of_0() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.send(client, disconnect(0, Some(10)));
    assert_eq!(rig.lines(client), ["DISCONNECT 82", "CLOSE"]);
    assert!(!is_present(&mut rig, expiry(10)));
}

#[test]
fn disconnects_change_of_expiry_survives_a_crash() {
    let mut rig = Rig::new();
    let client = rig.connect(expiry(10));
    rig.send(client, disconnect(0, Some(1_000)));
    rig.crash();
    rig.wait(500);
    assert!(is_present(&mut rig, expiry(10)));
}

#[test]
fn the_expiry_goes_on_over_a_crash() {
    let mut rig = Rig::new();
    let client = rig.connect(expiry(100));
    rig.cut(client);
    rig.wait(60);
    rig.crash();
    rig.wait(30);
    assert!(is_present(&mut rig, expiry(100)));

    let mut rig = Rig::new();
    let client = rig.connect(expiry(100));
    rig.cut(client);
    rig.wait(60);
    rig.crash();
    rig.wait(41);
    assert!(!is_present(&mut rig, expiry(100)));
}

#[test]
fn a_client_that_was_connected_when_the_broker_died_has_its_whole_expiry() {
    let mut rig = Rig::new();
    rig.connect(expiry(100));
    rig.wait(500);
    rig.crash();
    rig.wait(90);
    assert!(is_present(&mut rig, expiry(100)));
}

#[test]
fn a_stored_session_that_is_resumed_with_expiry_0_is_stored_until_it_ends() {
    let mut rig = Rig::new();
    let client = rig.connect(expiry(100));
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let client = rig.connect(expiry(0));
    assert_eq!(rig.lines(client), ["PUBLISH a x q1"]);
    rig.crash();
    rig.wait(11); // Until then it may be back, as if the broker had not been away.
    assert!(!is_present(&mut rig, expiry(100)), "it ended with its connection");
    assert!(rig.store.copies.is_empty());
    assert_eq!(rig.dead(), ["session_expired c x"]);
}

#[test]
fn mqtt_4_5_0_1_qos_1_and_2_wait_for_an_offline_session_in_order() {
    for connect in [v4("c").stored(), v5("c").stored()] {
        let mut rig = Rig::new();
        let client = rig.connect(connect.clone());
        rig.subscribe(client, "#", 2);
        rig.disconnect(client);
        let sender = rig.connect(v5("p"));
        rig.publish(sender, q1(1, "a", "1"));
        rig.publish(sender, q2(2, "b", "2"));
        rig.publish(sender, q1(3, "c", "3"));
        let client = rig.connect(connect);
        assert_eq!(rig.lines(client), ["PUBLISH a 1 q1", "PUBLISH b 2 q2", "PUBLISH c 3 q1"]);
    }
}

#[test]
fn qos_0_is_not_queued_for_an_offline_session() {
    for granted in [0, 2] {
        let mut rig = Rig::new();
        let client = rig.connect(v5("c").stored());
        rig.subscribe(client, "a", granted);
        rig.cut(client);
        let sender = rig.connect(v5("p"));
        rig.publish(sender, q0("a", "0"));
        let client = rig.open(v5("c").stored());
        assert_eq!(rig.lines(client), ["CONNACK 00 present"]);
        assert!(rig.dead().is_empty());
    }
}

#[test]
fn qos_1_through_a_qos_0_subscription_is_not_queued_either() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 0);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "1"));
    let client = rig.open(v5("c").stored());
    assert_eq!(rig.lines(client), ["CONNACK 00 present"]);
}

#[test]
fn the_backlog_survives_a_crash_in_order() {
    for connect in [v4("c").stored(), v5("c").stored()] {
        let mut rig = Rig::new();
        let client = rig.connect(connect.clone());
        rig.subscribe(client, "a", 2);
        rig.cut(client);
        let sender = rig.connect(v5("p"));
        for n in 1..=250 {
            rig.publish(sender, q1(n, "a", &n.to_string()));
        }
        rig.crash();
        let client = rig.connect(connect);
        let mut expected = 1;
        loop {
            let got = rig.deliveries(client);
            if got.is_empty() {
                break;
            }
            for delivery in got {
                assert_eq!(delivery.message.payload, expected.to_string());
                assert!(!delivery.dup, "never sent");
                expected += 1;
                rig.send(client, puback(delivery.packet_id.expect("QoS 1").get()));
            }
        }
        assert_eq!(expected, 251);
        assert!(rig.store.copies.is_empty());
    }
}

#[test]
fn messages_that_come_while_loads_are_on_their_way_stay_behind_the_backlog() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "1"));
    rig.publish(sender, q1(2, "a", "2"));
    rig.crash();
    rig.delay_loads();
    let client = rig.connect(v5("c").stored());
    assert!(rig.waiting_loads() > 0);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "3"));
    assert_eq!(rig.lines(client), NOTHING);
    while rig.waiting_loads() > 0 {
        rig.answer_loads();
    }
    assert_eq!(rig.lines(client), ["PUBLISH a 1 q1", "PUBLISH a 2 q1", "PUBLISH a 3 q1"]);
}

#[test]
fn a_load_that_comes_after_the_client_left_harms_nobody() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "1"));
    rig.crash();
    rig.delay_loads();
    let client = rig.connect(v5("c").stored());
    rig.cut(client);
    while rig.waiting_loads() > 0 {
        rig.answer_loads();
    }
    let client = rig.connect(v5("c").stored());
    while rig.waiting_loads() > 0 {
        rig.answer_loads();
    }
    assert_eq!(rig.deliveries(client).len(), 1);
}

#[test]
fn a_transient_sessions_backlog_is_counted_and_not_a_dead_letter() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").window(1));
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    for n in 1..=3 {
        rig.publish(sender, q1(n, "a", "x"));
    }
    rig.cut(client);
    assert!(rig.dead().is_empty());
    assert_eq!(rig.broker.counters().session_ended, 3);
}

#[test]
fn nothing_of_transient_sessions_is_ever_stored() {
    let mut rig = Rig::new();
    let five = rig.connect(v5("five").will(will("w", "x")));
    let four = rig.connect(v4("four"));
    for client in [five, four] {
        rig.subscribe(client, "a", 2);
        rig.publish(client, q2(1, "a", "x"));
        rig.publish(client, q1(2, "a", "x"));
    }
    assert!(rig.store.sessions.is_empty());
    assert!(rig.store.copies.is_empty());
    assert!(rig.store.subscriptions.is_empty());
    assert!(rig.store.received.is_empty());
}

/// A timer for each connection that ended would stay until its time comes.
#[test]
fn what_waited_for_the_client_to_stay_away_goes_when_it_comes_back() {
    const WEEK: u32 = 7 * 24 * 3600;
    let with_will = || expiry(WEEK).will(Will { delay: WEEK - 1, ..will("w", "x") });
    let mut rig = Rig::new();
    for _ in 0..3 {
        let client = rig.connect(with_will());
        assert_eq!(rig.broker.next_timeout(), None);
        rig.wait(1);
        rig.cut(client);
        rig.wait(1);
    }
    rig.connect(with_will());
    rig.connect(with_will()); // It takes over.
    assert_eq!(rig.broker.next_timeout(), None);
    rig.crash();
    rig.connect(with_will());
    assert_eq!(rig.broker.next_timeout(), None);
}

#[test]
fn what_waited_for_the_client_to_stay_away_goes_with_its_session() {
    let mut rig = Rig::new();
    for seconds in [1, 2, 3] {
        let delayed = Will { delay: 1000 + seconds, ..will("w", "x") };
        let client = rig.connect(expiry(2000 + seconds).will(delayed));
        rig.cut(client);
        let client = rig.connect(v5("c")); // Clean Start, without an expiry.
        assert_eq!(rig.broker.next_timeout(), None);
        rig.disconnect(client);
    }
    let client = rig.connect(expiry(10).will(Will { delay: 1000, ..will("w", "x") }));
    rig.cut(client);
    rig.wait(10); // Its will is due at its end.
    assert_eq!(rig.broker.sessions(), 0);
    assert_eq!(rig.broker.next_timeout(), None);
}
