//! PUBACK, PUBREC, PUBREL and PUBCOMP for what is not there, not so, or not yet.

use crate::row::Answer::{Ends, Says};
use crate::row::Moment::Open;
use crate::row::{Row, both, v5};

pub(crate) fn rows() -> Vec<Row> {
    [unknown(), zero(), wrong(), repeated(), codes()].concat()
}

fn unknown() -> Vec<Row> {
    let ignored = "section 4.3: nothing is owed for it";
    let answered = "[MQTT-4.3.3-4], section 3.6.2.1";
    let released = "[MQTT-4.3.3-11], section 3.7.2.1";
    [
        both("PUBACK of nothing that was sent", ignored, Open, "40 * 1234", Says("")),
        both("PUBCOMP of nothing that was sent", ignored, Open, "70 * 1234", Says("")),
        both(
            "PUBREC of nothing that was sent",
            answered,
            Open,
            "50 * 1234",
            Says("62 * 1234 (92)"),
        ),
        both("PUBREL of nothing that came", released, Open, "62 * 1234", Says("70 * 1234 (92)")),
        both("PUBREL of what was sent", released, Open, "62 * 0002", Says("70 * 0002 (92)")),
        both("PUBACK of what came", ignored, Open, "40 * 0063", Says("")),
        both("PUBCOMP of what came", ignored, Open, "70 * 0063", Says("")),
        v5("PUBREC with an error of nothing", ignored, Open, "50 * 1234 80", Says("")),
    ]
    .concat()
}

fn zero() -> Vec<Row> {
    let rule = "[MQTT-2.2.1-3], 3.1.1: [MQTT-2.3.1-1]";
    [
        both("PUBACK 0", rule, Open, "40 * 0000", Ends(0x82)),
        both("PUBREC 0", rule, Open, "50 * 0000", Ends(0x82)),
        both("PUBREL 0", rule, Open, "62 * 0000", Ends(0x82)),
        both("PUBCOMP 0", rule, Open, "70 * 0000", Ends(0x82)),
    ]
    .concat()
}

/// The wrong kind for its message, or too early.
fn wrong() -> Vec<Row> {
    let one = "[MQTT-4.3.2-3]: only PUBACK ends QoS 1";
    let two = "[MQTT-4.3.3-3], [MQTT-4.3.3-5]: first PUBREC, then PUBCOMP";
    [
        both("PUBREC of QoS 1", one, Open, "50 * 0001", Ends(0x82)),
        both("PUBCOMP of QoS 1", one, Open, "70 * 0001", Ends(0x82)),
        both("PUBACK of QoS 2", two, Open, "40 * 0002", Ends(0x82)),
        both("PUBCOMP before PUBREC", two, Open, "70 * 0002", Ends(0x82)),
        both("PUBACK behind PUBREC", two, Open, "40 * 0003", Ends(0x82)),
        v5("PUBREC with an error of QoS 1", one, Open, "50 * 0001 80", Ends(0x82)),
        v5("PUBACK with an error of QoS 2", two, Open, "40 * 0002 80", Ends(0x82)),
    ]
    .concat()
}

fn repeated() -> Vec<Row> {
    let rule = "[MQTT-4.3.3-4]";
    both("PUBREC again", rule, Open, "50 * 0003", Says("62 * 0003"))
}

/// Reason Codes that the packet does not have, or that only a server may use.
fn codes() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |kind: &str, rule, bytes: String| {
        rows.extend(v5(&format!("{kind}: {bytes}"), rule, Open, &bytes, Ends(0x82)));
    };
    for code in ["01", "04", "10", "11", "7F", "81", "82", "92", "FF"] {
        add("no code of PUBACK", "[MQTT-3.4.2-1]", format!("40 * 0001 {code}"));
        add("no code of PUBREC", "[MQTT-3.5.2-1]", format!("50 * 0002 {code}"));
    }
    for code in ["01", "10", "80", "91", "FF"] {
        add("no code of PUBREL", "[MQTT-3.6.2-1]", format!("62 * 0063 {code}"));
        add("no code of PUBCOMP", "[MQTT-3.7.2-1]", format!("70 * 0003 {code}"));
    }
    rows
}
