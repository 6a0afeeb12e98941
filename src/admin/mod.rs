//! Tools and the running broker: a Unix socket in the data directory, which only the broker's own
//! user may open.
//!
//! **The protocol**, version 1: one JSON object a line, each way. A client sends
//! `{"version": 1, "command": "…", …}` and gets `{"progress": …}` as often as there is something
//! to tell, then `{"ok": …}` or `{"error": "one line"}`; then it may ask again. [`call`] has the
//! words, [`Client`] the command line's side.
//!
//! Invariant: nobody on this socket makes the broker wait. Each client has a task, long work a
//! thread, and what is asked of the core is small.

pub mod call;

mod client;
mod letters;
mod metrics;
mod serve;
mod sessions;
mod socket;

pub use client::{CallError, Client};
pub use serve::start;
pub use socket::NAME;
