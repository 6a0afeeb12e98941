//! In which order output leaves one connection while some of it waits for the disk.
//!
//! Nothing overtakes a held CONNACK. Behind other held packets only these may pass: a QoS 0
//! PUBLISH, PINGRESP, DISCONNECT, and a QoS 1 PUBLISH while no PUBLISH is held. So
//! acknowledgements leave in the order of their PUBLISHes, a refusing one in its place.
//! One more rule keeps Topic Aliases true: while a PUBLISH with one waits, no other passes.

use std::collections::VecDeque;

use crate::mqtt::{QoS, Reply};
use crate::turn::{Output, RecordNumber};

/// Room for a batch of acknowledgements, so that the queue grows seldom.
const ROOM: usize = 16;

/// What waits, in the order in which it leaves.
#[derive(Debug, Default)]
pub struct Order {
    queue: VecDeque<(RecordNumber, Output)>,
    connacks: usize,
    publishes: usize,
    aliases: usize,
}

impl Order {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether `output`, which needs no record, may leave before what waits.
    pub fn may_pass(&self, output: &Output) -> bool {
        if self.queue.is_empty() {
            return true;
        }
        if self.connacks > 0 {
            return false;
        }
        let Output::Packet(reply) = output else {
            return true;
        };
        match reply {
            Reply::Publish(delivery) if delivery.topic_alias.is_some() && self.aliases > 0 => false,
            Reply::Publish(delivery) => match delivery.qos {
                QoS::AtMostOnce => true,
                QoS::AtLeastOnce => self.publishes == 0,
                QoS::ExactlyOnce => false,
            },
            Reply::PingResp | Reply::Disconnect(_) => true,
            _ => false,
        }
    }

    /// Puts `output` behind all that waits; it leaves when `until` is on disk, too.
    pub fn hold(&mut self, until: RecordNumber, output: Output) {
        if self.queue.capacity() == 0 {
            self.queue.reserve(ROOM);
        }
        self.count(&output, |count| *count += 1);
        self.queue.push_back((until, output));
    }

    /// What may leave next when all up to `committed` is on disk.
    pub fn pop(&mut self, committed: RecordNumber) -> Option<Output> {
        if self.queue.front()?.0 > committed {
            return None;
        }
        let (_, output) = self.queue.pop_front()?;
        self.count(&output, |count| *count -= 1);
        if self.queue.is_empty() {
            self.queue = VecDeque::new(); // An idle connection owns none.
        }
        Some(output)
    }

    /// Drops what waits.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn count(&mut self, output: &Output, change: impl Fn(&mut usize)) {
        match output {
            Output::Packet(Reply::ConnAck(_)) => change(&mut self.connacks),
            Output::Packet(Reply::Publish(delivery)) => {
                change(&mut self.publishes);
                if delivery.topic_alias.is_some() {
                    change(&mut self.aliases);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
