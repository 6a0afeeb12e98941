//! Damage to a data file so large that a start does not read all of it: whatever the start and the
//! loads after it give is right, or the store ends, and the next start sets the file aside.
//!
//! `DAMAGES=… SEED=… cargo test --test tools large` does more of them, or others.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use kedgemq::store::{Checkpoint, Options, Store, StoreError, Witness, open, suspicion};
use kedgemq::turn::{DeadId, LetterLoad, Letters, Loaded, RecordNumber, StoreState};

use crate::damage::{Damage, set_aside};
use crate::file;
use crate::flips::number;
use crate::model::Model;

/// Of each file.
const DAMAGES: u64 = 100;

/// What became of a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Whole,
    SetAside,
    /// Found in use; by the next start, the file was set aside.
    Doubted,
    LeftAlone,
}

#[test]
fn nothing_wrong_comes_of_a_large_closed_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("good");
    let (database, model) = file::fill_cold(&path, 5, 200);
    database.close().unwrap();
    let seen = damage_all(directory.path(), &fs::read(&path).unwrap(), &model);
    assert!(seen.contains(&Outcome::Doubted), "{seen:?}");
}

/// redb reads all of it, to find out which pages are free.
#[test]
fn nothing_wrong_comes_of_a_large_file_of_a_killed_broker() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("good");
    let (database, model) = file::fill_cold(&path, 6, 200);
    let good = fs::read(&path).unwrap();
    drop(database);
    damage_all(directory.path(), &good, &model);
}

fn damage_all(directory: &Path, good: &[u8], model: &Model) -> Vec<Outcome> {
    let seed: u64 = number("SEED", 1);
    let mut seen = Vec::new();
    for seed in seed..seed + number("DAMAGES", DAMAGES) {
        let mut random = Rng::with_seed(seed);
        let damage = Damage::random(&mut random, good.len());
        let data = directory.join("data");
        fs::create_dir(&data).unwrap();
        fs::write(file::in_directory(&data), damage.of(good)).unwrap();
        let outcome = outcome(&data, model, &format!("seed {seed}, {damage:?}"));
        seen.push(outcome);
        fs::remove_dir_all(&data).unwrap();
    }
    let count = |what| seen.iter().filter(|outcome| **outcome == what).count();
    let [whole, aside, doubted] = [Outcome::Whole, Outcome::SetAside, Outcome::Doubted].map(count);
    println!("{whole} whole, {aside} set aside, {doubted} doubted");
    assert!(whole > 0 && aside > 0, "{seen:?}");
    seen
}

fn options(data: &Path) -> Options {
    Options { checked_bytes: 0, ..Options::new(file::in_directory(data)) }
}

fn outcome(data: &Path, model: &Model, what: &str) -> Outcome {
    let (database, restored) = match open(options(data)) {
        Ok(opened) => opened,
        Err(StoreError::NewerFormat { .. }) => return Outcome::LeftAlone,
        Err(error) => panic!("{what}: {error}"),
    };
    if restored.set_aside.is_some() {
        assert_eq!(restored.records.len(), 1, "{what}: a new file has marks only");
        return Outcome::SetAside;
    }
    assert!(restored.records == model.restored(), "{what}: the start gave something else");
    let (ear, said) = channel();
    let store = database.start(Arc::new(Ear(Mutex::new(ear))));
    if is_all_right(&store, &said, model, what) && store.stop().is_ok() {
        return Outcome::Whole;
    }
    assert!(suspicion(&file::in_directory(data)).is_some(), "{what}");
    // Its file stays open, until the process ends.
    let next = data.with_extension("next");
    fs::create_dir(&next).unwrap();
    for name in ["kedgemq.redb", "kedgemq.suspect"] {
        fs::copy(data.join(name), next.join(name)).unwrap();
    }
    let (_, restored) = open(options(&next)).unwrap();
    assert!(restored.set_aside.is_some(), "{what}: doubted in vain");
    assert_eq!(set_aside(&next).len(), 1, "{what}");
    fs::remove_dir_all(&next).unwrap();
    Outcome::Doubted
}

/// Asks for everything; false when the store ends over it.
fn is_all_right(store: &Store, said: &Receiver<Said>, model: &Model, what: &str) -> bool {
    let at = Checkpoint::default();
    for load in file::loads(model) {
        store.submit(&[], &mut vec![load], RecordNumber(0), false, at);
        match said.recv().unwrap() {
            Said::Loaded(loaded) => assert!(loaded == model.loaded(load), "{what}: {load:?}"),
            Said::Letters(_) => unreachable!("nobody asked"),
            Said::Broken => return false,
        }
    }
    let (first, last) = (DeadId(0), DeadId(u64::MAX));
    let (count, bytes) = (u32::MAX, u32::MAX);
    store.ask(&mut vec![LetterLoad { first, last, count, bytes, task: None }]);
    match said.recv().unwrap() {
        Said::Letters(letters) => {
            assert!(letters.letters.iter().eq(model.dead.values()), "{what}: dead letters");
            true
        }
        Said::Loaded(_) => unreachable!("all are answered"),
        Said::Broken => false,
    }
}

/// What the storage thread says.
enum Said {
    Loaded(Loaded),
    Letters(Letters),
    Broken,
}

struct Ear(Mutex<Sender<Said>>);

impl Ear {
    fn say(&self, said: Said) {
        // The test may know enough.
        let _ = self.0.lock().unwrap().send(said);
    }
}

impl Witness for Ear {
    fn committed(&self, _: RecordNumber) {}
    fn loaded(&self, loaded: Loaded) {
        self.say(Said::Loaded(loaded));
    }
    fn letters(&self, letters: Letters) {
        self.say(Said::Letters(letters));
    }
    fn state(&self, _: StoreState, _: &str) {}
    fn room(&self) {}
    fn broken(&self, _: &StoreError) {
        self.say(Said::Broken);
    }
}
