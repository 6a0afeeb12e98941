//! A closed loop: publishers keep a window of messages in flight, and each message is checked to
//! come once and in its publisher's order.

use crate::broker::Broker;
use crate::generator::{Failure, Generator, Input, expect_open};
use crate::measure::{Meter, Sample};
use crate::wire::{self, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Publish, Template};

/// A publisher is at most so many windows ahead of its slowest subscribers.
const WINDOWS_AHEAD: u64 = 10;
/// mosquitto drops what goes beyond this in one client's queue.
const QUEUE: u64 = 1000;

/// Who publishes what to whom: as many subscribers as publishers are pairs, otherwise each
/// subscriber hears all publishers.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) qos: u8,
    /// Bytes of a payload.
    pub(crate) size: usize,
    /// Messages in flight of each publisher.
    pub(crate) window: u64,
    /// Whether the subscribers' sessions outlive their connections.
    pub(crate) persistent: bool,
    /// Topics of each publisher, which it takes in turn; more than one are subscribed to with a
    /// wildcard filter each.
    pub(crate) topics: usize,
}

impl Shape {
    fn is_pairs(&self) -> bool {
        self.publishers == self.subscribers
    }

    /// How many hear a message.
    fn fan_out(&self) -> u64 {
        if self.is_pairs() { 1 } else { self.subscribers as u64 }
    }

    /// Whom a subscriber hears: the first, and how many.
    fn heard_by(&self, subscriber: usize) -> (usize, usize) {
        if self.is_pairs() { (subscriber, 1) } else { (0, self.publishers) }
    }

    fn topic(&self, publisher: usize, number: usize) -> String {
        match self.topics {
            1 => format!("bench/{publisher}"),
            _ => format!("bench/{}/value", publisher + number * self.publishers),
        }
    }

    fn filters(&self, subscriber: usize) -> Vec<String> {
        let (first, count) = self.heard_by(subscriber);
        let filter = |publisher: usize, number: usize| match self.topics {
            1 => self.topic(publisher, 0),
            _ => format!("+/{}/#", publisher + number * self.publishers),
        };
        let of = |publisher| (0..self.topics).map(move |number| filter(publisher, number));
        (first..first + count).flat_map(of).collect()
    }

    fn templates(&self, publisher: usize) -> Vec<Template> {
        let template = |number| {
            let topic = self.topic(publisher, number);
            Template::new(publisher, &topic, self.qos, self.size, false)
        };
        (0..self.topics).map(template).collect()
    }
}

/// `messages` are delivered in all, or a few less.
pub(crate) fn measure(shape: Shape, broker: &Broker, messages: u64) -> Result<Sample, Failure> {
    let mut exchange = Exchange::new(shape, broker, messages)?;
    exchange.subscribe()?;
    exchange.connect_publishers()?;
    let meter = Meter::start(broker)?;
    exchange.run_until(|state| state.is_published() && state.is_delivered())?;
    let sample = meter.stop(broker, exchange.state.messages())?;
    exchange.expect_no_more()?;
    Ok(sample)
}

pub(crate) struct Exchange {
    generator: Generator,
    pub(crate) state: State,
}

/// Who has sent and received how much.
pub(crate) struct State {
    shape: Shape,
    /// Messages of each publisher.
    each: u64,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    /// By the connection's number.
    roles: Vec<Role>,
    /// Whether the subscribers are away, so that nobody waits for them.
    pub(crate) is_away: bool,
}

#[derive(Clone, Copy)]
enum Role {
    Publisher(usize),
    Subscriber(usize),
    Gone,
}

struct Publisher {
    link: usize,
    topics: Vec<Template>,
    sent: u64,
    acknowledged: u64,
    /// By all that hear it.
    delivered: u64,
}

struct Subscriber {
    link: usize,
    /// The number that is to come, of each publisher that it hears.
    next: Vec<u64>,
    received: u64,
    /// QoS 2 messages that were released.
    released: u64,
}

impl Exchange {
    pub(crate) fn new(shape: Shape, broker: &Broker, messages: u64) -> Result<Self, Failure> {
        let each = (messages / shape.fan_out() / shape.publishers as u64).max(1);
        let generator = Generator::new(broker.target.clone())?;
        let (publishers, subscribers, roles) = (Vec::new(), Vec::new(), Vec::new());
        let state = State { shape, each, publishers, subscribers, roles, is_away: false };
        Ok(Self { generator, state })
    }

    /// Connects the subscribers, with their subscriptions.
    pub(crate) fn subscribe(&mut self) -> Result<(), Failure> {
        let shape = self.state.shape;
        let ids = (0..shape.subscribers).map(|index| format!("subscriber-{index}"));
        let links = self.generator.connect(ids, !shape.persistent)?;
        let filters = links.iter().enumerate().map(|(index, link)| (*link, shape.filters(index)));
        self.generator.subscribe(&filters.collect::<Vec<_>>(), shape.qos)?;
        for (index, link) in links.into_iter().enumerate() {
            let next = vec![0; shape.heard_by(index).1];
            self.state.subscribers.push(Subscriber { link, next, received: 0, released: 0 });
            self.state.set_role(link, Role::Subscriber(index));
        }
        Ok(())
    }

    pub(crate) fn connect_publishers(&mut self) -> Result<(), Failure> {
        let shape = self.state.shape;
        let ids = (0..shape.publishers).map(|index| format!("publisher-{index}"));
        for (index, link) in self.generator.connect(ids, true)?.into_iter().enumerate() {
            let topics = shape.templates(index);
            let publisher = Publisher { link, topics, sent: 0, acknowledged: 0, delivered: 0 };
            self.state.publishers.push(publisher);
            self.state.set_role(link, Role::Publisher(index));
        }
        Ok(())
    }

    /// The subscribers disconnect.
    pub(crate) fn leave(&mut self) -> Result<(), Failure> {
        let links: Vec<usize> = self.state.subscribers.iter().map(|one| one.link).collect();
        self.generator.disconnect(&links)?;
        links.into_iter().for_each(|link| self.state.set_role(link, Role::Gone));
        self.state.is_away = true;
        Ok(())
    }

    /// The subscribers connect again; what waited for them may come at once.
    pub(crate) fn come_back(&mut self) -> Result<(), Failure> {
        for index in 0..self.state.subscribers.len() {
            let link = self.generator.open()?;
            let id = format!("subscriber-{index}");
            wire::put_connect(&id, false, self.generator.output(link));
            self.state.subscribers[index].link = link;
            self.state.set_role(link, Role::Subscriber(index));
        }
        self.state.is_away = false;
        Ok(())
    }

    /// Publishes and receives until `is_done`.
    pub(crate) fn run_until(&mut self, is_done: impl Fn(&State) -> bool) -> Result<(), Failure> {
        let Self { generator, state } = self;
        while !is_done(state) {
            state.fill_windows(generator);
            generator.turn(|link, input| state.take(link, input))?;
        }
        Ok(())
    }

    /// A message that came twice is here before the answer to a ping.
    pub(crate) fn expect_no_more(&mut self) -> Result<(), Failure> {
        let Self { generator, state } = self;
        let links: Vec<usize> = state.subscribers.iter().map(|one| one.link).collect();
        generator.ping(&links, |link, input| state.take(link, input))
    }
}

impl State {
    /// Deliveries.
    pub(crate) fn messages(&self) -> u64 {
        self.each * self.publishers.len() as u64 * self.shape.fan_out()
    }

    /// Whether the publishers need nothing more.
    pub(crate) fn is_published(&self) -> bool {
        let each = self.each;
        let ended = |one: &Publisher| if self.shape.qos == 0 { one.sent } else { one.acknowledged };
        self.publishers.iter().all(|one| ended(one) == each)
    }

    /// Whether the subscribers have everything.
    pub(crate) fn is_delivered(&self) -> bool {
        let is_released = |one: &Subscriber| self.shape.qos < 2 || one.released == one.received;
        let received: u64 = self.subscribers.iter().map(|one| one.received).sum();
        received == self.messages() && self.subscribers.iter().all(is_released)
    }

    fn set_role(&mut self, link: usize, role: Role) {
        if self.roles.len() <= link {
            self.roles.resize(link + 1, Role::Gone);
        }
        self.roles[link] = role;
    }

    fn fill_windows(&mut self, generator: &mut Generator) {
        let Shape { window, qos, .. } = self.shape;
        let ahead = (window * WINDOWS_AHEAD).min(QUEUE / self.shape.heard_by(0).1 as u64).max(1);
        for publisher in &mut self.publishers {
            let delivered = publisher.delivered / self.shape.fan_out();
            // Nobody acknowledges QoS 0, so there the subscribers do.
            let ended = if qos == 0 { delivered } else { publisher.acknowledged };
            let mut limit = self.each.min(ended + window);
            if !self.is_away {
                limit = limit.min(delivered + ahead);
            }
            if publisher.sent < limit {
                let output = generator.output(publisher.link);
                for number in publisher.sent..limit {
                    let topic = number as usize % publisher.topics.len();
                    publisher.topics[topic].put(number, output);
                }
                publisher.sent = limit;
            }
        }
    }

    fn take(&mut self, link: usize, input: Input) -> Result<(), Failure> {
        let role = self.roles.get(link).copied().unwrap_or(Role::Gone);
        let Input::Packet { first, body, output } = input else {
            return expect_open(&input);
        };
        match (role, first) {
            (Role::Publisher(index), PUBACK | PUBCOMP) => self.publishers[index].acknowledged += 1,
            (Role::Publisher(_), PUBREC) => {
                wire::put_ack(PUBREL, wire::packet_id(body), output);
            }
            (Role::Subscriber(index), PUBREL) => {
                self.subscribers[index].released += 1;
                wire::put_ack(PUBCOMP, wire::packet_id(body), output);
            }
            (Role::Subscriber(index), _) if first & 0xF0 == PUBLISH => {
                let publish = Publish::parse(first, body);
                let publish = publish.ok_or_else(|| Failure("a PUBLISH is too short".into()))?;
                publish.acknowledge(output);
                self.receive(index, &publish)?;
            }
            _ => expect_open(&Input::Packet { first, body, output })?,
        }
        Ok(())
    }

    fn receive(&mut self, index: usize, publish: &Publish) -> Result<(), Failure> {
        let (first, _) = self.shape.heard_by(index);
        let subscriber = &mut self.subscribers[index];
        let stamp = publish.stamp(self.shape.size);
        let (from, number) = stamp.ok_or_else(|| Failure("a payload is not whole".into()))?;
        let next = from.checked_sub(first).and_then(|place| subscriber.next.get_mut(place));
        let next = next.ok_or_else(|| Failure(format!("a message of {from} went astray")))?;
        if number != *next || publish.qos != self.shape.qos {
            return Err(Failure(format!(
                "subscriber {index} got message {number} of publisher {from} at QoS {} in place \
                 of {next}",
                publish.qos
            )));
        }
        *next += 1;
        subscriber.received += 1;
        self.publishers[from].delivered += 1;
        Ok(())
    }
}
