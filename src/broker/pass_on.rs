//! A QoS 0 PUBLISH that nobody has to keep: it goes on to who is there, as bytes.
//!
//! No message is made of it, unless one of its subscribers needs that: it is encoded once for all
//! that speak the same protocol, out of the read buffer. Who is not reached like this gets it by
//! [`Broker::deliver`]: a share group, or a client that has no room or no right, uses Topic
//! Aliases, or is told Subscription Identifiers.
//!
//! Invariant: each subscriber gets the bytes, and is counted for, as by [`Broker::deliver`].

use super::Broker;
use super::deliver::{Publication, may_receive};
use super::sessions::Sessions;
use crate::auth::Acl;
use crate::mqtt::packet::Publish;
use crate::mqtt::{QoS, Version, codec, topic};
use crate::router::Target;
use crate::time::Timestamp;
use crate::turn::{RecordNumber, SessionId, Turn, Written};

/// A larger one is a message, which outboxes share.
const SIZE_MAX: usize = 4 * 1024;

impl Broker {
    /// Whether a PUBLISH can be passed on as bytes, and may be: all others are messages, or are
    /// refused. An expiry is encoded when it leaves only.
    pub(super) fn may_pass_on(&self, publisher: SessionId, publish: &Publish<'_>) -> bool {
        let limits = &self.settings.limits;
        let rest = publish.properties.len() + publish.payload.as_slice().len();
        publish.qos == QoS::AtMostOnce
            && !publish.retain
            && publish.topic_alias.is_none()
            && publish.message_expiry.or(limits.message_expiry).is_none()
            && publish.topic.len() + rest <= SIZE_MAX
            && topic::check_levels(publish.topic, limits.topic_levels).is_ok()
            && self.may_publish(publisher, publish.topic)
    }

    /// Gives it to every owner with a matching subscription.
    pub(super) fn pass_on(
        &mut self,
        publisher: SessionId,
        publish: &Publish<'_>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        self.find_route(publish.topic, Some(publisher));
        let Self { route, sessions, acl, .. } = self;
        let mut passing = Passing { publish, v5: None, v311: None };
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
        let Passing { publish, .. } = passing;
        let message = self.copy_message(publish, publish.topic.into(), now);
        let mut publication = Publication::new(&message, RecordNumber::default());
        let route = std::mem::take(&mut self.route);
        for target in &route.targets()[reached..] {
            if !passing.reaches(target, &mut self.sessions, self.acl.as_ref(), turn) {
                self.deliver(&mut publication, target, now, turn);
            }
        }
        self.route = route;
        self.spare.keep(message);
    }
}

/// A PUBLISH on its way, and where in [`Turn::written`] it stands for which protocol.
struct Passing<'a> {
    publish: &'a Publish<'a>,
    v5: Option<Written>,
    v311: Option<Written>,
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
        if acl.is_some() && !may_receive(acl, session, self.publish.topic) {
            return false;
        }
        let Some(link) = &mut session.link else {
            return true; // At QoS 0 nothing waits for a client that is away.
        };
        if link.outbox_full || link.uses_topic_aliases() || target.subscription_ids.is_some() {
            return false;
        }
        let written = self.encode(link.version, turn);
        if written.size() > link.packet_size_max {
            return false;
        }
        link.say_written(turn, written, self.publish.payload.as_slice().len());
        true
    }

    /// Where it stands for clients of `version`.
    fn encode(&mut self, version: Version, turn: &mut Turn) -> Written {
        let place = match version {
            Version::V5 => &mut self.v5,
            Version::V311 | Version::V31 => &mut self.v311,
        };
        let encode = |bytes: &mut Vec<u8>| codec::pass_on(self.publish, version, bytes);
        place.get_or_insert_with(|| turn.written.publish(version, QoS::AtMostOnce, encode)).clone()
    }
}

#[cfg(test)]
mod tests;
