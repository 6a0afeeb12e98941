//! Retained messages: the newest of each topic, and their way to a new subscription, in slices.

use std::sync::Arc;

use super::Broker;
use super::deliver::{Publication, may_receive};
use super::group::Lower;
use super::timer::Timer;
use crate::mqtt::packet::RetainHandling;
use crate::mqtt::{Message, QoS};
use crate::router::Target;
use crate::session::Subscription;
use crate::time::Timestamp;
use crate::turn::{Record, RecordNumber, SessionId, Turn};

/// Retained messages that wait in a queue at most, before a new subscription brings more.
const AHEAD: usize = 1000;
/// Retained topics that are looked at in one go.
const SLICE: usize = 256;

impl Broker {
    /// Keeps the newest message of its topic; an empty one clears `[MQTT-3.3.1-6]`.
    pub(super) fn retain(&mut self, message: &Arc<Message>, turn: &mut Turn) {
        let topic = message.topic.clone();
        let kept = (!message.payload.is_empty()).then(|| message.clone());
        if kept.is_none() && self.retained.get(&topic).is_none() {
            return;
        }
        let lazy = message.qos == QoS::AtMostOnce; // It costs the flash no commit of its own.
        turn.record(Record::Retained { topic: topic.clone(), message: kept.clone(), lazy });
        self.retained.set(topic, kept);
    }

    /// Whether a new subscription brings retained messages, now or later.
    pub(super) fn bring_retained(
        &mut self,
        id: SessionId,
        filter: Arc<str>,
        handling: RetainHandling,
        is_new: bool,
    ) {
        let wanted = match handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        if wanted && !self.retained.is_empty() {
            self.session(id).more.retained_pending.begin(filter);
        }
    }

    /// A slice of the retained messages that a new subscription brings. A connection that ends
    /// meanwhile leaves the rest for the next.
    pub(super) fn send_retained(&mut self, id: SessionId, now: Timestamp, turn: &mut Turn) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let is_ready = session.link.as_ref().is_some_and(|link| !link.outbox_full)
            && session.queue.len() < AHEAD;
        if !is_ready {
            return;
        }
        let Some((filter, after)) = session.more.retained_pending.first() else {
            return;
        };
        // As it is now: it may have been replaced since, without asking for them again.
        let subscription = session.subscriptions.get(&filter);
        let subscription = subscription.expect("what goes takes this along").clone();
        let mut found = Vec::new();
        let after = self.retained.matching(&filter, after.as_deref(), SLICE, &mut found);
        for message in &found {
            if message.expires().is_none_or(|at| at > now) {
                self.deliver_retained(id, message, &subscription, now, turn);
            } else {
                let topic = message.topic.clone();
                self.retained.set(topic.clone(), None);
                turn.record(Record::Retained { topic, message: None, lazy: true });
            }
        }
        let pending = &mut self.session(id).more.retained_pending;
        pending.advance(after);
        if !pending.is_empty() {
            self.timers.set_single(now, Timer::Retained(id));
        }
    }

    fn deliver_retained(
        &mut self,
        owner: SessionId,
        message: &Arc<Message>,
        subscription: &Subscription,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        if !may_receive(self.acl.as_ref(), &self.sessions[&owner], &message.topic) {
            return;
        }
        let mut publication = Publication::new(message, RecordNumber::default());
        let subscription_ids = subscription.id.map(|id| [id].into());
        let qos = message.qos.min_with(subscription.options.qos);
        let target = Target { owner, qos, retain_as_published: true, subscription_ids };
        if qos == QoS::AtMostOnce {
            self.deliver_qos0(&publication, &target, true, now, turn);
        } else {
            self.deliver_queued(&mut publication, &target, qos, true, now, turn);
        }
    }
}
