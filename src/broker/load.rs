//! How much happens, as mosquitto tells it in `$SYS/broker/load`: exponentially damped averages of
//! what is counted, a minute, over one, five and fifteen of them.

use std::time::Duration;

use crate::time::Timestamp;

/// What is averaged, under `$SYS/broker/load`.
pub(super) const SUBJECTS: [&str; 9] = [
    "messages/received",
    "messages/sent",
    "publish/dropped",
    "publish/received",
    "publish/sent",
    "bytes/received",
    "bytes/sent",
    "sockets",
    "connections",
];

/// Over how long, in seconds.
pub(super) const PERIODS: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// The averages.
#[derive(Debug, Default)]
pub(super) struct Load {
    last: Option<Timestamp>,
    counted: [u64; SUBJECTS.len()],
    averages: [[f64; PERIODS.len()]; SUBJECTS.len()],
}

impl Load {
    /// Takes what was counted until now, and gives the average of each subject over each period.
    /// The first time there is nothing to compare with: all are 0.
    pub(super) fn update(
        &mut self,
        counted: [u64; SUBJECTS.len()],
        now: Timestamp,
    ) -> &[[f64; PERIODS.len()]; SUBJECTS.len()] {
        let elapsed = self.last.map_or(Duration::ZERO, |last| now.since(last)).as_secs_f64();
        if elapsed > 0.0 {
            for (subject, averages) in self.averages.iter_mut().enumerate() {
                let more = counted[subject].saturating_sub(self.counted[subject]);
                let rate = more as f64 * 60.0 / elapsed;
                for (average, (_, period)) in averages.iter_mut().zip(PERIODS) {
                    *average = rate + (-elapsed / period).exp() * (*average - rate);
                }
            }
        }
        self.last = Some(now);
        self.counted = counted;
        &self.averages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_approached_at_the_speed_of_each_period() {
        let mut load = Load::default();
        let mut counted = [0; SUBJECTS.len()];
        for step in 0..=6_u64 {
            counted[0] = step * 10; // 60 a minute.
            load.update(counted, Timestamp(step * 10_000));
        }
        let expected = PERIODS.map(|(_, period)| 60.0 * (1.0 - (-60.0 / period).exp()));
        for (average, expected) in load.averages[0].into_iter().zip(expected) {
            assert!((average - expected).abs() < 1e-9, "{average} {expected}");
        }
        assert_eq!(load.averages[1], [0.0; PERIODS.len()]);
    }

    #[test]
    fn what_was_counted_before_the_first_time_is_no_load() {
        let mut load = Load::default();
        assert_eq!(load.update([5; SUBJECTS.len()], Timestamp(1_000))[0], [0.0; PERIODS.len()]);
        let again = load.update([5; SUBJECTS.len()], Timestamp(1_000));
        assert_eq!(again[0], [0.0; PERIODS.len()], "no time passed");
    }
}
