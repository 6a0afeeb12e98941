//! Alarms at QoS 2: a line from each device, and the desk that takes them, rejects what is
//! garbled and crashes at some. rumqttc doubles a QoS 2 message over a cut, so both ends keep
//! their part of the session as the specification has it.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use kedgemq::mqtt::codec::client::{decode, encode};
use kedgemq::mqtt::packet::{Ack, Connect, RetainHandling, Subscribe, SubscriptionOptions};
use kedgemq::mqtt::{Delivery, Packet, PacketId, QoS, ReasonCode, Reply, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval, sleep, sleep_until};

use crate::Fleet;
use crate::client::{Event, Session};
use crate::ledger::{Key, Kind};

/// For a connection that cannot be made or ended, until the next.
const PAUSE: Duration = Duration::from_millis(100);
/// Well below the Keep Alive of a session.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A TCP connection that speaks in packets.
struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Wire {
    async fn connect(fleet: &Fleet) -> io::Result<Self> {
        let stream = TcpStream::connect(fleet.place.plain).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::new(), output: Vec::new() })
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    /// The next packet; given up half-way, nothing is lost.
    async fn next(&mut self) -> io::Result<Reply> {
        loop {
            let invalid = |error| io::Error::new(ErrorKind::InvalidData, format!("{error:?}"));
            if let Some((reply, size)) = decode(&self.input, Version::V5).map_err(invalid)? {
                self.input.drain(..size);
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The alarm line of a device.
struct Line {
    fleet: Arc<Fleet>,
    rng: fastrand::Rng,
    session: Session,
    device: usize,
    /// The next alarm.
    number: u32,
    next: Instant,
}

/// Sends the alarms of a device, over as many connections as it takes.
pub(crate) async fn line(fleet: Arc<Fleet>, device: usize) {
    let mut rng = fastrand::Rng::with_seed(fleet.options.seed ^ (device as u64) << 24);
    let session = Session::new(Version::V5, &fleet.client_id(&format!("alarm-line-{device}")));
    let next = fleet.begun().await + fleet.pause(&mut rng, fleet.options.alarms);
    let mut line = Line { fleet, rng, session, device, number: 0, next };
    loop {
        match line.connection().await {
            Ok(()) => {
                line.fleet.ledger.lock().cuts += 1;
                sleep(line.fleet.away(&mut line.rng)).await;
            }
            Err(Broken::Network) => sleep(PAUSE).await,
            Err(Broken::Rule(what)) => {
                return line.fleet.ledger.problem(format!("alarm line {device}: {what}"));
            }
        }
    }
}

/// Why a connection ended.
enum Broken {
    Network,
    /// The broker broke a rule, or refused.
    Rule(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidData => Self::Rule(error.to_string()),
            _ => Self::Network,
        }
    }
}

impl Line {
    /// One connection, until it is cut.
    async fn connection(&mut self) -> Result<(), Broken> {
        let mut wire = Wire::connect(&self.fleet).await?;
        self.session.connect(&mut wire.output);
        let mut connected = false;
        let cut = Instant::now() + self.fleet.until_cut(&mut self.rng);
        let mut keep_alive = interval(KEEP_ALIVE);
        loop {
            wire.flush().await?;
            let is_due = connected && self.number < self.fleet.options.alarms;
            tokio::select! {
                reply = wire.next() => {
                    let reply = reply?;
                    connected |= matches!(reply, Reply::ConnAck(_));
                    self.take(reply, &mut wire.output)?;
                }
                () = sleep_until(self.next), if is_due => self.raise(&mut wire.output),
                _ = keep_alive.tick(), if connected => {
                    encode(&Packet::PingReq, Version::V5, &mut wire.output);
                }
                () = sleep_until(cut), if !self.fleet.is_calm() => return Ok(()),
            }
        }
    }

    fn take(&mut self, reply: Reply, output: &mut Vec<u8>) -> Result<(), Broken> {
        let ended = match &reply {
            Reply::PubComp(ack) => self.session.payload(ack.packet_id).and_then(Key::read),
            _ => None,
        };
        let event = self.session.handle(reply, output).map_err(Broken::Rule)?;
        if let Event::Connected = event {
            self.fleet.ledger.lock().connects += 1;
        }
        if let Some(key) = ended {
            self.fleet.ledger.acknowledged(key, false);
            if self.session.in_flight() == 0 && self.number == self.fleet.options.alarms {
                self.fleet.done();
            }
        }
        Ok(())
    }

    fn raise(&mut self, output: &mut Vec<u8>) {
        let (device, number) = (self.device, self.number);
        let key = Key { kind: Kind::Alarm, device, number };
        // By the seed alone, whatever the links do.
        let dice = self.fleet.options.seed ^ (device as u64) << 32 ^ u64::from(number);
        // The first alarm of three devices makes the desk crash.
        let word = match (number, device) {
            (0, 5..=7) => "crash",
            _ if fastrand::Rng::with_seed(dice).u32(..20) == 0 => "garbled",
            _ => "ok",
        };
        self.fleet.ledger.published(key);
        let payload = format!("{key} {word}").into_bytes();
        self.session.publish(&self.fleet.topic(key), QoS::ExactlyOnce, payload, output);
        self.number += 1;
        self.next = Instant::now() + self.fleet.pause(&mut self.rng, self.fleet.options.alarms);
    }
}

/// Who takes the alarms.
struct Desk {
    fleet: Arc<Fleet>,
    id: String,
    /// Packet Identifiers of messages that were taken and are not released: what comes again
    /// under one of them is the same message.
    taken: BTreeSet<PacketId>,
    subscribed: Option<oneshot::Sender<()>>,
}

/// Takes alarms, over as many connections as it takes. Tells when it has subscribed.
pub(crate) async fn desk(fleet: Arc<Fleet>, subscribed: oneshot::Sender<()>) {
    let id = fleet.client_id("alarm-desk");
    let mut desk = Desk { fleet, id, taken: BTreeSet::new(), subscribed: Some(subscribed) };
    loop {
        match desk.connection().await {
            Ok(()) => desk.fleet.ledger.lock().crashes += 1,
            Err(Broken::Network) => {}
            Err(Broken::Rule(what)) => return desk.fleet.ledger.problem(format!("desk: {what}")),
        }
        sleep(PAUSE).await;
    }
}

impl Desk {
    /// One connection, until it crashes.
    async fn connection(&mut self) -> Result<(), Broken> {
        let mut wire = Wire::connect(&self.fleet).await?;
        self.connect(&mut wire.output);
        loop {
            wire.flush().await?;
            match wire.next().await? {
                Reply::ConnAck(ack) if ack.reason == ReasonCode::SUCCESS => {
                    self.fleet.ledger.lock().connects += 1;
                    if self.subscribed.is_some() {
                        self.subscribe(&mut wire.output);
                    } else if !ack.session_present {
                        return Err(Broken::Rule("the session is lost".into()));
                    }
                }
                Reply::SubAck(_) => {
                    if let Some(subscribed) = self.subscribed.take() {
                        // Who asked waits for it.
                        let _ = subscribed.send(());
                    }
                }
                Reply::Publish(alarm) if alarm.message.payload.ends_with(b"crash") => {
                    return choke(wire).await;
                }
                Reply::Publish(alarm) => self.take(&alarm, &mut wire.output),
                Reply::PubRel(ack) => {
                    self.taken.remove(&ack.packet_id);
                    put(Packet::PubComp, ack.packet_id, None, &mut wire.output);
                }
                other => return Err(Broken::Rule(format!("{other:?}"))),
            }
        }
    }

    fn take(&mut self, alarm: &Delivery, output: &mut Vec<u8>) {
        let Some(packet_id) = alarm.packet_id else {
            return self.fleet.ledger.problem("an alarm at QoS 0".into());
        };
        let payload = &alarm.message.payload;
        if payload.ends_with(b"garbled") {
            return put(Packet::PubRec, packet_id, Some("this alarm is garbled"), output);
        }
        if self.taken.insert(packet_id) {
            self.fleet.ledger.received(payload);
        }
        put(Packet::PubRec, packet_id, None, output);
    }

    fn connect(&self, output: &mut Vec<u8>) {
        let connect = Connect {
            version: Version::V5,
            clean_start: false,
            keep_alive: 0,
            client_id: &self.id,
            user_name: None,
            password: None,
            will: None,
            session_expiry: Some(3600),
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
        };
        encode(&Packet::Connect(Box::new(connect)), Version::V5, output);
    }

    fn subscribe(&self, output: &mut Vec<u8>) {
        let options = SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let filter = self.fleet.filter(Kind::Alarm);
        let packet_id = PacketId::new(1).expect("it is not 0");
        let filters = vec![(&*filter, options)];
        let subscribe = Subscribe { packet_id, subscription_id: None, filters };
        encode(&Packet::Subscribe(subscribe), Version::V5, output);
    }
}

/// Crashes at a message that the broker knows to have arrived: another thread still pings.
async fn choke(mut wire: Wire) -> Result<(), Broken> {
    encode(&Packet::PingReq, Version::V5, &mut wire.output);
    wire.flush().await?;
    while !matches!(wire.next().await?, Reply::PingResp) {}
    Ok(())
}

/// Writes an acknowledgement; with a reason it rejects: 0x99, Payload format invalid.
fn put<'a>(
    kind: impl FnOnce(Ack<'a>) -> Packet<'a>,
    packet_id: PacketId,
    rejected: Option<&'a str>,
    output: &mut Vec<u8>,
) {
    let reason = rejected.map_or(ReasonCode::SUCCESS, |_| ReasonCode::PAYLOAD_FORMAT_INVALID);
    let ack = Ack { packet_id, reason, reason_string: rejected };
    encode(&kind(ack), Version::V5, output);
}
