//! The same on the real binary, as its clients see it. The data file is made with the store, in
//! another process, where that is quicker than over MQTT; what comes back is checked.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::broker::{self, Broker};
use crate::generator::{Failure, Generator, Input, expect_open};
use crate::run_apart;
use crate::scenarios::SESSIONS;
use crate::wire::{self, CONNACK, PUBACK, PUBLISH, Publish, Template};

/// No queue is to be too long.
const LIMITS: &str = "[limits]\nqueue_messages = 1000000000\nqueue_bytes = \"1000GiB\"\n\
                      disk_bytes = \"1000GiB\"\n";
const NO_LETTERS: &str = "[dead_letters]\nsession_cleared = false\n";
const PAYLOAD: usize = crate::filling::PAYLOAD;
/// Messages in flight of a publisher.
const WINDOW: u64 = 20;
/// Acknowledgements before a session ends, to compare with.
const BEFORE: usize = 500;
/// How long the others are watched after a session has ended.
const AFTER: Duration = Duration::from_secs(5);
const MEBIBYTE: f64 = 1048576.0;

pub(crate) fn run(scenario: &str, kedgemq: &Path, messages: u64) -> Result<(), Failure> {
    match scenario {
        "ready" => ready(kedgemq, messages),
        "drain" => drain(kedgemq, messages),
        "fanout" => fanout(kedgemq, messages / SESSIONS),
        "end" => {
            end(kedgemq, messages, "with dead letters", LIMITS)?;
            end(kedgemq, messages, "without", &format!("{LIMITS}{NO_LETTERS}"))
        }
        _ => Err(Failure(format!("no scenario {scenario} of the binary"))),
    }
}

/// A data directory, which outlives the brokers that are started on it.
struct Place {
    directory: TempDir,
    kedgemq: PathBuf,
}

impl Place {
    fn new(kedgemq: &Path) -> Result<Self, Failure> {
        let directory = broker::new_directory(&std::env::temp_dir())?;
        std::fs::create_dir(directory.path().join("data"))?;
        Ok(Self { directory, kedgemq: kedgemq.to_owned() })
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("data/kedgemq.redb")
    }

    fn bytes(&self) -> Result<f64, Failure> {
        Ok(self.file().metadata()?.len() as f64)
    }

    /// Fills it with a step of the other scenarios.
    fn fill(&self, step: &str, messages: u64) {
        let file = self.file();
        let file = file.to_str().expect("a path of ASCII");
        run_apart(&["step", step, file, &messages.to_string()]);
    }

    fn start(&self, configuration: &str) -> Result<Broker, Failure> {
        let directory = self.directory.path();
        Ok(Broker::start_kedgemq(&self.kedgemq, directory, configuration, None)?)
    }

    /// Starts it, and says how long it was until the first CONNACK, and what is resident.
    fn start_timed(&self, how: &str) -> Result<Broker, Failure> {
        let start = Instant::now();
        let broker = self.start(LIMITS)?;
        Generator::new(broker.target.clone())?.connect(["first".into()], true)?;
        let ready = start.elapsed();
        let memory = broker.process.memory()?;
        println!(
            "  {how}: {:.0} MiB on disk; CONNACK after {ready:.2?} (floor: 2 s); resident {:.0} \
             MiB, at most {:.0} MiB (floor: 256 MiB)",
            self.bytes()? / MEBIBYTE,
            memory.resident / MEBIBYTE,
            memory.peak / MEBIBYTE,
        );
        Ok(broker)
    }
}

/// Many queues and retained messages: how long a start takes, after a clean end and after SIGKILL.
fn ready(kedgemq: &Path, messages: u64) -> Result<(), Failure> {
    println!("ready: {messages} messages for {SESSIONS} sessions, a tenth as many retained");
    let place = Place::new(kedgemq)?;
    place.fill("fill", messages);
    drop(place.start_timed("closed")?);
    drop(place.start_timed("killed")?);
    let torn = Place::new(kedgemq)?;
    torn.fill("fill-and-die", messages);
    drop(torn.start_timed("killed while it was written")?);
    let broker = torn.start_timed("killed again")?;
    let mut queues = Queues::new(&broker, SESSIONS)?;
    // Ids begin with 1, and each goes to the owner that is one more than the rest of a division.
    let is_next = |owner, number, publish: &Publish| {
        let first = if owner == 1 { SESSIONS } else { owner - 1 };
        id(publish) == Some(first + number * SESSIONS)
    };
    queues.drain(messages, is_next, |_| Ok(()))?;
    count_retained(&broker, messages / 10)
}

fn count_retained(broker: &Broker, expected: u64) -> Result<(), Failure> {
    let mut generator = Generator::new(broker.target.clone())?;
    let link = generator.connect(["reader".into()], true)?[0];
    wire::put_subscribe(&["#".into()], 0, generator.output(link));
    let (start, mut came) = (Instant::now(), 0);
    while came < expected {
        generator.turn(|_, input| {
            came += u64::from(is_publish(&input));
            expect_open(&input)
        })?;
    }
    let taken = start.elapsed();
    generator.ping(&[link], |_, input| {
        came += u64::from(is_publish(&input));
        expect_open(&input)
    })?;
    println!("  {came} retained messages came in {taken:.2?}");
    if came == expected { Ok(()) } else { Err(Failure(format!("{expected} were retained"))) }
}

fn is_publish(input: &Input) -> bool {
    matches!(input, Input::Packet { first, .. } if first & 0xF0 == PUBLISH)
}

/// A long queue drains in order; the broker's memory stays as it is.
fn drain(kedgemq: &Path, messages: u64) -> Result<(), Failure> {
    println!("drain: {messages} messages in one queue");
    let place = Place::new(kedgemq)?;
    place.fill("fill-one", messages);
    let broker = place.start_timed("closed")?;
    let mut queues = Queues::new(&broker, 1)?;
    let tenth = (messages / 10).max(1);
    let mut resident = Vec::new();
    queues.drain(
        messages,
        |_, number, publish| id(publish) == Some(number + 1),
        |drained| {
            if drained / tenth > resident.len() as u64 {
                resident.push(broker.process.memory()?.resident / MEBIBYTE);
            }
            Ok(())
        },
    )?;
    let samples: Vec<String> = resident.iter().map(|value| format!("{value:.0}")).collect();
    println!(
        "  resident at each tenth: {} MiB, at most {:.0} MiB (floor: flat, 256 MiB)",
        samples.join(" "),
        broker.process.memory()?.peak / MEBIBYTE
    );
    Ok(())
}

/// Sessions that come back for what waits for them.
struct Queues<'a> {
    broker: &'a Broker,
    generator: Generator,
    /// Messages that each had.
    had: Vec<u64>,
}

impl<'a> Queues<'a> {
    /// `client-1` and so on, as they were stored.
    fn new(broker: &'a Broker, sessions: u64) -> Result<Self, Failure> {
        let mut generator = Generator::new(broker.target.clone())?;
        for owner in 1..=sessions {
            let link = generator.open()?;
            wire::put_connect(&format!("client-{owner}"), false, generator.output(link));
        }
        Ok(Self { broker, generator, had: vec![0; sessions as usize] })
    }

    /// Takes so many messages, and asks of each whether it is the one that its session expects
    /// next, from owner and place in the queue; `watch` is told how many came.
    fn drain(
        &mut self,
        messages: u64,
        is_next: impl Fn(u64, u64, &Publish) -> bool,
        mut watch: impl FnMut(u64) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Self { broker, generator, had } = self;
        let (start, cpu) = (Instant::now(), broker.process.cpu()?);
        let mut drained = 0;
        while drained < messages {
            generator.turn(|link, input| {
                let Input::Packet { first, body, output } = input else {
                    return expect_open(&input);
                };
                if first & 0xF0 != PUBLISH {
                    return expect_open(&Input::Packet { first, body, output });
                }
                let publish = Publish::parse(first, body);
                let publish = publish.ok_or_else(|| Failure("a PUBLISH is too short".into()))?;
                publish.acknowledge(output);
                let (owner, number) = (link as u64 + 1, had[link]);
                if publish.payload.len() != PAYLOAD || !is_next(owner, number, &publish) {
                    let text = format!("client-{owner} got another message than number {number}");
                    return Err(Failure(text));
                }
                had[link] += 1;
                drained += 1;
                Ok(())
            })?;
            watch(drained)?;
        }
        let each = |seconds: f64| seconds * 1e6 / messages as f64;
        println!(
            "  {messages} drained in order: {:.2} µs each, CPU {:.2} µs of the broker",
            each(start.elapsed().as_secs_f64()),
            each(broker.process.cpu()? - cpu)
        );
        let links: Vec<usize> = (0..had.len()).collect();
        generator.ping(&links, |_, input| match is_publish(&input) {
            true => Err(Failure("more came than was there".into())),
            false => expect_open(&input),
        })
    }
}

/// The id that the store's scenarios put into a payload.
fn id(publish: &Publish) -> Option<u64> {
    publish.payload.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Each message to sessions that are away: what a body and its copies take on disk.
fn fanout(kedgemq: &Path, messages: u64) -> Result<(), Failure> {
    println!("fanout: {messages} messages of {PAYLOAD} bytes to {SESSIONS} sessions that are away");
    let place = Place::new(kedgemq)?;
    let broker = place.start(LIMITS)?;
    let mut generator = Generator::new(broker.target.clone())?;
    let ids = (1..=SESSIONS).map(|owner| format!("client-{owner}"));
    let links = generator.connect(ids, false)?;
    let filters = links.iter().map(|link| (*link, vec!["plant/#".to_owned()]));
    generator.subscribe(&filters.collect::<Vec<_>>(), 1)?;
    generator.disconnect(&links)?;
    let (start, cpu) = (Instant::now(), broker.process.cpu()?);
    let (bytes, written) = (place.bytes()?, broker.process.written()?);
    publish(&mut generator, messages)?;
    let copies = (messages * SESSIONS) as f64;
    let (bytes, written) = (place.bytes()? - bytes, broker.process.written()? - written);
    println!(
        "  {:.2} µs a copy, CPU {:.2} µs; the file grew by {:.0} bytes a body, {:.1} a copy; \
         written {:.0} bytes a body, {:.1} a copy (floor: a body once)",
        start.elapsed().as_secs_f64() * 1e6 / copies,
        (broker.process.cpu()? - cpu) * 1e6 / copies,
        bytes / messages as f64,
        bytes / copies,
        written / messages as f64,
        written / copies,
    );
    drop(broker);
    let broker = place.start_timed("killed")?;
    let is_next = |_, number, publish: &Publish| publish.stamp(PAYLOAD) == Some((0, number));
    Queues::new(&broker, SESSIONS)?.drain(messages * SESSIONS, is_next, |_| Ok(()))
}

/// One publisher, until all is acknowledged.
fn publish(generator: &mut Generator, messages: u64) -> Result<(), Failure> {
    let link = generator.connect(["publisher".into()], true)?[0];
    let template = Template::new(0, "plant/a/temperature", 1, PAYLOAD, false);
    let (mut sent, mut acknowledged) = (0, 0);
    while acknowledged < messages {
        let limit = messages.min(acknowledged + WINDOW);
        for number in sent..limit {
            template.put(number, generator.output(link));
        }
        sent = limit;
        generator.turn(|_, input| {
            acknowledged += u64::from(is_puback(&input));
            expect_open(&input)
        })?;
    }
    Ok(())
}

fn is_puback(input: &Input) -> bool {
    matches!(input, Input::Packet { first: PUBACK, .. })
}

/// A session with a long queue is thrown away while another client publishes.
fn end(kedgemq: &Path, messages: u64, how: &str, configuration: &str) -> Result<(), Failure> {
    println!("end: a session with {messages} messages is thrown away, {how}");
    let place = Place::new(kedgemq)?;
    place.fill("fill-one", messages);
    let broker = place.start(configuration)?;
    let mut generator = Generator::new(broker.target.clone())?;
    let subscriber = generator.connect(["probe-subscriber".into()], false)?[0];
    generator.subscribe(&[(subscriber, vec!["probe".into()])], 1)?;
    let link = generator.connect(["probe".into()], true)?[0];
    let mut probe = Probe { generator, link, sent: 0, connack: None };
    let mut before = Vec::new();
    while before.len() < BEFORE {
        before.push(probe.publish()?);
    }
    let ending = probe.generator.open()?;
    wire::put_connect("client-1", true, probe.generator.output(ending));
    let start = Instant::now();
    let mut during = Vec::new();
    while probe.connack.is_none_or(|at| at.elapsed() < AFTER) {
        during.push(probe.publish()?);
    }
    let connack = probe.connack.map_or(Duration::ZERO, |at| at - start);
    before.sort_unstable();
    during.sort_unstable();
    let (last, longest) = (during.len() - 1, during[during.len() - 1]);
    println!(
        "  acknowledged before: median {:.2?}, longest {:.2?}; during {} messages: median {:.2?}, \
         p99.9 {:.2?}, longest {longest:.2?}; CONNACK of the new session after {connack:.2?}; \
         resident at most {:.0} MiB (floor: 256 MiB)",
        before[before.len() / 2],
        before[before.len() - 1],
        during.len(),
        during[last / 2],
        during[(last as f64 * 0.999) as usize],
        broker.process.memory()?.peak / MEBIBYTE,
    );
    Ok(())
}

/// A client that publishes one message at a time.
struct Probe {
    generator: Generator,
    link: usize,
    sent: u64,
    /// When the CONNACK of somebody else came.
    connack: Option<Instant>,
}

impl Probe {
    /// How long it was until the acknowledgement.
    fn publish(&mut self) -> Result<Duration, Failure> {
        let Self { generator, link, sent, connack } = self;
        let template = Template::new(0, "probe", 1, PAYLOAD, false);
        template.put(*sent, generator.output(*link));
        *sent += 1;
        let start = Instant::now();
        let mut answered = None;
        while answered.is_none() {
            generator.turn(|_, input| {
                if is_puback(&input) {
                    answered = Some(start.elapsed());
                    return Ok(());
                }
                let Input::Packet { first, body, output } = input else {
                    return expect_open(&input);
                };
                if first == CONNACK {
                    *connack = Some(Instant::now());
                }
                match Publish::parse(first, body).filter(|_| first & 0xF0 == PUBLISH) {
                    Some(publish) => publish.acknowledge(output),
                    None => expect_open(&Input::Packet { first, body, output })?,
                }
                Ok(())
            })?;
        }
        Ok(answered.unwrap_or_default())
    }
}
