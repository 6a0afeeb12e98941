//! The broker speaks MQTT, ends no connection of a client that keeps the rules for breaking them,
//! refuses only what it says it refuses, loses nothing, and leaves nothing behind.

use std::collections::BTreeMap;

use kedgemq::auth::Access;

use super::Broken;
use super::reading::{Rights, clients, misbehaved};
use crate::history::{Fact, History};

/// Reasons that blame the client.
const BLAME: [u8; 7] = [0x81, 0x82, 0x90, 0x93, 0x94, 0x95, 0x99];
/// For a CONNECT: the store fails.
const UNAVAILABLE: u8 = 0x88;
/// For a CONNECT: no right to publish its will.
const NOT_AUTHORIZED: u8 = 0x87;
/// For a SUBSCRIBE: the store fails, in both versions.
const STORE_FAILS: [u8; 2] = [0x80, 0x97];

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let misbehaved = misbehaved(history);
    let rights = Rights::new(history);
    let (names, _) = clients(history);
    let mut asked = BTreeMap::new();
    for (index, _, fact) in history.facts() {
        let wrong = match fact {
            Fact::Nonsense { .. } | Fact::Lost { .. } | Fact::Leftover { .. } => true,
            Fact::Dismissed { connection, reason, .. } => {
                BLAME.contains(&reason.0) && !misbehaved.contains(connection)
            }
            Fact::Connect { connection, .. } => {
                asked.insert(*connection, index);
                false
            }
            Fact::Refused { client, connection, reason } => {
                let time = (asked[connection], index);
                let may_all = ["t/a", "t/b"]
                    .iter()
                    .all(|topic| rights.may_all_along(time, names[client], topic, Access::Publish));
                reason.0 != UNAVAILABLE && (reason.0 != NOT_AUTHORIZED || may_all)
            }
            Fact::Subscribed { reason, .. } => {
                reason.is_error() && !STORE_FAILS.contains(&reason.0)
            }
            _ => false,
        };
        if wrong {
            return Err(Broken::new(format!("at {index}: {fact:?}")));
        }
    }
    Ok(())
}
