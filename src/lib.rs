//! KedgeMQ: a lightweight TLS MQTT broker for edge gateways.
//!
//! Its promise: *an acknowledgement is a promise kept on disk, and what a persistent session
//! cannot be given does not vanish: it becomes a dead letter that says why.*
//!
//! # Embedding
//!
//! Another program can have the broker inside: [`server::Setup`] says what it is made of, with the
//! defaults of the `kedgemq` command, [`server::Server`] runs it in the tokio runtime of that
//! program. `examples/embed.rs` is a whole one.
//!
//! ```
//! use kedgemq::server::{Listener, Server, Setup};
//! use tokio::net::TcpListener;
//!
//! # async fn time_to_stop() {}
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let data = tempfile::tempdir()?;
//! let mut setup = Setup::new(&data);
//! setup.settings.limits.queue_messages = 10_000;
//! let socket = TcpListener::bind("127.0.0.1:0").await?;
//! setup.listeners.push(Listener::plain(socket)?);
//!
//! let server = Server::start(setup).await?; // Ready: clients can connect.
//! println!("MQTT on {}", server.addresses()[0]);
//! tokio::select! {
//!     () = time_to_stop() => {}
//!     () = server.failed() => {} // The data file is corrupt.
//! }
//! server.stop().await?; // What was acknowledged is on disk; what went wrong is said.
//! # Ok(())
//! # }
//! ```
//!
//! What the program has to know:
//!
//! - Its parts are clients like any other: they connect over TCP, and what a listener asks for
//!   holds for them, too. [`server::Listener`] is in the clear or TLS, [`net::certs`] makes
//!   certificates for development, [`server::Access`] says who may connect, [`auth::Acl`] who may
//!   do what.
//! - Connections are served by the threads of that runtime. Small messages cost least with one
//!   worker thread, as the command has it: see "What bounds it" below.
//! - A directory has one broker, a process has as many as it likes. A broker that is in the way
//!   is [`store::StoreError::InUse`].
//! - The log goes to `tracing`, mostly with the target `kedgemq`; who subscribes sees it.
//! - No signal is caught, no limit of the process changed, no socket for tools opened: that is the
//!   command's part.
//! - A panic while the broker's state changes aborts the process, as what is on disk is the
//!   recovery.
//!
//! **What is promised**: [`server`], [`config`], [`store::Options`] and what these name are meant
//! for other programs; while the version is 0.x, a minor version may change them, and a patch
//! version does not. All else that is public is so for the command and the tests, is hidden from
//! this documentation, and may change at any time.
//!
//! # The shape
//!
//! One `broker::Broker` owns all MQTT state and decides everything. It is sans-IO: no socket, no
//! disk, no clock, no randomness of the operating system. It stands behind one lock
//! (`server/engine.rs`), called by the connection tasks once per batch of packets. What it asks of
//! the world in one step is a `turn::Turn`: `send` may leave at once, `records` are to be made
//! durable, `held` leaves when they are, `loads` are stored messages that it wants in memory.
//! "Durable before told" is a list with another name, not discipline.
//!
//! One thread (`store/writer.rs`) owns the data file. It waits neither for the broker's lock nor
//! for a socket: what it did and read is told by a task beside the connections
//! (`server/witness.rs`). `turn::Record` is the one vocabulary of durable change: the store writes
//! it, gives it back at start, and `Broker::restore` applies it.
//!
//! # What bounds it
//!
//! The command runs the connections on one worker thread (`worker_threads`). A second one waits for
//! the lock about as often as it gets it, and moves the broker's state from one CPU's cache to the
//! other's: at full load small messages cost more and fewer pass. So one CPU for this thread, and
//! a part of another for the storage thread, is where this shape ends: at QoS 0 three quarters of
//! that CPU are in the system calls, one read and one write for a batch. The next step would be
//! several brokers in one process, each with its clients and its thread, that hand messages to
//! each other in batches; finer locks would not end the moving.
//!
//! # The way of one QoS 1 PUBLISH
//!
//! `net` (bytes) → `server/connection` (reads a batch) → `mqtt/codec` (`mqtt::Packet`) →
//! `server/engine` (the lock) → `broker` → `session/inbound` (alias, quota, duplicate) →
//! `broker/publish` (rights, retained, refusals) → `broker/deliver` (a copy for each owner; hold
//! the PUBACK) → `session/outbound` (window) and `session/link` (into the turn), or
//! `session/queue` → the engine again: `send` to the outboxes, `records` and `held` to the store,
//! unlock → `server/outbox` (one write); `store/writer` (one transaction, one fsync for all that
//! wait) → `server/witness` → what was held leaves the outboxes. Read the files in this order.
//!
//! Who brings output to a connection writes it at the end of the turn; where several bring some at
//! a time, its own task does (`server/outbox/crowd`).
//!
//! Packets whose bytes are the same whenever they leave, which are most, are encoded into the turn
//! where `session/link` says them, and the engine copies these bytes to the outboxes. A shorter way
//! is for QoS 0 PUBLISHes that nobody has to keep: those of one topic that came one after the other
//! are one `mqtt/codec/run`, and `broker/pass_on` gives it to its subscribers as it came. Plain
//! acknowledgements that came one after the other are one step of the core (`mqtt/codec/acks`).
//!
//! # Floors
//!
//! A module imports only from floors below its own; `tests/tidy.rs` checks it.
//!
//! | floor | modules | what for |
//! |---|---|---|
//! | 10 | `main`, `app` | command line, configuration, start and stop |
//! | 9 | `admin` | tools and the running broker: the socket in the data directory |
//! | 8 | [`server`] | accept, connections, the engine, outboxes |
//! | 7 | [`net`] | listening, TLS, certificates |
//! | 6 | [`store`] | the data file: redb is only here |
//! | | *below: pure* | *no IO, no clock* |
//! | 5 | `broker` | many clients: connect, publish, wills, dead letters |
//! | 4 | `session`, `router`, [`auth`] | one client; who gets what; who may what |
//! | 3 | `turn` | what core and world say to each other |
//! | 2 | [`config`], `metrics` | limits and counters as plain data |
//! | 1 | `mqtt` | the words of the specification, the wire |
//! | 0 | `time`, [`dead_reason`] | the broker's time line; why messages die |
//!
//! # Words
//!
//! An **owner** has a queue: a session or a share group (share name *and* filter). A **copy** is
//! one owner's share of a message, named by (owner, message). Message ids ascend through the life
//! of a data file, so that they are also the order of every queue. A session is **stored** from
//! its first Session Expiry Interval above 0 until it ends; for a transient one nothing is.

#[doc(hidden)]
pub mod admin;
#[doc(hidden)]
pub mod app;
pub mod auth;
#[doc(hidden)]
pub mod broker;
pub mod config;
pub mod dead_reason;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod mqtt;
pub mod net;
#[doc(hidden)]
pub mod router;
pub mod server;
#[doc(hidden)]
pub mod session;
pub mod store;
#[doc(hidden)]
pub mod time;
#[doc(hidden)]
pub mod turn;
