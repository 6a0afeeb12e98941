//! QoS 1 PUBLISH packets that leave before their commit, and what Packet Identifiers mean after a
//! crash.

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

#[test]
fn rule_3_a_qos_1_publish_leaves_before_the_commit() {
    for connect in [v4("w").stored(), v5("w").stored()] {
        let mut rig = Rig::new();
        let watcher = rig.connect(connect);
        rig.subscribe(watcher, "a", 1);
        let sender = rig.connect(v5("p"));
        rig.hold_commits();
        rig.publish(sender, q1(1, "a", "x"));
        assert_eq!(rig.sent_now(watcher), ["PUBLISH a x q1"]);
        assert_eq!(rig.lines(watcher), ["PUBLISH a x q1"]);
        assert_eq!(rig.lines(sender), NOTHING);
    }
}

#[test]
fn rule_3_the_identifier_of_an_early_publish_is_stored_with_it() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let before = rig.packet_id(watcher);
    rig.crash();
    let watcher = rig.connect(v5("w").stored());
    let again = rig.deliveries(watcher);
    assert_eq!((again[0].packet_id, again[0].dup), (Some(id(before)), true));
}

#[test]
fn rule_3_a_lost_identifier_gets_no_second_meaning() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 1);
    let mut used = Vec::new();
    for round in 0..5 {
        let sender = rig.connect(v5("p"));
        let watcher = rig.connect(v5("w").stored());
        rig.lines(watcher);
        rig.hold_commits();
        for n in 1..=50 {
            rig.publish(sender, q1(n, "a", "lost"));
        }
        let early = rig.deliveries(watcher);
        assert_eq!(early.len(), 50, "round {round}");
        used.extend(early.iter().map(|d| d.packet_id.expect("QoS 1")));
        rig.crash();
    }
    let all = used.len();
    used.sort();
    used.dedup();
    assert_eq!(used.len(), all, "an identifier was used for two messages");
}

#[test]
fn rule_3_a_backlog_whose_sending_is_not_stored_keeps_its_meaning() {
    // A crash may lose that the backlog was sent: what is sent again then is a new identifier or
    // the same message, never another message under the old one.
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w").stored());
    rig.subscribe(watcher, "a", 1);
    rig.cut(watcher);
    let sender = rig.connect(v5("p"));
    for n in 1..=4 {
        rig.publish(sender, q1(n, "a", &n.to_string()));
    }
    rig.hold_commits();
    let watcher = rig.open(v5("w").stored());
    rig.commit();
    let before = rig.deliveries(watcher);
    assert_eq!(before.len(), 4);
    rig.send(watcher, puback(before[0].packet_id.expect("QoS 1").get()));
    rig.crash();
    let watcher = rig.connect(v5("w").stored());
    for after in rig.deliveries(watcher) {
        for before in &before {
            let same = before.packet_id == after.packet_id;
            assert!(!same || before.message.payload == after.message.payload);
        }
    }
}
