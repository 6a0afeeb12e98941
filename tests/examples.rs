//! The fleet of devices, small: it must account for every message, and say so when it cannot.

#![expect(clippy::unwrap_used, reason = "all of it is test")]

#[allow(dead_code)] // Each test target uses its part of the harness.
#[path = "harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};

use harness::{Broker, example};

/// 16 devices that report, 2 that are away, one that is gone and one that is reset.
const SMALL: &[&str] =
    &["--devices", "20", "--seconds", "3", "--messages", "10", "--cut-after", "1"];

struct Account {
    is_good: bool,
    text: String,
    /// By the first word of its line: all numbers of the line.
    lines: BTreeMap<String, Vec<u64>>,
}

fn sensor_fleet(arguments: &[&str]) -> Account {
    let mut command = Command::new(example::build("sensor_fleet"));
    command.args(SMALL).args(arguments).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default().to_owned();
        (first, words.filter_map(|word| word.parse().ok()).collect())
    };
    let lines = text.lines().map(line).collect();
    let text = format!("{text}{}", String::from_utf8(stderr).unwrap());
    Account { is_good: status.success(), text, lines }
}

#[test]
fn a_small_fleet_is_accounted_for() {
    let Account { is_good, text, lines } = sensor_fleet(&["--patience", "120"]);
    assert!(is_good, "{text}");
    assert!(text.contains("all 1340 messages are accounted for"), "{text}");
    for (kind, qos, sent) in
        [("reading", 0, 80), ("telemetry", 1, 80), ("alarm", 2, 80), ("command", 1, 1100)]
    {
        let numbers = &lines[kind];
        assert_eq!(numbers[..2], [qos, sent], "{text}");
        // Delivered, queued, dead, unwanted, kept and lost; then what came twice.
        assert_eq!(numbers[2..8].iter().sum::<u64>(), sent, "{text}");
        let at_least_once_only = qos == 1;
        assert!(numbers[8] == 0 || at_least_once_only, "{text}");
        assert!(numbers[7] == 0 || qos == 0, "{text}");
    }
    assert!(lines["command"][3] >= 1000, "the queue of who is away is full: {text}");
    assert!(lines["command"][4] >= 20, "and the rest is dead: {text}");
    assert_eq!(lines["alarm"][4], 6, "3 make the desk crash, 3 are garbled: {text}");
    for reason in ["delivery_limit", "queue_full", "rejected"] {
        assert!(text.contains(reason), "{reason}: {text}");
    }
}

/// A broker that keeps no letters of what is rejected: garbled alarms are nowhere then.
#[test]
fn a_message_that_is_nowhere_is_missed() {
    let letterless = "[limits]\nmax_deliveries = 3\n[dead_letters]\nrejected = false\n";
    let broker = Broker::start_plain_in(letterless, |_| Vec::new());
    let (at, data) = (broker.plain().to_string(), broker.path("data"));
    let there = ["--broker", &at, "--data", data.to_str().unwrap()];
    let few = ["--patience", "120", "--burst", "0"];
    let Account { is_good, text, .. } = sensor_fleet(&[there.as_slice(), &few].concat());
    assert!(!is_good, "{text}");
    // As many as the other test has letters of: the seed says which alarms are garbled.
    assert!(text.contains("WRONG: alarm: 3 were acknowledged and are nowhere"), "{text}");
    assert!(!text.contains("accounted for"), "{text}");
}
