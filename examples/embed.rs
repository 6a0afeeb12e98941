//! The broker inside of another program: it stores for a client that is away, is stopped, and
//! started again from the same directory.
//!
//! `cargo run --example embed` needs no other broker. It ends with 1 when something is missing.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use kedgemq::server::{Listener, Server, Setup};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::net::TcpListener;
use tokio::time::timeout;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let data = tempfile::tempdir()?;

    let broker = start(data.path()).await?;
    let mut display = Client::new("display", &broker);
    display.subscribe("boiler/+").await?;
    let mut sensor = Client::new("sensor", &broker);
    sensor.publish("boiler/temperature", "71").await?;
    expect(&mut display, "71").await?;

    display.leave().await?;
    sensor.publish("boiler/temperature", "74").await?;
    sensor.publish("boiler/temperature", "79").await?;
    sensor.leave().await?;
    broker.stop().await?;
    println!("stopped, with what the display is owed in {}", data.path().display());

    let broker = start(data.path()).await?;
    let mut display = Client::new("display", &broker);
    expect(&mut display, "74").await?;
    expect(&mut display, "79").await?;
    display.leave().await?;
    broker.stop().await?;
    println!("stopped");
    Ok(())
}

/// Starts a broker with the data in a directory, on a port that the system chooses.
async fn start(data: &Path) -> Result<Server> {
    let mut setup = Setup::new(data);
    setup.settings.limits.queue_messages = 1000;
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    setup.listeners.push(Listener::plain(socket)?);
    let broker = Server::start(setup).await?;
    println!("started, on {}", broker.addresses()[0]);
    Ok(broker)
}

async fn expect(client: &mut Client, payload: &str) -> Result<()> {
    let received = client.receive().await?;
    println!("received {received}");
    if received == payload { Ok(()) } else { Err(format!("{payload} is missing").into()) }
}

/// A client like any other: it connects over the network, and its session is persistent.
struct Client {
    requests: AsyncClient,
    events: EventLoop,
}

impl Client {
    fn new(id: &str, broker: &Server) -> Self {
        let address: SocketAddr = broker.addresses()[0];
        let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
        options.set_clean_session(false);
        let (requests, events) = AsyncClient::new(options, 10);
        Self { requests, events }
    }

    async fn subscribe(&mut self, filter: &str) -> Result<()> {
        self.requests.subscribe(filter, QoS::AtLeastOnce).await?;
        self.wait(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await
    }

    /// Returns when the broker has it on disk, as all that is acknowledged.
    async fn publish(&mut self, topic: &str, payload: &str) -> Result<()> {
        self.requests.publish(topic, QoS::AtLeastOnce, false, payload).await?;
        self.wait(|packet| matches!(packet, Packet::PubAck(_)).then_some(())).await
    }

    async fn receive(&mut self) -> Result<String> {
        let payload = |packet| match packet {
            Packet::Publish(publish) => Some(String::from_utf8_lossy(&publish.payload).into()),
            _ => None,
        };
        self.wait(payload).await
    }

    async fn leave(mut self) -> Result<()> {
        self.requests.disconnect().await?;
        while self.events.poll().await.is_ok() {}
        Ok(())
    }

    /// Works until a packet comes that is wanted.
    async fn wait<T>(&mut self, wanted: impl Fn(Packet) -> Option<T>) -> Result<T> {
        let work = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await?
                    && let Some(found) = wanted(packet)
                {
                    return Ok(found);
                }
            }
        };
        timeout(Duration::from_secs(30), work).await?
    }
}
