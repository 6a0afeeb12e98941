//! PUBLISH: its flags, topic, identifier, alias and other properties.

use crate::row::Answer::{Ends, Says};
use crate::row::Moment::Open;
use crate::row::{Row, both, v4, v5};

pub(crate) fn rows() -> Vec<Row> {
    [flags(), topics(), identifiers(), aliases(), properties()].concat()
}

fn flags() -> Vec<Row> {
    let three = "[MQTT-3.3.1-4]";
    let dup = "[MQTT-3.3.1-2]";
    [
        both("QoS 3", three, Open, r#"36 * "bad" 0001 {} 'x'"#, Ends(0x81)),
        both("QoS 3, retained", three, Open, r#"37 * "bad" 0001 {} 'x'"#, Ends(0x81)),
        both("QoS 3, sent again", three, Open, r#"3E * "bad" 0001 {} 'x'"#, Ends(0x81)),
        both("QoS 3 without an identifier", three, Open, r#"36 * "bad" {}"#, Ends(0x81)),
        both("DUP with QoS 0", dup, Open, r#"38 * "bad" {} 'x'"#, Ends(0x81)),
        both("DUP with QoS 0, retained", dup, Open, r#"39 * "bad" {} 'x'"#, Ends(0x81)),
    ]
    .concat()
}

fn topics() -> Vec<Row> {
    let wildcard = "[MQTT-3.3.2-2], [MQTT-4.7.0-1], 3.1.1: [MQTT-4.7.1-1]";
    let mut rows = Vec::new();
    for topic in ["+", "#", "bad/+", "bad/#", "bad/+/x", "b+d", "bad#", "/#"] {
        for (first, id) in [("31", ""), ("33", "0001"), ("35", "0001")] {
            let name = format!("a PUBLISH {first} to {topic}");
            let bytes = format!(r#"{first} * "{topic}" {id} {{}} 'x'"#);
            rows.extend(both(&name, wildcard, Open, &bytes, Ends(0x81)));
        }
    }
    let none = "section 3.3.2.1: neither topic nor alias";
    rows.extend(v4("a PUBLISH to no topic", "[MQTT-4.7.3-1]", Open, r#"31 * """#, Ends(0)));
    rows.extend(v5("a PUBLISH to no topic", none, Open, r#"31 * "" {} 'x'"#, Ends(0x82)));
    let bytes = r#"33 * "" 0001 {} 'x'"#;
    rows.extend(v5("a PUBLISH with QoS 1 to no topic", none, Open, bytes, Ends(0x82)));
    let levels = "section 3.14.2.1: 0x90";
    let deep = "31 * [ 'a' 2F61x128 ] {} 'x'";
    rows.extend(both("a PUBLISH to 129 levels", levels, Open, deep, Ends(0x90)));
    rows
}

fn identifiers() -> Vec<Row> {
    let zero = "[MQTT-2.2.1-3], 3.1.1: [MQTT-2.3.1-1]";
    let again = "[MQTT-4.3.3-10]";
    [
        both("QoS 1 with identifier 0", zero, Open, r#"33 * "bad" 0000 {} 'x'"#, Ends(0x82)),
        both("QoS 2 with identifier 0", zero, Open, r#"35 * "bad" 0000 {} 'x'"#, Ends(0x82)),
        // What the broker has already is not published again, with DUP or without.
        both("QoS 2 again", again, Open, r#"3C * "open" 0063 {} 'open'"#, Says("50 * 0063")),
        both(
            "QoS 2 again, without DUP and to another topic",
            again,
            Open,
            r#"35 * "bad" 0063 {} 'x'"#,
            Says("50 * 0063"),
        ),
    ]
    .concat()
}

/// Our Topic Alias Maximum is 32.
fn aliases() -> Vec<Row> {
    let with = |alias: &str, topic: &str| format!(r#"31 * "{topic}" {{ 23 {alias} }} 'x'"#);
    let unknown = "section 3.3.4: no mapping for the alias";
    [
        v5("Topic Alias 0", "[MQTT-3.3.2-8]", Open, &with("0000", "bad"), Ends(0x94)),
        v5("Topic Alias 0 without a topic", "[MQTT-3.3.2-8]", Open, &with("0000", ""), Ends(0x94)),
        v5("Topic Alias 33", "[MQTT-3.3.2-9]", Open, &with("0021", "bad"), Ends(0x94)),
        v5("Topic Alias 65,535", "[MQTT-3.3.2-9]", Open, &with("FFFF", "bad"), Ends(0x94)),
        v5("Topic Alias 33 without a topic", "[MQTT-3.3.2-9]", Open, &with("0021", ""), Ends(0x94)),
        v5("a Topic Alias that was not defined", unknown, Open, &with("0001", ""), Ends(0x82)),
        v5("the largest Topic Alias, not defined", unknown, Open, &with("0020", ""), Ends(0x82)),
        v5(
            "a Topic Alias that was not defined, QoS 2",
            unknown,
            Open,
            r#"35 * "" 0001 { 23 0002 } 'x'"#,
            Ends(0x82),
        ),
        v5(
            "a Topic Alias for a topic with a wildcard",
            "[MQTT-3.3.2-2]",
            Open,
            r#"31 * "bad/+" { 23 0001 } 'x'"#,
            Ends(0x81),
        ),
    ]
    .concat()
}

fn properties() -> Vec<Row> {
    let with = |properties: &str| format!(r#"31 * "bad" {{ {properties} }} 'x'"#);
    let subscription = "[MQTT-3.3.4-6]";
    let response = "[MQTT-3.3.2-14]";
    let format = "section 3.3.2.3.2: 0 or 1";
    [
        v5("Subscription Identifier 5", subscription, Open, &with("0B 05"), Ends(0x82)),
        v5("Subscription Identifier 0", subscription, Open, &with("0B 00"), Ends(0x82)),
        v5("Response Topic +", response, Open, &with(r#"08 "+""#), Ends(0x82)),
        v5("Response Topic bad/#", response, Open, &with(r##"08 "bad/#""##), Ends(0x82)),
        v5("no Response Topic", "[MQTT-4.7.3-1]", Open, &with(r#"08 """#), Ends(0x81)),
        v5("Payload Format Indicator 2", format, Open, &with("01 02"), Ends(0x82)),
        v5("Payload Format Indicator 255", format, Open, &with("01 FF"), Ends(0x82)),
    ]
    .concat()
}
