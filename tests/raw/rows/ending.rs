//! DISCONNECT, AUTH and a second CONNECT; what comes behind a packet that ends the connection.

use crate::row::Answer::{Ends, Silence};
use crate::row::Moment::Open;
use crate::row::{Row, both, v5};

pub(crate) fn rows() -> Vec<Row> {
    [disconnect(), auth(), connect(), behind()].concat()
}

fn disconnect() -> Vec<Row> {
    let mut rows = Vec::new();
    // Of a server alone, and of nobody.
    for code in ["01", "03", "84", "86", "87", "8B", "8D", "8E", "8F", "9A", "9D", "A2", "FF"] {
        let (name, bytes) = (format!("DISCONNECT {code}"), format!("E0 * {code}"));
        rows.extend(v5(&name, "[MQTT-3.14.2-1]", Open, &bytes, Ends(0x82)));
    }
    rows
}

fn auth() -> Vec<Row> {
    let method = "[MQTT-4.12.0-7]";
    [
        v5("AUTH without a method in CONNECT", method, Open, r#"F0 * 19 { 15 "m" }"#, Ends(0x82)),
        v5("AUTH to go on", method, Open, r#"F0 * 18 { 15 "m" 16 "d" }"#, Ends(0x82)),
        v5("AUTH of nothing", method, Open, "F0 *", Ends(0x82)),
        v5("AUTH without a method", "section 3.15.2.2.2", Open, "F0 * 19 {}", Ends(0x82)),
        v5("AUTH 01", "[MQTT-3.15.2-1]", Open, r#"F0 * 01 { 15 "m" }"#, Ends(0x82)),
        v5("AUTH 80", "[MQTT-3.15.2-1]", Open, r#"F0 * 80 { 15 "m" }"#, Ends(0x82)),
    ]
    .concat()
}

fn connect() -> Vec<Row> {
    let rule = "[MQTT-3.1.0-2]";
    let clean = r#"10 * "MQTT" ^ 02 0000 {} @"#;
    let other = r#"10 * "MQTT" ^ 02 0000 {} "somebody else""#;
    let will = r#"10 * "MQTT" ^ 06 0000 {} @ {} "bad" "w""#;
    [
        both("a second CONNECT", rule, Open, r#"10 * "MQTT" ^ 00 0000 {} @"#, Ends(0x82)),
        both("a second CONNECT with Clean Start", rule, Open, clean, Ends(0x82)),
        both("a second CONNECT of somebody else", rule, Open, other, Ends(0x82)),
        both("a second CONNECT with a will", rule, Open, will, Ends(0x82)),
        both("a second CONNECT of version 6", rule, Open, r#"10 * "MQTT" 06 00"#, Ends(0x82)),
        both("a second CONNECT, malformed", rule, Open, r#"10 * "MQTT" ^ 01"#, Ends(0x81)),
    ]
    .concat()
}

/// Nothing is read behind the end.
fn behind() -> Vec<Row> {
    let rule = "[MQTT-3.14.4-2], 3.1.1: [MQTT-3.14.4-2]";
    let publish = r#"31 * "bad" {} 'x'"#;
    [
        both("DISCONNECT and PUBLISH", rule, Open, &format!("E0 * | {publish}"), Silence),
        both("DISCONNECT and SUBSCRIBE", rule, Open, r#"E0 * | 82 * 0001 {} "bad" 00"#, Silence),
        both("DISCONNECT and UNSUBSCRIBE", rule, Open, r#"E0 * | A2 * 0001 {} "keep""#, Silence),
        both("DISCONNECT and PUBREL", rule, Open, "E0 * | 62 * 0063", Silence),
        both("DISCONNECT and PUBACK", rule, Open, "E0 * | 40 * 0001", Silence),
        both("DISCONNECT and what is malformed", rule, Open, "E0 * | 00 *", Silence),
        both("DISCONNECT and CONNECT", rule, Open, r#"E0 * | 10 * "MQTT" ^ 02 0000 {} @"#, Silence),
    ]
    .concat()
}
