//! Snapshots that are looked into.

use kedgemq::store::Snapshot;
use kedgemq::turn::{DeadId, LetterLoad};

use crate::file;

#[test]
fn a_snapshot_shows_the_queues_and_letters_that_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    for seed in 20..24 {
        let path = directory.path().join(seed.to_string());
        let model = file::fill(&path, seed, 150);
        let snapshot = Snapshot::of_file(&path).unwrap();
        for mut load in file::loads(&model) {
            assert_eq!(snapshot.copies(load).unwrap(), model.loaded(load), "seed {seed}");
            load.count = 2;
            assert_eq!(snapshot.copies(load).unwrap(), model.loaded(load), "seed {seed}");
        }
        let (first, last) = (DeadId(0), DeadId(u64::MAX));
        let load = LetterLoad { first, last, count: 2, bytes: 1 << 30, task: None };
        let all = snapshot.letters(LetterLoad { count: u32::MAX, ..load }).unwrap();
        assert!(all.letters.iter().eq(model.dead.values()) && !all.has_more, "seed {seed}");
        let some = snapshot.letters(load).unwrap();
        assert_eq!(some.letters[..], all.letters[..some.letters.len()]);
        assert_eq!(some.has_more, all.letters.len() > some.letters.len());
    }
}
