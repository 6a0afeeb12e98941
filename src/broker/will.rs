//! Wills: kept while the client is connected, published when it is gone without a goodbye, at
//! the end of the Will Delay Interval or of the session, whichever is first `[MQTT-3.1.3-9]`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Broker;
use super::timer::Timer;
use crate::auth::Who;
use crate::mqtt::Message;
use crate::mqtt::packet::Will;
use crate::session::Session;
use crate::time::Timestamp;
use crate::turn::{RecordNumber, SessionId, Turn, WillRecord};

impl Broker {
    pub(super) fn to_will(&self, will: &Will<'_>, now: Timestamp) -> WillRecord {
        let message = Message {
            topic: will.topic.into(),
            properties: Bytes::copy_from_slice(&will.properties).into(),
            payload: Bytes::copy_from_slice(will.payload),
            qos: will.qos,
            retain: will.retain,
            received: now,
            expiry: will.message_expiry.or(self.settings.limits.message_expiry),
            past: None,
        };
        WillRecord { message, delay: will.delay }
    }

    /// The connection ended: the will is due after its delay.
    pub(super) fn schedule_will(&mut self, id: SessionId, now: Timestamp, turn: &mut Turn) {
        let session = self.session(id);
        let delay = session.will.as_ref().map(|will| Duration::from_secs(u64::from(will.delay)));
        match delay {
            None => session.record_self(turn),
            Some(delay) if delay.is_zero() => self.publish_due_will(id, now, turn),
            Some(delay) => {
                session.more.will_due = Some(now + delay);
                session.record_self(turn);
                self.timers.set(now + delay, Timer::Will(id));
            }
        }
    }

    pub(super) fn check_will_due(&mut self, id: SessionId, now: Timestamp, turn: &mut Turn) {
        let due = self.sessions.get(&id).and_then(|session| session.more.will_due);
        if due.is_some_and(|due| due <= now) {
            self.publish_due_will(id, now, turn);
        }
    }

    /// The session goes on without the will, on disk first.
    fn publish_due_will(&mut self, id: SessionId, now: Timestamp, turn: &mut Turn) {
        let session = self.session(id);
        session.will_is_not_due();
        let will = session.will.take();
        session.record_self(turn);
        let Some(will) = will else {
            return;
        };
        let testator = Testator::of(session);
        self.publish_will(&testator, *will, now, turn);
    }

    /// Publishes a will; for a stored session nothing of it leaves before the record is
    /// durable that it is published.
    pub(super) fn publish_will(
        &mut self,
        testator: &Testator,
        will: WillRecord,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let who = Who { user: testator.user.as_deref(), client_id: &testator.client_id };
        if !self.allows_publish(who, &will.message.topic) {
            self.counters.unauthorized_publishes += 1;
            return;
        }
        let until = if testator.stored { turn.last_record() } else { RecordNumber::default() };
        // Its Message Expiry Interval starts when it is published.
        let message = Arc::new(Message { received: now, ..will.message });
        self.accept(&message, Some(testator.id), until, now, turn);
    }
}

/// Whose will it is: all that counts when the session may be gone.
pub(super) struct Testator {
    id: SessionId,
    client_id: Arc<str>,
    user: Option<Arc<str>>,
    stored: bool,
}

impl Testator {
    pub(super) fn of(session: &Session) -> Self {
        Self {
            id: session.id,
            client_id: session.client_id.clone(),
            user: session.user.clone(),
            stored: session.stored,
        }
    }
}
