//! What MQTT 3.1.1 asks in words of its own, and what both ask, shown with clients of 3.1.1.

use kedgemq::auth::Admission;
use kedgemq::mqtt::QoS;
use kedgemq::mqtt::packet::{Publish, Will};

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

#[test]
fn mqtt311_2_3_1_4_identifiers_in_use_differ() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v4("w"));
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v4("p"));
    for n in 1..=20 {
        rig.publish(sender, q1(n, "a", "x"));
        rig.publish(sender, q2(n + 100, "a", "x"));
    }
    let mut ids: Vec<_> = rig.deliveries(watcher).iter().map(|d| d.packet_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40);
}

#[test]
fn mqtt311_3_1_2_7_retained_messages_stay_when_the_session_ends() {
    let mut rig = Rig::new();
    for connect in [v4("clean"), v4("stored").stored()] {
        let name = connect.client_id.clone();
        let client = rig.connect(connect);
        rig.publish(client, keep(1, &name, "x"));
        rig.disconnect(client);
        let again = rig.connect(v4(&name));
        rig.disconnect(again);
    }
    let watcher = rig.connect(v4("w"));
    rig.subscribe(watcher, "#", 0);
    assert_eq!(rig.lines(watcher), ["PUBLISH clean x q0 retain", "PUBLISH stored x q0 retain"]);
}

#[test]
fn mqtt311_3_1_2_9_the_will_has_the_qos_of_its_flags() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut rig = Rig::new();
        let watcher = rig.connect(v4("w"));
        rig.subscribe(watcher, "will", 2);
        let client = rig.connect(v4("c").will(Will { qos, ..will("will", "dead") }));
        rig.cut(client);
        assert_eq!(rig.lines(watcher), [format!("PUBLISH will dead q{}", qos as u8)]);
        assert!(rig.store.retained.is_empty(), "[MQTT-3.1.2-16]");
    }
}

#[test]
fn mqtt311_3_1_2_10_a_will_is_published_once() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v4("w"));
    rig.subscribe(watcher, "will", 0);
    let client = rig.connect(v4("c").stored().will(will("will", "dead")));
    rig.cut(client);
    assert_eq!(rig.lines(watcher), ["PUBLISH will dead q0"]);
    rig.connect(v4("c")); // It ends the session, and with it what is left of a will.
    rig.wait(1_000);
    assert_eq!(rig.lines(watcher), NOTHING);
}

#[test]
fn mqtt311_3_1_2_12_without_a_will_none_is_published() {
    // Nor that of an older connection, which waited for its delay in 5.0.
    let delayed = Will { delay: 1_000, ..will("will", "old") };
    let mut rig = Rig::new();
    let watcher = rig.connect(v4("w"));
    rig.subscribe(watcher, "#", 0);
    let client = rig.connect(v5("c").stored().will(delayed));
    rig.cut(client);
    let client = rig.connect(v4("c").stored());
    rig.cut(client);
    rig.connect(v4("c"));
    rig.wait(10_000);
    assert_eq!(rig.lines(watcher), NOTHING);
}

#[test]
fn mqtt311_3_1_3_2_the_client_identifier_names_the_session() {
    let mut rig = Rig::new();
    let first = rig.connect(v4("c").stored());
    rig.subscribe(first, "a", 1);
    rig.disconnect(first);
    let other = rig.open(v4("C").stored());
    assert_eq!(rig.lines(other), ["CONNACK 00"]);
    let same = rig.open(v4("c").stored());
    assert_eq!(rig.lines(same), ["CONNACK 00 present"]);
}

#[test]
fn mqtt311_3_1_3_6_two_empty_client_identifiers_are_two_clients() {
    let mut rig = Rig::new();
    let (first, second) = (rig.connect(v4("")), rig.connect(v4("")));
    rig.subscribe(first, "a", 0);
    rig.publish(second, q0("a", "x"));
    assert_eq!(rig.lines(first), ["PUBLISH a x q0"]);
    assert!(!rig.is_closed(first), "nobody took it over");
}

#[test]
fn mqtt311_3_1_4_5_nothing_is_done_for_a_refused_client() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v4("w"));
    rig.subscribe(watcher, "#", 0);
    let admission = Admission::NotAuthorized;
    let refused = rig.open(ConnectOptions { admission, ..v4("c").stored() });
    rig.publish(refused, q1(1, "a", "x"));
    rig.send(refused, subscribe(2, &[("#", options(1))]));
    assert_eq!(rig.lines(refused), ["CONNACK 87", "CLOSE"]);
    assert_eq!(rig.lines(watcher), NOTHING);
    assert!(rig.store.subscriptions.is_empty() && rig.store.session_of("c").is_none());
}

#[test]
fn mqtt311_3_2_0_1_connack_comes_first() {
    let mut rig = Rig::new();
    let first = rig.connect(v4("c").stored());
    rig.subscribe(first, "a", 1);
    rig.cut(first);
    let sender = rig.connect(v4("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let second = rig.open(v4("c").stored());
    assert_eq!(rig.lines(second), ["CONNACK 00 present", "PUBLISH a x q1"]);
}

#[test]
fn mqtt311_3_2_2_1_clean_session_is_never_session_present() {
    let mut rig = Rig::new();
    let first = rig.connect(v4("c").stored());
    rig.disconnect(first);
    let second = rig.open(v4("c"));
    assert_eq!(rig.lines(second), ["CONNACK 00"]);
}

#[test]
fn mqtt311_3_2_2_6_where_no_return_code_fits_there_is_no_connack() {
    let mut rig = Rig::with(|settings| settings.limits.topic_levels = 3);
    let too_deep = will("a/b/c/d", "x");
    let four = rig.open(v4("four").will(too_deep.clone()));
    assert_eq!(rig.lines(four), ["CLOSE"]);
    let five = rig.open(v5("five").will(too_deep));
    assert_eq!(rig.lines(five), ["CONNACK 90", "CLOSE"]);
}

#[test]
fn mqtt311_3_3_1_3_dup_of_the_publisher_is_not_passed_on() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v4("w"));
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v4("p"));
    rig.publish(sender, dup(q1(1, "a", "1")));
    rig.publish(sender, dup(q2(2, "a", "2")));
    assert_eq!(rig.lines(watcher), ["PUBLISH a 1 q1", "PUBLISH a 2 q2"]);
}

#[test]
fn mqtt311_3_3_1_5_retained_messages_and_their_qos_are_kept() {
    // [MQTT-3.3.1-6], [MQTT-3.3.1-8]
    let mut rig = Rig::new();
    let sender = rig.connect(v4("p"));
    rig.publish(sender, keep(1, "a/1", "old"));
    rig.publish(sender, keep(1, "a/1", "1"));
    rig.publish(sender, retained(q2(2, "a/2", "2")));
    let watcher = rig.connect(v4("w"));
    rig.subscribe(watcher, "a/+", 2);
    assert_eq!(rig.lines(watcher), ["PUBLISH a/1 1 q1 retain", "PUBLISH a/2 2 q2 retain"]);
}

#[test]
fn mqtt311_3_3_1_7_a_retained_qos_0_message_replaces_the_one_before() {
    let mut rig = Rig::new();
    let sender = rig.connect(v4("p"));
    rig.publish(sender, keep(1, "a", "old"));
    rig.publish(sender, retained(q0("a", "new")));
    let watcher = rig.connect(v4("w"));
    rig.subscribe(watcher, "a", 1);
    assert_eq!(rig.lines(watcher), ["PUBLISH a new q0 retain"]);
}

#[test]
fn mqtt311_3_3_1_10_an_empty_payload_is_passed_on_and_removes_the_retained_message() {
    // [MQTT-3.3.1-11]
    let mut rig = Rig::new();
    let sender = rig.connect(v4("p"));
    rig.publish(sender, keep(1, "a", "x"));
    let watcher = rig.connect(v4("w"));
    rig.subscribe(watcher, "a", 1);
    rig.lines(watcher);
    rig.publish(sender, keep(2, "a", ""));
    assert_eq!(rig.lines(watcher), ["PUBLISH a  q1"]);
    assert!(rig.store.retained.is_empty());
    let late = rig.connect(v4("late"));
    rig.subscribe(late, "a", 1);
    assert_eq!(rig.lines(late), NOTHING);
}

#[test]
fn mqtt311_3_3_1_12_without_retain_nothing_changes() {
    let mut rig = Rig::new();
    let sender = rig.connect(v4("p"));
    rig.publish(sender, keep(1, "a", "x"));
    rig.publish(sender, q1(2, "a", "y"));
    rig.publish(sender, q0("a", ""));
    rig.publish(sender, q0("b", "z"));
    let watcher = rig.connect(v4("w"));
    rig.subscribe(watcher, "#", 0);
    assert_eq!(rig.lines(watcher), ["PUBLISH a x q0 retain"]);
}

#[test]
fn mqtt311_3_3_2_3_only_what_matches_is_sent() {
    // [MQTT-4.7.2-1]
    let mut rig = Rig::new();
    let watcher = rig.connect(v4("w"));
    for filter in ["a/+/c", "+/x", "b/#"] {
        rig.subscribe(watcher, filter, 0);
    }
    let sender = rig.connect(v4("p"));
    for topic in ["a/b/c", "a/c", "a/b/c/d", "$own/x", "c/x", "b", "b/1/2", "bb"] {
        rig.publish(sender, q0(topic, "x"));
    }
    let topics: Vec<_> = rig.deliveries(watcher).iter().map(|d| d.message.topic.clone()).collect();
    assert_eq!(topics.iter().map(|t| &**t).collect::<Vec<_>>(), ["a/b/c", "c/x", "b", "b/1/2"]);
}

#[test]
fn mqtt311_3_8_4_3_the_same_filter_replaces_the_subscription() {
    let mut rig = Rig::new();
    let sender = rig.connect(v4("p"));
    rig.publish(sender, keep(1, "a", "kept"));
    let client = rig.connect(v4("c"));
    rig.subscribe(client, "a", 2);
    rig.publish(sender, q2(2, "a", "1"));
    rig.subscribe(client, "a", 0);
    rig.publish(sender, q2(3, "a", "2"));
    assert_eq!(
        rig.lines(client),
        [
            "PUBLISH a kept q1 retain",
            "PUBLISH a 1 q2",
            "PUBLISH a kept q0 retain",
            "PUBLISH a 2 q0"
        ]
    );
}

#[test]
fn mqtt311_3_8_4_6_the_lower_qos_of_message_and_subscription_counts() {
    for (granted, expected) in [(0, [0, 0, 0]), (1, [0, 1, 1]), (2, [0, 1, 2])] {
        let mut rig = Rig::new();
        let watcher = rig.connect(v4("w"));
        rig.subscribe(watcher, "a", granted);
        let sender = rig.connect(v4("p"));
        rig.publish(sender, q0("a", "x"));
        rig.publish(sender, q1(1, "a", "x"));
        rig.publish(sender, q2(2, "a", "x"));
        let got = rig.deliveries(watcher);
        assert_eq!(got.iter().map(|d| d.qos as u8).collect::<Vec<_>>(), expected);
        assert!(got.iter().all(|d| d.packet_id.is_some() == (d.qos as u8 > 0)));
        assert!(got.iter().all(|d| !d.dup), "[MQTT-3.3.1-2], [MQTT-4.3.1-1]");
    }
}

#[test]
fn mqtt311_3_10_4_1_unsubscribe_compares_character_by_character() {
    let mut rig = Rig::new();
    let client = rig.connect(v4("c"));
    rig.subscribe(client, "a/b", 0);
    rig.send(client, unsubscribe(9, &["a/+", "#", "a/B", "a/b/"]));
    rig.publish(client, q0("a/b", "x"));
    assert_eq!(rig.lines(client), ["UNSUBACK 9", "PUBLISH a/b x q0"]);
}

#[test]
fn mqtt311_3_10_4_2_after_unsubscribe_nothing_new_comes() {
    // [MQTT-3.10.4-6]: for each of its filters, with one UNSUBACK.
    let mut rig = Rig::new();
    let client = rig.connect(v4("c").stored());
    for filter in ["a", "b", "c/#"] {
        rig.subscribe(client, filter, 1);
    }
    rig.send(client, unsubscribe(1, &["a", "never", "c/#"]));
    for (n, topic) in (2..).zip(["a", "b", "c/d"]) {
        rig.publish(client, q1(n, topic, "x"));
    }
    let answers = ["UNSUBACK 1", "PUBACK 2", "PUBLISH b x q1", "PUBACK 3", "PUBACK 4"];
    assert_eq!(rig.lines(client), answers);
}

#[test]
fn mqtt311_3_10_4_3_what_was_sent_is_completed_after_unsubscribe() {
    let mut rig = Rig::new();
    let client = rig.connect(v4("c").stored());
    rig.subscribe(client, "a", 2);
    let sender = rig.connect(v4("p"));
    rig.publish(sender, q2(1, "a", "x"));
    let id = rig.packet_id(client);
    rig.send(client, unsubscribe(1, &["a"]));
    rig.lines(client);
    rig.cut(client);
    let client = rig.connect(v4("c").stored());
    assert_eq!(rig.lines(client), ["PUBLISH a x q2 dup"]);
    rig.send(client, pubrec(id));
    assert_eq!(rig.lines(client), ["PUBREL"]);
}

#[test]
fn mqtt311_4_1_0_2_a_session_lasts_as_long_as_its_connection() {
    let mut rig = Rig::with(|settings| settings.limits.session_expiry = 10);
    for connect in [v4("clean"), v4("stored").stored()] {
        let client = rig.connect(connect);
        rig.subscribe(client, "a", 0);
        rig.wait(100_000);
        rig.publish(client, q0("a", "x"));
        assert_eq!(rig.lines(client), ["PUBLISH a x q0"]);
        rig.send(client, unsubscribe(1, &["a"]));
    }
}

#[test]
fn mqtt311_4_3_2_1_until_puback_it_is_sent_again() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v4("w").stored());
    rig.subscribe(watcher, "a", 1);
    let sender = rig.connect(v4("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let id = rig.packet_id(watcher);
    rig.cut(watcher);
    let watcher = rig.connect(v4("w").stored());
    assert_eq!(rig.packet_id(watcher), id);
    rig.send(watcher, puback(id));
    rig.cut(watcher);
    let watcher = rig.open(v4("w").stored());
    assert_eq!(rig.lines(watcher), ["CONNACK 00 present"]);
}

#[test]
fn mqtt311_4_3_2_2_after_puback_the_identifier_means_a_new_message() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v4("w"));
    rig.subscribe(watcher, "a", 0);
    let sender = rig.connect(v4("p"));
    rig.publish(sender, q1(1, "a", "x"));
    rig.publish(sender, dup(q1(1, "a", "y")));
    assert_eq!(rig.lines(watcher), ["PUBLISH a x q0", "PUBLISH a y q0"]);
    assert_eq!(rig.lines(sender), ["PUBACK 1", "PUBACK 1"]);
}

#[test]
fn mqtt311_4_3_3_2_after_pubcomp_the_identifier_means_a_new_message() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v4("w"));
    rig.subscribe(watcher, "a", 2);
    let sender = rig.connect(v4("p"));
    for payload in ["x", "y"] {
        rig.publish(sender, q2(7, "a", payload));
        rig.send(sender, pubrel(7));
    }
    assert_eq!(rig.lines(watcher), ["PUBLISH a x q2", "PUBLISH a y q2"]);
    assert_eq!(rig.lines(sender), ["PUBREC 7", "PUBCOMP 7", "PUBREC 7", "PUBCOMP 7"]);
}

#[test]
fn mqtt311_4_6_0_2_acknowledgements_stand_in_the_order_of_the_publishes() {
    // [MQTT-4.6.0-3]: whether each had to wait for the disk or not.
    let mut rig = Rig::new();
    let stored = rig.connect(v4("s").stored());
    rig.subscribe(stored, "stored", 2);
    let sender = rig.connect(v4("p"));
    rig.hold_commits();
    rig.publish(sender, q1(1, "stored", "x"));
    rig.publish(sender, q2(2, "nobody", "x"));
    rig.publish(sender, q2(3, "stored", "x"));
    rig.publish(sender, q1(4, "nobody", "x"));
    assert_eq!(rig.lines(sender), NOTHING);
    rig.commit();
    assert_eq!(rig.lines(sender), ["PUBACK 1", "PUBREC 2", "PUBREC 3", "PUBACK 4"]);
}

#[test]
fn mqtt311_4_6_0_6_messages_of_one_publisher_stay_in_their_order() {
    // [MQTT-4.6.0-5]: on every topic.
    for level in 0..=2 {
        let mut rig = Rig::new();
        let watcher = rig.connect(v4("w"));
        rig.subscribe(watcher, "#", level);
        let sender = rig.connect(v4("p"));
        let payloads: Vec<String> = (1..=60).map(|n| n.to_string()).collect();
        for (n, payload) in (1..).zip(&payloads) {
            let topic = ["a", "b/c"][usize::from(n % 2)];
            let packet_id = (level > 0).then(|| id(n));
            rig.publish(sender, Publish { qos: qos(level), packet_id, ..q0(topic, payload) });
        }
        let got = rig.deliveries(watcher);
        let got: Vec<_> = got.iter().map(|d| d.message.payload.clone()).collect();
        assert_eq!(got, payloads);
    }
}
