//! `$SYS` beside that of a real mosquitto: what watches the one can watch the other.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::broker::new_directory;
use crate::harness::{Broker, Lines};
use crate::mosquitto::Subscriber;

/// Its broker, on a socket in a directory of its own.
struct Mosquitto {
    directory: TempDir,
    child: Child,
}

impl Mosquitto {
    fn start() -> Self {
        let directory = new_directory();
        let socket = directory.path().join("socket").display().to_string();
        let options = "allow_anonymous true\nsys_interval 1\nuser root\nlog_dest stderr\n";
        let configuration = format!("listener 0 {socket}\n{options}");
        let file = directory.path().join("mosquitto.conf");
        fs::write(&file, configuration).expect("the directory is ours");
        let mut child = Command::new("mosquitto")
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto is installed: tests/run does it");
        let log = Lines::read(child.stderr.take().expect("stderr is piped"));
        log.wait_for("running");
        Self { directory, child }
    }

    /// Its topics with their payloads, when all of a round were there.
    fn sys(&self) -> BTreeMap<String, String> {
        let mut subscriber = Command::new("stdbuf")
            .args(["-oL", "mosquitto_sub", "-F", "%t|%p", "-t", "$SYS/#", "--unix"])
            .arg(self.directory.path().join("socket"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub is installed: tests/run does it");
        let output = Lines::read(subscriber.stdout.take().expect("stdout is piped"));
        // The first and the last of a round, and the second round's uptime.
        let topics = output.wait("all topics of mosquitto", 0, |lines| {
            let has = |topic: &str| lines.iter().any(|line| line.starts_with(topic));
            let rounds = lines.iter().filter(|line| line.starts_with("$SYS/broker/uptime")).count();
            let is_whole = has("$SYS/broker/load/sockets/15min")
                && has("$SYS/broker/publish/bytes/sent")
                && rounds > 2;
            is_whole.then(|| by_topic(lines.iter().map(String::as_str)))
        });
        subscriber.kill().expect("it runs");
        subscriber.wait().expect("it is our child");
        topics
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill(); // Fails only for one that has ended.
        let _ = self.child.wait();
    }
}

fn by_topic<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let split = lines.filter_map(|line| line.split_once('|'));
    split.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())).collect()
}

/// How a payload is written.
fn form(payload: &str) -> &'static str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match payload.split_once('.') {
        _ if is_number(payload) => "number",
        _ if payload.strip_suffix(" seconds").is_some_and(is_number) => "seconds",
        Some((whole, parts)) if is_number(whole) && is_number(parts) && parts.len() == 2 => {
            "decimal"
        }
        _ if payload.contains(" version ") => "version",
        _ => "other",
    }
}

fn with_sys() -> Broker {
    Broker::start_configured(|_| {
        "[limits]\nsys_interval = \"1s\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\n"
            .to_owned()
    })
}

#[test]
fn every_topic_of_mosquitto_is_there_in_its_form() {
    let theirs = Mosquitto::start().sys();
    assert!(theirs.len() > 40, "{theirs:?}");
    let broker = with_sys();
    let subscriber = Subscriber::start(&broker, "%t|%p", &["-t", "$SYS/#"]);
    for count in 1.. {
        let lines = subscriber.messages(count);
        let ours = by_topic(lines.iter().map(String::as_str));
        let is_missing = |topic: &&String| !topic.contains("/heap/") && !ours.contains_key(*topic);
        if theirs.keys().any(|topic| is_missing(&topic)) {
            continue; // The next line, or the deadline.
        }
        for (topic, payload) in &theirs {
            assert_ne!(form(payload), "other", "{topic} {payload}");
            if let Some(ours) = ours.get(topic) {
                assert_eq!(form(ours), form(payload), "{topic}: {ours} as {payload}");
            }
        }
        return;
    }
}

#[test]
fn bytes_and_connections_are_counted() {
    let broker = with_sys();
    let subscriber = Subscriber::start(&broker, "%t|%p", &["-t", "$SYS/#"]);
    let payload = "x".repeat(1_000);
    crate::mosquitto::publish(&broker, &["-q", "1", "-t", "a", "-m", &payload]);
    let is = |line: &String, topic: &str, at_least: f64| {
        let payload = line.strip_prefix(topic).and_then(|rest| rest.strip_prefix('|'));
        payload.is_some_and(|payload| payload.parse::<f64>().expect("a number") >= at_least)
    };
    for count in 1.. {
        let lines = subscriber.messages(count);
        let has = |topic, at_least| lines.iter().any(|line| is(line, topic, at_least));
        if has("$SYS/broker/publish/bytes/received", 1_000.0)
            && has("$SYS/broker/bytes/received", 1_000.0)
            && has("$SYS/broker/bytes/sent", 1_000.0)
            && has("$SYS/broker/load/bytes/received/1min", 1.0)
            && has("$SYS/broker/load/sockets/1min", 0.5)
            && has("$SYS/broker/load/connections/1min", 0.5)
        {
            return;
        }
    }
}
