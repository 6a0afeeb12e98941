//! What one seed decides before anything happens: limits, weather, and when what fails.

use std::time::Duration;

use fastrand::Rng;
use kedgemq::config::{
    DeadLetters, Overflow, OverflowPolicies, OverflowRule, Retry, Settings, ShareRule, Strategy,
};
use kedgemq::turn::{Action, DeadReason};
use wildmatch::WildMatch;

use crate::{disk, network};

/// What the clock on the wall shows at time 0.
pub(crate) const UNIX_MS: u64 = 1_700_000_000_000;

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The power fails, and the disk keeps what it likes of what was not synced.
    PowerCut,
    /// The process is killed; the operating system keeps what it was given.
    Kill,
    /// The broker is stopped in order.
    Stop,
    /// The disk's weather changes.
    Disk(disk::Weather),
    /// All open connections lose what is on its way.
    Outage,
    /// The clock on the wall goes to this far from the true time, in milliseconds.
    Jump(i64),
    /// Some rights are withdrawn, others given back.
    Rights,
    /// An operator starts a task over all letters, at so many a second.
    Task(Action, u32),
    /// An operator cancels the task.
    Cancel,
}

const YEAR: i64 = 365 * 24 * 3600 * 1000;

/// A seed's world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) network: network::Weather,
    /// The longest that a commit takes, in milliseconds.
    pub(crate) slowness: u64,
    /// Records above which the store takes no more for a while.
    pub(crate) store_limit: usize,
    /// Bytes above which an outbox is full.
    pub(crate) outbox_limit: usize,
    /// From this size on the log is collected while it is mostly dead.
    pub(crate) log_bytes: u64,
    /// From this many needed bytes of the log on, copies move to the cold tables.
    pub(crate) hot_bytes: u64,
    /// When faults end, in milliseconds.
    pub(crate) ends: u64,
    /// In their order.
    pub(crate) faults: Vec<(u64, Fault)>,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng, crashes_often: bool) -> Self {
        let mut settings = Settings { node: "sim".to_owned(), ..Settings::default() };
        let limits = &mut settings.limits;
        limits.sys_interval = Duration::ZERO;
        limits.receive_maximum = pick(rng, &[3, 10, 100]);
        limits.in_flight = limits.receive_maximum;
        limits.queue_messages = pick(rng, &[6, 25, 100_000, 100_000]);
        limits.max_deliveries = if crashes_often { 1 } else { pick(rng, &[2, 20]) };
        limits.restart_grace = Duration::from_secs(pick(rng, &[0, 10]));
        let network = network::Weather {
            delay: pick(rng, &[0, 3, 30, 200]),
            stalls: pick(rng, &[0, 2, 10]),
            cuts: pick(rng, &[0, 2, 8]),
            room: pick(rng, &[600, 4_000, 64_000]),
        };
        let ends = rng.u64(30_000..90_000);
        if ends.is_multiple_of(2) {
            let strategy = Strategy::HashTopic { patience: Duration::from_secs(20) };
            let rule = ShareRule { filter: WildMatch::new("*"), strategy };
            settings.sharing.rules.push(rule);
        }
        let mut faults = Vec::new();
        let crashes = if crashes_often { rng.u32(3..8) } else { rng.u32(..5) };
        for _ in 0..crashes {
            let fault = match rng.u32(..10) {
                0..6 => Fault::PowerCut,
                6..9 => Fault::Kill,
                _ => Fault::Stop,
            };
            faults.push((rng.u64(2_000..ends), fault));
        }
        for _ in 0..rng.u32(..3) {
            let weather = match rng.u32(..5) {
                0..2 => disk::Weather::Full,
                _ => disk::Weather::Failing {
                    percent: pick(rng, &[3, 30, 100]),
                    forgets: rng.bool(),
                },
            };
            let from = rng.u64(2_000..ends);
            faults.push((from, Fault::Disk(weather)));
            faults.push((from + rng.u64(50..8_000), Fault::Disk(disk::Weather::Fine)));
        }
        for _ in 0..rng.u32(..3) {
            faults.push((rng.u64(2_000..ends), Fault::Outage));
        }
        let mut more = Rng::with_seed(rng.clone().u64(..));
        settings.overflow = overflow(&mut more);
        settings.dead_letters = dead_letters(&mut more);
        operate(&mut more, ends, &mut faults);
        faults.sort_by_key(|(at, _)| *at);
        Self {
            settings,
            network,
            slowness: if crashes_often { 120 } else { pick(rng, &[0, 5, 40, 250]) },
            store_limit: pick(rng, &[20, 200, 100_000]),
            outbox_limit: pick(rng, &[500, 3_000, 1_000_000]),
            log_bytes: pick(rng, &[1, 20_000, 32 * 1024 * 1024]),
            hot_bytes: pick(rng, &[500, 3_000, 32 * 1024 * 1024]),
            ends,
            faults,
        }
    }
}

/// What happens to what a full queue does not take, by owner and topic.
fn overflow(rng: &mut Rng) -> OverflowPolicies {
    let rule = |owner: &str, topic: &str, policy| OverflowRule {
        owner: wildmatch::WildMatch::new(owner),
        topic: topic.to_owned(),
        policy,
    };
    let rules = match rng.u32(..4) {
        0 => vec![rule("all*", "t/a", Overflow::DropNewest), rule("two5", "t/#", Overflow::Refuse)],
        1 => {
            vec![rule("$share~*", "t/b", Overflow::Refuse), rule("*", "t/#", Overflow::DropNewest)]
        }
        _ => Vec::new(),
    };
    OverflowPolicies { rules, ..OverflowPolicies::default() }
}

/// Which letters are kept, how many and how long, and which come back by themselves.
fn dead_letters(rng: &mut Rng) -> DeadLetters {
    let mut letters = DeadLetters::default();
    if rng.u32(..4) == 0 {
        letters.reasons.retain(|_| rng.u32(..3) > 0);
    }
    match rng.u32(..8) {
        0 => letters.max_count = 4,
        1 => letters.max_age = Duration::from_secs(15),
        _ => {}
    }
    if rng.u32(..4) == 0 {
        let more = rng.bool().then_some([DeadReason::QueueFull, DeadReason::Expired]);
        letters.retry = Retry {
            reasons: [DeadReason::Rejected].into_iter().chain(more.into_iter().flatten()).collect(),
            max: rng.u32(1..4),
            backoff_min: Duration::from_millis(pick(rng, &[100, 2_000])),
            backoff_max: Duration::from_secs(4),
        };
    }
    letters
}

/// What operators do, and what clocks do.
fn operate(rng: &mut Rng, ends: u64, faults: &mut Vec<(u64, Fault)>) {
    if rng.bool() {
        let ends_it = |fault: &Fault| matches!(fault, Fault::PowerCut | Fault::Kill | Fault::Stop);
        let downtimes = faults.iter().filter(|(_, fault)| ends_it(fault)).map(|(at, _)| at + 10);
        let downtimes: Vec<u64> = downtimes.collect();
        for _ in 0..rng.u32(1..4) {
            let years = pick(rng, &[-5, -1, 0, 1, 3]);
            // Mostly it is a start that finds it wrong, as a clock without a battery stands still,
            // or begins anew: while the broker runs, its next commit knows of the jump.
            let at = match downtimes.is_empty() || rng.u32(..3) == 0 {
                true => rng.u64(2_000..ends),
                false => pick(rng, &downtimes),
            };
            faults.push((at, Fault::Jump(years * YEAR)));
        }
    }
    if rng.u32(..3) == 0 {
        for _ in 0..rng.u32(1..8) {
            faults.push((rng.u64(2_000..ends), Fault::Rights));
        }
    }
    if rng.u32(..3) == 0 {
        let all = [Action::RedriveToOwner, Action::RedriveToTopic, Action::Purge];
        for _ in 0..rng.u32(1..4) {
            let at = rng.u64(2_000..ends);
            faults.push((at, Fault::Task(pick(rng, &all), pick(rng, &[0, 2, 20]))));
            if rng.u32(..3) == 0 {
                faults.push((at + rng.u64(..3_000), Fault::Cancel));
            }
        }
    }
}

pub(crate) fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}
