//! What the core is given at start: the file's content as records, without bodies.
//!
//! The order is fixed, each kind of record in one go, so that what a record refers to came
//! before it: marks, sessions, groups, subscriptions, copies in flight, backlogs, received Packet
//! Identifiers, retained messages, dead letters.

use redb::{ReadTransaction, ReadableTable};

use crate::turn::{Copy, Marks, Record};

use super::database::{DEAD, GROUPS, RETAINED, SESSIONS, SUBSCRIPTIONS};
use super::encoding::Broken;
use super::fault::Fault;
use super::index::{Index, Place};
use super::load::LogReader;
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
    let (backlogs, others) = index.backlogs();
    records.extend(copies(read, index, &others)?.into_iter().map(Record::Queued));
    records.extend(backlogs.into_iter().map(Record::Backlog));
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

/// These copies, by owner and message.
fn copies(read: &ReadTransaction, index: &Index, places: &[Place]) -> Result<Vec<Copy>, Fault> {
    let mut log = LogReader::new(read, index)?;
    let copies = places.iter().map(|place| log.copy(*place));
    let mut copies = copies.collect::<Result<Vec<_>, _>>()?;
    copies.sort_unstable_by_key(|copy| (copy.owner, copy.message));
    Ok(copies)
}
