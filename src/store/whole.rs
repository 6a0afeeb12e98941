//! Whole tables, row by row, as a start reads them.
//!
//! Invariant: each row comes once, in order. Every row has a checksum of its own, but where a page
//! is taken for another one, rows are missing, or there twice, each of them right: so they are
//! counted against what redb says of the table.

use redb::{Key, ReadableTable};

use super::fault::Fault;

/// Calls `each` with every row of a table; `name` is for the error.
pub(super) fn for_each_row<K: Key + 'static>(
    table: &impl ReadableTable<K, &'static [u8]>,
    name: &'static str,
    mut each: impl FnMut(K::SelfType<'_>, &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut left = table.len()?;
    let mut last: Option<Vec<u8>> = None;
    for row in table.iter()? {
        let (key, value) = row?;
        let key = key.value();
        let bytes = K::as_bytes(&key).as_ref().to_vec();
        let is_behind = last.is_none_or(|last| K::compare(&last, &bytes).is_lt());
        if left == 0 || !is_behind {
            return Err(Fault::Row(name));
        }
        left -= 1;
        last = Some(bytes);
        each(key, value.value())?;
    }
    if left > 0 { Err(Fault::Row(name)) } else { Ok(()) }
}
