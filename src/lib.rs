//! KedgeMQ: a lightweight TLS MQTT broker for edge gateways.
//!
//! Its promise: *an acknowledgement is a promise kept on disk, and what a persistent session
//! cannot be given does not vanish: it becomes a dead letter that says why.*
//!
//! # The shape
//!
//! One [`broker::Broker`] owns all MQTT state and decides everything. It is sans-IO: no socket, no
//! disk, no clock, no randomness of the operating system. It stands behind one lock
//! (`server/engine.rs`), called by the connection tasks once per batch of packets. What it asks of
//! the world in one step is a [`turn::Turn`]: `send` may leave at once, `records` are to be made
//! durable, `held` leaves when they are, `loads` are stored messages that it wants in memory.
//! "Durable before told" is a list with another name, not discipline.
//!
//! One thread (`store/writer.rs`) owns the data file. [`turn::Record`] is the one vocabulary of
//! durable change: the store writes it, gives it back at start, and
//! [`restore`](broker::Broker::restore) applies it.
//!
//! # The way of one QoS 1 PUBLISH
//!
//! `net` (bytes) → `server/connection` (reads a batch) → `mqtt/codec` ([`mqtt::Packet`]) →
//! `server/engine` (the lock) → `broker` → `session/inbound` (alias, quota, duplicate) →
//! `broker/publish` (rights, retained, refusals) → `broker/deliver` (a copy for each owner; hold
//! the PUBACK) → `session/outbound` (window) or `session/queue` → the engine again: `send` to the
//! outboxes, `records` and `held` to the store, unlock → `server/outbox` (one write);
//! `store/writer` (one transaction, one fsync for all that wait) → what was held goes to the
//! outboxes. Read the files in this order.
//!
//! # Floors
//!
//! A module imports only from floors below its own; `tests/tidy.rs` checks it.
//!
//! | floor | modules | what for |
//! |---|---|---|
//! | 10 | `main`, [`app`] | command line, configuration, start and stop |
//! | 9 | [`admin`] | tools and the running broker: the socket in the data directory |
//! | 8 | [`server`] | accept, connections, the engine, outboxes |
//! | 7 | [`net`] | listening, TLS, certificates |
//! | 6 | [`store`] | the data file: redb is only here |
//! | | *below: pure* | *no IO, no clock* |
//! | 5 | [`broker`] | many clients: connect, publish, wills, dead letters |
//! | 4 | [`session`], [`router`], [`auth`] | one client; who gets what; who may what |
//! | 3 | [`turn`] | what core and world say to each other |
//! | 2 | [`config`], [`metrics`] | limits and counters as plain data |
//! | 1 | [`mqtt`] | the words of the specification, the wire |
//! | 0 | [`time`], [`dead_reason`] | the broker's time line; why messages die |
//!
//! # Words
//!
//! An **owner** has a queue: a session or a share group (share name *and* filter). A **copy** is
//! one owner's share of a message, named by (owner, message). Message ids ascend through the life
//! of a data file, so that they are also the order of every queue. A session is **stored** from
//! its first Session Expiry Interval above 0 until it ends; for a transient one nothing is.

pub mod admin;
pub mod app;
pub mod auth;
pub mod broker;
pub mod config;
pub mod dead_reason;
pub mod metrics;
pub mod mqtt;
pub mod net;
pub mod router;
pub mod server;
pub mod session;
pub mod store;
pub mod time;
pub mod turn;
