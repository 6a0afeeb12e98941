//! What the core and the world say to each other. One step of the core fills a [`Turn`]; the
//! world sends, stores and loads what stands in it. [`Record`] is the one vocabulary of durable
//! change: the store writes it and gives it back at start.
//!
//! Invariant: what must be durable before it is told stands in `held`, never in `send`.

mod event;
mod record;
mod written;

use std::sync::Arc;

pub use crate::dead_reason::DeadReason;
use crate::mqtt::reply::Delivery;
use crate::mqtt::{Message, Reply};
use crate::time::Timestamp;

pub use event::{CloseCause, DisconnectedBy, Event};
pub use record::{
    Action, Backlog, Copy, DeadIndex, DeadLetter, EndCause, LetterFilter, Marks, Record, Sent,
    SessionRecord, Task, WillRecord, packet_id,
};
pub use written::{Encoded, Kind, PAYLOAD_MAX, Written};

/// A network connection: `slot` is used again, `generation` says by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Index among the open connections.
    pub slot: u32,
    /// Counts the users of the slot.
    pub generation: u32,
}

/// Who has a queue: a session, a share group, or a bridge. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(pub u64);

/// The session among the owners.
pub type SessionId = OwnerId;

/// A message as the broker counts them: each gets a larger one, so the order of the ids is the
/// order of every queue, and (owner, message) names a copy. Never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// A dead letter. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadId(pub u64);

/// Counts the records of this run of the broker, from 1; 0 is before all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordNumber(pub u64);

/// What one step of the core asks of the world.
#[derive(Debug, Default)]
pub struct Turn {
    /// May leave at once.
    pub send: Vec<Outgoing>,
    /// Packets that the core encoded itself: see [`Output::Written`].
    pub written: Encoded,
    /// To be made durable, in this order, in one transaction.
    pub records: Vec<Record>,
    /// Leaves when the record that it waits for, and all before it, are on disk.
    pub held: Vec<Held>,
    /// Stored messages that the core wants in memory.
    pub loads: Vec<Load>,
    /// Dead letters that the core wants in memory.
    pub letters: Vec<LetterLoad>,
    /// What an operator may want to read.
    pub events: Vec<Event>,
    last: RecordNumber,
    /// By slot: where in `send` that stands which was written for its connection last, if nothing
    /// else was for it since. What is left of an earlier turn names others, or nobody.
    newest: Vec<u32>,
}

impl Turn {
    /// Adds a record to be made durable.
    pub fn record(&mut self, record: Record) -> RecordNumber {
        self.records.push(record);
        self.last.0 += 1;
        self.last
    }

    /// The newest record so far, of this turn or an earlier one.
    pub fn last_record(&self) -> RecordNumber {
        self.last
    }

    /// Lets `output` leave at once.
    pub fn send(&mut self, connection: ConnectionId, output: Output) {
        self.end_piece(connection);
        self.send.push(Outgoing { connection, output });
    }

    /// Lets what stands in [`written`](Self::written) leave at once, as one piece with what was
    /// last written for this connection where the one follows the other.
    pub fn send_written(&mut self, connection: ConnectionId, written: Written) {
        let slot = connection.slot as usize;
        let newest = self.newest.get(slot).and_then(|&at| self.send.get_mut(at as usize));
        if let Some(Outgoing { connection: whose, output: Output::Written(before) }) = newest
            && *whose == connection
            && before.extend(&written)
        {
            return;
        }
        if self.newest.len() <= slot {
            self.newest.resize(slot + 1, u32::MAX);
        }
        self.newest[slot] = u32::try_from(self.send.len()).unwrap_or(u32::MAX);
        self.send.push(Outgoing { connection, output: Output::Written(written) });
    }

    /// Lets `output` leave when `until` is on disk.
    pub fn hold(&mut self, until: RecordNumber, connection: ConnectionId, output: Output) {
        let outgoing = Outgoing { connection, output };
        self.end_piece(connection);
        self.held.push(Held { until, after: self.send.len(), outgoing });
    }

    /// Lets what stands in [`written`](Self::written) leave when `until` is on disk, as one piece
    /// with what is held right before it. The records of a turn come to the disk together, so
    /// that waiting for the newest of them takes no longer.
    pub fn hold_written(
        &mut self,
        until: RecordNumber,
        connection: ConnectionId,
        written: Written,
    ) {
        let before_turn = RecordNumber(self.last.0 - self.records.len() as u64);
        if let Some(Held { until: first, after, outgoing }) = self.held.last_mut()
            && outgoing.connection == connection
            && *after == self.send.len()
            && *first > before_turn
            && until > before_turn
            && let Output::Written(before) = &mut outgoing.output
            && before.extend(&written)
        {
            *first = until.max(*first);
            return;
        }
        self.hold(until, connection, Output::Written(written));
    }

    /// Takes `send` and `held` in the order of the decisions; what is held comes with the record
    /// that it waits for. With it come the bytes that [`Output::Written`] speaks of: whoever takes
    /// the output clears [`written`](Self::written) after it.
    pub fn take_output(
        &mut self,
    ) -> (&Encoded, impl Iterator<Item = (Option<RecordNumber>, Outgoing)>) {
        let mut held = self.held.drain(..);
        let mut send = self.send.drain(..);
        let mut taken = 0;
        let output = std::iter::from_fn(move || {
            if held.as_slice().first().is_some_and(|held| held.after <= taken) {
                return held.next().map(|held| (Some(held.until), held.outgoing));
            }
            taken += 1;
            send.next().map(|outgoing| (None, outgoing))
        });
        (&self.written, output)
    }

    /// The same for a world that takes packets only.
    pub fn take_owned_output(&mut self) -> Vec<(Option<RecordNumber>, Outgoing)> {
        let (written, output) = self.take_output();
        let mut owned = Vec::new();
        for (until, Outgoing { connection, output }) in output {
            let own = |output| (until, Outgoing { connection, output });
            match output {
                Output::Written(piece) => owned.extend(written.packets(&piece).map(own)),
                output => owned.push(own(output)),
            }
        }
        self.written.clear();
        owned
    }

    /// What is written for `connection` later stands alone.
    fn end_piece(&mut self, connection: ConnectionId) {
        if let Some(newest) = self.newest.get_mut(connection.slot as usize) {
            *newest = u32::MAX;
        }
    }
}

/// Output for one connection. For a connection that is closed it is dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// Whose.
    pub connection: ConnectionId,
    /// What.
    pub output: Output,
}

/// What a connection is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A control packet.
    Packet(Reply),
    /// Packets that stand encoded in [`Turn::written`].
    Written(Written),
    /// The end: what stands before it in `send` is written out, what is held is dropped, then the
    /// network connection is closed.
    Close,
}

/// Output that waits for the disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The record that must be durable first.
    pub until: RecordNumber,
    /// How many of [`Turn::send`] stand before it: the order of both is the order of decisions.
    pub after: usize,
    /// What leaves then.
    pub outgoing: Outgoing,
}

impl From<Delivery> for Output {
    fn from(delivery: Delivery) -> Self {
        Self::Packet(Reply::Publish(delivery))
    }
}

/// Asks for stored copies of `owner`, with their messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Whose copies.
    pub owner: OwnerId,
    /// The first wanted.
    pub first: MessageId,
    /// The last wanted.
    pub last: MessageId,
    /// How many at most.
    pub count: u32,
    /// Their [`Message::size`] together at most; the first comes whatever its size.
    pub bytes: u32,
    /// Only those that were never sent and expire at this time or before.
    pub expired_by: Option<Timestamp>,
    /// Whether the answer has to know of lazy records too, so that these do not wait any longer:
    /// some of the range may have left its queue in this run.
    pub after_lazy: bool,
}

/// The answer to a [`Load`]: what of it is there, in the order of the messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The question.
    pub load: Load,
    /// The first copies of the range, up to the limits.
    pub copies: Vec<Stored>,
    /// Whether the range has more that is asked for.
    pub has_more: bool,
    /// For `expired_by`: the soonest expiry of the copies in the range that did not come.
    pub soonest_expiry: Option<Timestamp>,
}

/// A stored copy, back in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// With all that happened to it.
    pub copy: Copy,
    /// The whole message.
    pub message: Arc<Message>,
}

/// Asks for the kept dead letters from `first` to `last`, both included, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetterLoad {
    /// The first wanted.
    pub first: DeadId,
    /// The last wanted.
    pub last: DeadId,
    /// How many at most.
    pub count: u32,
    /// Their [`Message::size`] together at most; the first comes whatever its size.
    pub bytes: u32,
    /// For which [`Task`]: others may ask for the same letters.
    pub task: Option<u64>,
}

/// The answer to a [`LetterLoad`].
#[derive(Clone, Debug, PartialEq)]
pub struct Letters {
    /// The question.
    pub load: LetterLoad,
    /// The first letters of the range, up to the limits.
    pub letters: Vec<DeadLetter>,
    /// Whether the range has more.
    pub has_more: bool,
}

/// Whether the store can take records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// It takes them.
    Ready,
    /// It takes what makes it smaller and what is small, and no new message.
    Full,
    /// It fails; it tries again by itself.
    Failing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{QoS, Version};

    #[test]
    fn output_is_taken_in_the_order_of_the_decisions() {
        let id = ConnectionId { slot: 0, generation: 0 };
        let mut turn = Turn::default();
        let number = turn.record(Record::OwnerForgotten { owner: OwnerId(1) });
        let output = || Output::Packet(Reply::PingResp);
        turn.hold(number, id, output());
        turn.send(id, output());
        turn.send(id, output());
        turn.hold(number, id, output());
        turn.send(id, output());
        let held: Vec<_> = turn.take_output().1.map(|(until, _)| until.is_some()).collect();
        assert_eq!(held, [true, false, false, true, false]);
        assert!(turn.send.is_empty() && turn.held.is_empty());
    }

    #[test]
    fn what_follows_what_was_written_last_is_one_piece_with_it() {
        let id = |slot| ConnectionId { slot, generation: 0 };
        let again = ConnectionId { slot: 7, generation: 1 };
        let mut turn = Turn::default();
        let number = turn.record(Record::OwnerForgotten { owner: OwnerId(1) });
        let write = |turn: &mut Turn, version, byte: u8, to: &[ConnectionId]| {
            let encode = |bytes: &mut Vec<u8>| bytes.push(byte);
            let written = turn.written.publish(version, QoS::AtMostOnce, encode);
            to.iter().for_each(|to| turn.send_written(*to, written.clone()));
        };
        let pieces = |turn: &mut Turn| -> Vec<(u32, String)> {
            let (written, output) = turn.take_output();
            let text = |output: &Output| match output {
                Output::Written(piece) => String::from_utf8(written.bytes(piece).to_vec()).unwrap(),
                _ => "packet".to_owned(),
            };
            let pieces = output.map(|(_, out)| (out.connection.slot, text(&out.output))).collect();
            turn.written.clear();
            pieces
        };
        let of = |slot, text: &str| (slot, text.to_owned());
        for byte in *b"abc" {
            write(&mut turn, Version::V5, byte, &[id(0), id(7)]);
            write(&mut turn, Version::V311, byte, &[id(3)]);
        }
        assert_eq!(pieces(&mut turn), [of(0, "abc"), of(7, "abc"), of(3, "abc")]);

        write(&mut turn, Version::V5, b'a', &[id(7), id(0)]);
        write(&mut turn, Version::V5, b'b', &[id(7)]);
        write(&mut turn, Version::V5, b'c', &[id(0)]); // There is a gap.
        turn.send(id(7), Output::Packet(Reply::PingResp));
        write(&mut turn, Version::V5, b'd', &[id(7)]); // Nothing is overtaken.
        turn.hold(number, id(7), Output::Packet(Reply::PingResp));
        write(&mut turn, Version::V5, b'e', &[id(7), again]);
        let packet = || of(7, "packet");
        let expected = [
            of(7, "ab"),
            of(0, "a"),
            of(0, "c"),
            packet(),
            of(7, "d"),
            packet(),
            of(7, "e"),
            of(7, "e"),
        ];
        assert_eq!(pieces(&mut turn), expected);
    }

    #[test]
    fn acknowledgements_that_are_held_together_are_one_piece() {
        let id = |slot| ConnectionId { slot, generation: 0 };
        let mut turn = Turn::default();
        let mut number = RecordNumber::default();
        let record = || Record::OwnerForgotten { owner: OwnerId(1) };
        let earlier = turn.record(record());
        turn.records.clear(); // The store has it.
        let hold = |turn: &mut Turn, until, byte: u8, to| {
            let written = turn.written.ack([0x40, 2, 0, byte]);
            turn.hold_written(until, id(to), written);
        };
        hold(&mut turn, earlier, 1, 0); // It may leave before the others.
        for byte in [2, 3] {
            number = turn.record(record());
            hold(&mut turn, number, byte, 0);
        }
        hold(&mut turn, number, 4, 7);
        hold(&mut turn, number, 5, 0);
        turn.send(id(0), Output::Packet(Reply::PingResp));
        hold(&mut turn, number, 6, 0);
        hold(&mut turn, earlier, 7, 0);
        let (written, output) = turn.take_output();
        let mut pieces = Vec::new();
        for (until, out) in output {
            let acks = match &out.output {
                Output::Written(piece) => written.bytes(piece).chunks(4).map(|a| a[3]).collect(),
                _ => Vec::new(),
            };
            pieces.push((until, out.connection.slot, acks));
        }
        let (earlier, number) = (Some(earlier), Some(number));
        let expected = [
            (earlier, 0, vec![1]),
            (number, 0, vec![2, 3]),
            (number, 7, vec![4]),
            (number, 0, vec![5]),
            (None, 0, vec![]),
            (number, 0, vec![6]),
            (earlier, 0, vec![7]),
        ];
        assert_eq!(pieces, expected);
    }
}
