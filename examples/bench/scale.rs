//! How the cost of a message grows with what the broker keeps: a column of growing sizes for each
//! thing that there may be many of, each size in a process of its own.

use std::path::Path;

use serde_json::json;

use crate::broker::{self, Broker};
use crate::exchange::{Exchange, Shape};
use crate::generator::Failure;
use crate::measure::{Figure, Meter, Sample};
use crate::report::Rounds;
use crate::topics::{Filter, Topics};
use crate::{BROKERS, Binaries, kept};

/// Files that a process has open beside its clients' connections.
const OTHER_FILES: u64 = 100;
/// Below so many items, the pages of a process do not say how large one is.
const FEWEST_ITEMS: u64 = 1000;
/// Topics where their depth is what grows.
const DEEP: u64 = 1000;
/// Sessions where share groups are what grows.
const GROUPED: usize = 10;
/// What the defaults would drop or refuse.
const KEDGEMQ: &str = "[limits]\nqueue_messages = 2000000\nqueue_bytes = \"1GiB\"\n\
                       retained_messages = 2000000\n";
const MOSQUITTO: &str = "max_queued_messages 0\n";

/// What grows.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// What is measured one after the other at each size; one alone has no name.
    phases: &'static [&'static str],
    sizes: &'static [u64],
    quick: &'static [u64],
    /// Messages of a round, or SUBSCRIBEs.
    messages: u64,
    load: Load,
}

#[derive(Clone, Copy)]
enum Load {
    Clients,
    /// Subscriptions of sessions.
    Subscriptions(Filter, usize),
    Groups,
    Depth,
    Queue,
    Retained,
}

const SUBSCRIPTIONS: Column = Column {
    name: "exact-few",
    what: "subscriptions without wildcards of 10 sessions",
    phases: &[""],
    sizes: &[100, 10_000, 100_000, 1_000_000],
    quick: &[10, 1000],
    messages: 300_000,
    load: Load::Subscriptions(Filter::Exact, 10),
};

/// All of them, in the order of the output.
pub(crate) const COLUMNS: [Column; 12] = [
    Column {
        name: "clients",
        what: "connections, half of them publish to the other half, window 20, QoS 1",
        sizes: &[10, 100, 1000, 10_000],
        quick: &[10, 100],
        messages: 500_000,
        load: Load::Clients,
        ..SUBSCRIPTIONS
    },
    SUBSCRIPTIONS,
    Column {
        name: "exact-many",
        what: "the same of 100 sessions",
        quick: &[100, 1000],
        load: Load::Subscriptions(Filter::Exact, 100),
        ..SUBSCRIPTIONS
    },
    Column {
        name: "plus-few",
        what: "scale/n/+ of 10 sessions",
        load: Load::Subscriptions(Filter::Plus, 10),
        ..SUBSCRIPTIONS
    },
    Column {
        name: "plus-many",
        what: "scale/n/+ of 100 sessions",
        quick: &[100, 1000],
        load: Load::Subscriptions(Filter::Plus, 100),
        ..SUBSCRIPTIONS
    },
    Column {
        name: "plus-first",
        what: "+/n/value of 100 sessions",
        quick: &[100, 1000],
        load: Load::Subscriptions(Filter::PlusFirst, 100),
        ..SUBSCRIPTIONS
    },
    Column {
        name: "rest-few",
        what: "scale/n/# of 10 sessions",
        load: Load::Subscriptions(Filter::Rest, 10),
        ..SUBSCRIPTIONS
    },
    Column {
        name: "rest-many",
        what: "scale/n/# of 100 sessions",
        quick: &[100, 1000],
        load: Load::Subscriptions(Filter::Rest, 100),
        ..SUBSCRIPTIONS
    },
    Column {
        name: "groups",
        what: "share groups of which 10 sessions are the only members, in turn, QoS 1",
        sizes: &[100, 1000, 10_000, 100_000],
        load: Load::Groups,
        ..SUBSCRIPTIONS
    },
    Column {
        name: "depth",
        what: "levels of each of 1,000 topics",
        sizes: &[1, 10, 60, 120],
        quick: &[1, 120],
        load: Load::Depth,
        ..SUBSCRIPTIONS
    },
    Column {
        name: "queue",
        what: "messages that wait for a session that is away: one more, and draining them",
        phases: &["publish", "drain"],
        sizes: &[1000, 10_000, 100_000, 1_000_000],
        quick: &[100, 1000],
        messages: 1000,
        load: Load::Queue,
    },
    Column {
        name: "retained",
        what: "retained messages, and SUBSCRIBEs that 1, 10 and 1 of them match",
        phases: &kept::SUBSCRIBES,
        sizes: &[100, 10_000, 100_000, 1_000_000],
        quick: &[100, 1000],
        messages: 1000,
        load: Load::Retained,
    },
];

impl Column {
    /// A sample of each phase, with the resident bytes of an item.
    fn measure(&self, broker: &Broker, size: u64, count: u64) -> Result<Vec<Sample>, Failure> {
        match self.load {
            Load::Clients => Ok(vec![clients(broker, size, count)?]),
            Load::Subscriptions(filter, sessions) => {
                let topics = Topics { filter, sessions, count: size, levels: 3, qos: 0 };
                Ok(vec![topics.measure(broker, count)?])
            }
            Load::Groups => {
                let (filter, sessions) = (Filter::Shared, GROUPED);
                let topics = Topics { filter, sessions, count: size, levels: 3, qos: 1 };
                Ok(vec![topics.measure(broker, count)?])
            }
            Load::Depth => {
                let levels = size as usize;
                let filter = Filter::Exact;
                let topics = Topics { filter, sessions: 100, count: DEEP, levels, qos: 0 };
                Ok(vec![topics.measure(broker, count)?])
            }
            Load::Queue => kept::queue(broker, size, count).map(Vec::from),
            Load::Retained => kept::retained(broker, size, count).map(Vec::from),
        }
    }
}

/// Half of the clients publish to the other half; each has the same number in flight, so that
/// packets come in batches as large, however many clients there are.
fn clients(broker: &Broker, clients: u64, messages: u64) -> Result<Sample, Failure> {
    let pairs = (clients / 2) as usize;
    let window = 20;
    let shape = Shape {
        publishers: pairs,
        subscribers: pairs,
        qos: 1,
        size: 64,
        window,
        persistent: false,
        topics: 1,
    };
    let before = broker.process.memory()?.resident;
    let mut exchange = Exchange::new(shape, broker, messages.max(pairs as u64 * window * 2))?;
    exchange.subscribe()?;
    exchange.connect_publishers()?;
    let resident = broker.process.memory()?.resident - before;
    let meter = Meter::start(broker)?;
    exchange.run_until(|state| state.is_published() && state.is_delivered())?;
    let mut sample = meter.stop(broker, exchange.state.messages())?;
    exchange.expect_no_more()?;
    sample.figures.push((Figure::Item, resident / clients as f64));
    Ok(sample)
}

/// How it is measured.
pub(crate) struct Scale<'a> {
    pub(crate) binaries: &'a Binaries,
    pub(crate) directory: &'a Path,
    /// Names of columns; none is all.
    pub(crate) chosen: &'a [String],
    pub(crate) rounds: u32,
    pub(crate) messages: Option<u64>,
    pub(crate) quick: bool,
    pub(crate) json: bool,
}

impl Scale<'_> {
    /// Prints the table, row by row; whether none failed.
    pub(crate) fn run(&self) -> bool {
        if !self.json {
            println!(
                "{:<18} {:>9} {:<10} {:>10} {:>6} {:>10}",
                "column", "size", "broker", "CPU µs", "ratio", "bytes each"
            );
        }
        let open = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(u64::MAX); // It will be seen.
        let is_chosen = |column: &&Column| {
            self.chosen.is_empty() || self.chosen.iter().any(|n| n == column.name)
        };
        let mut is_well = true;
        for column in COLUMNS.iter().filter(is_chosen) {
            // Of the smallest size, by phase and broker.
            let mut first = vec![[None; BROKERS.len()]; column.phases.len()];
            for size in if self.quick { column.quick } else { column.sizes } {
                match self.measure(column, *size, open) {
                    Ok(all) => self.print(column, *size, &all, &mut first),
                    Err(problem) => {
                        is_well = false;
                        self.print_failure(column, *size, &problem);
                    }
                }
            }
        }
        is_well
    }

    /// The rounds of each phase and broker: the brokers in turn, each time a new one.
    fn measure(&self, column: &Column, size: u64, open: u64) -> Result<Vec<Vec<Rounds>>, String> {
        let needed = size + OTHER_FILES;
        if matches!(column.load, Load::Clients) && open < needed {
            return Err(format!(
                "it takes {needed} open files, and {open} are allowed (ulimit -Hn)"
            ));
        }
        let count = if self.quick { column.messages / 100 } else { column.messages };
        let count = self.messages.unwrap_or(count);
        let brokers = 1 + usize::from(self.binaries.mosquitto.is_some());
        let new = || (0..brokers).map(|_| Rounds::default()).collect::<Vec<_>>();
        let mut all: Vec<_> = column.phases.iter().map(|_| new()).collect();
        for _ in 0..if self.quick { 1 } else { self.rounds } {
            for place in 0..brokers {
                let directory = broker::new_directory(self.directory)?;
                let started = self.start(place, directory.path())?;
                let samples = column.measure(&started, size, count);
                let samples = samples.map_err(|why| format!("{}: {}", BROKERS[place], why.0))?;
                for (phase, sample) in all.iter_mut().zip(samples) {
                    phase[place].push(sample);
                }
            }
        }
        Ok(all)
    }

    fn start(&self, place: usize, directory: &Path) -> Result<Broker, String> {
        match &self.binaries.mosquitto {
            Some(mosquitto) if place == 1 => {
                Broker::start_mosquitto(mosquitto, directory, MOSQUITTO, None)
            }
            _ => {
                let binary = &self.binaries.kedgemq;
                let ours = Broker::start_kedgemq(binary, directory, KEDGEMQ, None)?;
                broker::wait_for_reserve(directory);
                Ok(ours)
            }
        }
    }

    fn print(
        &self,
        column: &Column,
        size: u64,
        all: &[Vec<Rounds>],
        first: &mut [[Option<f64>; BROKERS.len()]],
    ) {
        for ((phase, rounds), first) in column.phases.iter().zip(all).zip(first) {
            let name = [column.name, phase].join(" ");
            let name = name.trim_end();
            for ((broker, rounds), first) in BROKERS.iter().zip(rounds).zip(first) {
                let cpu = rounds.median(Figure::Cpu);
                let ratio = cpu / *first.get_or_insert(cpu);
                let is_told = size >= FEWEST_ITEMS || matches!(column.load, Load::Depth);
                let bytes = is_told.then(|| rounds.median(Figure::Item));
                if self.json {
                    let line = json!({
                        "column": name, "size": size, "broker": broker, "cpu_us": cpu,
                        "ratio": ratio, "item_bytes": bytes, "verified": rounds.count(),
                    });
                    println!("{line}");
                } else {
                    let bytes = bytes.map_or_else(|| "-".into(), |bytes| format!("{bytes:.0}"));
                    println!(
                        "{name:<18} {size:>9} {broker:<10} {cpu:>10.2} {ratio:>6.2} {bytes:>10}"
                    );
                }
            }
        }
    }

    fn print_failure(&self, column: &Column, size: u64, problem: &str) {
        let name = column.name;
        if self.json {
            println!("{}", json!({ "column": name, "size": size, "failed": problem }));
        } else {
            println!("{name:<18} {size:>9} failed: {problem}");
        }
    }
}
