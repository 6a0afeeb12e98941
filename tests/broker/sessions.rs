//! Sessions that outlive their connection, and the broker's death.

use crate::harness::Broker;
use crate::mosquitto::{self, Subscriber};
use crate::rumqtt::{self, Client, Options};

/// Acknowledged while nobody was there to take them, then SIGKILL: still there, once, and in
/// their order, which is one of each QoS.
#[test]
fn offline_messages_survive_a_kill() {
    for version in mosquitto::VERSIONS {
        let mut broker = Broker::start();
        mosquitto::subscribe_and_leave(&broker, version, "meter", "job/#");
        let mut expected = Vec::new();
        for number in 0..20 {
            let qos = if number % 2 == 0 { "1" } else { "2" };
            let payload = format!("job {number}");
            mosquitto::publish(&broker, &["-V", version, "-q", qos, "-t", "job/a", "-m", &payload]);
            expected.push(format!("job/a {qos} {payload}"));
        }

        broker.kill();
        broker.restart();

        let mut arguments = mosquitto::persistent(version, "meter");
        arguments.extend(["-q", "2", "-t", "other"]);
        let subscriber = Subscriber::start(&broker, "%t %q %p", &arguments);
        // What comes next shows that nothing came twice.
        mosquitto::publish(&broker, &["-q", "2", "-t", "job/a", "-m", "job 20"]);
        expected.push("job/a 2 job 20".into());
        let came = subscriber.messages(expected.len());
        for of_qos in ["job/a 1", "job/a 2"] {
            assert_eq!(select(&came, of_qos), select(&expected, of_qos), "MQTT {version}");
        }
    }
}

fn select<'a>(messages: &'a [String], start: &str) -> Vec<&'a String> {
    messages.iter().filter(|message| message.starts_with(start)).collect()
}

#[test]
fn a_session_is_present_after_a_kill() {
    for version in rumqtt::VERSIONS {
        let mut broker = Broker::start();
        let mut client = persistent(&broker, version);
        assert!(!client.session_present);
        client.subscribe("after/kill", 2);
        drop(client);

        broker.kill();
        broker.restart();

        let mut publisher = Client::connect(&broker, Options::new(version, "publisher")).unwrap();
        publisher.publish("after/kill", 2, false, b"its subscription is there");
        let mut client = persistent(&broker, version);
        assert!(client.session_present);
        assert_eq!(client.message().payload, b"its subscription is there");
    }
}

#[test]
fn a_clean_start_ends_the_session_for_good() {
    for version in rumqtt::VERSIONS {
        let mut broker = Broker::start();
        let mut client = persistent(&broker, version);
        client.subscribe("gone", 1);
        drop(client);
        let clean = Client::connect(&broker, Options::new(version, "client")).unwrap();
        assert!(!clean.session_present);
        drop(clean);

        broker.kill();
        broker.restart();

        assert!(!persistent(&broker, version).session_present);
    }
}

fn persistent(broker: &Broker, version: rumqtt::Version) -> Client {
    Client::connect(broker, Options::new(version, "client").persistent()).expect("it may connect")
}

#[test]
fn the_log_names_the_protocol() {
    let broker = Broker::start();
    for (version, name) in mosquitto::VERSIONS.into_iter().zip(["3.1", "3.1.1", "5.0"]) {
        let id = format!("client-{version}");
        mosquitto::publish(&broker, &["-V", version, "-i", &id, "-t", "a", "-m", "x"]);
        let line = broker.wait_for_log(&id);
        assert!(line.contains(&format!("version=\"{name}\"")), "{line}");
    }
}
