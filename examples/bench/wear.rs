//! Flash wear: what a broker writes for a message at a steady rate, and how long a publisher waits
//! for its acknowledgement. The load is open-loop: messages are sent by the clock, whatever the
//! broker does.

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::load::{Link, PUBACK, PUBLISH_TYPE, Template, put_ack};
use crate::server::Server;

/// All messages are sent at QoS 1.
const QOS: u8 = 1;
/// At a low rate it takes longer until there are so many messages.
const FEWEST_MESSAGES: f64 = 10.0;
const DISCONNECT: [u8; 2] = [0xE0, 0];
/// Until what is written late is written, too.
const SETTLING: Duration = Duration::from_millis(1500);
/// A broker that is so far behind at the end does not keep up.
const PATIENCE: Duration = Duration::from_secs(30);
/// mosquitto's nearest to storing before it acknowledges: the whole state after each change,
/// though the acknowledgement does not wait for it. No message is dropped while it falls behind.
const MOSQUITTO: &str = "persistence true\nautosave_on_changes true\nautosave_interval 1\n\
                         max_queued_messages 0\n";

/// What is measured.
pub(crate) struct Wear<'a> {
    pub(crate) kedgemq: &'a Path,
    pub(crate) mosquitto: &'a Path,
    pub(crate) directory: &'a Path,
    /// Bytes of a payload.
    pub(crate) size: usize,
    pub(crate) seconds: f64,
    /// Messages a second, of all publishers together.
    pub(crate) rates: &'a [u64],
    pub(crate) publishers: &'a [usize],
    /// Whether the subscribers are away, so that the messages stay.
    pub(crate) away: bool,
    /// Of KedgeMQ, as its configuration file has it.
    pub(crate) commit_intervals: &'a [String],
}

/// A rate and by how many it is made.
#[derive(Clone, Copy)]
struct Cell {
    rate: u64,
    publishers: usize,
    seconds: f64,
    size: usize,
    away: bool,
}

/// What a broker did in a cell.
struct Worn {
    /// Bytes that its process caused to be written, a message.
    written: f64,
    median: Duration,
    p99: Duration,
}

impl Wear<'_> {
    /// Prints the table, row by row.
    pub(crate) fn run(&self, runtime: &Runtime) -> Result<(), String> {
        println!(
            "{} bytes at QoS 1, each publisher to a persistent session of its own that is {}, \
             files in {}\nmosquitto: {}",
            self.size,
            if self.away { "away" } else { "connected" },
            self.directory.display(),
            MOSQUITTO.trim_end().replace('\n', ", ")
        );
        println!(
            "rate/s  publishers  broker           bytes/message  of mosquitto  median ms  p99 ms"
        );
        for rate in self.rates {
            for publishers in self.publishers {
                let seconds = self.seconds.max(FEWEST_MESSAGES / *rate as f64);
                let (rate, publishers) = (*rate, *publishers);
                let (size, away) = (self.size, self.away);
                self.measure(Cell { rate, publishers, seconds, size, away }, runtime)?;
            }
        }
        Ok(())
    }

    fn measure(&self, cell: Cell, runtime: &Runtime) -> Result<(), String> {
        let start = || Server::start_mosquitto(self.mosquitto, self.directory, MOSQUITTO);
        let theirs = runtime.block_on(cell.measure(&start()?))?;
        let reference = theirs.as_ref().map(|worn| worn.written);
        if reference == Some(0.0) {
            return Err("mosquitto stored nothing: it could not write, or nothing counts \
                        /proc/PID/io on this file system (tmpfs does not): try --directory"
                .into());
        }
        cell.print("mosquitto", theirs.as_ref(), reference);
        for interval in self.commit_intervals {
            let configuration = format!("[store]\ncommit_interval = \"{interval}\"\n");
            let server = Server::start_kedgemq(self.kedgemq, self.directory, &configuration)?;
            let ours = runtime.block_on(cell.measure(&server))?;
            cell.print(&format!("kedgemq {interval}"), ours.as_ref(), reference);
        }
        Ok(())
    }
}

impl Cell {
    /// `None` for a broker that does not keep up.
    async fn measure(self, server: &Server) -> Result<Option<Worn>, String> {
        // All at once: each waits for commits.
        let connects = (0..self.publishers).map(|index| Pair::connect(self, server.address, index));
        let connects: JoinSet<_> = connects.collect();
        let pairs: io::Result<Vec<_>> = connects.join_all().await.into_iter().collect();
        let pairs = pairs.map_err(failed)?;
        sleep(SETTLING).await;
        let written = server.written()?;
        let start = Instant::now();
        let mut running = JoinSet::new();
        for pair in pairs {
            running.spawn(pair.run(start));
        }
        let mut latencies = Vec::new();
        while let Some(ended) = running.join_next().await {
            let ended = ended.map_err(|error| format!("a client failed: {error}"))?;
            let Some(more) = ended.map_err(failed)? else {
                return Ok(None);
            };
            latencies.extend(more);
        }
        sleep(SETTLING).await;
        let written = (server.written()? - written) / latencies.len() as f64;
        latencies.sort();
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share).ceil() as usize];
        Ok(Some(Worn { written, median: at(0.5), p99: at(0.99) }))
    }

    fn print(self, broker: &str, worn: Option<&Worn>, reference: Option<f64>) {
        let Self { rate, publishers, .. } = self;
        print!("{rate:>6}  {publishers:>10}  {broker:<15}  ");
        let Some(Worn { written, median, p99 }) = worn else {
            println!("{:>13}", "falls behind");
            return;
        };
        let share = match reference {
            Some(theirs) if theirs > 0.0 => format!("{:.2}", written / theirs),
            _ => "-".into(),
        };
        let (median, p99) = (Millis(*median), Millis(*p99));
        println!("{written:>13.0}  {share:>12}  {median:>9}  {p99:>6}");
    }
}

fn failed(error: io::Error) -> String {
    format!("a client failed: {error}")
}

struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.1}", self.0.as_secs_f64() * 1e3))
    }
}

/// Never, for one that is away.
async fn readable(link: Option<&Link>) -> io::Result<()> {
    match link {
        Some(link) => link.stream.readable().await,
        None => pending().await,
    }
}

/// A publisher by the clock and the subscriber to its topic.
struct Pair {
    cell: Cell,
    index: usize,
    publisher: Link,
    /// `None` while it is away.
    subscriber: Option<Link>,
    publish: Template,
    sent: u64,
    /// When what is not acknowledged was sent.
    waiting: VecDeque<Instant>,
    latencies: Vec<Duration>,
    received: u64,
}

impl Pair {
    async fn connect(cell: Cell, server: SocketAddr, index: usize) -> io::Result<Self> {
        let topic = format!("wear/{index}");
        let mut subscriber = Link::connect(server, &format!("subscriber-{index}"), true).await?;
        subscriber.subscribe(&topic, QOS).await?;
        if cell.away {
            subscriber.output.extend(DISCONNECT);
            subscriber.flush().await?;
        }
        Ok(Self {
            cell,
            index,
            publisher: Link::connect(server, &format!("publisher-{index}"), false).await?,
            subscriber: (!cell.away).then_some(subscriber),
            publish: Template::new(&topic, QOS, cell.size),
            sent: 0,
            waiting: VecDeque::new(),
            latencies: Vec::new(),
            received: 0,
        })
    }

    /// How long each message waited for its acknowledgement.
    async fn run(mut self, start: Instant) -> io::Result<Option<Vec<Duration>>> {
        let end = start + Duration::from_secs_f64(self.cell.seconds);
        let whole = timeout(PATIENCE + (end - start), self.exchange(start, end)).await;
        match whole {
            Ok(result) => result.map(|()| Some(self.latencies)),
            Err(_) => Ok(None),
        }
    }

    async fn exchange(&mut self, start: Instant, end: Instant) -> io::Result<()> {
        loop {
            let mut due = self.due(start);
            while due < end && due <= Instant::now() {
                self.publish.put(self.sent, &mut self.publisher.output);
                self.sent += 1;
                self.waiting.push_back(Instant::now());
                due = self.due(start);
            }
            self.publisher.flush().await?;
            if let Some(subscriber) = &mut self.subscriber {
                subscriber.flush().await?;
            }
            let all_came = self.subscriber.is_none() || self.received >= self.sent;
            if due >= end && self.waiting.is_empty() && all_came {
                return Ok(());
            }
            tokio::select! {
                () = sleep_until(due), if due < end => {}
                ready = self.publisher.stream.readable() => ready?,
                ready = readable(self.subscriber.as_ref()) => ready?,
            }
            self.take()?;
        }
    }

    /// When the next message is to be sent: the publishers take turns.
    fn due(&self, start: Instant) -> Instant {
        let number = self.sent * self.cell.publishers as u64 + self.index as u64;
        start + Duration::from_secs_f64(number as f64 / self.cell.rate as f64)
    }

    fn take(&mut self) -> io::Result<()> {
        let Self { publisher, subscriber, waiting, latencies, received, .. } = self;
        publisher.take(|first, _, _| {
            if first == PUBACK {
                latencies.extend(waiting.pop_front().map(|sent| sent.elapsed()));
            }
        })?;
        let Some(subscriber) = subscriber else {
            return Ok(());
        };
        subscriber.take(|first, body, output| {
            if first & 0xF0 == PUBLISH_TYPE {
                *received += 1;
                let id = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                put_ack(PUBACK, &body[id..id + 2], output);
            }
        })
    }
}
