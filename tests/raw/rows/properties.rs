//! Properties in packets that do not have them, twice, cut, of the wrong type, or unknown.

use crate::row::Answer::Ends;
use crate::row::Moment::{self, First, Open};
use crate::row::{Row, v5};

/// Table 2-4: the identifier, its name, a value, and the packets of a client that may carry it:
/// the first byte, or 00 for the Will.
const PROPERTIES: [(&str, &str, &str, &[u8]); 27] = [
    ("01", "Payload Format Indicator", "01", &[0x30, 0x00]),
    ("02", "Message Expiry Interval", "0000000A", &[0x30, 0x00]),
    ("03", "Content Type", r#""t""#, &[0x30, 0x00]),
    ("08", "Response Topic", r#""t""#, &[0x30, 0x00]),
    ("09", "Correlation Data", "[ 00FF ]", &[0x30, 0x00]),
    ("0B", "Subscription Identifier", "01", &[0x30, 0x82]),
    ("11", "Session Expiry Interval", "0000000A", &[0x10, 0xE0]),
    ("12", "Assigned Client Identifier", r#""c""#, &[]),
    ("13", "Server Keep Alive", "000A", &[]),
    ("15", "Authentication Method", r#""m""#, &[0x10, 0xF0]),
    ("16", "Authentication Data", "[ 00FF ]", &[0x10, 0xF0]),
    ("17", "Request Problem Information", "01", &[0x10]),
    ("18", "Will Delay Interval", "0000000A", &[0x00]),
    ("19", "Request Response Information", "01", &[0x10]),
    ("1A", "Response Information", r#""i""#, &[]),
    ("1C", "Server Reference", r#""s""#, &[]),
    ("1F", "Reason String", r#""s""#, &[0x40, 0x50, 0x62, 0x70, 0xE0, 0xF0]),
    ("21", "Receive Maximum", "000A", &[0x10]),
    ("22", "Topic Alias Maximum", "000A", &[0x10]),
    ("23", "Topic Alias", "0001", &[0x30]),
    ("24", "Maximum QoS", "01", &[]),
    ("25", "Retain Available", "01", &[]),
    (
        "26",
        "User Property",
        r#""k" "v""#,
        &[0x00, 0x10, 0x30, 0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xE0, 0xF0],
    ),
    ("27", "Maximum Packet Size", "00001000", &[0x10]),
    ("28", "Wildcard Subscription Available", "01", &[]),
    ("29", "Subscription Identifier Available", "01", &[]),
    ("2A", "Shared Subscription Available", "01", &[]),
];

/// The packets that have properties, with `P` where those stand.
const PACKETS: [(&str, u8, Moment, &str); 11] = [
    ("a CONNECT", 0x10, First, r#"10 * "MQTT" 05 00 0000 P @"#),
    ("a will", 0x00, First, r#"10 * "MQTT" 05 04 0000 00 @ P "bad" "w""#),
    ("a PUBLISH", 0x30, Open, r#"31 * "bad" P 'x'"#),
    ("a PUBACK", 0x40, Open, "40 * 0001 00 P"),
    ("a PUBREC", 0x50, Open, "50 * 0002 00 P"),
    ("a PUBREL", 0x62, Open, "62 * 0063 00 P"),
    ("a PUBCOMP", 0x70, Open, "70 * 0003 00 P"),
    ("a SUBSCRIBE", 0x82, Open, r#"82 * 0001 P "bad" 00"#),
    ("an UNSUBSCRIBE", 0xA2, Open, r#"A2 * 0001 P "keep""#),
    ("a DISCONNECT", 0xE0, Open, "E0 * 00 P"),
    ("an AUTH", 0xF0, Open, "F0 * 19 P"),
];

/// What may follow an AUTH's or a CONNECT's other properties so that they miss nothing.
const METHOD: &str = r#"15 "m""#;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (packet, first, moment, text) in PACKETS {
        let with = |properties: &str| text.replace('P', properties);
        for (id, property, value, packets) in PROPERTIES {
            if !packets.contains(&first) {
                let name = format!("{property} in {packet}");
                let bytes = with(&format!("{{ {id} {value} }}"));
                rows.extend(v5(&name, "section 2.2.2.2", moment, &bytes, Ends(0x81)));
            } else if id != "26" {
                let name = format!("{property} twice in {packet}");
                let before = if id == "16" { METHOD } else { "" };
                let bytes = with(&format!("{{ {before} {id} {value} {id} {value} }}"));
                let rule = "section 2.2.2.2: once unless said otherwise";
                rows.extend(v5(&name, rule, moment, &bytes, Ends(0x82)));
            }
        }
        rows.extend(cut(packet, moment, &with));
    }
    rows.extend(types());
    rows
}

/// Unknown identifiers, and lengths that are wrong.
fn cut(packet: &str, moment: Moment, with: &impl Fn(&str) -> String) -> Vec<Row> {
    let malformed = "section 2.2.2.2";
    let row = |what: &str, rule: &'static str, properties: &str| {
        v5(&format!("{what} in {packet}"), rule, moment, &with(properties), Ends(0x81))
    };
    [
        row("property 00", malformed, "{ 00 00 }"),
        row("property 04", malformed, "{ 04 00 }"),
        row("property 2B", malformed, "{ 2B 00 }"),
        row("property 7F", malformed, "{ 7F 00 }"),
        row("property 128", malformed, "{ 8001 00 }"),
        row("a property identifier in five bytes", malformed, "{ A680808000 }"),
        row(
            "a property identifier longer than it must be",
            "[MQTT-1.5.5-1]",
            r#"{ A600 "k" "v" }"#,
        ),
        row("half a User Property", malformed, r#"{ 26 "k" }"#),
        row("a User Property longer than its properties", malformed, r#"{ 26 "k" 0002 'v' }"#),
        row("properties longer than the packet", malformed, r#"FF7F 26 "k" "v""#),
        row("a Property Length of 256 MiB", malformed, r#"FFFFFF7F 26 "k" "v""#),
        row("a Property Length in five bytes", malformed, "8080808000"),
        row("a Property Length longer than it must be", "[MQTT-1.5.5-1]", "8000"),
    ]
    .concat()
}

/// Values that are shorter or larger than their type.
fn types() -> Vec<Row> {
    let rule = "section 2.2.2.2: the specified data type";
    let publish = |properties: &str| format!(r#"31 * "bad" {{ {properties} }} 'x'"#);
    let connect = |properties: &str| format!(r#"10 * "MQTT" 05 00 0000 {{ {properties} }} @"#);
    [
        v5("a Message Expiry Interval of two bytes", rule, Open, &publish("02 000A"), Ends(0x81)),
        v5("a Topic Alias of one byte", rule, Open, &publish("23 01"), Ends(0x81)),
        v5("a Payload Format Indicator of no byte", rule, Open, &publish("01"), Ends(0x81)),
        v5("a Payload Format Indicator of two bytes", rule, Open, &publish("01 017E"), Ends(0x81)),
        v5("a Content Type of one byte", rule, Open, &publish("03 61"), Ends(0x81)),
        v5("a Receive Maximum of one byte", rule, First, &connect("21 0A"), Ends(0x81)),
        v5("a Session Expiry Interval of two bytes", rule, First, &connect("11 000A"), Ends(0x81)),
        v5("a Maximum Packet Size of three bytes", rule, First, &connect("27 001000"), Ends(0x81)),
        v5(
            "a Subscription Identifier of five bytes",
            rule,
            Open,
            r#"82 * 0001 { 0B 8080808001 } "bad" 00"#,
            Ends(0x81),
        ),
        v5(
            "a Session Expiry Interval of two bytes at the end",
            rule,
            Open,
            "E0 * 00 { 11 000A }",
            Ends(0x81),
        ),
    ]
    .concat()
}
