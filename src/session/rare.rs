//! The parts of a session that most have no use for now, each in a box of its own that is there
//! only while something is in it: most sessions of a broker are idle. Without its box a part reads
//! as one with nothing in it.
//!
//! Invariant: whoever only looks, or only takes away, makes no box.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Deref, DerefMut};

use super::groups::Groups;
use super::retained::RetainedPending;
use crate::time::Timestamp;

/// What can be blank: with nothing in it that has to be kept.
pub trait Blank: Sized + 'static {
    /// In what blank ones differ.
    type Kind: Copy + Debug;

    /// A blank one to look at.
    fn shared(kind: Self::Kind) -> &'static Self;

    /// A blank one to fill.
    fn blank(kind: Self::Kind) -> Self;

    /// Gives back memory that it has no use for now; says whether it is blank.
    fn tidy(&mut self) -> bool;
}

/// A part that is boxed while it is not blank. Changing it makes the box.
#[derive(Debug)]
pub struct Rare<T: Blank> {
    kind: T::Kind,
    part: Option<Box<T>>,
}

impl<T: Blank> Rare<T> {
    /// Without a box.
    pub fn new(kind: T::Kind) -> Self {
        Self { kind, part: None }
    }

    /// The part, where it has a box: for changes that a blank one has no need of.
    pub fn present(&mut self) -> Option<&mut T> {
        self.part.as_deref_mut()
    }

    /// Gives back what memory it can.
    pub fn tidy(&mut self) {
        if self.part.as_deref_mut().is_some_and(T::tidy) {
            self.part = None;
        }
    }
}

impl<T: Blank> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.part {
            Some(part) => part,
            None => T::shared(self.kind),
        }
    }
}

impl<T: Blank> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.part.get_or_insert_with(|| Box::new(T::blank(self.kind)))
    }
}

/// What few sessions ever have.
#[derive(Debug, Default)]
pub struct More {
    /// When the will of a connection that ended is due.
    pub will_due: Option<Timestamp>,
    /// Retained messages that new subscriptions still bring, over its connections. They become
    /// copies, and stored, in slices, as its queue has room: a start forgets the rest.
    pub retained_pending: RetainedPending,
    /// The share groups it is a member of.
    pub groups: Groups,
    /// Copies that died, or were dropped, since the broker started, by reason.
    pub undelivered: BTreeMap<&'static str, u64>,
}

impl Blank for More {
    type Kind = ();

    fn shared((): ()) -> &'static Self {
        static BLANK: More = More {
            will_due: None,
            retained_pending: RetainedPending::new(),
            groups: Groups::new(),
            undelivered: BTreeMap::new(),
        };
        &BLANK
    }

    fn blank((): ()) -> Self {
        Self::default()
    }

    fn tidy(&mut self) -> bool {
        self.will_due.is_none()
            && self.retained_pending.is_empty()
            && self.groups.is_empty()
            && self.undelivered.is_empty()
    }
}

#[cfg(test)]
mod tests;
