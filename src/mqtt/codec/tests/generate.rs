//! Random valid packets and replies of one version.

use std::borrow::Cow;
use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;

use crate::mqtt::Version::{self, V5, V31, V311};
use crate::mqtt::packet::{self, Connect, Payload, RetainHandling, SubscriptionOptions, Will};
use crate::mqtt::reply::{self, AckList, ConnAck, TopicAlias};
use crate::mqtt::{Delivery, Message, Packet, PacketId, QoS, ReasonCode, Reply};
use crate::time::Timestamp;

const TOPICS: [&str; 6] = ["a", "/", "sensors/1/temperature", "é/ü", "\u{1}\u{ffff}", "$SYS/x y"];
const FILTERS: [&str; 6] = ["#", "+/a", "sensors/+/#", "$share/g/f", "é", "/+/"];
const TEXTS: [&str; 5] = ["", "x", "over quota", "€uro", "a longer text than all of the others"];
static BYTES: [u8; 20_000] = {
    let mut bytes = [0; 20_000];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at * 7 % 256) as u8;
        at += 1;
    }
    bytes
};

pub(super) fn client_packet(random: &mut Rng, version: Version) -> Packet<'static> {
    let v5 = version == V5;
    match random.u8(0..if v5 { 11 } else { 10 }) {
        0 => Packet::Connect(Box::new(connect(random, version))),
        1 => Packet::Publish(publish(random, version)),
        2 => Packet::PubAck(ack(random, v5, &[0, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])),
        3 => Packet::PubRec(ack(random, v5, &[0, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])),
        4 => Packet::PubRel(ack(random, v5, &[0, 0x92])),
        5 => Packet::PubComp(ack(random, v5, &[0, 0x92])),
        6 => Packet::Subscribe(subscribe(random, v5)),
        7 => Packet::Unsubscribe(packet::Unsubscribe {
            packet_id: packet_id(random),
            filters: (0..random.usize(1..4)).map(|_| pick(random, &FILTERS)).collect(),
        }),
        8 => Packet::PingReq,
        9 => Packet::Disconnect(packet::Disconnect {
            reason: ReasonCode(if v5 { pick(random, &[0, 4, 0x80, 0x99]) } else { 0 }),
            session_expiry: maybe(random, v5, |random| random.u32(..)),
            reason_string: maybe(random, v5, |random| pick(random, &TEXTS)),
        }),
        _ => Packet::Auth(packet::Auth {
            reason: ReasonCode(pick(random, &[0, 0x18, 0x19])),
            authentication_method: Some(pick(random, &TEXTS)),
        }),
    }
}

fn connect(random: &mut Rng, version: Version) -> Connect<'static> {
    let v5 = version == V5;
    let user_name = maybe(random, true, |random| pick(random, &TEXTS));
    Connect {
        version,
        clean_start: random.bool(),
        keep_alive: random.u16(..),
        client_id: pick(random, &TEXTS),
        user_name,
        password: maybe(random, v5 || user_name.is_some(), |random| slice(random, 30)),
        will: maybe(random, true, |random| will(random, v5)),
        session_expiry: maybe(random, v5, |random| random.u32(..)),
        receive_maximum: maybe(random, v5, nonzero),
        maximum_packet_size: maybe(random, v5, |random| random.u32(1..)),
        topic_alias_maximum: maybe(random, v5, |random| random.u16(..)).unwrap_or(0),
        request_response_information: v5 && random.bool(),
        request_problem_information: !v5 || random.bool(),
        authentication_method: maybe(random, v5, |random| pick(random, &TEXTS)),
    }
}

fn will(random: &mut Rng, v5: bool) -> Will<'static> {
    Will {
        topic: pick(random, &TOPICS),
        payload: slice(random, 50),
        qos: qos(random),
        retain: random.bool(),
        delay: maybe(random, v5, |random| random.u32(..)).unwrap_or(0),
        message_expiry: maybe(random, v5, |random| random.u32(..)),
        properties: properties(random, v5),
    }
}

fn publish(random: &mut Rng, version: Version) -> packet::Publish<'static> {
    let v5 = version == V5;
    let qos = qos(random);
    let topic_alias = maybe(random, v5, nonzero);
    packet::Publish {
        dup: qos != QoS::AtMostOnce && random.bool(),
        qos,
        retain: random.bool(),
        topic: if topic_alias.is_some() && random.bool() { "" } else { pick(random, &TOPICS) },
        packet_id: (qos != QoS::AtMostOnce).then(|| packet_id(random)),
        topic_alias,
        message_expiry: maybe(random, v5, |random| random.u32(..)),
        properties: properties(random, v5),
        payload: Payload::Borrowed(payload(random)),
    }
}

fn subscribe(random: &mut Rng, v5: bool) -> packet::Subscribe<'static> {
    let mut filter = || {
        let filter = pick(random, &FILTERS);
        let options = SubscriptionOptions {
            qos: qos(random),
            no_local: v5 && !filter.starts_with('$') && random.bool(),
            retain_as_published: v5 && random.bool(),
            retain_handling: match random.u8(0..if v5 { 3 } else { 1 }) {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            },
        };
        (filter, options)
    };
    let filters = [filter(), filter(), filter()];
    packet::Subscribe {
        packet_id: packet_id(random),
        subscription_id: maybe(random, v5, |random| random.u32(1..=268_435_455)),
        filters: filters[..random.usize(1..=3)].to_vec(),
    }
}

fn ack(random: &mut Rng, v5: bool, reasons: &[u8]) -> packet::Ack<'static> {
    packet::Ack {
        packet_id: packet_id(random),
        reason: ReasonCode(if v5 { pick(random, reasons) } else { 0 }),
        reason_string: maybe(random, v5, |random| pick(random, &TEXTS)),
    }
}

pub(super) fn server_reply(random: &mut Rng, version: Version) -> Reply {
    let v5 = version == V5;
    let puback = [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    match random.u8(0..if v5 { 10 } else { 9 }) {
        0 => Reply::ConnAck(Box::new(connack(random, version))),
        1 => Reply::Publish(delivery(random, version)),
        2 => Reply::PubAck(server_ack(random, v5, &puback)),
        3 => Reply::PubRec(server_ack(random, v5, &puback)),
        4 => Reply::PubRel(server_ack(random, v5, &[0, 0x92])),
        5 => Reply::PubComp(server_ack(random, v5, &[0, 0x92])),
        6 => {
            let codes: &[u8] = if v5 { &[0, 1, 2, 0x87, 0x8F] } else { &[0, 1, 2, 0x80] };
            Reply::SubAck(ack_list(random, v5, codes))
        }
        7 => {
            let mut list = ack_list(random, v5, &[0, 0x11, 0x8F]);
            list.reasons.truncate(if v5 { usize::MAX } else { 0 });
            Reply::UnsubAck(list)
        }
        8 => Reply::PingResp,
        _ => Reply::Disconnect(reply::Disconnect {
            reason: ReasonCode(pick(random, &[0x81, 0x82, 0x8B, 0x8E, 0x95])),
            reason_string: text(random, v5),
        }),
    }
}

fn connack(random: &mut Rng, version: Version) -> ConnAck {
    let v5 = version == V5;
    let reasons: &[u8] = match version {
        V5 => &[0, 0x80, 0x84, 0x87, 0x8C, 0x95, 0x9F],
        V311 | V31 => &[0, 0x84, 0x85, 0x86, 0x87, 0x88],
    };
    let reason = ReasonCode(pick(random, reasons));
    ConnAck {
        session_present: reason == ReasonCode::SUCCESS && version != V31 && random.bool(),
        reason,
        session_expiry: maybe(random, v5, |random| random.u32(..)),
        receive_maximum: maybe(random, v5, |random| random.u16(1..)),
        maximum_packet_size: maybe(random, v5, |random| random.u32(1..)),
        assigned_client_id: maybe(random, v5, |random| pick(random, &TEXTS).into()),
        maximum_qos: maybe(random, v5, |random| match random.bool() {
            true => QoS::AtLeastOnce,
            false => QoS::AtMostOnce,
        }),
        retain_available: !v5 || random.bool(),
        wildcard_subscriptions: !v5 || random.bool(),
        subscription_identifiers: !v5 || random.bool(),
        shared_subscriptions: !v5 || random.bool(),
        topic_alias_maximum: maybe(random, v5, |random| random.u16(..)).unwrap_or(0),
        server_keep_alive: maybe(random, v5, |random| random.u16(..)),
        reason_string: text(random, v5),
    }
}

pub(super) fn delivery(random: &mut Rng, version: Version) -> Delivery {
    let v5 = version == V5;
    let (qos, retain) = (qos(random), random.bool());
    let alias = maybe(random, v5, |random| match random.bool() {
        true => TopicAlias::Define(nonzero(random).get()),
        false => TopicAlias::Use(nonzero(random).get()),
    });
    let used = matches!(alias, Some(TopicAlias::Use(_)));
    let mut ids = || random.u32(1..=268_435_455) >> random.u8(0..20) | 1;
    let ids = Arc::new([ids(), ids(), ids()]);
    Delivery {
        message: Arc::new(Message {
            topic: if used { "" } else { pick(random, &TOPICS) }.into(),
            properties: Bytes::from(properties(random, v5).into_owned()).into(),
            payload: Bytes::from_static(payload(random)),
            qos,
            retain,
            received: Timestamp(0),
            expiry: maybe(random, v5, |random| random.u32(1..)),
            past: None,
        }),
        qos,
        packet_id: (qos != QoS::AtMostOnce).then(|| packet_id(random)),
        dup: qos != QoS::AtMostOnce && random.bool(),
        retain,
        subscription_ids: maybe(random, v5, |random| ids[..random.usize(1..=3)].into()),
        topic_alias: alias,
    }
}

fn server_ack(random: &mut Rng, v5: bool, reasons: &[u8]) -> reply::Ack {
    reply::Ack {
        packet_id: packet_id(random),
        reason: ReasonCode(if v5 { pick(random, reasons) } else { 0 }),
        reason_string: text(random, v5),
    }
}

fn ack_list(random: &mut Rng, v5: bool, reasons: &[u8]) -> AckList {
    AckList {
        packet_id: packet_id(random),
        reasons: (0..random.usize(1..4)).map(|_| ReasonCode(pick(random, reasons))).collect(),
        reason_string: text(random, v5),
    }
}

/// What is passed on: any order, User Properties several times.
fn properties(random: &mut Rng, v5: bool) -> Cow<'static, [u8]> {
    if !v5 || random.bool() {
        return Cow::Borrowed(&[]);
    }
    let mut parts = vec![
        &b"\x01\x01"[..],
        b"\x03\x00\x0Aimage/jpeg",
        b"\x08\x00\x07reply/1",
        b"\x09\x00\x03\x00\xFF\x01",
        b"\x26\x00\x01k\x00\x01v",
        b"\x26\x00\x00\x00\x02\xC3\xA9",
        b"\x26\x00\x01k\x00\x01v",
    ];
    random.shuffle(&mut parts);
    parts.truncate(random.usize(0..=parts.len()));
    Cow::Owned(parts.concat())
}

/// Mostly small, at times over the steps of the Remaining Length.
fn payload(random: &mut Rng) -> &'static [u8] {
    let longest = pick(random, &[0, 10, 100, 130, 130, 17_000]);
    slice(random, longest)
}

fn slice(random: &mut Rng, longest: usize) -> &'static [u8] {
    let start = random.usize(..1000);
    &BYTES[start..start + random.usize(..=longest)]
}

fn qos(random: &mut Rng) -> QoS {
    pick(random, &[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn packet_id(random: &mut Rng) -> PacketId {
    PacketId(nonzero(random))
}

fn nonzero(random: &mut Rng) -> NonZeroU16 {
    NonZeroU16::new(random.u16(1..)).unwrap()
}

fn text(random: &mut Rng, v5: bool) -> Option<Box<str>> {
    maybe(random, v5, |random| pick(random, &TEXTS).into())
}

fn maybe<T>(random: &mut Rng, allowed: bool, make: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    (allowed && random.bool()).then(|| make(random))
}

fn pick<T: Copy>(random: &mut Rng, from: &[T]) -> T {
    from[random.usize(..from.len())]
}
