//! PUBLISH from clients: how it is answered, at each QoS, and what is passed on.

use kedgemq::mqtt::packet::Publish;

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

#[test]
fn mqtt_3_3_4_1_each_qos_has_its_answer() {
    for connect in [v4("p"), v5("p")] {
        let mut rig = Rig::new();
        let watcher = rig.connect(v5("w"));
        rig.subscribe(watcher, "a", 0);
        let v5 = connect.version == kedgemq::mqtt::Version::V5;
        let code = if v5 { " 00" } else { "" };
        let sender = rig.connect(connect);
        rig.publish(sender, q0("a", "0"));
        assert_eq!(rig.lines(sender), NOTHING);
        rig.publish(sender, q1(7, "a", "1"));
        assert_eq!(rig.lines(sender), [format!("PUBACK 7{code}")]);
        rig.publish(sender, q2(8, "a", "2"));
        assert_eq!(rig.lines(sender), [format!("PUBREC 8{code}")]);
        rig.send(sender, pubrel(8));
        assert_eq!(rig.lines(sender), [format!("PUBCOMP 8{code}")]);
    }
}

#[test]
fn no_matching_subscribers_is_said_to_v5_publishers() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    rig.publish(sender, q2(2, "a", "x"));
    assert_eq!(rig.lines(sender), ["PUBACK 1 10", "PUBREC 2 10"]);
}

#[test]
fn no_matching_subscribers_is_a_success_and_the_qos_2_flow_goes_on() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(2, "a", "x"));
    rig.publish(sender, dup(q2(2, "a", "x")));
    rig.send(sender, pubrel(2));
    assert_eq!(rig.lines(sender).last().expect("PUBCOMP"), "PUBCOMP 2 00");
}

#[test]
fn no_local_leaves_no_matching_subscriber() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    let no_local = kedgemq::mqtt::packet::SubscriptionOptions { no_local: true, ..options(1) };
    rig.subscribe_with(client, "a", no_local, None);
    rig.publish(client, q1(1, "a", "x"));
    assert_eq!(rig.lines(client), ["PUBACK 1 10"]);
}

#[test]
fn mqtt_3_3_1_3_dup_of_the_publisher_is_not_passed_on() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.subscribe(client, "a", 2);
    rig.publish(client, dup(q1(1, "a", "x")));
    assert!(!rig.deliveries(client)[0].dup);
}

#[test]
fn mqtt_4_3_2_5_after_puback_the_identifier_means_a_new_message() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 0);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    rig.publish(sender, dup(q1(1, "a", "y")));
    assert_eq!(rig.lines(watcher), ["PUBLISH a x q0", "PUBLISH a y q0"]);
    assert_eq!(rig.lines(sender), ["PUBACK 1 00", "PUBACK 1 00"]);
}

#[test]
fn mqtt_4_3_3_10_until_pubrel_a_repeat_is_acknowledged_and_not_passed_on() {
    for connect in [v4("p"), v5("p"), v4("p").stored(), v5("p").stored()] {
        let mut rig = Rig::new();
        let watcher = rig.connect(v5("w"));
        rig.subscribe(watcher, "a", 2);
        let sender = rig.connect(connect);
        rig.publish(sender, q2(9, "a", "x"));
        rig.publish(sender, dup(q2(9, "a", "x")));
        rig.publish(sender, q2(9, "a", "x"));
        assert_eq!(rig.deliveries(watcher).len(), 1);
        let lines = rig.lines(sender);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.starts_with("PUBREC 9")));
    }
}

#[test]
fn mqtt_4_3_3_11_pubrel_is_answered_with_its_identifier() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(500, "a", "x"));
    rig.lines(sender);
    rig.send(sender, pubrel(500));
    assert_eq!(rig.lines(sender), ["PUBCOMP 500 00"]);
}

#[test]
fn pubrel_of_an_unknown_identifier_is_answered_with_0x92() {
    let mut rig = Rig::new();
    let five = rig.connect(v5("five"));
    rig.send(five, pubrel(5));
    assert_eq!(rig.lines(five), ["PUBCOMP 5 92"]);
    let four = rig.connect(v4("four"));
    rig.send(four, pubrel(5));
    assert_eq!(rig.lines(four), ["PUBCOMP 5"]);
}

#[test]
fn mqtt_4_3_3_12_after_pubcomp_the_identifier_means_a_new_message() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 0);
    let sender = rig.connect(v5("p"));
    for payload in ["x", "y"] {
        rig.publish(sender, q2(1, "a", payload));
        rig.send(sender, pubrel(1));
    }
    assert_eq!(rig.lines(watcher), ["PUBLISH a x q0", "PUBLISH a y q0"]);
}

#[test]
fn mqtt_4_3_3_9_after_a_refusing_pubrec_the_identifier_is_free() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 0);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "$dead/x", "x"));
    let refused = rig.lines(sender);
    assert!(refused == ["PUBREC 1 87"] || refused == ["PUBREC 1 90"], "{refused:?}");
    rig.publish(sender, q2(1, "a", "y"));
    assert_eq!(rig.lines(watcher), ["PUBLISH a y q0"]);
}

#[test]
fn mqtt_4_6_0_5_messages_of_one_publisher_stay_in_their_order() {
    for level in 0..=2 {
        let mut rig = Rig::new();
        let watcher = rig.connect(v5("w"));
        rig.subscribe(watcher, "a", level);
        let sender = rig.connect(v5("p"));
        let payloads: Vec<String> = (1..=50).map(|n| n.to_string()).collect();
        for (n, payload) in (1..).zip(&payloads) {
            rig.publish(
                sender,
                match level {
                    0 => q0("a", payload),
                    1 => q1(n, "a", payload),
                    _ => q2(n, "a", payload),
                },
            );
        }
        let got = rig.deliveries(watcher);
        let got: Vec<_> = got.iter().map(|d| d.message.payload.clone()).collect();
        assert_eq!(got, payloads);
    }
}

#[test]
fn mqtt_3_3_4_7_more_than_receive_maximum_ends_the_connection() {
    let mut rig = Rig::with(|settings| settings.limits.receive_maximum = 2);
    let sender = rig.connect(v5("p"));
    for n in 1..=3 {
        rig.publish(sender, q2(n, "a", "x"));
    }
    assert_eq!(rig.lines(sender), ["PUBREC 1 10", "PUBREC 2 10", "DISCONNECT 93", "CLOSE"]);
}

/// Libraries that are much used have as many in flight as they are asked to publish, whatever
/// Receive Maximum they are told.
#[test]
fn by_default_thousands_may_be_in_flight() {
    const COUNT: u16 = 4_000;
    let mut rig = Rig::new();
    for connect in [v4("p"), v5("p")] {
        let sender = rig.connect(connect);
        rig.hold_commits();
        for n in 1..=COUNT {
            let publish = if n % 2 == 0 { keep(n, "a", "x") } else { q2(n, "a", "x") };
            rig.publish(sender, publish);
        }
        rig.commit_at_once();
        let answers = rig.lines(sender);
        assert_eq!(answers.len(), usize::from(COUNT));
        assert!(answers.iter().all(|line| line.starts_with("PUB")), "acknowledged, no more");
    }
}

#[test]
fn receive_maximum_counts_what_waits_for_the_disk() {
    let mut rig = Rig::with(|settings| settings.limits.receive_maximum = 2);
    let sender = rig.connect(v5("p"));
    rig.hold_commits();
    for n in 1..=3 {
        rig.publish(sender, keep(n, "a", "x"));
    }
    assert!(rig.lines(sender).contains(&"DISCONNECT 93".to_owned()));
}

#[test]
fn receive_maximum_does_not_count_what_is_acknowledged() {
    let mut rig = Rig::with(|settings| settings.limits.receive_maximum = 2);
    let sender = rig.connect(v5("p"));
    for n in 1..=20 {
        rig.publish(sender, q1(n, "a", "x"));
        rig.publish(sender, q2(n + 100, "a", "x"));
        rig.send(sender, pubrel(n + 100));
    }
    assert!(!rig.is_closed(sender));
}

#[test]
fn receive_maximum_does_not_count_a_repeat_twice() {
    let mut rig = Rig::with(|settings| settings.limits.receive_maximum = 2);
    let sender = rig.connect(v5("p"));
    for _ in 0..5 {
        rig.publish(sender, q2(1, "a", "x"));
    }
    assert!(!rig.is_closed(sender));
}

#[test]
fn receive_maximum_starts_anew_on_a_new_connection() {
    let mut rig = Rig::with(|settings| settings.limits.receive_maximum = 2);
    let first = rig.connect(v5("p").stored());
    rig.publish(first, q2(1, "a", "x"));
    rig.publish(first, q2(2, "a", "x"));
    rig.cut(first);
    let second = rig.connect(v5("p").stored());
    rig.publish(second, dup(q2(1, "a", "x")));
    rig.publish(second, dup(q2(2, "a", "x")));
    assert!(!rig.is_closed(second));
    assert_eq!(rig.lines(second).len(), 2);
}

#[test]
fn too_many_topic_levels_are_refused() {
    let mut rig = Rig::with(|settings| settings.limits.topic_levels = 3);
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "#", 0);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a/b/c/d", "x"));
    assert!(rig.lines(sender)[0].ends_with(" 90"));
    assert_eq!(rig.lines(watcher), NOTHING);
}

#[test]
fn properties_are_passed_on_untouched_and_in_order() {
    // [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18],
    // [MQTT-3.3.2-20]
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 1);
    let mut properties = vec![0x01, 1, 0x03, 0, 1, b't', 0x08, 0, 1, b'r', 0x09, 0, 2, 7, 8];
    properties.extend(user_property("b", "2"));
    properties.extend(user_property("a", "1"));
    properties.extend(user_property("b", "2"));
    let sender = rig.connect(v5("p"));
    rig.publish(sender, Publish { properties: (&properties).into(), ..q1(1, "a", "x") });
    rig.cut(watcher);
    let watcher = rig.connect(v5("w").stored());
    let again = rig.deliveries(watcher);
    assert_eq!(*again[0].message.properties, *properties);
}

#[test]
fn mqtt_4_3_2_4_puback_carries_the_identifier() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    for n in [1, 255, 256, 65_535] {
        rig.publish(sender, q1(n, "a", "x"));
        assert_eq!(rig.lines(sender), [format!("PUBACK {n} 10")]);
    }
}

#[test]
fn mqtt_4_7_3_4_topics_are_not_normalized() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    for filter in ["a", "/a", "A", "a/", "\u{e9}", "a//b"] {
        rig.subscribe(watcher, filter, 0);
    }
    let sender = rig.connect(v5("p"));
    for topic in ["e\u{301}", "//a", "a/b", "a ", "a///b"] {
        rig.publish(sender, q0(topic, "x"));
    }
    assert_eq!(rig.lines(watcher), NOTHING);
    for topic in ["/a", "\u{e9}", "a//b"] {
        rig.publish(sender, q0(topic, "x"));
    }
    assert_eq!(rig.lines(watcher).len(), 3);
}

#[test]
fn mqtt_4_3_3_13_the_flow_goes_on_though_the_message_expired() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 2);
    rig.cut(watcher);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, expiring(5, q2(1, "a", "x")));
    rig.wait(100);
    rig.publish(sender, dup(expiring(5, q2(1, "a", "x"))));
    rig.send(sender, pubrel(1));
    assert_eq!(rig.lines(sender), ["PUBREC 1 00", "PUBREC 1 00", "PUBCOMP 1 00"]);
    let watcher = rig.connect(v5("w").stored());
    assert_eq!(rig.lines(watcher), NOTHING, "neither message expired unseen nor its repeat");
}
