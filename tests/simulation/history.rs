//! The event log: what clients sent, what they were told, what arrived, and what the world did.
//! It is all that the checkers read.

use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use kedgemq::mqtt::ReasonCode;
use kedgemq::turn::DeadReason;

/// The name of a message, which its payload begins with.
pub(crate) type Tag = Arc<str>;

/// A message as its publisher sent it.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) tag: Tag,
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) payload: Bytes,
    pub(crate) properties: Bytes,
    pub(crate) publisher: usize,
    pub(crate) is_will: bool,
}

/// Which acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::enum_variant_names, reason = "the names are the specification's")]
pub(crate) enum Kind {
    PubAck,
    PubRec,
    PubComp,
}

/// What a client made of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It took it.
    Taken,
    /// It knew its QoS 2 Packet Identifier, so it took it for a repetition of this message.
    Known,
    /// It is going to refuse it.
    Refused,
}

/// A PUBLISH that arrived.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) client: usize,
    pub(crate) connection: usize,
    pub(crate) tag: Tag,
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// `None` in 3.1.1.
    pub(crate) properties: Option<Bytes>,
    pub(crate) packet_id: u16,
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) used: Use,
    /// The message that the Packet Identifier stands for, as the client knows it.
    pub(crate) known_as: Option<Tag>,
}

/// A dead letter that is in the store at the end.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) id: u64,
    pub(crate) owner: String,
    pub(crate) reason: DeadReason,
    pub(crate) tag: Tag,
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// When it died, in milliseconds.
    pub(crate) died: u64,
}

/// One thing that happened.
#[derive(Debug)]
#[expect(dead_code, reason = "some of it is only printed, in traces")]
pub(crate) enum Fact {
    Client {
        client: usize,
        name: String,
        keeps_protocol: bool,
    },
    /// How many copies an owner's queue takes, and how often one is sent.
    Limits {
        messages: usize,
        deliveries: u32,
    },
    Connect {
        client: usize,
        connection: usize,
        clean: bool,
        /// In seconds; `u32::MAX` is never.
        expiry: u32,
        window: usize,
        will: Option<Arc<Publication>>,
    },
    Accepted {
        client: usize,
        connection: usize,
        present: bool,
    },
    Refused {
        client: usize,
        connection: usize,
        reason: ReasonCode,
    },
    Misbehaved {
        client: usize,
        connection: usize,
        how: &'static str,
    },
    Published {
        client: usize,
        connection: usize,
        packet_id: u16,
        dup: bool,
        publication: Arc<Publication>,
    },
    /// The client gave up: its session was gone, so it cannot know.
    Abandoned {
        client: usize,
        tag: Tag,
    },
    Told {
        client: usize,
        connection: usize,
        kind: Kind,
        packet_id: u16,
        reason: ReasonCode,
        tag: Option<Tag>,
    },
    Released {
        client: usize,
        connection: usize,
        packet_id: u16,
    },
    Subscribe {
        client: usize,
        connection: usize,
        packet_id: u16,
        filter: String,
        qos: u8,
        no_local: bool,
    },
    Subscribed {
        client: usize,
        connection: usize,
        packet_id: u16,
        reason: ReasonCode,
    },
    Unsubscribe {
        client: usize,
        connection: usize,
        packet_id: u16,
        filter: String,
    },
    Unsubscribed {
        client: usize,
        connection: usize,
        packet_id: u16,
    },
    Arrived(Box<Arrival>),
    Answered {
        client: usize,
        connection: usize,
        kind: Kind,
        packet_id: u16,
        reason: ReasonCode,
    },
    ReleaseArrived {
        client: usize,
        connection: usize,
        packet_id: u16,
    },
    /// The client said DISCONNECT, with this expiry from now on.
    Left {
        client: usize,
        connection: usize,
        expiry: Option<u32>,
    },
    /// The broker said DISCONNECT.
    Dismissed {
        client: usize,
        connection: usize,
        reason: ReasonCode,
    },
    /// The client knows that the connection ended, or gave it up.
    Closed {
        client: usize,
        connection: usize,
        how: &'static str,
    },
    /// The broker's side of a connection ended.
    Gone {
        client: usize,
        connection: usize,
    },
    /// The client read what is no packet, or what no broker may send.
    Nonsense {
        client: usize,
        what: String,
    },
    Crashed {
        how: &'static str,
    },
    Started,
    /// Copies that were never sent, in the store of a broker that starts.
    Waiting {
        owner: u64,
        count: usize,
        limit: usize,
    },
    Store {
        what: String,
    },
    /// The broker says that it lost copies.
    Lost {
        owner: String,
        count: u64,
    },
    /// What grew without a bound would show here.
    Sizes {
        outbox: usize,
        outbox_limit: usize,
        pending: usize,
        pending_limit: usize,
    },
    /// From here on all faults are over, and all clients finish what they began.
    Calm,
    /// All is said.
    Quiet,
    Letter(Box<Letter>),
    /// In the store after the end.
    Leftover {
        what: String,
    },
}

/// A fact and its time, in milliseconds.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) at: u64,
    pub(crate) fact: Fact,
}

/// All facts, in their order.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) now: u64,
    pub(crate) entries: Vec<Entry>,
}

impl History {
    pub(crate) fn note(&mut self, fact: Fact) {
        self.entries.push(Entry { at: self.now, fact });
    }

    /// The facts, without their time.
    pub(crate) fn facts(&self) -> impl Iterator<Item = (usize, u64, &Fact)> {
        self.entries.iter().enumerate().map(|(index, entry)| (index, entry.at, &entry.fact))
    }

    /// The lines that name `word`, and the last ones; all when there are few.
    pub(crate) fn trace(&self, word: Option<&str>, whole: bool) -> String {
        const LAST: usize = 60;
        let mut text = String::new();
        let from = self.entries.len().saturating_sub(LAST);
        for (index, entry) in self.entries.iter().enumerate() {
            let line = short(&entry.fact);
            let named = word.is_some_and(|word| line.contains(word));
            let world = matches!(entry.fact, Fact::Crashed { .. } | Fact::Started | Fact::Calm);
            if whole || named || world || (word.is_none() && index >= from) {
                let _ = writeln!(text, "{index:5} {:>9}ms  {line}", entry.at);
            }
        }
        text
    }
}

/// One line of text, with payloads left out.
fn short(fact: &Fact) -> String {
    match fact {
        Fact::Published { client, connection, packet_id, dup, publication } => {
            let Publication { tag, topic, qos, retain, .. } = &**publication;
            let (d, r) = (if *dup { " dup" } else { "" }, if *retain { " retain" } else { "" });
            format!("c{client}/{connection} PUBLISH {packet_id} q{qos}{d}{r} {topic} «{tag}»")
        }
        Fact::Arrived(arrival) => {
            let Arrival { client, connection, tag, topic, packet_id, qos, dup, .. } = &**arrival;
            let d = if *dup { " dup" } else { "" };
            let r = if arrival.retain { " retain" } else { "" };
            let used = arrival.used;
            format!("c{client}/{connection} got {packet_id} q{qos}{d}{r} {topic} «{tag}» {used:?}")
        }
        Fact::Letter(letter) => {
            let Letter { id, owner, reason, tag, .. } = &**letter;
            format!("letter {id} {} {owner} «{tag}»", reason.as_str())
        }
        Fact::Told { client, connection, kind, packet_id, reason, tag } => {
            let tag = tag.as_deref().unwrap_or("?");
            format!("c{client}/{connection} told {kind:?} {packet_id} {reason} «{tag}»")
        }
        Fact::Connect { client, connection, clean, expiry, window, will } => {
            let will = will.as_ref().map_or("", |will| &*will.tag);
            format!("c{client}/{connection} CONNECT clean={clean} {expiry}s {window} «{will}»")
        }
        other => format!("{other:?}"),
    }
}
