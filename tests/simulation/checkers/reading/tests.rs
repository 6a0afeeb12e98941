use bytes::Bytes;
use kedgemq::mqtt::properties::append_user_property;

use super::*;
use crate::history::Use;

/// A copy dies, and the broker does not know yet whether that is on disk.
fn die(history: &mut History, id: u64, owner: &str) {
    let (owner, tag, reason) = (owner.into(), "m".into(), DeadReason::QueueFull);
    history.note(Fact::Ledger { record: 2, entered: Entered::Died { id, owner, tag, reason } });
}

fn die_and_crash(history: &mut History, id: u64) {
    history.note(Fact::Started);
    die(history, id, "c");
    history.note(Fact::Gone { client: 9, connection: 1 });
    history.note(Fact::Crashed { how: "power cut", committed: 1 });
}

/// A letter about the copy of `owner` comes to who watches for them.
fn arrive(history: &mut History, connection: usize, owner: &str) {
    let mut properties = Vec::new();
    append_user_property(&mut properties, "dl-reason", "queue_full");
    append_user_property(&mut properties, "dl-owner", owner);
    history.note(Fact::Arrived(Box::new(Arrival {
        client: 9,
        connection,
        tag: "m".into(),
        topic: format!("$dead/queue_full/{owner}/t"),
        payload: Bytes::from_static(b"m"),
        properties: Some(properties.into()),
        packet_id: 1,
        qos: 2,
        dup: false,
        retain: false,
        used: Use::Taken,
        known_as: None,
    })));
}

fn sure(history: &History) -> Vec<bool> {
    ledger(history).into_iter().map(|(.., is_sure)| is_sure).collect()
}

#[test]
fn a_letter_that_a_later_life_sends_proves_the_death() {
    let mut history = History::default();
    die_and_crash(&mut history, 7);
    assert_eq!(sure(&history), [false]);
    history.note(Fact::Started);
    arrive(&mut history, 2, "other");
    assert_eq!(sure(&history), [false]);
    arrive(&mut history, 2, "c");
    assert_eq!(sure(&history), [true]);
}

#[test]
fn what_was_recorded_before_a_death_that_is_proven_was_on_disk_too() {
    let mut history = History::default();
    history.note(Fact::Started);
    for (id, owner) in [(6, "b"), (7, "c"), (8, "d")] {
        die(&mut history, id, owner);
    }
    history.note(Fact::Crashed { how: "power cut", committed: 1 });
    history.note(Fact::Started);
    arrive(&mut history, 2, "c");
    assert_eq!(sure(&history), [true, true, false]);
}

/// A letter leaves at QoS 1 before it is on disk.
#[test]
fn a_letter_that_was_on_its_way_at_the_crash_proves_nothing() {
    let mut history = History::default();
    history.note(Fact::Started);
    die(&mut history, 7, "c");
    arrive(&mut history, 1, "c");
    history.note(Fact::Gone { client: 9, connection: 1 });
    history.note(Fact::Crashed { how: "power cut", committed: 1 });
    history.note(Fact::Started);
    arrive(&mut history, 1, "c");
    assert_eq!(sure(&history), [false]);
}

/// The crash undid the first death, or did not: the letter may be about the second.
#[test]
fn a_letter_proves_neither_of_two_deaths() {
    let mut history = History::default();
    die_and_crash(&mut history, 7);
    die_and_crash(&mut history, 8);
    history.note(Fact::Started);
    arrive(&mut history, 2, "c");
    assert_eq!(sure(&history), [false, false]);
}
