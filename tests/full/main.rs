//! A store without room: the real binary, filled by clients of both versions until it refuses.
//! Nothing that was acknowledged is lost and nothing at QoS 2 comes twice, QoS 0 and deliveries
//! go on, it starts while it is full, and takes messages again when there is room.

#![expect(clippy::unwrap_used, reason = "all of it is test")]

#[allow(dead_code)] // Each test target uses its part of the harness.
#[path = "../harness/mod.rs"]
mod harness;

#[allow(dead_code)]
#[path = "../client/mod.rs"]
mod client;

mod clients;
mod disk;
mod fresh;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;

use kedgemq::mqtt::Version;

use clients::{Publisher, Subscriber, check_qos_0};
use disk::Disk;
use harness::Broker;

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

#[test]
fn a_full_disk_refuses_loses_nothing_and_recovers() {
    let mut disk = None;
    let broker = start("reserve = \"2MiB\"", |data| disk = Disk::mount(data, "24m"));
    let Some(disk) = &disk else {
        println!("not root: no small disk here; tests/crash does this with a disk in memory");
        return;
    };
    println!("on a tmpfs of 24 MiB");
    let reserve = || {
        let held = fs::metadata(disk.path().join("kedgemq.reserve"));
        held.expect("a reserve").len()
    };
    fill_and_recover(broker, || assert_eq!(reserve(), 2 * 1024 * 1024));
}

#[test]
fn a_disk_that_others_filled_is_used_again_when_they_make_room() {
    let mut disk = None;
    let mut broker = start("reserve = \"1MiB\"", |data| disk = Disk::mount(data, "24m"));
    let Some(disk) = &disk else {
        println!("not root: no small disk here");
        return;
    };
    let mut publisher = Publisher::new(Version::V5);
    let mut subscriber = Subscriber::new(Version::V5);
    subscriber.subscribe(broker.plain());
    let other = disk.fill("other");
    let refused = publisher.publish_until_refused(broker.plain());
    assert!(refused.contains("0x97"), "{refused}");
    // And what the reserve left, so that the next start finds nothing but what was kept for it.
    let more = disk.fill("more");
    broker.restart();
    fs::remove_file(other).expect("it is ours");
    fs::remove_file(more).expect("it is ours");
    publisher.finish(&broker);
    subscriber.take_all(broker.plain(), &publisher);
}

/// More is on its way to the disk than there was space for, and then it is full: what is pending
/// is committed where the reserve was, and so are the acknowledgements of all deliveries.
#[test]
fn a_burst_into_a_full_disk_does_not_stop_deliveries() {
    let mut disk = None;
    let broker = start("reserve = \"8MiB\"", |data| disk = Disk::mount(data, "48m"));
    if disk.is_none() {
        println!("not root: no small disk here; tests/crash does this with a disk in memory");
        return;
    }
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut subscribers = names.map(|name| Subscriber::of(Version::V5, name));
    for subscriber in &mut subscribers {
        subscriber.subscribe(broker.plain());
    }
    let mut publishers = names.map(|name| Publisher::of(Version::V5, name, 100_000));
    let address = broker.plain();
    thread::scope(|scope| {
        for publisher in &mut publishers {
            scope.spawn(move || {
                let refused = publisher.publish_until_refused(address);
                assert!(refused.contains("0x97"), "{refused}");
            });
        }
    });
    let line = broker.wait_for_log("the store is full");
    assert!(line.contains("has no space left"), "{line}");
    for (subscriber, publisher) in subscribers.iter_mut().zip(&publishers) {
        subscriber.take_all(broker.plain(), publisher);
    }
    assert!(!broker.log().text().contains("the store fails"), "{}", broker.log().text());
}

#[test]
fn a_store_at_its_set_size_refuses_loses_nothing_and_recovers() {
    // What is pending when the size is met is taken all the same: without one of two queues the
    // rest must be under the limit.
    let broker = start("max_store_size = \"32MiB\"", |_| ());
    fill_and_recover(broker, || ());
}

/// A broker whose data directory `prepare` may change before it starts.
fn start(store: &str, prepare: impl FnOnce(&Path)) -> Broker {
    Broker::start_configured(|directory| {
        let data = directory.join("data");
        fs::create_dir(&data).expect("the directory is ours");
        prepare(&data);
        format!(
            "[limits]\nin_flight = 20\n[store]\n{store}\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\n"
        )
    })
}

fn publish_until_refused(publisher: &mut Publisher, address: SocketAddr) {
    let refused = publisher.publish_until_refused(address);
    let count = publisher.acknowledged();
    println!("{:?}: {count} acknowledged, then: {refused}", publisher.version);
    match publisher.version {
        Version::V5 => assert!(refused.contains("0x97"), "{refused}"),
        Version::V311 | Version::V31 => assert_eq!(refused, "closed"),
    }
    assert!(count > 200, "it refused too early");
}

/// `look` is called when the store is in use and has room.
fn fill_and_recover(mut broker: Broker, look: impl FnOnce()) {
    let mut subscribers = VERSIONS.map(Subscriber::new);
    for subscriber in &mut subscribers {
        subscriber.subscribe(broker.plain());
    }
    look();
    let mut publishers = VERSIONS.map(Publisher::new);
    let address = broker.plain();
    thread::scope(|scope| {
        for publisher in &mut publishers {
            scope.spawn(move || publish_until_refused(publisher, address));
        }
    });
    broker.wait_for_log("the store is full");
    check_qos_0(broker.plain());

    broker.restart();
    check_qos_0(broker.plain());
    // Deletes are committed on the full disk, and make room.
    let most = usize::from(publishers[1].acknowledged() > publishers[0].acknowledged());
    subscribers[most].take_all(broker.plain(), &publishers[most]);
    for publisher in &mut publishers {
        publisher.finish(&broker);
    }
    broker.restart();
    for (subscriber, publisher) in subscribers.iter_mut().zip(&publishers) {
        subscriber.take_all(broker.plain(), publisher);
    }
}
