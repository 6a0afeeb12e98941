//! What the core is given at start: the file's content as records, without bodies.
//!
//! The order is fixed, each kind of record in one go, so that what a record refers to came
//! before it: marks, sessions, groups, subscriptions, copies in flight, backlogs, received Packet
//! Identifiers, retained messages, dead letters.

use std::collections::BTreeMap;

use redb::ReadTransaction;

use crate::turn::{Backlog, Copy, Marks, OwnerId, Record};

use super::cold::{COLD, COLD_INDEX};

use super::database::{DEAD, GROUPS, RETAINED, SESSIONS, SUBSCRIPTIONS, TASKS};
use super::encoding::Broken;
use super::fault::Fault;
use super::index::Index;
use super::load::CopyReader;
use super::row::RowKey;
use super::segments::Segments;
use super::whole::for_each_row;

/// All that is stored, as records.
pub(super) fn restore(
    read: &ReadTransaction,
    index: &mut Index,
    marks: Marks,
) -> Result<Vec<Record>, Fault> {
    let mut records = vec![Record::Marks(marks)];
    for_each_row(&read.open_table(SESSIONS)?, "sessions", |(id, part), value| {
        add(&mut records, RowKey::Session(id, part), value, "sessions")
    })?;
    for_each_row(&read.open_table(GROUPS)?, "groups", |(id, part), value| {
        add(&mut records, RowKey::Group(id, part), value, "groups")
    })?;
    for_each_row(&read.open_table(SUBSCRIPTIONS)?, "subscriptions", |(id, filter), value| {
        add(&mut records, RowKey::Subscription(id, filter.into()), value, "subscriptions")
    })?;
    let (copies, backlogs) = queues(read, index)?;
    records.extend(copies.into_iter().map(Record::Queued));
    records.extend(backlogs.into_values().map(Record::Backlog));
    let received = index.received().into_iter();
    records.extend(received.map(|(session, packet_id)| Record::Received { session, packet_id }));
    for_each_row(&read.open_table(RETAINED)?, "retained", |topic, value| {
        add(&mut records, RowKey::Retained(topic.into()), value, "retained")
    })?;
    for_each_row(&read.open_table(DEAD)?, "dead", |id, value| {
        add(&mut records, RowKey::Dead(id), value, "dead")
    })?;
    for_each_row(&read.open_table(TASKS)?, "tasks", |id, value| {
        add(&mut records, RowKey::Task(id), value, "tasks")
    })?;
    Ok(records)
}

fn add(
    records: &mut Vec<Record>,
    key: RowKey,
    value: &[u8],
    table: &'static str,
) -> Result<(), Fault> {
    records.push(key.record(value).map_err(|Broken| Fault::Row(table))?);
    Ok(())
}

/// The copies that do not wait, by owner and message, and the backlogs of those that do.
fn queues(
    read: &ReadTransaction,
    index: &mut Index,
) -> Result<(Vec<Copy>, BTreeMap<OwnerId, Backlog>), Fault> {
    let (mut backlogs, places) = index.backlogs();
    let chunks = index.cold.add_backlogs(&mut backlogs);
    let mut reader = CopyReader::new(read, index, Segments::default())?;
    let copies = places.iter().map(|place| reader.log_copy(*place));
    let mut copies = copies.collect::<Result<Vec<_>, _>>()?;
    let (rows, states) = (read.open_table(COLD)?, read.open_table(COLD_INDEX)?);
    for key in chunks {
        index.cold.open(key, &rows, &states)?;
        let chunk = index.cold.chunk(key).and_then(|chunk| chunk.copies()).unwrap_or_default();
        let others = chunk.iter().enumerate().filter(|(_, it)| !it.is_gone && !it.is_waiting());
        let others: Vec<usize> = others.map(|(position, _)| position).collect();
        let mut reader = CopyReader::new(read, index, Segments::default())?;
        for position in others {
            copies.push(reader.copy_of_chunk(key, position)?);
        }
        index.cold.trim();
    }
    copies.sort_unstable_by_key(|copy| (copy.owner, copy.message));
    Ok((copies, backlogs))
}
