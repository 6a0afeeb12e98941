//! In which order output leaves one connection while some of it waits for the disk.
//!
//! Nothing overtakes a held CONNACK. Behind other held packets only these may pass: a QoS 0
//! PUBLISH, PINGRESP, DISCONNECT, and a QoS 1 PUBLISH while no PUBLISH is held. So
//! acknowledgements leave in the order of their PUBLISHes, a refusing one in its place.
//! Two more rules: while a PUBLISH with a Topic Alias waits, no other with one passes, which keeps
//! them true; and one of QoS 0 that a CONNACK stopped is not passed by others of QoS 0, even where
//! the CONNACK has left and more stands before it.

use std::collections::VecDeque;

use crate::mqtt::{QoS, Reply};
use crate::turn::{Kind, Output, RecordNumber};

/// Room for what some turns hold, so that the queue grows seldom.
const ROOM: usize = 4;

/// What waits, in the order in which it leaves. Without anything it owns no memory.
#[derive(Debug, Default)]
pub struct Order(Option<Box<Held>>);

/// What waits for its record.
#[derive(Debug, PartialEq)]
pub enum Waiting {
    /// One packet.
    Output(Output),
    /// Acknowledgements, as bytes.
    Acks(Vec<u8>),
}

#[derive(Debug)]
struct Held {
    queue: VecDeque<(RecordNumber, Waiting)>,
    connacks: usize,
    publishes: usize,
    aliases: usize,
    /// QoS 0 PUBLISHes that wait for no record of their own.
    stopped: usize,
}

impl Order {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether `output`, which needs no record, may leave before what waits.
    pub fn may_pass(&self, output: &Output) -> bool {
        let Some(held) = &self.0 else {
            return true;
        };
        if held.connacks > 0 {
            return false;
        }
        match output {
            Output::Packet(Reply::Publish(delivery)) => {
                let is_stopped = delivery.topic_alias.is_some() && held.aliases > 0;
                !is_stopped && held.lets_pass(delivery.qos)
            }
            Output::Written(piece) => match piece.kind() {
                Kind::Publish(_, qos) => held.lets_pass(qos),
                Kind::Ack => false,
            },
            Output::Packet(Reply::PingResp | Reply::Disconnect(_)) | Output::Close => true,
            Output::Packet(_) => false,
        }
    }

    /// Puts `output` behind all that waits; it leaves when `until` is on disk, too.
    pub fn hold(&mut self, until: RecordNumber, output: Output) {
        let held = self.0.get_or_insert_with(Held::with_room);
        held.count(until, &output, |count| *count += 1);
        held.queue.push_back((until, Waiting::Output(output)));
    }

    /// The same for acknowledgements that are encoded.
    pub fn hold_acks(&mut self, until: RecordNumber, acks: &[u8]) {
        let held = self.0.get_or_insert_with(Held::with_room);
        held.queue.push_back((until, Waiting::Acks(acks.to_vec())));
    }

    /// What may leave next when all up to `committed` is on disk.
    pub fn pop(&mut self, committed: RecordNumber) -> Option<Waiting> {
        let held = self.0.as_mut()?;
        if held.queue.front()?.0 > committed {
            return None;
        }
        let (until, waiting) = held.queue.pop_front()?;
        if let Waiting::Output(output) = &waiting {
            held.count(until, output, |count| *count -= 1);
        }
        if held.queue.is_empty() {
            self.0 = None;
        }
        Some(waiting)
    }

    /// Drops what waits.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

impl Held {
    fn with_room() -> Box<Self> {
        let queue = VecDeque::with_capacity(ROOM);
        Box::new(Self { queue, connacks: 0, publishes: 0, aliases: 0, stopped: 0 })
    }

    /// Whether a PUBLISH of `qos` may leave before what waits.
    fn lets_pass(&self, qos: QoS) -> bool {
        match qos {
            QoS::AtMostOnce => self.stopped == 0,
            QoS::AtLeastOnce => self.publishes == 0,
            QoS::ExactlyOnce => false,
        }
    }

    fn count(&mut self, until: RecordNumber, output: &Output, change: impl Fn(&mut usize)) {
        match output {
            Output::Packet(Reply::ConnAck(_)) => change(&mut self.connacks),
            Output::Packet(Reply::Publish(delivery)) => {
                change(&mut self.publishes);
                if delivery.qos == QoS::AtMostOnce && until == RecordNumber::default() {
                    change(&mut self.stopped);
                }
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
