//! A client of the running broker.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::net::SocketAddr;

use kedgemq::mqtt::codec::client::encode;
use kedgemq::mqtt::packet::{Payload, Publish};
use kedgemq::mqtt::{Delivery, Packet, PacketId, QoS, Reply, Version};

use crate::client::wire::Wire;
use crate::client::{Event, Session};
use crate::harness::DEADLINE;
use crate::packets::{disconnect, options, subscribe, v4};

/// Leaves a session of 3.1.1 with a subscription at QoS 1. When it returns the broker knows that
/// nobody is there: what comes next is not sent any more.
pub(crate) fn leave_session(address: SocketAddr, id: &str, filter: &str) {
    let version = Version::V311;
    let mut wire = Wire::connect(address, version, DEADLINE).unwrap();
    let connect = v4(id).stored();
    encode(&Packet::Connect(Box::new(connect.packet())), version, &mut wire.output);
    encode(&subscribe(1, &[(filter, options(1))]), version, &mut wire.output);
    wire.flush().unwrap();
    loop {
        match wire.next() {
            Some(Reply::SubAck(_)) => break,
            Some(_) => {}
            None => wire.read().unwrap(),
        }
    }
    encode(&disconnect(0, None), version, &mut wire.output);
    wire.flush().unwrap();
    let ended = loop {
        if let Err(error) = wire.read() {
            break error.kind();
        }
    };
    assert_eq!(ended, ErrorKind::UnexpectedEof, "the broker closes the connection");
}

/// A connected client with a session that outlives it.
pub(crate) struct Peer {
    session: Session,
    wire: Wire,
    messages: Vec<Delivery>,
}

impl Peer {
    /// Connects a new session, or resumes one that this broker need not know.
    pub(crate) fn connect(address: SocketAddr, id: &str) -> Self {
        let wire = Wire::connect(address, Version::V5, DEADLINE).unwrap();
        let session = Session::new(Version::V5, id);
        let mut peer = Self { session, wire, messages: Vec::new() };
        peer.session.connect(&mut peer.wire.output);
        peer.wait(|event| matches!(event, Event::Connected));
        peer
    }

    pub(crate) fn subscribe(&mut self, filter: &str) {
        self.session.subscribe(filter, QoS::ExactlyOnce, &mut self.wire.output);
        self.wait(|event| matches!(event, Event::Subscribed));
    }

    /// Publishes and waits for the acknowledgement.
    pub(crate) fn publish(&mut self, topic: &str, qos: QoS, payload: &[u8]) {
        self.session.publish(topic, qos, payload.to_vec(), &mut self.wire.output);
        self.wait(|event| matches!(event, Event::Acknowledged));
    }

    /// Sets the retained message of a topic, at QoS 1.
    pub(crate) fn retain(&mut self, topic: &str, payload: &[u8]) {
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic,
            packet_id: PacketId::new(60_000),
            topic_alias: None,
            message_expiry: None,
            properties: Cow::Borrowed(&[]),
            payload: Payload::Borrowed(payload),
        };
        encode(&Packet::Publish(publish), Version::V5, &mut self.wire.output);
        self.wire.flush().unwrap();
        loop {
            self.wire.read().unwrap();
            if let Some(Reply::PubAck(ack)) = self.wire.next() {
                assert!(!ack.reason.is_error(), "{}", ack.reason);
                return;
            }
        }
    }

    /// Publishes a last message to itself, to `topic`, and gives all that came before it as topic
    /// and payload, in its order.
    pub(crate) fn messages_until(&mut self, topic: &str) -> Vec<(String, Vec<u8>)> {
        self.session.publish(topic, QoS::AtLeastOnce, b"end".to_vec(), &mut self.wire.output);
        while self.messages.iter().all(|message| &*message.message.topic != topic) {
            self.step(&mut |_| false);
        }
        let messages = std::mem::take(&mut self.messages).into_iter();
        let messages =
            messages.map(|it| (it.message.topic.to_string(), it.message.payload.to_vec()));
        messages.take_while(|(found, _)| found != topic).collect()
    }

    fn wait(&mut self, mut is_it: impl FnMut(&Event) -> bool) {
        while !self.step(&mut is_it) {}
    }

    /// Reads once; says whether the event came.
    fn step(&mut self, is_it: &mut impl FnMut(&Event) -> bool) -> bool {
        let mut came = false;
        self.wire.flush().unwrap();
        self.wire.read().unwrap();
        while let Some(reply) = self.wire.next() {
            let event = self.session.handle(reply, &mut self.wire.output).unwrap();
            came |= is_it(&event);
            if let Event::Message(delivery) = event {
                self.messages.push(delivery);
            }
        }
        // What it answers must not wait for the next question.
        self.wire.flush().unwrap();
        came
    }
}
