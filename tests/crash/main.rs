//! The store on a disk that crashes and fails: what was acknowledged is there afterwards, whole
//! turns of it, and no more than was submitted.

#![expect(clippy::unwrap_used, reason = "all of it is test")]

mod backend;
mod broker;
mod doubt;
mod file;
mod format;
mod full;
mod model;
#[path = "../harness/platter.rs"]
mod platter;
mod store;
mod thread;
mod workload;
