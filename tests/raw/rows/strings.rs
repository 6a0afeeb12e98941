//! Each UTF-8 Encoded String of each packet, with each way not to be one.

use crate::row::Answer::Ends;
use crate::row::Moment::{self, First, Open};
use crate::row::{Row, both, v5};

/// What stands in place of a string.
const FAULTS: [(&str, &str); 11] = [
    ("a null character", "[ 61 00 62 ]"),
    ("a null character alone", "[ 00 ]"),
    ("a surrogate", "[ EDA080 ]"),
    ("a pair of surrogates", "[ EDA0BDEDB880 ]"),
    ("an overlong null", "[ C080 ]"),
    ("an overlong slash", "[ C0AF ]"),
    ("an overlong slash of three bytes", "[ E080AF ]"),
    ("what is beyond Unicode", "[ F4908080 ]"),
    ("a continuation alone", "[ 61 80 ]"),
    ("half a character", "[ 61 C3 ]"),
    ("byte FF", "[ FF ]"),
];

/// Strings that both versions have, and what is around them.
const OF_BOTH: [(&str, Moment, &str, &str); 6] = [
    ("a Topic Name", Open, "31 *", "{} 'x'"),
    ("a Topic Filter", Open, "82 * 0001 {}", "00"),
    ("a Topic Filter of UNSUBSCRIBE", Open, r#"A2 * 0001 {} "keep""#, ""),
    ("a Client Identifier", First, r#"10 * "MQTT" ^ 02 0000 {}"#, ""),
    ("a Will Topic", First, r#"10 * "MQTT" ^ 06 0000 {} @ {}"#, r#""w""#),
    ("a User Name", First, r#"10 * "MQTT" ^ 82 0000 {} @"#, ""),
];

/// Strings of 5.0.
const OF_V5: [(&str, Moment, &str, &str); 21] = [
    ("a Content Type", Open, r#"31 * "bad" { 03"#, "} 'x'"),
    ("a Response Topic", Open, r#"31 * "bad" { 08"#, "} 'x'"),
    ("a User Property's name", Open, r#"31 * "bad" { 26"#, r#""v" } 'x'"#),
    ("a User Property's value", Open, r#"31 * "bad" { 26 "k""#, "} 'x'"),
    ("a PUBACK's Reason String", Open, "40 * 0001 00 { 1F", "}"),
    ("a PUBACK's User Property", Open, "40 * 0001 00 { 26", r#""v" }"#),
    ("a PUBREC's Reason String", Open, "50 * 0002 00 { 1F", "}"),
    ("a PUBREL's Reason String", Open, "62 * 0063 00 { 1F", "}"),
    ("a PUBCOMP's Reason String", Open, "70 * 0003 00 { 1F", "}"),
    ("a SUBSCRIBE's User Property", Open, r#"82 * 0001 { 26 "k""#, r#"} "bad" 00"#),
    ("an UNSUBSCRIBE's User Property", Open, r#"A2 * 0001 { 26 "k""#, r#"} "keep""#),
    ("a DISCONNECT's Reason String", Open, "E0 * 00 { 1F", "}"),
    ("a DISCONNECT's User Property", Open, "E0 * 00 { 26", r#""v" }"#),
    ("an AUTH's Authentication Method", Open, "F0 * 19 { 15", "}"),
    ("an AUTH's Reason String", Open, r#"F0 * 19 { 15 "m" 1F"#, "}"),
    ("a CONNECT's Authentication Method", First, r#"10 * "MQTT" ^ 02 0000 { 15"#, "} @"),
    ("a CONNECT's User Property's name", First, r#"10 * "MQTT" ^ 02 0000 { 26"#, r#""v" } @"#),
    ("a CONNECT's User Property's value", First, r#"10 * "MQTT" ^ 02 0000 { 26 "k""#, "} @"),
    ("a will's Content Type", First, r#"10 * "MQTT" ^ 06 0000 {} @ { 03"#, r#"} "bad" "w""#),
    ("a will's Response Topic", First, r#"10 * "MQTT" ^ 06 0000 {} @ { 08"#, r#"} "bad" "w""#),
    ("a will's User Property", First, r#"10 * "MQTT" ^ 06 0000 {} @ { 26 "k""#, r#"} "bad" "w""#),
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (fault, string) in FAULTS {
        let rule = match fault.contains("a null") {
            true => "[MQTT-1.5.4-2], 3.1.1: [MQTT-1.5.3-2]",
            false => "[MQTT-1.5.4-1], 3.1.1: [MQTT-1.5.3-1]",
        };
        for (field, moment, front, back) in OF_BOTH {
            let (name, bytes) = (format!("{fault} in {field}"), format!("{front} {string} {back}"));
            rows.extend(both(&name, rule, moment, &bytes, Ends(0x81)));
        }
        for (field, moment, front, back) in OF_V5 {
            let (name, bytes) = (format!("{fault} in {field}"), format!("{front} {string} {back}"));
            rows.extend(v5(&name, rule, moment, &bytes, Ends(0x81)));
        }
    }
    rows
}
