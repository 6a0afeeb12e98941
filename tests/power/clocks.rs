//! The wall clock jumps by years, while the broker runs and while it does not: nothing ends that
//! real time would not end. Downtime counts as far as the clock is to be believed.
//!
//! libfaketime gives the broker another wall clock and leaves it the monotonic one.

use std::borrow::Cow;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use kedgemq::mqtt::packet::{Connect, Publish, Will};
use kedgemq::mqtt::{Delivery, QoS};

use crate::by_hand::{Hand, publish, v5};
use crate::harness::Broker;

/// In seconds.
const HOUR: u32 = 3600;
const DAY: u32 = 24 * HOUR;
/// What a session may lose of its messages' time while a test runs.
const SLACK: u32 = 60;

/// The grace only so that the tests need not wait for it.
const CONFIGURATION: &str = "[limits]\nrestart_grace = \"1s\"\n[store]\nmax_downtime = \"7days\"\n";

/// A broker whose wall clock is ours.
struct Deceived {
    broker: Broker,
    clock: PathBuf,
}

impl Deceived {
    /// `None`, and a line that says so, where libfaketime is missing.
    fn start() -> Option<Self> {
        let Some(library) = find_library() else {
            println!("SKIPPED: libfaketime is missing here");
            return None;
        };
        let broker = Broker::start_plain_in(CONFIGURATION, |directory| {
            let clock = directory.join("clock");
            fs::write(&clock, "+0").expect("the directory is ours");
            let variables = [
                ("LD_PRELOAD", library.to_str().expect("UTF-8")),
                ("FAKETIME_TIMESTAMP_FILE", clock.to_str().expect("UTF-8")),
                ("FAKETIME_NO_CACHE", "1"),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ];
            variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        });
        let clock = broker.path("clock");
        Some(Self { broker, clock })
    }

    fn address(&self) -> SocketAddr {
        self.broker.plain()
    }

    /// Sets the clock off by so much, as faketime writes it. The line that the broker logs next
    /// shows that it took.
    fn set(&self, offset: &str) {
        fs::write(&self.clock, offset).expect("the directory is ours");
    }

    /// Whether the newest line of its log is of the real year.
    fn is_in_the_present(&self) -> bool {
        let log = self.broker.log().text();
        let newest = log.lines().rev().find(|line| line.contains("connected"));
        newest.expect("somebody connected").starts_with(&now_year())
    }
}

fn find_library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    let folders = folders.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.exists())
}

fn now_year() -> String {
    let now = std::time::SystemTime::now();
    humantime::format_rfc3339_seconds(now).to_string()[..4].to_owned()
}

/// Makes sessions, messages, a will and retained messages that time is to end.
///
/// The will comes first: with the PUBACKs of what follows, that its client is gone is on disk.
fn fill(broker: &Broker) {
    let address = broker.plain();
    let will = Will {
        topic: "to/heir/will",
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: false,
        delay: HOUR / 2,
        message_expiry: None,
        properties: Cow::Borrowed(&[]),
    };
    let (dying, _) = Hand::connect(address, Connect { will: Some(will), ..v5("dying", 2 * HOUR) });
    drop(dying); // Without a DISCONNECT.
    broker.wait_for_log("disconnected client=\"dying\"");
    for (client, expiry) in [("hour", HOUR), ("month", 30 * DAY), ("heir", u32::MAX)] {
        let (mut hand, _) = Hand::connect(address, v5(client, expiry));
        assert_eq!(hand.subscribe(&format!("to/{client}/#")), 2);
        hand.leave();
    }
    let (mut publisher, _) = Hand::connect(address, v5("publisher", 0));
    for (topic, expiry, retain) in [
        ("to/hour/short", Some(HOUR / 2), false),
        ("to/hour/for-ever", None, false),
        ("to/month/short", Some(HOUR), false),
        ("to/month/long", Some(20 * DAY), false),
        ("kept/short", Some(HOUR), true),
        ("kept/for-ever", None, true),
    ] {
        let packet = publish(topic, QoS::AtLeastOnce, 1, expiry);
        publisher.publish_durably(Publish { retain, ..packet });
    }
}

/// All is as [`fill`] left it. Nothing is acknowledged, so that it can be seen again.
fn expect_untouched(broker: SocketAddr) {
    let (mut hand, present) = Hand::connect(broker, v5("hour", HOUR));
    assert!(present, "the session ended");
    let messages = [hand.message(), hand.message()];
    assert_eq!(topics(&messages), ["to/hour/short", "to/hour/for-ever"]);
    expect_left(&messages[0], HOUR / 2);
    let (mut hand, present) = Hand::connect(broker, v5("month", 30 * DAY));
    assert!(present, "the session ended");
    let messages = [hand.message(), hand.message()];
    assert_eq!(topics(&messages), ["to/month/short", "to/month/long"]);
    expect_left(&messages[0], HOUR);
    expect_left(&messages[1], 20 * DAY);
    let (mut hand, present) = Hand::connect(broker, v5("heir", u32::MAX));
    assert!(present, "the session ended");
    expect_only_a_mark(broker, &mut hand, "to/heir/mark");
    assert_eq!(retained(broker), ["kept/for-ever", "kept/short"]);
}

/// A day has passed.
fn expect_a_day_later(broker: SocketAddr) {
    let (_, present) = Hand::connect(broker, v5("hour", HOUR));
    assert!(!present, "the session of an hour is there a day later");
    let (mut hand, present) = Hand::connect(broker, v5("month", 30 * DAY));
    assert!(present, "the session of a month ended");
    let message = hand.message();
    assert_eq!(&*message.message.topic, "to/month/long");
    expect_left(&message, 19 * DAY);
    hand.acknowledge(&message);
    expect_only_a_mark(broker, &mut hand, "to/month/mark");
    assert_eq!(retained(broker), ["kept/for-ever"]);
    let (mut hand, _) = Hand::connect(broker, v5("heir", u32::MAX));
    assert_eq!(topics(&[hand.message()]), ["to/heir/will"]);
}

/// Nothing else waits: what is published now is the next that comes.
fn expect_only_a_mark(broker: SocketAddr, hand: &mut Hand, topic: &str) {
    let (mut publisher, _) = Hand::connect(broker, v5("publisher", 0));
    publisher.publish_durably(publish(topic, QoS::AtLeastOnce, 1, None));
    loop {
        let message = hand.message();
        assert_eq!(&*message.message.topic, topic);
        hand.acknowledge(&message);
        // An acknowledgement is no promise: a mark that was killed with the broker comes again.
        if !message.dup {
            return;
        }
    }
}

fn expect_left(delivery: &Delivery, expected: u32) {
    let left = delivery.message.expiry.expect("the message has an expiry");
    let topic = &delivery.message.topic;
    assert!((expected - SLACK..=expected).contains(&left), "{topic} has {left} s, not {expected}");
}

fn topics(messages: &[Delivery]) -> Vec<&str> {
    messages.iter().map(|delivery| &*delivery.message.topic).collect()
}

fn retained(broker: SocketAddr) -> Vec<String> {
    let (mut hand, _) = Hand::connect(broker, v5("reader", 0));
    assert_eq!(hand.subscribe("kept/#"), 2);
    let messages = hand.messages();
    let mut all: Vec<_> = topics(&messages).into_iter().map(str::to_owned).collect();
    all.sort();
    all
}

#[test]
fn a_jump_of_years_while_stopped_ends_nothing() {
    let Some(mut deceived) = Deceived::start() else {
        return;
    };
    fill(&deceived.broker);
    // Killed and ended in turn; each jump is measured from where the clock was before.
    for (index, offset) in ["+10y", "-30y", "+0", "-10y", "+30y"].iter().enumerate() {
        if index.is_multiple_of(2) {
            deceived.broker.kill();
        } else {
            deceived.broker.signal("TERM");
            assert!(deceived.broker.wait_exit().success());
        }
        deceived.set(offset);
        deceived.broker.restart();
        expect_untouched(deceived.address());
        assert_eq!(deceived.is_in_the_present(), *offset == "+0", "the clock is not ours");
    }
}

#[test]
fn a_jump_of_years_while_running_ends_nothing() {
    let Some(mut deceived) = Deceived::start() else {
        return;
    };
    fill(&deceived.broker);
    for offset in ["+10y", "-30y", "+30y"] {
        deceived.set(offset);
        expect_untouched(deceived.address());
        assert!(!deceived.is_in_the_present(), "the clock is not ours");
        deceived.broker.restart();
        expect_untouched(deceived.address());
    }
    // What real time ends it ends, with whatever clock: the session, and with it the wait of the
    // will.
    let (mut watcher, _) = Hand::connect(deceived.address(), v5("watcher", 0));
    assert_eq!(watcher.subscribe("soon"), 2);
    let will = Will {
        topic: "soon",
        payload: b"gone",
        qos: QoS::AtMostOnce,
        retain: false,
        delay: HOUR,
        message_expiry: None,
        properties: Cow::Borrowed(&[]),
    };
    let connect = Connect { will: Some(will), ..v5("brief", 1) };
    drop(Hand::connect(deceived.address(), connect));
    deceived.set("-10y");
    assert_eq!(topics(&[watcher.message()]), ["soon"]);
    let (_, present) = Hand::connect(deceived.address(), v5("brief", 1));
    assert!(!present, "the session outlived its second");
}

#[test]
fn downtime_counts_while_it_is_to_be_believed_and_not_beyond() {
    for (offset, counts) in [("+1d", true), ("+8d", false)] {
        for end in ["TERM", "KILL"] {
            let Some(mut deceived) = Deceived::start() else {
                return;
            };
            fill(&deceived.broker);
            deceived.broker.signal(end);
            deceived.broker.wait_exit();
            deceived.set(offset);
            deceived.broker.restart();
            if counts {
                expect_a_day_later(deceived.address());
            } else {
                expect_untouched(deceived.address());
            }
        }
    }
}

#[test]
fn a_clock_that_is_set_while_running_is_no_downtime() {
    for end in ["TERM", "KILL"] {
        let Some(mut deceived) = Deceived::start() else {
            return;
        };
        fill(&deceived.broker);
        // Within what would be believed of a downtime.
        deceived.set("+3d");
        // So that it writes something after the jump.
        let (mut other, _) = Hand::connect(deceived.address(), v5("other", HOUR));
        assert_eq!(other.subscribe("other"), 2);
        deceived.broker.signal(end);
        deceived.broker.wait_exit();
        deceived.broker.restart();
        expect_untouched(deceived.address());
    }
}
