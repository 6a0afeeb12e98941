//! Never more unanswered messages on a connection than the client's Receive Maximum.

use std::collections::{BTreeMap, BTreeSet};

use super::Broken;
use super::reading::clients;
use crate::history::{Fact, History, Kind};

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let (_, decent) = clients(history);
    let mut windows = BTreeMap::new();
    let mut open: BTreeMap<usize, BTreeSet<u16>> = BTreeMap::new();
    for (_, _, fact) in history.facts() {
        match fact {
            Fact::Connect { connection, window, .. } => {
                windows.insert(*connection, *window);
            }
            Fact::Arrived(arrival) if arrival.qos > 0 && decent.contains(&arrival.client) => {
                let connection = arrival.connection;
                let open = open.entry(connection).or_default();
                open.insert(arrival.packet_id);
                if open.len() > windows[&connection] {
                    let what = format!("connection {connection}: {} in flight", open.len());
                    return Err(Broken::of(&arrival.tag, what));
                }
            }
            Fact::Answered { connection, kind, packet_id, reason, .. }
                if *kind != Kind::PubRec || reason.is_error() =>
            {
                open.entry(*connection).or_default().remove(packet_id);
            }
            _ => {}
        }
    }
    Ok(())
}
