//! Log collection: what is still needed of the oldest segments is written anew at the end of the
//! log, in the transaction that removes them.
//!
//! Invariant: segments go from the front only. So whatever says that a copy is gone outlives all
//! that says it is there, and no restart brings one back.

use std::ops::Range;

use super::index::{Index, Place, Segment};
use super::log::{LogError, for_each_record};
use super::record::{self, LogRecord};

/// Records that are written anew in one commit, in bytes; one segment may be more.
const SLICE: usize = 1024 * 1024;

/// The same in a full store, which may have no space for more.
const FULL_SLICE: usize = 128 * 1024;

/// Rows that go in one commit.
const ROWS: u64 = 256;

/// A log below this is not worth collecting, however little of it is needed.
const SMALL: u64 = 64 * 1024;

/// What a collection takes away, and what it writes anew.
#[derive(Debug, Default)]
pub(super) struct Collection {
    /// Rows to be removed.
    pub(super) rows: Range<u64>,
    /// Records to be appended.
    pub(super) survivors: Vec<u8>,
}

/// Takes segments off the front of `index` while that is worth it. `before` is the first row that
/// this transaction wrote; `limit` the size of the log that is not worth collecting; a store that
/// `is_full` wants space more than few writes; `read` gives the records of a segment.
pub(super) fn collect(
    index: &mut Index,
    before: u64,
    limit: u64,
    is_full: bool,
    mut read: impl FnMut(&Segment, &mut Vec<u8>) -> Result<(), LogError>,
) -> Result<Collection, LogError> {
    let slice = if is_full { FULL_SLICE } else { SLICE };
    let mut collection = Collection::default();
    let mut records = Vec::new();
    while let Some(front) = index.front().copied() {
        if front.key >= before || !(is_worth(index, &front, limit) || is_full && is_loose(index)) {
            break;
        }
        let rows = collection.rows.end - collection.rows.start;
        let moved = collection.survivors.len();
        if rows >= ROWS || (moved > 0 && moved + front.live as usize > slice) {
            break;
        }
        if front.live > 0 {
            read(&front, &mut records)?;
            rescue(index, front.key, &records, &mut collection.survivors)?;
        }
        index.drop_front();
        if rows == 0 {
            collection.rows.start = front.key;
        }
        collection.rows.end = front.key + front.rows;
    }
    Ok(collection)
}

/// What is written anew is always a small part of what goes, now or, in a mostly dead log, in the
/// segments behind: otherwise a slow subscriber's queue would be written again and again.
fn is_worth(index: &Index, front: &Segment, limit: u64) -> bool {
    let (bytes, live) = (index.bytes(), index.live());
    front.live <= front.bytes / 8
        || (bytes > SMALL && live <= bytes / 8)
        || (bytes > limit && live <= bytes / 2)
}

/// Whether a full store collects its log: a pass over all of it gives back an eighth.
pub(super) fn is_loose(index: &Index) -> bool {
    let (bytes, live) = (index.bytes(), index.live());
    bytes > SMALL && live <= bytes / 8 * 7
}

/// Writes what is needed of a segment, copies with all that happened to them.
fn rescue(
    index: &Index,
    segment: u64,
    records: &[u8],
    survivors: &mut Vec<u8>,
) -> Result<(), LogError> {
    for_each_record(segment, records, |record, place| match record {
        LogRecord::Message { id, .. } if index.needs_body(id, place) => {
            survivors.extend_from_slice(bytes_at(records, place));
        }
        LogRecord::Queued(mut copy) => {
            if let Some(entry) = index.entry_at(&copy, place) {
                if let Some(body) = entry.own_body() {
                    survivors.extend_from_slice(bytes_at(records, body));
                }
                entry.complete(&mut copy);
                record::put_copy(survivors, &copy);
            }
        }
        LogRecord::Received { session, packet_id }
            if index.needs_received(session, packet_id, segment) =>
        {
            record::put_received(survivors, session, packet_id);
        }
        _ => {}
    })
}

/// The bytes of a record in its segment.
pub(super) fn bytes_at(records: &[u8], place: Place) -> &[u8] {
    let start = place.offset as usize;
    &records[start..start + place.len as usize]
}
