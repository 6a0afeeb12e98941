//! What a backlog costs: `cargo run --release --example backlog -- --help`.
//!
//! Without `--binary` it is the store alone, on a file in the temporary directory (`TMPDIR`
//! chooses the disk), each scenario in a process of its own, so that its memory is its own. With
//! it, it is the broker as its clients see it.

mod binary;
mod filling;
mod scenarios;

// Each example uses its part of these.
#[allow(dead_code)]
#[path = "../bench/broker.rs"]
mod broker;
#[allow(dead_code)]
#[path = "../bench/certificate.rs"]
mod certificate;
#[allow(dead_code)]
#[path = "../bench/generator.rs"]
mod generator;
#[path = "../bench/link.rs"]
mod link;
#[allow(dead_code)]
#[path = "../bench/proc.rs"]
mod proc;
#[allow(dead_code)]
#[path = "../bench/wire.rs"]
mod wire;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;

/// What a backlog costs the store, or, with --binary, the broker as its clients see it.
#[derive(Parser)]
struct Options {
    /// ready, drain, fanout, end, and of the store alone hot; all of them without a name.
    scenario: Option<String>,
    /// Divides the number of messages: 10 is a tenth.
    #[arg(default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    scale: u64,
    /// The real broker over MQTT.
    #[arg(long)]
    binary: bool,
    /// With --binary: messages in the backlog; copies of them for fanout.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    messages: u64,
    /// With --binary: KedgeMQ's binary; built by cargo when not given.
    #[arg(long)]
    kedgemq: Option<PathBuf>,
}

const SCENARIOS: [&str; 5] = ["ready", "drain", "fanout", "end", "hot"];
const OF_THE_BINARY: [&str; 4] = ["ready", "drain", "fanout", "end"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // One step of a scenario, in the process that it started.
    if let ["step", step, path, messages] = arguments[..] {
        scenarios::step(step, path.as_ref(), messages.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    if options.binary {
        return match run_binary(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                eprintln!("backlog: {problem}");
                ExitCode::FAILURE
            }
        };
    }
    match &options.scenario {
        None => SCENARIOS.iter().for_each(|scenario| run_apart(&[scenario])),
        Some(scenario) => scenarios::run(scenario, options.scale),
    }
    ExitCode::SUCCESS
}

fn run_binary(options: &Options) -> Result<(), String> {
    let kedgemq = broker::find_kedgemq(options.kedgemq.as_deref())?;
    let messages = options.messages / options.scale;
    let one = options.scenario.as_deref();
    for scenario in OF_THE_BINARY.into_iter().filter(|name| one.is_none_or(|one| one == *name)) {
        binary::run(scenario, &kedgemq, messages).map_err(|failure| failure.0)?;
    }
    if one.is_some_and(|one| !OF_THE_BINARY.contains(&one)) {
        return Err(format!("of the binary there are {}", OF_THE_BINARY.join(", ")));
    }
    Ok(())
}

/// Runs this program again with other arguments, and waits for it.
fn run_apart(arguments: &[&str]) {
    let this = std::env::current_exe().expect("this program has a path");
    let status = Command::new(this).args(arguments).status().expect("it can be run again");
    assert!(status.success() || arguments.contains(&"fill-and-die"), "{arguments:?}: {status}");
}
