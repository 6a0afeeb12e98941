//! A data directory without a store, on a disk that takes none: one line says so, and nothing of
//! the attempt is in the way of a later start.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};

use kedgemq::store::{Options, StoreError, open, set_aside_files};
use kedgemq::turn::{Marks, Record};

use crate::disk::Disk;

/// More pages than a new store writes.
const PAGES: u64 = 64;

fn new_disk(directory: &tempfile::TempDir) -> Option<Disk> {
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    let disk = Disk::mount(&data, "16m");
    if disk.is_none() {
        println!("not root: no small disk here");
    }
    disk
}

fn start(data: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kedgemq"));
    command.args(["--mqtt", "127.0.0.1:0", "--data"]).arg(data).stdin(Stdio::null());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Ends with exit code 1 and one line of its own that names the data file and says these words.
fn check_refused(data: &Path, words: [&str; 2]) {
    let (code, said) = start(data);
    assert_eq!(code, Some(1), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("kedgemq: ")).collect();
    let &[line] = &lines[..] else { panic!("{said}") };
    assert!(line.contains(data.join("kedgemq.redb").to_str().unwrap()), "{line}");
    assert!(words.iter().all(|word| line.contains(word)), "{line}");
    assert!(!said.contains("panicked"), "{said}");
}

/// Opens as a new store, and nothing else is there.
fn check_new(data: &Path) {
    let path = data.join("kedgemq.redb");
    let (database, restored) = open(Options::new(&path)).unwrap();
    assert_eq!(restored.records, [Record::Marks(Marks::default())]);
    assert_eq!(restored.broken, None);
    database.close().unwrap();
    assert_eq!(set_aside_files(&path).len(), 0);
}

#[test]
fn a_new_store_on_a_full_disk_says_so_and_is_made_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = new_disk(&directory) else { return };
    let filler = disk.fill("other");
    check_refused(disk.path(), ["No space left", "make room"]);
    check_refused(disk.path(), ["No space left", "make room"]);
    disk.free(&filler);
    check_new(disk.path());
}

/// The same, with room for a part of what a new store writes.
#[test]
fn a_store_that_was_made_in_part_is_made_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = new_disk(&directory) else { return };
    let path = disk.path().join("kedgemq.redb");
    let mut refused = 0;
    for pages in 0..PAGES {
        let filler = disk.fill("other");
        let file = OpenOptions::new().write(true).open(&filler).unwrap();
        let len = file.metadata().unwrap().len();
        file.set_len(len - pages * 4096).unwrap();
        drop(file); // Else it would keep its space.
        match open(Options::new(&path)) {
            Ok((database, restored)) => {
                assert_eq!(restored.broken, None, "{pages} pages");
                drop(database);
            }
            Err(error) => {
                assert!(matches!(error, StoreError::NoSpace { .. }), "{pages} pages: {error}");
                refused += 1;
            }
        }
        disk.free(&filler);
        check_new(disk.path());
        fs::remove_file(&path).unwrap();
    }
    assert!(refused > 2 && refused < PAGES, "{refused} of {PAGES} refused");
}

#[test]
fn a_new_store_on_a_disk_that_is_read_only_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = new_disk(&directory) else { return };
    fs::create_dir(disk.path().join("there")).unwrap();
    disk.remount("ro");
    for data in ["there", "new"] {
        check_refused(&disk.path().join(data), ["Read-only file system", "writable"]);
    }
    disk.remount("rw");
    for data in ["there", "new"] {
        check_new(&disk.path().join(data));
    }
}

/// As a user that may not write there: root may.
#[test]
fn a_new_store_in_a_directory_of_somebody_else_says_so() {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let set_mode = |path: &Path, mode| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let binary = directory.path().join("kedgemq");
    fs::copy(env!("CARGO_BIN_EXE_kedgemq"), &binary).unwrap();
    set_mode(directory.path(), 0o755);
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    set_mode(&data, 0o555);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(&binary).args(["--mqtt", "127.0.0.1:0", "--data"]).arg(&data);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    if said.contains("setpriv:") {
        println!("not root: nobody else to be");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = said.lines().last().unwrap();
    assert!(line.starts_with("kedgemq: ") && line.contains("may not be used"), "{line}");
    assert!(line.contains("kedgemq.redb") && line.contains("writable"), "{line}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
}
