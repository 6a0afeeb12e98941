//! What a backlog costs the store: `cargo run --release --example backlog [SCENARIO [SCALE]]`.
//!
//! Scenarios: `ready`, `drain`, `fanout`, `end`, `hot`; all of them without an argument. `SCALE`
//! divides the number of messages: 10 is a tenth. Each scenario runs in a process of its own, so
//! that its memory is its own; the store is the real one, on a file in the temporary directory
//! (`TMPDIR` chooses the disk).

mod filling;
mod proc;
mod scenarios;

use std::process::Command;

const SCENARIOS: [&str; 5] = ["ready", "drain", "fanout", "end", "hot"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => SCENARIOS.iter().for_each(|scenario| run_apart(&[scenario])),
        // One step of a scenario, in the process that it started.
        ["step", step, path, scale] => scenarios::step(step, path.as_ref(), number(scale)),
        [scenario] => scenarios::run(scenario, 1),
        [scenario, scale] => scenarios::run(scenario, number(scale)),
        _ => panic!("backlog [SCENARIO [SCALE]]"),
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

/// Runs this program again with other arguments, and waits for it.
fn run_apart(arguments: &[&str]) {
    let this = std::env::current_exe().expect("this program has a path");
    let status = Command::new(this).args(arguments).status().expect("it can be run again");
    assert!(status.success() || arguments.contains(&"fill-and-die"), "{arguments:?}: {status}");
}
