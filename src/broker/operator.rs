//! What an operator may see and do: sessions and their queues.

use std::sync::Arc;

use super::Broker;
use super::doomed::Legacy;
use crate::mqtt::{ReasonCode, Version};
use crate::session::outbound::InFlight;
use crate::session::{Session, Subscription};
use crate::time::Timestamp;
use crate::turn::{ConnectionId, EndCause, MessageId, OwnerId, SessionId, Stored, Turn};

/// A session, as it is now.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Its id, for its copies in the store.
    pub id: SessionId,
    /// Client Identifier.
    pub client_id: Arc<str>,
    /// User Name of the last connection.
    pub user: Option<Arc<str>>,
    /// Protocol of the last connection.
    pub version: Version,
    /// Its connection, while there is one.
    pub connection: Option<ConnectionId>,
    /// Since when it is connected, or nobody is.
    pub since: Timestamp,
    /// Whether it is in the store.
    pub stored: bool,
    /// Session Expiry Interval in seconds; `u32::MAX` never.
    pub expiry: u32,
    /// Copies that wait.
    pub queued: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Copies that were sent and are not acknowledged.
    pub in_flight: u64,
    /// When the oldest message came that is in memory: of a session that is not stored, the
    /// oldest of all.
    pub oldest: Option<Timestamp>,
    /// QoS 2 messages from the client that it did not release.
    pub received: u64,
    /// Copies that died or were dropped since the broker started, by reason.
    pub undelivered: Vec<(&'static str, u64)>,
    /// Its subscriptions.
    pub subscriptions: Vec<(Arc<str>, Subscription)>,
}

impl Broker {
    /// Sessions in the order of their Client Identifiers, from the one after `after` on.
    pub fn sessions_after(&self, after: Option<&str>, limit: usize) -> Vec<SessionView> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = self.clients.range::<str, _>((from, Bound::Unbounded)).take(limit);
        ids.map(|(_, id)| view(&self.sessions[id])).collect()
    }

    /// The session of a client.
    pub fn session_view(&self, client_id: &str) -> Option<SessionView> {
        self.clients.get(client_id).map(|id| view(&self.sessions[id]))
    }

    /// The copies in memory of a client, in flight and waiting, from the one after `after` on, up
    /// to `limit` of them; of a session that is not stored they are all. Whose PUBREC came has no
    /// message any more.
    pub fn copies_in_memory(&self, client_id: &str, after: MessageId, limit: usize) -> Vec<Stored> {
        let Some(session) = self.clients.get(client_id).map(|id| &self.sessions[id]) else {
            return Vec::new();
        };
        let id = session.id;
        let mut in_flight: Vec<_> =
            own_in_flight(session).filter(|sent| sent.entry.message > after).collect();
        in_flight.sort_unstable_by_key(|sent| sent.entry.message);
        let in_flight = in_flight.into_iter();
        let in_flight = in_flight.map(|sent| sent.entry.as_stored(id, Some(sent.as_sent(id))));
        // What waits is younger than what was sent, but for what came back.
        let waiting = session.queue.in_memory(after).map(|entry| entry.as_stored(id, None));
        let mut copies: Vec<_> = in_flight.flatten().chain(waiting.flatten().take(limit)).collect();
        copies.sort_by_key(|stored| stored.copy.message);
        copies.truncate(limit);
        copies
    }

    /// Ends the connection of a client; false if it has none.
    pub fn handle_kick(&mut self, client_id: &str, now: Timestamp, turn: &mut Turn) -> bool {
        let Some(&id) = self.clients.get(client_id) else {
            return false;
        };
        let is_connected = self.session(id).link.is_some();
        let why = "an operator ended the connection".into();
        self.dismiss(id, ReasonCode::ADMINISTRATIVE_ACTION, why, now, turn);
        self.settle(now, turn);
        is_connected
    }

    /// Ends the session of a client, and its connection: what waits becomes dead letters. False
    /// if there is none.
    pub fn handle_delete(&mut self, client_id: &str, now: Timestamp, turn: &mut Turn) -> bool {
        let Some(&id) = self.clients.get(client_id) else {
            return false;
        };
        let why = "an operator deleted the session".into();
        self.dismiss(id, ReasonCode::ADMINISTRATIVE_ACTION, why, now, turn);
        if self.sessions.contains_key(&id) {
            self.end_session(id, EndCause::Purged, now, turn);
        }
        self.settle(now, turn);
        true
    }

    /// Empties the queue of a client: what was never sent becomes dead letters. Returns how many
    /// copies go; `None` if there is no such session.
    pub fn handle_purge(
        &mut self,
        client_id: &str,
        now: Timestamp,
        turn: &mut Turn,
    ) -> Option<u64> {
        let &id = self.clients.get(client_id)?;
        let count = self.purge(id, now, turn);
        self.settle(now, turn);
        Some(count)
    }

    fn purge(&mut self, id: OwnerId, now: Timestamp, turn: &mut Turn) -> u64 {
        let session = self.sessions.get_mut(&id).expect("the caller looked it up");
        let count = session.queue.len() as u64;
        let legacy = Legacy {
            owner: id,
            name: session.client_id.clone(),
            filters: Arc::new(session.subscriptions.clone()),
            cause: EndCause::Purged,
            stored: session.stored,
            copies: session.queue.take_all(&mut self.totals).into(),
            count,
        };
        self.doom_queue(legacy, now, turn);
        count
    }
}

fn own_in_flight(session: &Session) -> impl Iterator<Item = &InFlight> {
    session.outbound.iter().filter(|sent| sent.owner == session.id)
}

/// When the oldest message in memory came.
fn oldest(session: &Session) -> Option<Timestamp> {
    let waiting = session.queue.front().into_iter();
    let all = own_in_flight(session).map(|sent| &sent.entry).chain(waiting);
    all.filter_map(|entry| entry.body.as_ref()).map(|body| body.received).min()
}

fn view(session: &Session) -> SessionView {
    let link = session.link.as_ref();
    let since = link.map(|link| link.since).or(session.disconnected);
    SessionView {
        id: session.id,
        client_id: session.client_id.clone(),
        user: session.user.clone(),
        version: session.version,
        connection: link.map(|link| link.id),
        since: since.unwrap_or_default(),
        stored: session.stored,
        expiry: session.expiry,
        queued: session.queue.len() as u64,
        queued_bytes: session.queue.bytes(),
        in_flight: session.outbound.len() as u64,
        oldest: oldest(session),
        received: session.inbound.received.len() as u64,
        undelivered: session
            .more
            .undelivered
            .iter()
            .map(|(reason, count)| (*reason, *count))
            .collect(),
        subscriptions: session.subscriptions.iter().map(|(f, s)| (f.clone(), s.clone())).collect(),
    }
}
