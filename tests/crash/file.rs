//! The data file as it is found at start: new, empty, in use, altered, of another format.

use std::fs;
use std::path::{Path, PathBuf};

use kedgemq::store::{OnBroken, Options, StoreError, open};
use kedgemq::turn::{Marks, Record};

use crate::model::Model;
use crate::store::checkpoint;
use crate::workload::Workload;

/// A file with some turns in it, closed; and what is in it.
fn filled(path: &Path) -> Model {
    let (mut database, _) = open(Options::new(path)).unwrap();
    let mut workload = Workload::new(41);
    for turn in 1..=40 {
        let records = workload.turn();
        database.commit(&records, checkpoint(turn)).unwrap();
    }
    database.close().unwrap();
    workload.model
}

fn new_path(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("data/kedgemq.redb")
}

/// Flips one bit of some message, wherever it lies in the file.
fn flip_a_bit(path: &Path, model: &Model) {
    let mut content = fs::read(path).unwrap();
    let (_, id) = model.copies.keys().next().unwrap();
    let mut flipped = 0;
    let needle = model.bodies[id].topic.as_bytes();
    for at in 0..content.len() - needle.len() {
        if content[at..].starts_with(needle) {
            content[at] ^= 4;
            flipped += 1;
        }
    }
    assert!(flipped > 0);
    fs::write(path, content).unwrap();
}

#[test]
fn a_corrupt_file_is_set_aside_and_a_new_one_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let path = new_path(&directory);
    let model = filled(&path);
    flip_a_bit(&path, &model);
    let corrupt = fs::read(&path).unwrap();
    let (database, restored) = open(Options::new(&path)).unwrap();
    assert_eq!(restored.records, [Record::Marks(Marks::default())]);
    let broken = restored.broken.expect("it says why");
    assert!(matches!(broken, StoreError::Corrupt { .. }), "{broken:?}");
    let aside = restored.set_aside.expect("it was set aside");
    let name = aside.file_name().unwrap().to_str().unwrap();
    let date = name.strip_prefix("kedgemq.redb.broken-").unwrap();
    let shape = date.replace(|digit: char| digit.is_ascii_digit(), "9");
    assert_eq!(shape, "99999999T999999Z", "{date}");
    assert_eq!(fs::read(&aside).unwrap().len(), corrupt.len());
    database.close().unwrap();
    let (_, restored) = open(Options::new(&path)).unwrap();
    assert_eq!(restored.set_aside, None);
}

#[test]
fn a_corrupt_file_can_stop_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = new_path(&directory);
    let model = filled(&path);
    flip_a_bit(&path, &model);
    let mut options = Options::new(&path);
    options.on_broken = OnBroken::Stop;
    let error = open(options).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains(path.to_str().unwrap()));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_no_database_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = new_path(&directory);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "notes ".repeat(2000)).unwrap();
    let (_, restored) = open(Options::new(&path)).unwrap();
    assert!(restored.set_aside.is_some());
}

#[test]
fn a_directory_in_its_place_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = new_path(&directory);
    fs::create_dir_all(path.join("inside")).unwrap();
    let (_, restored) = open(Options::new(&path)).unwrap();
    let broken = restored.broken.expect("it says why").to_string();
    assert!(broken.contains("is a directory"), "{broken}");
    assert!(restored.set_aside.expect("it was set aside").join("inside").is_dir());
}

#[test]
fn a_truncated_file_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = new_path(&directory);
    filled(&path);
    let content = fs::read(&path).unwrap();
    fs::write(&path, &content[..content.len() / 2]).unwrap();
    let (_, restored) = open(Options::new(&path)).unwrap();
    assert!(restored.set_aside.is_some());
}

#[test]
fn an_empty_file_is_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = new_path(&directory);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "").unwrap();
    let (_, restored) = open(Options::new(&path)).unwrap();
    assert_eq!(restored.set_aside, None);
    assert_eq!(restored.checkpoint, None);
}

#[test]
fn a_file_whose_making_was_cut_short_is_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = new_path(&directory);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut content = vec![0; 1_000_000];
    content[9..200].fill(3);
    fs::write(&path, content).unwrap();
    let (_, restored) = open(Options::new(&path)).unwrap();
    assert_eq!(restored.set_aside, None);
    assert_eq!(restored.checkpoint, None);
}

#[test]
fn a_file_in_use_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = new_path(&directory);
    let model = filled(&path);
    let (database, _) = open(Options::new(&path)).unwrap();
    let error = open(Options::new(&path)).unwrap_err();
    assert_eq!(error, StoreError::InUse { path: path.clone() });
    assert!(error.to_string().contains("in use"));
    database.close().unwrap();
    let (_, restored) = open(Options::new(&path)).unwrap();
    assert_eq!(restored.records, model.restored());
}

#[test]
fn a_newer_format_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = new_path(&directory);
    filled(&path);
    {
        let table = redb::TableDefinition::<&str, &[u8]>::new("meta");
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut meta = transaction.open_table(table).unwrap();
        let mut row = crc32fast::hash(b"format\x03\0\0\0").to_le_bytes().to_vec();
        row.extend([3, 0, 0, 0]);
        meta.insert("format", row.as_slice()).unwrap();
        drop(meta);
        transaction.commit().unwrap();
    }
    let before = fs::read(&path).unwrap();
    let error = open(Options::new(&path)).unwrap_err();
    assert!(error.to_string().contains("format 3"));
    assert!(matches!(error, StoreError::NewerFormat { found: 3, .. }));
    assert_eq!(fs::read(&path).unwrap().len(), before.len());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

/// redb reports a file of a newer redb as a corrupt one.
#[test]
fn a_newer_redb_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = new_path(&directory);
    filled(&path);
    let mut content = fs::read(&path).unwrap();
    // The first byte of both commit slots is the version.
    for slot in [64, 192] {
        assert_eq!(content[slot], 3);
        content[slot] = 4;
    }
    fs::write(&path, content).unwrap();
    let error = open(Options::new(&path)).unwrap_err();
    assert_eq!(error, StoreError::NewerFormat { path, found: 4 });
}

#[cfg(unix)]
#[test]
fn only_its_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = new_path(&directory);
    filled(&path);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
