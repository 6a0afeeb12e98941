//! SUBSCRIBE, UNSUBSCRIBE and the matching of Topic Filters.

use kedgemq::mqtt::packet::SubscriptionOptions;

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

#[test]
fn mqtt_3_8_4_1_suback_has_the_identifier_and_a_code_for_each_filter_in_order() {
    // [MQTT-3.8.4-2], [MQTT-3.8.4-5], [MQTT-3.8.4-6], [MQTT-3.8.4-7], [MQTT-3.9.3-1]
    for connect in [v4("c"), v5("c")] {
        let mut rig = Rig::new();
        let client = rig.connect(connect);
        let filters = [("a", options(2)), ("b", options(0)), ("c", options(1))];
        rig.send(client, subscribe(77, &filters));
        assert_eq!(rig.lines(client), ["SUBACK 77 02 00 01"]);
    }
}

#[test]
fn mqtt_4_7_1_1_invalid_filters_are_refused_one_by_one() {
    // [MQTT-4.7.1-2], [MQTT-4.7.3-1], [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    for filter in
        ["a/#/b", "a#", "a+", "+a/b", "", "$share/g", "$share//a", "$share/g/", "$share/+/a"]
    {
        let mut rig = Rig::new();
        let client = rig.connect(v5("c"));
        rig.send(client, subscribe(7, &[("ok", options(1)), (filter, options(1))]));
        let lines = rig.lines(client);
        let refused = lines == ["SUBACK 7 01 8F"];
        let closed = rig.is_closed(client) && lines[0].starts_with("DISCONNECT");
        assert!(refused || closed, "{filter}: {lines:?}");
    }
}

#[test]
fn mqtt311_3_8_4_5_an_invalid_filter_is_a_failure_or_ends_the_connection() {
    let mut rig = Rig::new();
    let client = rig.connect(v4("c"));
    rig.send(client, subscribe(7, &[("a/#/b", options(1))]));
    let lines = rig.lines(client);
    assert!(lines == ["SUBACK 7 80"] || lines == ["CLOSE"], "{lines:?}");
}

#[test]
fn too_many_levels_in_a_filter_are_refused() {
    let mut rig = Rig::with(|settings| settings.limits.topic_levels = 3);
    let client = rig.connect(v5("c"));
    rig.send(client, subscribe(7, &[("a/b/c/d", options(1)), ("a/b/c", options(1))]));
    assert_eq!(rig.lines(client), ["SUBACK 7 8F 01"]);
}

#[test]
fn too_many_subscriptions_are_refused_with_quota_exceeded() {
    let mut rig = Rig::with(|settings| settings.limits.subscriptions = 2);
    let client = rig.connect(v5("c"));
    let filters = [("a", options(0)), ("b", options(0)), ("c", options(0)), ("a", options(1))];
    rig.send(client, subscribe(7, &filters));
    assert_eq!(rig.lines(client), ["SUBACK 7 00 00 97 01"]);
}

#[test]
fn mqtt_3_8_3_3_no_local_is_not_sent_back() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    let other = rig.connect(v5("d"));
    let no_local = SubscriptionOptions { no_local: true, ..options(0) };
    rig.subscribe_with(client, "a", no_local, None);
    rig.publish(client, q0("a", "mine"));
    rig.publish(other, q0("a", "others"));
    assert_eq!(rig.lines(client), ["PUBLISH a others q0"]);
}

#[test]
fn no_local_holds_for_that_filter_alone() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    let no_local = SubscriptionOptions { no_local: true, ..options(1) };
    rig.subscribe_with(client, "a", no_local, Some(1));
    rig.subscribe_with(client, "#", options(0), Some(2));
    rig.publish(client, q1(1, "a", "x"));
    let got = rig.deliveries(client);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].subscription_ids.as_deref(), Some(&[2][..]));
    assert_eq!(got[0].qos as u8, 0);
}

#[test]
fn mqtt_3_8_4_3_the_same_filter_replaces_the_subscription() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe_with(client, "a", options(2), Some(1));
    rig.subscribe_with(client, "a", options(0), Some(2));
    rig.publish(client, q1(1, "a", "x"));
    let got = rig.deliveries(client);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].qos as u8, 0);
    assert_eq!(got[0].subscription_ids.as_deref(), Some(&[2][..]));
    assert_eq!(rig.store.subscriptions.len(), 1);
}

#[test]
fn replacing_a_subscription_without_an_identifier_removes_the_old_one() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.subscribe_with(client, "a", options(0), Some(1));
    rig.subscribe_with(client, "a", options(0), None);
    rig.publish(client, q0("a", "x"));
    assert_eq!(rig.deliveries(client)[0].subscription_ids, None);
}

#[test]
fn mqtt_3_8_4_4_replacing_a_subscription_loses_nothing() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored().window(1));
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    for n in 1..=3 {
        rig.publish(sender, q1(n, "a", "x"));
    }
    let mut got = rig.deliveries(client);
    rig.subscribe(client, "a", 0);
    for _ in 0..2 {
        let id = got.last().and_then(|d| d.packet_id).expect("QoS 1 stays").get();
        rig.send(client, puback(id));
        got.extend(rig.deliveries(client));
    }
    assert_eq!(got.len(), 3);
}

#[test]
fn mqtt_3_10_4_4_unsuback_has_the_identifier_and_a_code_for_each_filter_in_order() {
    // [MQTT-3.10.4-5], [MQTT-3.10.4-6], [MQTT-3.11.3-1], [MQTT-3.11.3-2], [MQTT-2.2.1-6]
    let mut rig = Rig::new();
    let five = rig.connect(v5("five"));
    rig.subscribe(five, "a", 0);
    rig.subscribe(five, "b", 0);
    rig.send(five, unsubscribe(9, &["b", "never", "a", "a"]));
    assert_eq!(rig.lines(five), ["UNSUBACK 9 00 11 00 11"]);
    let four = rig.connect(v4("four"));
    rig.send(four, unsubscribe(9, &["never"]));
    assert_eq!(rig.lines(four), ["UNSUBACK 9"]);
}

#[test]
fn mqtt_3_10_4_1_filters_are_compared_character_by_character() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.subscribe(client, "a/b", 0);
    rig.send(client, unsubscribe(9, &["a/+", "#", "a/B", "a/b/"]));
    assert_eq!(rig.lines(client), ["UNSUBACK 9 11 11 11 11"]);
    rig.publish(client, q0("a/b", "x"));
    assert_eq!(rig.lines(client), ["PUBLISH a/b x q0"]);
}

#[test]
fn mqtt_3_10_4_2_after_unsubscribe_nothing_new_comes() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.send(client, unsubscribe(1, &["a"]));
    rig.lines(client);
    rig.publish(client, q1(1, "a", "x"));
    assert_eq!(rig.lines(client), ["PUBACK 1 10"]);
    assert!(rig.store.subscriptions.is_empty());
}

#[test]
fn mqtt_3_10_4_3_what_was_sent_is_completed_after_unsubscribe() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "a", "x"));
    let id = rig.packet_id(client);
    rig.send(client, unsubscribe(1, &["a"]));
    rig.lines(client);
    rig.cut(client);
    let client = rig.connect(v5("c").stored());
    assert_eq!(rig.lines(client), ["PUBLISH a x q2 dup"]);
    rig.send(client, pubrec(id));
    assert_eq!(rig.lines(client), ["PUBREL"]);
}

#[test]
fn mqtt_4_7_1_wildcards_match_levels() {
    let table = [
        ("#", "a", true),
        ("#", "a/b/c", true),
        ("#", "/", true),
        ("a/#", "a", true),
        ("a/#", "a/b/c", true),
        ("a/#", "ab", false),
        ("+", "a", true),
        ("+", "/a", false),
        ("/+", "/a", true),
        ("+/+", "/a", true),
        ("a/+", "a", false),
        ("a/+", "a/", true),
        ("a/+/c", "a/b/c", true),
        ("+/b/#", "a/b", true),
        ("a", "A", false),
        ("+/#", "a", true),
    ];
    for (filter, topic, matches) in table {
        let mut rig = Rig::new();
        let client = rig.connect(v5("c"));
        rig.subscribe(client, filter, 0);
        rig.publish(client, q0(topic, "x"));
        assert_eq!(rig.lines(client).len(), usize::from(matches), "{filter} {topic}");
    }
}

#[test]
fn mqtt_4_7_2_1_leading_wildcards_do_not_match_dollar_topics() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    for filter in ["#", "+/x", "+/#", "$own/#"] {
        rig.subscribe(client, filter, 0);
    }
    rig.publish(client, q1(1, "$own/x", "x"));
    let got = rig.deliveries(client);
    assert!(got.len() <= 1, "$own/# alone may match");
    rig.send(client, unsubscribe(1, &["$own/#"]));
    rig.lines(client);
    rig.publish(client, q1(2, "$own/x", "x"));
    assert!(rig.deliveries(client).is_empty());
}

#[test]
fn subscriptions_survive_a_crash_with_their_options() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    let all = SubscriptionOptions { no_local: true, retain_as_published: true, ..options(1) };
    rig.subscribe_with(client, "a", all, Some(5));
    rig.crash();
    let client = rig.connect(v5("c").stored());
    let sender = rig.connect(v5("p"));
    rig.publish(client, q1(1, "a", "mine"));
    rig.publish(sender, keep(1, "a", "x"));
    let got = rig.deliveries(client);
    assert_eq!(got.len(), 1);
    assert!(got[0].retain);
    assert_eq!(got[0].subscription_ids.as_deref(), Some(&[5][..]));
}

#[test]
fn an_unsubscribe_survives_a_crash() {
    let mut rig = Rig::new();
    let client = rig.connect(v4("c").stored());
    rig.subscribe(client, "a", 1);
    rig.send(client, unsubscribe(1, &["a"]));
    rig.crash();
    let client = rig.connect(v4("c").stored());
    rig.publish(client, q0("a", "x"));
    assert_eq!(rig.lines(client), NOTHING);
}

#[test]
fn mqtt_3_8_4_5_several_filters_are_as_several_subscribes() {
    let deep = "x/".repeat(200);
    let filters = [("a", 0), ("a/#", 2), ("b", 1), ("a", 1), (&deep, 1)];
    for connect in [v4("c").stored(), v5("c").stored()] {
        let outcome = |is_one_packet: bool| {
            let mut rig = Rig::new();
            let sender = rig.connect(v5("p"));
            rig.publish(sender, keep(1, "a", "kept"));
            let client = rig.connect(connect.clone());
            let filters: Vec<_> = filters.iter().map(|(f, qos)| (*f, options(*qos))).collect();
            if is_one_packet {
                rig.send(client, subscribe(1, &filters));
            } else {
                filters.iter().for_each(|filter| rig.send(client, subscribe(1, &[*filter])));
            }
            let mut codes = Vec::new();
            for reply in rig.received(client) {
                if let kedgemq::mqtt::Reply::SubAck(list) = reply {
                    codes.push(list.reasons);
                }
            }
            assert_eq!(codes.len(), if is_one_packet { 1 } else { filters.len() });
            rig.publish(sender, q1(2, "a", "new"));
            rig.publish(sender, q1(3, "b", "new"));
            (codes.concat(), rig.lines(client), rig.store.subscriptions.clone())
        };
        assert_eq!(outcome(true), outcome(false));
    }
}
