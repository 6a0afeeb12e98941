//! `check`, `export`, `import` and `compact` on a stopped broker's file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kedgemq::store::{Options, open};
use kedgemq::turn::Record;

use crate::command::{kedgemq, store, store_fails};
use crate::file;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn lines_of(export: &str) -> Vec<serde_json::Value> {
    export.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A killed broker's data directory, full of everything; and what is in it.
fn killed(directory: &Path, name: &str, seed: u64) -> (std::path::PathBuf, crate::model::Model) {
    let data = directory.join(name);
    fs::create_dir(&data).unwrap();
    let made = directory.join("made");
    let (database, model) = file::fill_open(&made, seed, 150);
    fs::copy(&made, file::in_directory(&data)).unwrap();
    drop(database);
    fs::remove_file(&made).unwrap();
    (data, model)
}

#[test]
fn an_export_made_a_store_again_gives_the_same_export() {
    let directory = tempfile::tempdir().unwrap();
    for seed in 1..6 {
        let (data, model) = killed(directory.path(), &format!("from-{seed}"), seed);
        let before = fs::read(file::in_directory(&data)).unwrap();
        let export = store(&["export", "--data", text(&data)]);
        assert_eq!(fs::read(file::in_directory(&data)).unwrap(), before, "export changes nothing");
        let part = directory.path().join(format!("export-{seed}"));
        fs::write(&part, &export).unwrap();
        let new = directory.path().join(format!("to-{seed}"));
        store(&["import", "--data", text(&new), text(&part)]);
        assert_eq!(store(&["export", "--data", text(&new)]), export, "seed {seed}");
        let names: Vec<_> = fs::read_dir(&new).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, ["kedgemq.redb"]);

        let (mut database, restored) = open(Options::new(file::in_directory(&new))).unwrap();
        assert_eq!(restored.records, model.restored(), "seed {seed}");
        assert_eq!(restored.checkpoint.unwrap().unix_ms, 1_000_150);
        for load in file::loads(&model) {
            assert_eq!(database.load(load).unwrap(), model.loaded(load), "seed {seed}");
        }
        for (id, letter) in &model.dead {
            assert_eq!(database.dead_letter(*id).unwrap().as_ref(), Some(letter));
        }
    }
}

#[test]
fn an_export_has_each_body_once_and_its_text_for_people() {
    let directory = tempfile::tempdir().unwrap();
    let (data, model) = killed(directory.path(), "data", 9);
    let target = directory.path().join("export");
    store(&["export", "--data", text(&data), text(&target)]);
    let mode = fs::metadata(&target).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = store_fails(2, &["export", "--data", text(&data), text(&target)]);
    assert!(again.contains("is there already"), "{again}");
    let lines = lines_of(&fs::read_to_string(&target).unwrap());
    assert_eq!(lines[0]["header"]["kedgemq_export"], 1);
    assert_eq!(lines.last().unwrap()["end"]["lines"], lines.len() - 1);
    let messages: Vec<_> = lines.iter().filter_map(|line| line.get("message")).collect();
    let mut ids: Vec<u64> = messages.iter().map(|it| it["id"].as_u64().unwrap()).collect();
    let copies: usize = messages.iter().map(|it| it["copies"].as_array().unwrap().len()).sum();
    assert_eq!(copies, model.copies.len());
    assert!(copies > ids.len(), "some message has several copies");
    assert!(ids.is_sorted());
    ids.dedup();
    assert_eq!(ids.len(), messages.len());
}

#[test]
fn a_damaged_export_makes_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let (data, _) = killed(directory.path(), "data", 2);
    let export = store(&["export", "--data", text(&data)]);
    let header_ends = export.find('\n').unwrap();
    let cut = export.rfind("{\"end\"").unwrap();
    let body = &export[header_ends..];
    let message = export.find("{\"message\"").unwrap();
    let message_ends = message + export[message..].find('\n').unwrap() + 1;
    let table = [
        ("", "ends here"),
        ("hello\n", "no export"),
        ("{\"header\":{\"kedgemq_export\":2}}\n", "format 2"),
        (body, "no export"),
        (&export[..cut], "ends here"),
        (&export[..export.len() / 2], ""),
        (&format!("{}{}", &export[..message], &export[message_ends..]), "lines are missing"),
        (&format!("{export}more\n"), "more behind the end"),
        (&export.replacen("\"payload\":\"", "\"payload\":\"*", 1), "payload"),
        (&export.replacen("\"qos\":2", "\"qos\":3", 1), "qos is 3"),
        (&export.replacen("\"ordinal_bound\"", "\"bound\"", 1), "unknown field"),
    ];
    let file = directory.path().join("damaged");
    let new = directory.path().join("new");
    for (damaged, expected) in table {
        fs::write(&file, damaged).unwrap();
        let line = store_fails(2, &["import", "--data", text(&new), text(&file)]);
        assert!(line.contains(expected), "{expected}: {line}");
        assert!(line.contains(text(&file)), "{line}");
        let left = fs::read_dir(&new).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{expected}");
    }
    fs::write(&file, &export).unwrap();
    let line = store_fails(2, &["import", "--data", text(&data), text(&file)]);
    assert!(line.contains("there is a store already"), "{line}");
    assert_eq!(store(&["export", "--data", text(&data)]), export);
}

#[test]
fn a_store_that_was_never_used_can_be_exported_and_imported() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let (database, _) = open(Options::new(file::in_directory(&data))).unwrap();
    database.close().unwrap();
    let export = directory.path().join("export");
    store(&["export", "--data", text(&data), text(&export)]);
    let new = directory.path().join("new");
    store(&["import", "--data", text(&new), text(&export)]);
    let (_, restored) = open(Options::new(file::in_directory(&new))).unwrap();
    assert_eq!(restored.checkpoint, None);
}

#[test]
fn a_check_counts_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (data, model) = killed(directory.path(), "data", 5);
    let path = file::in_directory(&data);
    let before = fs::read(&path).unwrap();
    let report = store(&["check", "--json", "--data", text(&data)]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let in_flight = model.copies.values().filter(|copy| copy.sent.is_some()).count();
    let bytes: u64 = model.copies.values().map(|copy| u64::from(copy.size)).sum();
    let ended = model.sessions.values().filter(|(_, ended)| ended.is_some()).count();
    assert_eq!(report["sessions"], model.sessions.len());
    assert_eq!(report["ended_sessions"], ended);
    assert_eq!(report["subscriptions"], model.subscriptions.len());
    assert_eq!(report["share_groups"], model.groups.len());
    assert_eq!(report["queued_messages"], model.copies.len());
    assert_eq!(report["queued_bytes"], bytes);
    assert_eq!(report["in_flight"], in_flight);
    assert_eq!(report["received_packet_ids"], model.received.len());
    assert_eq!(report["retained_messages"], model.retained.len());
    assert_eq!(report["dead_letters"], model.dead.len());
    assert_eq!(report["file_bytes"], before.len());
    assert_eq!(report["problems"], serde_json::json!([]));
    let table = store(&["check", text(&path)]);
    assert!(table.contains("all of it can be read"), "{table}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
}

/// A body that is gone, a subscription of nobody, a queue of nobody: redb knows nothing of them.
#[test]
fn a_check_finds_what_refers_to_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let (mut database, model) = file::fill_open(&path, 6, 60);
    let copy = model.copies.values().next().unwrap().clone();
    let nobody = kedgemq::turn::OwnerId(900);
    let no_body = kedgemq::turn::MessageId(90_000);
    let (subscribed, _) = model.sessions.values().next().unwrap();
    let Record::Session(session) = subscribed else { panic!("{subscribed:?}") };
    let mut lost = copy.clone();
    (lost.owner, lost.message, lost.sent) = (session.id, no_body, None);
    let mut orphan = copy;
    (orphan.owner, orphan.message) = (nobody, orphan.message);
    let packet_id = kedgemq::mqtt::PacketId::new(7).unwrap();
    let records = [
        Record::Queued(lost),
        Record::Queued(orphan),
        Record::Received { session: nobody, packet_id },
    ];
    database.commit(&records, kedgemq::store::Checkpoint::default()).unwrap();
    database.close().unwrap();
    let ended = kedgemq(&["store", "check", text(&path)]);
    assert_eq!(ended.code, 1, "{ended:?}");
    for expected in [
        format!("broken: the queue of session {} has ", session.client_id),
        "broken: a queue belongs to owner 900, which is not there".to_owned(),
        "broken: the received packet id 7 belongs to owner 900".to_owned(),
    ] {
        assert!(ended.stdout.contains(&expected), "{expected}: {ended:?}");
    }
}

#[test]
fn compacting_gives_space_back_and_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let (data, _) = killed(directory.path(), "data", 8);
    let before = store(&["export", "--data", text(&data)]);
    let sizes = store(&["compact", "--json", "--data", text(&data)]);
    let sizes: serde_json::Value = serde_json::from_str(&sizes).unwrap();
    assert!(sizes["after"].as_u64() < sizes["before"].as_u64(), "{sizes}");
    let len = fs::metadata(file::in_directory(&data)).unwrap().len();
    assert_eq!(sizes["after"], len);
    assert_eq!(store(&["export", "--data", text(&data)]), before);
}

#[test]
fn without_a_store_there_is_one_line_and_nothing_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for command in ["check", "export", "compact"] {
        let line = store_fails(2, &[command, "--data", text(&data)]);
        assert!(line.contains("there is no store"), "{line}");
    }
    let copy = directory.path().join("copy");
    let line = store_fails(2, &["backup", "--data", text(&data), text(&copy)]);
    assert!(line.contains("there is no store"), "{line}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_config_file_names_the_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (data, _) = killed(directory.path(), "elsewhere", 3);
    let config = directory.path().join("kedgemq.toml");
    fs::write(&config, "data = \"elsewhere\"\n").unwrap();
    let export = store(&["export", "-c", text(&config)]);
    assert_eq!(export, store(&["export", "--data", text(&data)]));
}

/// What can still be read of a file that lost its newest commit can be had, but not unawares.
#[test]
fn a_file_that_lost_its_newest_commit_is_broken() {
    let directory = tempfile::tempdir().unwrap();
    let (data, _) = killed(directory.path(), "data", 4);
    let path = file::in_directory(&data);
    let good = store(&["export", "--data", text(&data)]);
    let mut bytes = fs::read(&path).unwrap();
    // Both places of commits, one after the other: one of them is the newest.
    let outcomes = [100, 220].map(|place| {
        bytes[place] ^= 1;
        fs::write(&path, &bytes).unwrap();
        bytes[place] ^= 1;
        let check = kedgemq(&["store", "check", text(&path)]);
        let export = kedgemq(&["store", "export", "--data", text(&data)]);
        let copy = directory.path().join(format!("copy-{place}"));
        let backup = kedgemq(&["store", "backup", "--data", text(&data), text(&copy)]);
        assert_eq!(export.code, 0, "{export:?}");
        if check.code == 0 {
            assert_eq!((export.stdout == good, backup.code), (true, 0), "{backup:?}");
            return true;
        }
        assert!(check.stdout.contains("broken: its newest commit"), "{check:?}");
        assert!(export.stderr.contains("warning: ") && export.stdout != good, "{export:?}");
        assert_eq!((backup.code, copy.exists()), (1, false), "{backup:?}");
        false
    });
    assert!(outcomes.contains(&true) && outcomes.contains(&false), "{outcomes:?}");
}

#[test]
fn a_check_says_what_is_broken_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    file::fill(&path, 2, 30);
    let good = fs::read(&path).unwrap();
    let half = good[..good.len() / 2].to_vec();
    for (bytes, expected) in [(Vec::new(), "it holds nothing"), (half, "broken: ")] {
        fs::write(&path, &bytes).unwrap();
        let ended = kedgemq(&["store", "check", text(&path)]);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stdout.contains(expected), "{ended:?}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
