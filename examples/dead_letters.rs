//! Subscribes to the dead letters and says of each what it was and why it could not be delivered.
//!
//! Start the broker, `cargo run --release`, and in another terminal
//! `cargo run --example dead_letters`. Other places: `… dead_letters HOST PORT CA_FILE`.
//! The session is persistent: letters that come while this is not running wait for it.

use std::error::Error;
use std::time::Duration;

use rumqttc::Transport;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{Client, Event, MqttOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let host = arguments.next().unwrap_or_else(|| "localhost".into());
    let port = arguments.next().map_or(Ok(8883), |text| text.parse())?;
    let ca = arguments.next().unwrap_or_else(|| "certs/ca.crt".into());
    let ca = std::fs::read(&ca).map_err(|error| format!("{ca}: {error}"))?;

    let mut options = MqttOptions::new("dead-letters-example", host, port);
    options.set_transport(Transport::tls(ca, None, None));
    options.set_keep_alive(Duration::from_secs(30));
    options.set_clean_start(false).set_session_expiry_interval(Some(24 * 3600));
    options.set_max_packet_size(Some(4 * 1024 * 1024));
    let (client, mut connection) = Client::new(options, 10);
    client.subscribe("$dead/#", QoS::AtLeastOnce)?;

    for event in connection.iter() {
        match event? {
            Event::Incoming(Packet::SubAck(_)) => println!("waiting for dead letters"),
            Event::Incoming(Packet::Publish(letter)) => println!("{}", explain(&letter)),
            _ => {}
        }
    }
    Ok(())
}

/// What a letter says of itself. The payload and the publisher's own properties are untouched.
fn explain(letter: &Publish) -> String {
    let properties = letter.properties.as_ref();
    let property = |name: &str| {
        let all = properties.map_or(&[][..], |properties| &properties.user_properties[..]);
        all.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    };
    let said = |name| property(name).unwrap_or("?");
    let age = said("dl-age-ms").parse().map(Duration::from_millis).unwrap_or_default();
    let mut text = format!(
        "{}: {} bytes for {} on {}, published at {}, age {age:?}",
        said("dl-reason"),
        letter.payload.len(),
        said("dl-owner"),
        said("dl-topic"),
        said("dl-received"),
    );
    if let Some(code) = property("dl-rc") {
        let reason = property("dl-rc-text").unwrap_or("no text");
        text.push_str(&format!("; the subscriber answered {code} ({reason})"));
    }
    text
}
