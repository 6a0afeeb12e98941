//! The table.

mod acknowledge;
mod connect;
mod ending;
mod first;
mod header;
mod properties;
mod publish;
mod strings;
mod subscribe;

use crate::row::Row;

/// All rows, by what is wrong.
pub(crate) fn all() -> Vec<Row> {
    [
        header::rows(),
        first::rows(),
        connect::rows(),
        strings::rows(),
        properties::rows(),
        publish::rows(),
        subscribe::rows(),
        acknowledge::rows(),
        ending::rows(),
    ]
    .concat()
}
