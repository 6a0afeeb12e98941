//! One acknowledgement a packet, of the right kind, in the order of the packets.

use std::collections::{BTreeMap, VecDeque};

use super::Broken;
use super::reading::misbehaved;
use crate::history::{Fact, History, Kind};

/// What a connection waits for.
#[derive(Default)]
struct Waiting {
    publishes: VecDeque<(Kind, u16)>,
    releases: VecDeque<u16>,
    requests: VecDeque<u16>,
}

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let misbehaved = misbehaved(history);
    let mut waiting: BTreeMap<usize, Waiting> = BTreeMap::new();
    for (_, _, fact) in history.facts() {
        let (connection, expected, found) = match fact {
            Fact::Published { connection, packet_id, publication, .. } if *packet_id > 0 => {
                let kind = if publication.qos == 1 { Kind::PubAck } else { Kind::PubRec };
                let waiting = waiting.entry(*connection).or_default();
                waiting.publishes.push_back((kind, *packet_id));
                continue;
            }
            Fact::Released { connection, packet_id, .. } => {
                waiting.entry(*connection).or_default().releases.push_back(*packet_id);
                continue;
            }
            Fact::Subscribe { connection, packet_id, .. }
            | Fact::Unsubscribe { connection, packet_id, .. } => {
                waiting.entry(*connection).or_default().requests.push_back(*packet_id);
                continue;
            }
            Fact::Told { connection, kind: Kind::PubComp, packet_id, .. } => {
                let waiting = waiting.entry(*connection).or_default();
                let expected = waiting.releases.pop_front().map(|id| (Kind::PubComp, id));
                (connection, expected, (Kind::PubComp, *packet_id))
            }
            Fact::Told { connection, kind, packet_id, .. } => {
                let waiting = waiting.entry(*connection).or_default();
                (connection, waiting.publishes.pop_front(), (*kind, *packet_id))
            }
            Fact::Subscribed { connection, packet_id, .. }
            | Fact::Unsubscribed { connection, packet_id, .. } => {
                let request = waiting.entry(*connection).or_default().requests.pop_front();
                if request != Some(*packet_id) {
                    let what = format!("{fact:?}, but {request:?} was the next to be answered");
                    return Err(Broken::new(what));
                }
                continue;
            }
            _ => continue,
        };
        if expected != Some(found) && !misbehaved.contains(connection) {
            let what = format!("connection {connection}: {found:?} came, {expected:?} was next");
            return Err(Broken::new(what));
        }
    }
    Ok(())
}
