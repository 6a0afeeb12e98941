//! A Packet Identifier stands for one message until the client has answered for it, also after
//! a restart of the broker; what is sent again says so.

use std::collections::BTreeMap;

use super::Broken;
use crate::history::{Fact, History, Kind, Tag};

/// Messages of a client by Packet Identifier, QoS and what was answered.
type Open = BTreeMap<(usize, u16), (Tag, u8)>;

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let mut open = Open::new();
    for (_, _, fact) in history.facts() {
        match fact {
            Fact::Arrived(arrival) if arrival.qos > 0 => {
                let (client, id, tag) = (arrival.client, arrival.packet_id, &arrival.tag);
                let before = open.insert((client, id), (tag.clone(), arrival.qos));
                let known = arrival.known_as.clone().map(|known| (known, 2));
                let Some((known, qos)) = before.or(known) else {
                    continue;
                };
                if known != *tag || qos != arrival.qos {
                    let what = format!("c{client}: {id} stands for «{known}» and for «{tag}»");
                    return Err(Broken::of(tag, what));
                }
                if !arrival.dup {
                    let what = format!("c{client}: «{tag}» came again under {id} without DUP");
                    return Err(Broken::of(tag, what));
                }
            }
            // Whether the broker got a PUBACK the client cannot know, but it is done with it.
            Fact::Answered { client, kind: Kind::PubAck, packet_id, .. } => {
                open.remove(&(*client, *packet_id));
            }
            Fact::Answered { client, kind: Kind::PubRec, packet_id, reason, .. }
                if reason.is_error() =>
            {
                open.remove(&(*client, *packet_id));
            }
            Fact::ReleaseArrived { client, packet_id, .. } => {
                open.remove(&(*client, *packet_id));
            }
            // The window is empty again, but for QoS 2 the client still knows what it took.
            Fact::Closed { client, .. } => {
                open.retain(|(whose, _), (_, qos)| whose != client || *qos == 2);
            }
            Fact::Accepted { client, present: false, .. } => {
                open.retain(|(whose, _), _| whose != client);
            }
            _ => {}
        }
    }
    Ok(())
}
