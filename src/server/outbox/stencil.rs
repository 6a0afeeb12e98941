//! A PUBLISH to many subscribers that the core did not encode is encoded for two of them; others
//! get a copy, with their own Packet Identifier.
//!
//! Invariant: the bytes are of this turn, as an encoded Message Expiry Interval is of its time.

use std::sync::Arc;

use crate::mqtt::reply::EncodeContext;
use crate::mqtt::{Delivery, Version, codec};

/// The PUBLISH that was encoded last.
#[derive(Debug, Default)]
pub(in crate::server) struct Stencil {
    last: Option<(Version, Delivery)>,
    /// Of `last`; empty as long as it had one subscriber only.
    bytes: Vec<u8>,
}

impl Stencil {
    /// Appends the whole PUBLISH to `out`.
    pub(super) fn append(&mut self, delivery: Delivery, context: EncodeContext, out: &mut Vec<u8>) {
        let is_like = |(version, last): &(Version, Delivery)| {
            *version == context.version && differ_in_packet_id_alone(last, &delivery)
        };
        if !self.last.as_ref().is_some_and(is_like) {
            codec::encode_publish(&delivery, context, out);
            self.last = Some((context.version, delivery));
            self.bytes.clear();
            return;
        }
        if self.bytes.is_empty() {
            codec::encode_publish(&delivery, context, &mut self.bytes);
        }
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        if let Some(packet_id) = delivery.packet_id {
            codec::set_packet_id(&mut out[start..], packet_id);
        }
    }

    /// Forgets the message at the end of a turn.
    pub(in crate::server) fn clear(&mut self) {
        self.last = None;
    }
}

/// A Topic Alias belongs to one connection, so that a PUBLISH with one is like no other.
fn differ_in_packet_id_alone(a: &Delivery, b: &Delivery) -> bool {
    Arc::ptr_eq(&a.message, &b.message)
        && (a.qos, a.dup, a.retain) == (b.qos, b.dup, b.retain)
        && a.topic_alias.is_none()
        && b.topic_alias.is_none()
        && a.subscription_ids == b.subscription_ids
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mqtt::packet::PacketId;
    use crate::mqtt::reply::TopicAlias;
    use crate::mqtt::{Message, QoS};
    use crate::time::Timestamp;

    fn message(payload: &'static str) -> Arc<Message> {
        Arc::new(Message {
            topic: "a/b".into(),
            properties: Bytes::from_static(&[1, 1]).into(),
            payload: payload.into(),
            qos: QoS::AtLeastOnce,
            retain: false,
            received: Timestamp(0),
            expiry: Some(60),
            past: None,
        })
    }

    fn delivery(message: &Arc<Message>, packet_id: u16) -> Delivery {
        let packet_id = PacketId::new(packet_id);
        Delivery {
            message: message.clone(),
            qos: if packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce },
            packet_id,
            dup: false,
            retain: false,
            subscription_ids: None,
            topic_alias: None,
        }
    }

    #[test]
    fn each_subscriber_gets_what_it_would_get_alone() {
        let (a, b) = (message("a"), message("b"));
        let mut deliveries = Vec::new();
        for id in [1, 2, 3, 0x1234] {
            deliveries.push(delivery(&a, id));
        }
        deliveries.extend([delivery(&a, 0), delivery(&a, 0), delivery(&a, 0), delivery(&b, 0)]);
        for ids in [Some([7].into()), Some([7].into()), Some([8].into()), None] {
            deliveries.push(Delivery { subscription_ids: ids, ..delivery(&b, 5) });
        }
        deliveries.push(Delivery { retain: true, ..delivery(&b, 6) });
        deliveries.push(Delivery { dup: true, ..delivery(&b, 6) });
        for alias in [TopicAlias::Define(1), TopicAlias::Define(1), TopicAlias::Use(1)] {
            deliveries.push(Delivery { topic_alias: Some(alias), ..delivery(&b, 0) });
        }
        let mut stencil = Stencil::default();
        for versions in [[Version::V5, Version::V5], [Version::V311, Version::V5]] {
            for delivery in &deliveries {
                for version in versions {
                    let context = EncodeContext { version, now: Timestamp(10_000) };
                    let (mut alone, mut out) = (Vec::new(), vec![0xFF]);
                    codec::encode_publish(delivery, context, &mut alone);
                    stencil.append(delivery.clone(), context, &mut out);
                    assert_eq!(out[1..], alone, "{delivery:?}");
                }
            }
        }
    }
}
