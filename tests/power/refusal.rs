//! Clients of a broker that refuses at times, and the judge of what it refused: MQTT 5 refuses a
//! message for good, so that it must never come; 3.1.1 closes, and the message is sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kedgemq::mqtt::{QoS, ReasonCode, Reply, Version};

use crate::client::wire::Wire;
use crate::client::{Event, Session};
use crate::harness::DEADLINE;
use crate::load::through_deaths;
use crate::stage::Stage;

/// Messages that a publisher has in flight while it gets answers.
const WINDOW: usize = 20;
/// More, each time that no answer comes for a while: so that it is there to be refused.
const MORE: usize = 5;
/// Messages that it has in flight at the most: the broker takes 100.
const LARGEST_WINDOW: usize = 90;
/// How long it waits for an answer.
const IMPATIENCE: Duration = Duration::from_millis(50);
/// So many refusals in a row make a publisher wait for the next opening of the stage.
const PATIENCE: usize = 30;
/// Where all is published.
const FILTER: &str = "refusal/#";
/// The payload of a publisher's last messages.
const LAST: u64 = u64::MAX;

/// Who published it, at which QoS, and its number there.
type Key = (usize, u8, u64);

/// What became of the messages of one publisher.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Acknowledged: they must come.
    accepted: BTreeSet<Key>,
    /// Refused when they were sent for the first time: they must not come.
    refused: BTreeSet<Key>,
    /// Refused when they were sent again: the first may have been taken.
    unsure: BTreeSet<Key>,
}

/// A publisher of numbered messages at both QoS.
pub(crate) struct Publisher<'a> {
    stage: &'a Stage,
    index: usize,
    version: Version,
    session: Session,
    /// Of each QoS.
    next: [u64; 2],
    /// In flight, and whether they were sent only once.
    in_flight: BTreeMap<Key, bool>,
    window: usize,
    answered: Instant,
    refused_in_a_row: usize,
    ended: bool,
    outcome: Outcome,
}

impl<'a> Publisher<'a> {
    pub(crate) fn new(stage: &'a Stage, index: usize, version: Version) -> Self {
        Self {
            stage,
            index,
            version,
            session: Session::new(version, &format!("publisher-{index}")),
            next: [0; 2],
            in_flight: BTreeMap::new(),
            window: WINDOW,
            answered: Instant::now(),
            refused_in_a_row: 0,
            ended: false,
            outcome: Outcome::default(),
        }
    }

    /// Publishes until it is told to finish and each message was acknowledged or refused.
    pub(crate) fn run(mut self) -> Outcome {
        through_deaths(self.stage, |address| self.connection(address));
        assert!(self.in_flight.is_empty(), "without an answer: {:?}", self.in_flight);
        self.outcome
    }

    fn connection(&mut self, address: SocketAddr) -> io::Result<()> {
        let mut wire = Wire::connect(address, self.version, IMPATIENCE)?;
        self.session.connect(&mut wire.output);
        self.in_flight.values_mut().for_each(|only_once| *only_once = false);
        self.refused_in_a_row = 0;
        self.answered = Instant::now();
        let mut connected = false;
        while !connected || !self.ended || self.session.in_flight() > 0 {
            if connected && !self.ended {
                self.publish(&mut wire);
            }
            wire.flush()?;
            self.wait(&mut wire)?;
            while let Some(reply) = wire.next() {
                connected |= self.take(reply, &mut wire)?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, wire: &mut Wire) -> io::Result<()> {
        match wire.read() {
            Ok(()) => {
                self.answered = Instant::now();
                self.window = WINDOW;
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                assert!(self.answered.elapsed() < DEADLINE, "the broker does not answer");
                self.window = LARGEST_WINDOW.min(self.window + MORE);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn publish(&mut self, wire: &mut Wire) {
        if !self.stage.wait_lag() {
            self.ended = true;
            for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
                self.put((self.index, qos as u8, LAST), qos, wire);
            }
            return;
        }
        while self.session.in_flight() < self.window {
            let qos =
                if self.next[0] <= self.next[1] { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            let next = &mut self.next[qos as usize - 1];
            *next += 1;
            let key = (self.index, qos as u8, *next);
            self.put(key, qos, wire);
            self.stage.published(1);
        }
    }

    fn put(&mut self, key: Key, qos: QoS, wire: &mut Wire) {
        self.in_flight.insert(key, true);
        self.session.publish("refusal/here", qos, payload(key), &mut wire.output);
    }

    /// Whether it is the CONNACK.
    fn take(&mut self, reply: Reply, wire: &mut Wire) -> io::Result<bool> {
        if let Reply::PubAck(ack) | Reply::PubRec(ack) = &reply
            && ack.reason == ReasonCode::QUOTA_EXCEEDED
        {
            let payload = self.session.refused(ack.packet_id).expect("it is in flight");
            self.settle(key(&payload), false);
            self.refused_in_a_row += 1;
            let tired = self.refused_in_a_row >= PATIENCE;
            return if tired { Err(ErrorKind::ConnectionReset.into()) } else { Ok(false) };
        }
        // The session forgets at PUBACK and PUBCOMP, so it is asked before.
        let ended = match &reply {
            Reply::PubAck(ack) | Reply::PubComp(ack) => self.session.payload(ack.packet_id),
            _ => None,
        };
        let ended = ended.map(key);
        let event = self.session.handle(reply, &mut wire.output);
        match event.unwrap_or_else(|broken| panic!("the broker broke a rule: {broken}")) {
            Event::Connected => return Ok(true),
            Event::Acknowledged => {
                self.settle(ended.expect("it was in flight"), true);
                self.refused_in_a_row = 0;
                self.stage.acknowledged(1);
            }
            _ => {}
        }
        Ok(false)
    }

    fn settle(&mut self, key: Key, accepted: bool) {
        let only_once = self.in_flight.remove(&key).expect("it is in flight");
        let Outcome { accepted: yes, refused: no, unsure } = &mut self.outcome;
        let set = if accepted {
            yes
        } else if only_once {
            no
        } else {
            unsure
        };
        set.insert(key);
    }
}

/// Receives until the last message of each publisher has come: all that came, in its order.
pub(crate) fn subscribe(
    stage: &Stage,
    index: usize,
    version: Version,
    publishers: usize,
) -> Vec<Key> {
    let mut session = Session::new(version, &format!("subscriber-{index}"));
    let mut received = Vec::new();
    let mut subscribed = false;
    let mut last = BTreeSet::new();
    through_deaths(stage, |address| {
        let mut wire = Wire::connect(address, version, DEADLINE)?;
        session.connect(&mut wire.output);
        if !subscribed {
            session.subscribe(FILTER, QoS::ExactlyOnce, &mut wire.output);
        }
        while last.len() < 2 * publishers {
            wire.flush()?;
            wire.read()?;
            while let Some(reply) = wire.next() {
                let event = session.handle(reply, &mut wire.output);
                match event.unwrap_or_else(|broken| panic!("the broker broke a rule: {broken}")) {
                    Event::Subscribed => {
                        subscribed = true;
                        stage.subscribed(index);
                    }
                    Event::Message(delivery) => {
                        let key = key(&delivery.message.payload);
                        assert_eq!(key.1, delivery.qos as u8, "published and sent at one QoS");
                        received.push(key);
                        stage.received(index, 1);
                        if key.2 == LAST {
                            last.insert(key);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    });
    received
}

/// What is wrong with what a subscriber received.
pub(crate) fn judge(outcomes: &[Outcome], received: &[Key]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    let mut newest: BTreeMap<(usize, u8), u64> = BTreeMap::new();
    for key in received {
        let (publisher, qos, number) = *key;
        let outcome = &outcomes[publisher];
        if outcome.refused.contains(key) {
            wrong.push(format!("{key:?} was refused and came"));
        } else if !outcome.accepted.contains(key) && !outcome.unsure.contains(key) {
            wrong.push(format!("{key:?} came from nowhere"));
        }
        if seen.insert(*key) {
            let newest = newest.entry((publisher, qos)).or_default();
            if number < *newest {
                wrong.push(format!("{key:?} came after {newest}"));
            }
            *newest = number.max(*newest);
        } else if qos == QoS::ExactlyOnce as u8 {
            wrong.push(format!("{key:?} came twice"));
        }
    }
    let accepted = outcomes.iter().flat_map(|outcome| &outcome.accepted);
    wrong.extend(accepted.filter(|key| !seen.contains(key)).map(|key| format!("{key:?} is lost")));
    wrong
}

/// How many messages were acknowledged, refused, and refused when sent again.
pub(crate) fn counts(outcomes: &[Outcome]) -> [usize; 3] {
    let sum = |of: fn(&Outcome) -> &BTreeSet<Key>| outcomes.iter().map(|one| of(one).len()).sum();
    [sum(|one| &one.accepted), sum(|one| &one.refused), sum(|one| &one.unsure)]
}

fn payload((publisher, qos, number): Key) -> Vec<u8> {
    let publisher = u8::try_from(publisher).expect("few publishers");
    [&[publisher, qos][..], &number.to_be_bytes()].concat()
}

fn key(payload: &[u8]) -> Key {
    let number = payload[2..].try_into().expect("eight bytes");
    (usize::from(payload[0]), payload[1], u64::from_be_bytes(number))
}

#[test]
fn the_judge_sees_what_is_lost_doubled_refused_and_out_of_order() {
    let outcome = Outcome {
        accepted: [(0, 1, 1), (0, 1, 2), (0, 2, 1)].into(),
        refused: [(0, 1, 3)].into(),
        unsure: [(0, 1, 4)].into(),
    };
    let outcomes = [outcome];
    let wrong = |received: &[Key]| judge(&outcomes, received).len();
    assert_eq!(wrong(&[(0, 1, 1), (0, 2, 1), (0, 1, 2)]), 0);
    assert_eq!(wrong(&[(0, 1, 1), (0, 1, 2), (0, 1, 1), (0, 1, 4), (0, 2, 1)]), 0, "QoS 1 again");
    assert_eq!(wrong(&[(0, 1, 1), (0, 1, 2)]), 1, "lost");
    assert_eq!(wrong(&[(0, 1, 1), (0, 2, 1), (0, 1, 2), (0, 2, 1)]), 1, "doubled");
    assert_eq!(wrong(&[(0, 1, 1), (0, 2, 1), (0, 1, 2), (0, 1, 3)]), 1, "refused");
    assert_eq!(wrong(&[(0, 1, 2), (0, 2, 1), (0, 1, 1)]), 1, "out of order");
    assert_eq!(wrong(&[(0, 1, 1), (0, 2, 1), (0, 1, 2), (0, 1, 9)]), 1, "from nowhere");
}
