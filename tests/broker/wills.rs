//! What is said of a client that goes without a word.

use crate::harness::Broker;
use crate::mosquitto::{self, Subscriber};

#[test]
fn a_will_is_published_when_the_connection_breaks() {
    let broker = Broker::start();
    for version in mosquitto::VERSIONS {
        let watcher = Subscriber::start(&broker, "%t %q %p", &["-q", "2", "-t", "will/#"]);
        let client = Subscriber::start(&broker, "%p", &with_will(version, "gone", &[]));
        drop(client); // By SIGKILL: no DISCONNECT.
        assert_eq!(watcher.messages(1), ["will/meter 2 gone"]);
    }
}

#[test]
fn a_disconnect_takes_the_will_back() {
    let broker = Broker::start();
    for version in mosquitto::VERSIONS {
        let watcher = Subscriber::start(&broker, "%p", &["-q", "2", "-t", "will/#"]);
        let leaving = with_will(version, "taken back", &["-E"]);
        Subscriber::start(&broker, "%p", &leaving).wait_exit();
        // The next one shows that nothing came before.
        drop(Subscriber::start(&broker, "%p", &with_will(version, "gone", &[])));
        assert_eq!(watcher.messages(1), ["gone"]);
    }
}

/// The broker dies with the client connected, and the client does not come back.
#[test]
fn a_will_survives_a_kill() {
    let mut broker = Broker::start_configured(|_| {
        let limits = "[limits]\nrestart_grace = \"100ms\"\n";
        format!("{limits}[[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\n")
    });
    mosquitto::subscribe_and_leave(&broker, "5", "watcher", "will/#");
    let client = Subscriber::start(&broker, "%p", &with_will("5", "gone", &["-c", "-x", "3600"]));

    broker.kill();
    drop(client);
    broker.restart();

    let mut arguments = mosquitto::persistent("5", "watcher");
    arguments.extend(["-q", "2", "-t", "will/#"]);
    let watcher = Subscriber::start(&broker, "%t %q %p", &arguments);
    assert_eq!(watcher.messages(1), ["will/meter 2 gone"]);
}

fn with_will<'a>(version: &'a str, payload: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut options = vec!["-V", version, "-i", "meter", "-t", "jobs"];
    options.extend(["--will-topic", "will/meter", "--will-payload", payload, "--will-qos", "2"]);
    options.extend(more);
    options
}
