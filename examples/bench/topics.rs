//! One publisher to very many topics, each with one subscription: what finding it costs.

use crate::broker::Broker;
use crate::generator::{Failure, Generator, Input, expect_open};
use crate::measure::{Figure, Meter, Sample};
use crate::wire::{PUBLISH, Publish, Template};

/// Messages on their way.
const WINDOW: u64 = 500;
/// Bytes of a payload.
const SIZE: usize = 64;
/// Steps from a topic to the next, so that neighbours do not follow each other. It has no factor
/// in common with a power of ten, so that none is left out.
const STRIDE: u64 = 618_033_989;

/// How a subscription names its topic.
#[derive(Clone, Copy)]
pub(crate) enum Filter {
    /// Without wildcards.
    Exact,
    /// `+` in place of the last level.
    Plus,
    /// `+` in place of the first level.
    PlusFirst,
    /// `#` in place of the last level.
    Rest,
    /// Without wildcards, in a share group of its own.
    Shared,
}

/// Topics with a subscription each, which the sessions have in turn.
pub(crate) struct Topics {
    pub(crate) filter: Filter,
    pub(crate) sessions: usize,
    /// A power of ten.
    pub(crate) count: u64,
    /// Of the topics; wildcards need three.
    pub(crate) levels: usize,
    /// Of the messages: 0 or 1.
    pub(crate) qos: u8,
}

impl Topics {
    /// `messages` at full load, each checked to come once to whom it belongs.
    pub(crate) fn measure(&self, broker: &Broker, messages: u64) -> Result<Sample, Failure> {
        let mut generator = Generator::new(broker.target.clone())?;
        let publisher = generator.connect(["publisher".into()], true)?[0];
        let ids = (0..self.sessions).map(|index| format!("subscriber-{index:05}"));
        let links = generator.connect(ids, true)?;
        let before = broker.process.memory()?.resident;
        self.subscribe(&mut generator, &links)?;
        let resident = broker.process.memory()?.resident - before;
        let last = vec![None; self.queues()];
        let mut load = Load { topics: self, publisher, sent: 0, received: 0, last };
        load.run_to(messages / 10, &mut generator)?; // Buffers have their size then.
        let meter = Meter::start(broker)?;
        load.run_to(messages / 10 + messages, &mut generator)?;
        let mut sample = meter.stop(broker, messages)?;
        generator.ping(&links, |link, input| load.take(link, input))?;
        sample.figures.push((Figure::Item, resident / self.count as f64));
        Ok(sample)
    }

    fn subscribe(&self, generator: &mut Generator, links: &[usize]) -> Result<(), Failure> {
        for (index, link) in links.iter().enumerate() {
            let topics = (index as u64..self.count).step_by(self.sessions);
            generator.subscribe(
                &[(*link, topics.map(|topic| self.filter(topic)).collect())],
                self.qos,
            )?;
        }
        Ok(())
    }

    fn topic(&self, number: u64) -> String {
        match self.levels {
            1 => number.to_string(),
            3 => format!("scale/{number}/value"),
            levels => format!("{}{number}", "level/".repeat(levels - 1)),
        }
    }

    fn filter(&self, number: u64) -> String {
        match self.filter {
            Filter::Exact => self.topic(number),
            Filter::Plus => format!("scale/{number}/+"),
            Filter::PlusFirst => format!("+/{number}/value"),
            Filter::Rest => format!("scale/{number}/#"),
            Filter::Shared => format!("$share/group/{}", self.topic(number)),
        }
    }

    /// In which messages stay in their order: one of each session, or of each share group.
    fn queues(&self) -> usize {
        match self.filter {
            Filter::Shared => self.count as usize,
            _ => self.sessions,
        }
    }

    /// Of a message.
    fn topic_of(&self, message: u64) -> u64 {
        message.wrapping_mul(STRIDE) % self.count
    }
}

/// What was sent and received.
struct Load<'a> {
    topics: &'a Topics,
    publisher: usize,
    sent: u64,
    received: u64,
    /// Of each queue.
    last: Vec<Option<u64>>,
}

impl Load<'_> {
    /// Until so many messages are delivered since the beginning.
    fn run_to(&mut self, end: u64, generator: &mut Generator) -> Result<(), Failure> {
        while self.received < end {
            let limit = end.min(self.received + WINDOW);
            let output = generator.output(self.publisher);
            for number in self.sent..limit {
                let topic = self.topics.topic(self.topics.topic_of(number));
                Template::new(0, &topic, self.topics.qos, SIZE, false).put(number, output);
            }
            self.sent = limit;
            generator.turn(|link, input| self.take(link, input))?;
        }
        Ok(())
    }

    /// A queue has its messages in their order; as many as were sent are all of them, then.
    fn take(&mut self, link: usize, input: Input) -> Result<(), Failure> {
        let Input::Packet { first, body, output } = input else {
            return expect_open(&input);
        };
        if first & 0xF0 != PUBLISH {
            return expect_open(&Input::Packet { first, body, output });
        }
        let publish = Publish::parse(first, body);
        let publish = publish.ok_or_else(|| Failure("a PUBLISH is too short".into()))?;
        publish.acknowledge(output);
        let stamp = publish.stamp(SIZE);
        let (_, number) = stamp.ok_or_else(|| Failure("a payload is not whole".into()))?;
        // Connections have their numbers in the order in which they were made.
        let session = link - self.publisher - 1;
        let topic = self.topics.topic_of(number) as usize;
        let (owner, last) = (topic % self.topics.sessions, topic % self.last.len());
        let last = self.last[last].replace(number);
        if owner != session || last.is_some_and(|last| last >= number) {
            return Err(Failure(format!("message {number} came to session {session} of {owner}")));
        }
        self.received += 1;
        Ok(())
    }
}
