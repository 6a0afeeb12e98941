//! What a set of seeds reached: a simulation in which nothing goes wrong proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use kedgemq::turn::DeadReason;

use crate::history::{Departure, Entered, Fact, History, Kind, Use};

/// How often each kind of event happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    counts: BTreeMap<String, u64>,
}

/// What every normal set of seeds must reach.
pub(crate) const EXPECTED: [&str; 64] = [
    "a client does not read",
    "acknowledged QoS 1",
    "acknowledged QoS 2",
    "acknowledgements together",
    "AUTH out of the blue",
    "clean starts",
    "clock jumps",
    "clock jumps while it is down",
    "cold moves",
    "commits",
    "copies loaded",
    "copies of transient sessions counted",
    "counted without a letter",
    "crashes in a commit",
    "cuts",
    "dead letters read",
    "died: delivery_limit",
    "died: expired",
    "died: queue_full",
    "died: rejected",
    "died: session_cleared",
    "died: session_expired",
    "died: too_large",
    "died: unauthorized",
    "disk operations failed",
    "downtimes that cannot be",
    "keep alive passed",
    "killed",
    "letters aged or over the quota",
    "letters purged",
    "letters redriven to their owner",
    "letters redriven to their topic",
    "letters retried by themselves",
    "log collections",
    "no room in the store's queue",
    "outages",
    "overruns the window",
    "power cut",
    "publishes refused",
    "publishes refused for a full queue",
    "publishes without the right, 3.1.1",
    "publishes without the right, 5.0",
    "publishes sent again",
    "QoS 2 known by its identifier",
    "refused CONNECT",
    "refused deliveries",
    "retained changes",
    "retained deliveries",
    "retained messages cleared",
    "rights changed",
    "runs of PUBLISHes",
    "second CONNECT",
    "sends what is no packet",
    "sent again with DUP",
    "sessions resumed",
    "share group deliveries",
    "silent deaths",
    "stopped in order",
    "take-overs",
    "tasks cancelled",
    "tasks that went on after a crash",
    "the store fails or recovers",
    "torn by a power cut",
    "wills",
];

impl Coverage {
    pub(crate) fn count(&mut self, what: &str) {
        self.add(what, 1);
    }

    pub(crate) fn add(&mut self, what: &str, count: u64) {
        *self.counts.entry(what.to_owned()).or_default() += count;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            self.add(what, *count);
        }
    }

    /// What was never reached.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let never = |what: &&str| self.counts.get(*what).is_none_or(|count| *count == 0);
        EXPECTED.into_iter().filter(never).collect()
    }

    /// A table of all counts.
    pub(crate) fn table(&self) -> String {
        let line = |(what, count): (&String, &u64)| format!("{count:>10}  {what}\n");
        self.counts.iter().map(line).collect()
    }

    /// Counts what the event log shows.
    pub(crate) fn read(&mut self, history: &History) {
        let (mut members, mut counted_only) = (BTreeSet::new(), Vec::new());
        for (_, _, fact) in history.facts() {
            match fact {
                Fact::Subscribe { client, filter, .. } if filter.starts_with("$share/") => {
                    members.insert(*client);
                }
                Fact::Connect { clean: true, .. } => self.count("clean starts"),
                Fact::Accepted { present: true, .. } => self.count("sessions resumed"),
                Fact::Refused { .. } => self.count("refused CONNECT"),
                Fact::Misbehaved { how, .. } => self.count(how),
                Fact::Published { dup: true, .. } => self.count("publishes sent again"),
                Fact::Published { publication, .. } if publication.retain => {
                    self.count("retained changes");
                    if publication.payload.is_empty() {
                        self.count("retained messages cleared");
                    }
                }
                Fact::Told { kind: Kind::PubAck, .. } => self.count("acknowledged QoS 1"),
                Fact::Told { kind: Kind::PubComp, .. } => self.count("acknowledged QoS 2"),
                Fact::Letter(letter) if letter.reason != DeadReason::Unauthorized => {
                    self.died(letter.reason);
                }
                Fact::Arrived(arrival) => {
                    if members.contains(&arrival.client) {
                        self.count("share group deliveries");
                    }
                    if arrival.dup {
                        self.count("sent again with DUP");
                    }
                    if arrival.retain {
                        self.count("retained deliveries");
                    }
                    if arrival.tag.starts_with('w') {
                        self.count("wills");
                    }
                    if arrival.topic.starts_with("$dead/") {
                        self.count("dead letters read");
                    }
                    match arrival.used {
                        Use::Known => self.count("QoS 2 known by its identifier"),
                        Use::Refused => self.count("refused deliveries"),
                        Use::Taken => {}
                    }
                }
                Fact::Subscribed { .. } => self.count("subscriptions"),
                Fact::Ledger { entered, .. } => self.entered(entered, &counted_only),
                Fact::Limits { counted_only: off, .. } => counted_only.clone_from(off),
                _ => {}
            }
        }
    }

    fn entered(&mut self, entered: &Entered, counted_only: &[DeadReason]) {
        match entered {
            Entered::Died { reason: DeadReason::Unauthorized, .. } => {
                self.died(DeadReason::Unauthorized);
            }
            Entered::Counted { dead, .. } => {
                let off = counted_only.iter().map(|reason| dead[*reason as usize]);
                self.add("counted without a letter", off.sum());
            }
            Entered::Forgotten { how, .. } => self.count(match how {
                Departure::ToOwner => "letters redriven to their owner",
                Departure::ToTopic => "letters redriven to their topic",
                Departure::Purged => "letters purged",
                Departure::Dropped => "letters aged or over the quota",
            }),
            _ => {}
        }
    }

    fn died(&mut self, reason: DeadReason) {
        self.add(&format!("died: {}", reason.as_str()), 1);
    }
}
