//! `$SYS`, under mosquitto's names.

use std::collections::BTreeMap;
use std::time::Duration;

use kedgemq::turn::ConnectionId;

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

fn with_sys() -> Rig {
    Rig::with(|settings| settings.limits.sys_interval = Duration::from_secs(10))
}

fn read(rig: &mut Rig, client: ConnectionId) -> BTreeMap<String, String> {
    let got = rig.deliveries(client).into_iter();
    got.map(|delivery| {
        let payload = String::from_utf8_lossy(&delivery.message.payload).into_owned();
        (delivery.message.topic.to_string(), payload)
    })
    .collect()
}

#[test]
fn sys_tells_version_uptime_clients_and_messages() {
    let mut rig = with_sys();
    let client = rig.connect(v5("c"));
    rig.subscribe(client, "$SYS/#", 0);
    rig.publish(client, q0("a", "x"));
    rig.wait(11);
    let sys = read(&mut rig, client);
    for topic in [
        "$SYS/broker/version",
        "$SYS/broker/uptime",
        "$SYS/broker/clients/connected",
        "$SYS/broker/messages/received",
        "$SYS/broker/messages/sent",
    ] {
        assert!(sys.contains_key(topic), "no {topic} in {sys:?}");
    }
    assert_eq!(sys["$SYS/broker/clients/connected"], "1");
}

#[test]
fn sys_topics_are_retained() {
    let mut rig = with_sys();
    rig.wait(11);
    let client = rig.connect(v5("c"));
    rig.subscribe(client, "$SYS/broker/version", 0);
    let got = rig.deliveries(client);
    assert_eq!(got.len(), 1);
    assert!(got[0].retain);
}

#[test]
fn sys_is_not_stored() {
    let mut rig = with_sys();
    rig.wait(100);
    assert!(rig.store.retained.is_empty());
    assert_eq!(rig.store.marks, kedgemq::turn::Marks::default());
}

#[test]
fn hash_does_not_match_sys() {
    let mut rig = with_sys();
    let client = rig.connect(v5("c"));
    rig.subscribe(client, "#", 0);
    rig.wait(100);
    assert_eq!(rig.lines(client), NOTHING);
}

#[test]
fn nobody_forges_sys() {
    let mut rig = with_sys();
    let client = rig.connect(v5("c"));
    rig.subscribe(client, "$SYS/broker/version", 0);
    rig.lines(client);
    rig.publish(client, retained(q0("$SYS/broker/version", "forged")));
    assert!(rig.deliveries(client).iter().all(|d| d.message.payload != "forged"));
    assert!(rig.store.retained.is_empty());
}

#[test]
fn sys_can_be_turned_off() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.subscribe(client, "$SYS/#", 0);
    rig.wait(1_000);
    assert_eq!(rig.lines(client), NOTHING);
}

/// The newest value of each topic, after the next publication.
fn facts(rig: &mut Rig) -> BTreeMap<String, String> {
    rig.wait(11);
    let client = rig.connect(v5("looks"));
    rig.subscribe(client, "$SYS/#", 0);
    let facts = read(rig, client);
    rig.disconnect(client);
    facts
}

fn fact(facts: &BTreeMap<String, String>, topic: &str) -> String {
    facts.get(&format!("$SYS/broker/{topic}")).unwrap_or_else(|| panic!("no {topic}")).clone()
}

#[test]
fn sys_tells_who_is_there() {
    let mut rig = with_sys();
    let stays = rig.connect(v5("stays").stored());
    let gone = rig.connect(ConnectOptions { session_expiry: Some(5), ..v5("gone").stored() });
    let away = rig.connect(v5("away").stored());
    rig.cut(gone);
    rig.cut(away);
    let first = facts(&mut rig);
    let tells = |facts: &BTreeMap<String, String>, expected: [(&str, &str); 7]| {
        for (topic, value) in expected {
            assert_eq!(fact(facts, topic), value, "{topic}");
        }
    };
    tells(
        &first,
        [
            ("clients/total", "2"),
            ("clients/maximum", "3"),
            ("clients/connected", "1"),
            ("clients/disconnected", "1"),
            ("clients/active", "1"),
            ("clients/inactive", "1"),
            ("clients/expired", "1"),
        ],
    );
    rig.disconnect(stays);
    let second = facts(&mut rig);
    assert_eq!(fact(&second, "clients/connected"), "0");
    assert_eq!(fact(&second, "clients/expired"), "1", "a client that left is not one");
}

#[test]
fn sys_counts_subscriptions_and_what_is_kept() {
    let mut rig = with_sys();
    let reader = rig.connect(v5("reader").stored().window(1));
    for filter in ["a/#", "b", "$share/g/c", "$share/h/c"] {
        rig.subscribe(reader, filter, 1);
    }
    let other = rig.connect(v5("other").stored());
    rig.subscribe(other, "$share/g/c", 1);
    rig.cut(other);
    let sender = rig.connect(v5("sender"));
    for n in 1..=3 {
        rig.publish(sender, q1(n, "a/x", "12345"));
    }
    rig.publish(sender, keep(9, "kept", "12345"));
    let before = facts(&mut rig);
    assert_eq!(fact(&before, "subscriptions/count"), "2");
    assert_eq!(fact(&before, "shared_subscriptions/count"), "3");
    assert_eq!(fact(&before, "messages/inflight"), "1");
    let retained: u64 = fact(&before, "retained messages/count").parse().unwrap();
    let stored: u64 = fact(&before, "store/messages/count").parse().unwrap();
    assert_eq!(stored, retained + 3);
    assert_eq!(fact(&before, "messages/stored"), stored.to_string());
    rig.crash();
    let reader = rig.connect(v5("reader").stored().window(1));
    let after = facts(&mut rig);
    for topic in ["subscriptions/count", "shared_subscriptions/count", "messages/inflight"] {
        assert_eq!(fact(&after, topic), fact(&before, topic), "{topic} after a start");
    }
    rig.send(reader, unsubscribe(1, &["a/#", "$share/g/c", "nothing"]));
    let id = rig.packet_id(reader);
    rig.send(reader, puback(id));
    let id = rig.packet_id(reader);
    rig.send(reader, puback(id));
    let last = facts(&mut rig);
    assert_eq!(fact(&last, "subscriptions/count"), "1");
    assert_eq!(fact(&last, "shared_subscriptions/count"), "2");
}

#[test]
fn sys_counts_publishes_and_deaths() {
    let mut rig = Rig::with(|settings| {
        settings.limits.sys_interval = Duration::from_secs(10);
        settings.limits.queue_messages = 1;
    });
    let away = rig.connect(v5("away").stored());
    rig.subscribe(away, "a", 1);
    rig.cut(away);
    let sender = rig.connect(v5("sender"));
    rig.subscribe(sender, "a", 0);
    for n in 1..=3 {
        rig.publish(sender, q1(n, "a", "12345"));
    }
    let facts = facts(&mut rig);
    let expected = [
        ("publish/messages/received", "3"),
        ("publish/messages/sent", "3"),
        ("publish/bytes/received", "15"),
        ("publish/bytes/sent", "15"),
        ("publish/messages/dropped", "2"),
        ("dead/queue_full/count", "2"),
        ("dead/expired/count", "0"),
    ];
    for (topic, value) in expected {
        assert_eq!(fact(&facts, topic), value, "{topic}");
    }
}

#[test]
fn sys_load_is_damped() {
    let mut rig = with_sys();
    let sender = rig.connect(v5("sender"));
    let watcher = rig.connect(v5("watcher"));
    rig.subscribe(watcher, "$SYS/broker/load/publish/received/+", 0);
    rig.lines(watcher);
    for _ in 0..10 {
        rig.publish(sender, q0("a", "x"));
    }
    rig.wait(10);
    // 60 a minute for ten seconds, each over its period; then none.
    let first = read(&mut rig, watcher);
    let topic = |period| format!("$SYS/broker/load/publish/received/{period}");
    for (period, seconds) in [("1min", 60.0_f64), ("5min", 300.0), ("15min", 900.0)] {
        let expected = 60.0 * (1.0 - (-10.0 / seconds).exp());
        assert_eq!(first[&topic(period)], format!("{expected:.2}"));
    }
    rig.wait(10);
    let second = read(&mut rig, watcher);
    let fallen: f64 = second[&topic("1min")].parse().unwrap();
    assert!(fallen < first[&topic("1min")].parse().unwrap());
}

#[test]
fn sys_publishes_only_what_changed() {
    let mut rig = with_sys();
    let watcher = rig.connect(v5("watcher"));
    rig.wait(10_000);
    rig.subscribe(watcher, "$SYS/broker/clients/#", 0);
    rig.lines(watcher);
    rig.wait(100);
    assert_eq!(rig.lines(watcher), NOTHING);
    rig.connect(v5("new"));
    rig.wait(10);
    let changed: Vec<_> = read(&mut rig, watcher).into_keys().collect();
    let expected = ["active", "connected", "maximum", "total"];
    assert_eq!(changed, expected.map(|name| format!("$SYS/broker/clients/{name}")));
}
