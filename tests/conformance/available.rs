//! What CONNACK says of the server, and what a client meets that does not keep to it.

use kedgemq::mqtt::reply::ConnAck;
use kedgemq::mqtt::{QoS, ReasonCode, Reply};

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

fn connack(rig: &mut Rig, connect: ConnectOptions) -> ConnAck {
    let client = rig.open(connect);
    let first = rig.received(client).remove(0);
    let Reply::ConnAck(ack) = first else { panic!("{first:?}") };
    assert_eq!(ack.reason, ReasonCode::SUCCESS);
    *ack
}

fn with_maximum(level: u8) -> Rig {
    Rig::with(|settings| settings.limits.maximum_qos = qos(level))
}

fn without_retain() -> Rig {
    Rig::with(|settings| settings.limits.retain_available = false)
}

#[test]
fn connack_says_only_what_is_not_taken_for_granted() {
    let ack = connack(&mut Rig::new(), v5("c"));
    assert_eq!(ack.maximum_qos, None);
    let available = [
        ack.retain_available,
        ack.wildcard_subscriptions,
        ack.subscription_identifiers,
        ack.shared_subscriptions,
    ];
    assert_eq!(available, [true; 4]);
    assert_eq!(
        (ack.session_expiry, ack.server_keep_alive, ack.assigned_client_id),
        Default::default()
    );
}

#[test]
fn mqtt_3_2_2_9_connack_tells_every_limit() {
    let mut rig = Rig::with(|settings| {
        let limits = &mut settings.limits;
        limits.maximum_qos = QoS::AtLeastOnce;
        limits.retain_available = false;
        limits.wildcard_subscriptions = false;
        limits.subscription_identifiers = false;
        limits.shared_subscriptions = false;
        limits.packet_size = 5_000;
        limits.receive_maximum = 7;
        limits.topic_alias_maximum = 3;
        limits.session_expiry = 60;
        limits.keep_alive = 30;
    });
    let connect = ConnectOptions { session_expiry: Some(3600), keep_alive: 90, ..v5("") };
    let ack = connack(&mut rig, connect);
    assert_eq!(ack.maximum_qos, Some(QoS::AtLeastOnce));
    let available = [
        ack.retain_available,
        ack.wildcard_subscriptions,
        ack.subscription_identifiers,
        ack.shared_subscriptions,
    ];
    assert_eq!(available, [false; 4]);
    assert_eq!(ack.maximum_packet_size, Some(5_000));
    assert_eq!((ack.receive_maximum, ack.topic_alias_maximum), (Some(7), 3));
    assert_eq!((ack.session_expiry, ack.server_keep_alive), (Some(60), Some(30)));
    assert!(ack.assigned_client_id.is_some());
}

#[test]
fn mqtt_3_2_2_10_a_subscription_is_granted_up_to_the_maximum_qos() {
    for connect in [v4("c"), v5("c")] {
        let mut rig = with_maximum(1);
        let client = rig.connect(connect);
        let filters = [("a", options(0)), ("b", options(1)), ("c", options(2))];
        rig.send(client, subscribe(7, &filters));
        assert_eq!(rig.lines(client), ["SUBACK 7 00 01 01"]);
    }
}

#[test]
fn mqtt_3_2_2_11_a_publish_above_the_maximum_qos_ends_the_connection() {
    for (maximum, publish) in [(1, q2(1, "a", "x")), (0, q1(1, "a", "x")), (0, q2(1, "a", "x"))] {
        for (connect, told) in
            [(v5("c"), &["DISCONNECT 9B", "CLOSE"][..]), (v4("c"), &["CLOSE"][..])]
        {
            let mut rig = with_maximum(maximum);
            let reader = rig.connect(v5("r"));
            rig.subscribe(reader, "a", 0);
            let client = rig.connect(connect);
            rig.publish(client, publish.clone());
            assert_eq!(rig.lines(client), told);
            assert_eq!(rig.lines(reader), NOTHING);
        }
    }
    let mut rig = with_maximum(1);
    let client = rig.connect(v5("c"));
    rig.publish(client, q1(1, "a", "x"));
    assert_eq!(rig.lines(client), ["PUBACK 1 10"]);
}

#[test]
fn mqtt_3_2_2_12_a_will_above_the_maximum_qos_is_refused() {
    let mut rig = with_maximum(0);
    let client = rig.open(v5("c").will(will("w", "x")));
    assert_eq!(rig.lines(client), ["CONNACK 9B", "CLOSE"]);
    let client = rig.open(v4("c").will(will("w", "x")));
    assert_eq!(rig.lines(client), ["CLOSE"], "no Return Code says it");
}

#[test]
fn a_qos_2_message_from_before_the_maximum_is_completed() {
    let mut rig = Rig::new();
    let reader = rig.connect(v5("r").stored());
    rig.subscribe(reader, "a", 2);
    rig.cut(reader);
    let client = rig.connect(v5("c").stored());
    rig.publish(client, q2(1, "a", "x"));
    rig.change(|settings| settings.limits.maximum_qos = QoS::AtLeastOnce);
    let client = rig.connect(v5("c").stored());
    rig.publish(client, dup(q2(1, "a", "x")));
    rig.send(client, pubrel(1));
    assert_eq!(rig.lines(client), ["PUBREC 1 00", "PUBCOMP 1 00"]);
    let reader = rig.connect(v5("r").stored());
    assert_eq!(rig.lines(reader), ["PUBLISH a x q2"], "it was stored with that guarantee");
}

#[test]
fn mqtt_3_2_2_14_a_retained_publish_ends_the_connection_where_there_is_none() {
    for publish in [retained(q0("a", "x")), keep(1, "a", "x"), keep(1, "a", "")] {
        for (connect, told) in
            [(v5("c"), &["DISCONNECT 9A", "CLOSE"][..]), (v4("c"), &["CLOSE"][..])]
        {
            let mut rig = without_retain();
            let client = rig.connect(connect);
            rig.publish(client, publish.clone());
            assert_eq!(rig.lines(client), told);
            assert!(rig.store.retained.is_empty());
        }
    }
}

#[test]
fn mqtt_3_2_2_13_a_retained_will_is_refused_where_there_is_none() {
    let retained = || kedgemq::mqtt::packet::Will { retain: true, ..will("w", "x") };
    let mut rig = without_retain();
    let client = rig.open(v5("c").will(retained()));
    assert_eq!(rig.lines(client), ["CONNACK 9A", "CLOSE"]);
    let client = rig.open(v4("c").will(retained()));
    assert_eq!(rig.lines(client), ["CLOSE"], "no Return Code says it");
    let client = rig.open(v5("c").will(will("w", "x")));
    assert_eq!(rig.lines(client), ["CONNACK 00"]);
}

#[test]
fn wildcards_where_there_are_none() {
    let mut rig = Rig::with(|settings| settings.limits.wildcard_subscriptions = false);
    for filter in ["a/#", "+/b", "$share/g/+"] {
        let client = rig.connect(v5("c"));
        rig.send(client, subscribe(7, &[("a", options(0)), (filter, options(0))]));
        assert_eq!(rig.lines(client), ["DISCONNECT A2", "CLOSE"]);
        let client = rig.connect(v4("c"));
        rig.send(client, subscribe(7, &[("a", options(0)), (filter, options(0))]));
        assert_eq!(rig.lines(client), ["SUBACK 7 00 80"]);
    }
}

#[test]
fn subscription_identifiers_where_there_are_none() {
    let mut rig = Rig::with(|settings| settings.limits.subscription_identifiers = false);
    let client = rig.connect(v5("c"));
    rig.send(client, subscribe(7, &[("a", options(0))]));
    rig.send(client, subscribe_with_id(8, 1, &[("a", options(0))]));
    assert_eq!(rig.lines(client), ["SUBACK 7 00", "DISCONNECT A1", "CLOSE"]);
}

#[test]
fn shared_subscriptions_where_there_are_none() {
    let mut rig = Rig::with(|settings| settings.limits.shared_subscriptions = false);
    let client = rig.connect(v5("c"));
    rig.send(client, subscribe(7, &[("$share/g/a", options(0))]));
    assert_eq!(rig.lines(client), ["DISCONNECT 9E", "CLOSE"]);
    let client = rig.connect(v4("c"));
    rig.send(client, subscribe(7, &[("$share/g/a", options(0)), ("a", options(1))]));
    assert_eq!(rig.lines(client), ["SUBACK 7 80 01"]);
}

#[test]
fn what_was_subscribed_before_a_limit_goes_on() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe_with(client, "a/#", options(2), Some(3));
    rig.subscribe(client, "$share/g/b", 1);
    rig.change(|settings| {
        let limits = &mut settings.limits;
        limits.wildcard_subscriptions = false;
        limits.subscription_identifiers = false;
        limits.shared_subscriptions = false;
        limits.maximum_qos = QoS::AtLeastOnce;
    });
    let client = rig.connect(v5("c").stored());
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a/x", "1"));
    rig.publish(sender, q1(2, "b", "2"));
    assert_eq!(rig.lines(client), ["PUBLISH a/x 1 q1", "PUBLISH b 2 q1"]);
    rig.send(client, unsubscribe(7, &["a/#", "$share/g/b"]));
    assert_eq!(rig.lines(client), ["UNSUBACK 7 00 00"]);
}
