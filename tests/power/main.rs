//! The real binary and all that ends, stops or deceives it: signals under load, a disk whose syncs
//! fail, clocks that jump. Clients of both versions publish and subscribe at QoS 1 and 2 in
//! persistent sessions meanwhile, and what they saw is judged.
//!
//! `SEED=… cargo test --test power` takes the same moments again, `ROUNDS=…` more signals.
//! What needs strace or faketime says so and does nothing where they are missing.

#[allow(dead_code)] // Each test target uses its part of the harness.
#[path = "../harness/mod.rs"]
mod harness;

#[path = "../client/mod.rs"]
mod client;

#[path = "../soak/judge.rs"]
mod judge;
#[path = "../soak/load.rs"]
mod load;
#[path = "../soak/stage.rs"]
mod stage;

mod by_hand;
mod clocks;
mod durable_first;
mod failing_disk;
mod owed;
mod refusal;
mod signals;
mod stopped;
mod strace;

use std::env;

use kedgemq::mqtt::Version;

/// Half of the clients speak 3.1.1.
fn version(index: usize) -> Version {
    if index.is_multiple_of(2) { Version::V311 } else { Version::V5 }
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// The seed of a test; printed, so that a failure can be seen again.
fn seed() -> u64 {
    let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    seed
}
