//! What was sent to a client and is not acknowledged: Packet Identifiers, the in-flight window,
//! sending again after a reconnect or a restart.
//!
//! Invariants: `in_flight` is in the order of sending, which is ascending ordinals; no Packet
//! Identifier stands for two messages that the client may still know; a QoS 2 PUBLISH leaves when
//! its Packet Identifier is durable.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::Session;
use super::queue::Entry;
use super::rare::Blank;
use crate::mqtt::packet::PacketId;
use crate::mqtt::reply::{Ack, Delivery, Reply};
use crate::mqtt::{Message, QoS, ReasonCode, Version, codec};
use crate::time::Timestamp;
use crate::turn::{
    Copy, DeadReason, Load, MessageId, OwnerId, Record, RecordNumber, Sent, SessionId, Turn,
    packet_id,
};

/// Packet Identifiers that are reserved on disk at a time.
const RESERVE: u64 = 4096;
/// A new reservation is written when fewer are left, so that nothing has to wait for it.
const RESERVE_MARGIN: u64 = 1024;

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

/// A copy to be sent.
#[derive(Debug)]
pub struct Offer {
    /// Whose copy.
    pub owner: OwnerId,
    /// Whether the owner is stored.
    pub stored: bool,
    /// Whether the store knows the copy.
    pub recorded: bool,
    /// Not to be sent before this record is durable.
    pub until: RecordNumber,
    /// The copy, with QoS, RETAIN and Subscription Identifiers as they are sent.
    pub entry: Entry,
    /// QoS and RETAIN of the copy itself.
    pub own: (QoS, bool),
}

impl Offer {
    /// A copy that is sent as it is.
    pub fn new(owner: OwnerId, stored: bool, recorded: bool, entry: Entry) -> Self {
        let own = (entry.qos, entry.retain);
        Self { owner, stored, recorded, until: RecordNumber::default(), entry, own }
    }

    /// The copy as it is stored: with its own QoS, whatever it is sent with.
    fn as_copy(&self, sent: Sent) -> Copy {
        let (qos, retain) = self.own;
        Copy { qos, retain, ..self.entry.as_copy(self.owner, Some(sent)) }
    }
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

    /// Takes the QoS 1 copies of these owners.
    pub fn take_of(&mut self, owners: &[OwnerId]) -> Vec<InFlight> {
        let is_wanted =
            |sent: &InFlight| owners.contains(&sent.owner) && sent.entry.qos == QoS::AtLeastOnce;
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

impl Session {
    /// Whether a new copy may be sent now.
    pub fn can_take(&self) -> bool {
        self.link.as_ref().is_some_and(|link| {
            !link.outbox_full && self.outbound.all_told() && self.outbound.len() < link.window
        })
    }

    /// Sends again, in the first order, what is in flight from before this connection
    /// `[MQTT-4.4.0-1]`, within the Receive Maximum of this one `[MQTT-3.3.4-9]`. Returns the
    /// copies that cannot be sent any more.
    pub fn resend(&mut self, now: Timestamp, turn: &mut Turn) -> Vec<InFlight> {
        let mut too_large = Vec::new();
        while !self.outbound.all_told() {
            let Some(link) = &self.link else { break };
            if link.outbox_full || self.outbound.told >= link.window {
                break;
            }
            let (limit, version, heard) = (link.packet_size_max, link.version, link.heard);
            let at = self.outbound.told;
            let sent = &mut self.outbound.in_flight[at];
            let id = packet_id(sent.ordinal);
            let reply = if sent.pubrec_arrived {
                Reply::PubRel(Ack {
                    packet_id: id,
                    reason: ReasonCode::SUCCESS,
                    reason_string: None,
                })
            } else {
                let Some(message) = sent.entry.body.clone() else {
                    turn.loads.extend(self.outbound.next_load());
                    break;
                };
                let delivery = delivery(&sent.entry, message, id, true);
                if !codec::publish_fits(&delivery, version, limit) {
                    too_large.extend(self.outbound.take(at));
                    continue;
                }
                Reply::Publish(delivery)
            };
            sent.sent_at = now;
            sent.heard_before = heard;
            self.outbound.told += 1;
            self.reply(turn, reply);
        }
        too_large
    }

    /// Sends a copy of QoS > 0. The caller saw that [`can_take`](Self::can_take) and that its
    /// body is in memory. The copy comes back when it cannot be sent.
    pub fn send_copy(
        &mut self,
        mut offer: Offer,
        now: Timestamp,
        turn: &mut Turn,
    ) -> Result<(), (Offer, DeadReason)> {
        let link = self.link.as_ref().expect("the caller asked can_take");
        let (limit, version) = (link.packet_size_max, link.version);
        if offer.entry.is_expired(now) {
            return Err((offer, DeadReason::Expired));
        }
        let message = offer.entry.body.take().expect("the caller loaded it");
        let in_doubt = offer.entry.in_doubt;
        let mut delivery = delivery(&offer.entry, message, packet_id(0), in_doubt);
        if !codec::publish_fits(&delivery, version, limit) {
            offer.entry.body = Some(delivery.message);
            return Err((offer, DeadReason::TooLarge));
        }
        let (ordinal, reserved) = self.next_ordinal(turn);
        delivery.packet_id = Some(packet_id(ordinal));
        let recorded = self.record_sent(&offer, ordinal, turn);
        let mut until = offer.until.max(reserved);
        if offer.entry.qos == QoS::ExactlyOnce && offer.stored {
            until = until.max(recorded).max(self.newest);
        }
        let link = self.link.as_mut().expect("seen above");
        link.publish(turn, until, &delivery);
        self.outbound.in_flight.push_back(InFlight {
            ordinal,
            owner: offer.owner,
            stored: offer.stored,
            entry: Entry { body: Some(delivery.message), ..offer.entry },
            own: offer.own,
            pubrec_arrived: false,
            sent_at: now,
            heard_before: link.heard,
        });
        self.outbound.told += 1;
        Ok(())
    }

    /// Sends a QoS 0 message, when `until` is durable.
    pub fn send_qos0(
        &mut self,
        message: &Arc<Message>,
        retain: bool,
        subscription_ids: crate::mqtt::reply::SubscriptionIds,
        until: RecordNumber,
        turn: &mut Turn,
    ) -> Result<(), DeadReason> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let mut delivery = Delivery {
            message: message.clone(),
            qos: QoS::AtMostOnce,
            packet_id: None,
            dup: false,
            retain,
            subscription_ids,
            topic_alias: None,
        };
        if !codec::publish_fits(&delivery, link.version, link.packet_size_max) {
            return Err(DeadReason::TooLarge);
        }
        if until == RecordNumber::default() && link.version == Version::V5 {
            delivery.topic_alias = link.topic_alias(&message.topic);
        }
        link.publish(turn, until, &delivery);
        Ok(())
    }

    /// What the next sending again needs from the store, or the next copies of the queue.
    pub fn next_load(&mut self) -> Option<Load> {
        if self.outbound.all_told() {
            let window = self.link.as_ref()?.window;
            self.queue.present()?.next_load(self.id, window)
        } else {
            self.outbound.next_load()
        }
    }

    /// The next ordinal, and the record that must be durable before it is used.
    fn next_ordinal(&mut self, turn: &mut Turn) -> (u64, RecordNumber) {
        let ordinal = self.outbound.next();
        if !self.stored {
            return (ordinal, RecordNumber::default());
        }
        if ordinal + RESERVE_MARGIN >= self.outbound.bound {
            self.outbound.bound_before = self.outbound.bound;
            self.outbound.bound = ordinal + RESERVE;
            self.record_self(turn);
            self.outbound.extension = self.newest;
        }
        let is_reserved = ordinal < self.outbound.bound_before;
        let until = if is_reserved { RecordNumber::default() } else { self.outbound.extension };
        (ordinal, until)
    }

    fn record_sent(&mut self, offer: &Offer, ordinal: u64, turn: &mut Turn) -> RecordNumber {
        if !offer.stored {
            return RecordNumber::default();
        }
        let sent = Sent {
            session: self.id,
            ordinal,
            qos: offer.entry.qos,
            subscription_ids: offer.entry.subscription_ids.clone(),
            pubrec_arrived: false,
        };
        let number = turn.record(if offer.recorded {
            Record::Sent { owner: offer.owner, message: offer.entry.message, sent }
        } else {
            Record::Queued(offer.as_copy(sent))
        });
        if self.stored {
            self.newest = number;
        }
        number
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

fn delivery(entry: &Entry, message: Arc<Message>, id: PacketId, dup: bool) -> Delivery {
    Delivery {
        message,
        qos: entry.qos,
        packet_id: Some(id),
        dup,
        retain: entry.retain,
        subscription_ids: entry.subscription_ids.clone(),
        topic_alias: None,
    }
}

#[cfg(test)]
mod tests;
