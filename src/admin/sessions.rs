//! Sessions: seen, and steered.

use std::collections::BTreeMap;

use tracing::info;

use super::call::Answer;
use super::call::session::{Copy, Purged, Queue, Session, Sessions, Subscription};
use super::letters::{payload, rfc3339};
use crate::broker::SessionView;
use crate::server::{Handle, Seen};
use crate::store::Snapshot;
use crate::time::{Timestamp, WallClock};
use crate::turn::{Load, Loaded, MessageId, SessionId, Stored};

/// Sessions of a page, and copies of one out of memory: the core is locked for so many.
const PAGE: usize = 128;
/// Copies and bytes of a page. Each page reads the whole log.
const COPIES: u64 = 4096;
const COPY_BYTES: u32 = 4 * 1024 * 1024;

/// The sessions behind `after`, up to a page of them.
pub(super) fn page(server: &Handle, after: Option<&str>) -> Result<Answer, String> {
    let found = server.sessions_after(after, PAGE);
    let sessions = with_oldest(server, &found)?;
    let last = sessions.last().filter(|_| sessions.len() == PAGE);
    let next = last.map(|last| last.client.clone());
    Ok(Answer::Sessions(Sessions { next, sessions }))
}

/// A session.
pub(super) fn one(server: &Handle, client: &str) -> Result<Answer, String> {
    let mut sessions = with_oldest(server, &[find(server, client)?])?;
    Ok(Answer::Session(Box::new(sessions.remove(0))))
}

/// Sessions with the age of the oldest copy of each.
fn with_oldest(server: &Handle, found: &[Seen]) -> Result<Vec<Session>, String> {
    let has_stored =
        |session: &&SessionView| session.stored && session.queued + session.in_flight > 0;
    let stored = found.iter().map(|seen| &seen.session).filter(has_stored);
    let stored: Vec<SessionId> = stored.map(|session| session.id).collect();
    let mut on_disk = BTreeMap::new();
    if !stored.is_empty() {
        let snapshot = server.snapshot().map_err(|error| error.to_string())?;
        let oldest = snapshot.oldest(&stored).map_err(|error| error.to_string())?;
        on_disk = stored.into_iter().zip(oldest).collect();
    }
    let (now, wall) = server.time();
    let told = |seen: &Seen| {
        let SessionView { id, stored, oldest, .. } = &seen.session;
        let oldest = if *stored { on_disk.get(id).copied().flatten() } else { *oldest };
        Session { oldest_ms: oldest.map(|at| age_ms(at, now)), ..told(seen, wall) }
    };
    Ok(found.iter().map(told).collect())
}

/// The copies of a session behind `after`, up to a page of them: off the disk, or out of memory
/// where they are there alone.
pub(super) fn queue(
    server: &Handle,
    client: &str,
    after: u64,
    limit: u64,
    with_payload: bool,
) -> Result<Answer, String> {
    let seen = find(server, client)?;
    let (copies, has_more) = if seen.session.stored {
        let snapshot = server.snapshot().map_err(|error| error.to_string())?;
        let loaded = load(&snapshot, seen.session.id, after, limit.min(COPIES))?;
        (loaded.copies, loaded.has_more)
    } else {
        let count = usize::try_from(limit).unwrap_or(PAGE).min(PAGE);
        let copies = server.copies_in_memory(client, MessageId(after), count);
        let has_more = copies.len() == count;
        (copies, has_more)
    };
    let (now, _) = server.time();
    let last = copies.last().filter(|_| has_more);
    let next = last.map(|last| last.copy.message.0);
    let told = |stored: &Stored| told_copy(stored, now, with_payload);
    Ok(Answer::Queue(Queue { copies: copies.iter().map(told).collect(), next }))
}

fn load(snapshot: &Snapshot, owner: SessionId, after: u64, count: u64) -> Result<Loaded, String> {
    let load = Load {
        owner,
        first: MessageId(after.saturating_add(1)),
        last: MessageId(u64::MAX),
        count: u32::try_from(count).unwrap_or(u32::MAX),
        bytes: COPY_BYTES,
        expired_by: None,
        after_lazy: true,
    };
    snapshot.copies(load).map_err(|error| error.to_string())
}

/// Empties the queue of a session.
pub(super) fn purge(server: &Handle, client: &str) -> Result<Answer, String> {
    let purged = server.purge(client).map_err(|error| error.to_string())?;
    let count = purged.ok_or_else(|| unknown(client))?;
    info!(target: "kedgemq", client, count, "queue purged");
    Ok(Answer::PurgeSession(Purged { purged: count, dead_letters: server.keeps_purged() }))
}

/// Ends the connection of a client.
pub(super) fn kick(server: &Handle, client: String) -> Result<Answer, String> {
    find(server, &client)?;
    if !server.kick(&client).map_err(|error| error.to_string())? {
        return Err(format!("{client:?} is not connected"));
    }
    info!(target: "kedgemq", client, "connection ended by an operator");
    Ok(Answer::KickSession(client))
}

/// Ends a session.
pub(super) fn delete(server: &Handle, client: String) -> Result<Answer, String> {
    if !server.delete(&client).map_err(|error| error.to_string())? {
        return Err(unknown(&client));
    }
    info!(target: "kedgemq", client, "session deleted by an operator");
    Ok(Answer::DeleteSession(client))
}

fn find(server: &Handle, client: &str) -> Result<Seen, String> {
    server.session(client).ok_or_else(|| unknown(client))
}

fn unknown(client: &str) -> String {
    format!("there is no session of {client:?}")
}

fn told(seen: &Seen, wall: WallClock) -> Session {
    let session = &seen.session;
    let count = |(reason, count): &(&'static str, u64)| ((*reason).to_owned(), *count);
    Session {
        client: session.client_id.to_string(),
        connected: session.connection.is_some(),
        address: seen.peer.map(|(address, _)| address.to_string()),
        tls: seen.peer.map(|(_, tls)| tls),
        version: session.version.name().to_owned(),
        user: session.user.as_deref().map(str::to_owned),
        since: rfc3339(wall.unix_ms(session.since)),
        stored: session.stored,
        expiry: (session.expiry != u32::MAX).then_some(session.expiry),
        queued: session.queued,
        queued_bytes: session.queued_bytes,
        in_flight: session.in_flight,
        received: session.received,
        oldest_ms: None,
        undelivered: session.undelivered.iter().map(count).collect(),
        subscriptions: session
            .subscriptions
            .iter()
            .map(|(filter, subscription)| Subscription {
                filter: filter.to_string(),
                qos: subscription.options.qos as u8,
                no_local: subscription.options.no_local,
                retain_as_published: subscription.options.retain_as_published,
                retain_handling: subscription.options.retain_handling as u8,
                id: subscription.id,
            })
            .collect(),
    }
}

fn told_copy(stored: &Stored, now: Timestamp, with_payload: bool) -> Copy {
    let Stored { copy, message } = stored;
    let (payload, payload_base64) =
        if with_payload { payload(&message.payload) } else { (None, None) };
    Copy {
        id: copy.message.0,
        age_ms: age_ms(message.received, now),
        topic: message.topic.to_string(),
        qos: copy.qos as u8,
        size: u64::from(copy.size),
        expiry: message.remaining_expiry(now),
        in_flight: copy.sent.is_some(),
        failed: copy.deliveries,
        payload,
        payload_base64,
    }
}

fn age_ms(since: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX)
}
