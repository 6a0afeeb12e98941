//! The lines that an operator reads: one for each event of the core, and few besides.

use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::outbox::Peer;
use crate::store::{self, Restored, StoreError};
use crate::turn::{ConnectionId, DisconnectedBy, Event, Record, StoreState};

/// Between two lines of a kind that could flood the log.
const PAUSE: Duration = Duration::from_secs(10);

/// The connection that an event is about, if its address is wanted.
pub(super) fn connection(event: &Event) -> Option<ConnectionId> {
    match event {
        Event::Connected { connection, .. }
        | Event::Refused { connection, .. }
        | Event::Disconnected { connection, .. } => Some(*connection),
        Event::TakenOver { to, .. } => Some(*to),
        _ => None,
    }
}

/// Writes the line of an event.
pub(super) fn write(event: &Event, peer: Option<Peer>) {
    let address = peer.map(|peer| tracing::field::display(peer.address));
    let tls = peer.map(|peer| peer.tls);
    match event {
        Event::Connected {
            client_id,
            user,
            version,
            clean_start,
            session_present,
            keep_alive,
            ..
        } => info!(
            target: "kedgemq",
            client = &**client_id,
            address,
            user = user.as_deref(),
            version = version.name(),
            tls,
            clean_start,
            session_present,
            keep_alive,
            "connected"
        ),
        Event::Refused { client_id, reason, why, .. } => warn!(
            target: "kedgemq",
            client = &**client_id, address, tls, %reason, why = &**why, "refused"
        ),
        Event::Disconnected {
            client_id,
            by,
            reason,
            why,
            connected_ms,
            messages_in,
            messages_out,
            ..
        } => info!(
            target: "kedgemq",
            client = &**client_id,
            address,
            by = by_name(*by),
            %reason,
            why = &**why,
            seconds = connected_ms / 1000,
            r#in = messages_in,
            out = messages_out,
            "disconnected"
        ),
        Event::TakenOver { client_id, .. } => {
            info!(target: "kedgemq", client = &**client_id, address, "taken over");
        }
        _ => write_messages(event),
    }
}

/// The lines about messages.
fn write_messages(event: &Event) {
    match event {
        Event::Undelivered { owner, reason, count, kept: true } => {
            warn!(target: "kedgemq", client = &**owner, reason, count, "dead letters")
        }
        Event::Undelivered { owner, reason, count, kept: false } => {
            warn!(target: "kedgemq", client = &**owner, reason, count, "messages dropped")
        }
        Event::LettersDropped { count } => warn!(
            target: "kedgemq",
            count,
            "dead letters dropped, the oldest first: there are more than [dead_letters] keeps"
        ),
        Event::PublishRefused { client_id, topic, reason } => warn!(
            target: "kedgemq", client = &**client_id, topic = &**topic, %reason, "publish refused"
        ),
        Event::TaskEnded { id, done, left } => {
            info!(target: "kedgemq", id, done, left, "task over dead letters ended");
        }
        Event::Lost { owner, count } => error!(
            target: "kedgemq", client = &**owner, count, "messages are not in the store any more"
        ),
        _ => {}
    }
}

/// The store failed, or works again.
pub(super) fn store_state(state: StoreState, why: &str) {
    match state {
        StoreState::Failing => error!(
            target: "kedgemq",
            why,
            "the store fails: messages above QoS 0 are refused until it works again"
        ),
        StoreState::Full => error!(
            target: "kedgemq",
            why,
            "the store is full: no new message of QoS 1 or 2 is taken until there is room"
        ),
        StoreState::Ready => warn!(target: "kedgemq", "the store works again"),
    }
}

/// What was found at start.
pub(super) fn restored(records: &[Record]) {
    let count = |kind: fn(&Record) -> bool| records.iter().filter(|record| kind(record)).count();
    let sessions = count(|record| matches!(record, Record::Session(_)));
    let messages = records.iter().map(|record| match record {
        Record::Queued(_) => 1,
        Record::Backlog(backlog) => backlog.count,
        _ => 0,
    });
    let messages: u64 = messages.sum();
    let retained = count(|record| matches!(record, Record::Retained { .. }));
    let dead_letters = count(|record| matches!(record, Record::DeadIndex(_)));
    if messages > 0 || sessions + retained + dead_letters > 0 {
        info!(target: "kedgemq", sessions, messages, retained, dead_letters, "restored");
    }
}

/// That the start may take long.
pub(super) fn before_open(path: &Path) {
    if let Some(why) = store::suspicion(path) {
        warn!(
            target: "kedgemq",
            file = %path.display(),
            why,
            "the data file may be corrupt: all of it is read now"
        );
    }
}

/// What was wrong with the data file, if anything.
pub(super) fn opened(path: &Path, was_blank: bool, restored: &Restored) {
    if let Some(aside) = &restored.set_aside {
        let why = restored.broken.as_ref().map(ToString::to_string);
        error!(
            target: "kedgemq",
            file = %aside.display(),
            why,
            note = "`kedgemq store check FILE` reads it; a backup can take its place",
            "the data file is corrupt: it was renamed, and a new one was started without its \
             sessions"
        );
    }
    if restored.suspicion.is_some() && restored.set_aside.is_none() {
        warn!(
            target: "kedgemq",
            file = %path.display(),
            "all of the data file was read, and nothing is wrong with it"
        );
    }
    if was_blank {
        warn!(
            target: "kedgemq",
            file = %path.display(),
            "the data file held nothing, so this is a new start: either its making was cut short, \
             or it was truncated or zeroed since"
        );
    }
    let count = store::set_aside_files(path).len();
    if count > 0 {
        warn!(target: "kedgemq", count, "corrupt data files lie beside the data file");
    }
}

/// What nobody is there to be told: the last commit failed.
pub(super) fn stopped_badly(error: &StoreError) {
    error!(target: "kedgemq", %error, "stopped, but the last commit failed");
}

/// A connection that came to nothing before its CONNECT.
pub(super) fn no_client(peer: Peer, why: &str) {
    let tls = peer.tls;
    debug!(target: "kedgemq", address = %peer.address, tls, why, "closed before a CONNECT");
}

/// Lets one line pass, then none for a while.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    state: Mutex<(Option<Instant>, u64)>,
}

impl Seldom {
    /// How many were kept back since the last line, when it is time for one.
    pub(super) fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.0 {
            Some(last) if now.duration_since(last) < PAUSE => {
                state.1 += 1;
                None
            }
            _ => {
                state.0 = Some(now);
                Some(std::mem::take(&mut state.1))
            }
        }
    }
}

fn by_name(by: DisconnectedBy) -> &'static str {
    match by {
        DisconnectedBy::Client => "client",
        DisconnectedBy::Network => "network",
        DisconnectedBy::Server => "server",
    }
}
