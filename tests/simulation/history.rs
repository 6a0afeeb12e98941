//! The event log: what clients sent, what they were told, what arrived, and what the world did.
//! It is all that the checkers read.

use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use kedgemq::auth::Access;
use kedgemq::mqtt::ReasonCode;
use kedgemq::turn::DeadReason;

/// The name of a message, which its payload begins with.
pub(crate) type Tag = Arc<str>;

/// A message as its publisher sent it.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) tag: Tag,
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) payload: Bytes,
    pub(crate) properties: Bytes,
    pub(crate) publisher: usize,
    pub(crate) is_will: bool,
    /// Message Expiry Interval in seconds.
    pub(crate) expiry: Option<u32>,
}

/// A session as the broker has it, for who owes whom what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) name: Tag,
    pub(crate) stored: bool,
    /// Topic Filters, QoS, No Local.
    pub(crate) subscriptions: Vec<(Tag, u8, bool)>,
}

/// All sessions at one time.
pub(crate) type Table = Arc<Vec<Seat>>;

/// What a client may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) client: Tag,
    pub(crate) topic: &'static str,
    pub(crate) access: Access,
}

/// Where a letter went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// Back to its owner.
    ToOwner,
    /// To its topic again.
    ToTopic,
    /// An operator had it forgotten.
    Purged,
    /// The quota, or its age.
    Dropped,
}

/// What the core did to copies, as its records and counters say. `record` is the newest record
/// when it was done: what is above the last commit of a broker that dies may be undone.
#[derive(Debug)]
pub(crate) enum Entered {
    /// A PUBLISH of QoS 1 or 2 was taken, or a will published.
    Took {
        topic: Tag,
        tag: Tag,
        publisher: Option<Tag>,
        after: Option<Table>,
    },
    /// A retained message became a copy of a new subscriber.
    Retained {
        owner: Tag,
        tag: Tag,
    },
    /// The client's PUBACK or PUBREC for it was handled.
    Settled {
        client: Tag,
        tag: Tag,
    },
    Died {
        id: u64,
        owner: Tag,
        tag: Tag,
        reason: DeadReason,
    },
    /// A letter is not kept any longer.
    Forgotten {
        id: u64,
        owner: Tag,
        tag: Tag,
        topic: Tag,
        how: Departure,
    },
    /// The counters went up: deaths in the order of [`DeadReason::ALL`], copies of transient
    /// sessions, letters over the quota, letters that were too old.
    Counted {
        dead: [u64; DeadReason::ALL.len()],
        session_ended: u64,
        dead_dropped: u64,
        aged_out: u64,
    },
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
    /// How often it was sent.
    pub(crate) deliveries: u32,
    pub(crate) qos: u8,
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
        /// Reasons of which no letters are kept.
        counted_only: Vec<DeadReason>,
        /// How long letters are kept, in milliseconds.
        letter_age: u64,
        /// Whether a publish may be refused as a queue is full.
        refuses: bool,
    },
    /// All rights are there but these.
    Rights {
        denied: Vec<Denial>,
    },
    /// The clock on the wall jumped.
    Jumped {
        milliseconds: i64,
    },
    /// The broker's sessions, from here on.
    Table(Table),
    /// A PUBLISH came to the core.
    Heard {
        client: Tag,
        tag: Tag,
        topic: Tag,
    },
    /// A message is sent for the first time, so far as the broker knows.
    Sent {
        client: Tag,
        tag: Tag,
        topic: Tag,
    },
    Ledger {
        record: u64,
        entered: Entered,
    },
    /// An operator did something with letters.
    Operated {
        what: String,
    },
    Connect {
        client: usize,
        connection: usize,
        clean: bool,
        /// In seconds; `u32::MAX` is never.
        expiry: u32,
        window: usize,
        will: Option<Arc<Publication>>,
        /// Will Delay Interval in seconds.
        will_delay: u32,
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
        /// The last record that is known to be on disk.
        committed: u64,
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
        Fact::Connect { client, connection, clean, expiry, window, will, .. } => {
            let will = will.as_ref().map_or("", |will| &*will.tag);
            format!("c{client}/{connection} CONNECT clean={clean} {expiry}s {window} «{will}»")
        }
        Fact::Ledger { record, entered } => ledger_line(*record, entered),
        Fact::Table(table) => format!("{} sessions", table.len()),
        other => format!("{other:?}"),
    }
}

/// One line of the ledger.
fn ledger_line(record: u64, entered: &Entered) -> String {
    match entered {
        Entered::Took { tag, .. } => format!("#{record} took «{tag}»"),
        Entered::Retained { owner, tag } => format!("#{record} retained for {owner} «{tag}»"),
        Entered::Settled { client, tag } => format!("#{record} settled by {client} «{tag}»"),
        Entered::Died { id, owner, tag, reason } => {
            format!("#{record} letter {id} {} {owner} «{tag}» dies", reason.as_str())
        }
        Entered::Forgotten { id, owner, tag, how, .. } => {
            format!("#{record} letter {id} of {owner} «{tag}» goes: {how:?}")
        }
        counted @ Entered::Counted { .. } => format!("#{record} {counted:?}"),
    }
}
