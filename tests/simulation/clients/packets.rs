//! Packets of clients, with all that is not interesting filled in.

use std::borrow::Cow;
use std::num::NonZeroU16;

use kedgemq::mqtt::packet::{
    Ack, Connect, Disconnect, Payload, Publish, RetainHandling, Subscribe, SubscriptionOptions,
    Unsubscribe, Will,
};
use kedgemq::mqtt::{Packet, PacketId, QoS, ReasonCode, Version};

use crate::history::{Kind, Publication};

/// A CONNECT.
pub(super) struct Connecting<'a> {
    pub(super) version: Version,
    pub(super) clean: bool,
    pub(super) name: &'a str,
    pub(super) keep_alive: u16,
    pub(super) expiry: Option<u32>,
    pub(super) window: Option<u16>,
    pub(super) size: Option<u32>,
    pub(super) aliases: u16,
    pub(super) will: Option<Willing<'a>>,
}

/// Its will.
pub(super) struct Willing<'a> {
    pub(super) publication: &'a Publication,
    pub(super) delay: u32,
}

impl Connecting<'_> {
    pub(super) fn packet(&self) -> Packet<'_> {
        let v5 = self.version == Version::V5;
        Packet::Connect(Box::new(Connect {
            version: self.version,
            clean_start: self.clean,
            keep_alive: self.keep_alive,
            client_id: self.name,
            user_name: None,
            password: None,
            will: self.will.as_ref().map(|will| Will {
                topic: &will.publication.topic,
                payload: &will.publication.payload,
                qos: qos(will.publication.qos),
                retain: will.publication.retain,
                delay: if v5 { will.delay } else { 0 },
                message_expiry: None,
                properties: Cow::Borrowed(&will.publication.properties),
            }),
            session_expiry: self.expiry.filter(|_| v5),
            receive_maximum: self.window.filter(|_| v5).and_then(NonZeroU16::new),
            maximum_packet_size: self.size.filter(|_| v5),
            topic_alias_maximum: if v5 { self.aliases } else { 0 },
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
        }))
    }
}

pub(super) fn publish<'a>(
    publication: &'a Publication,
    packet_id: u16,
    dup: bool,
    expiry: Option<u32>,
    alias: Option<(u16, bool)>,
) -> Packet<'a> {
    let knows_topic = alias.is_some_and(|(_, is_new)| !is_new);
    Packet::Publish(Publish {
        dup,
        qos: qos(publication.qos),
        retain: publication.retain,
        topic: if knows_topic { "" } else { &publication.topic },
        packet_id: PacketId::new(packet_id),
        topic_alias: alias.and_then(|(alias, _)| NonZeroU16::new(alias)),
        message_expiry: expiry,
        properties: Cow::Borrowed(&publication.properties),
        payload: Payload::Borrowed(&publication.payload),
    })
}

pub(super) fn subscribe(id: u16, filter: &str, level: u8, no_local: bool) -> Packet<'_> {
    let options = SubscriptionOptions {
        qos: qos(level),
        no_local,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    let packet_id = PacketId::new(id).expect("not 0");
    Packet::Subscribe(Subscribe {
        packet_id,
        subscription_id: None,
        filters: vec![(filter, options)],
    })
}

pub(super) fn unsubscribe(id: u16, filter: &str) -> Packet<'_> {
    let packet_id = PacketId::new(id).expect("not 0");
    Packet::Unsubscribe(Unsubscribe { packet_id, filters: vec![filter] })
}

pub(super) fn disconnect(with_will: bool, session_expiry: Option<u32>) -> Packet<'static> {
    let reason = if with_will { 4 } else { 0 };
    let reason = ReasonCode(reason);
    Packet::Disconnect(Disconnect { reason, session_expiry, reason_string: None })
}

pub(super) fn ack(kind: Kind, id: u16, reason: u8) -> Packet<'static> {
    let packet_id = PacketId::new(id).expect("not 0");
    let ack = Ack { packet_id, reason: ReasonCode(reason), reason_string: None };
    match kind {
        Kind::PubAck => Packet::PubAck(ack),
        Kind::PubRec => Packet::PubRec(ack),
        Kind::PubComp => Packet::PubComp(ack),
    }
}

pub(super) fn release(id: u16) -> Packet<'static> {
    let packet_id = PacketId::new(id).expect("not 0");
    Packet::PubRel(Ack { packet_id, reason: ReasonCode::SUCCESS, reason_string: None })
}

fn qos(level: u8) -> QoS {
    match level {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}
