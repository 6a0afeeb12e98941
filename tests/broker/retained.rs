//! Retained messages, across SIGKILL too.

use crate::harness::Broker;
use crate::mosquitto::{self, Subscriber};
use crate::rumqtt::{self, Client, Options};

#[test]
fn a_new_subscriber_gets_the_last_retained_message() {
    let mut broker = Broker::start();
    for version in mosquitto::VERSIONS {
        let topic = format!("state/{version}");
        let retained = ["-V", version, "-q", "1", "-r", "-t", &topic];
        mosquitto::publish(&broker, &[&retained[..], &["-m", "off"]].concat());
        mosquitto::publish(&broker, &[&retained[..], &["-m", "on"]].concat());
        expect_retained(&broker, version, &topic);

        broker.kill();
        broker.restart();

        expect_retained(&broker, version, &topic);
    }
}

/// The retained message first, with RETAIN; then a new one, without.
fn expect_retained(broker: &Broker, version: &str, topic: &str) {
    let subscriber = Subscriber::start(broker, "%r %p", &["-V", version, "-t", topic]);
    assert_eq!(subscriber.messages(1), ["1 on"]);
    mosquitto::publish(broker, &["-q", "1", "-t", topic, "-m", "passing"]);
    assert_eq!(subscriber.messages(2)[1], "0 passing");
}

#[test]
fn an_empty_payload_clears_it_for_good() {
    let mut broker = Broker::start();
    let mut client = connect(&broker, rumqtt::Version::V311);
    client.publish("gone", 1, true, b"there");
    client.publish("kept", 1, true, b"there");
    client.publish("gone", 1, true, b"");
    drop(client);

    broker.kill();
    broker.restart();

    for version in rumqtt::VERSIONS {
        let mut client = connect(&broker, version);
        client.subscribe("gone", 1);
        client.subscribe("kept", 1);
        assert_eq!(client.message().topic, "kept");
    }
}

fn connect(broker: &Broker, version: rumqtt::Version) -> Client {
    Client::connect(broker, Options::new(version, "client")).expect("it may connect")
}
