//! QoS 0 PUBLISHes that nobody has to keep: they go on to who is there, as bytes.
//!
//! No message is made of them, unless one of their subscribers needs that: who speaks the
//! publisher's protocol gets what came, and for others it is encoded once. Who is not reached like
//! this gets them by [`Broker::deliver`]: a share group, or a client that has no room or no right,
//! uses Topic Aliases, or is told Subscription Identifiers.
//!
//! Invariant: each subscriber gets the bytes, and is counted for, as by [`Broker::deliver`].

use std::sync::Arc;

use super::Broker;
use super::deliver::{Publication, may_receive};
use super::sessions::Sessions;
use crate::auth::Acl;
use crate::mqtt::codec::Run;
use crate::mqtt::{QoS, Version, codec, topic};
use crate::router::Target;
use crate::time::Timestamp;
use crate::turn::{RecordNumber, SessionId, Turn, Written};

impl Broker {
    /// Whether PUBLISHes may be passed on as bytes: all others are messages, or are refused. An
    /// expiry is encoded when it leaves only.
    pub(super) fn may_pass_on(&self, publisher: SessionId, run: &Run<'_>) -> bool {
        let limits = &self.settings.limits;
        limits.message_expiry.is_none()
            && topic::check_levels(run.topic, limits.topic_levels).is_ok()
            && self.may_publish(publisher, run.topic)
    }

    /// Gives them to every owner with a matching subscription.
    pub(super) fn pass_on(
        &mut self,
        publisher: SessionId,
        run: &Run<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        self.find_route(run.topic, Some(publisher));
        let Self { route, sessions, acl, .. } = self;
        let mut passing = Passing { run, v5: None, v311: None };
        let reaches = |target: &&Target| passing.reaches(target, sessions, acl.as_ref(), turn);
        let reached = route.targets().iter().take_while(reaches).count();
        if reached < route.targets().len() {
            self.pass_on_after(reached, passing, now, turn);
        }
    }

    /// The same for the targets after the first that was not reached, and for that one.
    fn pass_on_after(
        &mut self,
        reached: usize,
        mut passing: Passing<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let topic: Arc<str> = passing.run.topic.into();
        let messages: Vec<_> = passing
            .run
            .publishes()
            .map(|publish| self.copy_message(&publish, topic.clone(), now))
            .collect();
        let publication = |message| Publication::new(message, RecordNumber::default());
        let mut publications: Vec<_> = messages.iter().map(publication).collect();
        let route = std::mem::take(&mut self.route);
        for target in &route.targets()[reached..] {
            if !passing.reaches(target, &mut self.sessions, self.acl.as_ref(), turn) {
                for publication in &mut publications {
                    self.deliver(publication, target, now, turn);
                }
            }
        }
        self.route = route;
        messages.into_iter().for_each(|message| self.spare.keep(message));
    }
}

/// A run on its way, and how it stands in [`Turn::written`] for which protocol.
struct Passing<'a> {
    run: &'a Run<'a>,
    v5: Option<Encoding>,
    v311: Option<Encoding>,
}

/// A run as one protocol has it.
#[derive(Clone)]
struct Encoding {
    written: Written,
    /// Bytes of the largest packet.
    largest: usize,
}

impl Passing<'_> {
    /// Gives it to one owner, if that takes it as it is.
    fn reaches(
        &mut self,
        target: &Target,
        sessions: &mut Sessions,
        acl: Option<&Acl>,
        turn: &mut Turn,
    ) -> bool {
        let Some(session) = sessions.get_mut(&target.owner) else {
            return false;
        };
        if acl.is_some() && !may_receive(acl, session, self.run.topic) {
            return false;
        }
        let Some(link) = &mut session.link else {
            return true; // At QoS 0 nothing waits for a client that is away.
        };
        if link.outbox_full || link.uses_topic_aliases() || target.subscription_ids.is_some() {
            return false;
        }
        let Encoding { written, largest } = self.encode(link.version, turn);
        if largest > link.packet_size_max {
            return false;
        }
        link.say_written(turn, written, self.run.count, self.run.payload);
        true
    }

    /// How it stands for clients of `version`.
    fn encode(&mut self, version: Version, turn: &mut Turn) -> Encoding {
        let Self { run, v5, v311 } = self;
        let place = match version {
            Version::V5 => v5,
            Version::V311 | Version::V31 => v311,
        };
        place.get_or_insert_with(|| encode(run, version, turn)).clone()
    }
}

fn encode(run: &Run<'_>, version: Version, turn: &mut Turn) -> Encoding {
    let mut largest = 0;
    let written = turn.written.publish(version, QoS::AtMostOnce, |bytes| {
        if (run.version == Version::V5) == (version == Version::V5) {
            largest = run.largest;
            return bytes.extend_from_slice(run.bytes);
        }
        for publish in run.publishes() {
            let start = bytes.len();
            codec::pass_on(&publish, version, bytes);
            largest = largest.max(bytes.len() - start);
        }
    });
    Encoding { written, largest }
}

#[cfg(test)]
mod tests;
