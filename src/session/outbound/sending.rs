//! Sending: new copies, and after a reconnect or a restart those that are in flight.
//!
//! Invariant: a PUBLISH of QoS > 0 that stands in a turn is in flight, and recorded as sent where
//! its owner is stored; a QoS 2 PUBLISH leaves when its Packet Identifier is durable.

use std::sync::Arc;

use super::{InFlight, RESERVE};
use crate::mqtt::packet::PacketId;
use crate::mqtt::reply::{Ack, Delivery, Reply};
use crate::mqtt::{Message, QoS, ReasonCode, Version, codec};
use crate::session::Session;
use crate::session::queue::Entry;
use crate::time::Timestamp;
use crate::turn::{Copy, DeadReason, Load, OwnerId, Record, RecordNumber, Sent, Turn, packet_id};

/// A new reservation is written when fewer are left, so that nothing has to wait for it.
const RESERVE_MARGIN: u64 = 1024;

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

    /// A copy that waited in a queue.
    pub fn queued(owner: OwnerId, stored: bool, entry: Entry, turn: &Turn) -> Self {
        let until = after_queue(entry.qos, turn);
        Self { until, ..Self::new(owner, stored, true, entry) }
    }

    /// The copy as it is stored: with its own QoS, whatever it is sent with.
    fn as_copy(&self, sent: Sent) -> Copy {
        let (qos, retain) = self.own;
        Copy { qos, retain, ..self.entry.as_copy(self.owner, Some(sent)) }
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

/// The record that a copy of `qos` waits for which comes out of a queue. Its publisher sends it
/// again unless the record is durable that says that it came: at QoS 2 nobody gets it before.
pub fn after_queue(qos: QoS, turn: &Turn) -> RecordNumber {
    match qos {
        QoS::AtMostOnce | QoS::AtLeastOnce => RecordNumber::default(),
        QoS::ExactlyOnce => turn.last_record(),
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
