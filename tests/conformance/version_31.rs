//! MQTT 3.1, as mosquitto takes it: 3.1.1 but for what is here.

use kedgemq::mqtt::{Reply, Version};
use kedgemq::turn::Event;

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

#[test]
fn each_qos_goes_both_ways_with_every_version() {
    for (reading, sending) in [(v3("r"), v5("s")), (v5("r"), v3("s")), (v3("r"), v3("s"))] {
        let mut rig = Rig::new();
        let reader = rig.connect(reading);
        rig.subscribe(reader, "a/#", 2);
        let sender = rig.connect(sending);
        rig.publish(sender, q0("a/0", "x"));
        rig.publish(sender, q1(1, "a/1", "y"));
        rig.publish(sender, q2(2, "a/2", "z"));
        rig.send(sender, pubrel(2));
        assert_eq!(rig.lines(reader), ["PUBLISH a/0 x q0", "PUBLISH a/1 y q1", "PUBLISH a/2 z q2"]);
        let kinds: Vec<_> = rig.lines(sender).iter().map(|line| line[..6].to_owned()).collect();
        assert_eq!(kinds, ["PUBACK", "PUBREC", "PUBCOM"]);
    }
}

#[test]
fn a_session_without_clean_session_goes_on_after_a_crash() {
    let mut rig = Rig::new();
    let client = rig.connect(v3("c").stored());
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.crash();
    assert_eq!(rig.broker.session_view("c").expect("it is stored").version, Version::V31);
    let sender_again = rig.connect(v5("p"));
    assert_ne!(sender, sender_again);
    rig.publish(sender_again, q1(1, "a", "x"));
    let client = rig.connect(v3("c").stored());
    assert_eq!(rig.lines(client), ["PUBLISH a x q1"]);
    let client = rig.connect(v3("c"));
    rig.cut(client);
    assert!(rig.broker.session_view("c").is_none(), "Clean Session");
}

#[test]
fn the_client_identifier_is_there_and_may_be_long() {
    let mut rig = Rig::new();
    for connect in [v3(""), v3("").stored()] {
        let client = rig.open(connect);
        assert_eq!(rig.lines(client), ["CONNACK 85", "CLOSE"]);
    }
    let client = rig.open(v3("longer than the 23 characters of its specification"));
    assert_eq!(rig.lines(client), ["CONNACK 00"]);
}

#[test]
fn a_suback_has_no_failure() {
    let mut rig = Rig::with(|settings| {
        settings.limits.shared_subscriptions = false;
        settings.limits.maximum_qos = qos(1);
    });
    let client = rig.connect(v3("c"));
    rig.send(client, subscribe(7, &[("$share/g/a", options(2)), ("b", options(2))]));
    assert_eq!(rig.lines(client), ["SUBACK 7 01 01"], "as mosquitto says it");
    rig.publish(client, q0("a", "x"));
    assert_eq!(rig.lines(client), NOTHING);
}

#[test]
fn there_is_no_disconnect_to_the_client() {
    let mut rig = Rig::new();
    let first = rig.connect(v3("c"));
    let second = rig.connect(v3("c"));
    assert_eq!(rig.lines(first), ["CLOSE"]);
    let no_reason = |reply: &Reply| matches!(reply, Reply::Disconnect(_));
    assert!(!rig.received(second).iter().any(no_reason));
    let connected = |event: &&Event| matches!(event, Event::Connected { .. });
    let Some(Event::Connected { version, .. }) = rig.events.iter().find(connected) else {
        panic!("{:?}", rig.events);
    };
    assert_eq!(version.name(), "3.1");
}

#[test]
fn what_is_refused_closes_the_connection() {
    let mut rig = Rig::with(|settings| settings.limits.retain_available = false);
    let client = rig.connect(v3("c"));
    rig.publish(client, keep(1, "a", "x"));
    assert_eq!(rig.lines(client), ["CLOSE"]);
}
