//! Compares KedgeMQ and mosquitto on this machine: both in turn, each message checked to come once
//! and in order, CPU time and memory read from the broker's own process.
//!
//! `cargo run --release --example bench -- --help`

mod broker;
mod certificate;
mod exchange;
mod generator;
mod idle;
mod kept;
mod link;
mod measure;
mod offline;
mod proc;
mod report;
mod retained;
mod scale;
mod scenario;
mod steady;
mod storm;
mod topics;
mod wear;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;

use broker::Broker;
use certificate::Certificate;
use measure::Sample;
use report::Rounds;
use scale::{COLUMNS, Scale};
use scenario::{SCENARIOS, Scenario};
use wear::Wear;

/// Compares KedgeMQ and mosquitto in turn: messages (or connections) a second, CPU microseconds of
/// the broker for each, memory; the median of the rounds and half their spread. Or, with --wear,
/// what each writes for a message. What a scenario is, --list says.
#[derive(Parser)]
struct Options {
    /// Only these.
    #[arg(long, num_args = 1.., value_delimiter = ',',
        value_parser = PossibleValuesParser::new(SCENARIOS.iter().map(|scenario| scenario.name)))]
    scenario: Vec<String>,
    /// Says what the scenarios are.
    #[arg(long)]
    list: bool,
    /// Rounds of each broker.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Messages delivered in a round, in all, or connections; each scenario has its own number.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// One round of few messages: whether everything works.
    #[arg(long)]
    quick: bool,
    /// Without mosquitto.
    #[arg(long)]
    ours_only: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// KedgeMQ's binary; built by cargo when not given.
    #[arg(long)]
    kedgemq: Option<PathBuf>,
    /// mosquitto's binary; looked for in PATH and /usr/sbin when not given.
    #[arg(long)]
    mosquitto: Option<PathBuf>,
    /// Where the brokers keep their files; on the disk that you want to know about.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    directory: PathBuf,
    /// Measures bytes written a message and the latency of PUBACK, at steady rates, QoS 1,
    /// persistent sessions; mosquitto with `autosave_on_changes`.
    #[arg(long)]
    wear: bool,
    /// Measures how the CPU time of a message grows with clients, subscriptions, levels and what is
    /// kept; --list says with what.
    #[arg(long, conflicts_with_all = ["wear", "scenario"])]
    scale: bool,
    /// With --scale: only these.
    #[arg(long, num_args = 1.., value_delimiter = ',', requires = "scale",
        value_parser = PossibleValuesParser::new(COLUMNS.iter().map(|column| column.name)))]
    column: Vec<String>,
    #[command(flatten)]
    wearing: wear::Options,
}

/// What is compared, in the order of the table.
const BROKERS: [&str; 2] = ["kedgemq", "mosquitto"];

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all went well.
fn run(options: &Options) -> Result<bool, String> {
    if options.list {
        if options.scale {
            COLUMNS.iter().for_each(|column| println!("{:<22} {}", column.name, column.what));
        } else {
            let print = |scenario: &Scenario| println!("{:<22} {}", scenario.name, scenario.what);
            SCENARIOS.iter().for_each(print);
        }
        return Ok(true);
    }
    let binaries = Binaries::find(options)?;
    if options.wear {
        let directory = &options.directory;
        return Wear { binaries: &binaries, directory, options: &options.wearing }
            .run()
            .map(|()| true);
    }
    if options.scale {
        return Ok(options.scale(&binaries).run());
    }
    let certificates = broker::new_directory(&options.directory)?;
    let certificate = Certificate::make(certificates.path())?;
    if !options.json {
        report::print_head();
    }
    let is_chosen = |scenario: &&Scenario| {
        let chosen = &options.scenario;
        chosen.is_empty() || chosen.iter().any(|name| name == scenario.name)
    };
    let mut is_well = true;
    for scenario in SCENARIOS.iter().filter(is_chosen) {
        let run = Run { options, binaries: &binaries, certificate: &certificate, scenario };
        is_well &= run.compare();
    }
    Ok(is_well)
}

impl Options {
    fn scale<'a>(&'a self, binaries: &'a Binaries) -> Scale<'a> {
        let Self { directory, column: chosen, rounds, messages, quick, json, .. } = self;
        let (rounds, messages, quick, json) = (*rounds, *messages, *quick, *json);
        Scale { binaries, directory, chosen, rounds, messages, quick, json }
    }
}

/// The programs that are compared; mosquitto is left out on demand.
pub(crate) struct Binaries {
    pub(crate) kedgemq: PathBuf,
    pub(crate) mosquitto: Option<PathBuf>,
}

impl Binaries {
    fn find(options: &Options) -> Result<Self, String> {
        let mosquitto = || broker::find_mosquitto(options.mosquitto.as_deref());
        Ok(Self {
            kedgemq: broker::find_kedgemq(options.kedgemq.as_deref())?,
            mosquitto: if options.ours_only { None } else { Some(mosquitto()?) },
        })
    }
}

/// A scenario that is measured.
struct Run<'a> {
    options: &'a Options,
    binaries: &'a Binaries,
    certificate: &'a Certificate,
    scenario: &'a Scenario,
}

impl Run<'_> {
    /// Measures the brokers in turn, round by round, and prints; whether none failed.
    fn compare(&self) -> bool {
        let Options { rounds, quick, ours_only, json, .. } = *self.options;
        let rounds = if quick { 1 } else { rounds };
        let brokers = if ours_only { &BROKERS[..1] } else { &BROKERS };
        let phases = self.scenario.load.phases();
        let new = || brokers.iter().map(|broker| (*broker, Rounds::default())).collect::<Vec<_>>();
        let mut all: Vec<Vec<(&str, Rounds)>> = phases.iter().map(|_| new()).collect();
        for _ in 0..rounds {
            for (place, broker) in brokers.iter().enumerate() {
                let samples = match self.measure(broker) {
                    Ok(samples) => samples,
                    Err(problem) => {
                        report::print_failure(self.scenario.name, broker, &problem, json);
                        return false;
                    }
                };
                for (phase, sample) in all.iter_mut().zip(samples) {
                    phase[place].1.push(sample);
                }
            }
        }
        for (phase, rounds) in phases.iter().zip(&all) {
            let name = [self.scenario.name, phase].join(" ");
            report::print(name.trim_end(), rounds, json);
        }
        true
    }

    /// One round, in a process and a directory of its own.
    fn measure(&self, broker: &str) -> Result<Vec<Sample>, String> {
        let Self { options, scenario, .. } = self;
        let directory = broker::new_directory(&options.directory)?;
        let certificate = scenario.has_tls.then_some(self.certificate);
        let broker = match (broker, &self.binaries.mosquitto) {
            ("mosquitto", Some(binary)) => {
                let configuration = scenario.mosquitto;
                Broker::start_mosquitto(binary, directory.path(), configuration, certificate)?
            }
            _ => {
                let (binary, configuration) = (&self.binaries.kedgemq, scenario.kedgemq);
                let path = directory.path();
                let ours = Broker::start_kedgemq(binary, path, configuration, certificate)?;
                broker::wait_for_reserve(path);
                ours
            }
        };
        let messages = if options.quick { scenario.quick } else { scenario.messages };
        let messages = options.messages.unwrap_or(messages);
        scenario.load.measure(&broker, messages).map_err(|failure| failure.0)
    }
}
