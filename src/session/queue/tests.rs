use bytes::Bytes;

use super::*;

const OWNER: OwnerId = OwnerId(1);
const WINDOW: usize = 2;

fn entry(id: u64) -> Entry {
    let message = Message {
        topic: "a".into(),
        properties: Default::default(),
        payload: Bytes::new(),
        qos: QoS::AtLeastOnce,
        retain: false,
        received: Timestamp(0),
        expiry: Some(id.try_into().unwrap()),
        past: None,
    };
    Entry::new(MessageId(id), Arc::new(message), QoS::AtLeastOnce, false)
}

/// A stored queue of these copies, none of them in memory.
fn queue(ids: std::ops::RangeInclusive<u64>) -> (Queue, Totals) {
    let (mut queue, mut totals) = (Queue::new(true), Totals::default());
    for id in ids {
        queue.push(entry(id), false, &mut totals);
    }
    (queue, totals)
}

fn answer(load: Load, ids: &[u64]) -> Loaded {
    let stored = |id: &u64| entry(*id).as_stored(OWNER, None).unwrap();
    let copies = ids.iter().map(stored).collect();
    Loaded { load, copies, has_more: true, soonest_expiry: None }
}

#[test]
fn a_load_of_copies_that_never_left_needs_no_lazy_record() {
    let (mut queue, mut totals) = queue(1..=5);
    let load = queue.next_load(OWNER, WINDOW).unwrap();
    assert!(!load.after_lazy);
    queue.take_loaded(answer(load, &[1, 2]), &mut totals);
    assert!(queue.pop(&mut totals).is_some() && queue.pop(&mut totals).is_some());
    let load = queue.next_load(OWNER, WINDOW).unwrap();
    assert_eq!((load.first, load.after_lazy), (MessageId(3), false));
}

#[test]
fn a_load_over_a_copy_that_left_needs_the_lazy_records() {
    let (mut popped, mut totals) = queue(1..=5);
    let load = popped.next_load(OWNER, WINDOW).unwrap();
    popped.take_loaded(answer(load, &[1, 2]), &mut totals);
    let mut taken = [popped.pop(&mut totals).unwrap(), popped.pop(&mut totals).unwrap()];
    taken[0].body = None;
    popped.put_back(taken[0].clone(), &mut totals);
    // What says that 2 left may be lazy.
    let load = popped.next_load(OWNER, WINDOW).unwrap();
    assert_eq!((load.first, load.after_lazy), (MessageId(1), true));

    let (mut expired, mut totals) = queue(1..=5);
    let load = expired.expired_load(OWNER, Timestamp(1000)).unwrap();
    assert!(!load.after_lazy);
    let (dead, _) = expired.take_loaded(answer(load, &[1]), &mut totals);
    assert_eq!(dead.len(), 1);
    assert!(expired.next_load(OWNER, WINDOW).unwrap().after_lazy);

    let (mut ready, mut totals) = queue(1..=5);
    let load = ready.next_load(OWNER, WINDOW).unwrap();
    ready.take_loaded(answer(load, &[1, 2]), &mut totals);
    assert_eq!(ready.take_expired(Timestamp(1000), &mut totals).len(), 1);
    ready.fold();
    assert!(!ready.next_load(OWNER, WINDOW).unwrap().after_lazy, "it begins behind what left");
}
