//! `$SYS`: a few facts about the broker, retained, under mosquitto's names. They are not stored.

use std::sync::Arc;

use bytes::Bytes;

use super::Broker;
use super::timer::Timer;
use crate::metrics::Counters;
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
        self.publish_fact("$SYS/broker/version", version.into(), now, turn);
        self.publish_fact("$SYS/broker/uptime", uptime, now, turn);
        let facts = [
            ("$SYS/broker/clients/connected", counters.clients_connected),
            ("$SYS/broker/messages/received", counters.packets_received),
            ("$SYS/broker/messages/sent", counters.packets_sent),
        ];
        for (topic, value) in facts {
            self.publish_fact(topic, value.to_string(), now, turn);
        }
        self.timers.set(now + self.settings.limits.sys_interval, Timer::Sys);
    }

    fn publish_fact(&mut self, topic: &str, value: String, now: Timestamp, turn: &mut Turn) {
        if self.retained.get(topic).is_some_and(|known| known.payload == value.as_bytes()) {
            return;
        }
        let message = Arc::new(Message {
            topic: topic.into(),
            properties: Bytes::new(),
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

/// Adds what a connection counted.
pub(super) fn count(link: &Link, counters: &mut Counters) {
    counters.packets_received += link.heard;
    counters.packets_sent += link.said;
    counters.messages_received += link.messages_in;
    counters.messages_sent += link.messages_out;
}
