//! What could not be delivered is published under `$dead/`, with the reason.

use crate::harness::Broker;
use crate::mosquitto::{self, Subscriber};

const FORMAT: &str = "%t | %p | %P";

#[test]
fn an_expired_message_becomes_a_dead_letter() {
    let broker = Broker::start();
    let watcher = watch(&broker);
    mosquitto::subscribe_and_leave(&broker, "5", "meter", "job/#");
    publish(&broker, "too late", &["-D", "publish", "message-expiry-interval", "1"]);
    let letter = &watcher.messages(1)[0];
    assert!(letter.starts_with("$dead/expired/meter/job/a | too late | "), "{letter}");
    for property in ["dl-reason:expired", "dl-owner:meter", "dl-topic:job/a", "dl-qos:1"] {
        assert!(letter.contains(property), "{property} is missing: {letter}");
    }
    // The publisher's own come first, untouched.
    let publisher = letter.find("line:7").expect("the publisher's property is there");
    assert!(publisher < letter.find("dl-").unwrap(), "{letter}");
}

#[test]
fn what_overflows_becomes_a_dead_letter() {
    let broker = Broker::start_configured(|_| configuration("[limits]\nqueue_messages = 2\n"));
    let watcher = watch(&broker);
    mosquitto::subscribe_and_leave(&broker, "311", "meter", "job/#");
    for payload in ["one", "two", "three"] {
        publish(&broker, payload, &[]);
    }
    // The oldest goes.
    let letter = &watcher.messages(1)[0];
    assert!(letter.starts_with("$dead/queue_full/meter/job/a | one | "), "{letter}");
}

#[test]
fn the_backlog_of_an_ended_session_becomes_dead_letters() {
    let broker = Broker::start();
    let watcher = watch(&broker);
    for version in mosquitto::VERSIONS {
        mosquitto::subscribe_and_leave(&broker, version, version, "job/#");
        publish(&broker, "backlog", &[]);
        // A Clean Start.
        let arguments = ["-V", version, "-i", version, "-t", "other"];
        drop(Subscriber::start(&broker, "%p", &arguments));
    }
    let expected = mosquitto::VERSIONS.map(|id| format!("$dead/session_cleared/{id}/job/a |"));
    for (letter, expected) in watcher.messages(expected.len()).iter().zip(expected) {
        assert!(letter.starts_with(&expected), "{letter}");
    }
}

#[test]
fn the_backlog_of_an_expired_session_becomes_dead_letters() {
    let broker = Broker::start();
    let watcher = watch(&broker);
    // Subscribes, and is gone one second after it left.
    let short = ["-V", "5", "-i", "meter", "-c", "-x", "1", "-q", "1", "-t", "job/#", "-E"];
    Subscriber::start(&broker, "%p", &short).wait_exit();
    publish(&broker, "backlog", &[]);
    let letter = &watcher.messages(1)[0];
    assert!(letter.starts_with("$dead/session_expired/meter/job/a | backlog | "), "{letter}");
}

/// It died before the kill or it dies after: who asked for dead letters gets it, once.
#[test]
fn a_dead_letter_survives_a_kill() {
    let mut broker = Broker::start_configured(|_| configuration("[limits]\nqueue_messages = 2\n"));
    mosquitto::subscribe_and_leave(&broker, "5", "watcher", "$dead/#");
    mosquitto::subscribe_and_leave(&broker, "5", "meter", "job/#");
    for payload in ["one", "two", "three", "four"] {
        publish(&broker, payload, &[]);
    }

    broker.kill();
    broker.restart();

    let mut arguments = mosquitto::persistent("5", "watcher");
    arguments.extend(["-q", "1", "-t", "$dead/#"]);
    let watcher = Subscriber::start(&broker, FORMAT, &arguments);
    publish(&broker, "five", &[]);
    let letters = watcher.messages(3);
    for (letter, payload) in letters.iter().zip(["one", "two", "three"]) {
        let expected = format!("$dead/queue_full/meter/job/a | {payload} |");
        assert!(letter.starts_with(&expected), "{letters:?}");
    }
}

/// Nobody makes one up.
#[test]
fn nobody_publishes_under_dead() {
    let broker = Broker::start();
    let watcher = watch(&broker);
    let forged = ["-V", "5", "-q", "1", "-t", "$dead/expired/meter/job/a", "-m", "forged"];
    let output = mosquitto::run_publisher(&broker, &forged);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Not authorized"), "{output:?}");
    mosquitto::subscribe_and_leave(&broker, "5", "meter", "job/#");
    publish(&broker, "true", &["-D", "publish", "message-expiry-interval", "1"]);
    assert!(watcher.messages(1)[0].contains("| true |"));
}

fn watch(broker: &Broker) -> Subscriber {
    Subscriber::start(broker, FORMAT, &["-V", "5", "-q", "1", "-t", "$dead/#"])
}

fn publish(broker: &Broker, payload: &str, more: &[&str]) {
    let message = ["-V", "5", "-q", "1", "-t", "job/a", "-m", payload];
    let property = ["-D", "publish", "user-property", "line", "7"];
    mosquitto::publish(broker, &[&message[..], &property, more].concat());
}

fn configuration(options: &str) -> String {
    format!("{options}\n[[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\n")
}
