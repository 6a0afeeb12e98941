//! rumqttc as a client of ours, for both protocols behind one face.

use std::collections::VecDeque;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::PublishProperties;
use rumqttc::{Event, LastWill, MqttOptions, Outgoing, Packet, Transport, v5};

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
    /// Whether it connects over TLS.
    pub(crate) tls: bool,
    /// Whether its session outlives the connection.
    pub(crate) persistent: bool,
    pub(crate) will: Option<Will<'a>>,
    /// User Name and Password.
    pub(crate) user: Option<(&'a str, &'a str)>,
    /// Certificate and key, PEM.
    pub(crate) certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Options<'a> {
    pub(crate) fn new(version: Version, id: &'a str) -> Self {
        let (user, certificate) = (None, None);
        Self { version, id, tls: true, persistent: false, will: None, user, certificate }
    }

    pub(crate) fn persistent(self) -> Self {
        Self { persistent: true, ..self }
    }
}

/// A will without properties.
pub(crate) struct Will<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

/// The largest packet it takes: more than the broker does.
const PACKET_SIZE: u32 = 4 << 20;

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) payload: Vec<u8>,
    /// None in 3.1.1, and when it has none.
    pub(crate) properties: Option<PublishProperties>,
}

/// What rumqttc tells, as far as the tests want to know.
enum Came {
    Connected { session_present: bool },
    Subscribed,
    Left,
    Acknowledged,
    Sent,
    Message(Received),
    Other,
}

/// A connected client.
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
        self.publish_all(topic, qos, retain, &[payload.to_vec()], None);
    }

    /// Publishes one after the other, as many at once as rumqttc has in flight, and waits for the
    /// end of all. Properties are for MQTT 5.
    pub(crate) fn publish_all(
        &mut self,
        topic: &str,
        qos: u8,
        retain: bool,
        payloads: &[Vec<u8>],
        properties: Option<&PublishProperties>,
    ) {
        let mut taken = 0;
        let mut ended = 0;
        while ended < payloads.len() {
            while taken < payloads.len()
                && self.link.try_publish(topic, qos, retain, &payloads[taken], properties)
            {
                taken += 1;
            }
            self.wait("the acknowledgement", |came| match came {
                Came::Acknowledged => qos > 0,
                Came::Sent => qos == 0,
                _ => false,
            });
            ended += 1;
        }
    }

    /// Disconnects, and waits until the DISCONNECT has left.
    pub(crate) fn leave(mut self) {
        let sent = match &self.link {
            Link::V311(client, _) => client.disconnect().is_ok(),
            Link::V5(client, _) => client.disconnect().is_ok(),
        };
        assert!(sent, "rumqttc takes no DISCONNECT");
        self.wait("its DISCONNECT", |came| matches!(came, Came::Left));
    }

    /// The next message, in the order of arrival.
    pub(crate) fn message(&mut self) -> Received {
        self.try_message().unwrap_or_else(|error| panic!("waiting for a message: {error}"))
    }

    /// The same; `Err` is why none comes.
    pub(crate) fn try_message(&mut self) -> Result<Received, String> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(message) = self.received.pop_front() {
                return Ok(message);
            }
            self.next(deadline)?;
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

impl Link {
    /// Hands it a PUBLISH; `false` when it has no room before something leaves.
    fn try_publish(
        &self,
        topic: &str,
        qos: u8,
        retain: bool,
        payload: &[u8],
        properties: Option<&PublishProperties>,
    ) -> bool {
        let bytes = payload.to_vec();
        match (self, properties) {
            (Self::V311(client, _), _) => {
                client.try_publish(topic, qos_v311(qos), retain, bytes).is_ok()
            }
            (Self::V5(client, _), None) => {
                client.try_publish(topic, qos_v5(qos), retain, bytes).is_ok()
            }
            (Self::V5(client, _), Some(properties)) => {
                let properties = properties.clone();
                let qos = qos_v5(qos);
                client.try_publish_with_properties(topic, qos, retain, bytes, properties).is_ok()
            }
        }
    }
}

fn address(broker: &Broker, options: &Options<'_>) -> SocketAddr {
    if options.tls { broker.tls() } else { broker.plain() }
}

fn transport(broker: &Broker, options: &Options<'_>) -> Transport {
    if !options.tls {
        return Transport::Tcp;
    }
    let ca = fs::read(broker.ca()).expect("the broker made its certificates");
    Transport::tls(ca, options.certificate.clone(), None)
}

fn link_v311(broker: &Broker, options: &Options<'_>) -> Link {
    let address = address(broker, options);
    let mut mqtt = MqttOptions::new(options.id, address.ip().to_string(), address.port());
    mqtt.set_transport(transport(broker, options))
        .set_keep_alive(Duration::from_secs(60))
        .set_max_packet_size(PACKET_SIZE as usize, PACKET_SIZE as usize)
        .set_clean_session(!options.persistent);
    if let Some((user, password)) = options.user {
        mqtt.set_credentials(user, password);
    }
    if let Some(will) = &options.will {
        let qos = qos_v311(will.qos);
        mqtt.set_last_will(LastWill::new(will.topic, will.payload, qos, will.retain));
    }
    let (client, connection) = rumqttc::Client::new(mqtt, 10);
    Link::V311(client, Box::new(connection))
}

fn link_v5(broker: &Broker, options: &Options<'_>) -> Link {
    let address = address(broker, options);
    let mut mqtt = v5::MqttOptions::new(options.id, address.ip().to_string(), address.port());
    mqtt.set_transport(transport(broker, options))
        .set_keep_alive(Duration::from_secs(60))
        .set_clean_start(!options.persistent);
    mqtt.set_max_packet_size(Some(PACKET_SIZE));
    if options.persistent {
        mqtt.set_session_expiry_interval(Some(3600));
    }
    if let Some((user, password)) = options.user {
        mqtt.set_credentials(user, password);
    }
    if let Some(will) = &options.will {
        let qos = qos_v5(will.qos);
        let will =
            v5::mqttbytes::v5::LastWill::new(will.topic, will.payload, qos, will.retain, None);
        mqtt.set_last_will(will);
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
        Event::Outgoing(Outgoing::Disconnect) => Came::Left,
        Event::Incoming(Packet::Publish(publish)) => Came::Message(Received {
            topic: publish.topic,
            qos: publish.qos as u8,
            retain: publish.retain,
            payload: publish.payload.to_vec(),
            properties: None,
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
        v5::Event::Outgoing(Outgoing::Disconnect) => Came::Left,
        v5::Event::Incoming(Packet::Publish(publish)) => Came::Message(Received {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            qos: publish.qos as u8,
            retain: publish.retain,
            payload: publish.payload.to_vec(),
            properties: publish.properties,
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
