//! First packets that are no CONNECT, and protocols that are not ours.

use crate::row::Answer::{Returns, Silence};
use crate::row::Moment::First;
use crate::row::{Row, both, v4, v5};

/// First packets that would be right later.
const LATER: [(&str, &str); 10] = [
    ("PUBLISH", r#"31 * "bad" {} 'x'"#),
    ("PUBLISH with QoS 1", r#"33 * "bad" 0001 {} 'x'"#),
    ("PUBACK", "40 * 0001"),
    ("PUBREC", "50 * 0002"),
    ("PUBREL", "62 * 0063"),
    ("PUBCOMP", "70 * 0003"),
    ("SUBSCRIBE", r#"82 * 0001 {} "bad" 00"#),
    ("UNSUBSCRIBE", r#"A2 * 0001 {} "keep""#),
    ("PINGREQ", "C0 *"),
    ("DISCONNECT", "E0 *"),
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, bytes) in LATER {
        let name = format!("{kind} before CONNECT");
        rows.extend(both(&name, "[MQTT-3.1.0-1]", First, bytes, Silence));
        // What comes behind does not mend it.
        let name = format!("{kind} before CONNECT, and then a CONNECT");
        let bytes = format!(r#"{bytes} | 10 * "MQTT" ^ 02 0000 {{}} @"#);
        rows.extend(both(&name, "[MQTT-3.1.0-1]", First, &bytes, Silence));
    }
    let auth = r#"F0 * 18 { 15 "m" }"#;
    rows.extend(v5("AUTH before CONNECT", "[MQTT-3.1.0-1]", First, auth, Silence));
    for (kind, bytes) in [("CONNACK", "20 * 0000 {}"), ("PINGRESP", "D0 *"), ("SUBACK", "90 *")] {
        let name = format!("{kind} before CONNECT");
        rows.extend(both(&name, "[MQTT-3.1.0-1]", First, bytes, Silence));
    }
    rows.extend(other_protocols());
    rows.extend(protocol_names());
    rows
}

fn other_protocols() -> Vec<Row> {
    let http = "'GET / HTTP/1.1' 0D0A 'Host: x' 0D0A0D0A";
    let tls = "16 0301 00C8 01 0000C4 0303 00x32 00 0002 1301";
    [
        v5("HTTP", "[MQTT-3.1.0-1]", First, http, Silence),
        v5("a TLS handshake", "[MQTT-3.1.0-1]", First, tls, Silence),
        v5("zeroes", "[MQTT-3.1.0-1]", First, "00x100", Silence),
        v5("bytes FF", "[MQTT-3.1.0-1]", First, "FFx100", Silence),
        v5("line ends", "[MQTT-3.1.0-1]", First, "0D0A0D0A", Silence),
    ]
    .concat()
}

/// Who speaks what we do not know understands the CONNACK of 3.1.1, if any.
fn protocol_names() -> Vec<Row> {
    let name = "[MQTT-3.1.2-1]";
    let level = "[MQTT-3.1.2-2]";
    let rest = "02 0000 @";
    let connect = |front: &str| format!("10 * {front} {rest}");
    [
        v4("protocol name in small letters", name, First, &connect(r#""mqtt" 04"#), Returns(1)),
        v4("no protocol name", name, First, &connect(r#""" 04"#), Returns(1)),
        v4("protocol name MQT", name, First, &connect(r#""MQT" 04"#), Returns(1)),
        v4("protocol name MQTTT", name, First, &connect(r#""MQTTT" 04"#), Returns(1)),
        v4("protocol name with a null", name, First, &connect("[ 'MQTT' 00 ] 04"), Returns(1)),
        v4("protocol name HTTP", name, First, &connect(r#""HTTP" 05"#), Returns(1)),
        v4("MQTT 3.1 as a bridge", level, First, &connect(r#""MQIsdp" 83"#), Returns(1)),
        v4("level 4 by the name of 3.1", level, First, &connect(r#""MQIsdp" 04"#), Returns(1)),
        v4("level 0", level, First, &connect(r#""MQTT" 00"#), Returns(1)),
        v4("level 3", level, First, &connect(r#""MQTT" 03"#), Returns(1)),
        v4("level 6", level, First, &connect(r#""MQTT" 06"#), Returns(1)),
        v4("level 255", level, First, &connect(r#""MQTT" FF"#), Returns(1)),
        v4("level 4 as a bridge", level, First, &connect(r#""MQTT" 84"#), Returns(1)),
        v4("CONNECT of nothing", "3.1.1: [MQTT-3.1.4-1]", First, "10 *", Silence),
        v4("a name alone", "3.1.1: [MQTT-3.1.4-1]", First, r#"10 * "MQTT""#, Silence),
        v4("a name too long", "3.1.1: [MQTT-3.1.4-1]", First, "10 * FFFF 'MQTT'", Silence),
    ]
    .concat()
}
