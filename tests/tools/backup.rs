//! `kedgemq store backup`, and what the tools do while a broker runs.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use kedgemq::mqtt::QoS;
use kedgemq::store::{BackupError, Witness};
use kedgemq::turn::{Loaded, RecordNumber, StoreState};

use crate::command::{kedgemq, store, store_fails};
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
        assert!(line.contains("is in use: stop the broker"), "{line}");
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

/// Several at once to one name: one makes it, whole.
#[test]
fn backups_do_not_get_into_each_others_way() {
    let broker = Broker::start_plain();
    let mut peer = Peer::connect(broker.plain(), "away");
    peer.subscribe("job/#");
    peer.publish("job/a", QoS::ExactlyOnce, &vec![b'x'; 100_000]);
    let (data, copy) = (broker.path("data"), broker.path("copy.redb"));
    let codes: Vec<i32> = thread::scope(|scope| {
        let arguments = ["store", "backup", "--data", text(&data), text(&copy)];
        let all: Vec<_> = (0..4).map(|_| scope.spawn(move || kedgemq(&arguments).code)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    store(&["check", text(&copy)]);
    let parts = fs::read_dir(copy.parent().unwrap()).unwrap();
    let parts =
        parts.filter(|it| it.as_ref().unwrap().path().extension().is_some_and(|it| it == "part"));
    assert_eq!(parts.count(), 0);
}

struct Nobody;

impl Witness for Nobody {
    fn committed(&self, _up_to: RecordNumber) {}
    fn loaded(&self, _loaded: Loaded) {}
    fn letters(&self, _: kedgemq::turn::Letters) {}
    fn state(&self, _state: StoreState, _why: &str) {}
    fn room(&self) {}
    fn broken(&self, _: &kedgemq::store::StoreError) {}
}

/// What is left of a backup when the broker stops meanwhile: nothing, and the broker stops.
#[test]
fn a_backup_does_not_outlive_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let (database, _) = file::fill_open(&path, 3, 100);
    let running = database.start(Arc::new(Nobody));
    let snapshot = running.snapshot().unwrap();
    let late = running.snapshot().unwrap();
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    let given_up = snapshot.copy_to(&first, &mut |copied| {
        assert!(copied.rows == 0 && copied.of > 0, "{copied:?}");
        ControlFlow::Break(())
    });
    assert_eq!(given_up, Err(BackupError::Cancelled));
    running.stop().unwrap();
    let failed = late.copy_to(&second, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(failed, Err(BackupError::Source(_))), "{failed:?}");
    assert!(running.snapshot().is_err());
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    store(&["check", text(&path)]);
}
