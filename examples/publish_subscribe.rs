//! Publishes and receives one message at QoS 2 over TLS, with rumqttc.
//!
//! Start the broker, `cargo run --release`, and in another terminal
//! `cargo run --example publish_subscribe`. Other places: `… publish_subscribe HOST PORT CA_FILE`.

use std::error::Error;
use std::time::Duration;

use rumqttc::{Client, Event, MqttOptions, Outgoing, Packet, QoS, Transport};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let host = arguments.next().unwrap_or_else(|| "localhost".into());
    let port = arguments.next().map_or(Ok(8883), |text| text.parse())?;
    let ca = arguments.next().unwrap_or_else(|| "certs/ca.crt".into());
    let ca = std::fs::read(&ca).map_err(|error| format!("{ca}: {error}"))?;

    let mut options = MqttOptions::new("publish-subscribe-example", host, port);
    options.set_transport(Transport::tls(ca, None, None));
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut connection) = Client::new(options, 10);
    client.subscribe("hello/+", QoS::ExactlyOnce)?;

    let (mut published, mut received) = (false, false);
    // rumqttc works while its events are taken, and connects again by itself after an error that
    // is passed over; here it ends the example.
    for event in connection.iter() {
        match event? {
            Event::Incoming(Packet::ConnAck(_)) => println!("connected"),
            Event::Incoming(Packet::SubAck(_)) => {
                println!("subscribed to hello/+");
                client.publish("hello/world", QoS::ExactlyOnce, false, "exactly once")?;
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let payload = String::from_utf8_lossy(&publish.payload);
                println!("{}: {payload} ({:?})", publish.topic, publish.qos);
            }
            Event::Incoming(Packet::PubRec(_)) => println!("the broker has it on disk"),
            // Both exchanges end with a PUBCOMP: one from the broker, one from us.
            Event::Incoming(Packet::PubComp(_)) => {
                println!("published");
                published = true;
            }
            Event::Outgoing(Outgoing::PubComp(_)) => received = true,
            Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
            _ => {}
        }
        if published && received {
            client.try_disconnect()?;
            (published, received) = (false, false);
        }
    }
    Ok(())
}
