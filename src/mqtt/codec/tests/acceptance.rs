//! What must be read, field by field, and what is borrowed from where.

use std::borrow::Cow;

use super::packet;
use crate::mqtt::Version::{V5, V311};
use crate::mqtt::codec::{Decoder, decode};
use crate::mqtt::packet::{Auth, Disconnect, Payload, RetainHandling, SubscriptionOptions, Will};
use crate::mqtt::{Packet, QoS, ReasonCode, Version};

#[track_caller]
fn read(version: Version, bytes: &[u8]) -> Packet<'_> {
    decode(bytes, version, bytes.len()).unwrap().unwrap().0
}

#[test]
fn acknowledgements_in_every_length() {
    for (bytes, reason, text) in [
        (&b"\x40\x02\x12\x34"[..], 0x00, None),
        (b"\x40\x03\x12\x34\x97", 0x97, None),
        (b"\x40\x04\x12\x34\x97\x00", 0x97, None),
        (b"\x40\x08\x12\x34\x80\x04\x1F\x00\x01x", 0x80, Some("x")),
        (b"\x40\x0F\x12\x34\x80\x0B\x26\x00\x01k\x00\x01v\x1F\x00\x01x", 0x80, Some("x")),
    ] {
        let Packet::PubAck(ack) = read(V5, bytes) else { panic!() };
        assert_eq!((ack.packet_id.get(), ack.reason.0, ack.reason_string), (0x1234, reason, text));
    }
    assert!(matches!(read(V311, b"\x50\x02\x00\x01"), Packet::PubRec(_)));
    assert!(matches!(read(V5, b"\x62\x03\x00\x01\x92"), Packet::PubRel(_)));
    assert!(matches!(read(V311, b"\x70\x02\x00\x01"), Packet::PubComp(_)));
    assert_eq!(read(V311, b"\xC0\x00"), Packet::PingReq);
}

#[test]
fn short_forms_of_disconnect_and_auth() {
    let plain = |reason| {
        Packet::Disconnect(Disconnect {
            reason: ReasonCode(reason),
            session_expiry: None,
            reason_string: None,
        })
    };
    assert_eq!(read(V311, b"\xE0\x00"), plain(0));
    assert_eq!(read(V5, b"\xE0\x00"), plain(0));
    assert_eq!(read(V5, b"\xE0\x01\x00"), plain(0));
    assert_eq!(read(V5, b"\xE0\x01\x04"), plain(4));
    assert_eq!(read(V5, b"\xE0\x02\x04\x00"), plain(4));
    assert_eq!(
        read(V5, b"\xE0\x0B\x04\x09\x11\x00\x00\x00\x07\x1F\x00\x01x"),
        Packet::Disconnect(Disconnect {
            reason: ReasonCode::DISCONNECT_WITH_WILL_MESSAGE,
            session_expiry: Some(7),
            reason_string: Some("x"),
        })
    );
    let auth = |reason, authentication_method| Packet::Auth(Auth { reason, authentication_method });
    assert_eq!(read(V5, b"\xF0\x00"), auth(ReasonCode::SUCCESS, None));
    assert_eq!(
        read(V5, b"\xF0\x06\x19\x04\x15\x00\x01m"),
        auth(ReasonCode::RE_AUTHENTICATE, Some("m"))
    );
}

#[test]
fn a_connect_with_everything() {
    let bytes = b"\x10\x5C\x00\x04MQTT\x05\xEE\x00\x3C\
        \x22\x11\x00\x00\x00\x09\x21\x00\x14\x27\x00\x00\x10\x00\x22\x00\x05\x19\x01\x17\x00\
        \x15\x00\x01m\x16\x00\x01d\x26\x00\x01k\x00\x00\
        \x00\x01c\x15\x01\x01\x18\x00\x00\x00\x06\x03\x00\x01x\x02\x00\x00\x00\x08\
        \x09\x00\x02\x00\xFF\
        \x00\x01t\x00\x02\xFF\x00\x00\x01u\x00\x01\x80";
    let mut bytes = bytes.to_vec();
    bytes[1] = (bytes.len() - 2) as u8;
    let Packet::Connect(connect) = read(V311, &bytes) else { panic!() };
    assert_eq!(connect.version, V5);
    assert!(connect.clean_start);
    assert_eq!((connect.keep_alive, connect.client_id), (60, "c"));
    assert_eq!((connect.user_name, connect.password), (Some("u"), Some(&b"\x80"[..])));
    assert_eq!(connect.session_expiry, Some(9));
    assert_eq!(connect.receive_maximum.map(u16::from), Some(20));
    assert_eq!(connect.maximum_packet_size, Some(4096));
    assert_eq!(connect.topic_alias_maximum, 5);
    assert!(connect.request_response_information && !connect.request_problem_information);
    assert_eq!(connect.authentication_method, Some("m"));
    assert_eq!(
        connect.will,
        Some(Will {
            topic: "t",
            payload: b"\xFF\x00",
            qos: QoS::AtLeastOnce,
            retain: true,
            delay: 6,
            message_expiry: Some(8),
            properties: Cow::Borrowed(b"\x01\x01\x03\x00\x01x\x09\x00\x02\x00\xFF"),
        })
    );
}

#[test]
fn absent_connect_properties_have_their_defaults() {
    for bytes in [
        &b"\x10\x0D\x00\x04MQTT\x04\x00\x00\x00\x00\x01c"[..],
        b"\x10\x0E\x00\x04MQTT\x05\x00\x00\x00\x00\x00\x01c",
    ] {
        let Packet::Connect(connect) = read(V5, bytes) else { panic!() };
        assert!(!connect.clean_start && connect.request_problem_information);
        assert!(!connect.request_response_information);
        assert_eq!(connect.topic_alias_maximum, 0);
        assert_eq!(connect.session_expiry, None);
        assert_eq!(connect.will, None);
    }
}

#[test]
fn subscription_options() {
    let body = b"\x00\x01\x02\x0B\x05\x00\x01a\x2E\x00\x01b\x11";
    let bytes = packet(0x82, body);
    let Packet::Subscribe(subscribe) = read(V5, &bytes) else { panic!() };
    assert_eq!(subscribe.subscription_id, Some(5));
    let options = |qos, flag, retain_handling| SubscriptionOptions {
        qos,
        no_local: flag,
        retain_as_published: flag,
        retain_handling,
    };
    assert_eq!(
        subscribe.filters,
        [
            ("a", options(QoS::ExactlyOnce, true, RetainHandling::DoNotSend)),
            ("b", options(QoS::AtLeastOnce, false, RetainHandling::SendIfNew)),
        ]
    );
}

#[test]
fn a_publish_borrows_all_that_it_can() {
    let user = &b"\x26\x00\x01k\x00\x01v"[..];
    let kind = b"\x03\x00\x01x";
    let (expiry, alias) = (b"\x02\x00\x00\x00\x07", b"\x23\x00\x09");
    for (properties, passed_on, borrowed) in [
        (vec![], vec![], true),
        (vec![expiry, &alias[..]], vec![], true),
        (vec![user, kind], vec![user, kind], true),
        (vec![expiry, alias, user, kind], vec![user, kind], true),
        (vec![user, kind, expiry, alias], vec![user, kind], true),
        (vec![alias, user, kind, expiry], vec![user, kind], true),
        (vec![user, alias, kind], vec![user, kind], false),
        (vec![user, alias, kind, expiry, user], vec![user, kind, user], false),
        (vec![user, expiry, alias, user, kind, user], vec![user, user, kind, user], false),
    ] {
        let region = properties.concat();
        let head = [b"\x00\x01t", &[region.len() as u8][..]].concat();
        let bytes = packet(0x31, &[&head[..], &region, b"payload"].concat());
        let Packet::Publish(publish) = read(V5, &bytes) else { panic!() };
        assert_eq!(publish.properties, passed_on.concat());
        assert_eq!(matches!(publish.properties, Cow::Borrowed(_)), borrowed, "{region:02X?}");
        assert_eq!(publish.topic_alias.is_some(), properties.contains(&&alias[..]));
        assert_eq!(publish.message_expiry, properties.contains(&&expiry[..]).then_some(7));
        assert_eq!(publish.payload, Payload::Borrowed(b"payload"));
        assert!(publish.retain && !publish.dup);
    }
}

#[test]
fn packets_are_read_one_after_the_other() {
    let bytes = b"\xC0\x00\x30\x03\x00\x01t\xE0\x00\x30";
    let (mut at, mut seen) = (0, 0);
    while let Some((_, size)) = decode(&bytes[at..], V311, 10).unwrap() {
        at += size;
        seen += 1;
    }
    assert_eq!((at, seen), (bytes.len() - 1, 3));
}

#[test]
fn packets_of_a_batch_are_as_each_would_be_alone() {
    let topics: [&[u8]; 8] = [b"a", b"a", b"b/c", b"b/c", b"a\0", b"b/c", b"b/+", b"a"];
    let publish =
        |topic: &&[u8]| packet(0x30, &[&[0, topic.len() as u8][..], topic, b"x"].concat());
    let packets: Vec<Vec<u8>> = topics.iter().map(publish).collect();
    for start in 0..packets.len() {
        let bytes = packets[start..].concat();
        let mut decoder = Decoder::new(&bytes, V311, 100);
        for (at, packet) in packets.iter().enumerate().skip(start) {
            let alone = decode(packet, V311, 100).map(|whole| whole.map(|(packet, _)| packet));
            assert_eq!(decoder.next_packet(), alone);
            if alone.is_err() {
                assert_eq!(decoder.rest(), packets[at..].concat(), "it stands before it");
                break;
            }
        }
    }
}
