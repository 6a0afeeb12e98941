//! The real binary as a process, and what its tests wait for. A wait is for an event (a line, an
//! exit) with a deadline that only a broken broker reaches; nothing here sleeps.

pub(crate) mod broker;
pub(crate) mod example;
pub(crate) mod lines;

use std::time::Duration;

pub(crate) use broker::Broker;
pub(crate) use lines::Lines;

/// Long enough for a busy machine; who reaches it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
