//! What a session with many subscriptions leaves when it ends goes in slices: nobody sees it.

use kedgemq::turn::{Action, ConnectionId, LetterFilter};

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

/// More than go at once, and one for a share group.
fn subscribe_to_many(rig: &mut Rig, client: ConnectionId) {
    let filters: Vec<_> = (0..1000).map(|n| format!("a/{n}")).collect();
    let mut filters: Vec<_> = filters.iter().map(|filter| (&**filter, options(1))).collect();
    filters.push(("$share/g/s", options(1)));
    rig.send(client, subscribe(9, &filters));
    assert_eq!(rig.received(client).len(), 1, "SUBACK");
}

/// Publishers to what it had, at QoS 1 and 0, and to its share group; nobody else is there.
fn assert_nobody_is_found(rig: &mut Rig, sender: ConnectionId) {
    for topic in ["a/0", "a/999", "s"] {
        rig.publish(sender, q1(1, topic, "x"));
        assert_eq!(rig.lines(sender), ["PUBACK 1 10"], "{topic}");
        rig.publish(sender, q0(topic, "x"));
    }
}

#[test]
fn nobody_is_found_by_what_is_leaving() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    subscribe_to_many(&mut rig, client);
    let sender = rig.connect(v5("p"));
    let other = rig.connect(v5("o"));
    rig.subscribe(other, "a/7", 1);
    rig.publish(sender, q1(1, "a/999", "x")); // The way of the next message is known.
    assert_eq!(rig.lines(sender), ["PUBACK 1 00"]);
    rig.cut(client);
    assert_nobody_is_found(&mut rig, sender);
    rig.publish(sender, q1(2, "a/7", "x"));
    rig.publish(sender, q0("a/7", "y"));
    assert_eq!(rig.lines(sender), ["PUBACK 2 00"]);
    assert_eq!(rig.lines(other), ["PUBLISH a/7 x q1", "PUBLISH a/7 y q0"], "one there is");
    rig.wait(1);
    assert_nobody_is_found(&mut rig, sender);
}

#[test]
fn a_client_that_comes_back_gets_its_messages_once() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    subscribe_to_many(&mut rig, client);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    let client = rig.connect(v5("c").stored().clean());
    assert_nobody_is_found(&mut rig, sender);
    for filter in ["a/0", "a/999"] {
        rig.subscribe(client, filter, 1);
    }
    for time in 0..2 {
        for topic in ["a/0", "a/999"] {
            rig.publish(sender, q1(1, topic, "x"));
            assert_eq!(rig.lines(sender), ["PUBACK 1 00"]);
            assert_eq!(rig.lines(client), [format!("PUBLISH {topic} x q1")], "time {time}");
        }
        rig.publish(sender, q1(1, "a/1", "x"));
        assert_eq!(rig.lines(sender), ["PUBACK 1 10"]);
        rig.wait(1); // All that was leaving is gone.
    }
    assert_eq!(rig.lines(client), NOTHING);
}

/// A letter that went to its topic then would be lost.
#[test]
fn a_letter_does_not_go_to_a_topic_that_only_who_is_leaving_read() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    subscribe_to_many(&mut rig, client);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a/1", "x"));
    rig.connect(v5("c").clean());
    assert_eq!(rig.dead(), ["session_cleared c x"]);
    let filter = LetterFilter::default();
    let start = rig.operate(|broker, now, turn| {
        broker.handle_task(Action::RedriveToTopic, filter, 0, now, turn)
    });
    assert_eq!(start, Some(1));
    assert_eq!(rig.broker.ended_task().map(|task| (task.done, task.left)), Some((0, 1)));
    assert_eq!(rig.dead(), ["session_cleared c x"]);
}
