//! Reads the pressure of a pump, and rejects what is no number: with Reason Code 0x99, Payload
//! format invalid, and a Reason String. The broker makes a dead letter of it, which waits until
//! this program was mended: `--lenient` is that mend. The README's tutorial tells the story.
//!
//! Start the broker, `cargo run --release`, and in another terminal
//! `cargo run --release --example pump`. Ctrl-C ends it; its session stays.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use rumqttc::Transport;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAck, PubAckProperties, PubAckReason, Publish};
use rumqttc::v5::{Client, Event, MqttOptions, Request};

const TOPIC: &str = "plant/pump-7/pressure";

/// Prints the pressures that come to plant/pump-7/pressure, and rejects what is none.
#[derive(Parser)]
struct Options {
    /// The mend: a comma is a decimal point, too.
    #[arg(long)]
    lenient: bool,
    /// The broker's host.
    #[arg(long, default_value = "localhost")]
    host: String,
    /// Its port, with TLS.
    #[arg(long, default_value_t = 8883)]
    port: u16,
    /// The CA that signed its certificate.
    #[arg(long, default_value = "certs/ca.crt")]
    cafile: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Options::parse();
    let ca = std::fs::read(&arguments.cafile)
        .map_err(|error| format!("{}: {error}", arguments.cafile.display()))?;
    let mut options = MqttOptions::new("pump-consumer", &arguments.host, arguments.port);
    options.set_transport(Transport::tls(ca, None, None));
    options.set_keep_alive(Duration::from_secs(30));
    options.set_clean_start(false).set_session_expiry_interval(Some(24 * 3600));
    // So that it is for us to say what became of a message.
    options.set_manual_acks(true);
    let (client, mut connection) = Client::new(options, 10);
    client.subscribe(TOPIC, QoS::AtLeastOnce)?;

    while let Ok(event) = connection.recv() {
        match event? {
            Event::Incoming(Packet::SubAck(_)) => println!("waiting for {TOPIC}"),
            Event::Incoming(Packet::Publish(publish)) if publish.qos != QoS::AtMostOnce => {
                // rumqttc's `ack` knows success alone; what is pending it sends as it stands.
                let ack = consume(&publish, arguments.lenient);
                connection.eventloop.pending.push_back(Request::PubAck(ack));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Uses a message and answers it.
fn consume(publish: &Publish, lenient: bool) -> PubAck {
    let payload = String::from_utf8_lossy(&publish.payload);
    let mut ack = PubAck::new(publish.pkid, None);
    match pressure(&payload, lenient) {
        Some(pressure) => println!("{pressure:.1} bar"),
        None => {
            let why = format!("{payload:?} is no number");
            println!("rejected: {why}");
            ack.reason = PubAckReason::PayloadFormatInvalid;
            let user_properties = Vec::new();
            ack.properties = Some(PubAckProperties { reason_string: Some(why), user_properties });
        }
    }
    ack
}

fn pressure(payload: &str, lenient: bool) -> Option<f64> {
    let number = if lenient { payload.replace(',', ".") } else { payload.to_owned() };
    number.parse().ok().filter(|pressure: &f64| pressure.is_finite())
}
