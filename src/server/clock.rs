//! The broker's time line, counted on over restarts by the monotonic clock, and the wall clock.
//!
//! Promise: a wall clock that jumps moves no deadline. Downtime counts only as far as the wall
//! clock can be trusted.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::store::Checkpoint;
use crate::time::{Timestamp, WallClock};

/// A difference that is no jump: clocks are disciplined by less.
const JUMP: u64 = 1000;

/// Gives the time of this run.
#[derive(Debug)]
pub(super) struct Clock {
    base: Timestamp,
    start: Instant,
}

impl Clock {
    /// Goes on from the last run's `checkpoint`. The downtime counts when the wall clock says
    /// that it was between 0 and `max_downtime`, else as 0.
    pub(super) fn continue_from(
        checkpoint: Option<Checkpoint>,
        unix_ms: u64,
        max_downtime: Duration,
    ) -> Self {
        let base = checkpoint
            .map_or(Timestamp(0), |last| last.at + downtime(last.unix_ms, unix_ms, max_downtime));
        Self { base, start: Instant::now() }
    }

    /// Now.
    pub(super) fn now(&self) -> Timestamp {
        self.base + self.start.elapsed()
    }

    /// Now, and the same as a count of microseconds that begins anew every hour or so.
    pub(super) fn now_finely(&self) -> (Timestamp, u32) {
        let elapsed = self.start.elapsed();
        (self.base + elapsed, elapsed.as_micros() as u32)
    }

    /// When the runtime's clock shows `at`.
    pub(super) fn instant(&self, at: Timestamp) -> Instant {
        self.start + at.since(self.base)
    }
}

/// What the wall clock shows: milliseconds since 1970, UTC; 0 for a clock before that.
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Whether the wall clock shows something else than `wall` says it should.
pub fn has_jumped(wall: WallClock, now: Timestamp, unix_ms: u64) -> bool {
    wall.unix_ms(now).abs_diff(unix_ms) > JUMP
}

/// How long the broker was down, when the wall clock showed `stopped` at its last sign of life and
/// `started` at its start, in milliseconds since 1970: 0 where that cannot be, or is above `max`.
pub fn downtime(stopped: u64, started: u64, max: Duration) -> Duration {
    let down = started.checked_sub(stopped).map(Duration::from_millis);
    down.filter(|down| *down <= max).unwrap_or_default()
}

#[cfg(test)]
mod tests;
