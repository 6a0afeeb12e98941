//! Runs of many seeds, and of one with a deliberate bug.

use std::env;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::bug::Bug;
use crate::checkers::{Violation, check};
use crate::coverage::Coverage;
use crate::history::History;
use crate::world::{CRASHING, World};

/// Seeds of a normal run.
const SEEDS: u64 = 300;

/// Checkers of what is looked at in the end.
const READ_THE_END: [&str; 5] = ["retained", "delivery", "order", "accounting", "places"];

/// A seed that failed.
struct Failure {
    seed: u64,
    violations: Vec<Violation>,
    history: History,
}

impl Failure {
    fn text(&self, whole: bool) -> String {
        let mut text = format!("seed {}:\n", self.seed);
        for Violation { checker, what, .. } in &self.violations {
            let _ = writeln!(text, "  {checker}: {what}");
        }
        let word = self.violations.iter().find_map(|violation| violation.tag.as_deref());
        text += &self.history.trace(word.map(|tag| format!("«{tag}»")).as_deref(), whole);
        let seed = self.seed;
        let _ = writeln!(text, "replay: SEED={seed} cargo test --test simulation -- --nocapture");
        text
    }
}

/// One seed from its beginning to its end.
fn run(seed: u64, bug: Option<Bug>) -> (Coverage, Option<Failure>) {
    let mut world = World::new(seed, bug);
    let end = catch_unwind(AssertUnwindSafe(|| world.run()));
    let mut violations = check(&world.history);
    match end {
        Ok(Ok(())) => {}
        Ok(Err(what)) => {
            // What these read comes at the end only.
            violations.retain(|violation| !READ_THE_END.contains(&violation.checker));
            violations.insert(0, Violation { checker: "end", what, tag: None });
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            let what = text.unwrap_or_default();
            violations.retain(|violation| !READ_THE_END.contains(&violation.checker));
            violations.insert(0, Violation { checker: "panic", what, tag: None });
        }
    }
    let World { mut coverage, history, .. } = world;
    coverage.read(&history);
    let failure = (!violations.is_empty()).then_some(Failure { seed, violations, history });
    (coverage, failure)
}

/// Runs seeds on all processors while `goes_on` says so of the next.
fn run_many(first: u64, goes_on: impl Fn(u64) -> bool + Sync) -> (Coverage, Vec<Failure>, u64) {
    const FAILURES: usize = 5;
    let next = AtomicU64::new(first);
    let all = Mutex::new((Coverage::default(), Vec::new(), 0));
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !goes_on(seed) || lock(&all).1.len() >= FAILURES {
                        return;
                    }
                    let (coverage, failure) = run(seed, None);
                    let mut all = lock(&all);
                    all.0.merge(&coverage);
                    all.1.extend(failure);
                    all.2 += 1;
                }
            });
        }
    });
    all.into_inner().expect("a panic of the broker is caught")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a panic of the broker is caught")
}

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = number("SEED") {
        let (coverage, failure) = run(seed, None);
        println!("{}", coverage.table());
        if let Some(failure) = failure {
            println!("{}", failure.history.trace(None, true));
            panic!("{}", failure.text(false));
        }
        return;
    }
    let first = number("FIRST").unwrap_or(0);
    let begun = Instant::now();
    let night = number("NIGHT").map(Duration::from_secs);
    let last = first + number("SEEDS").unwrap_or(SEEDS);
    let (coverage, failures, count) = run_many(first, |seed| match night {
        Some(night) => begun.elapsed() < night,
        None => seed < last,
    });
    println!("{count} seeds in {:?}\n{}", begun.elapsed(), coverage.table());
    let texts: Vec<String> = failures.iter().map(|failure| failure.text(false)).collect();
    assert!(texts.is_empty(), "{} seeds failed\n{}", texts.len(), texts.join("\n"));
    let missing = coverage.missing();
    assert!(count < SEEDS || missing.is_empty(), "never reached: {missing:?}");
}

/// A bug, how many seeds may pass before it is found, and the checkers that may find it.
const BUGS: [(Bug, u64, &[&str]); 14] = [
    (Bug::AcknowledgesEarly, 20, &["delivery", "retained", "presence"]),
    (Bug::ForgetsReceived, 20, &["once"]),
    (Bug::ReleasesEarly, 30, &["once", "identifier"]),
    (Bug::LosesLastRecord, 10, &["delivery", "presence", "once", "conduct", "panic", "end"]),
    (Bug::CollectsNeeded, 10, &["once", "conduct"]),
    (Bug::Lifo, 10, &["order"]),
    (Bug::SkipsSync, 10, &["delivery", "presence", "end"]),
    (Bug::ReusesIdentifiers, 30, &["identifier"]),
    (Bug::ForgetsToCount, 10, &["accounting"]),
    (Bug::WallClockDrives, 10, &["clock"]),
    (Bug::TrustsDowntime, 20, &["clock", "presence"]),
    (Bug::SkipsReadRight, 10, &["rights"]),
    (Bug::SkipsPublishRight, 30, &["rights"]),
    (Bug::RedriveKeepsLetter, 20, &["places"]),
];

/// The first seed in which one of these checkers sees the bug, and all that saw something there.
fn find(bug: Bug, seeds: u64, by: &[&str]) -> Option<(u64, Vec<&'static str>)> {
    // Without a bug these are clean: the normal run has them, too.
    (0..seeds).map(|seed| seed * CRASHING).find_map(|seed| {
        let (_, failure) = run(seed, Some(bug));
        let violations = failure?.violations;
        let found: Vec<_> = violations.iter().map(|violation| violation.checker).collect();
        found.iter().any(|checker| by.contains(checker)).then_some((seed, found))
    })
}

#[test]
fn deliberate_bugs_are_found() {
    thread::scope(|scope| {
        let search = |(bug, seeds, by)| (bug, seeds, by, scope.spawn(move || find(bug, seeds, by)));
        for (bug, seeds, by, found) in BUGS.map(search) {
            let found = found.join().expect("a panic of the broker is caught");
            let Some((seed, checkers)) = found else {
                panic!("{seeds} seeds do not show the bug {bug:?} to {by:?}");
            };
            println!("{bug:?}: seed {seed}, by {checkers:?}");
        }
    });
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..3 {
        let trace = || {
            let mut world = World::new(seed, None);
            world.run().expect("the normal run shows it to be clean");
            world.history.trace(None, true)
        };
        let (one, other) = (trace(), trace());
        let lines = one.lines().zip(other.lines());
        for (one, other) in lines {
            assert_eq!(one, other, "seed {seed}");
        }
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}
