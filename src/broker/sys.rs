//! `$SYS`: facts about the broker, retained, under mosquitto's names and in its units, so that what
//! watches a mosquitto watches this one. They are not stored, and published when they changed.
//!
//! What differs: `heap` is left out, as the core does not see the allocator; `messages/stored` and
//! `store/messages` count copies, one for each owner, where mosquitto counts messages; and
//! `dead/{reason}/count` is our own.

use std::sync::Arc;

use super::Broker;
use super::load::{PERIODS, SUBJECTS};
use super::timer::Timer;
use crate::dead_reason::DeadReason;
use crate::metrics::Counters;
use crate::mqtt::message::RawProperties;
use crate::mqtt::{Message, QoS};
use crate::session::link::Link;
use crate::time::Timestamp;
use crate::turn::{RecordNumber, Turn};

impl Broker {
    /// Publishes what changed.
    pub(super) fn publish_sys(&mut self, now: Timestamp, turn: &mut Turn) {
        let counters = self.counters();
        let version = concat!("kedgemq version ", env!("CARGO_PKG_VERSION"));
        let uptime = format!("{} seconds", now.since(self.started).as_secs());
        self.publish_fact("version", version.into(), now, turn);
        self.publish_fact("uptime", uptime, now, turn);
        self.publish_clients(&counters, now, turn);
        self.publish_counted(&counters, now, turn);
        self.publish_kept(&counters, now, turn);
        self.publish_load(&counters, now, turn);
        for reason in DeadReason::ALL {
            let topic = format!("dead/{}/count", reason.as_str());
            self.publish_fact(&topic, counters.dead[reason as usize].to_string(), now, turn);
        }
        self.timers.set(now + self.settings.limits.sys_interval, Timer::Sys);
    }

    /// `active` and `inactive` are mosquitto's older names of the two before them.
    fn publish_clients(&mut self, counters: &Counters, now: Timestamp, turn: &mut Turn) {
        let total = self.sessions.len() as u64;
        let connected = counters.clients_connected;
        let facts = [
            ("clients/total", total),
            ("clients/maximum", counters.clients_maximum),
            ("clients/connected", connected),
            ("clients/disconnected", total - connected),
            ("clients/active", connected),
            ("clients/inactive", total - connected),
            ("clients/expired", counters.sessions_expired),
        ];
        self.publish_numbers(&facts, now, turn);
    }

    /// What only grows.
    fn publish_counted(&mut self, counters: &Counters, now: Timestamp, turn: &mut Turn) {
        let facts = [
            ("bytes/received", counters.traffic.bytes_received),
            ("bytes/sent", counters.traffic.bytes_sent),
            ("messages/received", counters.packets_received),
            ("messages/sent", counters.packets_sent),
            ("publish/messages/dropped", dropped(counters)),
            ("publish/messages/received", counters.messages_received),
            ("publish/messages/sent", counters.messages_sent),
            ("publish/bytes/received", counters.payload_received),
            ("publish/bytes/sent", counters.payload_sent),
        ];
        self.publish_numbers(&facts, now, turn);
    }

    /// What is there now.
    fn publish_kept(&mut self, counters: &Counters, now: Timestamp, turn: &mut Turn) {
        let retained = self.retained.len() as u64;
        let stored = self.totals.count + counters.in_flight + retained;
        let bytes = self.totals.memory + self.totals.disk + self.retained.bytes();
        // Each group has one, beside its members'.
        let subscriptions = self.subscriptions.len() - self.leaving.len() - self.groups.len();
        let facts = [
            ("messages/inflight", counters.in_flight),
            ("messages/stored", stored),
            ("store/messages/count", stored),
            ("store/messages/bytes", bytes),
            ("retained messages/count", retained),
            ("subscriptions/count", subscriptions as u64),
            ("shared_subscriptions/count", self.memberships as u64),
        ];
        self.publish_numbers(&facts, now, turn);
    }

    fn publish_load(&mut self, counters: &Counters, now: Timestamp, turn: &mut Turn) {
        let counted = [
            counters.packets_received,
            counters.packets_sent,
            dropped(counters),
            counters.messages_received,
            counters.messages_sent,
            counters.traffic.bytes_received,
            counters.traffic.bytes_sent,
            counters.traffic.sockets,
            counters.connects,
        ];
        let averages = *self.load.update(counted, now);
        for (subject, averages) in SUBJECTS.into_iter().zip(averages) {
            for ((period, _), average) in PERIODS.into_iter().zip(averages) {
                let topic = format!("load/{subject}/{period}");
                self.publish_fact(&topic, format!("{average:.2}"), now, turn);
            }
        }
    }

    fn publish_numbers(&mut self, facts: &[(&str, u64)], now: Timestamp, turn: &mut Turn) {
        for (topic, value) in facts {
            self.publish_fact(topic, value.to_string(), now, turn);
        }
    }

    fn publish_fact(&mut self, topic: &str, value: String, now: Timestamp, turn: &mut Turn) {
        let topic = format!("$SYS/broker/{topic}");
        if self.retained.get(&topic).is_some_and(|known| known.payload == value.as_bytes()) {
            return;
        }
        let message = Arc::new(Message {
            topic: topic.into(),
            properties: RawProperties::default(),
            payload: value.into(),
            qos: QoS::AtMostOnce,
            retain: true,
            received: now,
            expiry: None,
            past: None,
        });
        self.retained.set(message.topic.clone(), Some(message.clone()));
        self.route(&message, None, RecordNumber::default(), now, turn);
    }
}

/// What a full queue or outbox, or a spent budget, let drop or die.
fn dropped(counters: &Counters) -> u64 {
    let dead = |reason: DeadReason| counters.dead[reason as usize];
    counters.qos0_dropped + dead(DeadReason::QueueFull) + dead(DeadReason::StorageFull)
}

/// Adds what a connection counted.
pub(super) fn count(link: &Link, counters: &mut Counters) {
    counters.packets_received += link.heard;
    counters.packets_sent += link.said;
    counters.messages_received += link.messages_in;
    counters.messages_sent += link.messages_out;
    counters.payload_received += link.payload_in;
    counters.payload_sent += link.payload_out;
}
