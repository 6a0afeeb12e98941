//! What was sent to a client and is not acknowledged: Packet Identifiers, the in-flight window.
//!
//! Invariants: `in_flight` is in the order of sending, which is ascending ordinals; no Packet
//! Identifier stands for two messages that the client may still know.

mod sending;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::queue::Entry;
use super::rare::Blank;
use crate::mqtt::packet::PacketId;
use crate::mqtt::{Message, QoS};
use crate::time::Timestamp;
use crate::turn::{Load, MessageId, OwnerId, RecordNumber, Sent, SessionId, packet_id};

pub use sending::{Offer, after_queue};

/// Packet Identifiers that are reserved on disk at a time.
const RESERVE: u64 = 4096;

/// A copy that was sent.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// Counts the Packet Identifiers that the session used.
    pub ordinal: u64,
    /// Whose copy: the session's own, or of a share group that it is a member of.
    pub owner: OwnerId,
    /// Whether the owner is stored.
    pub stored: bool,
    /// The copy, with QoS, RETAIN and Subscription Identifiers as they were sent.
    pub entry: Entry,
    /// QoS and RETAIN of the copy itself, for when it goes to another member.
    pub own: (QoS, bool),
    /// Whether PUBREC arrived, so that PUBREL is what is sent again.
    pub pubrec_arrived: bool,
    /// When it was sent last.
    pub sent_at: Timestamp,
    /// The packets that had come from the client by then.
    pub heard_before: u64,
}

impl InFlight {
    /// That it is in flight to `session`, as it is stored.
    pub fn as_sent(&self, session: SessionId) -> Sent {
        Sent {
            session,
            ordinal: self.ordinal,
            qos: self.entry.qos,
            subscription_ids: self.entry.subscription_ids.clone(),
            pubrec_arrived: self.pubrec_arrived,
        }
    }
}

/// The outbound half of a session.
#[derive(Debug)]
pub struct Outbound {
    in_flight: VecDeque<InFlight>,
    /// How many of `in_flight`, from the front, were sent on this connection.
    told: usize,
    /// Packet Identifiers that must not be used again, though their messages died.
    taken: BTreeSet<PacketId>,
    next_ordinal: u64,
    /// Ordinals below it are reserved by a record of this session…
    bound: u64,
    /// …which is `extension`, for those from `bound_before` on.
    bound_before: u64,
    extension: RecordNumber,
    loading: Option<Box<Load>>,
}

impl Outbound {
    /// See [`crate::turn::SessionRecord::ordinal_bound`].
    pub fn bound(&self) -> u64 {
        self.bound
    }

    /// Goes on above all Packet Identifiers that an earlier run may have used.
    pub fn restore_bound(&mut self, bound: u64) {
        self.next_ordinal = bound;
        self.bound = bound;
        self.bound_before = bound;
    }

    /// Those of [`keep_taken`](Self::keep_taken), ascending.
    pub fn taken(&self) -> impl Iterator<Item = PacketId> {
        self.taken.iter().copied()
    }

    /// A copy that was sent by an earlier run.
    pub fn restore_in_flight(&mut self, restored: InFlight) {
        let at = self.in_flight.partition_point(|other| other.ordinal < restored.ordinal);
        self.in_flight.insert(at, restored);
    }

    /// Reserves Packet Identifiers with the session record that the CONNACK will wait for.
    pub fn reserve_at_connect(&mut self) {
        self.bound = self.bound.max(self.next_ordinal + RESERVE);
        self.bound_before = self.bound;
    }

    /// How many are in flight.
    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether all that is in flight was sent on this connection.
    pub fn all_told(&self) -> bool {
        self.told == self.in_flight.len()
    }

    /// All in flight, in the order of sending.
    pub fn iter(&self) -> impl Iterator<Item = &InFlight> {
        self.in_flight.iter()
    }

    /// Takes all that is in flight: the session ends.
    pub fn take_all(&mut self) -> VecDeque<InFlight> {
        self.told = 0;
        std::mem::take(&mut self.in_flight)
    }

    /// Takes the QoS 1 copies of some owners.
    pub fn take_of(&mut self, is_one: impl Fn(OwnerId) -> bool) -> Vec<InFlight> {
        let is_wanted = |sent: &InFlight| is_one(sent.owner) && sent.entry.qos == QoS::AtLeastOnce;
        let mut taken = Vec::new();
        for at in (0..self.in_flight.len()).rev() {
            if is_wanted(&self.in_flight[at]) {
                taken.extend(self.take(at));
            }
        }
        taken
    }

    /// The oldest in-flight PUBLISH: a failed delivery is charged to it alone.
    pub fn oldest_unacknowledged(&mut self) -> Option<&mut InFlight> {
        let told = self.told;
        self.in_flight.iter_mut().take(told).find(|sent| !sent.pubrec_arrived)
    }

    /// What was sent under `id`.
    pub fn find(&mut self, id: PacketId) -> Option<&mut InFlight> {
        let at = self.position(id)?;
        Some(&mut self.in_flight[at])
    }

    /// Takes what was sent under `id`.
    pub fn remove(&mut self, id: PacketId) -> Option<InFlight> {
        let at = self.position(id)?;
        self.take(at)
    }

    /// Keeps `id` from being used again in this session: its QoS 2 message died unacknowledged,
    /// and the client would take another message for the same one. The caller records the session.
    pub fn keep_taken(&mut self, id: PacketId) {
        self.taken.insert(id);
    }

    /// The connection ended: all must be sent again on the next. `drop_bodies`: they are on disk.
    pub fn disconnect(&mut self, drop_bodies: bool) {
        self.told = 0;
        if drop_bodies {
            for sent in &mut self.in_flight {
                sent.entry.body = None;
            }
        }
    }

    /// A loaded body came.
    pub fn fill(&mut self, owner: OwnerId, id: MessageId, body: &Arc<Message>) {
        for sent in &mut self.in_flight {
            if sent.owner == owner && sent.entry.message == id && sent.entry.body.is_none() {
                sent.entry.body = Some(body.clone());
            }
        }
    }

    /// A load is over: takes what it should have brought and did not.
    pub fn loaded(&mut self, load: Load) -> Vec<InFlight> {
        if self.loading.as_deref() != Some(&load) {
            return Vec::new();
        }
        self.loading = None;
        let mut lost = Vec::new();
        for at in (0..self.in_flight.len()).rev() {
            let sent = &self.in_flight[at];
            let wanted = sent.owner == load.owner
                && (load.first..=load.last).contains(&sent.entry.message)
                && !sent.pubrec_arrived;
            if wanted && sent.entry.body.is_none() {
                lost.extend(self.take(at));
            }
        }
        lost
    }

    fn take(&mut self, at: usize) -> Option<InFlight> {
        if at < self.told {
            self.told -= 1;
        }
        if at == 0 { self.in_flight.pop_front() } else { self.in_flight.remove(at) }
    }

    /// Where `id` is: at its distance from the first, if none in between is missing. A window may
    /// span more than one round of Packet Identifiers.
    fn position(&self, id: PacketId) -> Option<usize> {
        let (front, back) = (self.in_flight.front()?.ordinal, self.in_flight.back()?.ordinal);
        let first = packet_id(front);
        if id == first {
            return Some(0); // As clients mostly do, it acknowledges in order.
        }
        let (id, first) = (u64::from(id.get()), u64::from(first.get()));
        let distance = if id >= first { id - first } else { id + 65_535 - first };
        let mut candidate = front + distance;
        while candidate <= back {
            let at = usize::try_from(candidate - front).unwrap_or(usize::MAX);
            if self.in_flight.get(at).is_some_and(|sent| sent.ordinal == candidate) {
                return Some(at);
            }
            let found = self.in_flight.binary_search_by_key(&candidate, |sent| sent.ordinal);
            if found.is_ok() {
                return found.ok();
            }
            candidate += 65_535;
        }
        None
    }

    fn is_in_use(&self, id: PacketId) -> bool {
        self.taken.contains(&id) || self.position(id).is_some()
    }

    /// The next ordinal whose Packet Identifier is free.
    fn next(&mut self) -> u64 {
        let rounded =
            self.in_flight.front().is_some_and(|f| f.ordinal + 65_535 <= self.next_ordinal);
        while (rounded || !self.taken.is_empty()) && self.is_in_use(packet_id(self.next_ordinal)) {
            self.next_ordinal += 1;
        }
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        ordinal
    }

    /// What the next PUBLISH to be sent again needs from the store.
    fn next_load(&mut self) -> Option<Load> {
        if self.loading.is_some() {
            return None;
        }
        let mut absent = self
            .in_flight
            .iter()
            .skip(self.told)
            .filter(|sent| !sent.pubrec_arrived && sent.entry.body.is_none());
        let first = absent.next()?;
        let (mut low, mut high) = (first.entry.message, first.entry.message);
        let mut bytes = first.entry.size as usize;
        for sent in absent {
            bytes += sent.entry.size as usize;
            if sent.owner != first.owner || bytes > 1024 * 1024 {
                break;
            }
            low = low.min(sent.entry.message);
            high = high.max(sent.entry.message);
        }
        let load = Load {
            owner: first.owner,
            first: low,
            last: high,
            count: u32::MAX,
            bytes: u32::MAX,
            expired_by: None,
            after_lazy: true,
        };
        self.loading = Some(Box::new(load));
        Some(load)
    }
}

impl Outbound {
    const fn new() -> Self {
        Self {
            in_flight: VecDeque::new(),
            told: 0,
            taken: BTreeSet::new(),
            next_ordinal: 0,
            bound: 0,
            bound_before: 0,
            extension: RecordNumber(0),
            loading: None,
        }
    }
}

impl Blank for Outbound {
    type Kind = ();

    fn shared((): ()) -> &'static Self {
        static BLANK: Outbound = Outbound::new();
        &BLANK
    }

    fn blank((): ()) -> Self {
        Self::new()
    }

    /// Packet Identifiers that were used, or reserved on disk, are remembered.
    fn tidy(&mut self) -> bool {
        if self.in_flight.is_empty() {
            self.in_flight = VecDeque::new();
        }
        self.in_flight.is_empty()
            && self.taken.is_empty()
            && self.next_ordinal == 0
            && self.bound == 0
            && self.loading.is_none()
    }
}

#[cfg(test)]
mod tests;
