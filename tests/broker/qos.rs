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

/// mosquitto's client reads in the CONNACK of MQTT 5 what is not available; an older one meets it.
#[test]
fn what_is_not_available_is_told_or_met() {
    let broker = Broker::start_configured(|_| {
        "[limits]\nmaximum_qos = 1\nretain_available = false\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\n"
            .to_owned()
    });
    let said = |version, arguments: &[&str]| {
        let message = ["-V", version, "-i", version, "-t", "a", "-m", "x"];
        let output = mosquitto::run_publisher(&broker, &[&message, arguments].concat());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = said("5", &["-q", "2"]);
    assert!(told.contains("QoS not supported"), "{told}");
    for version in ["31", "311"] {
        for (arguments, reason) in [(&["-q", "2"][..], "(0x9B)"), (&["-q", "1", "-r"], "(0x9A)")] {
            let met = said(version, arguments);
            assert!(met.contains("connection was lost"), "{met}");
            let line = broker.wait_for_log(reason);
            assert!(line.contains("by=\"server\""), "{line}");
        }
    }
    for version in mosquitto::VERSIONS {
        mosquitto::publish(&broker, &["-V", version, "-q", "1", "-t", "a", "-m", "x"]);
    }
}

fn connect(broker: &Broker, version: rumqtt::Version, id: &str) -> Client {
    Client::connect(broker, Options::new(version, id)).expect("it may connect")
}
