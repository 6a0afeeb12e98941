//! `kedgemq store` and the admin socket on the real binary, and data files that are broken.

#![expect(clippy::unwrap_used, reason = "all of it is test")]

#[allow(dead_code)] // Each test target uses its part of the harness.
#[path = "../client/mod.rs"]
mod client;
#[allow(dead_code)]
#[path = "../harness/mod.rs"]
mod harness;
#[allow(dead_code)]
#[path = "../crash/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../conformance/packets.rs"]
mod packets;
#[allow(dead_code)]
#[path = "../crash/workload.rs"]
mod workload;

mod backup;
mod broken;
mod browse;
mod command;
mod damage;
mod dead;
mod export;
mod file;
mod flips;
mod large;
mod many;
mod mosquitto;
mod peer;
mod session;
mod socket;
