//! Each QoS, each protocol, in both directions, over TLS.

use crate::harness::Broker;
use crate::mosquitto::{self, Subscriber};
use crate::rumqtt::{self, Client, Options};

#[test]
fn mosquitto_clients_at_each_qos() {
    let broker = Broker::start();
    for receiving in mosquitto::VERSIONS {
        let format = "%t %q %r %p";
        let arguments = ["-V", receiving, "-q", "2", "-t", "plant/#"];
        let subscriber = Subscriber::start(&broker, format, &arguments);
        let mut expected = Vec::new();
        for sending in mosquitto::VERSIONS {
            for qos in ["0", "1", "2"] {
                let topic = format!("plant/{sending}/{qos}");
                let message = ["-V", sending, "-q", qos, "-t", &topic, "-m", "ein Wörtchen"];
                mosquitto::publish(&broker, &message);
                expected.push(format!("{topic} {qos} 0 ein Wörtchen"));
            }
        }
        assert_eq!(subscriber.messages(expected.len()), expected);
    }
}

#[test]
fn rumqttc_at_each_qos() {
    let broker = Broker::start();
    for receiving in rumqtt::VERSIONS {
        for sending in rumqtt::VERSIONS {
            let mut subscriber = connect(&broker, receiving, "subscriber");
            subscriber.subscribe("plant/+/speed", 2);
            let mut publisher = connect(&broker, sending, "publisher");
            for qos in 0..=2 {
                // Longer than a TLS record and any read buffer of ours; then nothing at all.
                for payload in [vec![0xA5; 100_000], Vec::new()] {
                    publisher.publish("plant/a/speed", qos, false, &payload);
                    let message = subscriber.message();
                    assert_eq!(message.topic, "plant/a/speed");
                    assert_eq!((message.qos, message.retain), (qos, false));
                    assert_eq!(message.payload, payload);
                }
            }
        }
    }
}

#[test]
fn the_subscription_caps_the_qos() {
    let broker = Broker::start();
    for version in rumqtt::VERSIONS {
        for granted in 0..=2 {
            let mut client = connect(&broker, version, "client");
            client.subscribe("cap", granted);
            for qos in 0..=2 {
                client.publish("cap", qos, false, b"x");
                assert_eq!(client.message().qos, qos.min(granted));
            }
        }
    }
}

fn connect(broker: &Broker, version: rumqtt::Version, id: &str) -> Client {
    Client::connect(broker, Options::new(version, id)).expect("it may connect")
}
