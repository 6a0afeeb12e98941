//! What an operator may see and do.

use crate::dead_letters::backlog;
use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

#[test]
fn sessions_are_listed_by_their_client_identifiers() {
    let mut rig = Rig::new();
    for name in ["b", "c", "a"] {
        rig.connect(v5(name));
    }
    let names = |after, limit| -> Vec<String> {
        let views = rig.broker.sessions_after(after, limit);
        views.iter().map(|view| view.client_id.to_string()).collect()
    };
    assert_eq!(names(None, 2), ["a", "b"]);
    assert_eq!(names(Some("b"), 2), ["c"]);
    assert_eq!(names(Some("bb"), 2), ["c"], "the one named may be gone");
}

#[test]
fn a_session_shows_what_waits_and_what_died() {
    let mut rig = Rig::with(|settings| settings.limits.queue_messages = 1);
    backlog(&mut rig, "c");
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(2, "a", "x"));
    let view = rig.broker.session_view("c").expect("it is there");
    assert!(view.stored && view.connection.is_none());
    assert_eq!((view.queued, view.queued_bytes, view.in_flight), (1, 2, 0));
    assert_eq!(view.undelivered, [("queue_full", 1)]);
    assert_eq!(view.subscriptions.len(), 1);
    let client = rig.connect(v5("c").stored());
    let view = rig.broker.session_view("c").expect("it is there");
    assert_eq!(view.connection, Some(client));
    assert_eq!((view.queued, view.in_flight), (0, 1));
    assert!(rig.broker.session_view("nobody").is_none());
}

#[test]
fn a_kicked_client_is_told_and_may_come_back() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    assert!(rig.operate(|broker, now, turn| broker.handle_kick("c", now, turn)));
    assert!(rig.lines(client)[0].starts_with("DISCONNECT 98"));
    assert!(rig.is_closed(client));
    assert!(!rig.operate(|broker, now, turn| broker.handle_kick("c", now, turn)));
    let client = rig.open(v5("c").stored());
    assert_eq!(rig.lines(client), ["CONNACK 00 present"]);
}

#[test]
fn a_deleted_session_is_gone_and_its_backlog_dead() {
    let mut rig = Rig::new();
    backlog(&mut rig, "c");
    assert!(rig.operate(|broker, now, turn| broker.handle_delete("c", now, turn)));
    rig.wait(1);
    assert_eq!(rig.dead(), ["purged c x"]);
    assert!(rig.store.sessions.is_empty() && rig.store.copies.is_empty());
    let client = rig.open(v5("c").stored());
    assert_eq!(rig.lines(client), ["CONNACK 00"]);
}

#[test]
fn a_purged_queue_is_dead_letters_but_for_what_was_sent_and_what_comes_after() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("c").stored().window(1));
    rig.subscribe(watcher, "a", 1);
    let sender = rig.connect(v5("p"));
    for n in 1..=3 {
        rig.publish(sender, q1(n, "a", &n.to_string()));
    }
    let id = rig.packet_id(watcher);
    let purged = rig.operate(|broker, now, turn| broker.handle_purge("c", now, turn));
    assert_eq!(purged, Some(2));
    rig.publish(sender, q1(4, "a", "4"));
    rig.wait(1);
    assert_eq!(rig.dead(), ["purged c 2", "purged c 3"]);
    rig.send(watcher, puback(id));
    assert_eq!(rig.lines(watcher), ["PUBLISH a 4 q1"]);
    assert_eq!(rig.operate(|broker, now, turn| broker.handle_purge("x", now, turn)), None);
}

#[test]
fn a_purge_that_a_crash_interrupts_leaves_each_copy_in_one_place() {
    let mut rig = Rig::new();
    backlog(&mut rig, "c");
    rig.delay_loads();
    rig.operate(|broker, now, turn| broker.handle_purge("c", now, turn));
    rig.crash();
    rig.load_at_once();
    let client = rig.connect(v5("c").stored());
    assert_eq!(rig.lines(client), ["PUBLISH a x q1"]);
    rig.wait(10);
    assert!(rig.dead().is_empty());
    assert_eq!(rig.lines(client), NOTHING);
}
