//! Bytes that are no packet which a client may send: what the codec finds, and how the core ends
//! the connection then. Between the two stands the server, as [`hear`] does here.

use kedgemq::mqtt::codec::DecodeError::{self, *};
use kedgemq::mqtt::codec::decode;
use kedgemq::mqtt::{Packet, Version};
use kedgemq::turn::{CloseCause, ConnectionId};

use crate::packets::*;
use crate::rig::Rig;

/// Our Maximum Packet Size.
const LIMIT: usize = 1000;

const V5: Version = Version::V5;
const V311: Version = Version::V311;

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).expect("short");
    assert!(length < 128);
    [&[first, length], body].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).expect("short").to_be_bytes(), bytes].concat()
}

fn connect_packet(version: Version, flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let (level, properties): (u8, &[u8]) = if version == V5 { (5, b"\0") } else { (4, b"") };
    let head = [&b"\x00\x04MQTT"[..], &[level, flags, 0, 60], properties].concat();
    packet(0x10, &[head, payload.concat()].concat())
}

/// The body of a packet whose properties 3.1.1 has no place for.
fn with_properties(version: Version, before: &[u8], properties: &[u8], after: &[u8]) -> Vec<u8> {
    let length = [u8::try_from(properties.len()).expect("short")];
    match version {
        V5 => [before, &length, properties, after].concat(),
        _ => [before, after].concat(),
    }
}

fn connected(rig: &mut Rig, version: Version) -> ConnectionId {
    rig.connect(if version == V5 { v5("c") } else { v4("c") })
}

/// Bytes from a client that is connected.
fn hear(rig: &mut Rig, client: ConnectionId, version: Version, bytes: &[u8]) {
    match decode(bytes, version, LIMIT) {
        Ok(packet) => rig.send(client, packet.expect("a whole packet").0),
        Err(error) => {
            let (reason, why) = (error.reason(), error.to_string().into());
            rig.close(client, CloseCause::Malformed { reason, why });
        }
    }
}

/// A connected client is told, where 5.0 can tell, and closed.
#[track_caller]
fn ends(version: Version, bytes: &[u8], error: DecodeError) {
    assert_eq!(decode(bytes, version, LIMIT), Err(error), "{version:?} {bytes:02X?}");
    let mut rig = Rig::new();
    let client = connected(&mut rig, version);
    hear(&mut rig, client, version, bytes);
    let told = format!("DISCONNECT {:02X}", error.reason().0);
    match version {
        V5 => assert_eq!(rig.lines(client), [&told, "CLOSE"], "{error}"),
        _ => assert_eq!(rig.lines(client), ["CLOSE"], "{error}"),
    }
}

#[track_caller]
fn ends_both(bytes: &[u8], error: DecodeError) {
    ends(V311, bytes, error);
    ends(V5, bytes, error);
}

/// A CONNECT that ends its connection: told in 5.0, in 3.1.1 without CONNACK.
#[track_caller]
fn is_no_connect(version: Version, bytes: &[u8], error: DecodeError) {
    assert_eq!(decode(bytes, V5, LIMIT), Err(error), "{version:?} {bytes:02X?}");
    let told = format!("CONNACK {:02X}", error.reason().0);
    match version {
        V5 => assert_eq!(refused(version, error), [&told, "CLOSE"], "{error}"),
        _ => assert_eq!(refused(version, error), ["CLOSE"], "{error}"),
    }
}

/// What a client hears whose CONNECT is wrong.
fn refused(version: Version, error: DecodeError) -> Vec<String> {
    let mut rig = Rig::new();
    let stranger = rig.new_connection(version);
    let (reason, why) = (error.reason(), error.to_string().into());
    rig.close(stranger, CloseCause::BadConnect { version, reason, why });
    rig.lines(stranger)
}

#[track_caller]
fn is_connect(bytes: &[u8]) {
    let decoded = decode(bytes, V5, LIMIT);
    assert!(matches!(decoded, Ok(Some((Packet::Connect(_), _)))), "{decoded:?} {bytes:02X?}");
}

#[test]
fn strings_are_well_formed_utf_8() {
    let table: [(&[u8], DecodeError); 5] = [
        (b"\xFF", InvalidUtf8),
        (b"\xC3", InvalidUtf8),
        (b"\xC0\xAF", InvalidUtf8),
        (b"\xED\xA0\x80", InvalidUtf8),
        (b"a\0b", NullCharacter),
    ];
    for (text, error) in table {
        let text = string(text);
        for version in [V311, V5] {
            let flags = |bits: u8| bits | 2;
            let id = string(b"c");
            is_no_connect(version, &connect_packet(version, flags(0), &[&text]), error);
            let user = connect_packet(version, flags(0x80), &[&id, &text]);
            is_no_connect(version, &user, error);
            let will = with_properties(version, &id, b"", &[&text[..], b"\0\0"].concat());
            is_no_connect(version, &connect_packet(version, flags(4), &[&will]), error);
            let topic = with_properties(version, &text, b"", b"");
            ends(version, &packet(0x30, &topic), error);
            let subscribe =
                with_properties(version, b"\x00\x01", b"", &[&text[..], b"\0"].concat());
            ends(version, &packet(0x82, &subscribe), error);
            let unsubscribe = with_properties(version, b"\x00\x01", b"", &text);
            ends(version, &packet(0xA2, &unsubscribe), error);
        }
        // Content Type, Response Topic, and both strings of a User Property.
        let good = string(b"k");
        for property in [
            [&b"\x03"[..], &text].concat(),
            [&b"\x08"[..], &text].concat(),
            [&b"\x26"[..], &text, &good].concat(),
            [&b"\x26"[..], &good, &text].concat(),
        ] {
            ends(V5, &packet(0x30, &with_properties(V5, &string(b"t"), &property, b"")), error);
        }
    }
}

#[test]
fn mqtt_1_5_4_3_a_byte_order_mark_is_part_of_the_string() {
    for version in [V311, V5] {
        let mut rig = Rig::new();
        let client = connected(&mut rig, version);
        for (filter, id) in [(&b"\xEF\xBB\xBFa"[..], 1), (b"a", 2)] {
            let filter = [&string(filter)[..], &[0]].concat();
            let body = with_properties(version, &[0, id], b"", &filter);
            hear(&mut rig, client, version, &packet(0x82, &body));
            assert!(rig.lines(client)[0].starts_with("SUBACK"));
        }
        let topic = string(b"\xEF\xBB\xBFa");
        let publish = packet(0x30, &with_properties(version, &topic, b"", b"\xEF\xBB\xBF"));
        hear(&mut rig, client, version, &publish);
        let got = rig.deliveries(client);
        assert_eq!(got.len(), 1);
        assert_eq!(&*got[0].message.topic, "\u{feff}a");
        assert_eq!(got[0].message.payload, "\u{feff}");
    }
}

#[test]
fn reserved_bits_are_checked() {
    for flags in 0..16 {
        for (kind, right) in [(0x40, 0), (0x50, 0), (0x60, 2), (0x70, 0), (0x80, 2), (0xA0, 2)] {
            if flags != right {
                ends_both(&[kind | flags, 2, 0, 1], FixedHeaderFlags);
            }
        }
        for kind in [0xC0, 0xE0].into_iter().filter(|_| flags != 0) {
            ends_both(&[kind | flags, 0], FixedHeaderFlags);
        }
        if flags != 0 {
            ends(V5, &[0xF0 | flags, 0], FixedHeaderFlags);
        }
    }
    for version in [V311, V5] {
        is_no_connect(version, &connect_packet(version, 3, &[b"\0\x01c"]), ConnectReservedFlag);
        for options in [0x40, 0x80] {
            let filter = [b"\0\x01f", &[options][..]].concat();
            let body = with_properties(version, b"\x00\x01", b"", &filter);
            ends(version, &packet(0x82, &body), SubscriptionOptionsReserved);
        }
    }
    for options in [0x04, 0x08, 0x10, 0x20] {
        let body = [b"\x00\x01\x00\x01f", &[options][..]].concat();
        ends(V311, &packet(0x82, &body), SubscriptionOptionsReserved);
    }
    assert_eq!(FixedHeaderFlags.reason().0, 0x81, "[MQTT-3.14.1-1]");
}

#[test]
fn connect_flags_and_payload_agree() {
    let (id, text) = (string(b"c"), string(b"x"));
    for version in [V311, V5] {
        let with = |flags: u8, fields: &[&[u8]]| connect_packet(version, flags, fields);
        let no = |flags, fields: &[&[u8]], error| {
            is_no_connect(version, &with(flags, fields), error);
        };
        let will = with_properties(version, b"", b"", &[&text[..], &text].concat());
        is_connect(&with(2, &[&id]));
        no(2, &[], Truncated);
        // The Will's flags and fields.
        is_connect(&with(0x06, &[&id, &will]));
        no(0x06, &[&id], Truncated);
        no(0x06, &[&id, &will[..will.len() - text.len()]], Truncated);
        no(0x02, &[&id, &will], TrailingBytes);
        no(0x1E, &[&id, &will], WillQos);
        for flags in [0x0A, 0x12, 0x22] {
            no(flags, &[&id], WillFlagsWithoutWill);
        }
        // User Name and Password.
        is_connect(&with(0x82, &[&id, &text]));
        no(0x02, &[&id, &text], TrailingBytes);
        no(0x82, &[&id], Truncated);
        is_connect(&with(0xC2, &[&id, &text, &text]));
        no(0x82, &[&id, &text, &text], TrailingBytes);
        no(0xC2, &[&id, &text], Truncated);
    }
    let password_alone = |version| connect_packet(version, 0x42, &[&id, &text]);
    is_no_connect(V311, &password_alone(V311), PasswordWithoutUserName);
    is_connect(&password_alone(V5));
}

#[test]
fn a_wrong_protocol_name_or_version_is_refused() {
    for (name, level, error) in [
        (&b"mqtt"[..], 5, ProtocolName),
        (b"MQTT\0", 4, ProtocolName),
        (b"", 4, ProtocolName),
        (b"MQTT", 3, UnsupportedVersion(3)),
        (b"MQTT", 6, UnsupportedVersion(6)),
        (b"MQIsdp", 4, UnsupportedVersion(4)),
    ] {
        let bytes = [&string(name)[..], &[level, 2, 0, 0], &string(b"c")].concat();
        assert_eq!(decode(&packet(0x10, &bytes), V5, LIMIT), Err(error));
        for version in [V311, V5] {
            assert_eq!(refused(version, error), ["CONNACK 84", "CLOSE"]);
        }
    }
}

#[test]
fn a_publish_is_well_formed() {
    let (topic, with_id) = (string(b"t"), [&string(b"t")[..], &[0, 1]].concat());
    for version in [V311, V5] {
        let body = |topic: &[u8]| with_properties(version, topic, b"", b"");
        ends(version, &packet(0x36, &body(&with_id)), PublishQos);
        ends(version, &packet(0x38, &body(&topic)), DupWithQos0);
        for wild in [&b"#"[..], b"+", b"a/#", b"a/+/b"] {
            ends(version, &packet(0x30, &body(&string(wild))), WildcardInTopicName);
        }
    }
    ends(V311, &packet(0x30, &string(b"")), EmptyTopicName);
    ends(V5, &packet(0x30, b"\0\0\0"), NoTopic);
    for (property, error) in [
        (&b"\x23\0\0"[..], TopicAliasZero),
        (b"\x0B\x01", SubscriptionIdInPublish),
        (b"\x08\0\x03a/#", WildcardInResponseTopic),
        (b"\x08\0\x01+", WildcardInResponseTopic),
    ] {
        ends(V5, &packet(0x30, &with_properties(V5, &topic, property, b"")), error);
    }
}

#[test]
fn packet_identifiers_are_not_zero() {
    for version in [V311, V5] {
        let filter = [&string(b"f")[..], &[0]].concat();
        let subscribe = with_properties(version, b"\0\0", b"", &filter);
        ends(version, &packet(0x82, &subscribe), PacketIdZero);
        let unsubscribe = with_properties(version, b"\0\0", b"", &string(b"f"));
        ends(version, &packet(0xA2, &unsubscribe), PacketIdZero);
        for first in [0x32, 0x34] {
            let publish = with_properties(version, b"\0\x01t\0\0", b"", b"");
            ends(version, &packet(first, &publish), PacketIdZero);
        }
    }
}

#[test]
fn requests_have_a_filter() {
    for version in [V311, V5] {
        let nothing = with_properties(version, b"\0\x01", b"", b"");
        ends(version, &packet(0x82, &nothing), NoFilters);
        ends(version, &packet(0xA2, &nothing), NoFilters);
        let qos_3 = with_properties(version, b"\0\x01", b"", b"\0\x01f\x03");
        ends(version, &packet(0x82, &qos_3), SubscriptionQos);
    }
    ends(V5, &packet(0x82, b"\0\x01\0\0\x0A$share/g/f\x04"), NoLocalOnShared);
    ends(V5, &packet(0x82, b"\0\x01\0\0\x01f\x30"), RetainHandlingValue);
}

#[test]
fn topic_filters_are_well_formed() {
    let request = |version, filter: &[u8], options: &[u8]| {
        with_properties(version, b"\0\x01", b"", &[&string(filter)[..], options].concat())
    };
    let filters: [&[u8]; 7] = [b"", b"a/#/b", b"a#", b"#/", b"a+", b"+a/b", b"a/b+/c"];
    let shares: [&[u8]; 5] = [b"$share/g", b"$share//a", b"$share/g/", b"$share/+/a", b"$share/#"];
    let bad = |version| filters.iter().chain(shares.iter().filter(move |_| version == V5));
    for version in [V311, V5] {
        for filter in bad(version) {
            ends(version, &packet(0x82, &request(version, filter, b"\0")), InvalidTopicFilter);
            ends(version, &packet(0xA2, &request(version, filter, b"")), InvalidTopicFilter);
        }
        for filter in [&b"#"[..], b"+", b"a/+/#", b"/", b"$share/g/+/#"] {
            let subscribe = packet(0x82, &request(version, filter, b"\0"));
            assert!(matches!(decode(&subscribe, version, LIMIT), Ok(Some(_))));
        }
    }
}

#[test]
fn a_packet_over_our_maximum_packet_size_ends_the_connection() {
    let head = |length: u16| {
        let low = u8::try_from(length % 128).expect("below 128") | 0x80;
        [0x30, low, u8::try_from(length / 128).expect("two bytes")]
    };
    let exactly = head(997);
    assert_eq!(decode(&exactly, V5, LIMIT), Ok(None), "the rest is to come");
    let size = LIMIT + 1;
    ends_both(&head(998), PacketTooLarge(size));
}
