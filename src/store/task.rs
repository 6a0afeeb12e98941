//! The row of a task over dead letters.

use std::sync::Arc;

use super::encoding::{Broken, Reader, put_number, put_optional, put_optional_text};
use super::row::RowKey;
use crate::turn::{Action, DeadId, LetterFilter, Task};

/// The row of a task.
pub(super) fn row(task: &Task) -> (RowKey, Vec<u8>) {
    let key = RowKey::Task(task.id);
    let value = key.value(|out| {
        out.push(match task.action {
            Action::Republish => 0,
            Action::RedriveToOwner => 1,
            Action::RedriveToTopic => 2,
            Action::Purge => 3,
        });
        put_filter(out, &task.filter);
        put_number(out, u64::from(task.rate));
        put_number(out, task.started.0);
        put_number(out, task.cursor.0);
        put_number(out, task.last.0);
        put_number(out, task.done);
        put_number(out, task.left);
    });
    (key, value)
}

/// Reads it back.
pub(super) fn read(id: u64, reader: &mut Reader<'_>) -> Result<Task, Broken> {
    Ok(Task {
        id,
        action: match reader.byte()? {
            0 => Action::Republish,
            1 => Action::RedriveToOwner,
            2 => Action::RedriveToTopic,
            3 => Action::Purge,
            _ => return Err(Broken),
        },
        filter: read_filter(reader)?,
        rate: reader.small()?,
        started: reader.timestamp()?,
        cursor: DeadId(reader.number()?),
        last: DeadId(reader.number()?),
        done: reader.number()?,
        left: reader.number()?,
    })
}

fn put_filter(out: &mut Vec<u8>, filter: &LetterFilter) {
    out.push(u8::from(filter.reason.is_some()));
    if let Some(reason) = filter.reason {
        out.push(reason as u8);
    }
    put_optional_text(out, filter.owner.as_deref());
    put_optional_text(out, filter.topic.as_deref());
    put_optional(out, filter.since_unix_ms);
    put_optional(out, filter.until_unix_ms);
    put_optional(out, filter.id.map(|id| id.0));
    put_optional(out, filter.limit);
}

fn read_filter(reader: &mut Reader<'_>) -> Result<LetterFilter, Broken> {
    Ok(LetterFilter {
        reason: if reader.flag()? { Some(reader.reason()?) } else { None },
        owner: reader.optional_text()?.map(Arc::from),
        topic: reader.optional_text()?.map(Arc::from),
        since_unix_ms: reader.optional()?,
        until_unix_ms: reader.optional()?,
        id: reader.optional()?.map(DeadId),
        limit: reader.optional()?,
    })
}
