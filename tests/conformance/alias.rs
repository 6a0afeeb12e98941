//! Topic Alias, both ways.

use std::collections::HashMap;

use kedgemq::mqtt::Delivery;
use kedgemq::mqtt::reply::TopicAlias;

use crate::packets::*;
use crate::rig::Rig;

/// The topics as a client reads them: by the alias alone where only that is on the wire.
fn read(known: &mut HashMap<u16, String>, deliveries: &[Delivery]) -> Vec<String> {
    let read = |delivery: &Delivery| match delivery.topic_alias {
        None => delivery.message.topic.to_string(),
        Some(TopicAlias::Define(alias)) => {
            known.insert(alias, delivery.message.topic.to_string());
            delivery.message.topic.to_string()
        }
        Some(TopicAlias::Use(alias)) => known[&alias].clone(),
    };
    deliveries.iter().map(read).collect()
}

#[test]
fn mqtt_3_3_2_12_a_client_may_use_all_aliases_up_to_the_maximum() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "#", 0);
    let sender = rig.connect(v5("p"));
    for alias in 1..=32 {
        rig.publish(sender, aliased(alias, q0(&format!("t/{alias}"), "define")));
    }
    rig.deliveries(watcher);
    for alias in 1..=32 {
        rig.publish(sender, aliased(alias, q0("", "use")));
        assert_eq!(&*rig.deliveries(watcher)[0].message.topic, format!("t/{alias}"));
    }
}

#[test]
fn an_alias_can_get_another_topic() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "#", 0);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, aliased(1, q0("a", "1")));
    rig.publish(sender, aliased(1, q0("b", "2")));
    rig.publish(sender, aliased(1, q0("", "3")));
    assert_eq!(rig.lines(watcher), ["PUBLISH a 1 q0", "PUBLISH b 2 q0", "PUBLISH b 3 q0"]);
}

#[test]
fn mqtt_3_2_2_17_an_alias_above_the_maximum_is_invalid() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    rig.publish(sender, aliased(33, q0("a", "x")));
    assert_eq!(rig.lines(sender), ["DISCONNECT 94", "CLOSE"]);
}

#[test]
fn an_alias_that_was_never_defined_is_a_protocol_error() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    rig.publish(sender, aliased(1, q0("", "x")));
    assert_eq!(rig.lines(sender), ["DISCONNECT 82", "CLOSE"]);
}

#[test]
fn mqtt_3_3_2_7_aliases_end_with_the_connection() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p").stored());
    rig.publish(sender, aliased(1, q0("a", "x")));
    rig.cut(sender);
    let sender = rig.connect(v5("p").stored());
    rig.publish(sender, aliased(1, q0("", "x")));
    assert!(rig.is_closed(sender));
}

#[test]
fn each_client_has_its_own_aliases() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "#", 0);
    let one = rig.connect(v5("1"));
    let two = rig.connect(v5("2"));
    rig.publish(one, aliased(1, q0("a", "x")));
    rig.publish(two, aliased(1, q0("b", "x")));
    rig.deliveries(watcher);
    rig.publish(one, aliased(1, q0("", "y")));
    assert_eq!(rig.lines(watcher), ["PUBLISH a y q0"]);
}

#[test]
fn an_alias_of_a_qos_2_message_is_resolved_for_its_repeat() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 0);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, aliased(1, q2(1, "a", "x")));
    rig.publish(sender, dup(aliased(1, q2(1, "", "x"))));
    assert!(!rig.is_closed(sender));
    assert_eq!(rig.deliveries(watcher).len(), 1);
}

#[test]
fn a_repeat_defines_its_alias() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p").stored());
    rig.publish(sender, aliased(1, q2(1, "a", "x")));
    rig.cut(sender);
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 0);
    let sender = rig.connect(v5("p").stored());
    rig.publish(sender, dup(aliased(1, q2(1, "a", "x"))));
    rig.publish(sender, aliased(1, q0("", "y")));
    assert!(!rig.is_closed(sender));
    assert_eq!(rig.lines(watcher), ["PUBLISH a y q0"]);
}

#[test]
fn mqtt_3_1_2_27_without_topic_alias_maximum_no_alias_is_sent() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "#", 0);
    for _ in 0..5 {
        rig.publish(watcher, q0("a/long/topic/name", "x"));
    }
    assert!(rig.deliveries(watcher).iter().all(|d| d.topic_alias.is_none()));
}

#[test]
fn mqtt_3_1_2_26_aliases_stay_within_the_clients_maximum_and_name_the_right_topic() {
    // [MQTT-3.3.2-11]
    let mut rig = Rig::new();
    let watcher = rig.connect(ConnectOptions { topic_alias_maximum: 2, ..v5("w") });
    rig.subscribe(watcher, "#", 0);
    let sender = rig.connect(v5("p"));
    let mut known = HashMap::new();
    for round in 0..4 {
        for topic in ["a/long/topic", "b/long/topic", "c/long/topic", "d/long/topic"] {
            rig.publish(sender, q0(topic, "x"));
            let got = rig.deliveries(watcher);
            assert_eq!(read(&mut known, &got), [topic], "round {round}");
        }
    }
    assert!(known.keys().all(|alias| (1..=2).contains(alias)));
    assert!(!known.is_empty(), "aliases are used at all");
}

#[test]
fn mqtt_3_3_2_7_our_aliases_start_anew_on_a_new_connection() {
    let mut rig = Rig::new();
    let connect = ConnectOptions { topic_alias_maximum: 10, ..v5("w").stored() };
    let watcher = rig.connect(connect.clone());
    rig.subscribe(watcher, "#", 1);
    let sender = rig.connect(v5("p"));
    for n in 1..=3 {
        rig.publish(sender, q1(n, "a/long/topic", "x"));
    }
    rig.deliveries(watcher);
    rig.cut(watcher);
    let watcher = rig.connect(connect);
    let mut known = HashMap::new();
    let got = rig.deliveries(watcher);
    assert_eq!(read(&mut known, &got), ["a/long/topic"; 3]);
}

#[test]
fn a_held_publish_neither_defines_nor_uses_an_alias() {
    let mut rig = Rig::new();
    let connect = ConnectOptions { topic_alias_maximum: 10, ..v5("w").stored() };
    let watcher = rig.connect(connect);
    rig.subscribe(watcher, "#", 2);
    let sender = rig.connect(v5("p"));
    for n in 1..=3 {
        rig.publish(sender, q2(n, "a/long/topic", "x"));
    }
    let got = rig.deliveries(watcher);
    assert_eq!(got.len(), 3);
    assert!(got.iter().all(|d| d.topic_alias.is_none()));
}

#[test]
fn mqtt_3_2_2_18_without_our_maximum_every_alias_is_invalid() {
    let mut rig = Rig::with(|settings| settings.limits.topic_alias_maximum = 0);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q0("a", "x"));
    assert!(!rig.is_closed(sender));
    rig.publish(sender, aliased(1, q0("a", "x")));
    assert_eq!(rig.lines(sender), ["DISCONNECT 94", "CLOSE"]);
}
