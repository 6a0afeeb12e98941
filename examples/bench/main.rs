//! Compares KedgeMQ and mosquitto on this machine: both alternately in one run, each message
//! counted, the broker's CPU time read from its process's clock.
//!
//! `cargo run --release --example bench -- --help`

mod load;
mod server;
mod wear;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use load::Load;
use server::{Figures, Server};
use wear::Wear;

/// Pairs of a publisher and a subscriber, each on its own topic, against KedgeMQ and mosquitto in
/// turn. Prints the median of the rounds. Or, with --wear, what each writes for a message.
#[derive(Parser)]
struct Options {
    /// Publishers, and as many subscribers.
    #[arg(long, default_value_t = 50)]
    pairs: usize,
    /// Messages of each publisher in a round.
    #[arg(long, default_value_t = 10_000)]
    messages: u64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Messages in flight of each publisher.
    #[arg(long, default_value_t = 20)]
    window: u64,
    /// Rounds of each broker at each QoS.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The QoS levels.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1, 2],
        value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Vec<u8>,
    /// The subscribers' sessions outlive their connections: KedgeMQ then stores every message of
    /// QoS 1 and 2 before it acknowledges it; mosquitto, with its own defaults, stores nothing.
    #[arg(long)]
    persistent: bool,
    /// Threads of the clients.
    #[arg(long, default_value_t = 1)]
    threads: usize,
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
    /// With --wear: the subscribers are not connected, so that the messages stay.
    #[arg(long)]
    away: bool,
    /// With --wear: messages a second, of all publishers together.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 10_000],
        value_parser = clap::value_parser!(u64).range(1..))]
    rates: Vec<u64>,
    /// With --wear: publishers.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 50])]
    publishers: Vec<usize>,
    /// With --wear: seconds for each figure, or longer for ten messages.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// With --wear: KedgeMQ's commit_interval.
    #[arg(long, value_delimiter = ',', default_values = ["1ms", "10ms", "100ms", "1s"])]
    commit_intervals: Vec<String>,
}

/// What is compared, in the order of the table.
const BROKERS: [&str; 2] = ["kedgemq", "mosquitto"];

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads)
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let kedgemq = server::find_kedgemq(options.kedgemq.as_deref())?;
    let mosquitto = server::find_mosquitto(options.mosquitto.as_deref())?;
    if options.wear {
        let wear = Wear {
            kedgemq: &kedgemq,
            mosquitto: &mosquitto,
            directory: &options.directory,
            size: options.size,
            seconds: options.seconds,
            away: options.away,
            rates: &options.rates,
            publishers: &options.publishers,
            commit_intervals: &options.commit_intervals,
        };
        return wear.run(&runtime);
    }
    println!(
        "{} pairs, {} messages each of {} bytes, window {}, {} subscribers, median of {} rounds, \
         files in {}",
        options.pairs,
        options.messages,
        options.size,
        options.window,
        if options.persistent { "persistent" } else { "transient" },
        options.rounds,
        options.directory.display()
    );
    println!("QoS  broker      messages/s  CPU µs/message  bytes written/message");
    for qos in &options.qos {
        let load = Load {
            pairs: options.pairs,
            messages: options.messages,
            size: options.size,
            window: options.window,
            qos: *qos,
            persistent: options.persistent,
        };
        let mut rounds = [Vec::new(), Vec::new()];
        for _ in 0..options.rounds {
            let ours = Server::start_kedgemq(&kedgemq, &options.directory, "")?;
            rounds[0].push(runtime.block_on(load.measure(&ours))?);
            drop(ours);
            let theirs = Server::start_mosquitto(&mosquitto, &options.directory, "")?;
            rounds[1].push(runtime.block_on(load.measure(&theirs))?);
        }
        print_rows(*qos, rounds.map(|all| Figures::median(&all)));
    }
    Ok(())
}

fn print_rows(qos: u8, figures: [Figures; 2]) {
    for (broker, figures) in BROKERS.iter().zip(&figures) {
        let Figures { rate, cpu, written } = figures;
        println!("{qos:>3}  {broker:<10}  {rate:>10.0}  {cpu:>14.2}  {written:>21.1}");
    }
    let [ours, theirs] = figures;
    // Nothing to divide by when a clock of 10 ms saw nothing.
    let ratio = |a: f64, b: f64| {
        if b > 0.0 { format!("{:.2}", a / b) } else { "-".into() }
    };
    let (rate, cpu) = (ratio(ours.rate, theirs.rate), ratio(ours.cpu, theirs.cpu));
    let written = ratio(ours.written, theirs.written);
    println!("{qos:>3}  {:<10}  {rate:>10}  {cpu:>14}  {written:>21}", "ratio");
}
