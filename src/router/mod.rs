//! Who gets a message: subscriptions by Topic Filter, the members of a share group, and the
//! retained messages that a new subscription is owed.
//!
//! Invariant: what comes out depends on what was put in and its order alone, never on a hash seed.

pub mod filters;
pub mod retained;
pub mod route;
pub mod share;
pub mod trie;

pub use filters::first_match;
pub use retained::Retained;
pub use route::Route;
pub use share::{Ability, Look, Member, ShareGroup};
pub use trie::{Entry, Subscriptions, Target};
