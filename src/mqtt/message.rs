//! An application message that stays: what queues, retained topics, wills and dead letters share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::QoS;
use crate::dead_reason::DeadReason;
use crate::time::Timestamp;

/// An application message, immutable, owned by nobody's read buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic Name.
    pub topic: Arc<str>,
    /// What is passed on of its properties, as on the wire.
    pub properties: RawProperties,
    /// Application Message.
    pub payload: Bytes,
    /// QoS of the publisher.
    pub qos: QoS,
    /// RETAIN of the publisher.
    pub retain: bool,
    /// When the broker took it.
    pub received: Timestamp,
    /// Message Expiry Interval in seconds, as it was at `received`.
    pub expiry: Option<u32>,
    /// What it died of before, if it comes back from the dead.
    pub past: Option<Arc<Past>>,
}

/// See [`super::packet::Publish::properties`]. Most messages have none, and are smaller by that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawProperties(Option<Box<Bytes>>);

impl From<Bytes> for RawProperties {
    fn from(properties: Bytes) -> Self {
        Self((!properties.is_empty()).then(|| Box::new(properties)))
    }
}

impl From<Vec<u8>> for RawProperties {
    fn from(properties: Vec<u8>) -> Self {
        Bytes::from(properties).into()
    }
}

impl Deref for RawProperties {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |properties| &**properties)
    }
}

/// The earlier deaths of a message that was redriven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// The number of its first dead letter: `dl-id` stays what it was.
    pub letter: u64,
    /// Why it died first.
    pub first_reason: DeadReason,
    /// How often it died.
    pub deaths: u32,
    /// How often it was redriven.
    pub redrives: u32,
}

impl Message {
    /// When it expires.
    pub fn expires(&self) -> Option<Timestamp> {
        let expiry = Duration::from_secs(u64::from(self.expiry?));
        Some(self.received + expiry)
    }

    /// What is left of the Message Expiry Interval, in whole seconds, rounded up; at least 1, as
    /// what is on its way is not expired any more `[MQTT-3.3.2-6]`.
    pub fn remaining_expiry(&self, now: Timestamp) -> Option<u32> {
        let left = self.expires()?.since(now).as_millis().div_ceil(1000);
        Some(u32::try_from(left.max(1)).unwrap_or(u32::MAX))
    }

    /// Bytes that it counts for in limits: topic, properties and payload.
    pub fn size(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With its counts a message fits what glibc gives back without a lock: one thread reads
    /// stored messages, another lets them go.
    #[test]
    fn a_message_is_small() {
        assert!(size_of::<Message>() <= 104, "{}", size_of::<Message>());
    }
}
