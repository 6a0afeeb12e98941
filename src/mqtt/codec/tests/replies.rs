//! What the server writes, byte by byte, and what it leaves out.

use std::sync::Arc;

use bytes::Bytes;

use super::{context, encoded};
use crate::mqtt::Version::{self, V5, V31, V311};
use crate::mqtt::codec::DecodeError::*;
use crate::mqtt::codec::{client, encode, plain_ack, publish_size};
use crate::mqtt::reply::{Ack, AckList, ConnAck, Disconnect, EncodeContext, TopicAlias};
use crate::mqtt::{Delivery, Message, PacketId, QoS, ReasonCode, Reply};
use crate::time::Timestamp;

#[track_caller]
fn written(reply: &Reply, version: Version, limit: usize, bytes: &[u8]) {
    let out = encoded(reply, version, limit);
    assert_eq!(out, bytes, "{out:02X?}");
}

fn id() -> PacketId {
    PacketId::new(0x0102).unwrap()
}

fn ack(reason: ReasonCode, text: Option<&str>) -> Ack {
    Ack { packet_id: id(), reason, reason_string: text.map(Into::into) }
}

fn list(reasons: &[u8], text: Option<&str>) -> AckList {
    AckList {
        packet_id: id(),
        reasons: reasons.iter().map(|&code| ReasonCode(code)).collect(),
        reason_string: text.map(Into::into),
    }
}

fn connack(reason: ReasonCode) -> ConnAck {
    ConnAck {
        session_present: true,
        reason,
        session_expiry: None,
        receive_maximum: None,
        maximum_packet_size: None,
        assigned_client_id: None,
        maximum_qos: None,
        retain_available: true,
        wildcard_subscriptions: true,
        subscription_identifiers: true,
        shared_subscriptions: true,
        topic_alias_maximum: 0,
        server_keep_alive: None,
        reason_string: None,
    }
}

fn delivery(properties: &'static [u8], expiry: Option<u32>) -> Delivery {
    Delivery {
        message: Arc::new(Message {
            topic: "t".into(),
            properties: Bytes::from_static(properties).into(),
            payload: Bytes::from_static(b"p"),
            qos: QoS::ExactlyOnce,
            retain: true,
            received: Timestamp(5_000),
            expiry,
            past: None,
        }),
        qos: QoS::AtLeastOnce,
        packet_id: Some(id()),
        dup: true,
        retain: false,
        subscription_ids: None,
        topic_alias: None,
    }
}

#[test]
fn acknowledgements() {
    let success = ack(ReasonCode::SUCCESS, None);
    written(&Reply::PubAck(success.clone()), V5, 100, b"\x40\x02\x01\x02");
    written(&Reply::PubRec(success.clone()), V311, 100, b"\x50\x02\x01\x02");
    written(&Reply::PubRel(success.clone()), V5, 100, b"\x62\x02\x01\x02");
    written(&Reply::PubComp(success.clone()), V311, 100, b"\x70\x02\x01\x02");
    let quota = Reply::PubRec(ack(ReasonCode::QUOTA_EXCEEDED, None));
    written(&quota, V5, 100, b"\x50\x03\x01\x02\x97");
    written(&quota, V311, 100, b"\x50\x02\x01\x02");
    let full = Reply::PubAck(ack(ReasonCode::QUOTA_EXCEEDED, Some("full")));
    let bytes = b"\x40\x0B\x01\x02\x97\x07\x1F\x00\x04full";
    written(&full, V5, 13, bytes);
    written(&full, V5, 12, b"\x40\x03\x01\x02\x97");
    written(&full, V311, 100, b"\x40\x02\x01\x02");
    let fine = Reply::PubAck(ack(ReasonCode::SUCCESS, Some("ok")));
    written(&fine, V5, 11, b"\x40\x09\x01\x02\x00\x05\x1F\x00\x02ok");
    written(&fine, V5, 10, b"\x40\x02\x01\x02");
    written(&Reply::PingResp, V5, 100, b"\xD0\x00");
    for (reply, plain) in [
        (Reply::PubAck(success.clone()), Some([0x40, 2, 1, 2])),
        (Reply::PubRec(success.clone()), Some([0x50, 2, 1, 2])),
        (Reply::PubRel(success.clone()), Some([0x62, 2, 1, 2])),
        (Reply::PubComp(success), Some([0x70, 2, 1, 2])),
        (quota, None),
        (fine, None),
        (Reply::UnsubAck(list(&[0], None)), None),
    ] {
        assert_eq!(plain_ack(&reply), plain, "{reply:?}");
    }
}

#[test]
fn suback_and_unsuback() {
    let codes = [0, 1, 2, 0x80, 0x87, 0x8F];
    let suback = Reply::SubAck(list(&codes, None));
    written(&suback, V5, 100, b"\x90\x09\x01\x02\x00\x00\x01\x02\x80\x87\x8F");
    written(&suback, V311, 100, b"\x90\x08\x01\x02\x00\x01\x02\x80\x80\x80");
    let explained = Reply::SubAck(list(&[0x87], Some("acl")));
    written(&explained, V5, 12, b"\x90\x0A\x01\x02\x06\x1F\x00\x03acl\x87");
    written(&explained, V5, 11, b"\x90\x04\x01\x02\x00\x87");
    let unsuback = Reply::UnsubAck(list(&[0, 0x11], None));
    written(&unsuback, V5, 100, b"\xB0\x05\x01\x02\x00\x00\x11");
    written(&unsuback, V311, 100, b"\xB0\x02\x01\x02");
}

#[test]
fn disconnect() {
    let plain = Disconnect { reason: ReasonCode::SESSION_TAKEN_OVER, reason_string: None };
    written(&Reply::Disconnect(plain), V5, 100, b"\xE0\x02\x8E\x00");
    let text = Some("bye".into());
    let bye = Disconnect { reason: ReasonCode::SERVER_SHUTTING_DOWN, reason_string: text };
    let bye = Reply::Disconnect(bye);
    written(&bye, V5, 10, b"\xE0\x08\x8B\x06\x1F\x00\x03bye");
    written(&bye, V5, 9, b"\xE0\x02\x8B\x00");
    written(&bye, V311, 100, b"");
}

#[test]
fn connack_in_version_5() {
    let mut full = connack(ReasonCode::SUCCESS);
    written(&Reply::ConnAck(Box::new(full.clone())), V5, 100, b"\x20\x03\x01\x00\x00");
    full.session_expiry = Some(10);
    full.receive_maximum = Some(100);
    full.maximum_packet_size = Some(0x20_0000);
    full.assigned_client_id = Some("id".into());
    full.topic_alias_maximum = 32;
    full.server_keep_alive = Some(60);
    full.reason_string = Some("hi".into());
    let properties = b"\x11\x00\x00\x00\x0A\x21\x00\x64\x27\x00\x20\x00\x00\x12\x00\x02id\
        \x22\x00\x20\x13\x00\x3C";
    let head = [&b"\x20\x1B\x01\x00\x18"[..], properties].concat();
    let whole = [&b"\x20\x20\x01\x00\x1D"[..], properties, b"\x1F\x00\x02hi"].concat();
    let reply = Reply::ConnAck(Box::new(full));
    written(&reply, V5, 34, &whole);
    written(&reply, V5, 33, &head);
    let mut little = connack(ReasonCode::SUCCESS);
    little.maximum_qos = Some(QoS::AtLeastOnce);
    little.retain_available = false;
    little.wildcard_subscriptions = false;
    little.subscription_identifiers = false;
    little.shared_subscriptions = false;
    let bytes = b"\x20\x0D\x01\x00\x0A\x24\x01\x25\x00\x28\x00\x29\x00\x2A\x00";
    written(&Reply::ConnAck(Box::new(little)), V5, 100, bytes);
    let refused = Reply::ConnAck(Box::new(connack(ReasonCode::NOT_AUTHORIZED)));
    written(&refused, V5, 100, b"\x20\x03\x00\x87\x00");
}

#[test]
fn connack_in_3_1_1() {
    for (reason, code) in [
        (0x84, 1),
        (0x85, 2),
        (0x88, 3),
        (0x89, 3),
        (0x8B, 3),
        (0x97, 3),
        (0x80, 3),
        (0x86, 4),
        (0x87, 5),
        (0x8A, 5),
    ] {
        let refused = Reply::ConnAck(Box::new(connack(ReasonCode(reason))));
        written(&refused, V311, 100, &[0x20, 2, 0, code]);
    }
    let mut accepted = connack(ReasonCode::SUCCESS);
    accepted.receive_maximum = Some(10);
    written(&Reply::ConnAck(Box::new(accepted.clone())), V311, 100, b"\x20\x02\x01\x00");
    written(&Reply::ConnAck(Box::new(accepted)), V31, 100, b"\x20\x02\x00\x00");
}

#[test]
fn publish_in_both_versions() {
    let mut delivery = delivery(b"\x01\x01", None);
    delivery.subscription_ids = Some([1, 128].into());
    delivery.topic_alias = Some(TopicAlias::Define(7));
    let reply = Reply::Publish(delivery.clone());
    written(&reply, V311, 1, b"\x3A\x06\x00\x01t\x01\x02p");
    let properties = b"\x0A\x23\x00\x07\x0B\x01\x0B\x80\x01\x01\x01";
    let bytes = [&b"\x3A\x11\x00\x01t\x01\x02"[..], properties, b"p"].concat();
    written(&reply, V5, 1, &bytes);
    delivery.topic_alias = Some(TopicAlias::Use(7));
    let reply = Reply::Publish(delivery);
    written(&reply, V311, 1, b"\x3A\x06\x00\x01t\x01\x02p");
    written(&reply, V5, 1, &[&b"\x3A\x10\x00\x00\x01\x02"[..], properties, b"p"].concat());
}

#[test]
fn the_message_expiry_interval_is_what_remains() {
    let delivery = delivery(b"", Some(60));
    for (now, left) in [(5_000, 60), (5_001, 60), (6_000, 59), (64_001, 1), (65_000, 1)] {
        let mut out = Vec::new();
        let now = EncodeContext { version: V5, now: Timestamp(now) };
        encode(&Reply::Publish(delivery.clone()), now, 100, &mut out);
        assert_eq!(
            out,
            [&b"\x3A\x0C\x00\x01t\x01\x02\x05\x02\x00\x00\x00"[..], &[left, b'p']].concat()
        );
        assert_eq!(publish_size(&delivery, V5), out.len());
    }
}

#[test]
fn replies_are_appended() {
    let mut out = b"before".to_vec();
    encode(&Reply::PingResp, context(V5), 100, &mut out);
    encode(&Reply::Publish(delivery(b"", None)), context(V311), 100, &mut out);
    assert_eq!(out, b"before\xD0\x00\x3A\x06\x00\x01t\x01\x02p");
}

#[test]
fn a_reason_string_that_no_length_can_tell_is_left_out() {
    let long = "x".repeat(65_536);
    let reply = Reply::PubAck(ack(ReasonCode::QUOTA_EXCEEDED, Some(&long)));
    written(&reply, V5, usize::MAX, b"\x40\x03\x01\x02\x97");
}

#[test]
fn a_client_refuses_what_a_server_must_not_send() {
    for (version, bytes, error) in [
        (V311, &b"\x20\x02\x02\x00"[..], ConnectReservedFlag),
        (V5, b"\x20\x03\x80\x00\x00", ConnectReservedFlag),
        (V311, b"\x20\x02\x00\x06", ReasonCodeNotAllowed),
        (V5, b"\x20\x03\x00\x01\x00", ReasonCodeNotAllowed),
        (V311, b"\x20\x02\x01\x05", ReasonCodeNotAllowed),
        (V5, b"\x20\x03\x01\x87\x00", ReasonCodeNotAllowed),
        (V311, b"\x20\x03\x00\x00\x00", TrailingBytes),
        (V5, b"\x20\x05\x00\x00\x02\x17\x01", PropertyNotAllowed),
        (V5, b"\x30\x07\x00\x01t\x03\x23\x00\x00", TopicAliasZero),
        (V5, b"\x30\x04\x00\x01+\x00", WildcardInTopicName),
        (V5, b"\x40\x03\x00\x01\x92", ReasonCodeNotAllowed),
        (V5, b"\x62\x03\x00\x01\x10", ReasonCodeNotAllowed),
        (V311, b"\x90\x03\x00\x01\x87", ReasonCodeNotAllowed),
        (V5, b"\x90\x04\x00\x01\x00\x03", ReasonCodeNotAllowed),
        (V311, b"\xB0\x03\x00\x01\x00", ReasonCodeNotAllowed),
        (V5, b"\xB0\x04\x00\x01\x00\x01", ReasonCodeNotAllowed),
        (V311, b"\xD0\x01\x00", TrailingBytes),
        (V5, b"\xE0\x01\x04", ReasonCodeNotAllowed),
        (V5, b"\xE0\x07\x00\x05\x11\x00\x00\x00\x01", PropertyNotAllowed),
        (V311, b"\xE0\x00", WrongDirection),
        (V5, b"\xC0\x00", WrongDirection),
        (V5, b"\xF0\x00", WrongDirection),
    ] {
        assert_eq!(client::decode(bytes, version), Err(error), "{bytes:02X?}");
    }
}
