//! Everybody whom rumqttc serves well: devices with their readings, telemetry and commands, the
//! control room, the historian, and who reads the dead letters.
//!
//! rumqttc keeps what was not acknowledged and sends it again after a reconnect, without DUP: at
//! QoS 1 that is at least once. Its QoS 2 does not survive a cut: see `alarm.rs`.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::Transport;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Fleet;
use crate::ledger::{Key, Kind};

/// For a connection that cannot be made, until it is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// A session outlives the fleet.
const LONG: u32 = 3600;

/// What a device is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fortune {
    /// Its link is cut now and then.
    Flaky,
    /// Stays away, so that its commands wait.
    Away,
    /// Never comes back, and its session expires.
    Gone,
    /// Comes back in the middle, with a Clean Start.
    Reset,
}

impl Fortune {
    /// Two of twenty devices go away, one is gone and one is reset.
    pub(crate) fn of(device: usize) -> Self {
        match device % 20 {
            1 | 2 => Self::Away,
            3 => Self::Gone,
            4 => Self::Reset,
            _ => Self::Flaky,
        }
    }
}

/// A client of rumqttc, and whoever waits for its acknowledgements.
struct Station {
    fleet: Arc<Fleet>,
    rng: fastrand::Rng,
    events: EventLoop,
    /// Whether its link is cut now and then.
    flaky: bool,
    acknowledgements: mpsc::UnboundedSender<PubAckReason>,
}

impl Station {
    /// Connects when it runs. A device of an odd number speaks TLS where the broker does.
    fn parts(fleet: &Arc<Fleet>, name: &str, device: usize, expiry: u32, clean: bool) -> Parts {
        let place = &fleet.place;
        let id = fleet.client_id(name);
        let transport = |ca: &Vec<u8>| Transport::tls(ca.clone(), None, None);
        let (address, transport) = match &place.tls {
            Some((address, ca)) if device % 2 == 1 => (*address, transport(ca)),
            _ => (place.plain, Transport::tcp()),
        };
        let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
        options.set_transport(transport);
        options.set_keep_alive(Duration::from_secs(30));
        options.set_clean_start(clean).set_session_expiry_interval(Some(expiry));
        options.set_max_packet_size(Some(64 * 1024));
        let (client, events) = AsyncClient::new(options, 10);
        let (acknowledgements, answers) = mpsc::unbounded_channel();
        let rng = fastrand::Rng::with_seed(fleet.options.seed ^ (device as u64) << 8);
        let fleet = Arc::clone(fleet);
        let station = Self { fleet, rng, events, flaky: false, acknowledgements };
        Parts { client, station, answers }
    }

    /// Until the broker has its subscription.
    async fn subscribed(&mut self) {
        loop {
            match self.events.poll().await {
                Ok(event) => {
                    if matches!(event, Event::Incoming(Packet::SubAck(_))) {
                        return;
                    }
                    self.note(event);
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Works for ever, with cuts if it is flaky.
    async fn run(mut self) {
        let mut cut = Instant::now() + self.fleet.until_cut(&mut self.rng);
        loop {
            tokio::select! {
                event = self.events.poll() => match event {
                    Ok(event) => self.note(event),
                    Err(_) => sleep(PAUSE).await,
                },
                () = sleep_until(cut), if self.flaky && !self.fleet.is_calm() => {
                    // Drops the connection as it is, and keeps what is to be sent again.
                    self.events.clean();
                    self.fleet.ledger.lock().cuts += 1;
                    sleep(self.fleet.away(&mut self.rng)).await;
                    cut = Instant::now() + self.fleet.until_cut(&mut self.rng);
                }
            }
        }
    }

    fn note(&self, event: Event) {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => self.fleet.ledger.lock().connects += 1,
            Event::Incoming(Packet::PubAck(ack)) => {
                // Who waited for it may be gone at the end.
                let _ = self.acknowledgements.send(ack.reason);
            }
            Event::Incoming(Packet::Publish(publish)) => self.take(&publish),
            _ => {}
        }
    }

    fn take(&self, publish: &Publish) {
        let ledger = &self.fleet.ledger;
        if !publish.topic.starts_with(b"$dead/") {
            return ledger.received(&publish.payload);
        }
        let properties = publish.properties.iter().flat_map(|all| &all.user_properties);
        let find = |wanted| properties.clone().find(|(name, _)| name == wanted);
        let (id, topic) = (find("dl-id"), find("dl-topic"));
        // Another fleet's letters are not ours.
        let ours = format!("{}/", self.fleet.prefix);
        if topic.is_some_and(|(_, topic)| topic.starts_with(&ours)) {
            ledger.heard(id.map_or("", |(_, id)| id), &publish.payload);
        }
    }
}

/// A station and the two ends to work with it.
struct Parts {
    client: AsyncClient,
    station: Station,
    answers: mpsc::UnboundedReceiver<PubAckReason>,
}

/// Publishes one message after the other and waits for each to be acknowledged.
struct Publisher {
    fleet: Arc<Fleet>,
    client: AsyncClient,
    answers: mpsc::UnboundedReceiver<PubAckReason>,
}

impl Publisher {
    async fn publish(&mut self, key: Key, expiry: Option<u32>) {
        let ledger = &self.fleet.ledger;
        ledger.published(key);
        let (topic, payload) = (self.fleet.topic(key), format!("{key} ok"));
        let qos = if key.kind.qos() == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let properties =
            PublishProperties { message_expiry_interval: expiry, ..PublishProperties::default() };
        let sent = self.client.publish_with_properties(topic, qos, false, payload, properties);
        if let Err(error) = sent.await {
            return ledger.problem(format!("{key}: {error}"));
        }
        let answer = match key.kind.qos() {
            0 => Some(PubAckReason::Success),
            _ => self.answers.recv().await,
        };
        match answer {
            Some(PubAckReason::Success) => ledger.acknowledged(key, false),
            Some(PubAckReason::NoMatchingSubscribers) => ledger.acknowledged(key, true),
            other => ledger.problem(format!("{key}: {other:?}")),
        }
    }
}

/// Who keeps the readings, or the telemetry: its link is cut, too.
pub(crate) async fn historian(fleet: &Arc<Fleet>, kind: Kind) {
    let name = format!("historian-{}", kind.word());
    subscriber(fleet, &name, &fleet.filter(kind), true).await;
}

/// Who reads the dead letters.
pub(crate) async fn reader(fleet: &Arc<Fleet>) {
    subscriber(fleet, "reader", "$dead/#", false).await;
}

/// Subscribes, and runs by itself from then on.
async fn subscriber(fleet: &Arc<Fleet>, name: &str, filter: &str, flaky: bool) {
    let Parts { client, mut station, .. } = Station::parts(fleet, name, 0, LONG, false);
    subscribe(&client, filter, fleet).await;
    station.subscribed().await;
    station.flaky = flaky;
    tokio::spawn(async move {
        let _kept = client; // rumqttc ends with its last client.
        station.run().await;
    });
}

async fn subscribe(client: &AsyncClient, filter: &str, fleet: &Fleet) {
    if let Err(error) = client.subscribe(filter, QoS::AtLeastOnce).await {
        fleet.ledger.problem(format!("{filter}: {error}"));
    }
}

/// Makes a device's session, with a subscription to its commands; then it does as its fortune
/// has it.
pub(crate) async fn device(fleet: Arc<Fleet>, device: usize) {
    let fortune = Fortune::of(device);
    let expiry = if fortune == Fortune::Gone { fleet.options.seconds.div_ceil(2) } else { LONG };
    let name = format!("device-{device}");
    let Parts { client, mut station, answers } =
        Station::parts(&fleet, &name, device, expiry, false);
    let commands = fleet.topic(Key { kind: Kind::Command, device, number: 0 });
    subscribe(&client, &commands, &fleet).await;
    station.subscribed().await;
    station.flaky = true;
    if fortune == Fortune::Flaky {
        tokio::spawn(station.run());
        let publisher = Publisher { fleet: Arc::clone(&fleet), client, answers };
        tokio::spawn(report(publisher, device));
    } else {
        drop(station);
    }
    if fortune == Fortune::Reset {
        tokio::spawn(async move {
            sleep_until(fleet.begun().await + fleet.duration() / 2).await;
            let Parts { client, mut station, .. } =
                Station::parts(&fleet, &name, device, LONG, true);
            subscribe(&client, &commands, &fleet).await;
            station.subscribed().await;
            // A second Clean Start would throw away what waits from now on.
            station.events.options.set_clean_start(false);
            station.flaky = true;
            let _kept = client;
            station.run().await;
        });
    }
}

/// The readings and the telemetry of a device, in turn.
async fn report(mut publisher: Publisher, device: usize) {
    let fleet = Arc::clone(&publisher.fleet);
    let mut rng = fastrand::Rng::with_seed(fleet.options.seed ^ !(device as u64));
    fleet.begun().await;
    for number in 0..fleet.options.messages {
        sleep(fleet.pause(&mut rng, fleet.options.messages)).await;
        let kind = if number % 2 == 0 { Kind::Reading } else { Kind::Telemetry };
        publisher.publish(Key { kind, device, number }, None).await;
    }
    fleet.done();
    // What still arrives has somebody to tell.
    while publisher.answers.recv().await.is_some() {}
}

/// The control room: a few commands to each device, every second one for a second only, and to
/// device 2 more than its queue holds.
pub(crate) async fn control_room(fleet: Arc<Fleet>) {
    let Parts { client, station, answers } = Station::parts(&fleet, "control-room", 1, LONG, false);
    tokio::spawn(station.run());
    let mut publisher = Publisher { fleet: Arc::clone(&fleet), client, answers };
    let begun = fleet.begun().await;
    let rounds = fleet.options.commands;
    for number in 0..rounds {
        let expiry = (number % 2 == 1).then_some(1);
        for device in fleet.devices() {
            publisher.publish(Key { kind: Kind::Command, device, number }, expiry).await;
        }
        // The last at three quarters of the time: after the Clean Starts, before the expiries.
        let next = begun + fleet.duration() * 3 / 4 * (number + 1) / rounds;
        sleep_until(next).await;
    }
    for number in rounds..rounds + fleet.options.burst {
        publisher.publish(Key { kind: Kind::Command, device: 2, number }, None).await;
    }
    fleet.done();
    while publisher.answers.recv().await.is_some() {}
}
