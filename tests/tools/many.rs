//! A hundred thousand dead letters: listed, counted, redriven and purged in as little memory as a
//! few.

use std::fs;
use std::thread;
use std::time::Instant;

use kedgemq::mqtt::codec::client::encode;
use kedgemq::mqtt::{Packet, Reply, Version};
use serde_json::{Value, json};

use crate::client::wire::Wire;
use crate::command::kedgemq;
use crate::harness::{Broker, DEADLINE};
use crate::packets::{q1, v4};
use crate::peer::leave_session;
use crate::socket::Tool;

/// As many as a queue takes, and as are kept.
const COUNT: usize = 100_000;
/// All of them together are larger than what the broker may grow by.
const PAYLOAD: usize = 500;
const GROWTH_KIB: u64 = 36 * 1024;
/// Published before acknowledgements are waited for.
const BURST: u16 = 2_000;

fn publish_all(broker: &Broker) {
    let mut wire = Wire::connect(broker.plain(), Version::V311, DEADLINE).unwrap();
    encode(&Packet::Connect(Box::new(v4("p").packet())), Version::V311, &mut wire.output);
    let payload = "x".repeat(PAYLOAD);
    for _ in 0..COUNT / usize::from(BURST) {
        for id in 1..=BURST {
            encode(&Packet::Publish(q1(id, "job/a", &payload)), Version::V311, &mut wire.output);
        }
        wire.flush().unwrap();
        let mut acknowledged = 0;
        while acknowledged < BURST {
            match wire.next() {
                Some(Reply::PubAck(_)) => acknowledged += 1,
                Some(_) => {}
                None => wire.read().unwrap(),
            }
        }
    }
}

/// Runs the command, which must go well; gives its stdout.
fn run(broker: &Broker, arguments: &[&str]) -> String {
    let data = broker.path("data");
    let ended = kedgemq(&[arguments, &["--data", data.to_str().unwrap()]].concat());
    assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.stderr);
    ended.stdout
}

fn answer(broker: &Broker, arguments: &[&str]) -> Value {
    serde_json::from_str(&run(broker, &[arguments, &["--json"]].concat())).unwrap()
}

/// All messages that wait for `pump` become letters.
fn purge_session(broker: &Broker) {
    let text = run(broker, &["session", "purge", "pump"]);
    assert_eq!(text, format!("pump: {COUNT} messages become dead letters\n"));
    let begun = Instant::now();
    let mut tool = Tool::connect(&broker.path("data"));
    let metrics = json!({ "version": 1, "command": "metrics" });
    while tool.ask(&metrics)["ok"]["metrics"]["dead_letters"] != COUNT {
        assert!(begun.elapsed() < DEADLINE, "they become letters");
        thread::yield_now();
    }
}

/// A figure of the broker's process, in KiB.
fn memory(broker: &Broker, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let number: String = line.chars().filter(char::is_ascii_digit).collect();
    number.parse().unwrap()
}

/// With one arena of the allocator: each thread's would keep what its work needed.
fn start() -> Broker {
    Broker::start_plain_in("", |_| vec![("MALLOC_ARENA_MAX".to_owned(), "1".to_owned())])
}

#[test]
fn a_hundred_thousand_letters_need_no_more_memory_than_a_few() {
    let broker = start();
    leave_session(broker.plain(), "pump", "job/#");
    publish_all(&broker);
    purge_session(&broker);

    let before = memory(&broker, "VmRSS:");
    // What a queue of as many messages takes is another matter.
    let filled = memory(&broker, "VmHWM:");
    // From here on VmHWM is the peak since now.
    fs::write(format!("/proc/{}/clear_refs", broker.pid()), "5").unwrap();
    let letters = run(&broker, &["dead", "list", "--json"]);
    assert_eq!(letters.lines().count(), COUNT);
    let first: Value = serde_json::from_str(letters.lines().next().unwrap()).unwrap();
    assert_eq!((&first["reason"], &first["owner"]), (&"purged".into(), &"pump".into()));
    let listed = memory(&broker, "VmHWM:");
    assert!(listed < before + GROWTH_KIB, "{before} KiB before, {listed} KiB while listed");

    assert_eq!(run(&broker, &["dead", "redrive"]), format!("{COUNT} letters redriven\n"));
    assert_eq!(answer(&broker, &["session", "show", "pump"])["queued"], COUNT);
    assert_eq!(run(&broker, &["dead", "list"]), "");
    purge_session(&broker);
    assert_eq!(run(&broker, &["dead", "purge", "--yes"]), format!("{COUNT} letters purged\n"));
    assert_eq!(run(&broker, &["dead", "list"]), "");
    let peak = memory(&broker, "VmHWM:");
    assert!(peak < filled + GROWTH_KIB, "{filled} KiB when filled, {peak} KiB since");
}
