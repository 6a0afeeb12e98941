//! Session Present is true exactly when the client was promised that its session goes on.

use std::collections::BTreeMap;

use super::Broken;
use crate::history::{Fact, History};

/// What a client may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belief {
    /// There is no session, or it ended.
    None,
    /// It is there, at least until this time.
    Stored { until: u64 },
    /// Nobody told it.
    Doubt,
}

/// What is known of one client.
#[derive(Debug)]
struct Known {
    belief: Belief,
    /// The shortest expiry since CONNACK came, in milliseconds.
    expiry: u64,
    /// The connection of the last CONNECT, and what it asked for.
    last: Option<Asked>,
    accepted: usize,
    /// When connections ended at the broker: the client may hear of their CONNACK later.
    gone: BTreeMap<usize, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    connection: usize,
    clean: bool,
    expiry: u64,
    is_accepted: bool,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            belief: Belief::None,
            expiry: u64::MAX,
            last: None,
            accepted: 0,
            gone: BTreeMap::new(),
        }
    }
}

pub(super) fn check(history: &History) -> Result<(), Broken> {
    let mut all: BTreeMap<usize, Known> = BTreeMap::new();
    for (index, at, fact) in history.facts() {
        match fact {
            Fact::Connect { client, connection, clean, expiry, .. } => {
                let expiry = match *expiry {
                    u32::MAX => u64::MAX,
                    seconds => u64::from(seconds) * 1000,
                };
                let (connection, clean) = (*connection, *clean);
                let asked = Asked { connection, clean, expiry, is_accepted: false };
                all.entry(*client).or_default().connect(asked);
            }
            Fact::Accepted { client, connection, present } => {
                let known = all.get_mut(client).expect("CONNACK comes after CONNECT");
                if !known.accept(*connection, *present, at) {
                    let what = format!("c{client}: Session Present is {present} at {index}");
                    return Err(Broken::new(format!("{what}: {known:?}")));
                }
            }
            Fact::Gone { client, connection } => {
                let known = all.get_mut(client).expect("a connection begins with CONNECT");
                known.gone(*connection, at);
            }
            Fact::Left { client, expiry: Some(_), .. } => {
                all.get_mut(client).expect("it was connected").belief = Belief::Doubt;
            }
            _ => {}
        }
    }
    Ok(())
}

impl Known {
    /// The last CONNECT may have been heard, though its CONNACK did not come.
    fn connect(&mut self, asked: Asked) {
        if let Some(last) = self.last.filter(|last| !last.is_accepted) {
            let goes_on = !last.clean && last.expiry > 0;
            match self.belief {
                Belief::Stored { .. } if goes_on => self.expiry = self.expiry.min(last.expiry),
                Belief::None if last.expiry == 0 => {}
                _ => self.belief = Belief::Doubt,
            }
        }
        self.last = Some(asked);
    }

    fn accept(&mut self, connection: usize, present: bool, at: u64) -> bool {
        let last = self.last.as_mut().expect("CONNACK comes after CONNECT");
        last.is_accepted = true;
        let right = match self.belief {
            _ if last.clean => !present,
            Belief::None => !present,
            Belief::Stored { until } => present || at >= until,
            Belief::Doubt => true,
        };
        self.expiry = last.expiry;
        self.accepted = connection;
        let gone = self.gone.get(&connection).copied().unwrap_or(u64::MAX);
        self.belief = match last.expiry {
            0 => Belief::None,
            expiry => Belief::Stored { until: gone.saturating_add(expiry) },
        };
        right
    }

    fn gone(&mut self, connection: usize, at: u64) {
        self.gone.insert(connection, at);
        if let Belief::Stored { until } = self.belief
            && connection >= self.accepted
        {
            let asked = self.last.filter(|last| last.connection == connection);
            let expiry = asked.map_or(self.expiry, |asked| asked.expiry.min(self.expiry));
            self.belief = Belief::Stored { until: until.min(at.saturating_add(expiry)) };
        }
    }
}
