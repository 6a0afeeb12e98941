//! What is looked at when all is said: the retained messages, and what is left in the store.

use kedgemq::turn::{DeadId, Record};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::World;
use crate::clients::tag_of;
use crate::history::{Fact, Letter};

/// How long reading the retained messages may take, in milliseconds. The broker looks once a
/// minute for letters that are too old: once more before the end.
const READING: u64 = 61_000;

impl World {
    pub(super) fn read_retained(&mut self) -> Result<(), String> {
        let now = self.now;
        let reader = self.clients.last_mut().expect("there is one");
        reader.calm_down(now);
        reader.next_act = now;
        while self.now < now + READING {
            self.step()?;
        }
        Ok(())
    }

    /// Ends the broker and reads its file.
    pub(super) fn look_into_the_store(&mut self) -> Result<(), String> {
        let engine = self.engine.take().expect("it runs at the end");
        self.note_sizes(&engine);
        let counters = engine.broker.counters();
        self.coverage.add("copies of transient sessions counted", counters.session_ended);
        let storage = engine.storage;
        storage.stop(self.now).map_err(|why| format!("the store does not stop: {why}"))?;
        self.note_collection();
        let opened = self.open_store().map_err(|error| error.to_string());
        let (database, restored) = opened?;
        let mut letters: Vec<DeadId> = Vec::new();
        for record in restored.records {
            match record {
                Record::DeadIndex(index) => letters.push(index.id),
                Record::Queued(copy) => {
                    let what = format!("copy {:?} of {:?}", copy.message, copy.owner);
                    self.history.note(Fact::Leftover { what });
                }
                Record::Received { session, packet_id } => {
                    let what = format!("received {packet_id:?} of {session:?}");
                    self.history.note(Fact::Leftover { what });
                }
                _ => {}
            }
        }
        for id in letters {
            let letter = database.dead_letter(id).map_err(|error| error.to_string())?;
            let letter = letter.ok_or_else(|| format!("{id:?} is in the index and not there"))?;
            self.history.note(Fact::Letter(Box::new(Letter {
                id: id.0,
                owner: letter.owner_name.to_string(),
                reason: letter.reason,
                tag: tag_of(&letter.message.payload, &letter.message.topic),
                topic: letter.message.topic.to_string(),
                payload: letter.message.payload.clone(),
                deliveries: letter.deliveries,
                qos: letter.qos as u8,
            })));
        }
        let (failed, refused_space, torn) = self.disk.counts();
        self.coverage.add("disk operations failed", failed);
        self.coverage.add("writes without space", refused_space);
        self.coverage.add("torn by a power cut", torn);
        self.coverage.add("starts", self.starts);
        Ok(())
    }

    /// Rows of the log are counted from its beginning, and go from the front.
    fn note_collection(&mut self) {
        const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
        let file = redb::Builder::new().create_with_backend(self.disk.clone());
        let file = file.expect("it was closed without an error");
        let read = file.begin_read().expect("it is whole");
        let log = read.open_table(LOG).expect("the log is there");
        let first = log.first().expect("it is whole").map(|(key, _)| key.value());
        self.coverage.add("log collections", u64::from(first.is_some_and(|first| first > 1)));
    }
}
