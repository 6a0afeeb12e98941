//! The benchmark as a program: every message is checked, and its lines can be read. No figure is
//! judged: a machine that tests is a busy one.

use std::process::{Command, Output};

use serde_json::Value;

const KEDGEMQ: &str = env!("CARGO_BIN_EXE_kedgemq");

/// Runs `examples/bench` with small rounds; whether it went well, and its lines.
fn bench(arguments: &[&str]) -> (bool, Vec<Value>) {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--locked", "--example", "bench"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    // What cargo tells a test makes build scripts run again.
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command.args(["--", "--quick", "--json"]).args(arguments);
    let Output { status, stdout, stderr } = command.output().expect("cargo runs");
    let stdout = String::from_utf8(stdout).expect("output is UTF-8");
    let read = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    let lines: Vec<Value> = stdout.lines().map(read).collect();
    assert!(!lines.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    (status.success(), lines)
}

#[test]
fn every_message_of_both_brokers_is_checked() {
    let scenarios = ["--scenario", "pairs-qos1", "offline", "--messages", "5000"];
    let (is_well, lines) = bench(&[&scenarios[..], &["--kedgemq", KEDGEMQ]].concat());
    assert!(is_well, "{lines:#?}");
    let find = |scenario: &str, is_it: &dyn Fn(&Value) -> bool| {
        let found = lines.iter().find(|line| line["scenario"] == scenario && is_it(line));
        found.unwrap_or_else(|| panic!("a line of {scenario} is missing: {lines:#?}"))
    };
    for scenario in ["pairs-qos1", "offline publish", "offline drain"] {
        for broker in ["kedgemq", "mosquitto"] {
            let line = find(scenario, &|line| line["broker"] == broker);
            assert_eq!(line["verified"], 5000, "{line}");
            assert_eq!(line["rounds"], 1, "{line}");
            for figure in ["per_second", "cpu_us", "peak_bytes", "generator"] {
                let median = line[figure]["median"].as_f64();
                assert!(median.is_some_and(|median| median > 0.0), "{figure} in {line}");
            }
        }
        let ratio = find(scenario, &|line| line["ratio"].is_object());
        assert!(ratio["ratio"]["cpu_us"].is_f64(), "{ratio}");
    }
    assert_eq!(lines.len(), 9, "{lines:#?}");
}

#[test]
fn every_column_of_the_scale_has_its_sizes() {
    let (is_well, lines) = bench(&["--scale", "--ours-only", "--kedgemq", KEDGEMQ]);
    assert!(is_well, "{lines:#?}");
    let name = |line: &Value| line["column"].as_str().expect("each is of a column").to_owned();
    let columns = [
        "clients",
        "exact-few",
        "exact-many",
        "plus-few",
        "plus-many",
        "plus-first",
        "rest-few",
        "rest-many",
        "groups",
        "depth",
        "queue publish",
        "queue drain",
        "retained exact",
        "retained plus",
        "retained rest",
    ];
    for column in columns {
        let rows: Vec<&Value> = lines.iter().filter(|line| name(line) == column).collect();
        assert_eq!(rows.len(), 2, "{column} of {lines:#?}");
        assert!(rows[0]["size"].as_u64() < rows[1]["size"].as_u64(), "{rows:#?}");
        assert_eq!(rows[0]["ratio"], 1.0, "{rows:#?}");
        for row in rows {
            assert_eq!(row["broker"], "kedgemq");
            assert!(row["verified"].as_u64().is_some_and(|count| count > 0), "{row}");
            assert!(row["cpu_us"].as_f64().is_some_and(|cpu| cpu > 0.0), "{row}");
            assert!(row["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{row}");
        }
        let of = |line: &&Value| name(line) == column && line["size"].as_u64() >= Some(1000);
        let told = lines.iter().find(of);
        assert!(told.is_none_or(|line| line["item_bytes"].is_f64()), "{told:?}");
    }
    assert_eq!(lines.len(), 2 * columns.len(), "{lines:#?}");
}

#[test]
fn a_broker_that_fails_is_no_figure() {
    let arguments = ["--scenario", "pairs-qos0", "--ours-only", "--kedgemq", "false"];
    let (is_well, lines) = bench(&arguments);
    assert!(!is_well, "{lines:#?}");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0]["failed"].as_str().is_some_and(|why| why.contains("does not start")));
}
