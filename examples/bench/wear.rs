//! Flash wear: what a broker writes for a message at a steady rate, and how long a publisher waits
//! for its acknowledgement.

use std::path::Path;
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::Binaries;
use crate::broker::{self, Broker};
use crate::generator::Failure;
use crate::steady::{Latencies, Steady};

/// At a low rate it takes longer until there are so many messages.
const FEWEST_MESSAGES: f64 = 10.0;
/// Until what is written late is written, too.
const SETTLING: Duration = Duration::from_millis(1500);
/// mosquitto's nearest to storing before it acknowledges: the whole state after each change,
/// though the acknowledgement does not wait for it. No message is dropped while it falls behind.
const MOSQUITTO: &str = "persistence true\nautosave_on_changes true\nautosave_interval 1\n\
                         max_queued_messages 0\n";

#[derive(Args)]
#[group(skip)]
pub(crate) struct Options {
    /// With --wear: the subscribers are not connected, so that the messages stay.
    #[arg(long)]
    away: bool,
    /// With --wear: bytes of a payload.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(20..))]
    size: u32,
    /// With --wear: messages a second, of all publishers together.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 10_000],
        value_parser = clap::value_parser!(u64).range(1..))]
    rates: Vec<u64>,
    /// With --wear: publishers.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 50],
        value_parser = clap::value_parser!(u16).range(1..))]
    publishers: Vec<u16>,
    /// With --wear: seconds for each figure, or longer for ten messages.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// With --wear: KedgeMQ's commit_interval.
    #[arg(long, value_delimiter = ',', default_values = ["1ms", "10ms", "100ms", "1s"])]
    commit_intervals: Vec<String>,
}

pub(crate) struct Wear<'a> {
    pub(crate) binaries: &'a Binaries,
    pub(crate) directory: &'a Path,
    pub(crate) options: &'a Options,
}

/// What a broker did in a row of the table.
struct Worn {
    /// Bytes that its process caused to be written, a message.
    written: f64,
    /// Milliseconds until the acknowledgement.
    median: f64,
    p99: f64,
}

impl Wear<'_> {
    /// Prints the table, row by row.
    pub(crate) fn run(&self) -> Result<(), String> {
        let Options { away, size, rates, publishers, seconds, .. } = self.options;
        println!(
            "{size} bytes at QoS 1, each publisher to a persistent session of its own that is {}, \
             files in {}\nmosquitto: {}",
            if *away { "away" } else { "connected" },
            self.directory.display(),
            MOSQUITTO.trim_end().replace('\n', ", ")
        );
        println!(
            "rate/s  publishers  broker           bytes/message  of mosquitto  median ms  p99 ms"
        );
        for rate in rates {
            for publishers in publishers {
                let seconds = seconds.max(FEWEST_MESSAGES / *rate as f64);
                self.measure_row(Steady {
                    rate: *rate,
                    publishers: usize::from(*publishers),
                    messages: (*rate as f64 * seconds) as u64,
                    size: *size as usize,
                    persistent: true,
                    away: *away,
                })?;
            }
        }
        Ok(())
    }

    fn measure_row(&self, steady: Steady) -> Result<(), String> {
        let mut reference = None;
        if let Some(binary) = &self.binaries.mosquitto {
            let directory = broker::new_directory(self.directory)?;
            let broker = Broker::start_mosquitto(binary, directory.path(), MOSQUITTO, None)?;
            let theirs = measure(steady, &broker).map_err(|failure| failure.0)?;
            reference = theirs.as_ref().map(|worn| worn.written);
            if reference == Some(0.0) {
                return Err("mosquitto stored nothing: it could not write, or nothing counts \
                            /proc/PID/io on this file system (tmpfs does not): try --directory"
                    .into());
            }
            print(steady, "mosquitto", theirs.as_ref(), reference);
        }
        for interval in &self.options.commit_intervals {
            let directory = broker::new_directory(self.directory)?;
            let configuration = format!("[store]\ncommit_interval = \"{interval}\"\n");
            let binary = &self.binaries.kedgemq;
            let broker = Broker::start_kedgemq(binary, directory.path(), &configuration, None)?;
            broker::wait_for_reserve(directory.path());
            let ours = measure(steady, &broker).map_err(|failure| failure.0)?;
            print(steady, &format!("kedgemq {interval}"), ours.as_ref(), reference);
        }
        Ok(())
    }
}

/// `None` for a broker that does not keep up.
fn measure(steady: Steady, broker: &Broker) -> Result<Option<Worn>, Failure> {
    let ready = steady.connect(broker)?;
    thread::sleep(SETTLING);
    let before = broker.process.written()?;
    let Some(Latencies { acknowledged, .. }) = ready.run()? else {
        return Ok(None);
    };
    thread::sleep(SETTLING);
    let written = (broker.process.written()? - before) / acknowledged.len() as f64;
    let (median, p99) = (Latencies::at(&acknowledged, 0.5), Latencies::at(&acknowledged, 0.99));
    Ok(Some(Worn { written, median, p99 }))
}

fn print(steady: Steady, broker: &str, worn: Option<&Worn>, reference: Option<f64>) {
    let Steady { rate, publishers, .. } = steady;
    print!("{rate:>6}  {publishers:>10}  {broker:<15}  ");
    let Some(Worn { written, median, p99 }) = worn else {
        println!("{:>13}", "falls behind");
        return;
    };
    let share = match reference {
        Some(theirs) if theirs > 0.0 => format!("{:.2}", written / theirs),
        _ => "-".into(),
    };
    println!("{written:>13.0}  {share:>12}  {median:>9.1}  {p99:>6.1}");
}
