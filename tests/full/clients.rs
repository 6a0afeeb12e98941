//! Publishers that are refused, and subscribers that come late.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use kedgemq::mqtt::{QoS, Reply, Version};

use crate::client::wire::Wire;
use crate::client::{Event, Session};
use crate::harness::{Broker, DEADLINE};

const WINDOW: usize = 20;
const PAYLOAD: usize = 4000;
/// More than any store here holds.
const MOST: u64 = 100_000;

/// Publishes numbered messages, at QoS 1 and 2 in turn, and keeps what is not acknowledged.
pub(crate) struct Publisher {
    pub(crate) version: Version,
    topic: String,
    payload: usize,
    session: Session,
    published: u64,
    acknowledged: u64,
}

impl Publisher {
    pub(crate) fn new(version: Version) -> Self {
        Self::of(version, &format!("{version:?}"), PAYLOAD)
    }

    /// For the subscriber of this name, with so many bytes in each message.
    pub(crate) fn of(version: Version, name: &str, payload: usize) -> Self {
        let session = Session::new(version, &format!("publisher-{name}"));
        let topic = format!("full/{name}");
        Self { version, topic, payload, session, published: 0, acknowledged: 0 }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Publishes until the broker will not take more; gives how it said so.
    pub(crate) fn publish_until_refused(&mut self, address: SocketAddr) -> String {
        let refused = self.connection(address, true);
        refused.expect_err("it ends with a refusal only")
    }

    /// Sends again what was refused, whenever there is room, until all is acknowledged.
    pub(crate) fn finish(&mut self, broker: &Broker) {
        loop {
            let from = broker.log().len();
            match self.connection(broker.plain(), false) {
                Ok(()) => return,
                Err(_) => drop(broker.log().wait_for_from(from, "the store works again")),
            }
        }
    }

    fn connection(&mut self, address: SocketAddr, more: bool) -> Result<(), String> {
        let mut wire = Wire::connect(address, self.version, DEADLINE).expect("it listens");
        self.session.connect(&mut wire.output);
        let mut connected = false;
        while !connected || more || self.session.in_flight() > 0 {
            while connected && more && self.session.in_flight() < WINDOW {
                self.publish(&mut wire);
            }
            let came = wire.flush().and_then(|()| wire.read());
            came.map_err(|_| "closed".to_owned())?;
            while let Some(reply) = wire.next() {
                match self.session.handle(reply, &mut wire.output)? {
                    Event::Connected => connected = true,
                    Event::Acknowledged => self.acknowledged += 1,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn publish(&mut self, wire: &mut Wire) {
        assert!(self.published < MOST, "it never refuses");
        let qos =
            if self.published.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let mut payload = self.published.to_be_bytes().to_vec();
        payload.resize(self.payload, b'.');
        self.session.publish(&self.topic, qos, payload, &mut wire.output);
        self.published += 1;
    }
}

/// Has a persistent session; takes what came meanwhile.
pub(crate) struct Subscriber {
    version: Version,
    topic: String,
    session: Session,
    received: BTreeSet<u64>,
}

impl Subscriber {
    pub(crate) fn new(version: Version) -> Self {
        Self::of(version, &format!("{version:?}"))
    }

    pub(crate) fn of(version: Version, name: &str) -> Self {
        let session = Session::new(version, &format!("subscriber-{name}"));
        Self { version, topic: format!("full/{name}"), session, received: BTreeSet::new() }
    }

    pub(crate) fn subscribe(&mut self, address: SocketAddr) {
        let mut wire = self.connect(address);
        self.session.subscribe(&self.topic, QoS::ExactlyOnce, &mut wire.output);
        self.take_while(&mut wire, |_, event| !matches!(event, Some(Event::Subscribed)));
    }

    /// Takes messages until no acknowledged one is missing and all are taken over.
    pub(crate) fn take_all(&mut self, address: SocketAddr, publisher: &Publisher) {
        let mut wire = self.connect(address);
        let acknowledged = publisher.acknowledged;
        self.take_while(&mut wire, |received, _| (received.len() as u64) < acknowledged);
        let open = publisher.session.in_flight() as u64;
        assert_eq!(publisher.published, acknowledged + open);
        if open == 0 {
            let all = (0..publisher.published).collect::<BTreeSet<_>>();
            assert_eq!(self.received, all);
        }
    }

    fn connect(&self, address: SocketAddr) -> Wire {
        let mut wire = Wire::connect(address, self.version, DEADLINE).expect("it listens");
        self.session.connect(&mut wire.output);
        wire
    }

    /// Takes what comes as long as `goes_on` says so, of all numbers so far and each event.
    fn take_while(
        &mut self,
        wire: &mut Wire,
        goes_on: impl Fn(&BTreeSet<u64>, Option<&Event>) -> bool,
    ) {
        while goes_on(&self.received, None) {
            wire.flush().expect("the connection stays");
            wire.read().expect("messages come");
            while let Some(reply) = wire.next() {
                let event = self.session.handle(reply, &mut wire.output).expect("no rule broken");
                if let Event::Message(delivery) = &event {
                    let head = delivery.message.payload[..8].try_into().expect("eight bytes");
                    let number = u64::from_be_bytes(head);
                    let is_new = self.received.insert(number);
                    let twice = !is_new && delivery.qos == QoS::ExactlyOnce;
                    assert!(!twice, "{number} came twice at QoS 2");
                }
                if !goes_on(&self.received, Some(&event)) {
                    wire.flush().expect("the connection stays");
                    return;
                }
            }
        }
    }
}

/// Holds when a message of QoS 0 goes from one client to another.
pub(crate) fn check_qos_0(address: SocketAddr) {
    let version = Version::V311;
    let mut session = Session::new(version, "listener");
    let mut wire = Wire::connect(address, version, DEADLINE).expect("it listens");
    session.connect(&mut wire.output);
    session.subscribe("live", QoS::AtMostOnce, &mut wire.output);
    loop {
        wire.flush().expect("the connection stays");
        wire.read().expect("an answer comes");
        while let Some(reply) = wire.next() {
            match session_event(&mut session, reply, &mut wire) {
                Event::Subscribed => {
                    let sender = Session::new(version, "talker");
                    let mut out = Wire::connect(address, version, DEADLINE).expect("it listens");
                    sender.connect(&mut out.output);
                    out.flush().expect("the connection stays");
                    out.read().expect("CONNACK comes");
                    out.output.extend_from_slice(b"\x30\x08\x00\x04livehi");
                    out.flush().expect("the connection stays");
                }
                Event::Message(delivery) if delivery.qos == QoS::AtMostOnce => return,
                _ => {}
            }
        }
    }
}

fn session_event(session: &mut Session, reply: Reply, wire: &mut Wire) -> Event {
    session.handle(reply, &mut wire.output).expect("no rule broken")
}
