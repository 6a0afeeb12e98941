//! The admin socket as a program meets it: lines of JSON.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Broker, DEADLINE};
use crate::mosquitto::{clear_session, publish};
use crate::peer::leave_session;

/// A connection to the socket.
pub(crate) struct Tool(BufReader<UnixStream>);

impl Tool {
    pub(crate) fn connect(data: &Path) -> Self {
        let stream = UnixStream::connect(data.join("kedgemq.sock")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// The next line; `None` at the end.
    fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).unwrap();
        (read > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        self.send(format!("{request}\n").as_bytes());
        self.line().unwrap()
    }
}

#[test]
fn it_answers_many_and_survives_nonsense() {
    let broker = Broker::start_plain();
    let data = broker.path("data");
    let mode = fs::metadata(data.join("kedgemq.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let about = json!({ "version": 1, "command": "about" });
    let version = env!("CARGO_PKG_VERSION");
    // All at once, asked in turns.
    let mut tools: Vec<Tool> = (0..5).map(|_| Tool::connect(&data)).collect();
    for _ in 0..2 {
        for tool in &mut tools {
            assert_eq!(tool.ask(&about)["ok"]["about"]["kedgemq"], version);
        }
    }
    let tool = &mut tools[0];
    for (request, expected) in [
        (json!([]), "a request is a JSON object"),
        (json!({ "command": "about" }), "\"version\": 1 is missing"),
        (json!({ "version": 2, "command": "about" }), "protocol 2 is not spoken here"),
        (json!({ "version": 1, "command": "dance" }), "unknown variant `dance`"),
        (json!({ "version": 1, "command": "backup", "file": "a" }), "must begin with /"),
    ] {
        let answer = tool.ask(&request);
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(expected), "{request}: {answer}");
    }
    tool.send(b"\xFF\n");
    assert!(tool.line().unwrap()["error"].is_string());
    assert_eq!(tool.ask(&about)["ok"]["about"]["kedgemq"], version, "it goes on");
    tool.send(&vec![b' '; 64 * 1024 + 1]);
    assert!(tool.line().unwrap()["error"].as_str().unwrap().contains("at most"));
    // A reset is an end as well: what it did not read is thrown away.
    let mut line = String::new();
    assert!(matches!(tool.0.read_line(&mut line), Ok(0) | Err(_)));
    // One that says nothing hinders nobody.
    assert_eq!(tools[1].ask(&about)["ok"]["about"]["kedgemq"], version);
}

#[test]
fn it_tells_all_counters_and_gauges() {
    let mut broker = Broker::start_plain();
    let data = broker.path("data");
    leave_session(broker.plain(), "pump", "job/#");
    publish(broker.plain(), &["-q", "1", "-t", "job/a", "-m", "one"]);
    let metrics = json!({ "version": 1, "command": "metrics" });
    let tell = |data: &Path| Tool::connect(data).ask(&metrics)["ok"]["metrics"].clone();
    let told = tell(&data);
    assert_eq!(told["dead_letters_total"]["session_cleared"], 0);
    assert_eq!(told["dead_letters_total"].as_object().unwrap().len(), 11);
    assert_eq!(told["messages_received_total"], 1);
    clear_session(broker.plain(), "pump");
    let begun = Instant::now();
    // The gauges know a death before the disk does, and a letter that is listed is on it.
    let letters = json!({
        "version": 1, "command": "letters", "filter": {}, "after": 0, "payload": false
    });
    let listed = || Tool::connect(&data).ask(&letters)["ok"]["letters"]["letters"].clone();
    while listed().as_array().is_none_or(Vec::is_empty) {
        assert!(begun.elapsed() < DEADLINE, "{}", tell(&data));
    }
    let told = tell(&data);
    assert_eq!(told["dead_letters_total"]["session_cleared"], 1);
    assert_eq!(told["dead_letter_bytes"], 8);
    assert!(told["dead_letter_oldest_seconds"].is_u64());
    broker.kill();
    broker.restart();
    let told = tell(&data);
    assert_eq!((&told["dead_letters"], &told["dead_letter_bytes"]), (&1.into(), &8.into()));
    assert_eq!(told["dead_letters_total"]["session_cleared"], 0, "counted since the start");
}

#[test]
fn there_are_places_for_some() {
    let broker = Broker::start_plain();
    let data = broker.path("data");
    let about = json!({ "version": 1, "command": "about" });
    let mut tools: Vec<Tool> = (0..32).map(|_| Tool::connect(&data)).collect();
    for tool in &mut tools {
        assert!(tool.ask(&about)["ok"].is_object());
    }
    let mut one_more = Tool::connect(&data);
    let told = one_more.line().unwrap();
    assert!(told["error"].as_str().unwrap().contains("32 tools are connected"), "{told}");
    assert_eq!(one_more.line(), None);
}

#[test]
fn it_goes_with_its_broker_and_comes_again() {
    let mut broker = Broker::start_plain();
    let socket = broker.path("data/kedgemq.sock");
    let data = broker.path("data");
    let about = json!({ "version": 1, "command": "about" });
    let mut tool = Tool::connect(&data);
    let first = tool.ask(&about)["ok"]["about"]["pid"].clone();
    // A tool that stays connected does not hold up the end.
    broker.signal("TERM");
    assert_eq!(broker.wait_exit().code(), Some(0));
    assert!(!socket.exists());
    assert_eq!(tool.line(), None);
    broker.restart();
    broker.kill();
    assert!(socket.exists(), "a killed broker leaves it");
    broker.restart();
    let second = Tool::connect(&data).ask(&about)["ok"]["about"]["pid"].clone();
    assert_ne!(first, second);
    assert!(!data.join(".kedgemq.sock.new").exists());
}
