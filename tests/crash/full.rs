//! A burst that is pending when the disk turns out to be full: all of it is committed where the
//! reserve was, and so are the acknowledgements of deliveries after it, until there is space.

use std::path::Path;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use kedgemq::mqtt::{Message, QoS};
use kedgemq::store::{Options, Store, open_backend};
use kedgemq::time::Timestamp;
use kedgemq::turn::{Copy, MessageId, OwnerId, Record, StoreState};

use crate::backend::Disk;
use crate::store::checkpoint;
use crate::thread::{Log, number};

const MIB: usize = 1024 * 1024;
/// Of the broker without a configuration.
const RESERVE: usize = 8 * MIB;
/// The largest message of such a broker, but for its topic.
const LARGEST: usize = 2 * MIB - 100;

/// A store on a disk that fills up, and how far it is.
struct Filling {
    disk: Disk,
    store: Store,
    log: Arc<Log>,
    turn: usize,
    next: u64,
}

impl Filling {
    fn new(directory: &Path) -> Self {
        let disk = Disk::default();
        let mut options = Options::new(directory.join("kedgemq.redb"));
        options.reserve_bytes = RESERVE as u64;
        let factory = disk.clone();
        let (database, _) = open_backend(move || Ok(factory.clone()), options).unwrap();
        let log = Arc::new(Log::default());
        Self { store: database.start(log.clone()), disk, log, turn: 0, next: 1 }
    }

    fn submit(&mut self, records: Vec<Record>) {
        self.turn += 1;
        let (last, time) = (number(self.turn), checkpoint(self.turn));
        self.store.submit(&records, &mut Vec::new(), last, true, time);
    }

    fn commit(&mut self, records: Vec<Record>) {
        self.submit(records);
        self.log.wait_for(self.turn);
    }

    /// A message for a queue.
    fn message(&mut self, len: usize) -> Vec<Record> {
        let id = MessageId(self.next);
        self.next += 1;
        vec![
            Record::Message { id, message: Arc::new(message("full", len)) },
            Record::Queued(Copy {
                owner: OwnerId(1 + id.0 % 7),
                message: id,
                qos: QoS::AtLeastOnce,
                retain: false,
                subscription_ids: None,
                size: u32::try_from(len).unwrap(),
                expires: None,
                deliveries: 0,
                sent: None,
            }),
        ]
    }

    /// That a message was acknowledged.
    fn delivered(&self, id: u64) -> Vec<Record> {
        let message = MessageId(id);
        vec![Record::Removed { owner: OwnerId(1 + id % 7), message, lazy: false }]
    }

    /// As much as publishers get into the store while it commits nothing, and then no space: `turn`
    /// makes what each publishes. Gives the bytes that were pending.
    fn burst(&mut self, directory: &Path, mut turn: impl FnMut(&mut Self) -> Vec<Record>) {
        let (open, gate) = mpsc::channel::<()>();
        let (stopped, at_gate) = mpsc::channel();
        let mut is_first = true;
        self.disk.at_each_sync(move |_| {
            if std::mem::take(&mut is_first) {
                stopped.send(()).unwrap();
                gate.recv().unwrap();
            }
        });
        let records = turn(self);
        self.submit(records);
        at_gate.recv().unwrap();
        while !self.store.is_full() {
            let records = turn(self);
            self.submit(records);
        }
        // A reader that saw room just before has a turn of the largest message.
        let records = self.message(LARGEST);
        self.submit(records);
        let allocated = self.disk.allocated();
        let reserve = directory.join("kedgemq.reserve");
        self.disk.limit(move || {
            let held = std::fs::metadata(&reserve).map_or(0, |found| found.len());
            allocated + RESERVE - usize::try_from(held).unwrap()
        });
        open.send(()).unwrap();
        self.disk.forget_hook();
        self.log.wait_for(self.turn);
    }

    fn check_that_it_never_failed(&self) {
        assert!(self.disk.refused() > 0, "the disk was full");
        let states = self.log.states();
        assert!(states.contains(&StoreState::Full), "{states:?}");
        assert!(!states.contains(&StoreState::Failing), "{states:?}");
    }
}

fn message(topic: &str, len: usize) -> Message {
    Message {
        topic: topic.into(),
        properties: Default::default(),
        payload: Bytes::from(vec![7; len]),
        qos: QoS::AtLeastOnce,
        retain: false,
        received: Timestamp(1),
        expiry: None,
        past: None,
    }
}

fn retained(topic: u64) -> Record {
    let topic = format!("state/{topic:05}");
    let message = Arc::new(message(&topic, 500));
    Record::Retained { topic: topic.into(), message: Some(message), lazy: true }
}

/// A burst of messages of `len` bytes; then all are acknowledged while the disk is full.
fn messages_of(len: usize) {
    let directory = tempfile::tempdir().unwrap();
    let mut filling = Filling::new(directory.path());
    let records = filling.message(10);
    filling.commit(records);
    filling.burst(directory.path(), |filling| filling.message(len));
    filling.check_that_it_never_failed();
    for id in 1..filling.next {
        let records = filling.delivered(id);
        filling.submit(records);
        if id.is_multiple_of(64) {
            filling.log.wait_for(filling.turn);
        }
    }
    filling.log.wait_for(filling.turn);
    filling.check_that_it_never_failed();
    filling.store.stop().unwrap();
}

#[test]
fn a_burst_of_small_messages_fits_into_the_reserve_of_a_full_disk() {
    messages_of(100);
}

/// Each takes a page of twice its size.
#[test]
fn a_burst_of_messages_that_waste_pages_fits_into_the_reserve_of_a_full_disk() {
    messages_of(33_000);
}

#[test]
fn a_burst_of_the_largest_messages_fits_into_the_reserve_of_a_full_disk() {
    messages_of(LARGEST);
}

/// Each is in a page of its own, and lazy.
#[test]
fn a_burst_of_retained_messages_fits_into_the_reserve_of_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut filling = Filling::new(directory.path());
    for topics in 0..10 {
        filling.commit((0..2000).map(|topic| retained(topics * 2000 + topic)).collect());
    }
    let mut topic = 0;
    filling.burst(directory.path(), |_| {
        topic = (topic + 7919) % 20_000;
        vec![retained(topic)]
    });
    filling.check_that_it_never_failed();
    filling.store.stop().unwrap();
}

/// They start no commit by themselves, but publishers wait for one.
#[test]
fn lazy_records_do_not_keep_a_full_queue_waiting() {
    let mut options = Options::new("the test disk");
    options.lazy_interval = std::time::Duration::from_secs(3600);
    options.queue_bytes = 10_000;
    let disk = Disk::default();
    let (database, _) = open_backend(move || Ok(disk.clone()), options).unwrap();
    let log = Arc::new(Log::default());
    let store = database.start(log.clone());
    let mut turn = 0;
    while !store.is_full() {
        turn += 1;
        let last = number(usize::try_from(turn).unwrap());
        store.submit(&[retained(turn)], &mut Vec::new(), last, false, checkpoint(1));
    }
    log.wait_for(usize::try_from(turn).unwrap());
    log.wait_for_room();
    assert!(!store.is_full());
    store.stop().unwrap();
}
