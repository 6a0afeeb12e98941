//! rumqttc as a client of ours, for both protocols behind one face.

use std::collections::VecDeque;
use std::fs;
use std::time::{Duration, Instant};

use rumqttc::{Event, MqttOptions, Outgoing, Packet, Transport, v5};

use crate::harness::{Broker, DEADLINE};

/// Which of the two protocols, and so which of rumqttc's two clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V311,
    V5,
}

/// Both.
pub(crate) const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// How a client connects.
pub(crate) struct Options<'a> {
    pub(crate) version: Version,
    pub(crate) id: &'a str,
    /// Whether its session outlives the connection.
    pub(crate) persistent: bool,
    /// User Name and Password.
    pub(crate) user: Option<(&'a str, &'a str)>,
    /// Certificate and key, PEM.
    pub(crate) certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Options<'a> {
    pub(crate) fn new(version: Version, id: &'a str) -> Self {
        Self { version, id, persistent: false, user: None, certificate: None }
    }

    pub(crate) fn persistent(self) -> Self {
        Self { persistent: true, ..self }
    }
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) payload: Vec<u8>,
    /// User Properties; none in 3.1.1.
    pub(crate) user_properties: Vec<(String, String)>,
}

/// What rumqttc tells, as far as the tests want to know.
enum Came {
    Connected { session_present: bool },
    Subscribed,
    Acknowledged,
    Sent,
    Message(Received),
    Other,
}

/// A connected client over TLS.
pub(crate) struct Client {
    link: Link,
    received: VecDeque<Received>,
    /// As the CONNACK said.
    pub(crate) session_present: bool,
}

enum Link {
    V311(rumqttc::Client, Box<rumqttc::Connection>),
    V5(v5::Client, Box<v5::Connection>),
}

impl Client {
    /// Connects and waits for the CONNACK. `Err` is why it was refused.
    pub(crate) fn connect(broker: &Broker, options: Options<'_>) -> Result<Self, String> {
        let link = match options.version {
            Version::V311 => link_v311(broker, &options),
            Version::V5 => link_v5(broker, &options),
        };
        let mut client = Self { link, received: VecDeque::new(), session_present: false };
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Came::Connected { session_present } = client.next(deadline)? {
                client.session_present = session_present;
                return Ok(client);
            }
        }
    }

    /// Subscribes and waits for the SUBACK.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        let sent = match &self.link {
            Link::V311(client, _) => client.subscribe(filter, qos_v311(qos)).is_ok(),
            Link::V5(client, _) => client.subscribe(filter, qos_v5(qos)).is_ok(),
        };
        assert!(sent, "rumqttc takes no SUBSCRIBE");
        self.wait("SUBACK", |came| matches!(came, Came::Subscribed));
    }

    /// Publishes and waits for what ends the exchange: PUBACK or PUBCOMP; at QoS 0 until it left.
    pub(crate) fn publish(&mut self, topic: &str, qos: u8, retain: bool, payload: &[u8]) {
        let bytes = payload.to_vec();
        let sent = match &self.link {
            Link::V311(client, _) => client.publish(topic, qos_v311(qos), retain, bytes).is_ok(),
            Link::V5(client, _) => client.publish(topic, qos_v5(qos), retain, bytes).is_ok(),
        };
        assert!(sent, "rumqttc takes no PUBLISH");
        self.wait("the acknowledgement", |came| match came {
            Came::Acknowledged => qos > 0,
            Came::Sent => qos == 0,
            _ => false,
        });
    }

    /// The next message, in the order of arrival.
    pub(crate) fn message(&mut self) -> Received {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(message) = self.received.pop_front() {
                return message;
            }
            self.next(deadline).unwrap_or_else(|error| panic!("waiting for a message: {error}"));
        }
    }

    fn wait(&mut self, what: &str, mut is_it: impl FnMut(&Came) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.next(deadline) {
                Ok(came) if is_it(&came) => return,
                Ok(_) => {}
                Err(error) => panic!("waiting for {what}: {error}"),
            }
        }
    }

    /// The next event; rumqttc's own pings are events, too.
    fn next(&mut self, deadline: Instant) -> Result<Came, String> {
        let left = deadline.saturating_duration_since(Instant::now());
        let came = match &mut self.link {
            Link::V311(_, connection) => match connection.recv_timeout(left) {
                Ok(event) => came_v311(event.map_err(|error| error.to_string())?),
                Err(_) => return Err("nothing came".into()),
            },
            Link::V5(_, connection) => match connection.recv_timeout(left) {
                Ok(event) => came_v5(event.map_err(|error| error.to_string())?),
                Err(_) => return Err("nothing came".into()),
            },
        };
        if let Came::Message(message) = &came {
            self.received.push_back(message.clone());
        }
        Ok(came)
    }
}

fn tls(broker: &Broker, options: &Options<'_>) -> Transport {
    let ca = fs::read(broker.ca()).expect("the broker made its certificates");
    Transport::tls(ca, options.certificate.clone(), None)
}

fn link_v311(broker: &Broker, options: &Options<'_>) -> Link {
    let address = broker.tls();
    let mut mqtt = MqttOptions::new(options.id, address.ip().to_string(), address.port());
    mqtt.set_transport(tls(broker, options))
        .set_keep_alive(Duration::from_secs(60))
        .set_max_packet_size(1 << 20, 1 << 20)
        .set_clean_session(!options.persistent);
    if let Some((user, password)) = options.user {
        mqtt.set_credentials(user, password);
    }
    let (client, connection) = rumqttc::Client::new(mqtt, 10);
    Link::V311(client, Box::new(connection))
}

fn link_v5(broker: &Broker, options: &Options<'_>) -> Link {
    let address = broker.tls();
    let mut mqtt = v5::MqttOptions::new(options.id, address.ip().to_string(), address.port());
    mqtt.set_transport(tls(broker, options))
        .set_keep_alive(Duration::from_secs(60))
        .set_clean_start(!options.persistent);
    mqtt.set_max_packet_size(Some(1 << 20));
    if options.persistent {
        mqtt.set_session_expiry_interval(Some(3600));
    }
    if let Some((user, password)) = options.user {
        mqtt.set_credentials(user, password);
    }
    let (client, connection) = v5::Client::new(mqtt, 10);
    Link::V5(client, Box::new(connection))
}

fn came_v311(event: Event) -> Came {
    match event {
        Event::Incoming(Packet::ConnAck(ack)) => {
            Came::Connected { session_present: ack.session_present }
        }
        Event::Incoming(Packet::SubAck(_)) => Came::Subscribed,
        Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => Came::Acknowledged,
        Event::Outgoing(Outgoing::Publish(_)) => Came::Sent,
        Event::Incoming(Packet::Publish(publish)) => Came::Message(Received {
            topic: publish.topic,
            qos: publish.qos as u8,
            retain: publish.retain,
            payload: publish.payload.to_vec(),
            user_properties: Vec::new(),
        }),
        _ => Came::Other,
    }
}

fn came_v5(event: v5::Event) -> Came {
    use v5::mqttbytes::v5::Packet;
    match event {
        v5::Event::Incoming(Packet::ConnAck(ack)) => {
            Came::Connected { session_present: ack.session_present }
        }
        v5::Event::Incoming(Packet::SubAck(_)) => Came::Subscribed,
        v5::Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => Came::Acknowledged,
        v5::Event::Outgoing(Outgoing::Publish(_)) => Came::Sent,
        v5::Event::Incoming(Packet::Publish(publish)) => Came::Message(Received {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            qos: publish.qos as u8,
            retain: publish.retain,
            payload: publish.payload.to_vec(),
            user_properties: publish.properties.map(|all| all.user_properties).unwrap_or_default(),
        }),
        _ => Came::Other,
    }
}

fn qos_v311(qos: u8) -> rumqttc::QoS {
    rumqttc::qos(qos).expect("0, 1 or 2")
}

fn qos_v5(qos: u8) -> v5::mqttbytes::QoS {
    v5::mqttbytes::qos(qos).expect("0, 1 or 2")
}
