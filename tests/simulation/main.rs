//! The simulation: one seed decides everything. The codec, the core and the store are the real
//! ones; the world around them fails as worlds do. Checkers read only the event log.
//!
//! `SEED=17 cargo test --test simulation -- --nocapture` replays one seed with its whole trace;
//! `SEEDS=5000` takes so many, `NIGHT=28800` goes on for so many seconds, from `FIRST` on.

mod bug;
mod checkers;
mod clients;
mod coverage;
mod disk;
mod engine;
mod history;
mod ledger;
mod network;
mod plan;
#[path = "../harness/platter.rs"]
mod platter;
mod rights;
mod runs;
mod storage;
mod world;
