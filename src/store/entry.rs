//! A copy in the log as the index knows it: where it was written whole, and what happened since.

use crate::time::Timestamp;
use crate::turn::{Copy, Sent};

use super::index::Place;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    /// [`Copy::expires`]; [`NEVER`] where it does not.
    pub(super) expires: Timestamp,
    /// [`Copy::size`].
    pub(super) size: u32,
    /// The length of the body, where that is right before `place` and needed by no other copy; 0
    /// where [`Bodies`](super::bodies::Bodies) knows it.
    pub(super) own_body: u32,
    /// Whether it was in flight when it was written.
    was_sent: bool,
    /// Whether failed deliveries were counted when it was written.
    was_failed: bool,
    /// What happened since.
    pub(super) since: Option<Box<Since>>,
}

/// Stands for no expiry.
pub(super) const NEVER: Timestamp = Timestamp(u64::MAX);

impl Entry {
    /// Of a copy at `place`; `own_body` as in the field.
    pub(super) fn new(copy: &Copy, place: Place, own_body: u32) -> Self {
        Self {
            place,
            expires: copy.expires.unwrap_or(NEVER),
            size: copy.size,
            own_body,
            was_sent: copy.sent.is_some(),
            was_failed: copy.deliveries > 0,
            since: None,
        }
    }

    /// Where its body lies, if it owns it.
    pub(super) fn own_body(&self) -> Option<Place> {
        let Place { segment, offset, .. } = self.place;
        let len = self.own_body;
        (len > 0).then(|| Place { segment, offset: offset - len, len })
    }

    /// Adds to the copy that was read what happened since.
    pub(super) fn complete(&self, copy: &mut Copy) {
        if let Some(since) = &self.since {
            since.apply(copy);
        }
    }

    /// Whether it is neither in flight nor counted as failed: nobody but the store knows it.
    pub(super) fn is_waiting(&self) -> bool {
        let Some(since) = &self.since else {
            return !self.was_sent && !self.was_failed;
        };
        let is_sent = since.sent.as_ref().map_or(self.was_sent, Option::is_some);
        let is_failed = since.deliveries.map_or(self.was_failed, |count| count > 0);
        !is_sent && !is_failed
    }
}

/// What happened to a copy after it was written whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Since {
    /// The newest `Sent`, or `Some(None)` when it was returned.
    sent: Option<Option<Sent>>,
    pubrec_arrived: bool,
    deliveries: Option<u32>,
}

/// What happened to a copy.
#[derive(Debug)]
pub(super) enum Change {
    Sent(Sent),
    PubRecArrived,
    Failed(u32),
    Returned,
}

impl Since {
    pub(super) fn add(&mut self, change: Change) {
        match change {
            Change::Sent(sent) => {
                self.sent = Some(Some(sent));
                self.pubrec_arrived = false;
            }
            Change::PubRecArrived => self.pubrec_arrived = true,
            Change::Failed(deliveries) => self.deliveries = Some(deliveries),
            Change::Returned => {
                self.sent = Some(None);
                self.pubrec_arrived = false;
            }
        }
    }

    pub(super) fn apply(&self, copy: &mut Copy) {
        if let Some(sent) = &self.sent {
            copy.sent.clone_from(sent);
        }
        if let (true, Some(sent)) = (self.pubrec_arrived, &mut copy.sent) {
            sent.pubrec_arrived = true;
        }
        if let Some(deliveries) = self.deliveries {
            copy.deliveries = deliveries;
        }
    }
}

/// The sooner of two, where there are two.
pub(super) fn sooner(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
