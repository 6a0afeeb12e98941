//! One client at a time takes one step at a time, so that no sync is there by chance: each
//! acknowledgement has to bring its own.

use std::net::SocketAddr;

use kedgemq::mqtt::{QoS, Reply, Version};

use crate::client::wire::Wire;
use crate::client::{Event, Session};
use crate::harness::{Broker, DEADLINE};
use crate::owed;
use crate::strace::Strace;

/// Messages at each QoS in each version.
const MESSAGES: u8 = 10;

#[test]
fn what_owes_the_disk_is_sent_after_a_sync_that_began_when_it_was_owed() {
    let broker = Broker::start_plain();
    let Some(strace) = Strace::attach(&broker, None) else {
        return;
    };
    for version in [Version::V311, Version::V5] {
        exchange(broker.plain(), version);
    }
    let findings = owed::judge(&strace.detach());
    println!("{:?}", findings.judged);
    assert!(findings.early.is_empty(), "{:#?}", findings.early);
    let versions = 2;
    let messages = versions * usize::from(MESSAGES);
    for (kind, count) in [
        ("CONNACK", 2 * versions),
        ("SUBACK", versions),
        ("PUBACK", messages),
        ("PUBREC", messages),
        ("PUBCOMP", messages),
        ("PUBLISH", messages),
        ("PUBREL", messages),
    ] {
        assert_eq!(findings.judged.get(kind), Some(&count), "{kind} in {:?}", findings.judged);
    }
}

fn exchange(broker: SocketAddr, version: Version) {
    let mut subscriber = Step::connect(broker, version, "subscriber");
    subscriber.session.subscribe("steps", QoS::ExactlyOnce, &mut subscriber.wire.output);
    subscriber.until(|reply| matches!(reply, Reply::SubAck(_)));
    let mut publisher = Step::connect(broker, version, "publisher");
    for number in 0..MESSAGES {
        publisher.publish(QoS::AtLeastOnce, vec![version as u8, 1, number]);
        publisher.until(|reply| matches!(reply, Reply::PubAck(_)));
        subscriber.until(|reply| matches!(reply, Reply::Publish(_)));
        publisher.publish(QoS::ExactlyOnce, vec![version as u8, 2, number]);
        publisher.until(|reply| matches!(reply, Reply::PubRec(_)));
        publisher.until(|reply| matches!(reply, Reply::PubComp(_)));
        subscriber.until(|reply| matches!(reply, Reply::Publish(_)));
        subscriber.until(|reply| matches!(reply, Reply::PubRel(_)));
    }
}

/// A client that waits for one packet after the other.
struct Step {
    session: Session,
    wire: Wire,
}

impl Step {
    fn connect(broker: SocketAddr, version: Version, name: &str) -> Self {
        let session = Session::new(version, &format!("{name}-{version:?}"));
        let mut wire = Wire::connect(broker, version, DEADLINE).expect("the broker listens");
        session.connect(&mut wire.output);
        let mut step = Self { session, wire };
        step.until(|reply| matches!(reply, Reply::ConnAck(_)));
        step
    }

    fn publish(&mut self, qos: QoS, payload: Vec<u8>) {
        self.session.publish("steps", qos, payload, &mut self.wire.output);
    }

    /// Takes and answers the next packet, which has to be this one.
    fn until(&mut self, is_it: impl Fn(&Reply) -> bool) {
        self.wire.flush().expect("the broker reads");
        let reply = loop {
            match self.wire.next() {
                Some(reply) => break reply,
                None => self.wire.read().expect("the broker answers"),
            }
        };
        assert!(is_it(&reply), "an unexpected {reply:?}");
        let event: Event = self.session.handle(reply, &mut self.wire.output).expect("no error");
        drop(event);
        self.wire.flush().expect("the broker reads");
    }
}
