//! Damage to a data file, by a seed: afterwards either everything is there, or the file is proven
//! to be corrupt and set aside, or it looks like one of a newer version and is left alone. Never
//! is anything else given back.
//!
//! `DAMAGES=… SEED=… cargo test --test tools flips` does more of them, or others.

use std::fs;
use std::path::Path;

use fastrand::Rng;
use kedgemq::store::{Options, StoreError, open};

use crate::damage::{self, Damage};
use crate::file;
use crate::model::Model;

/// Of each file.
const DAMAGES: u64 = 150;

/// What became of a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Restored,
    SetAside,
    LeftAlone,
}

/// A broker that stopped leaves a file of which redb knows that it is whole.
#[test]
fn nothing_wrong_comes_of_a_closed_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("good");
    let model = file::fill(&path, 3, 25);
    damage_all(&directory.path().join("data"), &fs::read(&path).unwrap(), &model);
}

/// One that was killed leaves a file whose newest commit might be torn.
#[test]
fn nothing_wrong_comes_of_a_killed_brokers_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("good");
    let (database, model) = file::fill_open(&path, 4, 25);
    let content = fs::read(&path).unwrap();
    drop(database);
    damage_all(&directory.path().join("data"), &content, &model);
}

fn damage_all(data: &Path, good: &[u8], model: &Model) {
    let seed: u64 = number("SEED", 1);
    let path = file::in_directory(data);
    let mut seen = Vec::new();
    for seed in seed..seed + number("DAMAGES", DAMAGES) {
        let mut random = Rng::with_seed(seed);
        let damage = Damage::random(&mut random, good.len());
        let bytes = damage.of(good);
        fs::create_dir_all(data).unwrap();
        fs::write(&path, &bytes).unwrap();
        let outcome = outcome(&path, model, &format!("seed {seed}, {damage:?}"));
        match outcome {
            Outcome::SetAside => {
                let aside = damage::set_aside(data);
                assert_eq!(aside.len(), 1, "seed {seed}");
            }
            Outcome::LeftAlone => assert_eq!(fs::read(&path).unwrap(), bytes, "seed {seed}"),
            Outcome::Restored => {}
        }
        if !seen.contains(&outcome) {
            seen.push(outcome);
        }
        fs::remove_dir_all(data).unwrap();
    }
    assert!(seen.contains(&Outcome::Restored) && seen.contains(&Outcome::SetAside), "{seen:?}");
}

/// A number from the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a number"))
}

/// What a start finds; fails when that is wrong.
fn outcome(path: &Path, model: &Model, what: &str) -> Outcome {
    let (mut database, restored) = match open(Options::new(path)) {
        Ok(opened) => opened,
        Err(StoreError::NewerFormat { .. }) => return Outcome::LeftAlone,
        Err(error) => panic!("{what}: {error}"),
    };
    if restored.set_aside.is_some() {
        assert_eq!(restored.records.len(), 1, "{what}: a new file has marks only");
        return Outcome::SetAside;
    }
    assert_eq!(restored.records, model.restored(), "{what}");
    for load in file::loads(model) {
        assert_eq!(database.load(load).unwrap(), model.loaded(load), "{what}");
    }
    for (id, letter) in &model.dead {
        assert_eq!(database.dead_letter(*id).unwrap().as_ref(), Some(letter), "{what}");
    }
    Outcome::Restored
}
