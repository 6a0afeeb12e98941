//! `kedgemq session` on a running broker.

use std::time::Instant;

use kedgemq::mqtt::codec::client::encode;
use kedgemq::mqtt::{Packet, Reply, Version};
use serde_json::Value;

use crate::client::wire::Wire;
use crate::command::{Ended, kedgemq};
use crate::harness::{Broker, DEADLINE};
use crate::mosquitto::{self, publish};
use crate::packets::{options, subscribe, v5};
use crate::peer::{Peer, leave_session};

fn run(broker: &Broker, arguments: &[&str]) -> Ended {
    let data = broker.path("data");
    kedgemq(&[arguments, &["--data", data.to_str().unwrap()]].concat())
}

fn said(broker: &Broker, arguments: &[&str]) -> String {
    let ended = run(broker, arguments);
    assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
    ended.stdout
}

fn json(broker: &Broker, arguments: &[&str]) -> Vec<Value> {
    let said = said(broker, &[arguments, &["--json"]].concat());
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn fails(broker: &Broker, arguments: &[&str]) -> String {
    let ended = run(broker, arguments);
    assert_eq!(ended.code, 1, "{arguments:?}: {ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    ended.stderr
}

/// Three messages wait for `pump`, which speaks 3.1.1.
fn with_queue() -> Broker {
    let broker = Broker::start_plain();
    leave_session(broker.plain(), "pump", "job/#");
    for payload in ["one", "two", "three"] {
        publish(broker.plain(), &["-q", "1", "-t", "job/a", "-m", payload]);
    }
    broker
}

#[test]
fn the_list_names_each_protocol() {
    let broker = Broker::start_plain();
    for version in ["31", "311", "5"] {
        let arguments = ["-V", version, "-i", version, "-c", "-x", "60", "-t", "a", "-E"];
        let without_expiry = [&arguments[..5], &arguments[7..]].concat();
        let arguments = if version == "5" { &arguments[..] } else { &without_expiry };
        mosquitto::subscribe(broker.plain(), arguments);
    }
    let table = said(&broker, &["session", "list"]);
    for (client, name) in [("31", "3.1"), ("311", "3.1.1"), ("5", "5.0")] {
        let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row[0] == client).unwrap_or_else(|| panic!("{table}"));
        assert_eq!(row[4], name, "{table}");
    }
}

#[test]
fn sessions_and_their_queues_are_seen_and_nothing_is_consumed() {
    let broker = with_queue();
    let _console = Peer::connect(broker.plain(), "console");
    let table = said(&broker, &["session", "list"]);
    let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["CLIENT", "STATE", "SINCE", "ADDRESS"]);
    assert_eq!(rows[1][..2], ["console", "connected"]);
    assert!(rows[1][3].starts_with("127.0.0.1:"), "{table}");
    assert_eq!(
        (&rows[2][..2], &rows[2][3..9]),
        (&["pump", "away"][..], &["-", "3.1.1", "-", "3", "26", "0"][..])
    );
    assert_eq!((rows[0][9..].join(" "), rows[1][9]), ("FLIGHT OLDEST".to_owned(), "-"));
    assert!(rows[2][9].ends_with('s'), "an age: {table}");
    let listed = json(&broker, &["session", "list"]);
    assert_eq!(listed[0]["oldest_ms"], Value::Null);
    assert!(listed[1]["oldest_ms"].is_u64() && listed[1]["undelivered"].is_object(), "{listed:?}");

    let shown = said(&broker, &["session", "show", "pump"]);
    for expected in ["away since", "3, 26 B", "never", "job/# at QoS 1", "oldest"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let session = &json(&broker, &["session", "show", "pump"])[0];
    assert_eq!((&session["connected"], &session["queued"]), (&false.into(), &3.into()));
    assert!(session["oldest_ms"].is_u64());

    for _ in 0..2 {
        let copies = json(&broker, &["session", "queue", "pump", "--payload"]);
        let payloads: Vec<_> = copies.iter().map(|copy| copy["payload"].clone()).collect();
        assert_eq!(payloads, ["one", "two", "three"]);
        assert_eq!((&copies[0]["qos"], &copies[0]["in_flight"]), (&1.into(), &false.into()));
    }
    let table = said(&broker, &["session", "queue", "pump", "--limit", "2"]);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(!table.contains("one"), "payloads only when asked for: {table}");
    for command in ["show", "queue", "purge", "kick", "delete"] {
        let line = fails(&broker, &["session", command, "nobody"]);
        assert!(line.contains("there is no session of \"nobody\""), "{command}: {line}");
    }
}

/// It takes one message at a time, and answers none.
#[test]
fn a_queue_in_memory_is_seen_and_not_consumed() {
    let broker = Broker::start_plain();
    let mut reader = Wire::connect(broker.plain(), Version::V5, DEADLINE).unwrap();
    let connect = v5("reader").clean().window(1);
    encode(&Packet::Connect(Box::new(connect.packet())), Version::V5, &mut reader.output);
    encode(&subscribe(1, &[("job/#", options(1))]), Version::V5, &mut reader.output);
    let mut next = |is_it: fn(&Reply) -> bool| {
        reader.flush().unwrap();
        loop {
            if let Some(reply) = reader.next() {
                if is_it(&reply) {
                    return;
                }
                continue;
            }
            reader.read().unwrap();
        }
    };
    next(|reply| matches!(reply, Reply::SubAck(_)));
    for payload in ["one", "two", "three"] {
        publish(broker.plain(), &["-q", "1", "-t", "job/a", "-m", payload]);
    }
    next(|reply| matches!(reply, Reply::Publish(_)));
    let session = &json(&broker, &["session", "list"])[0];
    assert_eq!((&session["stored"], &session["queued"]), (&false.into(), &2.into()));
    assert!(session["oldest_ms"].is_u64(), "{session}");
    for _ in 0..2 {
        let copies = json(&broker, &["session", "queue", "reader", "--payload"]);
        let seen: Vec<_> =
            copies.iter().map(|it| (it["payload"].clone(), it["in_flight"].clone())).collect();
        let expected = [("one", true), ("two", false), ("three", false)];
        assert_eq!(seen, expected.map(|(payload, sent)| (payload.into(), sent.into())));
    }
    assert_eq!(json(&broker, &["session", "queue", "reader", "--limit", "2"]).len(), 2);
}

#[test]
fn a_queue_is_purged_to_dead_letters() {
    let broker = with_queue();
    let text = said(&broker, &["session", "purge", "pump"]);
    assert_eq!(text, "pump: 3 messages become dead letters\n");
    wait_for_letters(&broker, 3);
    let letters = json(&broker, &["dead", "list", "--reason", "purged", "--owner", "pump"]);
    assert_eq!(letters.len(), 3);
    let session = &json(&broker, &["session", "show", "pump"])[0];
    assert_eq!((&session["queued"], &session["undelivered"]["purged"]), (&0.into(), &3.into()));
    let shown = said(&broker, &["session", "show", "pump"]);
    assert!(shown.contains("undelivered   3 purged"), "{shown}");
    assert_eq!(json(&broker, &["session", "list"])[0]["undelivered"]["purged"], 3);
    let begun = Instant::now();
    while !json(&broker, &["session", "queue", "pump"]).is_empty() {
        assert!(begun.elapsed() < DEADLINE, "they leave the store soon");
    }
}

#[test]
fn a_purge_says_when_nothing_is_kept_of_it() {
    let broker = Broker::start_configured(|directory| {
        let data = directory.join("data");
        let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
        format!("data = {data:?}\n{listener}[dead_letters]\npurged = false\n")
    });
    leave_session(broker.plain(), "pump", "job/#");
    publish(broker.plain(), &["-q", "1", "-t", "job/a", "-m", "one"]);
    let text = said(&broker, &["session", "purge", "pump"]);
    assert!(text.starts_with("pump: 1 messages are dropped"), "{text}");
    let begun = Instant::now();
    while !json(&broker, &["session", "queue", "pump"]).is_empty() {
        assert!(begun.elapsed() < DEADLINE, "they leave the store soon");
    }
    assert_eq!(json(&broker, &["dead", "list"]), Vec::<Value>::new());
}

#[test]
fn a_client_is_kicked_and_a_session_deleted() {
    let broker = with_queue();
    let _console = Peer::connect(broker.plain(), "console");
    assert!(said(&broker, &["session", "kick", "console"]).contains("is ended"));
    let session = &json(&broker, &["session", "show", "console"])[0];
    assert_eq!(session["connected"], false);
    assert!(fails(&broker, &["session", "kick", "console"]).contains("is not connected"));
    assert!(said(&broker, &["session", "delete", "pump"]).contains("is deleted"));
    assert!(fails(&broker, &["session", "show", "pump"]).contains("no session"));
    wait_for_letters(&broker, 3);
}

#[test]
fn without_a_broker_it_says_so() {
    let mut broker = Broker::start_plain();
    broker.kill();
    assert!(fails(&broker, &["session", "list"]).contains("no broker runs there"));
    assert!(fails(&broker, &["dead", "list"]).contains("no broker runs there"));
}

/// They come when the queue is dealt with, soon after what killed it.
fn wait_for_letters(broker: &Broker, count: usize) {
    let begun = Instant::now();
    while json(broker, &["dead", "list"]).len() != count {
        assert!(begun.elapsed() < DEADLINE, "{}", said(broker, &["dead", "list"]));
    }
}
