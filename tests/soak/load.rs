//! The clients: each goes on until it is told to finish, through every death of the broker.

use std::io;
use std::net::SocketAddr;

use fastrand::Rng;
use kedgemq::mqtt::{QoS, Version};

use crate::client::wire::Wire;
use crate::client::{Event, Session};
use crate::harness::DEADLINE;
use crate::judge::{Published, QOS, Received};
use crate::stage::Stage;

/// Messages that a publisher has in flight.
const WINDOW: usize = 20;

/// A publisher of numbered messages at both QoS.
pub(crate) struct Publisher<'a> {
    stage: &'a Stage,
    topic: String,
    version: Version,
    session: Session,
    random: Rng,
    published: Published,
    ended: bool,
}

impl<'a> Publisher<'a> {
    pub(crate) fn new(stage: &'a Stage, index: usize, version: Version, random: Rng) -> Self {
        Self {
            stage,
            topic: format!("soak/{index}"),
            version,
            session: Session::new(version, &format!("publisher-{index}")),
            random,
            published: Published::default(),
            ended: false,
        }
    }

    /// Publishes until it is told to finish and all is acknowledged.
    pub(crate) fn run(mut self) -> Published {
        through_deaths(self.stage, |address| self.connection(address));
        self.published
    }

    fn connection(&mut self, address: SocketAddr) -> io::Result<()> {
        let mut wire = Wire::connect(address, self.version, DEADLINE)?;
        self.session.connect(&mut wire.output);
        // Nothing new may overtake what is sent again after the CONNACK.
        let mut connected = false;
        while !connected || !self.ended || self.session.in_flight() > 0 {
            if connected && !self.ended {
                self.publish(&mut wire);
            }
            wire.flush()?;
            let mut acknowledged = 0;
            take(&mut self.session, &mut wire, |event| match event {
                Event::Connected => connected = true,
                Event::Acknowledged => acknowledged += 1,
                _ => {}
            })?;
            self.stage.acknowledged(acknowledged);
        }
        Ok(())
    }

    /// Fills the window; at the end says so once at each QoS.
    fn publish(&mut self, wire: &mut Wire) {
        if !self.stage.wait_lag() {
            self.ended = true;
            for qos in QOS {
                let payload = self.published.next(qos, true);
                self.session.publish(&self.topic, qos, payload, &mut wire.output);
            }
            self.stage.published(2);
            return;
        }
        let free = WINDOW.saturating_sub(self.session.in_flight());
        for _ in 0..free {
            let qos = QOS[self.random.usize(..QOS.len())];
            let mut payload = self.published.next(qos, false);
            // Mostly small, at times longer than a chunk of the log.
            let large = self.random.u8(..64) == 0;
            let padding = if large { self.random.usize(..100_000) } else { 64 };
            payload.resize(payload.len() + padding, b'.');
            self.session.publish(&self.topic, qos, payload, &mut wire.output);
        }
        self.stage.published(free as u64);
    }
}

/// Receives until the last message of every publisher has come.
pub(crate) fn subscribe(
    stage: &Stage,
    index: usize,
    version: Version,
    publishers: usize,
) -> Received {
    let mut session = Session::new(version, &format!("subscriber-{index}"));
    let mut received = Received::new(index, publishers);
    let mut subscribed = false;
    through_deaths(stage, |address| {
        let mut wire = Wire::connect(address, version, DEADLINE)?;
        session.connect(&mut wire.output);
        if !subscribed {
            session.subscribe("soak/#", QoS::ExactlyOnce, &mut wire.output);
        }
        while !received.complete() {
            wire.flush()?;
            let mut new = 0;
            take(&mut session, &mut wire, |event| match event {
                Event::Subscribed => subscribed = true,
                Event::Message(delivery) => new += u64::from(received.add(&delivery)),
                _ => {}
            })?;
            if subscribed {
                stage.subscribed(index);
            }
            stage.received(index, new);
        }
        Ok(())
    });
    received
}

/// Makes connection after connection until one ends by itself.
pub(crate) fn through_deaths(
    stage: &Stage,
    mut connection: impl FnMut(SocketAddr) -> io::Result<()>,
) {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof};
    let mut start = 0;
    loop {
        let (now, address) = stage.wait_open(start);
        start = now;
        let Err(error) = connection(address) else {
            return;
        };
        // Only the broker's death ends one.
        let died = [BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof];
        assert!(died.contains(&error.kind()), "the broker does not answer: {error}");
    }
}

/// Waits for packets, takes all that came and answers them.
fn take(session: &mut Session, wire: &mut Wire, mut tell: impl FnMut(Event)) -> io::Result<()> {
    wire.read()?;
    while let Some(reply) = wire.next() {
        let event = session.handle(reply, &mut wire.output);
        tell(event.unwrap_or_else(|broken| panic!("the broker broke a rule: {broken}")));
    }
    Ok(())
}
