//! Who may do what: everybody everything, but for what was withdrawn.

use std::fmt::Write;

use fastrand::Rng;
use kedgemq::auth::{Access, Acl};

use crate::bug::Bug;
use crate::history::Denial;
use crate::plan::pick;

/// Users whose rights change.
const USERS: [&str; 10] =
    ["p5", "p4", "all5", "all4", "two5", "fickle5", "fickle4", "m5", "brief", "rascal"];
/// Topics to which they change.
const TOPICS: [&str; 2] = ["t/a", "t/b"];
/// All whom an ACL has to name.
const EVERYBODY: [&str; 13] = [
    "p5", "p4", "all5", "all4", "two5", "fickle5", "fickle4", "m5", "m4", "brief", "rascal",
    "watch", "reader",
];

/// The rights of all.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    pub(crate) denied: Vec<Denial>,
}

impl Rights {
    /// Some are withdrawn, others given back.
    pub(crate) fn change(&mut self, rng: &mut Rng) {
        self.denied.retain(|_| rng.bool());
        for _ in 0..rng.u32(1..6) {
            let client = pick(rng, &USERS).into();
            let (topic, access) =
                (pick(rng, &TOPICS), pick(rng, &[Access::Receive, Access::Publish]));
            let denial = Denial { client, topic, access };
            if !self.denied.contains(&denial) {
                self.denied.push(denial);
            }
        }
    }

    /// As the broker is told, in mosquitto's format.
    pub(crate) fn acl(&self, bug: Option<Bug>) -> Option<Acl> {
        let is_heard = |denial: &&Denial| match denial.access {
            Access::Receive => bug != Some(Bug::SkipsReadRight),
            Access::Publish => bug != Some(Bug::SkipsPublishRight),
        };
        let heard: Vec<&Denial> = self.denied.iter().filter(is_heard).collect();
        if heard.is_empty() {
            return None;
        }
        let may = |name: &str, topic: &str, access| {
            let is_it = |d: &&&Denial| *d.client == *name && d.topic == topic && d.access == access;
            !heard.iter().any(|denial| is_it(&denial))
        };
        let mut text = String::new();
        for name in EVERYBODY {
            let _ = writeln!(text, "user {name}\ntopic readwrite r/#\ntopic read $dead/#");
            for topic in TOPICS {
                for (word, access) in [("read", Access::Receive), ("write", Access::Publish)] {
                    if may(name, topic, access) {
                        let _ = writeln!(text, "topic {word} {topic}");
                    }
                }
            }
        }
        Some(Acl::parse(&text).expect("it is well-formed"))
    }
}
