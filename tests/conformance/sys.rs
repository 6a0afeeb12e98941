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
