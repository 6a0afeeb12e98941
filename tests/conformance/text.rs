//! Control packets as short lines, as a test compares them. Packet Identifiers that the broker
//! chooses are left out; of a 3.1.1 packet only what the wire carries is shown.

use kedgemq::mqtt::reply::{Ack, AckList};
use kedgemq::mqtt::{Delivery, ReasonCode, Reply, Version};
use kedgemq::turn::Output;

/// A client that got nothing.
pub(crate) const NOTHING: [&str; 0] = [];

/// One line for one output; `None` for what 3.1.1 does not have.
pub(crate) fn line(version: Version, output: &Output) -> Option<String> {
    match output {
        Output::Packet(reply) => reply_line(version, reply),
        Output::Close => Some("CLOSE".to_owned()),
        Output::Written(_) => unreachable!("taken as a packet"),
    }
}

/// One line for one packet.
pub(crate) fn reply_line(version: Version, reply: &Reply) -> Option<String> {
    let v5 = version == Version::V5;
    Some(match reply {
        Reply::ConnAck(ack) => {
            let present = if ack.session_present { " present" } else { "" };
            format!("CONNACK {}{present}", code(ack.reason))
        }
        Reply::Publish(delivery) => publish(delivery),
        Reply::PubAck(ack) => acknowledgement("PUBACK", v5, ack),
        Reply::PubRec(ack) => acknowledgement("PUBREC", v5, ack),
        Reply::PubRel(ack) if v5 && ack.reason != ReasonCode::SUCCESS => {
            format!("PUBREL {}", code(ack.reason))
        }
        Reply::PubRel(_) => "PUBREL".to_owned(),
        Reply::PubComp(ack) => acknowledgement("PUBCOMP", v5, ack),
        Reply::SubAck(list) => codes("SUBACK", v5, list),
        Reply::UnsubAck(list) if v5 => codes("UNSUBACK", v5, list),
        Reply::UnsubAck(list) => format!("UNSUBACK {}", list.packet_id.get()),
        Reply::PingResp => "PINGRESP".to_owned(),
        Reply::Disconnect(disconnect) if v5 => format!("DISCONNECT {}", code(disconnect.reason)),
        Reply::Disconnect(_) => return None,
    })
}

/// `PUBLISH topic payload qN [dup] [retain]`.
pub(crate) fn publish(delivery: &Delivery) -> String {
    let message = &delivery.message;
    let payload = String::from_utf8_lossy(&message.payload);
    let dup = if delivery.dup { " dup" } else { "" };
    let retain = if delivery.retain { " retain" } else { "" };
    format!("PUBLISH {} {payload} q{}{dup}{retain}", message.topic, delivery.qos as u8)
}

fn acknowledgement(name: &str, v5: bool, ack: &Ack) -> String {
    match v5 {
        true => format!("{name} {} {}", ack.packet_id.get(), code(ack.reason)),
        false => format!("{name} {}", ack.packet_id.get()),
    }
}

fn codes(name: &str, v5: bool, list: &AckList) -> String {
    let mut line = format!("{name} {}", list.packet_id.get());
    for reason in &list.reasons {
        let shown = if !v5 && reason.is_error() { ReasonCode(0x80) } else { *reason };
        line.push(' ');
        line.push_str(&code(shown));
    }
    line
}

fn code(reason: ReasonCode) -> String {
    format!("{:02X}", reason.0)
}
