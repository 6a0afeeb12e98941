//! Turns as the core makes them, decided by a seed.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use kedgemq::mqtt::packet::{RetainHandling, SubscriptionOptions};
use kedgemq::mqtt::{Message, PacketId, QoS, ReasonCode, Version};
use kedgemq::time::Timestamp;
use kedgemq::turn::{
    Copy, DeadId, DeadLetter, DeadReason, EndCause, MessageId, OwnerId, Record, Sent,
    SessionRecord, WillRecord,
};

use crate::model::Model;

/// Makes turns, and knows what the store must hold after each.
pub(crate) struct Workload {
    random: Rng,
    pub(crate) model: Model,
    next_owner: u64,
    next_message: u64,
    next_dead: u64,
    ordinal: u64,
    turn: Vec<Record>,
    /// Whether most copies wait, and leave in their order.
    is_slow: bool,
}

impl Workload {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            model: Model::default(),
            next_owner: 1,
            next_message: 1,
            next_dead: 1,
            ordinal: 0,
            turn: Vec::new(),
            is_slow: false,
        }
    }

    /// With subscribers that are away most of the time.
    pub(crate) fn slow(seed: u64) -> Self {
        Self { is_slow: true, ..Self::new(seed) }
    }

    /// The next turn, with at least one record; the model is after it.
    pub(crate) fn turn(&mut self) -> Vec<Record> {
        while self.live_owners().len() < 4 {
            self.add_owner();
        }
        let steps = self.random.usize(1..4);
        for step in 0.. {
            if step >= steps && !self.turn.is_empty() {
                break;
            }
            self.step();
        }
        std::mem::take(&mut self.turn)
    }

    /// A turn of publishes alone, and of as many ends of copies that `left` stay.
    pub(crate) fn turn_of_messages(&mut self, left: usize) -> Vec<Record> {
        while self.live_owners().len() < 4 {
            self.add_owner();
        }
        for _ in 0..4 {
            self.publish();
        }
        while self.model.copies.len() > left {
            self.finish_copy();
        }
        std::mem::take(&mut self.turn)
    }

    fn step(&mut self) {
        if self.is_slow {
            match self.random.u32(0..10) {
                0..6 => return (0..4).for_each(|_| self.publish()),
                6 => return self.drain(),
                _ => {}
            }
        }
        match self.random.u32(0..100) {
            0..30 => self.publish(),
            30..55 => self.finish_copy(),
            55..70 => self.change_copy(),
            70..80 => self.receive(),
            80..85 => self.retain(),
            85..90 => self.die(),
            90..93 => self.subscribe(),
            93..96 => self.change_session(),
            96..98 => self.end_owner(),
            _ => self.forget_owner(),
        }
    }

    fn add(&mut self, record: Record) {
        self.model.apply(&record);
        self.turn.push(record);
    }

    fn live_owners(&self) -> Vec<OwnerId> {
        let owners = self.model.sessions.iter().chain(&self.model.groups);
        let live = owners.filter(|(_, (_, ended))| ended.is_none());
        live.map(|(owner, _)| *owner).collect()
    }

    fn live_session(&mut self) -> Option<OwnerId> {
        let sessions = self.model.sessions.iter();
        let live = sessions.filter(|(_, (_, ended))| ended.is_none());
        let live: Vec<OwnerId> = live.map(|(id, _)| *id).collect();
        self.random.choice(live)
    }

    fn a_copy(&mut self) -> Option<Copy> {
        if self.is_slow && self.random.u8(0..4) > 0 {
            let owners = self.model.copies.keys().map(|(owner, _)| *owner);
            let owners: BTreeSet<OwnerId> = owners.collect();
            let owner = self.random.choice(owners)?;
            return Some(self.model.queue(owner).swap_remove(0).copy);
        }
        let copies: Vec<&Copy> = self.model.copies.values().collect();
        // The last are long-lived.
        let some = copies.len().saturating_sub(3);
        self.random.choice(copies.into_iter().take(some)).cloned()
    }

    fn add_owner(&mut self) {
        let owner = OwnerId(self.next_owner);
        self.next_owner += 1;
        if owner.0.is_multiple_of(3) {
            let filter = format!("$share/group-{}/#", owner.0).into();
            return self.add(Record::Group { owner, filter });
        }
        self.add_session(owner);
        for _ in 0..self.random.usize(0..3) {
            self.subscribe();
        }
    }

    fn add_session(&mut self, id: OwnerId) {
        let will = WillRecord { message: self.message(10), delay: self.random.u32(..) };
        let session = SessionRecord {
            id,
            client_id: format!("client-{}", id.0).into(),
            user: self.random.bool().then(|| "anna".into()),
            version: Version::V5,
            expiry: self.random.u32(1..),
            disconnected: self.random.bool().then_some(Timestamp(self.ordinal)),
            ordinal_bound: self.random.u64(..),
            taken: (0..self.random.u16(..3)).filter_map(|n| PacketId::new(n * 999 + 1)).collect(),
            will: self.random.bool().then(|| Box::new(will)),
        };
        self.add(Record::Session(Box::new(session)));
    }

    fn change_session(&mut self) {
        if let Some(session) = self.live_session() {
            self.add_session(session);
        }
    }

    fn subscribe(&mut self) {
        let Some(session) = self.live_session() else {
            return;
        };
        let filter: Arc<str> = format!("plant/{}/#", self.random.u8(0..5)).into();
        let options = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: self.random.bool(),
            retain_as_published: true,
            retain_handling: RetainHandling::SendIfNew,
        };
        let record = if self.random.u8(0..3) == 0 {
            Record::Unsubscribed { session, filter }
        } else {
            Record::Subscribed {
                session,
                filter,
                options,
                subscription_id: self.random.bool().then_some(7),
            }
        };
        self.add(record);
    }

    fn message(&mut self, len: usize) -> Message {
        let payload: Vec<u8> = (0..len).map(|_| self.random.u8(..)).collect();
        Message {
            topic: format!("plant/{}/a", self.random.u8(0..5)).into(),
            properties: Bytes::from_static(&[1, 1]).into(),
            payload: payload.into(),
            qos: QoS::ExactlyOnce,
            retain: false,
            received: Timestamp(self.ordinal),
            expiry: self.random.bool().then_some(60),
            past: None,
        }
    }

    fn publish(&mut self) {
        let len = match self.random.u8(0..20) {
            0 if !self.is_slow => self.random.usize(60_000..150_000),
            0 => self.random.usize(0..5_000),
            1..5 if !self.is_slow => self.random.usize(0..10_000),
            _ => self.random.usize(0..100),
        };
        let message = Arc::new(self.message(len));
        let id = MessageId(self.next_message);
        self.next_message += 1;
        let size = u32::try_from(message.size()).unwrap();
        let expires = message.expires();
        self.add(Record::Message { id, message });
        for owner in self.live_owners() {
            // Sometimes nobody takes it.
            if self.random.bool() {
                continue;
            }
            let is_sent = self.random.u8(0..8) < if self.is_slow { 1 } else { 4 };
            let sent = is_sent.then(|| self.sent(owner));
            self.add(Record::Queued(Copy {
                owner,
                message: id,
                qos: QoS::ExactlyOnce,
                retain: false,
                subscription_ids: None,
                size,
                expires,
                deliveries: 0,
                sent,
            }));
        }
    }

    fn sent(&mut self, session: OwnerId) -> Sent {
        self.ordinal += 1;
        Sent {
            session,
            ordinal: self.ordinal,
            qos: QoS::AtLeastOnce,
            subscription_ids: self.random.bool().then(|| [1, 2].into()),
            pubrec_arrived: false,
        }
    }

    fn change_copy(&mut self) {
        let Some(Copy { owner, message, sent, .. }) = self.a_copy() else {
            return;
        };
        let deliveries = self.random.u32(0..20);
        let record = match (self.random.u8(0..3), sent) {
            (0, Some(_)) => Record::PubRecArrived { owner, message },
            (1, Some(_)) => Record::Returned { owner, message },
            (2, Some(_)) => Record::DeliveryFailed { owner, message, deliveries },
            _ => Record::Sent { owner, message, sent: self.sent(owner) },
        };
        self.add(record);
    }

    /// A subscriber is there for a while and takes the oldest of its queue.
    fn drain(&mut self) {
        let owners: Vec<OwnerId> = self.live_owners();
        let Some(owner) = self.random.choice(owners) else {
            return;
        };
        let queue = self.model.queue(owner);
        let count = self.random.usize(0..=queue.len().min(60));
        for stored in queue.into_iter().take(count) {
            let message = stored.copy.message;
            let sent = self.sent(owner);
            self.add(Record::Sent { owner, message, sent });
            if self.random.u8(0..20) > 0 {
                self.add(Record::Removed { owner, message, lazy: true });
            }
        }
    }

    fn finish_copy(&mut self) {
        if let Some(copy) = self.a_copy() {
            let lazy = self.random.bool();
            let (owner, message) = (copy.owner, copy.message);
            self.add(Record::Removed { owner, message, lazy });
        }
    }

    fn receive(&mut self) {
        let Some(session) = self.live_session() else {
            return;
        };
        let packet_id = PacketId::new(self.random.u16(1..8)).unwrap();
        let record = if self.random.bool() {
            Record::Received { session, packet_id }
        } else {
            Record::Released { session, packet_id }
        };
        self.add(record);
    }

    fn retain(&mut self) {
        let topic = format!("state/{}", self.random.u8(0..4)).into();
        let message = (self.random.u8(0..3) > 0).then(|| self.message(50).into());
        self.add(Record::Retained { topic, message, lazy: false });
    }

    fn die(&mut self) {
        if self.random.u8(0..3) == 0
            && let Some(id) = self.random.choice(self.model.dead.keys().copied())
        {
            return self.add(Record::DeadForgotten { id });
        }
        let Some(copy) = self.a_copy() else { return };
        // Or one that was never stored.
        let stored = self.random.bool();
        let message = self.model.bodies[&copy.message].clone();
        let message_id = if stored {
            copy.message
        } else {
            self.next_message += 1;
            MessageId(self.next_message - 1)
        };
        let id = DeadId(self.next_dead);
        self.next_dead += 1;
        self.add(Record::Dead(Box::new(DeadLetter {
            id,
            owner: copy.owner,
            message_id,
            reason: DeadReason::Rejected,
            first_reason: DeadReason::QueueFull,
            owner_name: "client".into(),
            filter: None,
            qos: copy.qos,
            retain: copy.retain,
            deliveries: copy.deliveries,
            deaths: 1,
            redrives: 0,
            origin: id,
            retry: None,
            reason_code: Some(ReasonCode::NOT_AUTHORIZED),
            reason_string: Some("not for me".into()),
            died: Timestamp(self.ordinal),
            died_unix_ms: 7,
            message,
        })));
    }

    fn end_owner(&mut self) {
        let owners = self.live_owners();
        let Some(owner) = self.random.choice(owners) else {
            return;
        };
        let at = Timestamp(self.ordinal);
        let cause = EndCause::Expired;
        self.add(if self.model.sessions.contains_key(&owner) {
            Record::SessionEnded { session: owner, cause, at }
        } else {
            Record::GroupEnded { owner, cause, at }
        });
    }

    fn forget_owner(&mut self) {
        let owners = self.model.sessions.iter().chain(&self.model.groups);
        let ended = owners.filter(|(_, (_, ended))| ended.is_some());
        let ended: Vec<OwnerId> = ended.map(|(owner, _)| *owner).collect();
        let Some(owner) = self.random.choice(ended) else {
            return;
        };
        let queue = self.model.queue(owner);
        if self.is_slow && self.random.bool() {
            return self.add(Record::OwnerForgotten { owner });
        }
        // In slices: half of the queue, and when nothing is left, the owner.
        for stored in queue.iter().take(queue.len() / 2 + 1) {
            let message = stored.copy.message;
            self.add(Record::Removed { owner, message, lazy: false });
        }
        if queue.len() <= 1 || self.random.u8(0..4) == 0 {
            self.add(Record::OwnerForgotten { owner });
        }
    }
}
