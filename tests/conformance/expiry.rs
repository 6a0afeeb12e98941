//! Message Expiry Interval.

use std::time::Duration;

use kedgemq::dead_reason::DeadReason;

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

#[test]
fn mqtt_3_3_2_5_a_waiting_message_expires() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, expiring(10, q1(1, "a", "short")));
    rig.publish(sender, q1(2, "a", "long"));
    rig.wait(11);
    let client = rig.connect(v5("c").stored());
    assert_eq!(rig.lines(client), ["PUBLISH a long q1"]);
    assert_eq!(rig.dead(), ["expired c short"]);
}

#[test]
fn an_expired_message_leaves_the_store_without_its_client() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, expiring(10, q1(1, "a", "x")));
    rig.wait(200);
    assert!(rig.store.copies.is_empty());
    assert_eq!(rig.dead(), ["expired c x"]);
}

#[test]
fn mqtt_3_3_2_6_the_remaining_interval_is_sent() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, expiring(100, q1(1, "a", "x")));
    rig.wait(30);
    rig.crash();
    let client = rig.connect(v5("c").stored());
    let got = rig.deliveries(client);
    assert_eq!(got[0].message.remaining_expiry(rig.now), Some(70));
}

#[test]
fn expiry_goes_on_over_a_crash() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, expiring(100, q1(1, "a", "x")));
    rig.wait(60);
    rig.crash();
    rig.wait(41);
    let client = rig.connect(v5("c").stored());
    assert_eq!(rig.lines(client), NOTHING);
    assert_eq!(rig.dead(), ["expired c x"]);
}

#[test]
fn a_message_without_an_interval_does_not_expire() {
    let mut rig = Rig::new();
    let client = rig.connect(v4("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v4("p"));
    rig.publish(sender, q1(1, "a", "x"));
    rig.wait(100_000_000);
    let client = rig.connect(v4("c").stored());
    let got = rig.deliveries(client);
    assert_eq!(got[0].message.expiry, None);
}

#[test]
fn the_servers_own_limit_is_for_those_who_set_none() {
    let mut rig = Rig::with(|settings| settings.limits.message_expiry = Some(10));
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "none"));
    rig.publish(sender, expiring(1_000, q1(2, "a", "own")));
    rig.wait(11);
    let client = rig.connect(v5("c").stored());
    assert_eq!(rig.lines(client), ["PUBLISH a own q1"]);
    assert_eq!(rig.dead(), ["expired c none"]);
}

#[test]
fn what_waits_for_the_window_expires_and_what_was_sent_does_not() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored().window(1));
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, expiring(5, q1(1, "a", "sent")));
    rig.publish(sender, expiring(5, q1(2, "a", "waits")));
    let id = rig.packet_id(client);
    rig.wait(10);
    rig.send(client, puback(id));
    assert_eq!(rig.lines(client), NOTHING);
    assert_eq!(rig.dead(), ["expired c waits"]);
}

#[test]
fn expired_before_sent_makes_room_for_the_next() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").window(1));
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "sent"));
    rig.publish(sender, expiring(5, q1(2, "a", "waits")));
    rig.publish(sender, q1(3, "a", "next"));
    let id = rig.packet_id(client);
    rig.wait(10);
    rig.send(client, puback(id));
    assert_eq!(rig.lines(client), ["PUBLISH a next q1"]);
}

#[test]
fn a_sent_qos_1_message_is_sent_again_after_its_expiry() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, expiring(5, q1(1, "a", "x")));
    rig.lines(client);
    rig.cut(client);
    rig.wait(100);
    let client = rig.connect(v5("c").stored());
    let got = rig.deliveries(client);
    assert_eq!(got.len(), 1, "expiry takes only what was never sent");
    assert_eq!(got[0].message.remaining_expiry(rig.now), Some(1));
}

#[test]
fn an_interval_of_0_is_delivered_at_once_or_never() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, expiring(0, q1(1, "a", "x")));
    rig.wait(1);
    let client = rig.connect(v5("c").stored());
    assert_eq!(rig.lines(client), NOTHING);
}

#[test]
fn a_long_queue_is_looked_at_less_often_than_its_messages_expire() {
    const COUNT: u64 = 5_000;
    let mut rig = Rig::with(|settings| settings.dead_letters.reasons.clear());
    let client = rig.connect(v5("c"));
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    for _ in 0..COUNT {
        rig.publish(sender, expiring(10, q1(1, "a", "x")));
        rig.advance(Duration::from_millis(1));
    }
    let sent = rig.lines(client).len() as u64;
    let mut looks = 0;
    for _ in 0..12_000 {
        let due = rig.broker.next_timeout();
        rig.advance(Duration::from_millis(1));
        looks += u64::from(rig.broker.next_timeout() != due);
    }
    assert_eq!(rig.broker.counters().dead[DeadReason::Expired as usize], COUNT - sent);
    assert!(looks < COUNT * 3 / 4, "{looks} times");
}
