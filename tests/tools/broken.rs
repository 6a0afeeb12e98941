//! What the broker makes of a broken data file: all is served, or the file is set aside and the
//! broker says so and starts anew, or it is left alone and the broker ends with one line.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use fastrand::Rng;
use kedgemq::mqtt::QoS;
use kedgemq::store::suspicion;

use crate::command::end;
use crate::damage::{Damage, set_aside};
use crate::file;
use crate::harness::Broker;
use crate::peer::Peer;

/// Seeded damages, besides those of the table.
const DAMAGES: u64 = 16;

type Messages = Vec<(String, Vec<u8>)>;

/// What is owed to the session `away`, and what is retained.
struct Content {
    queued: Messages,
    retained: Messages,
}

/// A data file with messages of all sizes for a session that is away. The broker was killed, or
/// had stopped.
fn content(killed: bool) -> (Vec<u8>, Content) {
    let mut broker = Broker::start_plain();
    Peer::connect(broker.plain(), "away").subscribe("job/#");
    let mut peer = Peer::connect(broker.plain(), "publisher");
    let mut random = Rng::with_seed(7);
    let mut queued = Messages::new();
    for number in 0..40 {
        let len = if number % 8 == 0 { random.usize(..80_000) } else { random.usize(..300) };
        let payload: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
        let topic = format!("job/{number}");
        let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][number % 2];
        peer.publish(&topic, qos, &payload);
        queued.push((topic, payload));
    }
    let mut retained = Messages::new();
    for number in 0..4 {
        let (topic, payload) = (format!("state/{number}"), vec![b'r'; 100]);
        peer.retain(&topic, &payload);
        retained.push((topic, payload));
    }
    drop(peer);
    if killed {
        broker.kill();
    } else {
        broker.signal("TERM");
        assert_eq!(broker.wait_exit().code(), Some(0));
    }
    let bytes = fs::read(file::in_directory(&broker.path("data"))).unwrap();
    (bytes, Content { queued, retained })
}

/// What a client that was away meets.
fn served(broker: &Broker) -> (Messages, Messages) {
    let mut peer = Peer::connect(broker.plain(), "away");
    peer.subscribe("job/#");
    let queued = peer.messages_until("job/end");
    peer.subscribe("state/#");
    let mut retained = peer.messages_until("state/end");
    retained.sort();
    (queued, retained)
}

#[test]
fn a_damaged_file_is_served_whole_or_set_aside() {
    for killed in [false, true] {
        let (good, content) = content(killed);
        let mut damages = vec![
            Damage::Truncate(1),
            Damage::Truncate(good.len() / 3),
            Damage::Truncate(good.len() - 1),
            Damage::Extend(10_000),
            Damage::ZeroPage(0),
            Damage::ZeroPage(good.len() / 4096 / 2),
            // The newest commit, in one of the two places.
            Damage::Bit(100 * 8),
            Damage::Bit(220 * 8),
        ];
        let mut random = Rng::with_seed(20);
        damages.extend((0..DAMAGES).map(|_| Damage::random(&mut random, good.len())));
        let (mut whole, mut aside) = (0, 0);
        for damage in damages {
            let bytes = damage.of(&good);
            // Which is refused: that has a test of its own.
            if matches!(damage, Damage::Bit(bit) if [64, 192].contains(&(bit / 8))) {
                continue;
            }
            let what = format!("killed {killed}, {damage:?}");
            let broker = Broker::start_on(|data| {
                fs::write(file::in_directory(data), &bytes).unwrap();
            });
            let (queued, retained) = served(&broker);
            let files = set_aside(&broker.path("data"));
            if files.is_empty() && bytes.iter().take(9).any(|byte| *byte != 0) {
                whole += 1;
                assert!(queued == content.queued, "{what}: {} messages", queued.len());
                assert!(retained == content.retained, "{what}");
                continue;
            }
            assert!(queued.is_empty() && retained.is_empty(), "{what}");
            if files.is_empty() {
                let line = broker.wait_for_log("held nothing");
                assert!(line.contains("WARN"), "{what}: {line}");
                continue;
            }
            aside += 1;
            let line = broker.wait_for_log("it was renamed");
            assert!(line.contains("ERROR") && line.contains("why="), "{what}: {line}");
            broker.wait_for_log("count=1");
            let name = files[0].file_name().unwrap().to_str().unwrap();
            assert!(line.contains(name), "{what}: {line}");
        }
        assert!(whole > 0 && aside > 0, "{whole} whole, {aside} set aside");
    }
}

/// Nothing tells them from a file whose making was cut short.
#[test]
fn an_empty_file_and_one_of_zeros_are_new_ones_and_said() {
    let (good, _) = content(true);
    for bytes in [Vec::new(), Damage::Zero.of(&good)] {
        let broker = Broker::start_on(|data| fs::write(file::in_directory(data), &bytes).unwrap());
        broker.wait_for_log("held nothing");
        assert_eq!(served(&broker), Default::default());
    }
}

#[test]
fn a_directory_is_set_aside_and_each_start_says_how_many_there_are() {
    let mut broker = Broker::start_on(|data| {
        fs::create_dir(file::in_directory(data)).unwrap();
        fs::write(file::in_directory(data).join("inside"), "kept").unwrap();
        fs::create_dir(data.join("kedgemq.redb.broken-20200101T000000Z")).unwrap();
    });
    let line = broker.wait_for_log("it was renamed");
    assert!(line.contains("is a directory"), "{line}");
    broker.wait_for_log("count=2");
    let aside = set_aside(&broker.path("data"));
    assert_eq!(fs::read(aside[1].join("inside")).unwrap(), b"kept");
    broker.restart();
    broker.wait_for_log("count=2");
    assert_eq!(set_aside(&broker.path("data")), aside);
}

/// Bytes change on the disk while the broker runs, where it reads them only when their client
/// comes back.
#[test]
fn what_turns_out_corrupt_in_use_ends_the_broker_and_the_next_start_sets_it_aside() {
    let mut broker = Broker::start_plain();
    Peer::connect(broker.plain(), "away").subscribe("job/#");
    let mut peer = Peer::connect(broker.plain(), "publisher");
    let mut random = Rng::with_seed(9);
    let mut payload = vec![0; 60_000];
    random.fill(&mut payload);
    let first = payload.clone();
    // More than redb keeps in memory.
    for number in 0..500 {
        peer.publish(&format!("job/{number}"), QoS::AtLeastOnce, &payload);
        random.fill(&mut payload);
    }
    drop(peer);
    broker.restart();
    let path = file::in_directory(&broker.path("data"));
    let bytes = fs::read(&path).unwrap();
    let data = OpenOptions::new().write(true).open(&path).unwrap();
    let places = bytes.windows(16).enumerate().filter(|(_, found)| *found == &first[..16]);
    for (at, _) in places {
        data.write_all_at(b"something else!!", at as u64).unwrap();
    }

    Peer::connect(broker.plain(), "away");
    assert_eq!(broker.wait_exit().code(), Some(1));
    let log = broker.log().text();
    let line = log.lines().find(|line| line.starts_with("kedgemq: ")).unwrap_or_default();
    assert!(line.contains("the next start reads all of the data file"), "{log}");
    assert!(line.contains(path.to_str().unwrap()) && line.contains("is corrupt"), "{log}");
    assert_eq!(set_aside(&broker.path("data")).len(), 0);
    assert!(suspicion(&path).is_some());

    broker.restart();
    broker.wait_for_log("all of it is read now");
    let line = broker.wait_for_log("it was renamed");
    assert!(line.contains("ERROR"), "{line}");
    assert_eq!(set_aside(&broker.path("data")).len(), 1);
    assert_eq!(suspicion(&path), None);
    assert_eq!(served(&broker), Default::default());
}

/// Ends with one line, exit code `code`, and leaves the bytes alone.
fn refused(data: &Path, run: &mut Command, code: i32, expected: &str) {
    let path = file::in_directory(data);
    let before = fs::read(&path).ok();
    let ended = end(run);
    assert_eq!(ended.code, code, "{expected}: {ended:?}");
    let line = ended.stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("kedgemq: ") && line.contains(expected), "{ended:?}");
    assert!(line.contains(path.to_str().unwrap()), "{ended:?}");
    assert_eq!(fs::read(&path).ok(), before, "{expected}");
    assert_eq!(set_aside(data).len(), 0, "{expected}");
}

fn run(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kedgemq"));
    command.args(["--mqtt", "127.0.0.1:0", "--data"]).arg(data).stdin(Stdio::null());
    command
}

#[test]
fn what_is_not_proven_corrupt_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    let path = file::in_directory(&data);
    let database = file::fill_open(&path, 1, 10).0;
    refused(&data, &mut run(&data), 1, "in use");
    database.close().unwrap();

    let good = fs::read(&path).unwrap();
    // redb's own version stands in front of both of its commits.
    let mut newer = good;
    (newer[64], newer[192]) = (4, 4);
    fs::write(&path, &newer).unwrap();
    refused(&data, &mut run(&data), 2, "format 4");

    // Every access fails: an I/O error that is no matter of the bytes.
    fs::remove_file(&path).unwrap();
    symlink(directory.path().join("loop"), directory.path().join("loop")).unwrap();
    symlink(directory.path().join("loop"), &path).unwrap();
    refused(&data, &mut run(&data), 1, "cannot be read or written");
}

/// As a user that may not read it: root may read everything.
#[test]
fn a_file_of_somebody_else_is_left_alone() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    let path = file::in_directory(&data);
    file::fill(&path, 1, 10);
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    if fs::metadata(directory.path()).unwrap().uid() != 0 {
        mode(&path, 0);
        let ended = end(&mut run(&data));
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.contains("may not be used"), "{ended:?}");
        return;
    }
    mode(directory.path(), 0o755);
    mode(&data, 0o777);
    let binary = directory.path().join("kedgemq");
    fs::copy(env!("CARGO_BIN_EXE_kedgemq"), &binary).unwrap();
    mode(&binary, 0o755);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(&binary).args(["--mqtt", "127.0.0.1:0", "--data"]).arg(&data);
    refused(&data, &mut command, 1, "may not be used");
}
