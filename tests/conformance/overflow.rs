//! Full queues: what happens to the message, by owner and topic, and what its publisher is told.

use kedgemq::config::{Overflow, OverflowRule};

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

fn with_policy(policy: Overflow) -> Rig {
    Rig::with(|settings| {
        settings.limits.queue_messages = 1;
        settings.overflow.otherwise = policy;
    })
}

/// An offline session that waits for `a` and has one message already.
fn full_queue(rig: &mut Rig, name: &str) {
    let client = rig.connect(v5(name).stored());
    rig.subscribe(client, "a", 2);
    rig.cut(client);
    let sender = rig.connect(v5("filler"));
    rig.publish(sender, q1(1, "a", "first"));
    assert_eq!(rig.lines(sender), ["PUBACK 1 00"]);
    rig.disconnect(sender);
}

#[test]
fn the_newest_dies_where_it_is_to() {
    let mut rig = with_policy(Overflow::DropNewest);
    full_queue(&mut rig, "w");
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "new"));
    assert_eq!(rig.lines(sender), ["PUBACK 1 00"]);
    assert_eq!(rig.dead(), ["queue_full w new"]);
    let watcher = rig.connect(v5("w").stored());
    assert_eq!(rig.lines(watcher), ["PUBLISH a first q1"]);
}

#[test]
fn a_refusing_queue_refuses_for_all_before_anybody_gets_it() {
    let mut rig = with_policy(Overflow::Refuse);
    let other = rig.connect(v5("other"));
    rig.subscribe(other, "a", 2);
    full_queue(&mut rig, "w");
    rig.lines(other);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "new"));
    rig.publish(sender, q2(2, "a", "new"));
    let lines = rig.lines(sender);
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("PUBACK 1 97"), "{lines:?}");
    assert!(lines[1].starts_with("PUBREC 2 97"), "{lines:?}");
    assert_eq!(rig.lines(other), NOTHING, "all or nothing");
    assert!(rig.dead().is_empty(), "the publisher still has it");
    assert!(rig.store.received.is_empty(), "the identifier is free again");
    rig.publish(sender, q0("a", "qos 0"));
    assert_eq!(rig.lines(other), ["PUBLISH a qos 0 q0"]);
}

#[test]
fn a_refused_publisher_of_3_1_1_is_closed_and_keeps_its_message() {
    let mut rig = with_policy(Overflow::Refuse);
    full_queue(&mut rig, "w");
    let sender = rig.connect(v4("p"));
    rig.publish(sender, q1(1, "a", "new"));
    assert!(rig.is_closed(sender));
    assert!(rig.dead().is_empty());
}

#[test]
fn a_rule_is_for_its_owners_and_topics() {
    let rule =
        OverflowRule { owner: wildmatch("meter-*"), topic: "a/#".into(), policy: Overflow::Refuse };
    let mut rig = Rig::with(|settings| {
        settings.limits.queue_messages = 1;
        settings.overflow.rules.push(rule);
    });
    full_queue(&mut rig, "pump-1");
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "new"));
    assert_eq!(rig.lines(sender), ["PUBACK 1 00"], "no rule for pumps");
    full_queue_of(&mut rig, "meter-1");
    rig.publish(sender, q1(2, "a", "newer"));
    assert!(rig.lines(sender)[0].starts_with("PUBACK 2 97"));
}

/// Fills what `a` refuses meanwhile: a queue that another topic fills.
fn full_queue_of(rig: &mut Rig, name: &str) {
    let client = rig.connect(v5(name).stored());
    rig.subscribe(client, "a", 2);
    rig.subscribe(client, "b", 2);
    rig.cut(client);
    let sender = rig.connect(v5("filler"));
    rig.publish(sender, q1(1, "b", "first"));
    rig.disconnect(sender);
}

fn wildmatch(pattern: &str) -> wildmatch::WildMatch {
    wildmatch::WildMatch::new(pattern)
}

#[test]
fn over_the_budget_of_all_queues_a_message_is_shed() {
    let mut rig = Rig::with(|settings| settings.limits.disk_bytes = 8);
    full_queue(&mut rig, "w");
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "second"));
    assert_eq!(rig.lines(sender), ["PUBACK 1 00"]);
    assert_eq!(rig.dead(), ["storage_full w first"]);
}

#[test]
fn a_full_dead_letter_store_may_refuse_what_would_kill() {
    let mut rig = Rig::with(|settings| {
        settings.limits.queue_messages = 1;
        settings.dead_letters.max_count = 1;
        settings.dead_letters.refuse_when_full = true;
    });
    full_queue(&mut rig, "w");
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "second"));
    assert_eq!(rig.lines(sender), ["PUBACK 1 00"], "its death fills the store");
    rig.publish(sender, q1(2, "a", "third"));
    assert!(rig.lines(sender)[0].starts_with("PUBACK 2 97"));
    rig.publish(sender, q1(3, "elsewhere", "x"));
    assert_eq!(rig.lines(sender), ["PUBACK 3 10"], "it kills nobody");
    assert_eq!(rig.dead(), ["queue_full w first"]);
}

#[test]
fn nobody_subscribed_makes_a_letter_where_that_is_wanted() {
    let mut rig = Rig::with(|settings| {
        settings.dead_letters.no_subscribers = vec!["plant/#".into()];
    });
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "plant/a", "x"));
    rig.publish(sender, q0("plant/a", "qos 0"));
    rig.publish(sender, q1(2, "yard/a", "y"));
    assert_eq!(rig.lines(sender), ["PUBACK 1 10", "PUBACK 2 10"]);
    assert_eq!(rig.dead(), ["no_subscribers - x"]);
}
