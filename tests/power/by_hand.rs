//! A client that does what a test says, packet by packet.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use kedgemq::mqtt::codec::client::encode;
use kedgemq::mqtt::packet::{
    Ack, Connect, Disconnect, Payload, Publish, RetainHandling, Subscribe, SubscriptionOptions,
};
use kedgemq::mqtt::reply::ConnAck;
use kedgemq::mqtt::{Delivery, Packet, PacketId, QoS, ReasonCode, Reply, Version};

use crate::client::wire::Wire;
use crate::harness::DEADLINE;

/// One connection. Dropping it closes it without a DISCONNECT.
pub(crate) struct Hand {
    wire: Wire,
    version: Version,
}

impl Hand {
    /// Connects; the CONNACK may refuse.
    pub(crate) fn try_connect(address: SocketAddr, connect: Connect<'_>) -> (Self, ConnAck) {
        let version = connect.version;
        let wire = Wire::connect(address, version, DEADLINE).expect("the broker listens");
        let mut hand = Self { wire, version };
        hand.send(Packet::Connect(Box::new(connect)));
        match hand.next() {
            Reply::ConnAck(ack) => (hand, *ack),
            other => panic!("no CONNACK but {other:?}"),
        }
    }

    /// Connects; whether the session was there.
    pub(crate) fn connect(address: SocketAddr, connect: Connect<'_>) -> (Self, bool) {
        let (hand, ack) = Self::try_connect(address, connect);
        assert!(!ack.reason.is_error(), "refused: {}", ack.reason);
        (hand, ack.session_present)
    }

    pub(crate) fn send(&mut self, packet: Packet<'_>) {
        encode(&packet, self.version, &mut self.wire.output);
        self.wire.flush().expect("the broker reads");
    }

    /// The next packet.
    pub(crate) fn next(&mut self) -> Reply {
        self.try_next().expect("the broker answers")
    }

    /// The next packet, or how the connection ended.
    pub(crate) fn try_next(&mut self) -> io::Result<Reply> {
        loop {
            if let Some(reply) = self.wire.next() {
                return Ok(reply);
            }
            self.wire.read()?;
        }
    }

    /// Subscribes at QoS 2: the Reason Code.
    pub(crate) fn subscribe(&mut self, filter: &str) -> u8 {
        let options = SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let filters = vec![(filter, options)];
        let packet_id = packet_id(1);
        self.send(Packet::Subscribe(Subscribe { packet_id, subscription_id: None, filters }));
        match self.next() {
            Reply::SubAck(ack) => ack.reasons[0].0,
            other => panic!("no SUBACK but {other:?}"),
        }
    }

    pub(crate) fn publish(&mut self, topic: &str, qos: QoS, id: u16, expiry: Option<u32>) {
        self.send(Packet::Publish(publish(topic, qos, id, expiry)));
    }

    /// Publishes at QoS 1 and waits for the PUBACK.
    pub(crate) fn publish_durably(&mut self, packet: Publish<'_>) {
        self.send(Packet::Publish(packet));
        match self.next() {
            Reply::PubAck(ack) if !ack.reason.is_error() => {}
            other => panic!("no PUBACK but {other:?}"),
        }
    }

    /// Acknowledges a QoS 1 message.
    pub(crate) fn acknowledge(&mut self, delivery: &Delivery) {
        let packet_id = delivery.packet_id.expect("QoS 1 has one");
        let reason = ReasonCode::SUCCESS;
        self.send(Packet::PubAck(Ack { packet_id, reason, reason_string: None }));
    }

    /// The next message.
    pub(crate) fn message(&mut self) -> Delivery {
        match self.next() {
            Reply::Publish(delivery) => delivery,
            other => panic!("no PUBLISH but {other:?}"),
        }
    }

    /// Says goodbye, and waits until the broker has heard it.
    pub(crate) fn leave(mut self) {
        let reason = ReasonCode::SUCCESS;
        let disconnect = Disconnect { reason, session_expiry: None, reason_string: None };
        self.send(Packet::Disconnect(disconnect));
        let end = self.try_next();
        assert!(end.is_err(), "something came after DISCONNECT: {end:?}");
    }

    /// All messages that were on their way: those before the answer to a PINGREQ.
    pub(crate) fn messages(&mut self) -> Vec<Delivery> {
        self.send(Packet::PingReq);
        let mut messages = Vec::new();
        loop {
            match self.next() {
                Reply::Publish(delivery) => messages.push(delivery),
                Reply::PingResp => return messages,
                other => panic!("neither PUBLISH nor PINGRESP but {other:?}"),
            }
        }
    }
}

/// A CONNECT of MQTT 5 whose session lives so many seconds longer than its connection.
pub(crate) fn v5(client_id: &str, session_expiry: u32) -> Connect<'_> {
    Connect {
        version: Version::V5,
        clean_start: session_expiry == 0,
        keep_alive: 60,
        client_id,
        user_name: None,
        password: None,
        will: None,
        session_expiry: Some(session_expiry),
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
    }
}

/// A CONNECT of 3.1.1 with Clean Session 0.
pub(crate) fn v311(client_id: &str) -> Connect<'_> {
    let version = Version::V311;
    Connect { version, clean_start: false, session_expiry: None, ..v5(client_id, 0) }
}

/// A PUBLISH whose payload is its topic.
pub(crate) fn publish(topic: &str, qos: QoS, id: u16, expiry: Option<u32>) -> Publish<'_> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: (qos != QoS::AtMostOnce).then(|| packet_id(id)),
        topic_alias: None,
        message_expiry: expiry,
        properties: Cow::Borrowed(&[]),
        payload: Payload::Borrowed(topic.as_bytes()),
    }
}

fn packet_id(id: u16) -> PacketId {
    PacketId(NonZeroU16::new(id).expect("not 0"))
}
