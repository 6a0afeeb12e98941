//! The crashes that were found by thinking, each by its name.

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

/// A broker with an offline stored session `owner` that wants topic `a` at QoS 2.
fn with_owner() -> Rig {
    let mut rig = Rig::new();
    let owner = rig.connect(v5("owner").stored());
    rig.subscribe(owner, "a", 2);
    rig.cut(owner);
    rig
}

/// What `owner` has in its queue, as it reads it.
fn read(rig: &mut Rig) -> Vec<String> {
    rig.commit_at_once();
    let owner = rig.connect(v5("owner").stored());
    let got = rig.deliveries(owner);
    got.iter().map(|d| String::from_utf8_lossy(&d.message.payload).into_owned()).collect()
}

#[test]
fn a_resent_qos_2_publish_whose_first_is_not_committed() {
    for connect in [v4("p").stored(), v5("p").stored()] {
        // The crash takes both: nothing was told, the publisher sends it a third time.
        let mut rig = with_owner();
        let sender = rig.connect(connect.clone());
        rig.hold_commits();
        rig.publish(sender, q2(1, "a", "x"));
        rig.cut(sender);
        let sender = rig.open(connect.clone());
        rig.publish(sender, dup(q2(1, "a", "x")));
        assert_eq!(rig.lines(sender), NOTHING, "neither CONNACK nor PUBREC may be told");
        rig.crash();
        let sender = rig.connect(connect.clone());
        rig.publish(sender, dup(q2(1, "a", "x")));
        rig.send(sender, pubrel(1));
        assert_eq!(read(&mut rig), ["x"]);

        // The commit comes before the crash: the resend is a duplicate.
        let mut rig = with_owner();
        let sender = rig.connect(connect.clone());
        rig.hold_commits();
        rig.publish(sender, q2(1, "a", "x"));
        rig.cut(sender);
        let sender = rig.open(connect.clone());
        rig.publish(sender, dup(q2(1, "a", "x")));
        rig.commit();
        assert_eq!(rig.lines(sender).len(), 2);
        rig.crash();
        let sender = rig.connect(connect.clone());
        rig.publish(sender, dup(q2(1, "a", "x")));
        rig.send(sender, pubrel(1));
        assert_eq!(read(&mut rig), ["x"]);
    }
}

#[test]
fn a_pubrel_repeated_before_the_release_is_on_disk() {
    for connect in [v4("p").stored(), v5("p").stored()] {
        let mut rig = with_owner();
        let sender = rig.connect(connect.clone());
        rig.publish(sender, q2(1, "a", "x"));
        rig.lines(sender);
        rig.hold_commits();
        rig.send(sender, pubrel(1));
        rig.cut(sender);
        let sender = rig.open(connect.clone());
        rig.send(sender, pubrel(1));
        assert_eq!(rig.lines(sender), NOTHING, "PUBCOMP would free the identifier too early");
        rig.crash();
        let sender = rig.connect(connect.clone());
        rig.send(sender, pubrel(1));
        let released = rig.lines(sender);
        assert_eq!(released.len(), 1);
        assert!(released[0].starts_with("PUBCOMP 1"));
        rig.publish(sender, q2(1, "a", "y"));
        assert_eq!(read(&mut rig), ["x", "y"], "the identifier's new message is not a duplicate");
    }
}

#[test]
fn a_release_that_is_on_disk_is_not_taken_back() {
    let mut rig = with_owner();
    let sender = rig.connect(v5("p").stored());
    rig.publish(sender, q2(1, "a", "x"));
    rig.hold_commits();
    rig.send(sender, pubrel(1));
    rig.commit();
    rig.crash();
    let sender = rig.connect(v5("p").stored());
    rig.send(sender, pubrel(1));
    rig.publish(sender, q2(1, "a", "y"));
    assert_eq!(read(&mut rig), ["x", "y"]);
}

#[test]
fn a_take_over_while_a_qos_2_message_is_uncommitted() {
    for connect in [v4("owner").stored(), v5("owner").stored()] {
        let mut rig = Rig::new();
        let first = rig.connect(connect.clone());
        rig.subscribe(first, "a", 2);
        let sender = rig.connect(v5("p").stored());
        rig.hold_commits();
        rig.publish(sender, q2(1, "a", "x"));
        let second = rig.open(connect.clone());
        assert!(!rig.lines(first).iter().any(|line| line.starts_with("PUBLISH")));
        assert_eq!(rig.lines(second), NOTHING);

        // Nothing was told before the crash: the publisher sends again, it arrives once.
        rig.crash();
        let sender = rig.connect(v5("p").stored());
        rig.publish(sender, dup(q2(1, "a", "x")));
        let third = rig.connect(connect);
        let got = rig.deliveries(third);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].message.payload, "x");
    }
}

#[test]
fn a_take_over_whose_commit_came_sends_under_one_identifier() {
    let mut rig = Rig::new();
    let first = rig.connect(v5("owner").stored());
    rig.subscribe(first, "a", 2);
    let sender = rig.connect(v5("p").stored());
    rig.hold_commits();
    rig.publish(sender, q2(1, "a", "x"));
    let second = rig.open(v5("owner").stored());
    rig.commit();
    assert!(!rig.lines(first).iter().any(|line| line.starts_with("PUBLISH")));
    let told = rig.packet_id(second);
    rig.crash();
    let third = rig.connect(v5("owner").stored());
    assert_eq!(rig.packet_id(third), told);
}

#[test]
fn a_take_over_of_the_publisher_while_its_qos_2_message_is_uncommitted() {
    let mut rig = with_owner();
    let first = rig.connect(v5("p").stored());
    rig.hold_commits();
    rig.publish(first, q2(1, "a", "x"));
    let second = rig.open(v5("p").stored());
    rig.publish(second, dup(q2(1, "a", "x")));
    rig.commit();
    assert_eq!(rig.lines(second), ["CONNACK 00 present", "PUBREC 1 00"]);
    assert_eq!(read(&mut rig), ["x"]);
}

#[test]
fn a_clean_start_that_ends_a_session_then_a_crash_with_the_commit_done() {
    for connect in [v4("p"), v5("p")] {
        let mut rig = with_owner();
        let sender = rig.connect(connect.clone().stored());
        rig.subscribe(sender, "b", 2);
        rig.publish(sender, q2(1, "a", "x"));
        rig.hold_commits();
        let sender = rig.open(connect.clone());
        rig.commit();
        assert_eq!(rig.lines(sender), ["CONNACK 00"]);
        rig.crash();
        let sender = rig.open(connect.stored());
        assert_eq!(rig.lines(sender), ["CONNACK 00"], "the dead session does not come back");
        rig.publish(sender, q2(1, "a", "y"));
        assert_eq!(read(&mut rig), ["x", "y"], "nor do its received identifiers");
        rig.publish(sender, q0("b", "z"));
        assert!(rig.deliveries(sender).is_empty(), "nor do its subscriptions");
    }
}

#[test]
fn a_clean_start_that_ends_a_session_then_a_crash_with_the_commit_not_done() {
    for connect in [v4("p"), v5("p")] {
        let mut rig = with_owner();
        let sender = rig.connect(connect.clone().stored());
        rig.publish(sender, q2(1, "a", "x"));
        rig.hold_commits();
        let sender = rig.open(connect.clone().clean());
        rig.publish(sender, q2(1, "a", "y"));
        assert_eq!(rig.lines(sender), NOTHING, "nothing was told");
        rig.crash();
        let sender = rig.open(connect.stored());
        assert_eq!(rig.lines(sender), ["CONNACK 00 present"], "the session is as it was");
        rig.publish(sender, dup(q2(1, "a", "x")));
        assert_eq!(read(&mut rig), ["x"]);
    }
}

#[test]
fn a_clean_start_that_ends_a_backlog_then_a_crash_loses_no_letter() {
    for committed in [true, false] {
        let mut rig = with_owner();
        let sender = rig.connect(v5("p"));
        for n in 1..=10 {
            rig.publish(sender, q1(n, "a", &n.to_string()));
        }
        rig.hold_commits();
        rig.open(v5("owner").stored().clean());
        if committed {
            rig.commit();
        }
        rig.crash();
        rig.wait(60);
        if committed {
            assert_eq!(rig.dead().len(), 10);
            assert!(rig.store.copies.is_empty());
        } else {
            assert!(rig.dead().is_empty());
            assert_eq!(read(&mut rig).len(), 10);
        }
    }
}

#[test]
fn a_pubrec_that_is_not_committed_lets_the_publish_be_sent_again() {
    let mut rig = Rig::new();
    let owner = rig.connect(v5("owner").stored());
    rig.subscribe(owner, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "a", "x"));
    let before = rig.packet_id(owner);
    rig.hold_commits();
    rig.send(owner, pubrec(before));
    assert_eq!(rig.lines(owner), NOTHING);
    rig.crash();
    let owner = rig.connect(v5("owner").stored());
    let again = rig.deliveries(owner);
    assert_eq!((again[0].packet_id, again[0].dup), (Some(id(before)), true));
}

#[test]
fn an_uncommitted_subscription_is_not_promised() {
    let mut rig = Rig::new();
    let owner = rig.connect(v5("owner").stored());
    rig.hold_commits();
    rig.send(owner, subscribe(1, &[("a", options(1))]));
    assert_eq!(rig.lines(owner), NOTHING);
    rig.crash();
    let owner = rig.open(v5("owner").stored());
    assert_eq!(rig.lines(owner), ["CONNACK 00 present"]);
    rig.publish(owner, q0("a", "x"));
    assert_eq!(rig.lines(owner), NOTHING);
}

#[test]
fn a_qos_2_message_reaches_several_stored_sessions_once_each_across_crashes() {
    let mut rig = Rig::new();
    for name in ["1", "2", "3"] {
        let client = rig.connect(v5(name).stored());
        rig.subscribe(client, "a", 2);
        rig.cut(client);
    }
    let sender = rig.connect(v5("p").stored());
    rig.publish(sender, q2(1, "a", "x"));
    for name in ["1", "2", "3"] {
        rig.crash();
        let sender = rig.connect(v5("p").stored());
        rig.publish(sender, dup(q2(1, "a", "x")));
        let client = rig.connect(v5(name).stored());
        let packet_id = rig.packet_id(client);
        rig.send(client, pubrec(packet_id));
        rig.send(client, pubcomp(packet_id));
    }
    assert!(rig.store.copies.is_empty());
}

#[test]
fn message_ids_and_owners_are_never_used_again() {
    // The store of the rig fails when one is.
    let mut rig = with_owner();
    for round in 0..4 {
        let sender = rig.connect(v5("p").stored().clean());
        for n in 1..=5 {
            rig.publish(sender, q1(n, "a", &format!("{round}")));
        }
        rig.crash();
    }
    assert_eq!(rig.store.copies_of("owner").len(), 20);
}

#[test]
fn a_second_clean_start_waits_for_what_the_first_ended() {
    for first_is_cut in [false, true] {
        for connect in [v4("c"), v5("c")] {
            let mut rig = Rig::new();
            let client = rig.connect(connect.clone().stored());
            rig.subscribe(client, "a", 2);
            rig.hold_commits();
            let first = rig.open(connect.clone());
            assert_eq!(rig.lines(first), NOTHING);
            if first_is_cut {
                rig.cut(first);
            }
            let second = rig.open(connect.clone());
            assert_eq!(rig.lines(second), NOTHING, "told of an end that a crash takes back");
            rig.commit();
            assert_eq!(rig.lines(second), ["CONNACK 00"]);
            rig.crash();
            let third = rig.open(connect.clone().stored());
            assert_eq!(rig.lines(third), ["CONNACK 00"]);
        }
    }
}
