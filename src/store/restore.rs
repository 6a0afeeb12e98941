//! What the core is given at start: the file's content as records, without bodies.
//!
//! The order is fixed, each kind of record in one go, so that what a record refers to came
//! before it: marks, sessions, groups, subscriptions, copies, received Packet Identifiers,
//! retained messages, dead letters.

use redb::{ReadTransaction, ReadableTable};

use crate::turn::{Copy, Marks, Record};

use super::database::{DEAD, GROUPS, RETAINED, SESSIONS, SUBSCRIPTIONS};
use super::encoding::Broken;
use super::fault::Fault;
use super::index::Index;
use super::log::{self, LOG, for_each_record};
use super::record::LogRecord;
use super::row::RowKey;

/// All that is stored, as records.
pub(super) fn restore(
    read: &ReadTransaction,
    index: &Index,
    marks: Marks,
) -> Result<Vec<Record>, Fault> {
    let mut records = vec![Record::Marks(marks)];
    let sessions = read.open_table(SESSIONS)?;
    for row in sessions.iter()? {
        let (key, value) = row?;
        let (id, part) = key.value();
        records.push(record(RowKey::Session(id, part), value.value(), "sessions")?);
    }
    let groups = read.open_table(GROUPS)?;
    for row in groups.iter()? {
        let (key, value) = row?;
        let (id, part) = key.value();
        records.push(record(RowKey::Group(id, part), value.value(), "groups")?);
    }
    let subscriptions = read.open_table(SUBSCRIPTIONS)?;
    for row in subscriptions.iter()? {
        let (key, value) = row?;
        let (id, filter) = key.value();
        let key = RowKey::Subscription(id, filter.into());
        records.push(record(key, value.value(), "subscriptions")?);
    }
    records.extend(copies(read, index)?.into_iter().map(Record::Queued));
    let received = index.received().into_iter();
    records.extend(received.map(|(session, packet_id)| Record::Received { session, packet_id }));
    let retained = read.open_table(RETAINED)?;
    for row in retained.iter()? {
        let (key, value) = row?;
        let key = RowKey::Retained(key.value().into());
        records.push(record(key, value.value(), "retained")?);
    }
    let dead = read.open_table(DEAD)?;
    for row in dead.iter()? {
        let (key, value) = row?;
        records.push(record(RowKey::Dead(key.value()), value.value(), "dead")?);
    }
    Ok(records)
}

fn record(key: RowKey, value: &[u8], table: &'static str) -> Result<Record, Fault> {
    key.record(value).map_err(|Broken| Fault::Row(table))
}

/// The copies that are in some queue, by owner and message.
fn copies(read: &ReadTransaction, index: &Index) -> Result<Vec<Copy>, Fault> {
    let table = read.open_table(LOG)?;
    let mut copies = Vec::new();
    let mut buffer = Vec::new();
    for segment in index.segments().filter(|segment| segment.live > 0) {
        log::read_segment(&table, segment.key, segment.rows, &mut buffer)?;
        for_each_record(segment.key, &buffer, |record, place| {
            if let LogRecord::Queued(copy) = record {
                copies.extend(index.complete(copy, place));
            }
        })?;
    }
    copies.sort_unstable_by_key(|copy| (copy.owner, copy.message));
    Ok(copies)
}
