use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn base(stopped: u64, started: u64) -> u64 {
    let last = Checkpoint { at: Timestamp(5_000), unix_ms: stopped };
    Clock::continue_from(Some(last), started, DAY).base.0
}

#[test]
fn downtime_counts_while_the_wall_clock_is_believable() {
    assert_eq!(base(1_000_000, 1_060_000), 65_000);
    assert_eq!(base(1_000_000, 1_000_000), 5_000);
    assert_eq!(base(0, 86_400_000), 5_000 + 86_400_000);
}

#[test]
fn a_clock_that_went_back_or_jumped_far_ends_nothing() {
    assert_eq!(base(1_000_000, 999_999), 5_000);
    assert_eq!(base(0, 86_400_001), 5_000);
}

#[test]
fn a_new_store_starts_at_zero() {
    assert_eq!(Clock::continue_from(None, 77, DAY).base, Timestamp(0));
}

#[test]
fn instants_and_timestamps_are_the_same_line() {
    let clock = Clock::continue_from(None, 0, DAY);
    let at = Timestamp(1234);
    assert_eq!(clock.instant(at) - clock.start, Duration::from_millis(1234));
    assert!(clock.now() < at + DAY);
}

#[test]
fn a_jump_is_more_than_a_second() {
    let wall = WallClock::new(Timestamp(100), 10_000);
    assert!(!has_jumped(wall, Timestamp(200), 10_100));
    assert!(!has_jumped(wall, Timestamp(200), 11_100));
    assert!(has_jumped(wall, Timestamp(200), 11_101));
    assert!(has_jumped(wall, Timestamp(200), 9_000));
}
