//! Every rule that `decode` enforces, with the bytes that break it.

use super::packet;
use crate::mqtt::Version::{self, V5, V31, V311};
use crate::mqtt::codec::DecodeError::{self, *};
use crate::mqtt::codec::{connect_version, decode};
use crate::mqtt::{Packet, ReasonCode};

const LIMIT: usize = 1000;

#[track_caller]
fn refused(version: Version, bytes: &[u8], error: DecodeError) {
    assert_eq!(decode(bytes, version, LIMIT), Err(error), "{bytes:02X?}");
}

#[track_caller]
fn refused_by_both(bytes: &[u8], error: DecodeError) {
    refused(V311, bytes, error);
    refused(V5, bytes, error);
}

#[track_caller]
fn accepted(version: Version, bytes: &[u8]) -> Packet<'_> {
    let (packet, size) = decode(bytes, version, LIMIT).unwrap().unwrap();
    assert_eq!(size, bytes.len());
    packet
}

/// SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, AUTH, PUBLISH, CONNECT and Will of version 5, each with
/// these properties.
fn with_properties(kind: u8, properties: &[u8]) -> Vec<u8> {
    let mut region = vec![properties.len() as u8];
    region.extend_from_slice(properties);
    let (head, tail): (&[u8], &[u8]) = match kind {
        0x10 => (b"\x00\x04MQTT\x05\x02\x00\x3C", b"\x00\x01c"),
        0x30 => (b"\x00\x01t", b""),
        0x40 | 0x50 | 0x62 | 0x70 => (b"\x00\x01\x00", b""),
        0x82 => (b"\x00\x01", b"\x00\x01f\x00"),
        0xA2 => (b"\x00\x01", b"\x00\x01f"),
        0xE0 => (b"\x00", b""),
        0xF0 => (b"\x18", b""),
        _ => unreachable!(),
    };
    packet(kind, &[head, &region, tail].concat())
}

fn with_will_properties(properties: &[u8]) -> Vec<u8> {
    let head = b"\x00\x04MQTT\x05\x06\x00\x3C\x00\x00\x01c";
    let region = [&[properties.len() as u8], properties].concat();
    packet(0x10, &[head, &region[..], b"\x00\x01t\x00\x01p"].concat())
}

#[test]
fn fixed_header_flags_are_exact() {
    for flags in 0..16_u8 {
        for (kind, right) in [(1, 0), (4, 0), (5, 0), (6, 2), (7, 0), (8, 2), (10, 2), (12, 0)] {
            if flags != right {
                refused_by_both(&[kind << 4 | flags], FixedHeaderFlags);
            }
        }
        if flags != 0 {
            refused_by_both(&[0xE0 | flags, 0], FixedHeaderFlags);
            refused(V5, &[0xF0 | flags, 0], FixedHeaderFlags);
        }
        refused_by_both(&[flags], ReservedPacketType);
    }
}

#[test]
fn remaining_length_is_minimal_and_at_most_four_bytes() {
    refused_by_both(&[0xC0, 0x80, 0x00], VariableByteIntegerNotMinimal);
    refused_by_both(&[0x30, 0x85, 0x80, 0x80, 0x00], VariableByteIntegerNotMinimal);
    refused_by_both(&[0x30, 0x80, 0x80, 0x80, 0x80], VariableByteIntegerTooLong);
    refused_by_both(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], VariableByteIntegerTooLong);
    assert_eq!(decode(&[0x30, 0x80, 0x80, 0x80], V5, LIMIT), Ok(None));
}

#[test]
fn a_packet_over_the_limit_is_refused_at_its_fixed_header() {
    refused_by_both(&[0x30, 0xE6, 0x07], PacketTooLarge(1001));
    refused_by_both(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], PacketTooLarge(268_435_460));
    assert_eq!(decode(&[0x30, 0xE5, 0x07], V5, LIMIT), Ok(None), "exactly the limit");
    assert_eq!(decode(&[0x10, 0x05], V5, 6), Err(PacketTooLarge(7)));
}

#[test]
fn packets_of_the_other_side_are_refused() {
    refused_by_both(&packet(0x20, &[0, 0]), WrongDirection);
    refused_by_both(&packet(0x90, &[0, 1, 0]), WrongDirection);
    refused_by_both(&packet(0xB0, &[0, 1]), WrongDirection);
    refused_by_both(&packet(0xD0, &[]), WrongDirection);
    refused(V311, &packet(0xF0, &[]), ReservedPacketType);
}

#[test]
fn strings_are_well_formed() {
    let overlong = b"\x00\x02\xC0\x80";
    let surrogate = b"\x00\x03\xED\xA0\x80";
    let beyond_unicode = b"\x00\x04\xF4\x90\x80\x80";
    let cut = b"\x00\x01\xC3";
    for topic in [&overlong[..], surrogate, beyond_unicode, cut] {
        refused(V311, &packet(0x30, topic), InvalidUtf8);
        refused(V5, &packet(0x30, &[topic, b"\x00"].concat()), InvalidUtf8);
        let user_property = [b"\x26\x00\x01k", topic].concat();
        refused(V5, &with_properties(0x30, &user_property), InvalidUtf8);
        refused(V311, &packet(0xA2, &[b"\x00\x01", topic].concat()), InvalidUtf8);
    }
    refused(V311, &packet(0x30, b"\x00\x03a\x00b"), NullCharacter);
    refused(V5, &with_properties(0x30, b"\x03\x00\x01\x00"), NullCharacter);
    refused(V5, &with_properties(0xA2, b"\x26\x00\x01\x00\x00\x00"), NullCharacter);
    refused(V311, &packet(0xA2, b"\x00\x01\x00\x01\x00"), NullCharacter);
    accepted(V311, &packet(0x30, b"\x00\x01\x01"));
    accepted(V311, &packet(0x30, b"\x00\x03\xEF\xBF\xBF"));
}

#[test]
fn fields_stay_inside_of_the_packet() {
    refused_by_both(&packet(0x30, b""), Truncated);
    refused_by_both(&packet(0x30, b"\x00\x05abc"), Truncated);
    refused_by_both(&packet(0x32, b"\x00\x01a\x00"), Truncated);
    refused(V5, &packet(0x30, b"\x00\x01a"), Truncated);
    refused(V5, &packet(0x30, b"\x00\x01a\x05\x01\x00"), Truncated);
    refused(V5, &packet(0x30, b"\x00\x01a\xFF\xFF\xFF\x7F"), Truncated);
    refused(V5, &packet(0x30, b"\x00\x01a\x80\x00"), VariableByteIntegerNotMinimal);
    refused(V5, &with_properties(0x30, b"\x02\x00\x00\x00"), Truncated);
    refused(V5, &with_properties(0x30, b"\x26\x00\x01a"), Truncated);
    refused(V5, &with_properties(0x30, b"\x81\x00\x01"), VariableByteIntegerNotMinimal);
    refused_by_both(&packet(0x40, b"\x00"), Truncated);
    refused_by_both(&packet(0x40, b""), Truncated);
    refused_by_both(&packet(0x82, b""), Truncated);
    refused(V311, &packet(0x82, b"\x00\x01\x00\x01a"), Truncated);
    refused(V5, &packet(0x82, b"\x00\x01"), Truncated);
    refused(V5, &packet(0xF0, b"\x18"), Truncated);
}

#[test]
fn nothing_follows_the_last_field() {
    refused_by_both(&packet(0xC0, b"\x00"), TrailingBytes);
    refused(V311, &packet(0x40, b"\x00\x01\x00"), TrailingBytes);
    refused(V311, &packet(0x62, b"\x00\x01\x00\x00"), TrailingBytes);
    refused(V5, &packet(0x40, b"\x00\x01\x00\x00\x00"), TrailingBytes);
    refused(V311, &packet(0xE0, b"\x00"), TrailingBytes);
    refused(V5, &packet(0xE0, b"\x00\x00\x00"), TrailingBytes);
    refused(V5, &packet(0xF0, b"\x18\x04\x15\x00\x01m\x00"), TrailingBytes);
    refused_by_both(&packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x3C\x00\x01cx"), TrailingBytes);
    refused_by_both(&packet(0x10, b"\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x01cx"), TrailingBytes);
}

#[test]
fn packet_identifiers_are_not_zero() {
    for kind in [0x40, 0x50, 0x62, 0x70, 0x82, 0xA2] {
        refused_by_both(&packet(kind, b"\x00\x00"), PacketIdZero);
    }
    refused_by_both(&packet(0x32, b"\x00\x01t\x00\x00\x00"), PacketIdZero);
    refused_by_both(&packet(0x34, b"\x00\x01t\x00\x00\x00"), PacketIdZero);
}

#[test]
fn publish() {
    refused_by_both(&packet(0x36, b"\x00\x01t\x00\x01\x00"), PublishQos);
    refused_by_both(&packet(0x38, b"\x00\x01t\x00"), DupWithQos0);
    for topic in [b"+", b"#"] {
        let body = [b"\x00\x01", &topic[..], b"\x00"].concat();
        refused_by_both(&packet(0x30, &body), WildcardInTopicName);
    }
    refused(V311, &packet(0x30, b"\x00\x00"), EmptyTopicName);
    refused(V5, &packet(0x30, b"\x00\x00\x00"), NoTopic);
    accepted(V5, &packet(0x30, b"\x00\x00\x03\x23\x00\x01"));
    refused(V5, &with_properties(0x30, b"\x23\x00\x00"), TopicAliasZero);
    assert_eq!(TopicAliasZero.reason(), ReasonCode::TOPIC_ALIAS_INVALID);
    refused(V5, &with_properties(0x30, b"\x0B\x01"), SubscriptionIdInPublish);
    refused(V5, &with_properties(0x30, b"\x0B\x00"), PropertyValue);
    refused(V5, &with_properties(0x30, b"\x01\x02"), PropertyValue);
    refused(V5, &with_properties(0x30, b"\x08\x00\x03a/#"), WildcardInResponseTopic);
    refused(V5, &with_properties(0x30, b"\x08\x00\x01+"), WildcardInResponseTopic);
    refused(V5, &with_properties(0x30, b"\x08\x00\x00"), EmptyTopicName);
}

#[test]
fn connect_versions() {
    let body = |name: &[u8], level: u8| {
        let head = [&[0, name.len() as u8], name, &[level]].concat();
        packet(0x10, &[&head[..], b"\x02\x00\x3C\x00\x00\x01c"].concat())
    };
    refused_by_both(&body(b"MQTT", 3), UnsupportedVersion(3));
    refused_by_both(&body(b"MQTT", 6), UnsupportedVersion(6));
    refused_by_both(&body(b"MQTT", 0x84), UnsupportedVersion(0x84));
    refused_by_both(&body(b"MQTT", 0x83), UnsupportedVersion(0x83));
    refused_by_both(&body(b"MQIsdp", 4), UnsupportedVersion(4));
    refused_by_both(&body(b"mqtt", 5), ProtocolName);
    refused_by_both(&body(b"", 5), ProtocolName);
    assert_eq!(UnsupportedVersion(3).reason().0, 0x84);

    assert_eq!(connect_version(&body(b"MQTT", 5)), Some(V5));
    assert_eq!(connect_version(&body(b"MQTT", 4)), Some(V311));
    assert_eq!(connect_version(&body(b"MQIsdp", 3)), Some(V31));
    assert_eq!(connect_version(b"\x10\xFF\xFF\xFF\x7F\x00\x04MQTT\x05\xFF"), Some(V5));
    assert_eq!(connect_version(b"\x10\x0D\x00\x04MQTT"), None);
    assert_eq!(connect_version(&body(b"MQTT", 3)), None);
    assert_eq!(connect_version(b"\x30\x0D\x00\x04MQTT\x05"), None);
    assert_eq!(connect_version(b"\x10"), None);
    assert_eq!(connect_version(b""), None);
}

#[test]
fn connect_flags() {
    let with = |level: u8, flags: u8, rest: &[u8]| {
        packet(0x10, &[&b"\x00\x04MQTT"[..], &[level, flags, 0, 60], rest].concat())
    };
    for level in [4, 5] {
        refused_by_both(&with(level, 0x01, b""), ConnectReservedFlag);
        refused_by_both(&with(level, 0x1C, b""), WillQos);
        for flags in [0x08, 0x10, 0x20, 0x28] {
            refused_by_both(&with(level, flags, b""), WillFlagsWithoutWill);
        }
    }
    refused_by_both(&with(4, 0x40, b"\x00\x01c\x00\x01p"), PasswordWithoutUserName);
    accepted(V5, &with(5, 0x40, b"\x00\x00\x01c\x00\x01p"));
    refused_by_both(&with(4, 0xC0, b"\x00\x01c\x00\x01u"), Truncated);
    refused_by_both(&with(4, 0x80, b"\x00\x01c\x00\x01\xFF"), InvalidUtf8);
    accepted(V311, &with(4, 0xC0, b"\x00\x01c\x00\x01u\x00\x02\xFF\x00"));
    refused_by_both(&with(4, 0x04, b"\x00\x01c\x00\x01+\x00\x00"), WildcardInTopicName);
    refused_by_both(&with(4, 0x04, b"\x00\x01c\x00\x00\x00\x00"), EmptyTopicName);
    refused_by_both(&with(5, 0x04, b"\x00\x00\x01c\x00\x00\x01#\x00\x00"), WildcardInTopicName);
    refused_by_both(&with(5, 0x04, b"\x00\x00\x01c\x00\x00\x00\x00\x00"), EmptyTopicName);
}

#[test]
fn connect_properties() {
    let refuse = |properties: &[u8], error| refused(V5, &with_properties(0x10, properties), error);
    refuse(b"\x21\x00\x00", PropertyValue);
    refuse(b"\x27\x00\x00\x00\x00", PropertyValue);
    refuse(b"\x17\x02", PropertyValue);
    refuse(b"\x19\x02", PropertyValue);
    refuse(b"\x16\x00\x01d", NoAuthenticationMethod);
    accepted(V5, &with_properties(0x10, b"\x16\x00\x01d\x15\x00\x01m"));
    refused(V5, &with_will_properties(b"\x01\x02"), PropertyValue);
    refused(V5, &with_will_properties(b"\x08\x00\x01#"), WildcardInResponseTopic);
}

#[test]
fn subscribe_and_unsubscribe() {
    refused(V311, &packet(0x82, b"\x00\x01"), NoFilters);
    refused(V5, &packet(0x82, b"\x00\x01\x00"), NoFilters);
    refused(V311, &packet(0xA2, b"\x00\x01"), NoFilters);
    refused(V5, &packet(0xA2, b"\x00\x01\x00"), NoFilters);
    refused(V5, &with_properties(0x82, b"\x0B\x00"), PropertyValue);
    for filter in ["", "a#", "#/a", "a/#/b", "a+", "+a", "$share/g#/a"] {
        let filter = [&[0, filter.len() as u8], filter.as_bytes()].concat();
        let subscribe = packet(0x82, &[b"\x00\x01", &filter[..], b"\x00"].concat());
        refused(V311, &subscribe, InvalidTopicFilter);
        let second = packet(0xA2, &[b"\x00\x01\x00\x00\x01a", &filter[..]].concat());
        refused(V5, &second, InvalidTopicFilter);
    }
    for filter in ["$share/g", "$share/g/", "$share//a", "$share/+/a"] {
        let filter = [&[0, filter.len() as u8], filter.as_bytes()].concat();
        accepted(V311, &packet(0xA2, &[b"\x00\x01", &filter[..]].concat()));
        refused(V5, &packet(0xA2, &[b"\x00\x01\x00", &filter[..]].concat()), InvalidTopicFilter);
    }
    let with = |version, options: u8| match version {
        V311 | V31 => packet(0x82, &[b"\x00\x01\x00\x01f", &[options][..]].concat()),
        V5 => packet(0x82, &[b"\x00\x01\x00\x00\x01f", &[options][..]].concat()),
    };
    for options in [0x04, 0x08, 0x10, 0x20, 0x40, 0x80] {
        refused(V311, &with(V311, options), SubscriptionOptionsReserved);
    }
    refused(V5, &with(V5, 0x40), SubscriptionOptionsReserved);
    refused(V5, &with(V5, 0x80), SubscriptionOptionsReserved);
    refused(V311, &with(V311, 3), SubscriptionQos);
    refused(V5, &with(V5, 3), SubscriptionQos);
    refused(V5, &with(V5, 0x30), RetainHandlingValue);
    refused(V5, &packet(0x82, b"\x00\x01\x00\x00\x0A$share/g/f\x04"), NoLocalOnShared);
    accepted(V5, &packet(0x82, b"\x00\x01\x00\x00\x0A$share/g/f\x02"));
    accepted(V5, &with(V5, 0x2E));
}

#[test]
fn reason_codes_are_those_of_the_packet_and_the_side() {
    let allowed: [(u8, &[u8]); 6] = [
        (0x40, &[0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
        (0x50, &[0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
        (0x62, &[0x00, 0x92]),
        (0x70, &[0x00, 0x92]),
        (0xE0, &[0, 4, 128, 129, 130, 131, 144, 147, 148, 149, 150, 151, 152, 153]),
        (0xF0, &[0x00, 0x18, 0x19]),
    ];
    for (kind, codes) in allowed {
        for code in 0..=255 {
            let bytes = match kind {
                0xE0 => packet(kind, &[code]),
                0xF0 => packet(kind, &[&[code], &b"\x04\x15\x00\x01m"[..]].concat()),
                _ => packet(kind, &[0, 1, code]),
            };
            if codes.contains(&code) {
                accepted(V5, &bytes);
            } else {
                refused(V5, &bytes, ReasonCodeNotAllowed);
            }
        }
    }
    refused(V5, &packet(0xF0, b"\x18\x00"), NoAuthenticationMethod);
}

/// A valid value for every property.
const SAMPLES: [(u8, &[u8]); 27] = [
    (0x01, b"\x01"),
    (0x02, b"\x00\x00\x00\x0A"),
    (0x03, b"\x00\x01x"),
    (0x08, b"\x00\x01x"),
    (0x09, b"\x00\x02\x00\xFF"),
    (0x0B, b"\x80\x01"),
    (0x11, b"\x00\x00\x00\x0A"),
    (0x12, b"\x00\x01x"),
    (0x13, b"\x00\x0A"),
    (0x15, b"\x00\x01x"),
    (0x16, b"\x00\x01x"),
    (0x17, b"\x01"),
    (0x18, b"\x00\x00\x00\x0A"),
    (0x19, b"\x01"),
    (0x1A, b"\x00\x01x"),
    (0x1C, b"\x00\x01x"),
    (0x1F, b"\x00\x01x"),
    (0x21, b"\x00\x0A"),
    (0x22, b"\x00\x0A"),
    (0x23, b"\x00\x0A"),
    (0x24, b"\x01"),
    (0x25, b"\x01"),
    (0x26, b"\x00\x01k\x00\x01v"),
    (0x27, b"\x00\x00\x00\x0A"),
    (0x28, b"\x01"),
    (0x29, b"\x01"),
    (0x2A, b"\x01"),
];

/// Table 2-4 of the specification, the columns that a client sends; 0 stands for the Will.
const ALLOWED: [(u8, &[u8]); 11] = [
    (0x00, &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26]),
    (0x10, &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27]),
    (0x30, &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26]),
    (0x40, &[0x1F, 0x26]),
    (0x50, &[0x1F, 0x26]),
    (0x62, &[0x1F, 0x26]),
    (0x70, &[0x1F, 0x26]),
    (0x82, &[0x0B, 0x26]),
    (0xA2, &[0x26]),
    (0xE0, &[0x11, 0x1F, 0x26]),
    (0xF0, &[0x15, 0x16, 0x1F, 0x26]),
];

#[test]
fn each_packet_carries_its_own_properties_once() {
    for (kind, allowed) in ALLOWED {
        let build = |properties: &[u8]| match kind {
            0 => with_will_properties(properties),
            _ => with_properties(kind, properties),
        };
        for (identifier, value) in SAMPLES {
            let once = [&[identifier], value].concat();
            let (once, twice) = (build(&once), build(&once.repeat(2)));
            let result = decode(&once, V5, LIMIT);
            if !allowed.contains(&identifier) {
                assert_eq!(result, Err(PropertyNotAllowed), "{kind:02X} {identifier:02X}");
                continue;
            }
            match result {
                Ok(_) | Err(SubscriptionIdInPublish | NoAuthenticationMethod) => {}
                other => panic!("{kind:02X} {identifier:02X} {other:?}"),
            }
            match decode(&twice, V5, LIMIT) {
                Err(DuplicateProperty) => assert_ne!(identifier, 0x26, "{kind:02X}"),
                Ok(_) | Err(NoAuthenticationMethod) => assert_eq!(identifier, 0x26, "{kind:02X}"),
                other => panic!("{kind:02X} {identifier:02X} {other:?}"),
            }
        }
        for unknown in (0..128).filter(|id| SAMPLES.iter().all(|(known, _)| known != id)) {
            refused(V5, &build(&[unknown, 0, 0]), PropertyNotAllowed);
        }
        refused(V5, &build(&[0x81, 0x01, 0]), PropertyNotAllowed);
    }
}

#[test]
fn errors_say_whose_fault_it_is() {
    for (error, reason) in [
        (Truncated, 0x81),
        (InvalidUtf8, 0x81),
        (PropertyNotAllowed, 0x81),
        (DuplicateProperty, 0x82),
        (NoFilters, 0x82),
        (WrongDirection, 0x82),
        (ProtocolName, 0x84),
        (PacketTooLarge(7), 0x95),
    ] {
        assert_eq!(error.reason().0, reason, "{error}");
    }
    assert_eq!(UnsupportedVersion(3).to_string(), "protocol version 3 is not supported");
}

#[test]
fn what_3_1_has_of_its_own() {
    let connect = |flags: u8, rest: &[u8]| {
        let head = [&b"\x00\x06MQIsdp\x03"[..], &[flags], b"\x00\x3C"].concat();
        packet(0x10, &[&head[..], rest].concat())
    };
    let login = |bytes: &[u8]| match accepted(V31, bytes) {
        Packet::Connect(connect) => {
            assert_eq!(connect.version, V31);
            (connect.user_name.is_some(), connect.password.is_some())
        }
        other => panic!("{other:?}"),
    };
    // The flags may promise what the Remaining Length leaves out.
    assert_eq!(login(&connect(0xC2, b"\x00\x01c\x00\x01u\x00\x01p")), (true, true));
    assert_eq!(login(&connect(0xC2, b"\x00\x01c\x00\x01u")), (true, false));
    assert_eq!(login(&connect(0xC2, b"\x00\x01c")), (false, false));
    refused(V31, &connect(0xC2, b"\x00\x01c\x00\x02u"), Truncated);
    refused(V31, &connect(0x42, b"\x00\x01c\x00\x01p"), PasswordWithoutUserName);
    accepted(V31, &connect(0x03, b"\x00\x01c"));
    // DUP, where the packet is sent again.
    for (kind, body) in
        [(0x6A, &b"\x00\x01"[..]), (0x8A, b"\x00\x01\x00\x01f\x00"), (0xAA, b"\x00\x01\x00\x01f")]
    {
        accepted(V31, &packet(kind, body));
        refused(V311, &packet(kind, body), FixedHeaderFlags);
        refused(V31, &packet(kind - 2, body), FixedHeaderFlags);
    }
    refused(V31, &packet(0x48, b"\x00\x01"), FixedHeaderFlags);
}
