//! What every client can do, and how the scenarios come by one.

use serde::{Deserialize, Serialize};

use crate::driver::Driver;
use crate::harness::Broker;
use crate::mosquitto_clients::MosquittoClient;
use crate::rumqttc_clients::RumqttcClient;

/// Whose client it is.
#[derive(Clone, Copy)]
pub(crate) enum Library {
    Mosquitto,
    Rumqttc,
    /// A script in `python/`, for `tests/.venv`.
    Python(&'static str),
    /// A script in `js/`.
    Node(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Tls,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V311,
    V5,
}

/// How a client connects.
pub(crate) struct Options<'a> {
    pub(crate) id: &'a str,
    /// Whether its session outlives the connection.
    pub(crate) persistent: bool,
    pub(crate) will: Option<Publish<'a>>,
}

impl<'a> Options<'a> {
    pub(crate) fn new(id: &'a str) -> Self {
        Self { id, persistent: false, will: None }
    }

    pub(crate) fn persistent(self) -> Self {
        Self { persistent: true, ..self }
    }

    pub(crate) fn will(self, will: Publish<'a>) -> Self {
        Self { will: Some(will), ..self }
    }
}

/// One or more messages that are alike but for their payloads. Several payloads are lines of text,
/// as mosquitto_pub takes no others.
#[derive(Clone)]
pub(crate) struct Publish<'a> {
    pub(crate) topic: &'a str,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) payloads: Vec<Vec<u8>>,
    pub(crate) properties: Option<Properties>,
}

impl<'a> Publish<'a> {
    pub(crate) fn new(topic: &'a str, qos: u8, payload: &[u8]) -> Self {
        let payloads = vec![payload.to_vec()];
        Self { topic, qos, retain: false, payloads, properties: None }
    }

    pub(crate) fn retain(self) -> Self {
        Self { retain: true, ..self }
    }
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) payload: Vec<u8>,
    /// `None` when it has none of them, as all of MQTT 3.1.1.
    pub(crate) properties: Option<Properties>,
}

/// Those that a broker hands on as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Properties {
    pub(crate) content_type: String,
    pub(crate) response_topic: String,
    /// Text, as mosquitto_sub shows no other.
    pub(crate) correlation_data: String,
    pub(crate) user: Vec<(String, String)>,
}

/// A client. Each wait for an answer ends with a panic that says what did not come. One that is
/// dropped goes without a DISCONNECT.
pub(crate) trait Client {
    /// What the CONNACK said, if the library tells.
    fn session_present(&self) -> Option<bool>;

    /// Subscribes and waits for the SUBACK; at most once for each client.
    fn subscribe(&mut self, filter: &str, qos: u8);

    /// Publishes and waits until all is acknowledged.
    fn publish(&mut self, publish: &Publish<'_>);

    /// The next message, in the order of arrival; `Err` is why none comes.
    fn next_message(&mut self) -> Result<Message, String>;

    /// Disconnects.
    fn leave(self: Box<Self>);

    /// Whether its DISCONNECT asks for its will, with Reason Code 0x04.
    fn leaves_with_will(&self) -> bool {
        false
    }

    /// The next `count` messages.
    fn messages(&mut self, count: usize) -> Vec<Message> {
        let mut came = Vec::new();
        while came.len() < count {
            match self.next_message() {
                Ok(message) => came.push(message),
                Err(why) => panic!("{}", missing(&came, count, &why)),
            }
        }
        came
    }
}

fn missing(came: &[Message], count: usize, why: &str) -> String {
    let last: Vec<String> = came.iter().rev().take(3).map(describe).collect();
    format!("only {} of {count} messages came: {why}; the last of them: {last:?}", came.len())
}

/// Topic, QoS, and payload if it is short.
fn describe(message: &Message) -> String {
    let Message { topic, qos, payload, .. } = message;
    let start = String::from_utf8_lossy(&payload[..payload.len().min(40)]);
    format!("{topic} at QoS {qos}: {start:?} ({} bytes)", payload.len())
}

/// A broker, and the one kind of client that meets it here.
pub(crate) struct Stage {
    pub(crate) broker: Broker,
    library: Library,
    pub(crate) transport: Transport,
    pub(crate) version: Version,
}

impl Stage {
    pub(crate) fn new(library: Library, transport: Transport, version: Version) -> Self {
        Self { broker: Broker::start(), library, transport, version }
    }

    /// A connected client with a session that ends with its connection.
    pub(crate) fn client(&self, id: &str) -> Box<dyn Client> {
        self.connect(&Options::new(id))
    }

    /// A connected client.
    pub(crate) fn connect(&self, options: &Options<'_>) -> Box<dyn Client> {
        match self.library {
            Library::Mosquitto => Box::new(MosquittoClient::new(self, options)),
            Library::Rumqttc => Box::new(RumqttcClient::connect(self, options)),
            Library::Python(script) => Box::new(Driver::python(script, self, options)),
            Library::Node(script) => Box::new(Driver::node(script, self, options)),
        }
    }
}
