//! An open loop at QoS 1: messages are sent by the clock, whatever the broker does, and each
//! latency counts from when the message was meant to be sent.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::generator::{Failure, Generator, Input, expect_open};
use crate::measure::{Figure, Meter, Sample};
use crate::wire::{self, CONNACK, PUBACK, PUBLISH, Publish, Template};

const QOS: u8 = 1;
/// A broker that is so far behind at the end does not keep up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts to write into a full socket.
const RETRY: Duration = Duration::from_micros(100);

/// Each publisher has a subscriber of its own.
#[derive(Clone, Copy)]
pub(crate) struct Steady {
    /// Messages a second, of all publishers together.
    pub(crate) rate: u64,
    pub(crate) publishers: usize,
    /// In all.
    pub(crate) messages: u64,
    /// Bytes of a payload.
    pub(crate) size: usize,
    /// Whether the subscribers' sessions outlive their connections.
    pub(crate) persistent: bool,
    /// Whether the subscribers are away, so that the messages stay.
    pub(crate) away: bool,
}

/// From when each message was meant to be sent, sorted.
pub(crate) struct Latencies {
    /// Until its subscriber had it; empty when it was away.
    pub(crate) delivered: Vec<Duration>,
    /// Until its publisher had the acknowledgement.
    pub(crate) acknowledged: Vec<Duration>,
    /// Until it was sent.
    pub(crate) late: Vec<Duration>,
}

impl Latencies {
    /// The latency that `share` of them stayed below, in milliseconds.
    pub(crate) fn at(sorted: &[Duration], share: f64) -> f64 {
        let place = (sorted.len().saturating_sub(1) as f64 * share).ceil() as usize;
        sorted.get(place).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }
}

pub(crate) fn measure(steady: Steady, broker: &Broker) -> Result<Sample, Failure> {
    let ready = steady.connect(broker)?;
    let meter = Meter::start(broker)?;
    let latencies = ready.run()?.ok_or_else(|| Failure("the broker does not keep up".into()))?;
    let mut sample = meter.stop(broker, steady.messages)?;
    let Latencies { delivered, acknowledged, late } = &latencies;
    sample.figures.extend([
        (Figure::Median, Latencies::at(delivered, 0.5)),
        (Figure::P99, Latencies::at(delivered, 0.99)),
        (Figure::P999, Latencies::at(delivered, 0.999)),
        (Figure::AckMedian, Latencies::at(acknowledged, 0.5)),
        (Figure::AckP99, Latencies::at(acknowledged, 0.99)),
        (Figure::LateP99, Latencies::at(late, 0.99)),
    ]);
    Ok(sample)
}

impl Steady {
    /// All clients, connected and subscribed.
    pub(crate) fn connect(self, broker: &Broker) -> Result<Ready, Failure> {
        let mut generator = Generator::new(broker.target.clone())?;
        let all = 0..self.publishers;
        let ids = all.clone().map(|index| format!("subscriber-{index}"));
        let subscribers = generator.connect(ids, !self.persistent)?;
        let filters = subscribers.iter().enumerate();
        let filters = filters.map(|(index, link)| (*link, vec![format!("steady/{index}")]));
        generator.subscribe(&filters.collect::<Vec<_>>(), QOS)?;
        if self.away {
            generator.disconnect(&subscribers)?;
        }
        let mut sockets = Vec::new();
        let mut publishers = Vec::new();
        for index in all {
            let socket = connect_apart(broker, &format!("publisher-{index}"))?;
            publishers.push(generator.adopt(socket.try_clone()?)?);
            sockets.push(socket);
        }
        Ok(Ready { steady: self, generator, subscribers, publishers, sockets })
    }

    /// When a message is to be sent: the publishers take turns.
    fn due(&self, start: Instant, publisher: usize, number: u64) -> Instant {
        let turn = number * self.publishers as u64 + publisher as u64;
        start + Duration::from_secs_f64(turn as f64 / self.rate as f64)
    }
}

/// A connection that another thread writes to; it does not block.
fn connect_apart(broker: &Broker, client_id: &str) -> Result<TcpStream, Failure> {
    let mut socket = TcpStream::connect(broker.target.address)?;
    socket.set_nodelay(true)?;
    let (mut connect, mut answer) = (Vec::new(), [0; 4]);
    wire::put_connect(client_id, true, &mut connect);
    socket.write_all(&connect)?;
    socket.read_exact(&mut answer)?;
    if answer != [CONNACK, 2, 0, 0] {
        return Err(Failure(format!("a publisher was refused with {answer:?}")));
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

pub(crate) struct Ready {
    steady: Steady,
    generator: Generator,
    subscribers: Vec<usize>,
    publishers: Vec<usize>,
    /// The publishers' connections again.
    sockets: Vec<TcpStream>,
}

impl Ready {
    /// `None` for a broker that does not keep up.
    pub(crate) fn run(self) -> Result<Option<Latencies>, Failure> {
        let Self { steady, mut generator, subscribers, publishers, sockets } = self;
        // The first messages are not to be late.
        let start = Instant::now() + Duration::from_millis(5);
        let mut receiver = Receiver {
            steady,
            start,
            // Each kind was made in one go, so that its numbers follow each other.
            first_subscriber: subscribers[0],
            first_publisher: publishers[0],
            received: vec![0; steady.publishers],
            answered: vec![0; steady.publishers],
            delivered: Vec::new(),
            acknowledged: Vec::new(),
        };
        let has_ended = AtomicBool::new(false);
        let late = thread::scope(|scope| {
            let sender = scope.spawn(|| steady.send(start, sockets, &has_ended));
            let is_in_time = receiver.receive_all(&mut generator);
            has_ended.store(true, Ordering::Relaxed);
            let late = sender.join().map_err(|_| Failure("the sender panicked".into()))?;
            Ok::<_, Failure>(if is_in_time? { Some(late?) } else { None })
        })?;
        let Receiver { delivered, acknowledged, .. } = receiver;
        Ok(late.map(|late| Latencies {
            delivered: sorted(delivered),
            acknowledged: sorted(acknowledged),
            late: sorted(late),
        }))
    }
}

fn sorted(mut latencies: Vec<Duration>) -> Vec<Duration> {
    latencies.sort_unstable();
    latencies
}

impl Steady {
    /// Sends all messages, and gives how late each was.
    fn send(
        self,
        start: Instant,
        mut sockets: Vec<TcpStream>,
        has_ended: &AtomicBool,
    ) -> Result<Vec<Duration>, Failure> {
        let template =
            |index| Template::new(index, &format!("steady/{index}"), QOS, self.size, false);
        let templates: Vec<Template> = (0..self.publishers).map(template).collect();
        let (mut late, mut packet) = (Vec::new(), Vec::new());
        for turn in 0..self.messages {
            let index = (turn % self.publishers as u64) as usize;
            let number = turn / self.publishers as u64;
            let due = self.due(start, index, number);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            packet.clear();
            templates[index].put(number, &mut packet);
            write_all(&mut sockets[index], &packet, has_ended)?;
            late.push(due.elapsed());
            if has_ended.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(late)
    }
}

/// Waits for a full socket, but no longer than the round goes on.
fn write_all(socket: &mut TcpStream, packet: &[u8], has_ended: &AtomicBool) -> io::Result<()> {
    let mut written = 0;
    while written < packet.len() && !has_ended.load(Ordering::Relaxed) {
        match socket.write(&packet[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What comes while another thread sends.
struct Receiver {
    steady: Steady,
    start: Instant,
    first_subscriber: usize,
    first_publisher: usize,
    /// Messages of each subscriber.
    received: Vec<u64>,
    /// Acknowledgements of each publisher.
    answered: Vec<u64>,
    delivered: Vec<Duration>,
    acknowledged: Vec<Duration>,
}

impl Receiver {
    /// `false` when it takes too long.
    fn receive_all(&mut self, generator: &mut Generator) -> Result<bool, Failure> {
        let seconds = self.steady.messages as f64 / self.steady.rate as f64;
        let end = self.start + Duration::from_secs_f64(seconds) + PATIENCE;
        let to_deliver = if self.steady.away { 0 } else { self.steady.messages as usize };
        while self.acknowledged.len() < self.steady.messages as usize
            || self.delivered.len() < to_deliver
        {
            if Instant::now() > end {
                return Ok(false);
            }
            generator.turn(|link, input| self.take(link, input))?;
        }
        Ok(true)
    }

    fn take(&mut self, link: usize, input: Input) -> Result<(), Failure> {
        let Input::Packet { first, body, output } = input else {
            return expect_open(&input);
        };
        if first == PUBACK {
            let index = link - self.first_publisher;
            let number = self.answered[index];
            self.acknowledged.push(self.steady.due(self.start, index, number).elapsed());
            self.answered[index] += 1;
        } else if first & 0xF0 == PUBLISH {
            let publish = Publish::parse(first, body);
            let publish = publish.ok_or_else(|| Failure("a PUBLISH is too short".into()))?;
            publish.acknowledge(output);
            let index = link - self.first_subscriber;
            let next = &mut self.received[index];
            if publish.stamp(self.steady.size) != Some((index, *next)) {
                let text = format!("subscriber {index} got another message than {next}");
                return Err(Failure(text));
            }
            self.delivered.push(self.steady.due(self.start, index, *next).elapsed());
            *next += 1;
        }
        Ok(())
    }
}
