//! mosquitto_sub and mosquitto_pub as one client: what it publishes has a connection of its own.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::client::{Client, Message, Options, Properties, Publish, Stage, Transport, Version};
use crate::mosquitto::{Subscriber, over_tcp, over_tls, persistent};

/// A message as mosquitto_sub shows it.
const FORMAT: &str = "%t\t%q\t%r\t%x\t%C\t%R\t%D\t%P";

pub(crate) struct MosquittoClient {
    connection: Vec<String>,
    version: &'static str,
    /// Options of the subscriber's session.
    session: Vec<String>,
    subscriber: Option<Subscriber>,
}

impl MosquittoClient {
    /// It connects when it is told what to do.
    pub(crate) fn new(stage: &Stage, options: &Options<'_>) -> Self {
        let version = version(stage.version);
        let connection = connection(stage);
        let session = session(version, options);
        Self { connection, version, session, subscriber: None }
    }
}

/// Options that connect.
pub(crate) fn connection(stage: &Stage) -> Vec<String> {
    match stage.transport {
        Transport::Tcp => over_tcp(&stage.broker),
        Transport::Tls => over_tls(&stage.broker),
    }
}

/// The protocol as the option `-V` names it.
pub(crate) fn version(version: Version) -> &'static str {
    match version {
        Version::V311 => "311",
        Version::V5 => "5",
    }
}

fn session(version: &str, options: &Options<'_>) -> Vec<String> {
    let mut session: Vec<&str> = if options.persistent {
        persistent(version, options.id)
    } else {
        vec!["-V", version, "-i", options.id]
    };
    let Some(will) = &options.will else { return session.into_iter().map(String::from).collect() };
    let qos = will.qos.to_string();
    let payload = String::from_utf8_lossy(&will.payloads[0]);
    session.extend(["--will-topic", will.topic, "--will-qos", &qos, "--will-payload", &payload]);
    if will.retain {
        session.push("--will-retain");
    }
    session.into_iter().map(String::from).collect()
}

impl Client for MosquittoClient {
    fn session_present(&self) -> Option<bool> {
        None
    }

    /// So mosquitto_sub does on SIGTERM.
    fn leaves_with_will(&self) -> bool {
        self.version == "5"
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        assert!(self.subscriber.is_none(), "mosquitto_sub subscribes when it starts");
        let qos = qos.to_string();
        let mut options: Vec<&str> = self.session.iter().map(String::as_str).collect();
        options.extend(["-q", &qos, "-t", filter]);
        self.subscriber = Some(Subscriber::start_over(&self.connection, FORMAT, &options));
    }

    fn publish(&mut self, publish: &Publish<'_>) {
        let mut publisher = Command::new("mosquitto_pub")
            .args(&self.connection)
            .args(["-V", self.version, "-t", publish.topic, "-q", &publish.qos.to_string()])
            .args(publish.retain.then_some("-r"))
            .args(properties(publish.properties.as_ref()))
            .arg(match &publish.payloads[..] {
                [payload] if payload.is_empty() => "-n",
                [_] => "-s",
                _ => "-l",
            })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub is installed: tests/run does it");
        let mut input = publisher.stdin.take().expect("stdin is piped");
        // It fails when mosquitto_pub has ended, which says why.
        let _ = input.write_all(&publish.payloads.join(&b'\n'));
        drop(input);
        let output = publisher.wait_with_output().expect("it is our child");
        assert!(output.status.success(), "mosquitto_pub: {output:?}");
    }

    fn next_message(&mut self) -> Result<Message, String> {
        let subscriber = self.subscriber.as_mut().expect("it has subscribed");
        let line = subscriber.message().ok_or("nothing came")?;
        Ok(message(&line))
    }

    fn leave(self: Box<Self>) {
        if let Some(subscriber) = self.subscriber {
            subscriber.leave();
        }
    }
}

fn properties(properties: Option<&Properties>) -> Vec<&str> {
    let Some(properties) = properties else { return Vec::new() };
    let mut options = Vec::new();
    options.extend(["-D", "publish", "content-type", &properties.content_type]);
    options.extend(["-D", "publish", "response-topic", &properties.response_topic]);
    options.extend(["-D", "publish", "correlation-data", &properties.correlation_data]);
    for (name, value) in &properties.user {
        options.extend(["-D", "publish", "user-property", name, value]);
    }
    options
}

/// Reads a line in [`FORMAT`].
fn message(line: &str) -> Message {
    let fields: Vec<&str> = line.split('\t').collect();
    let [topic, qos, retain, payload, content_type, response_topic, correlation_data, user] =
        fields[..]
    else {
        panic!("not in the format: {line:?}");
    };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once(':').expect("%P shows name:value");
        (name.to_owned(), value.to_owned())
    };
    let has_properties = [content_type, response_topic, correlation_data, user] != [""; 4];
    Message {
        topic: topic.to_owned(),
        qos: qos.parse().expect("%q is a number"),
        retain: retain == "1",
        payload: from_hex(payload),
        properties: has_properties.then(|| Properties {
            content_type: content_type.to_owned(),
            response_topic: response_topic.to_owned(),
            correlation_data: correlation_data.to_owned(),
            user: user.split_whitespace().map(pair).collect(),
        }),
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("%x shows hexadecimal digits") as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
