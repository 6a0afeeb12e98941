//! What tools may ask of a running server.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::engine::{Engine, Step};
use super::work::By;
use crate::broker::{Broker, SessionView};
use crate::config::Settings;
use crate::dead_reason::DeadReason;
use crate::metrics::{Counters, Gauges};
use crate::store::{Snapshot, StoreError};
use crate::time::{Timestamp, WallClock};
use crate::turn::{Action, LetterFilter, MessageId, Stored, Task, Turn};

/// A running server, for those who look at it and steer it. It does not keep the server running:
/// when that has stopped, what needs the store is an error.
///
/// Invariant: what is done through it is on disk when it returns, unless it says that it is not.
/// Such calls block for a commit.
#[derive(Clone)]
pub struct Handle {
    engine: Arc<Engine>,
    about: About,
}

/// What of the settings tools want to know.
#[derive(Clone)]
pub(super) struct About {
    node: Arc<str>,
    keeps_purged: bool,
}

impl About {
    pub(super) fn of(settings: &Settings) -> Self {
        let letters = &settings.dead_letters;
        let keeps_purged = letters.max_count > 0 && letters.reasons.contains(&DeadReason::Purged);
        Self { node: settings.node.as_str().into(), keeps_purged }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

/// A session, and where it is connected.
#[derive(Clone, Debug)]
pub struct Seen {
    /// All that the core knows.
    pub session: SessionView,
    /// The address of its client and whether it speaks TLS, while it is connected.
    pub peer: Option<(SocketAddr, bool)>,
}

/// The tasks over dead letters.
#[derive(Clone, Debug)]
pub struct Tasks {
    /// The one that goes on.
    pub running: Option<Task>,
    /// The last one that ended.
    pub ended: Option<Task>,
}

impl Handle {
    pub(super) fn new(engine: &Arc<Engine>, about: About) -> Self {
        Self { engine: Arc::clone(engine), about }
    }

    /// The broker's name, as dead letters have it.
    pub fn node(&self) -> &str {
        &self.about.node
    }

    /// Whether what an operator purges becomes dead letters.
    pub fn keeps_purged(&self) -> bool {
        self.about.keeps_purged
    }

    /// See [`crate::store::Store::snapshot`]; blocks as that does.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.engine.snapshot()
    }

    /// Now, and what a clock shows then.
    pub fn time(&self) -> (Timestamp, WallClock) {
        (self.engine.now(), self.engine.wall_clock())
    }

    /// All counters and gauges.
    pub fn metrics(&self) -> (Counters, Gauges) {
        self.ask(|broker, now, _| (broker.counters(), broker.gauges(now)))
    }

    /// Up to `limit` sessions by Client Identifier, from the one after `after` on.
    pub fn sessions_after(&self, after: Option<&str>, limit: usize) -> Vec<Seen> {
        let act = |step: &mut Step<'_>| step.sessions_after(after, limit);
        self.engine.turn(By::Server, act)
    }

    /// The session of a client.
    pub fn session(&self, client_id: &str) -> Option<Seen> {
        self.engine.turn(By::Server, |step| step.session(client_id))
    }

    /// See [`Broker::copies_in_memory`].
    pub fn copies_in_memory(&self, client_id: &str, after: MessageId, limit: usize) -> Vec<Stored> {
        self.ask(|broker, _, _| broker.copies_in_memory(client_id, after, limit))
    }

    /// Ends the connection of a client; false if it has none.
    pub fn kick(&self, client_id: &str) -> Result<bool, StoreError> {
        self.durably(|broker, now, turn| broker.handle_kick(client_id, now, turn))
    }

    /// Ends the session of a client; false if there is none. What waits in it becomes dead
    /// letters, which for a long queue takes its time.
    pub fn delete(&self, client_id: &str) -> Result<bool, StoreError> {
        self.durably(|broker, now, turn| broker.handle_delete(client_id, now, turn))
    }

    /// Empties the queue of a client; says how many copies leave it, `None` if there is no such
    /// session. Those of a long queue leave one after the other.
    pub fn purge(&self, client_id: &str) -> Result<Option<u64>, StoreError> {
        self.durably(|broker, now, turn| broker.handle_purge(client_id, now, turn))
    }

    /// The tasks over dead letters.
    pub fn tasks(&self) -> Tasks {
        self.ask(|broker, _, _| Tasks {
            running: broker.task().cloned(),
            ended: broker.ended_task().cloned(),
        })
    }

    /// Starts a task at so many letters a second, 0 for as fast as it goes; `None` while another
    /// one goes on.
    pub fn start_task(
        &self,
        action: Action,
        filter: LetterFilter,
        rate: u32,
    ) -> Result<Option<u64>, StoreError> {
        self.durably(|broker, now, turn| broker.handle_task(action, filter, rate, now, turn))
    }

    /// Cancels a task; false if it does not go on.
    pub fn cancel_task(&self, id: u64) -> Result<bool, StoreError> {
        self.durably(|broker, _, turn| broker.handle_cancel(id, turn))
    }

    fn durably<R>(
        &self,
        handle: impl FnOnce(&mut Broker, Timestamp, &mut Turn) -> R,
    ) -> Result<R, StoreError> {
        let result = self.ask(handle);
        // Lazy records are not waited for otherwise, and a snapshot is answered behind the commit
        // of all that was submitted before.
        self.engine.checkpoint();
        self.snapshot()?;
        Ok(result)
    }

    fn ask<R>(&self, handle: impl FnOnce(&mut Broker, Timestamp, &mut Turn) -> R) -> R {
        self.engine.turn(By::Server, |step| {
            let mut result = None;
            step.call(|broker, now, turn| result = Some(handle(broker, now, turn)));
            result.expect("a step calls its handler")
        })
    }
}
