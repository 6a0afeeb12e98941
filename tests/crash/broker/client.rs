//! A client that keeps the protocol and its own memory: after a reconnect it sends again what was
//! not acknowledged, in its order, and takes a QoS 2 message once.

use std::collections::{BTreeSet, VecDeque};

use kedgemq::mqtt::packet::Publish;
use kedgemq::mqtt::{Delivery, Packet, PacketId, QoS, ReasonCode, Reply, Version};
use kedgemq::turn::{CloseCause, ConnectionId};

use super::packets::{
    ConnectOptions, dup, expiring, options, puback, pubcomp, pubrec, pubrel, q1, q2, refusal,
    retained, subscribe,
};
use super::world::World;

/// One client. A clone goes on from the same memory.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) name: &'static str,
    pub(super) connect: ConnectOptions,
    pub(super) filters: Vec<(&'static str, u8)>,
    /// SUBACK came.
    pub(super) is_subscribed: bool,
    pub(super) connection: Option<ConnectionId>,
    /// Whether the broker must have its session, or must not; `None` while nobody told.
    known: Option<bool>,
    /// CONNACK came on this connection.
    is_accepted: bool,
    /// Whether the session of this connection outlives it.
    is_stored: bool,
    /// It reads, but answers nothing.
    pub(super) is_silent: bool,
    /// It refuses what it is sent, and throws it away.
    pub(super) refuses: bool,
    /// Its session may end while it is away.
    pub(super) may_expire: bool,
    sent: VecDeque<Sent>,
    /// It sent something twice on one connection, so acknowledgements come twice, too.
    repeats: bool,
    resent: bool,
    /// QoS 2 identifiers between PUBLISH and PUBREL.
    taken: BTreeSet<PacketId>,
    pub(super) published: Vec<Published>,
    pub(super) got: Vec<Got>,
    /// It threw its session away once.
    pub(super) began_anew: bool,
    /// CONNACK of its Clean Start came.
    pub(super) was_told_clean: bool,
    /// PUBACK, PUBREC and PUBCOMP packets that came.
    pub(super) acknowledgements: usize,
}

/// What it has not seen the end of.
#[derive(Clone, Debug)]
struct Sent {
    packet_id: u16,
    released: bool,
    post: Post,
    payload: String,
}

/// What it published, and who must get it.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) payload: String,
    pub(super) post: Post,
    /// Owners whose subscription was confirmed before.
    pub(super) audience: Vec<String>,
    /// It may be lost: a will whose CONNECT was not accepted, what a Clean Start forgot.
    pub(super) is_optional: bool,
}

/// Where to and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Post {
    pub(super) topic: &'static str,
    pub(super) qos: u8,
    pub(super) expiry: Option<u32>,
    pub(super) retain: bool,
}

/// A message that came.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) topic: String,
    pub(super) payload: String,
    pub(super) qos: QoS,
}

/// Without expiry and RETAIN.
pub(super) fn to(topic: &'static str, qos: u8) -> Post {
    Post { topic, qos, expiry: None, retain: false }
}

impl Client {
    pub(super) fn new(
        name: &'static str,
        connect: ConnectOptions,
        filters: &[(&'static str, u8)],
    ) -> Self {
        Self {
            name,
            connect,
            filters: filters.to_vec(),
            is_subscribed: false,
            connection: None,
            known: Some(false),
            is_accepted: false,
            is_stored: false,
            is_silent: false,
            refuses: false,
            may_expire: false,
            sent: VecDeque::new(),
            repeats: false,
            resent: false,
            taken: BTreeSet::new(),
            published: Vec::new(),
            got: Vec::new(),
            began_anew: false,
            was_told_clean: false,
            acknowledgements: 0,
        }
    }

    /// Whose queue it reads from: its own, or its share group's.
    pub(super) fn owner(&self) -> String {
        match self.filters.first() {
            Some((filter, _)) if filter.starts_with("$share/") => filter.replacen('/', "~", 2),
            _ => self.name.to_owned(),
        }
    }

    /// Nothing that it sent waits for an acknowledgement.
    pub(super) fn is_done(&self) -> bool {
        self.sent.is_empty()
    }

    /// The connection is gone; where CONNACK did not come, nobody knows what it did.
    pub(super) fn lose_connection(&mut self) {
        let is_in_doubt = self.connection.is_some() && !self.is_accepted;
        if is_in_doubt && self.known == Some(false) {
            self.known = None;
        }
        self.connection = None;
        self.is_accepted = false;
        self.resent = false;
    }

    /// Connects; an open connection is taken over. Who began anew says so until it is accepted.
    pub(super) fn connect(&mut self, world: &mut World) {
        self.lose_connection();
        let connect = self.connect.clone();
        let is_clean = self.began_anew && !self.was_told_clean;
        self.open(if is_clean { connect.clean() } else { connect }, world);
    }

    /// Connects, and does not wait for CONNACK, as both specifications allow.
    pub(super) fn connect_eagerly(&mut self, world: &mut World) {
        self.connect(world);
        self.send_again(world);
    }

    /// Sends again what it should send again only after a reconnect, as impatient clients do.
    pub(super) fn repeat(&mut self, world: &mut World) {
        self.repeats = true;
        self.send_again(world);
    }

    /// Connects with Clean Start, and wants nothing of what it subscribed to any more.
    pub(super) fn begin_anew(&mut self, world: &mut World) {
        self.began_anew = true;
        self.filters.clear();
        self.is_subscribed = false;
        self.forget();
        self.connect(world);
    }

    fn open(&mut self, connect: ConnectOptions, world: &mut World) {
        if connect.clean_start {
            self.known = Some(false);
        }
        self.is_stored = match connect.version {
            Version::V5 => connect.session_expiry.is_some(),
            Version::V311 | Version::V31 => !connect.clean_start,
        };
        self.connection = Some(world.open(&connect));
    }

    pub(super) fn cut(&mut self, world: &mut World) {
        if let Some(connection) = self.connection {
            world.cut(connection);
            self.lose_connection();
        }
    }

    /// Shows that it is alive, and crashes.
    pub(super) fn crash(&mut self, world: &mut World) {
        let connection = self.connection.expect("it is connected");
        world.send(connection, Packet::PingReq);
        world.close(connection, CloseCause::Peer { flushed: true });
        self.lose_connection();
    }

    /// Publishes under the lowest Packet Identifier that is free, so that each is used often.
    pub(super) fn publish(&mut self, world: &mut World, post: Post, audience: Vec<String>) {
        let connection = self.connection.expect("it is connected");
        let is_free = |id: &u16| self.sent.iter().all(|sent| sent.packet_id != *id);
        let packet_id = (1..).find(is_free).unwrap();
        let payload = format!("{}-{}", self.name, self.published.len());
        let is_optional = false;
        self.published.push(Published { payload: payload.clone(), post, audience, is_optional });
        let sent = Sent { packet_id, released: false, post, payload };
        world.send(connection, Packet::Publish(sent.packet()));
        self.sent.push_back(sent);
    }

    /// The payload of the will of its next CONNECT, which counts once that is accepted.
    pub(super) fn bequeath(&mut self, post: Post, audience: Vec<String>) -> String {
        let payload = format!("{}-{}", self.name, self.published.len());
        let is_optional = true;
        self.published.push(Published { payload: payload.clone(), post, audience, is_optional });
        payload
    }

    /// Reads what came and answers. True if something did.
    pub(super) fn read(&mut self, world: &mut World) -> bool {
        let Some(connection) = self.connection else {
            return false;
        };
        let (replies, is_closed) = world.receive(connection);
        assert!(!is_closed, "{}: closed after {replies:?}", self.name);
        let came = !replies.is_empty();
        for reply in replies {
            self.handle(reply, connection, world);
        }
        came
    }

    fn handle(&mut self, reply: Reply, connection: ConnectionId, world: &mut World) {
        match reply {
            Reply::ConnAck(ack) => {
                assert!(!ack.reason.is_error(), "{}: {ack:?}", self.name);
                self.after_connack(ack.session_present, connection, world);
            }
            Reply::SubAck(ack) => {
                assert!(ack.reasons.iter().all(|reason| !reason.is_error()));
                self.is_subscribed = true;
            }
            Reply::Publish(delivery) => self.take(delivery, connection, world),
            Reply::PubAck(ack) => self.finished(ack.packet_id, 1),
            Reply::PubRec(ack) => {
                assert!(!ack.reason.is_error(), "{}: {ack:?}", self.name);
                self.acknowledgements += 1;
                let id = ack.packet_id.get();
                let mine = self.sent.iter_mut().find(|it| it.packet_id == id && it.post.qos == 2);
                match mine {
                    Some(mine) => mine.released = true,
                    None => assert!(self.repeats, "PUBREC of what was published"),
                }
                if !self.is_silent {
                    world.send(connection, pubrel(id));
                }
            }
            Reply::PubComp(ack) => self.finished(ack.packet_id, 2),
            Reply::PubRel(ack) => {
                if !self.is_silent {
                    self.taken.remove(&ack.packet_id);
                    world.send(connection, pubcomp(ack.packet_id.get()));
                }
            }
            Reply::PingResp => {}
            other => panic!("{}: {other:?}", self.name),
        }
    }

    fn after_connack(&mut self, present: bool, connection: ConnectionId, world: &mut World) {
        if let Some(known) = self.known.filter(|_| !self.may_expire) {
            assert_eq!(present, known, "{}: Session Present", self.name);
        }
        if !present {
            self.is_subscribed = false;
            self.forget();
        }
        self.is_accepted = true;
        if let Some(published) = self.published.last_mut()
            && self.connect.will.is_some()
        {
            published.is_optional = false;
        }
        self.was_told_clean = self.began_anew;
        self.known = Some(self.is_stored);
        if !self.is_subscribed && !self.filters.is_empty() {
            let filters: Vec<_> = self.filters.iter().map(|(f, qos)| (*f, options(*qos))).collect();
            world.send(connection, subscribe(60_000, &filters));
        }
        if !self.resent {
            self.send_again(world);
        }
    }

    /// Its session is gone: what was not acknowledged has no guarantee any more.
    fn forget(&mut self) {
        self.taken.clear();
        for sent in self.sent.drain(..) {
            let mine = self.published.iter_mut().find(|it| it.payload == sent.payload);
            mine.unwrap().is_optional = true;
        }
    }

    fn send_again(&mut self, world: &mut World) {
        self.resent = true;
        let connection = self.connection.expect("it is connected");
        for sent in &self.sent {
            world.send(
                connection,
                match sent.released {
                    true => pubrel(sent.packet_id),
                    false => Packet::Publish(dup(sent.packet())),
                },
            );
        }
    }

    fn take(&mut self, delivery: Delivery, connection: ConnectionId, world: &mut World) {
        let id = delivery.packet_id;
        let is_twice = delivery.qos == QoS::ExactlyOnce;
        if let Some(id) = id.filter(|_| self.refuses) {
            let ack = refusal(id.get(), ReasonCode::UNSPECIFIED_ERROR);
            return world.send(
                connection,
                if is_twice { Packet::PubRec(ack) } else { Packet::PubAck(ack) },
            );
        }
        if !is_twice || self.taken.insert(id.expect("it has QoS 2")) {
            let message = &delivery.message;
            self.got.push(Got {
                topic: message.topic.to_string(),
                payload: String::from_utf8_lossy(&message.payload).into_owned(),
                qos: delivery.qos,
            });
        }
        if let Some(id) = id.filter(|_| !self.is_silent) {
            world.send(connection, if is_twice { pubrec(id.get()) } else { puback(id.get()) });
        }
    }

    fn finished(&mut self, packet_id: PacketId, qos: u8) {
        self.acknowledgements += 1;
        let ends = |sent: &Sent| sent.packet_id == packet_id.get() && sent.post.qos == qos;
        let Some(at) = self.sent.iter().position(ends) else {
            return assert!(self.repeats, "an acknowledgement of what was sent");
        };
        let sent = self.sent.remove(at).unwrap();
        assert!(qos == 1 || sent.released, "PUBCOMP before PUBREC");
    }
}

impl Sent {
    fn packet(&self) -> Publish<'_> {
        let Post { topic, qos, expiry, retain } = self.post;
        let plain = match qos {
            1 => q1(self.packet_id, topic, &self.payload),
            _ => q2(self.packet_id, topic, &self.payload),
        };
        let plain = if retain { retained(plain) } else { plain };
        expiry.into_iter().fold(plain, |publish, expiry| expiring(expiry, publish))
    }
}
