//! What a client meets that does not keep to what CONNACK says is not available.

use kedgemq::mqtt::Version::{V5, V311};

use crate::harness::Broker;
use crate::moments::{CLEAN, connect, ends, open};

/// A broker where everything that can be switched off is, but QoS 1.
fn frugal() -> Broker {
    Broker::start_configured(|_| {
        "[limits]\nmaximum_qos = 1\nretain_available = false\nwildcard_subscriptions = false\n\
         subscription_identifiers = false\nshared_subscriptions = false\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n"
            .to_owned()
    })
}

#[test]
fn connack_says_what_is_not_available() {
    // Maximum QoS, Retain, Wildcards, Subscription Identifiers, Shares.
    let broker = frugal();
    let (_, connack) = open(&broker, V5, "client", CLEAN);
    for property in [[0x24, 1], [0x25, 0], [0x28, 0], [0x29, 0], [0x2A, 0]] {
        assert!(connack.windows(2).any(|pair| pair == property), "{property:02X?} {connack:02X?}");
    }
}

#[test]
fn what_is_not_available_ends_the_connection_that_asks_for_it() {
    let broker = frugal();
    let mut bystander = connect(&broker, V5, "bystander", CLEAN);
    bystander.send(r#"82 * 0001 {} "bad" 00"#);
    bystander.expect("90 * 0001 {} 00").unwrap();
    let publishes = [
        (r#"34 * "bad" 0002 {} 'x'"#, 0x9B), // [MQTT-3.2.2-11]
        (r#"31 * "bad" {} 'x'"#, 0x9A),      // [MQTT-3.2.2-14]
    ];
    for version in [V311, V5] {
        for (bytes, code) in publishes {
            let mut client = connect(&broker, version, "client", CLEAN);
            client.send(bytes);
            ends(&mut client, version, code);
        }
    }
    // Sections 3.2.2.3.11 to 3.2.2.3.13.
    let subscribes = [
        (r#"82 * 0001 {} "a/+" 00"#, 0xA2),
        (r##"82 * 0001 {} "#" 00"##, 0xA2),
        (r#"82 * 0001 { 0B 01 } "a" 00"#, 0xA1),
        (r#"82 * 0001 {} "$share/g/a" 00"#, 0x9E),
    ];
    for (bytes, code) in subscribes {
        let mut client = connect(&broker, V5, "client", CLEAN);
        client.send(bytes);
        ends(&mut client, V5, code);
    }
    bystander.send("C000");
    bystander.expect("D000").expect("nothing of it reached anybody");
}

#[test]
fn older_clients_are_refused_the_subscription_alone() {
    let broker = frugal();
    let mut client = connect(&broker, V311, "client", CLEAN);
    client.send(r#"82 * 0001 "a" 02 "a/+" 00 "$share/g/a" 00"#);
    client.expect("90 * 0001 01 80 80").unwrap();
    client.send("C000");
    client.expect("D000").unwrap();
}
