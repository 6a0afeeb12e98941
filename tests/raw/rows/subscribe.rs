//! SUBSCRIBE and UNSUBSCRIBE: identifiers, filters, options. A packet that is wrong in one filter
//! is wrong as a whole.

use crate::row::Answer::{Ends, Says};
use crate::row::Moment::Open;
use crate::row::{Row, both, v4, v5};

/// Topic Filters that are none.
const FILTERS: [(&str, &str); 12] = [
    ("[MQTT-4.7.3-1]", ""),
    ("[MQTT-4.7.1-1], 3.1.1: [MQTT-4.7.1-2]", "bad#"),
    ("[MQTT-4.7.1-1], 3.1.1: [MQTT-4.7.1-2]", "bad/#/x"),
    ("[MQTT-4.7.1-1], 3.1.1: [MQTT-4.7.1-2]", "#/bad"),
    ("[MQTT-4.7.1-1], 3.1.1: [MQTT-4.7.1-2]", "##"),
    ("[MQTT-4.7.1-1], 3.1.1: [MQTT-4.7.1-2]", "bad/#x"),
    ("[MQTT-4.7.1-2], 3.1.1: [MQTT-4.7.1-3]", "bad+"),
    ("[MQTT-4.7.1-2], 3.1.1: [MQTT-4.7.1-3]", "+bad"),
    ("[MQTT-4.7.1-2], 3.1.1: [MQTT-4.7.1-3]", "++"),
    ("[MQTT-4.7.1-2], 3.1.1: [MQTT-4.7.1-3]", "+/b+d/x"),
    ("[MQTT-4.7.1-2], 3.1.1: [MQTT-4.7.1-3]", "+#"),
    ("[MQTT-4.8.2-2], 3.1.1: [MQTT-4.7.1-2]", "$share/g#/bad"),
];

/// Shared Subscriptions that are none. 3.1.1 has no shares; ours refuses them there, too.
const SHARES: [(&str, &str); 4] = [
    ("[MQTT-4.8.2-1]", "$share//bad"),
    ("[MQTT-4.8.2-2]", "$share/g"),
    ("[MQTT-4.8.2-2]", "$share/g/"),
    ("[MQTT-4.8.2-2]", "$share/+/bad"),
];

pub(crate) fn rows() -> Vec<Row> {
    [filters(), shares(), options(), identifiers(), empty(), subscription_ids(), refusals()]
        .concat()
}

fn filters() -> Vec<Row> {
    let mut rows = Vec::new();
    for (rule, filter) in FILTERS {
        let of = |before: &str, kind: &str| format!("{kind} of {before} {filter:?}");
        let mut add = |name: &str, bytes: &str| {
            rows.extend(both(name, rule, Open, bytes, Ends(0x81)));
        };
        add(&of("", "SUBSCRIBE"), &format!(r#"82 * 0001 {{}} "{filter}" 00"#));
        add(&of("bad and", "SUBSCRIBE"), &format!(r#"82 * 0001 {{}} "bad" 01 "{filter}" 00"#));
        add(&of("", "UNSUBSCRIBE"), &format!(r#"A2 * 0001 {{}} "{filter}""#));
        add(&of("keep and", "UNSUBSCRIBE"), &format!(r#"A2 * 0001 {{}} "keep" "{filter}""#));
    }
    rows.extend(both(
        "SUBSCRIBE of a share with a filter that is none",
        "[MQTT-4.7.1-1], 3.1.1: [MQTT-4.7.1-2]",
        Open,
        r##"82 * 0001 {} "$share/g/bad/#/x" 00"##,
        Ends(0x81),
    ));
    rows
}

fn shares() -> Vec<Row> {
    let mut rows = Vec::new();
    for (rule, filter) in SHARES {
        let subscribe = format!(r#"82 * 0001 {{}} "{filter}" 00"#);
        let unsubscribe = format!(r#"A2 * 0001 {{}} "keep" "{filter}""#);
        let name = format!("SUBSCRIBE of {filter}");
        rows.extend(v5(&name, rule, Open, &subscribe, Ends(0x81)));
        rows.extend(v4(&name, "3.1.1: [MQTT-3.8.4-5]", Open, &subscribe, Says("90 * 0001 80")));
        let name = format!("UNSUBSCRIBE of keep and {filter}");
        rows.extend(v5(&name, rule, Open, &unsubscribe, Ends(0x81)));
    }
    rows
}

fn options() -> Vec<Row> {
    let mut rows = Vec::new();
    let reserved = "[MQTT-3.8.3-5], 3.1.1: [MQTT-3.8.3-4]";
    let mut add_v4 = |bits: &str| {
        let bytes = format!(r#"82 * 0001 "bad" {bits}"#);
        rows.extend(v4(&format!("options {bits}"), reserved, Open, &bytes, Ends(0)));
    };
    for bits in ["03", "04", "08", "10", "20", "40", "80", "81", "FF"] {
        add_v4(bits);
    }
    let qos = "section 3.8.3.1: Maximum QoS 3";
    let handling = "section 3.8.3.1: Retain Handling 3";
    let v5_options = [
        (reserved, "40", 0x81),
        (reserved, "80", 0x81),
        (reserved, "C1", 0x81),
        (qos, "03", 0x82),
        (qos, "0F", 0x82),
        (handling, "30", 0x82),
        (handling, "31", 0x82),
    ];
    for (rule, bits, code) in v5_options {
        let alone = format!(r#"82 * 0001 {{}} "bad" {bits}"#);
        rows.extend(v5(&format!("options {bits}"), rule, Open, &alone, Ends(code)));
        let second = format!(r#"82 * 0001 {{}} "bad" 02 "bad/x" {bits}"#);
        rows.extend(v5(&format!("options {bits} second"), rule, Open, &second, Ends(code)));
    }
    for filter in ["$share/g/bad", "$share/g/#"] {
        let name = format!("No Local on {filter}");
        let bytes = format!(r#"82 * 0001 {{}} "{filter}" 04"#);
        rows.extend(v5(&name, "[MQTT-3.8.3-4]", Open, &bytes, Ends(0x82)));
    }
    rows
}

fn identifiers() -> Vec<Row> {
    let zero = "[MQTT-2.2.1-3], 3.1.1: [MQTT-2.3.1-1]";
    [
        both("SUBSCRIBE 0", zero, Open, r#"82 * 0000 {} "bad" 00"#, Ends(0x82)),
        both("UNSUBSCRIBE 0", zero, Open, r#"A2 * 0000 {} "keep""#, Ends(0x82)),
    ]
    .concat()
}

fn empty() -> Vec<Row> {
    let subscribe = "[MQTT-3.8.3-2], 3.1.1: [MQTT-3.8.3-3]";
    [
        both("SUBSCRIBE to nothing", subscribe, Open, "82 * 0001 {}", Ends(0x82)),
        both("UNSUBSCRIBE from nothing", "[MQTT-3.10.3-2]", Open, "A2 * 0001 {}", Ends(0x82)),
    ]
    .concat()
}

fn subscription_ids() -> Vec<Row> {
    let rule = "section 3.8.2.1.2";
    [
        v5(
            "Subscription Identifier 0 of",
            rule,
            Open,
            r#"82 * 0001 { 0B 00 } "bad" 00"#,
            Ends(0x82),
        ),
        v5(
            "two Subscription Identifiers",
            rule,
            Open,
            r#"82 * 0001 { 0B 01 0B 02 } "bad" 00"#,
            Ends(0x82),
        ),
    ]
    .concat()
}

/// Well-formed, and not for us: refused in its place, and the connection goes on.
fn refusals() -> Vec<Row> {
    let deep = "82 * 0001 {} [ 'a' 2F61x128 ] 00";
    let nothing = r#"A2 * 0001 {} "bad""#;
    [
        v4("SUBSCRIBE to 129 levels", "3.1.1: [MQTT-3.8.4-5]", Open, deep, Says("90 * 0001 80")),
        v5("SUBSCRIBE to 129 levels", "[MQTT-3.8.4-6]", Open, deep, Says("90 * 0001 {} 8F")),
        both(
            "UNSUBSCRIBE from what is not there",
            "[MQTT-3.10.4-5]",
            Open,
            nothing,
            Says("B0 * 0001 {} (11)"),
        ),
    ]
    .concat()
}
