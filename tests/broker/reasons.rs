//! Each reason to die, over a socket, in each version that can cause it: the letter comes under its
//! topic with its properties, and after a SIGKILL it is there as it was.

use std::borrow::Cow;
use std::fs;
use std::process::Command;

use kedgemq::mqtt::codec::client::encode;
use kedgemq::mqtt::packet::{Ack, Publish};
use kedgemq::mqtt::{Delivery, Message, Packet, ReasonCode, Reply, Version};

use crate::client::wire::Wire;
use crate::harness::{Broker, DEADLINE};
use crate::packets::{
    ConnectOptions, options, puback, q1, subscribe, user_properties, user_property, v4, v5,
};

const BOTH: [Version; 2] = [Version::V311, Version::V5];

/// A client on its connection.
struct Client {
    wire: Wire,
    version: Version,
}

impl Client {
    fn connect(broker: &Broker, connect: &ConnectOptions) -> Self {
        let version = connect.version;
        let wire = Wire::connect(broker.plain(), version, DEADLINE).expect("it listens");
        let mut client = Self { wire, version };
        client.send(&Packet::Connect(Box::new(connect.packet())));
        match client.next() {
            Reply::ConnAck(ack) => assert_eq!(ack.reason, ReasonCode::SUCCESS),
            other => panic!("{other:?} in place of CONNACK"),
        }
        client
    }

    fn subscribe(&mut self, filter: &str) {
        self.send(&subscribe(1, &[(filter, options(1))]));
        assert!(matches!(self.next(), Reply::SubAck(_)));
    }

    /// Publishes at QoS 1, and is told that the broker has it.
    fn publish(&mut self, publish: Publish<'_>) {
        self.send(&Packet::Publish(publish));
        match self.next() {
            Reply::PubAck(ack) => assert!(!ack.reason.is_error(), "{}", ack.reason),
            other => panic!("{other:?} in place of PUBACK"),
        }
    }

    /// The next message, which it does not acknowledge.
    fn delivery(&mut self) -> Delivery {
        match self.next() {
            Reply::Publish(delivery) => delivery,
            other => panic!("{other:?} in place of PUBLISH"),
        }
    }

    /// The next message.
    fn message(&mut self) -> Message {
        let delivery = self.delivery();
        self.send(&puback(delivery.packet_id.expect("it has QoS 1").get()));
        Message::clone(&delivery.message)
    }

    fn send(&mut self, packet: &Packet<'_>) {
        encode(packet, self.version, &mut self.wire.output);
        self.wire.flush().expect("the broker reads");
    }

    fn next(&mut self) -> Reply {
        loop {
            if let Some(reply) = self.wire.next() {
                return reply;
            }
            self.wire.read().expect("the broker answers");
        }
    }

    /// DISCONNECT, and waits until the broker knows.
    fn leave(mut self) {
        self.send(&crate::packets::disconnect(0, None));
        assert!(self.wire.read().is_err(), "the broker closes the connection");
    }
}

/// A broker, and who reads its letters in either version.
struct Story {
    broker: Broker,
    version: Version,
    readers: [Client; 2],
}

impl Story {
    fn begin(version: Version, configuration: &str) -> Self {
        let broker = Broker::start_plain_in(configuration, |directory| {
            let rights = "topic readwrite #\ntopic read $dead/#\n";
            fs::write(directory.join("rights"), rights).expect("the directory is ours");
            Vec::new()
        });
        let readers = readers(&broker);
        Self { broker, version, readers }
    }

    fn options(&self, name: &str) -> ConnectOptions {
        if self.version == Version::V5 { v5(name) } else { v4(name) }
    }

    /// `meter`, with a session that outlives its connection and wants `job/#`.
    fn owner(&self) -> Client {
        let mut owner = Client::connect(&self.broker, &self.options("meter").stored());
        owner.subscribe("job/#");
        owner
    }

    /// Publishes to `job/a`, with a property of its own where the version has them.
    fn publish(&self, payload: &str) {
        let mut publisher = Client::connect(&self.broker, &self.options("publisher"));
        let own = if self.version == Version::V5 { user_property("line", "7") } else { Vec::new() };
        publisher.publish(Publish { properties: Cow::Owned(own), ..q1(1, "job/a", payload) });
    }

    /// The owner is away, and this waits for it.
    fn backlog(&self, payload: &str) {
        self.owner().leave();
        self.publish(payload);
    }

    /// Runs `kedgemq`, which must go well.
    fn tool(&self, arguments: &[&str]) {
        let data = self.broker.path("data");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kedgemq"));
        let output = command.args(arguments).arg("--data").arg(data).output();
        let output = output.expect("the binary is built");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// The letter that both readers get next. In 3.1.1 it has its topic and payload alone.
    fn letter(&mut self) -> Message {
        let [plain, letter] = self.readers.each_mut().map(Client::message);
        assert_eq!((&plain.topic, &plain.payload), (&letter.topic, &letter.payload));
        letter
    }

    /// Checks the letter of `payload` with what its properties must say too; then once more after
    /// a SIGKILL.
    fn expect(mut self, reason: &str, owner: &str, payload: &str, more: &[(&str, &str)]) {
        let letter = self.letter();
        assert_eq!(*letter.topic, format!("$dead/{reason}/{owner}/job/a"));
        assert_eq!(letter.payload, payload);
        let properties = user_properties(&letter.properties);
        let own = properties.first().is_some_and(|own| *own == ("line".into(), "7".into()));
        assert_eq!(own, self.version == Version::V5, "the publisher's come first: {properties:?}");
        let says = |name: &str, value: &str| properties.contains(&(name.into(), value.into()));
        let always = [
            ("dl-reason", reason),
            ("dl-first-reason", reason),
            ("dl-owner", owner),
            ("dl-topic", "job/a"),
            ("dl-qos", "1"),
            ("dl-retain", "0"),
            ("dl-deaths", "1"),
            ("dl-redrives", "0"),
        ];
        for (name, value) in always.iter().chain(more) {
            assert!(says(name, value), "{name} is not {value}: {properties:?}");
        }
        for name in ["dl-id", "dl-received", "dl-time", "dl-age-ms", "dl-broker"] {
            let count = properties.iter().filter(|(found, _)| found == name).count();
            assert_eq!(count, 1, "{name}: {properties:?}");
        }

        self.broker.kill();
        self.broker.restart();
        self.readers = readers(&self.broker);
        self.tool(&["dead", "republish", "--reason", reason, "--owner", owner, "--limit", "1"]);
        let again = self.letter();
        assert_eq!((&again.topic, &again.payload), (&letter.topic, &letter.payload));
        assert_eq!(user_properties(&again.properties), properties);
    }
}

fn readers(broker: &Broker) -> [Client; 2] {
    [v4("old"), v5("new")].map(|connect| {
        let mut reader = Client::connect(broker, &connect);
        reader.subscribe("$dead/#");
        reader
    })
}

const FILTER: (&str, &str) = ("dl-filter", "job/#");

#[test]
fn expired() {
    for version in BOTH {
        let story = Story::begin(version, "limits.message_expiry = \"1s\"");
        story.backlog("late");
        story.expect("expired", "meter", "late", &[FILTER, ("dl-expiry", "1")]);
    }
}

#[test]
fn queue_full() {
    for version in BOTH {
        let story = Story::begin(version, "limits.queue_messages = 1");
        story.backlog("first");
        story.publish("second");
        story.expect("queue_full", "meter", "first", &[FILTER, ("dl-deliveries", "0")]);
    }
}

#[test]
fn session_expired() {
    for version in BOTH {
        let story = Story::begin(version, "limits.session_expiry = \"1s\"");
        story.backlog("waits");
        story.expect("session_expired", "meter", "waits", &[FILTER]);
    }
}

#[test]
fn session_cleared() {
    for version in BOTH {
        let story = Story::begin(version, "");
        story.backlog("waits");
        Client::connect(&story.broker, &story.options("meter").clean()).leave();
        story.expect("session_cleared", "meter", "waits", &[FILTER]);
    }
}

/// MQTT 5 alone: 3.1.1 has no code in its PUBACK.
#[test]
fn rejected() {
    let story = Story::begin(Version::V5, "");
    let mut owner = story.owner();
    story.publish("nonsense");
    let packet_id = owner.delivery().packet_id.expect("it has QoS 1");
    let (reason, reason_string) = (ReasonCode(0x99), Some("not JSON"));
    owner.send(&Packet::PubAck(Ack { packet_id, reason, reason_string }));
    let more = [FILTER, ("dl-rc", "0x99"), ("dl-rc-text", "not JSON"), ("dl-deliveries", "1")];
    story.expect("rejected", "meter", "nonsense", &more);
}

/// MQTT 5 alone: 3.1.1 has no Maximum Packet Size.
#[test]
fn too_large() {
    let story = Story::begin(Version::V5, "");
    let large = "x".repeat(200);
    story.backlog(&large);
    let connect = story.options("meter").stored();
    let connect = ConnectOptions { maximum_packet_size: Some(150), ..connect };
    let _owner = Client::connect(&story.broker, &connect);
    story.expect("too_large", "meter", &large, &[FILTER, ("dl-deliveries", "0")]);
}

/// For 3.1.1 it is off unless it is switched on.
#[test]
fn delivery_limit() {
    for version in BOTH {
        let limits = "limits.max_deliveries = 2\nlimits.max_deliveries_v311 = 2";
        let story = Story::begin(version, limits);
        story.backlog("poison");
        for _ in 0..2 {
            let mut owner = Client::connect(&story.broker, &story.options("meter").stored());
            assert_eq!(owner.delivery().message.payload, "poison");
            owner.send(&Packet::PingReq);
            assert!(matches!(owner.next(), Reply::PingResp));
            // It crashes, and is gone before it comes again: else that would take over.
            let from = story.broker.log().len();
            drop(owner);
            story.broker.log().wait_for_from(from, "closed without DISCONNECT");
        }
        story.expect("delivery_limit", "meter", "poison", &[FILTER, ("dl-deliveries", "2")]);
    }
}

#[test]
fn unauthorized() {
    for version in BOTH {
        let story = Story::begin(version, "auth.acl_file = \"rights\"");
        story.backlog("secret");
        let rights = "topic write #\ntopic read $dead/#\n";
        fs::write(story.broker.path("rights"), rights).unwrap();
        story.broker.signal("HUP");
        story.broker.wait_for_log("read the ACL file again");
        let _owner = Client::connect(&story.broker, &story.options("meter").stored());
        story.expect("unauthorized", "meter", "secret", &[FILTER]);
    }
}

#[test]
fn purged() {
    for version in BOTH {
        let story = Story::begin(version, "");
        story.backlog("waits");
        story.tool(&["session", "purge", "meter"]);
        story.expect("purged", "meter", "waits", &[FILTER]);
    }
}

#[test]
fn storage_full() {
    for version in BOTH {
        let story = Story::begin(version, "limits.disk_bytes = \"1KiB\"");
        let large = "x".repeat(600);
        story.backlog(&large);
        story.publish(&"y".repeat(600));
        story.expect("storage_full", "meter", &large, &[FILTER]);
    }
}

#[test]
fn no_subscribers() {
    for version in BOTH {
        let story = Story::begin(version, "dead_letters.no_subscribers = [\"job/#\"]");
        story.publish("unheard");
        story.expect("no_subscribers", "-", "unheard", &[]);
    }
}
