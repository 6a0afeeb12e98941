//! The broker's own time line. Its invariant: it never runs backwards, across restarts too, so a
//! deadline that was stored means the same after one. Nobody below `server` reads a clock.

use std::ops::Add;
use std::time::Duration;

/// Milliseconds of running time, counted on from what the store remembers of earlier runs.
///
/// Not wall-clock time: a clock that jumps moves no deadline. [`WallClock`] translates for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Time from `earlier` to here; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

/// What the world's clock shows at a [`Timestamp`]: for what people read, never for a deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    offset: i64,
}

impl WallClock {
    /// The clock that showed `unix_ms` (milliseconds since 1970, UTC) at `now`.
    pub fn new(now: Timestamp, unix_ms: u64) -> Self {
        Self { offset: unix_ms.cast_signed().wrapping_sub(now.0.cast_signed()) }
    }

    /// Milliseconds since 1970, UTC, at `at`.
    pub fn unix_ms(self, at: Timestamp) -> u64 {
        at.0.checked_add_signed(self.offset).unwrap_or(0)
    }
}
