//! One client's session: what the specification calls Session State, and the connection that
//! uses it now. Pure: it decides for one client; `broker` decides between many.
//!
//! Split by direction: `inbound` is what the client publishes, `queue` and `outbound` what it is
//! sent, `retained` what its subscriptions still bring, `groups` which share groups wait for it;
//! `link` is the connection, `violation` what breaks it; `rare` keeps idle ones small.
//!
//! Invariant: `newest` is the last record that speaks of this session; what must be durable
//! before it is told waits for it.

pub mod groups;
pub mod inbound;
pub mod link;
pub mod outbound;
pub mod packet_ids;
pub mod queue;
pub mod rare;
pub mod retained;
mod tail;
pub mod violation;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::mqtt::packet::{SubscriptionOptions, Version};
use crate::mqtt::reply::Reply;
use crate::time::Timestamp;
use crate::turn::{Record, RecordNumber, SessionId, SessionRecord, Turn, WillRecord};

use inbound::Inbound;
use link::Link;
use outbound::Outbound;
use queue::Queue;
use rare::{More, Rare};

/// A Session Expiry Interval that never passes.
pub const NEVER: u32 = u32::MAX;

/// One client's session.
#[derive(Debug)]
pub struct Session {
    /// Its id, which also names its queue.
    pub id: SessionId,
    /// Client Identifier.
    pub client_id: Arc<str>,
    /// User Name of the last connection.
    pub user: Option<Arc<str>>,
    /// Protocol of the last connection.
    pub version: Version,
    /// Whether it is in the store: from its first Session Expiry Interval above 0 until it ends.
    pub stored: bool,
    /// Session Expiry Interval in seconds.
    pub expiry: u32,
    /// Since when nobody is connected.
    pub disconnected: Option<Timestamp>,
    /// What is published when the connection ends without a DISCONNECT.
    pub will: Option<Box<WillRecord>>,
    /// The newest record that speaks of this session.
    pub newest: RecordNumber,
    /// By Topic Filter, with `$share/…` in front where shared.
    pub subscriptions: BTreeMap<Arc<str>, Subscription>,
    /// What the client published.
    pub inbound: Rare<Inbound>,
    /// What waits for the client.
    pub queue: Rare<Queue>,
    /// What was sent to the client and is not acknowledged.
    pub outbound: Rare<Outbound>,
    /// What few sessions have.
    pub more: Rare<More>,
    /// The connection, while there is one.
    pub link: Option<Box<Link>>,
}

/// A subscription of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Subscription Options.
    pub options: SubscriptionOptions,
    /// Subscription Identifier.
    pub id: Option<u32>,
}

impl Session {
    /// A new session without a connection.
    pub fn new(id: SessionId, client_id: Arc<str>, version: Version, expiry: u32) -> Self {
        let stored = expiry > 0;
        Self {
            id,
            client_id,
            user: None,
            version,
            stored,
            expiry,
            disconnected: None,
            will: None,
            newest: RecordNumber::default(),
            subscriptions: BTreeMap::new(),
            inbound: Rare::new(()),
            queue: Rare::new(stored),
            outbound: Rare::new(()),
            more: Rare::new(()),
            link: None,
        }
    }

    /// Its connection ended.
    pub fn disconnect(&mut self) {
        if let Some(outbound) = self.outbound.present() {
            outbound.disconnect(self.stored);
        }
        if let Some(inbound) = self.inbound.present() {
            inbound.disconnect();
        }
        if let Some(queue) = self.queue.present() {
            queue.fold();
        }
        self.tidy();
    }

    /// Its will is not due, or not any more.
    pub fn will_is_not_due(&mut self) {
        if let Some(more) = self.more.present() {
            more.will_due = None;
        }
    }

    /// Nothing happens for a while: gives back memory that it has no use for until then. All up to
    /// `committed` is durable.
    pub fn rest(&mut self, committed: RecordNumber) {
        if let Some(inbound) = self.inbound.present() {
            inbound.forget_acknowledged(committed);
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        self.inbound.tidy();
        self.queue.tidy();
        self.outbound.tidy();
        self.more.tidy();
    }

    /// Makes `record`, which speaks of this session, durable, if the session is stored.
    pub fn record(&mut self, turn: &mut Turn, record: impl FnOnce() -> Record) {
        if self.stored {
            self.newest = turn.record(record());
        }
    }

    /// Writes the session anew.
    pub fn record_self(&mut self, turn: &mut Turn) {
        if self.stored {
            self.newest = turn.record(self.as_record());
        }
    }

    /// The session as it is stored.
    pub fn as_record(&self) -> Record {
        Record::Session(Box::new(SessionRecord {
            id: self.id,
            client_id: self.client_id.clone(),
            user: self.user.clone(),
            version: self.version,
            expiry: self.expiry,
            disconnected: self.disconnected,
            ordinal_bound: self.outbound.bound(),
            taken: self.outbound.taken().collect(),
            will: self.will.clone(),
        }))
    }

    /// Sends `reply` when all that was recorded of this session is durable. A session that is
    /// gone says nothing.
    pub fn reply(&mut self, turn: &mut Turn, reply: Reply) {
        self.reply_after(turn, RecordNumber::default(), reply);
    }

    /// The same, and not before `until` is durable.
    pub fn reply_after(&mut self, turn: &mut Turn, until: RecordNumber, reply: Reply) {
        let Some(link) = &mut self.link else {
            return;
        };
        link.say(turn, self.newest.max(until), reply);
    }

    /// Whether anything may wait to be sent: again, from a queue, or retained messages.
    pub fn has_more(&self) -> bool {
        !(self.outbound.all_told()
            && self.queue.is_empty()
            && !self.more.groups.any_waits()
            && self.more.retained_pending.is_empty())
    }

    /// When its Session Expiry Interval passes, if nobody connects.
    pub fn expires(&self) -> Option<Timestamp> {
        let since = self.disconnected?;
        (self.expiry != NEVER).then(|| since + Duration::from_secs(u64::from(self.expiry)))
    }

    /// The first of its Topic Filters that is not in front of `text`.
    pub fn filter_from(&self, text: &str) -> Option<&Arc<str>> {
        let from = (Bound::Included(text), Bound::Unbounded);
        self.subscriptions.range::<str, _>(from).next().map(|(filter, _)| filter)
    }
}
