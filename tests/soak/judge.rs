//! What was published and what came, and whether that is right.

use std::collections::BTreeSet;

use kedgemq::mqtt::{Delivery, QoS};

/// Those that promise something.
pub(crate) const QOS: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

/// How many messages one publisher has published at each QoS: they are numbered from 0.
#[derive(Default)]
pub(crate) struct Published {
    counts: [u64; 2],
}

impl Published {
    /// The payload's head of the next message; `last` says that no other follows.
    pub(crate) fn next(&mut self, qos: QoS, last: bool) -> Vec<u8> {
        let count = &mut self.counts[place(qos)];
        let mut head = vec![u8::from(last)];
        head.extend(count.to_be_bytes());
        *count += 1;
        head
    }
}

/// What one subscriber has received from all publishers.
pub(crate) struct Received {
    subscriber: usize,
    /// Of each publisher, at each QoS.
    streams: Vec<[Stream; 2]>,
    wrong: Vec<String>,
}

/// Messages of one publisher, topic and QoS.
#[derive(Default)]
struct Stream {
    /// All below have come.
    next: u64,
    /// Others that have come.
    early: BTreeSet<u64>,
    ended: bool,
}

impl Received {
    pub(crate) fn new(subscriber: usize, publishers: usize) -> Self {
        let streams = (0..publishers).map(|_| Default::default()).collect();
        Self { subscriber, streams, wrong: Vec::new() }
    }

    /// Takes a message: whether it came for the first time.
    pub(crate) fn add(&mut self, delivery: &Delivery) -> bool {
        let topic = &delivery.message.topic;
        let publisher: usize = topic["soak/".len()..].parse().expect("topics end in a number");
        let (head, _) = delivery.message.payload.split_at(9);
        let number = u64::from_be_bytes(head[1..].try_into().expect("eight bytes"));
        let stream = &mut self.streams[publisher][place(delivery.qos)];
        stream.ended |= head[0] == 1;
        let first = number >= stream.next && !stream.early.contains(&number);
        if first && number == stream.next {
            stream.next += 1;
            while stream.early.remove(&stream.next) {
                stream.next += 1;
            }
        } else if first {
            stream.early.insert(number);
            let next = stream.next;
            self.wrong.push(format!("{topic}, {:?}: {number} before {next}", delivery.qos));
        } else if delivery.qos == QoS::ExactlyOnce {
            self.wrong.push(format!("{topic}: {number} came twice at QoS 2"));
        }
        first
    }

    /// Whether the last message of every stream has come.
    pub(crate) fn complete(&self) -> bool {
        self.streams.iter().flatten().all(|stream| stream.ended)
    }

    /// Panics with all that is wrong.
    pub(crate) fn judge(mut self, published: &[Published]) {
        for (publisher, counts) in published.iter().enumerate() {
            for qos in QOS {
                let (stream, count) =
                    (&self.streams[publisher][place(qos)], counts.counts[place(qos)]);
                if stream.next != count {
                    let next = stream.next;
                    let lost = format!("soak/{publisher}, {qos:?}: {next} is lost, of {count}");
                    self.wrong.push(lost);
                }
            }
        }
        let (subscriber, wrong) = (self.subscriber, &self.wrong);
        assert!(wrong.is_empty(), "subscriber {subscriber}: {} wrong: {wrong:#?}", wrong.len());
    }
}

fn place(qos: QoS) -> usize {
    usize::from(qos == QoS::ExactlyOnce)
}
