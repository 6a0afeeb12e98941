//! CONNECT that is wrong behind its Protocol Version. It must not take the client's place.

use crate::row::Answer::{Ends, Returns, Silence};
use crate::row::Moment::First;
use crate::row::{Row, both, v4, v5};

pub(crate) fn rows() -> Vec<Row> {
    [header(), flags(), payload(), will(), properties(), identifiers()].concat()
}

fn header() -> Vec<Row> {
    let mut rows = Vec::new();
    for flags in 1..16 {
        let name = format!("flags {flags:X} in CONNECT");
        let bytes = format!(r#"1{flags:X} * "MQTT" ^ 00 0000 {{}} @"#);
        let rule = "[MQTT-2.1.3-1], 3.1.1: [MQTT-2.2.2-2]";
        rows.extend(both(&name, rule, First, &bytes, Ends(0x81)));
    }
    let large = r#"10 FFFFFF7F "MQTT" ^ 00 0000 {} @"#;
    let rule = "section 3.2.2.2: 0x95, 3.1.1: [MQTT-3.1.4-1]";
    rows.extend(both("a CONNECT of 256 MiB", rule, First, large, Ends(0x95)));
    let long = r#"10 FFFFFFFF7F "MQTT" ^ 00 0000 {} @"#;
    let rule = "section 1.5.5, 3.1.1: section 2.2.3";
    rows.extend(both("a CONNECT with a length in five bytes", rule, First, long, Silence));
    rows
}

fn flags() -> Vec<Row> {
    let with = |flags: &str, rest: &str| format!(r#"10 * "MQTT" ^ {flags} 0000 {{}} @ {rest}"#);
    let will = r#"{} "bad" "w""#;
    let retain = "[MQTT-3.1.2-13], 3.1.1: [MQTT-3.1.2-15]";
    let password = "3.1.1: [MQTT-3.1.2-22]";
    [
        both("reserved flag", "[MQTT-3.1.2-3]", First, &with("01", ""), Ends(0x81)),
        both("reserved flag and Clean Start", "[MQTT-3.1.2-3]", First, &with("03", ""), Ends(0x81)),
        both(
            "Will QoS 3",
            "[MQTT-3.1.2-12], 3.1.1: [MQTT-3.1.2-14]",
            First,
            &with("1C", will),
            Ends(0x81),
        ),
        both("Will QoS 1 without a Will", "[MQTT-3.1.2-11]", First, &with("08", ""), Ends(0x81)),
        both("Will QoS 2 without a Will", "[MQTT-3.1.2-11]", First, &with("10", ""), Ends(0x81)),
        both("Will QoS 3 without a Will", "[MQTT-3.1.2-11]", First, &with("18", ""), Ends(0x81)),
        both("Will Retain without a Will", retain, First, &with("20", ""), Ends(0x81)),
        v4("password without a user name", password, First, &with("40", r#""p""#), Ends(0)),
    ]
    .concat()
}

/// What the flags announce is missing, or something is there that they do not.
fn payload() -> Vec<Row> {
    let rule = "[MQTT-3.1.3-1], 3.1.1: [MQTT-3.1.4-1]";
    let with = |flags: &str, rest: &str| format!(r#"10 * "MQTT" ^ {flags} 0000 {rest}"#);
    let row = |name: &str, flags: &str, rest: &str| {
        both(name, rule, First, &with(flags, rest), Ends(0x81))
    };
    [
        both("CONNECT that ends behind its version", rule, First, r#"10 * "MQTT" ^"#, Ends(0x81)),
        both("half a Keep Alive", rule, First, r#"10 * "MQTT" ^ 00 00"#, Ends(0x81)),
        row("no Client Identifier", "02", "{}"),
        row("half a Client Identifier", "02", "{} 0003 'cl'"),
        row("a byte behind the Client Identifier", "00", "{} @ 00"),
        row("a user name that is not announced", "00", r#"{} @ "u""#),
        row("a will that is not announced", "00", r#"{} @ {} "bad" "w""#),
        row("no user name", "80", "{} @"),
        row("no password", "C0", r#"{} @ "u""#),
        row("a password that is not announced", "80", r#"{} @ "u" "p""#),
        row("half a password", "C0", r#"{} @ "u" 0002 'p'"#),
        row("no will", "04", "{} @"),
        row("no Will Payload", "04", r#"{} @ {} "bad""#),
        row("half a Will Payload", "04", r#"{} @ {} "bad" 0002 'w'"#),
        row("a byte behind the will", "04", r#"{} @ {} "bad" "w" 00"#),
    ]
    .concat()
}

fn will() -> Vec<Row> {
    let name = "[MQTT-3.3.2-2], [MQTT-4.7.0-1], 3.1.1: [MQTT-4.7.1-1]";
    let with = |properties: &str, topic: &str| {
        format!(r#"10 * "MQTT" ^ 24 0000 {{}} @ {{ {properties} }} {topic} "w""#)
    };
    let flag = "section 3.1.3.2.3: 0 or 1";
    let response = "section 3.1.3.2.6, [MQTT-3.3.2-14]";
    [
        both("will to +", name, First, &with("", r#""+""#), Ends(0x81)),
        both("will to #", name, First, &with("", r##""#""##), Ends(0x81)),
        both("will to bad/+", name, First, &with("", r#""bad/+""#), Ends(0x81)),
        both("will to bad#", name, First, &with("", r##""bad#""##), Ends(0x81)),
        both("will to no topic", "[MQTT-4.7.3-1]", First, &with("", r#""""#), Ends(0x81)),
        both(
            "a will's topic with 129 levels",
            "section 3.2.2.2: 0x90",
            First,
            &with("", "[ 2Fx128 ]"),
            Ends(0x90),
        ),
        v5("Will Payload Format 2", flag, First, &with("01 02", r#""bad""#), Ends(0x82)),
        v5(
            "Response Topic + in a will",
            response,
            First,
            &with(r#"08 "+""#, r#""bad""#),
            Ends(0x82),
        ),
        v5(
            "will without properties",
            "section 3.1.3.2",
            First,
            r#"10 * "MQTT" 05 04 0000 00 @ "bad" "w""#,
            Ends(0x81),
        ),
    ]
    .concat()
}

fn properties() -> Vec<Row> {
    let with = |properties: &str| format!(r#"10 * "MQTT" 05 00 0000 {{ {properties} }} @"#);
    let row = |name: &str, rule: &'static str, properties: &str, code: u8| {
        v5(name, rule, First, &with(properties), Ends(code))
    };
    let method = "[MQTT-4.12.0-1]";
    [
        row("Receive Maximum 0", "section 3.1.2.11.3", "21 0000", 0x82),
        row("Maximum Packet Size 0", "section 3.1.2.11.4", "27 00000000", 0x82),
        row("Request Response Information 2", "section 3.1.2.11.6", "19 02", 0x82),
        row("Request Problem Information 2", "section 3.1.2.11.7", "17 02", 0x82),
        row("Authentication Data alone", "section 3.1.2.11.10", r#"16 "d""#, 0x82),
        row("an unknown Authentication Method", method, r#"15 "PLAIN""#, 0x8C),
        row("an empty Authentication Method", method, r#"15 """#, 0x8C),
        row("Authentication Method and Data", method, r#"15 "SCRAM-SHA-1" 16 "d""#, 0x8C),
    ]
    .concat()
}

fn identifiers() -> Vec<Row> {
    let empty = r#"10 * "MQTT" 04 00 0000 """#;
    v4("no Client Identifier for a session", "3.1.1: [MQTT-3.1.3-8]", First, empty, Returns(2))
}
