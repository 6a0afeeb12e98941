//! `kedgemq store backup`, and what the tools do while a broker runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use kedgemq::mqtt::QoS;

use crate::command::{store, store_fails};
use crate::file;
use crate::harness::Broker;
use crate::peer::Peer;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Copies the store while messages come; the copy has all that was acknowledged before, in its
/// order and without a hole, and a broker serves it.
#[test]
fn a_backup_of_a_running_broker_is_consistent() {
    let broker = Broker::start_plain();
    let (data, copy) = (broker.path("data"), broker.path("copy.redb"));
    Peer::connect(broker.plain(), "away").subscribe("job/#");
    let (acknowledged, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let (warm, is_warm) = sync_channel(1);
    let (least, most) = thread::scope(|scope| {
        scope.spawn(|| {
            let mut peer = Peer::connect(broker.plain(), "publisher");
            let mut number = 0_u64;
            while !done.load(Ordering::SeqCst) {
                number += 1;
                let qos =
                    [QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(number.is_multiple_of(2))];
                let mut payload = number.to_string().into_bytes();
                payload.resize(payload.len() + 2000, b'.');
                peer.publish("job/a", qos, &payload);
                acknowledged.store(number, Ordering::SeqCst);
                if number == 100 {
                    warm.send(()).unwrap();
                }
            }
        });
        is_warm.recv().unwrap();
        let least = acknowledged.load(Ordering::SeqCst);
        let said = store(&["backup", "--data", text(&data), text(&copy)]);
        assert!(said.contains(text(&copy)), "{said}");
        // One may be on its way.
        let most = acknowledged.load(Ordering::SeqCst) + 1;
        done.store(true, Ordering::SeqCst);
        (least, most)
    });
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    store(&["check", text(&copy)]);

    let other = Broker::start_on(|data| fs::rename(&copy, file::in_directory(data)).unwrap());
    let mut peer = Peer::connect(other.plain(), "away");
    let messages = peer.messages_until("job/end");
    let numbers: Vec<u64> = messages
        .iter()
        .map(|(_, payload)| {
            let text = std::str::from_utf8(payload).unwrap();
            text.trim_end_matches('.').parse().unwrap()
        })
        .collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let count = numbers.len() as u64;
    assert!(least <= count && count <= most, "{least} to {most}, but {count}");
}

#[test]
fn a_backup_takes_no_name_that_is_taken() {
    let mut broker = Broker::start_plain();
    let (data, taken) = (broker.path("data"), broker.path("taken"));
    fs::write(&taken, "mine").unwrap();
    let arguments = ["backup", "--data", text(&data), text(&taken)];
    let running = store_fails(1, &arguments);
    broker.kill();
    let stopped = store_fails(2, &arguments);
    for line in [running, stopped] {
        assert!(line.contains("is there already"), "{line}");
    }
    assert_eq!(fs::read(&taken).unwrap(), b"mine");
    let nowhere = broker.path("no/such/directory");
    let line = store_fails(1, &["backup", "--data", text(&data), text(&nowhere)]);
    assert!(line.contains("cannot be written"), "{line}");
}

/// A killed broker leaves its socket; the backup then comes from the file, which stays as it is.
#[test]
fn a_backup_of_a_stopped_broker_comes_from_its_file() {
    let mut broker = Broker::start_plain();
    let (data, copy) = (broker.path("data"), broker.path("copy.redb"));
    Peer::connect(broker.plain(), "away").subscribe("job/#");
    Peer::connect(broker.plain(), "publisher").publish("job/a", QoS::ExactlyOnce, b"one");
    broker.kill();
    assert!(data.join("kedgemq.sock").exists());
    let before = fs::read(file::in_directory(&data)).unwrap();
    let said = store(&["backup", "--json", "--data", text(&data), text(&copy)]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["file"], text(&copy));
    assert_eq!(said["file_bytes"], fs::metadata(&copy).unwrap().len());
    assert_eq!(fs::read(file::in_directory(&data)).unwrap(), before);
    let from = store(&["export", "--data", text(&data)]);
    let new = broker.path("new");
    fs::create_dir(&new).unwrap();
    fs::rename(&copy, file::in_directory(&new)).unwrap();
    assert_eq!(store(&["export", "--data", text(&new)]), from);
}

#[test]
fn what_needs_a_stopped_broker_says_so_and_touches_nothing() {
    let broker = Broker::start_plain();
    let data = broker.path("data");
    let export = broker.path("export");
    for arguments in [vec!["check"], vec!["compact"], vec!["export", text(&export)]] {
        let line = store_fails(1, &[&arguments[..], &["--data", text(&data)]].concat());
        assert!(line.contains("in use by another process"), "{line}");
    }
    fs::write(
        &export,
        "{\"header\":{\"kedgemq_export\":1,\"written_by\":\"\",\"checkpoint\":null}}",
    )
    .unwrap();
    let line = store_fails(2, &["import", "--data", text(&data), text(&export)]);
    assert!(line.contains("there is a store already"), "{line}");
    Peer::connect(broker.plain(), "a").publish("a", QoS::ExactlyOnce, b"it goes on");
}
