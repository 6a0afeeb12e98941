//! Whether several connections tell an outbox something at the same time, as where many publish
//! what one subscribes to. Then its output is better gathered and written once.

use crate::turn::ConnectionId;

/// Microseconds between two that are no coincidence: a turn takes some tens of them, and behind the
/// second one more are ready then. At low rates each output still leaves at once.
const TOGETHER: u32 = 100;

/// Who told an outbox something last, and when.
#[derive(Debug)]
pub(super) struct Crowd {
    slot: u32,
    /// In microseconds; counts on from the start after the last.
    at: u32,
}

impl Crowd {
    /// Of an outbox of `own`.
    pub(super) fn new(own: ConnectionId) -> Self {
        Self { slot: own.slot, at: 0 }
    }

    /// Notes that `by` tells something, at `now` in microseconds. Whether another connection has
    /// just done so.
    pub(super) fn tell(&mut self, by: ConnectionId, now: u32) -> bool {
        let last = std::mem::replace(self, Self { slot: by.slot, at: now });
        last.slot != by.slot && now.wrapping_sub(last.at) < TOGETHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_two_at_a_time() {
        let id = |slot| ConnectionId { slot, generation: 0 };
        let mut crowd = Crowd::new(id(0));
        let mut tell = |slot, now| crowd.tell(id(slot), now);
        assert!(!tell(1, 500), "the first");
        assert!(!tell(1, 501), "the same one again");
        assert!(tell(2, 501));
        assert!(tell(1, 500 + TOGETHER));
        assert!(!tell(2, 500 + 2 * TOGETHER), "later");
        assert!(!tell(1, u32::MAX));
        assert!(tell(3, 5), "the count has begun anew");
    }
}
