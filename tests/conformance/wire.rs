//! What the broker says, as bytes: the Reason Codes that each packet may have, the properties that
//! it must not have, and the client's Maximum Packet Size.

use std::collections::BTreeSet;
use std::time::Duration;

use kedgemq::auth::Admission;
use kedgemq::mqtt::codec::{client, encode};
use kedgemq::mqtt::packet::SubscriptionOptions;
use kedgemq::mqtt::reply::{Ack, AckList, ConnAck, Disconnect, EncodeContext};
use kedgemq::mqtt::{Packet, ReasonCode, Reply, Version};
use kedgemq::time::Timestamp;
use kedgemq::turn::{CloseCause, ConnectionId, StoreState};

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

/// The tables of sections 3.2.2.2, 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1, 3.9.3, 3.11.3 and 3.14.2.1:
/// what a server may say.
const CODES: [(u8, &[u8]); 8] = [
    (
        0x20,
        &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90,
            0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
        ],
    ),
    (0x40, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
    (0x50, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
    (0x62, &[0x00, 0x92]),
    (0x70, &[0x00, 0x92]),
    (0x90, &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2]),
    (0xB0, &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]),
    (
        0xE0,
        &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94,
            0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
        ],
    ),
];

fn encoded(reply: &Reply, version: Version, limit: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(reply, EncodeContext { version, now: Timestamp(0) }, limit, &mut bytes);
    bytes
}

/// The codes of a packet as on the wire.
fn codes(version: Version, reply: &Reply) -> Vec<u8> {
    let bytes = encoded(reply, version, 0);
    let v5 = version == Version::V5;
    match reply {
        Reply::ConnAck(_) => vec![bytes[3]],
        Reply::PubAck(_) | Reply::PubRec(_) | Reply::PubRel(_) | Reply::PubComp(_) => {
            vec![bytes.get(4).copied().unwrap_or(0)]
        }
        Reply::SubAck(list) | Reply::UnsubAck(list) => match version {
            Version::V5 => bytes[bytes.len() - list.reasons.len()..].to_vec(),
            Version::V311 | Version::V31 => bytes[4..].to_vec(),
        },
        Reply::Disconnect(_) if v5 => vec![bytes[2]],
        Reply::Disconnect(_) | Reply::Publish(_) | Reply::PingResp => Vec::new(),
    }
}

/// Every packet that leaves in these tests: a strict client reads it, and its codes are its own.
pub(crate) fn assert_well_formed(version: Version, reply: &Reply) {
    let bytes = encoded(reply, version, usize::MAX);
    if bytes.is_empty() {
        return; // A DISCONNECT in 3.1.1.
    }
    let read = client::decode(&bytes, version);
    let whole = matches!(&read, Ok(Some((_, size))) if *size == bytes.len());
    assert!(whole, "{read:?}: {reply:?} {bytes:02X?}");
    for code in codes(version, reply) {
        let mut allowed = CODES.iter().filter(|(first, _)| *first == bytes[0]);
        let allowed: &[u8] = match (version, bytes[0]) {
            (Version::V311 | Version::V31, 0x20) => &[0, 1, 2, 3, 4, 5],
            (Version::V311 | Version::V31, 0x90) => &[0, 1, 2, 0x80],
            _ => allowed.next().expect("a packet with codes").1,
        };
        assert!(allowed.contains(&code), "{code:02X} in {reply:?}");
    }
}

/// One of each kind but PUBLISH and PINGRESP, with all that it can have.
fn full_replies() -> Vec<Reply> {
    let text = || Some("because it is so".into());
    let ack = |reason| Ack { packet_id: id(7), reason, reason_string: text() };
    let list = || AckList {
        packet_id: id(7),
        reasons: vec![ReasonCode::NOT_AUTHORIZED; 3],
        reason_string: text(),
    };
    vec![
        Reply::ConnAck(Box::new(ConnAck {
            session_present: true,
            reason: ReasonCode::SUCCESS,
            session_expiry: Some(1),
            receive_maximum: Some(2),
            maximum_packet_size: Some(3),
            assigned_client_id: Some("id".into()),
            maximum_qos: Some(qos(1)),
            retain_available: false,
            wildcard_subscriptions: false,
            subscription_identifiers: false,
            shared_subscriptions: false,
            topic_alias_maximum: 4,
            server_keep_alive: Some(5),
            reason_string: text(),
        })),
        Reply::PubAck(ack(ReasonCode::QUOTA_EXCEEDED)),
        Reply::PubRec(ack(ReasonCode::QUOTA_EXCEEDED)),
        Reply::PubRel(ack(ReasonCode::PACKET_IDENTIFIER_NOT_FOUND)),
        Reply::PubComp(ack(ReasonCode::PACKET_IDENTIFIER_NOT_FOUND)),
        Reply::SubAck(list()),
        Reply::UnsubAck(list()),
        Reply::Disconnect(Disconnect {
            reason: ReasonCode::SERVER_SHUTTING_DOWN,
            reason_string: text(),
        }),
    ]
}

/// The identifiers of its properties.
fn properties(reply: &Reply, bytes: &[u8]) -> Vec<u8> {
    let at = match reply {
        Reply::Disconnect(_) => 3,
        Reply::PubAck(_) | Reply::PubRec(_) | Reply::PubRel(_) | Reply::PubComp(_) => 5,
        _ => 4,
    };
    let Some((length, mut rest)) = bytes[at..].split_first() else {
        return Vec::new(); // Left out, with their length, by an acknowledgement.
    };
    let mut found = Vec::new();
    rest = &rest[..usize::from(*length)];
    while let Some((&identifier, after)) = rest.split_first() {
        found.push(identifier);
        let size = match identifier {
            0x24 | 0x25 | 0x28..=0x2A => 1,
            0x11 | 0x27 => 4,
            0x13 | 0x21 | 0x22 => 2,
            0x12 | 0x1F => 2 + usize::from(after[1]),
            other => panic!("property {other:#04x} in {reply:?}"),
        };
        rest = &after[size..];
    }
    found
}

#[test]
fn a_reason_string_goes_before_maximum_packet_size_is_exceeded() {
    for reply in full_replies() {
        let whole = encoded(&reply, Version::V5, usize::MAX);
        assert_eq!(properties(&reply, &whole).iter().filter(|id| **id == 0x1F).count(), 1);
        assert_eq!(encoded(&reply, Version::V5, whole.len()), whole);
        let without = encoded(&reply, Version::V5, whole.len() - 1);
        assert!(without.len() < whole.len(), "{reply:?}");
        assert!(!properties(&reply, &without).contains(&0x1F));
    }
}

#[test]
fn nothing_has_a_property_that_a_server_must_not_send() {
    // No User Property, so none that is too much; no Session Expiry Interval in DISCONNECT; no
    // Response Information, no Authentication Method in CONNACK.
    for reply in full_replies() {
        let found = properties(&reply, &encoded(&reply, Version::V5, usize::MAX));
        match reply {
            Reply::ConnAck(_) => assert_eq!(
                found,
                [0x11, 0x21, 0x27, 0x12, 0x24, 0x25, 0x28, 0x29, 0x2A, 0x22, 0x13, 0x1F]
            ),
            _ => assert_eq!(found, [0x1F], "{reply:?}"),
        }
    }
}

/// What was said to a client, as first byte and code.
fn said(rig: &mut Rig, client: ConnectionId, version: Version, seen: &mut BTreeSet<(u8, u8)>) {
    for reply in rig.received(client) {
        let first = encoded(&reply, version, 0).first().copied();
        seen.extend(codes(version, &reply).into_iter().map(|code| (first.expect("bytes"), code)));
    }
}

fn connect_as(version: Version, name: &str) -> ConnectOptions {
    if version == Version::V5 { v5(name) } else { v4(name) }
}

/// A client asks for all that can be answered, well or badly.
fn all_answers(version: Version) -> BTreeSet<(u8, u8)> {
    let mut rig = Rig::with(|settings| {
        settings.limits.retained_messages = 1;
        settings.limits.subscriptions = 4;
    });
    let mut seen = BTreeSet::new();
    let deep = "x/".repeat(200);
    let client = rig.open(connect_as(version, "c"));
    for level in 0..=2 {
        let filter = ["t/0", "t/1", "t/2"][usize::from(level)];
        rig.send(client, subscribe(1, &[(filter, options(level)), (&deep, options(0))]));
    }
    let more: Vec<_> = ["u", "v"].map(|filter| (filter, options(0))).into();
    rig.send(client, subscribe(1, &more));
    rig.send(client, unsubscribe(2, &["u", "never", &deep]));
    for (n, topic) in [(1, "t/2"), (2, "nobody"), (3, "$dead/x")] {
        rig.publish(client, q1(n, topic, "x"));
        rig.publish(client, q2(n + 10, topic, "x"));
        rig.send(client, pubrel(n + 10));
    }
    rig.publish(client, keep(20, "r/1", "x"));
    if version == Version::V5 {
        rig.publish(client, keep(21, "r/2", "x"));
        rig.publish(client, retained(q2(22, "r/2", "x")));
        rig.send(client, pubrec(999));
    }
    rig.send(client, pubrel(999));
    let mut sent = Vec::new();
    for reply in rig.received(client) {
        let first = encoded(&reply, version, 0)[0];
        seen.extend(codes(version, &reply).into_iter().map(|code| (first, code)));
        if let Reply::Publish(delivery) = reply {
            sent.extend(delivery.packet_id.filter(|_| delivery.qos as u8 == 2));
        }
    }
    for id in sent {
        rig.send(client, pubrec(id.get()));
        rig.send(client, pubcomp(id.get()));
    }
    said(&mut rig, client, version, &mut seen);
    seen
}

#[test]
fn every_answer_has_a_reason_code_of_its_packet() {
    // That no other code leaves, here or in any other test, `assert_well_formed` sees to.
    let v5 = all_answers(Version::V5);
    let expected = [
        (0x20, &[0x00][..]),
        (0x40, &[0x00, 0x10, 0x87, 0x97]),
        (0x50, &[0x00, 0x10, 0x87, 0x97]),
        (0x62, &[0x00, 0x92]),
        (0x70, &[0x00, 0x92]),
        (0x90, &[0x00, 0x01, 0x02, 0x8F, 0x97]),
        (0xB0, &[0x00, 0x11, 0x8F]),
    ];
    let expected = expected.iter().flat_map(|(first, codes)| codes.iter().map(|c| (*first, *c)));
    assert_eq!(v5, expected.collect());
    let v311 = all_answers(Version::V311);
    let codes = v311.iter().filter(|(first, _)| *first == 0x90).map(|(_, code)| *code);
    assert_eq!(codes.collect::<Vec<_>>(), [0, 1, 2, 0x80]);
    for (reply, error) in [
        (
            Reply::PubAck(Ack { packet_id: id(1), reason: ReasonCode(0x92), reason_string: None }),
            0x92,
        ),
        (Reply::Disconnect(Disconnect { reason: ReasonCode(0x84), reason_string: None }), 0x84),
    ] {
        let refuses = std::panic::catch_unwind(|| assert_well_formed(Version::V5, &reply));
        assert!(refuses.is_err(), "{error:02X} is seen to");
    }
}

#[test]
fn every_goodbye_has_a_reason_code_of_disconnect() {
    let minute = Some(Duration::from_secs(60));
    let mut rig = Rig::with(|settings| settings.limits.ack_timeout = minute);
    let mut seen = BTreeSet::new();
    let taken = rig.connect(v5("c"));
    let silent = rig.connect(ConnectOptions { keep_alive: 10, ..v5("silent") });
    let slow = rig.connect(v5("slow"));
    let last = rig.connect(v5("last"));
    let client = rig.connect(v5("c"));
    rig.subscribe(slow, "a", 1);
    rig.publish(client, q1(1, "a", "x"));
    rig.wait(61);
    rig.operate(|broker, now, turn| broker.handle_kick("c", now, turn));
    rig.shut_down();
    for client in [taken, silent, slow, client, last] {
        said(&mut rig, client, Version::V5, &mut seen);
    }
    let goodbyes = seen.iter().filter(|(first, _)| *first == 0xE0).map(|(_, code)| *code);
    assert_eq!(goodbyes.collect::<Vec<_>>(), [0x8B, 0x8D, 0x8E, 0x98]);
}

#[test]
fn mqtt_3_14_2_1_a_broken_second_connect_gets_a_code_of_disconnect() {
    let mut rig = Rig::new();
    for reason in [ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, ReasonCode::MALFORMED_PACKET] {
        let client = rig.connect(v5("c"));
        rig.close(client, CloseCause::Malformed { reason, why: "a second CONNECT".into() });
        let code = if reason == ReasonCode::MALFORMED_PACKET { "81" } else { "82" };
        assert_eq!(rig.lines(client), [format!("DISCONNECT {code}"), "CLOSE".into()]);
    }
}

#[test]
fn every_refusal_of_a_connect_has_a_code_of_connack() {
    type Change = fn(ConnectOptions) -> ConnectOptions;
    let refusals: [(Change, u8, u8); 5] = [
        (|c| ConnectOptions { admission: Admission::BadUserNameOrPassword, ..c }, 0x86, 4),
        (|c| ConnectOptions { admission: Admission::NotAuthorized, ..c }, 0x87, 5),
        (|c| ConnectOptions { authentication_method: Some("M"), ..c }, 0x8C, 5),
        (|c| c.will(will("$dead/x", "forged")), 0x87, 5),
        (ConnectOptions::stored, 0x88, 3),
    ];
    for (change, code_v5, code_v311) in refusals {
        for (version, code) in [(Version::V5, code_v5), (Version::V311, code_v311)] {
            let mut rig = Rig::new();
            rig.store_state(StoreState::Failing);
            let client = rig.open(change(connect_as(version, "c")));
            assert!(rig.is_closed(client));
            let replies = rig.received(client);
            assert_eq!(replies.len(), 1, "{replies:?}");
            assert_eq!(codes(version, &replies[0]), [code]);
            assert_eq!(encoded(&replies[0], version, 0)[2], 0, "no Session Present");
        }
    }
}

#[test]
fn mqtt_3_1_2_24_no_answer_is_larger_than_maximum_packet_size() {
    let sized = |size| ConnectOptions { maximum_packet_size: Some(size), ..v5("c") };
    let size = |reply: &Reply| u32::try_from(encoded(reply, Version::V5, 0).len()).expect("small");
    let mut rig = Rig::new();
    let client = rig.open(sized(1_000));
    let least = size(&rig.received(client)[0]);
    rig.disconnect(client);
    // Without CONNACK there is no connection; a refusing one of five bytes may fit.
    for (connect, expected) in [
        (sized(least), &["CONNACK 00"][..]),
        (sized(least - 1), &["CONNACK 95", "CLOSE"]),
        (sized(4), &["CLOSE"]),
        (
            ConnectOptions { admission: Admission::NotAuthorized, ..sized(5) },
            &["CONNACK 87", "CLOSE"],
        ),
        (ConnectOptions { admission: Admission::NotAuthorized, ..sized(4) }, &["CLOSE"]),
    ] {
        let client = rig.open(connect);
        assert_eq!(rig.lines(client), expected);
    }
    let before = rig.connect(v5("c").stored());
    rig.open(sized(least - 1));
    assert_eq!(rig.lines(before), NOTHING, "who cannot be answered takes nothing over");
    // A code for each filter, behind five or six bytes.
    let client = rig.connect(sized(least));
    let filters: Vec<(&str, SubscriptionOptions)> = vec![("a", options(0)); least as usize - 4];
    rig.send(client, subscribe(1, &filters));
    rig.send(client, unsubscribe(2, &vec!["b"; filters.len()]));
    assert_eq!(rig.lines(client), NOTHING);
    rig.send(client, subscribe(3, &filters[1..]));
    rig.send(client, unsubscribe(4, &vec!["b"; filters.len() - 1]));
    rig.send(client, Packet::PingReq);
    let answers = rig.received(client);
    let sizes: Vec<u32> = answers.iter().map(size).collect();
    assert_eq!(sizes, [least, least, 2]);
    rig.publish(client, q0("a", "x"));
    assert_eq!(rig.lines(client), ["PUBLISH a x q0"], "what was not answered was done");
}
