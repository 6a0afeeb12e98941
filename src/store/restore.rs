//! What the core is given at start: the file's content as records, without bodies.
//!
//! The order is fixed, each kind of record in one go, so that what a record refers to came
//! before it: marks, sessions, groups, subscriptions, copies in flight, backlogs, received Packet
//! Identifiers, retained messages, dead letters.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable};

use crate::turn::{Backlog, Copy, Marks, OwnerId, Record};

use super::cold::{COLD, COLD_INDEX};

use super::database::{DEAD, GROUPS, RETAINED, SESSIONS, SUBSCRIPTIONS, TASKS};
use super::encoding::Broken;
use super::fault::Fault;
use super::index::Index;
use super::load::CopyReader;
use super::row::RowKey;

/// All that is stored, as records.
pub(super) fn restore(
    read: &ReadTransaction,
    index: &mut Index,
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
    let (copies, backlogs) = queues(read, index)?;
    records.extend(copies.into_iter().map(Record::Queued));
    records.extend(backlogs.into_values().map(Record::Backlog));
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
    let tasks = read.open_table(TASKS)?;
    for row in tasks.iter()? {
        let (key, value) = row?;
        records.push(record(RowKey::Task(key.value()), value.value(), "tasks")?);
    }
    Ok(records)
}

fn record(key: RowKey, value: &[u8], table: &'static str) -> Result<Record, Fault> {
    key.record(value).map_err(|Broken| Fault::Row(table))
}

/// The copies that do not wait, by owner and message, and the backlogs of those that do.
fn queues(
    read: &ReadTransaction,
    index: &mut Index,
) -> Result<(Vec<Copy>, BTreeMap<OwnerId, Backlog>), Fault> {
    let (mut backlogs, places) = index.backlogs();
    let chunks = index.cold.add_backlogs(&mut backlogs);
    let mut reader = CopyReader::new(read, index)?;
    let copies = places.iter().map(|place| reader.log_copy(*place));
    let mut copies = copies.collect::<Result<Vec<_>, _>>()?;
    let (rows, states) = (read.open_table(COLD)?, read.open_table(COLD_INDEX)?);
    for key in chunks {
        index.cold.open(key, &rows, &states)?;
        let chunk = index.cold.chunk(key).and_then(|chunk| chunk.copies()).unwrap_or_default();
        let others = chunk.iter().enumerate().filter(|(_, it)| !it.is_gone && !it.is_waiting());
        let others: Vec<usize> = others.map(|(position, _)| position).collect();
        let mut reader = CopyReader::new(read, index)?;
        for position in others {
            copies.push(reader.copy_of_chunk(key, position)?);
        }
        index.cold.trim();
    }
    copies.sort_unstable_by_key(|copy| (copy.owner, copy.message));
    Ok((copies, backlogs))
}
