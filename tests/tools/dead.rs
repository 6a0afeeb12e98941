//! `kedgemq dead` on a running broker.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use kedgemq::mqtt::QoS;
use serde_json::Value;

use crate::command::{Ended, end, kedgemq};
use crate::harness::broker::Process;
use crate::harness::{Broker, DEADLINE};
use crate::mosquitto::{clear_session, publish, subscribe};
use crate::peer::{Peer, leave_session};

/// The broker of a story, and the commands on it.
struct Story(Broker);

impl Story {
    /// `pump` lost 3 messages by a Clean Start and is away again; of `meter` 2 expired.
    fn begin() -> Self {
        let broker = Broker::start_plain();
        let at = broker.plain();
        leave_session(at, "pump", "job/#");
        for payload in ["one", "two", "three"] {
            publish(at, &["-q", "1", "-t", "job/a", "-m", payload]);
        }
        clear_session(at, "pump");
        leave_session(at, "pump", "job/#");
        leave_session(at, "meter", "reading");
        for payload in ["4", "5"] {
            let expiry = ["-D", "publish", "message-expiry-interval", "1"];
            let message = ["-V", "5", "-q", "1", "-t", "reading", "-m", payload];
            publish(at, &[&message[..], &expiry].concat());
        }
        let story = Self(broker);
        story.wait_for_letters(5);
        story
    }

    fn arguments<'a>(&self, arguments: &[&'a str], data: &'a str) -> Vec<&'a str> {
        [&["dead"], arguments, &["--data", data]].concat()
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let data = self.0.path("data");
        kedgemq(&self.arguments(arguments, data.to_str().unwrap()))
    }

    /// Runs `kedgemq dead …`, which must go well; gives its stdout.
    fn dead(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.stdout
    }

    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let said = self.dead(&[arguments, &["--json"]].concat());
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs `kedgemq dead …`, which must fail with this code; gives its last line on stderr.
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
        let line = ended.stderr.lines().last().unwrap();
        assert!(line.starts_with("kedgemq: "), "{ended:?}");
        line.to_owned()
    }

    /// They come when their queue is dealt with, soon after what killed it.
    fn wait_for_letters(&self, count: usize) {
        let begun = Instant::now();
        while self.json(&["list"]).len() != count {
            assert!(begun.elapsed() < DEADLINE, "{}", self.dead(&["list"]));
        }
    }

    fn wait_for_task(&self) {
        let begun = Instant::now();
        while self.json(&["tasks"]).is_empty() {
            assert!(begun.elapsed() < DEADLINE, "no task was started");
        }
    }
}

fn ids(letters: &[Value]) -> Vec<u64> {
    letters.iter().map(|letter| letter["id"].as_u64().unwrap()).collect()
}

#[test]
fn letters_are_listed_filtered_shown_and_exported() {
    let story = Story::begin();
    let table = story.dead(&["list"]);
    let mut lines = table.lines();
    let head: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["ID", "TIME", "REASON", "OWNER", "TOPIC", "SIZE", "DEATHS", "RETRY"]);
    let first: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(first[2..], ["session_cleared", "pump", "job/a", "8", "1", "-"]);
    assert_eq!(table.lines().count(), 6);

    let all = ids(&story.json(&["list"]));
    for (arguments, expected) in [
        (vec!["--reason", "expired"], &all[3..]),
        (vec!["--owner", "pump"], &all[..3]),
        (vec!["--topic", "job/+"], &all[..3]),
        (vec!["--topic", "+"], &all[3..]),
        (vec!["--limit", "2"], &all[..2]),
        (vec!["--owner", "pump", "--reason", "expired"], &[]),
        (vec!["--since", "1h"], &all[..]),
        (vec!["--until", "1h"], &[]),
        (vec!["--since", "2000-01-01T00:00:00Z", "--until", "2001-01-01 00:00:00"], &[]),
    ] {
        let found = story.json(&[&["list"], &arguments[..]].concat());
        assert_eq!(ids(&found), expected, "{arguments:?}");
    }
    let line = story.fails(2, &["list", "--reason", "boredom"]);
    assert!(line.contains("queue_full"), "it names those that there are: {line}");
    assert!(story.fails(1, &["list", "--topic", "a/#/b"]).contains("topic filter"));
    assert!(story.fails(2, &["list", "--since", "once"]).contains("2h"));

    let shown = story.dead(&["show", &all[0].to_string()]);
    for expected in ["dl-id", "session_cleared", "pump", "job/a", "job/#", "one"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert_eq!(story.json(&["show", &all[3].to_string()])[0]["payload"], "4");
    assert!(story.fails(1, &["show", "99"]).contains("no dead letter 99"));

    let file = story.0.path("letters");
    let path = file.to_str().unwrap();
    assert!(story.dead(&["export", path, "--owner", "pump"]).contains("3 letters"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(payloads(&fs::read_to_string(&file).unwrap()), ["one", "two", "three"]);
    assert!(story.fails(2, &["export", path]).contains("is there already"));
    assert_eq!(payloads(&story.dead(&["export"])), ["one", "two", "three", "4", "5"]);
}

fn payloads(lines: &str) -> Vec<String> {
    let payload = |line| {
        let letter: Value = serde_json::from_str(line).unwrap();
        letter["payload"].as_str().unwrap().to_owned()
    };
    lines.lines().map(payload).collect()
}

#[test]
fn letters_are_counted_redriven_and_purged() {
    let story = Story::begin();
    let at = story.0.plain();
    let counts = &story.json(&["redrive", "--dry-run"])[0];
    assert_eq!(counts["letters"], 5);
    let group = |at: usize| counts["groups"][at].clone();
    assert_eq!(
        (group(0)["reason"].clone(), group(0)["letters"].clone()),
        ("expired".into(), 2.into())
    );
    assert_eq!((group(1)["owner"].clone(), group(1)["letters"].clone()), ("pump".into(), 3.into()));
    assert_eq!(story.json(&["list"]).len(), 5, "a dry run does nothing");

    let said = story.dead(&["redrive", "--owner", "pump"]);
    assert_eq!(said, "3 letters redriven\n");
    let got = subscribe(at, &["-i", "pump", "-c", "-q", "1", "-t", "job/#", "-C", "3"]);
    assert_eq!(got, "one\ntwo\nthree\n");
    let rest = ids(&story.json(&["list"]));
    assert_eq!(rest.len(), 2);

    let asked = story.run(&["purge", "--reason", "expired"]);
    assert!(asked.stdout.contains("2 letters") && asked.stderr.contains("--yes"), "{asked:?}");
    assert_eq!(story.json(&["list"]).len(), 2);
    assert_eq!(
        story.dead(&["redrive", &rest[0].to_string(), "--to", "topic"]),
        "1 letters redriven\n"
    );
    assert_eq!(story.dead(&["republish"]), "1 letters republished\n");
    assert_eq!(story.dead(&["purge", "--yes"]), "1 letters purged\n");
    assert_eq!(story.dead(&["list"]), "");
}

/// One letter a second: it would take a minute.
#[test]
fn a_slow_task_is_followed_left_alone_and_cancelled() {
    let story = Story::begin();
    let at = story.0.plain();
    let mut publisher = Peer::connect(at, "publisher");
    for _ in 0..60 {
        publisher.publish("job/a", QoS::AtLeastOnce, b"x");
    }
    clear_session(at, "pump");
    story.wait_for_letters(65);
    leave_session(at, "reader", "job/#"); // What nobody reads would stay dead.
    let data = story.0.path("data");
    let slow = ["redrive", "--topic", "job/#", "--to", "topic", "--rate", "1"];
    let mut tool = Process::start(&story.arguments(&slow, path(&data)));
    story.wait_for_task();

    let second = story.fails(1, &["purge", "--yes"]);
    assert!(second.contains("task 1 is going on") && second.contains("cancel 1"), "{second}");
    tool.signal("INT");
    assert_eq!(tool.wait_exit().code(), Some(1));
    assert_eq!(
        tool.log().text(),
        "kedgemq: task 1 goes on in the broker: kedgemq dead cancel 1 ends it",
        "where nobody watches a terminal there is no bar"
    );

    let table = story.dead(&["tasks"]);
    for expected in ["running", "redrive to topic", "1/s", "job/#"] {
        assert!(table.contains(expected), "{expected}: {table}");
    }
    assert!(story.fails(1, &["cancel", "7"]).contains("task 1 does"));
    assert_eq!(story.dead(&["cancel", "1"]), "task 1 is cancelled\n");
    let task = &story.json(&["tasks"])[0];
    assert_eq!((&task["id"], &task["state"]), (&1.into(), &"cancelled".into()));
    let done = task["done"].as_u64().unwrap();
    assert!((1..60).contains(&done), "{task}");
    assert_eq!(story.json(&["list", "--topic", "job/#"]).len() as u64, 63 - done);
    assert!(story.fails(1, &["cancel", "1"]).contains("task 1 does not go on"));
}

#[test]
fn a_task_goes_on_after_a_crash() {
    let mut story = Story::begin();
    let data = story.0.path("data");
    let slow = ["redrive", "--rate", "1"];
    let mut tool = Process::start(&story.arguments(&slow, path(&data)));
    // It is on disk, and its tool knows, when its second letter is redriven.
    let begun = Instant::now();
    while story.json(&["list"]).len() > 3 {
        assert!(begun.elapsed() < DEADLINE, "{}", story.dead(&["list"]));
    }
    story.0.kill();
    assert_eq!(tool.wait_exit().code(), Some(1));
    tool.log().wait_for("task 1 goes on when the broker runs again");
    story.0.restart();
    story.wait_for_letters(0);
    let at = story.0.plain();
    let got = subscribe(at, &["-i", "pump", "-c", "-q", "1", "-t", "job/#", "-C", "3"]);
    assert_eq!(got, "one\ntwo\nthree\n");
}

/// `script` runs it on a terminal of its own.
#[test]
fn on_a_terminal_a_bar_shows_how_far_a_task_is() {
    let story = Story::begin();
    let data = story.0.path("data");
    let arguments = ["redrive", "--owner", "pump", "--rate", "1"];
    let words = [&[env!("CARGO_BIN_EXE_kedgemq")], &story.arguments(&arguments, path(&data))[..]];
    let command: Vec<_> = words.concat().iter().map(|word| format!("'{word}'")).collect();
    let ended = end(Command::new("script").args(["-qec", &command.join(" "), "/dev/null"]));
    assert_eq!(ended.code, 0, "{ended:?}");
    let shown: Vec<_> = ended.stdout.split('\r').map(str::trim_end).collect();
    let bars: Vec<_> = shown.iter().filter(|text| text.starts_with("task 1: [")).collect();
    assert!(!bars.is_empty(), "{shown:?}");
    for bar in bars {
        let done: usize = (0..=3).find(|n| bar.contains(&format!("  {n} of 3 letters"))).unwrap();
        let (full, empty) = ("#".repeat(10 * done), " ".repeat(30 - 10 * done));
        assert!(bar.contains(&format!("[{full}{empty}] ")), "{bar}");
    }
    assert!(shown.contains(&"3 letters redriven"), "{shown:?}");
}

#[test]
fn a_letter_is_found_by_what_its_consumer_sees() {
    let mut story = Story::begin();
    let at = story.0.plain();
    let first = story.json(&["list", "--limit", "1"]).remove(0);
    let dl_id = first["dl_id"].as_str().unwrap().to_owned();
    leave_session(at, "reader", "$dead/+/pump/#");
    assert_eq!(story.dead(&["republish", &dl_id]), "1 letters republished\n");
    let resume = ["-V", "5", "-i", "reader", "-c", "-x", "60", "-q", "1", "-t", "$dead/+/pump/#"];
    let seen = subscribe(at, &[&resume[..], &["-F", "%P", "-C", "1"]].concat());
    let told = |property: &str, field: &str| {
        let value = first[field].as_str().unwrap();
        assert!(seen.contains(&format!("{property}:{value} ")), "{property}: {seen}");
    };
    told("dl-id", "dl_id");
    told("dl-time", "time");
    told("dl-received", "received");

    for redrives in 1..=2 {
        assert_eq!(story.dead(&["redrive", &dl_id]), "1 letters redriven\n");
        assert!(story.fails(1, &["show", &dl_id]).contains("no dead letter with the dl-id"));
        story.0.kill();
        story.0.restart();
        clear_session(story.0.plain(), "pump");
        story.wait_for_letters(5);
        let letter = story.json(&["show", &dl_id]).remove(0);
        assert_ne!(letter["id"], first["id"], "it died again");
        assert_eq!((&letter["dl_id"], &letter["payload"]), (&first["dl_id"], &"one".into()));
        assert_eq!(letter["redrives"], redrives);
        leave_session(story.0.plain(), "pump", "job/#");
    }
    assert_eq!(story.dead(&["purge", &dl_id, "--yes"]), "1 letters purged\n");
    assert!(story.fails(1, &["purge", &dl_id, "--yes"]).contains("no dead letter with the dl-id"));
    let other = dl_id.replacen('-', "x-", 1);
    assert!(story.fails(1, &["show", &other]).contains("no dead letter with the dl-id"));
    assert!(story.fails(2, &["show", "dl-id"]).contains("a number, or a dl-id"));
}

#[test]
fn letters_of_one_message_to_several_are_named_by_their_numbers() {
    let story = Story::begin();
    let at = story.0.plain();
    let dl_id = story.json(&["list", "--limit", "1"])[0]["dl_id"].as_str().unwrap().to_owned();
    leave_session(at, "other", "job/#");
    assert_eq!(story.dead(&["redrive", &dl_id, "--to", "topic"]), "1 letters redriven\n");
    for client in ["pump", "other"] {
        clear_session(at, client);
    }
    story.wait_for_letters(6);
    let said = story.fails(1, &["show", &dl_id]);
    assert!(said.contains("several letters") && said.contains("6, 7"), "{said}");
}

fn path(data: &Path) -> &str {
    data.to_str().unwrap()
}
