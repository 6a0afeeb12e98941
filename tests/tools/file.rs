//! Data files with something of everything in them.

use std::path::{Path, PathBuf};

use kedgemq::store::{Checkpoint, Database, Options, open};
use kedgemq::time::Timestamp;
use kedgemq::turn::{Load, MessageId, OwnerId};

use crate::model::Model;
use crate::workload::Workload;

/// The data file of a data directory.
pub(crate) fn in_directory(data: &Path) -> PathBuf {
    data.join("kedgemq.redb")
}

/// Makes a data file of seeded turns; gives what is in it.
pub(crate) fn fill(path: &Path, seed: u64, turns: u64) -> Model {
    let (database, model) = fill_open(path, seed, turns);
    database.close().unwrap();
    model
}

/// The same, still open.
pub(crate) fn fill_open(path: &Path, seed: u64, turns: u64) -> (Database, Model) {
    let (mut database, _) = open(Options::new(path)).unwrap();
    let mut workload = Workload::new(seed);
    for turn in 1..=turns {
        let at = Checkpoint { at: Timestamp(turn), unix_ms: 1_000_000 + turn };
        database.commit(&workload.turn(), at).unwrap();
    }
    (database, workload.model)
}

/// Makes a data file of turns for subscribers that are slow, most of whose copies are out of the
/// log. It is still open.
pub(crate) fn fill_cold(path: &Path, seed: u64, turns: u64) -> (Database, Model) {
    let (mut database, _) = open(Options::new(path)).unwrap();
    database.limit_log(300_000);
    database.limit_hot(10_000);
    let mut workload = Workload::slow(seed);
    for turn in 1..=turns {
        let at = Checkpoint { at: Timestamp(turn), unix_ms: 1_000_000 + turn };
        database.commit(&workload.turn(), at).unwrap();
    }
    assert!(database.cold_counts().chunks > 10);
    (database, workload.model)
}

/// The questions for all queues of a model.
pub(crate) fn loads(model: &Model) -> Vec<Load> {
    let owners = model.sessions.keys().chain(model.groups.keys());
    let all = |owner: &OwnerId| Load {
        owner: *owner,
        first: MessageId(0),
        last: MessageId(u64::MAX),
        count: u32::MAX,
        bytes: u32::MAX,
        expired_by: None,
        after_lazy: true,
    };
    owners.map(all).collect()
}
