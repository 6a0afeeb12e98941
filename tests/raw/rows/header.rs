//! The fixed header, and what is too short or too long for it.

use crate::row::Answer::Ends;
use crate::row::Moment::Open;
use crate::row::{Row, both, v4, v5};

/// Packets that are right, but for their first byte, which follows.
const BODIES: [(&str, u8, &str); 8] = [
    ("PUBACK", 0x40, "* 0063"),
    ("PUBREC", 0x50, "* 0063"),
    ("PUBREL", 0x62, "* 0063"),
    ("PUBCOMP", 0x70, "* 0063"),
    ("SUBSCRIBE", 0x82, r#"* 0001 {} "bad" 00"#),
    ("UNSUBSCRIBE", 0xA2, r#"* 0001 {} "keep""#),
    ("PINGREQ", 0xC0, "*"),
    ("DISCONNECT", 0xE0, "*"),
];

pub(crate) fn rows() -> Vec<Row> {
    [flags(), kinds(), lengths(), sizes(), bodies()].concat()
}

fn flags() -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, first, body) in BODIES {
        for flags in (0..16).filter(|flags| *flags != first & 15) {
            let first = first & 0xF0 | flags;
            let name = format!("flags {flags:X} in {kind}");
            let rule = "[MQTT-2.1.3-1], 3.1.1: [MQTT-2.2.2-2]";
            rows.extend(both(&name, rule, Open, &format!("{first:02X} {body}"), Ends(0x81)));
        }
    }
    rows.extend(v5("flags 1 in AUTH", "[MQTT-3.15.1-1]", Open, "F1 * 00", Ends(0x81)));
    rows
}

fn kinds() -> Vec<Row> {
    let to_client = "table 2-1: server to client";
    [
        both("packet type 0", "table 2-1: reserved", Open, "00 *", Ends(0x81)),
        v4("packet type 15", "3.1.1: table 2.1: reserved", Open, "F0 *", Ends(0)),
        both("CONNACK from a client", to_client, Open, "20 * 0000 {}", Ends(0x82)),
        both("SUBACK from a client", to_client, Open, "90 * 0001 {} 00", Ends(0x82)),
        both("UNSUBACK from a client", to_client, Open, "B0 * 0001 {} (00)", Ends(0x82)),
        both("PINGRESP from a client", to_client, Open, "D0 *", Ends(0x82)),
    ]
    .concat()
}

fn lengths() -> Vec<Row> {
    let most = "section 1.5.5: four bytes at most, 3.1.1: section 2.2.3";
    let fewest = "[MQTT-1.5.5-1], 3.1.1: section 2.2.3: a single byte up to 127";
    [
        both("length in five bytes", most, Open, "C0 8080808000", Ends(0x81)),
        both("length in five bytes, of a PUBLISH", most, Open, "30 8180808001", Ends(0x81)),
        both("length that goes on for ever", most, Open, "30 FFFFFFFFFFFFFFFF", Ends(0x81)),
        both("length 0 in two bytes", fewest, Open, "C0 8000", Ends(0x81)),
        both("length 0 in four bytes", fewest, Open, "C0 80808000", Ends(0x81)),
        both("length 2 in three bytes", fewest, Open, "40 828000 0063", Ends(0x81)),
    ]
    .concat()
}

/// Ours is 2 MiB.
fn sizes() -> Vec<Row> {
    let rule = "[MQTT-3.2.2-15], 3.1.1: section 4.8";
    [
        both("one byte more than Maximum Packet Size", rule, Open, "30 FDFF7F", Ends(0x95)),
        both("the longest packet there is", rule, Open, "32 FFFFFF7F", Ends(0x95)),
        both("a SUBSCRIBE of 256 MiB", rule, Open, "82 FFFFFF7F", Ends(0x95)),
    ]
    .concat()
}

/// Bodies that end too early, or not where they should.
fn bodies() -> Vec<Row> {
    let early = "section 1.2: malformed, 3.1.1: [MQTT-4.8.0-1]";
    let late = "section 1.2: malformed, 3.1.1: section 2.2.3";
    [
        both("PUBLISH of nothing", early, Open, "30 *", Ends(0x81)),
        both("PUBLISH with half a topic length", early, Open, "31 * 00", Ends(0x81)),
        both("PUBLISH whose topic is too long", early, Open, "31 * 0004 'bad'", Ends(0x81)),
        both("PUBLISH with half an identifier", early, Open, r#"33 * "bad" 00"#, Ends(0x81)),
        both("PUBLISH without an identifier", early, Open, r#"35 * "bad""#, Ends(0x81)),
        v5("PUBLISH without properties", early, Open, r#"31 * "bad""#, Ends(0x81)),
        both("PUBACK of nothing", early, Open, "40 *", Ends(0x81)),
        both("PUBREC with half an identifier", early, Open, "50 * 00", Ends(0x81)),
        both("PUBREL with half an identifier", early, Open, "62 * 00", Ends(0x81)),
        both("PUBCOMP of nothing", early, Open, "70 *", Ends(0x81)),
        v4("PUBACK of 3 bytes", late, Open, "40 * 0001 00", Ends(0)),
        v4("PUBREC of 3 bytes", late, Open, "50 * 0002 00", Ends(0)),
        v4("PUBREL of 3 bytes", late, Open, "62 * 0063 00", Ends(0)),
        v4("PUBCOMP of 4 bytes", late, Open, "70 * 0003 0000", Ends(0)),
        v5("PUBACK that goes on", late, Open, "40 * 0001 00 {} 00", Ends(0x81)),
        v5("PUBREC that goes on", late, Open, "50 * 0002 00 {} 00", Ends(0x81)),
        v5("PUBREL that goes on", late, Open, "62 * 0063 00 {} 00", Ends(0x81)),
        v5("PUBCOMP that goes on", late, Open, "70 * 0003 00 {} 00", Ends(0x81)),
        both("SUBSCRIBE of nothing", early, Open, "82 *", Ends(0x81)),
        both("SUBSCRIBE without options", early, Open, r#"82 * 0001 {} "bad""#, Ends(0x81)),
        both(
            "SUBSCRIBE whose second filter is too long",
            early,
            Open,
            r#"82 * 0001 {} "bad" 00 0004 'bad'"#,
            Ends(0x81),
        ),
        v5("SUBSCRIBE without properties", early, Open, "82 * 0001", Ends(0x81)),
        both("UNSUBSCRIBE of nothing", early, Open, "A2 *", Ends(0x81)),
        both(
            "UNSUBSCRIBE whose second filter is too long",
            early,
            Open,
            r#"A2 * 0001 {} "keep" 0005 'keep'"#,
            Ends(0x81),
        ),
        v5("UNSUBSCRIBE without properties", early, Open, "A2 * 0001", Ends(0x81)),
        both("PINGREQ with a body", late, Open, "C0 * 00", Ends(0x81)),
        v4("DISCONNECT with a body", late, Open, "E0 * 00", Ends(0)),
        v5("DISCONNECT that goes on", late, Open, "E0 * 00 {} 00", Ends(0x81)),
        v5("AUTH that ends behind its code", early, Open, "F0 * 18", Ends(0x81)),
        v5("AUTH that goes on", late, Open, r#"F0 * 18 { 15 "m" } 00"#, Ends(0x81)),
    ]
    .concat()
}
