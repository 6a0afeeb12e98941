//! Sessions: seen, and steered.

use tracing::info;

use super::call::Answer;
use super::call::session::{Copy, Purged, Queue, Session, Sessions, Subscription};
use super::letters::{payload, rfc3339};
use crate::server::{Handle, Seen};
use crate::store::Snapshot;
use crate::time::{Timestamp, WallClock};
use crate::turn::{Load, Loaded, MessageId, SessionId, Stored};

/// Sessions of a page: the core is locked for so many.
const PAGE: usize = 128;
/// Copies and bytes of a page. Each page reads the whole log.
const COPIES: u64 = 4096;
const COPY_BYTES: u32 = 4 * 1024 * 1024;

/// The sessions behind `after`, up to a page of them.
pub(super) fn page(server: &Handle, after: Option<&str>) -> Answer {
    let (_, wall) = server.time();
    let found = server.sessions_after(after, PAGE);
    let sessions: Vec<Session> = found.iter().map(|seen| told(seen, wall)).collect();
    let last = sessions.last().filter(|_| sessions.len() == PAGE);
    Answer::Sessions(Sessions { next: last.map(|last| last.client.clone()), sessions })
}

/// A session with the age of its oldest copy.
pub(super) fn one(server: &Handle, client: &str) -> Result<Answer, String> {
    let seen = find(server, client)?;
    let (now, wall) = server.time();
    let mut session = told(&seen, wall);
    if seen.session.stored {
        let snapshot = server.snapshot().map_err(|error| error.to_string())?;
        let oldest = load(&snapshot, seen.session.id, 0, 1)?.copies.into_iter().next();
        session.oldest_ms = oldest.map(|oldest| age_ms(&oldest, now));
    }
    Ok(Answer::Session(Box::new(session)))
}

/// The stored copies of a session behind `after`, up to a page of them.
pub(super) fn queue(
    server: &Handle,
    client: &str,
    after: u64,
    limit: u64,
    with_payload: bool,
) -> Result<Answer, String> {
    let seen = find(server, client)?;
    if !seen.session.stored {
        return Err(format!(
            "the session of {client:?} ends with its connection: its queue is in memory alone"
        ));
    }
    let snapshot = server.snapshot().map_err(|error| error.to_string())?;
    let (now, _) = server.time();
    let count = u32::try_from(limit.min(COPIES)).unwrap_or(u32::MAX);
    let loaded = load(&snapshot, seen.session.id, after, count)?;
    let last = loaded.copies.last().filter(|_| loaded.has_more);
    let next = last.map(|last| last.copy.message.0);
    let told = |stored: &Stored| told_copy(stored, now, with_payload);
    Ok(Answer::Queue(Queue { copies: loaded.copies.iter().map(told).collect(), next }))
}

fn load(snapshot: &Snapshot, owner: SessionId, after: u64, count: u32) -> Result<Loaded, String> {
    let load = Load {
        owner,
        first: MessageId(after.saturating_add(1)),
        last: MessageId(u64::MAX),
        count,
        bytes: COPY_BYTES,
        expired_by: None,
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
        age_ms: age_ms(stored, now),
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

fn age_ms(stored: &Stored, now: Timestamp) -> u64 {
    let age = now.since(stored.message.received);
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}
