//! The client's side of the protocol: what is not acknowledged is sent again on the next
//! connection, in its order; a QoS 2 message that comes again is taken once.

use kedgemq::mqtt::codec::client::decode;
use kedgemq::mqtt::reply::TopicAlias;
use kedgemq::mqtt::{Delivery, Packet, ReasonCode, Reply};

use super::{Client, Deed, Request, WINDOW, packets};
use crate::history::{Arrival, Fact, History, Kind, Tag, Use};

/// What the broker says when it refuses something.
const REFUSALS: [u8; 3] = [0x80, 0x83, 0x97];

impl Client {
    /// Bytes came.
    pub(crate) fn receive(
        &mut self,
        connection: usize,
        bytes: &[u8],
        now: u64,
        history: &mut History,
    ) {
        let Some(link) = self.link.as_mut().filter(|link| link.connection == connection) else {
            return;
        };
        link.asked = None;
        link.input.extend_from_slice(bytes);
        while let Some(link) = self.link.as_mut().filter(|link| link.connection == connection) {
            match decode(&link.input, self.version) {
                Ok(None) => return,
                Ok(Some((reply, size))) => {
                    link.input.drain(..size);
                    self.handle(reply, now, history);
                }
                Err(error) => {
                    let what = format!("on {connection}: {error}");
                    history.note(Fact::Nonsense { client: self.index, what });
                    return self.drop_link(Deed::Reset, "nonsense", history);
                }
            }
        }
    }

    fn handle(&mut self, reply: Reply, now: u64, history: &mut History) {
        let client = self.index;
        let link = self.link.as_mut().expect("the caller reads from it");
        let connection = link.connection;
        if !link.accepted && !matches!(reply, Reply::ConnAck(_)) {
            let what = format!("before CONNACK on {connection}: {reply:?}");
            history.note(Fact::Nonsense { client, what });
        }
        match reply {
            Reply::ConnAck(ack) if ack.reason.is_error() => {
                history.note(Fact::Refused { client, connection, reason: ack.reason });
            }
            Reply::ConnAck(ack) => {
                link.accepted = true;
                let maximum = ack.receive_maximum.map_or(WINDOW, usize::from);
                link.quota = maximum.min(WINDOW);
                link.alias_maximum = ack.topic_alias_maximum;
                self.accepted(ack.session_present, now, history);
            }
            Reply::Publish(delivery) => self.deliver(delivery, now, history),
            Reply::PubAck(ack) => self.told(Kind::PubAck, ack.packet_id.get(), ack.reason, history),
            Reply::PubRec(ack) => self.told(Kind::PubRec, ack.packet_id.get(), ack.reason, history),
            Reply::PubComp(ack) => {
                self.told(Kind::PubComp, ack.packet_id.get(), ack.reason, history);
            }
            Reply::PubRel(ack) => {
                let packet_id = ack.packet_id.get();
                self.taken.remove(&packet_id);
                history.note(Fact::ReleaseArrived { client, connection, packet_id });
                self.will_answer(packets::ack(Kind::PubComp, packet_id, 0), now, history);
            }
            Reply::SubAck(ack) => {
                let (packet_id, reason) = (ack.packet_id.get(), ack.reasons[0]);
                history.note(Fact::Subscribed { client, connection, packet_id, reason });
                let request = link.requests.remove(&packet_id);
                if let Some(Request::Subscribe(filter)) = request.filter(|_| !reason.is_error()) {
                    self.subscribed.insert(filter);
                }
            }
            Reply::UnsubAck(ack) => {
                let packet_id = ack.packet_id.get();
                history.note(Fact::Unsubscribed { client, connection, packet_id });
                link.requests.remove(&packet_id);
            }
            Reply::PingResp => {}
            Reply::Disconnect(disconnect) => {
                let reason = disconnect.reason;
                history.note(Fact::Dismissed { client, connection, reason });
            }
        }
        self.flush(now, history);
    }

    fn accepted(&mut self, present: bool, now: u64, history: &mut History) {
        let client = self.index;
        let link = self.link.as_ref().expect("CONNACK came on it");
        let connection = link.connection;
        self.expiry = link.expiry;
        history.note(Fact::Accepted { client, connection, present });
        self.must_begin_anew = false;
        if !present {
            self.forget_session(history);
        }
        self.flush(now, history);
    }

    pub(super) fn forget_session(&mut self, history: &mut History) {
        let client = self.index;
        for out in self.outgoing.drain(..) {
            history.note(Fact::Abandoned { client, tag: out.publication.tag.clone() });
        }
        self.taken.clear();
        self.subscribed.clear();
    }

    /// Sends what may be sent: first what was sent before, and no more than the broker takes.
    pub(super) fn flush(&mut self, now: u64, history: &mut History) {
        let Some(link) = self.link.as_ref().filter(|link| link.accepted) else {
            return;
        };
        let (client, connection, quota) = (self.index, link.connection, link.quota);
        let mut here = self.outgoing.iter().filter(|out| out.sent_here).count();
        for at in 0..self.outgoing.len() {
            if self.outgoing[at].sent_here {
                continue;
            }
            if here >= quota {
                return;
            }
            here += 1;
            let out = &mut self.outgoing[at];
            out.sent_here = true;
            let packet_id = out.packet_id;
            if out.pubrec_arrived {
                history.note(Fact::Released { client, connection, packet_id });
                self.say(&packets::release(packet_id), now);
                continue;
            }
            let dup = std::mem::replace(&mut out.was_sent, true);
            let (publication, expiry) = (out.publication.clone(), out.expiry);
            let alias = self.alias(&publication.topic);
            let packet = packets::publish(&publication, packet_id, dup, expiry, alias);
            self.say(&packet, now);
            history.note(Fact::Published { client, connection, packet_id, dup, publication });
        }
    }

    /// A Topic Alias, and whether it is new.
    fn alias(&mut self, topic: &str) -> Option<(u16, bool)> {
        let link = self.link.as_mut().expect("the caller sends on it");
        if let Some(known) = link.aliases.iter().position(|known| known == topic) {
            return Some((u16::try_from(known).expect("few") + 1, false));
        }
        if link.aliases.len() >= usize::from(link.alias_maximum) || self.rng.bool() {
            return None;
        }
        link.aliases.push(topic.to_owned());
        Some((u16::try_from(link.aliases.len()).expect("few"), true))
    }

    fn told(&mut self, kind: Kind, packet_id: u16, reason: ReasonCode, history: &mut History) {
        let client = self.index;
        let connection = self.link.as_ref().expect("it came on it").connection;
        let at = self.outgoing.iter().position(|out| out.packet_id == packet_id);
        let at =
            at.filter(|at| (self.outgoing[*at].publication.qos == 1) == (kind == Kind::PubAck));
        let tag = at.map(|at| self.outgoing[at].publication.tag.clone());
        history.note(Fact::Told { client, connection, kind, packet_id, reason, tag });
        let Some(at) = at else {
            return;
        };
        if kind == Kind::PubRec && !reason.is_error() {
            let out = &mut self.outgoing[at];
            out.pubrec_arrived = true;
            out.sent_here = true;
            history.note(Fact::Released { client, connection, packet_id });
            self.say(&packets::release(packet_id), history.now);
        } else {
            self.outgoing.remove(at);
        }
    }

    fn deliver(&mut self, delivery: Delivery, now: u64, history: &mut History) {
        let (client, message) = (self.index, &delivery.message);
        let link = self.link.as_mut().expect("it came on it");
        let connection = link.connection;
        let topic = match delivery.topic_alias {
            Some(TopicAlias::Define(alias)) => {
                link.known_aliases.insert(alias, message.topic.to_string());
                message.topic.to_string()
            }
            Some(TopicAlias::Use(alias)) => match link.known_aliases.get(&alias) {
                Some(topic) => topic.clone(),
                None => {
                    let what = format!("on {connection}: Topic Alias {alias} means nothing");
                    return history.note(Fact::Nonsense { client, what });
                }
            },
            None => message.topic.to_string(),
        };
        let packet_id = delivery.packet_id.map_or(0, |id| id.get());
        let tag = tag_of(&message.payload, &topic);
        let qos = delivery.qos as u8;
        let known_as = self.taken.get(&packet_id).cloned().filter(|_| qos == 2);
        let refuses = qos > 0
            && known_as.is_none()
            && self.version == kedgemq::mqtt::Version::V5
            && !self.calm
            && self.rng.u32(..100) < self.temper.refuses;
        let used = match (&known_as, refuses) {
            (Some(_), _) => Use::Known,
            (None, true) => Use::Refused,
            (None, false) => Use::Taken,
        };
        if qos == 2 && used == Use::Taken {
            self.taken.insert(packet_id, tag.clone());
        }
        let v5 = self.version == kedgemq::mqtt::Version::V5;
        history.note(Fact::Arrived(Box::new(Arrival {
            client,
            connection,
            tag,
            topic,
            payload: message.payload.clone(),
            properties: v5.then(|| bytes::Bytes::copy_from_slice(&message.properties)),
            packet_id,
            qos,
            dup: delivery.dup,
            retain: delivery.retain,
            used,
            known_as,
        })));
        let reason = if refuses { self.rng.choice(REFUSALS).expect("some") } else { 0 };
        match qos {
            1 => self.will_answer(packets::ack(Kind::PubAck, packet_id, reason), now, history),
            2 => self.will_answer(packets::ack(Kind::PubRec, packet_id, reason), now, history),
            _ => {}
        }
    }

    /// Answers now or, being lazy, later, in the order of what is answered.
    fn will_answer(&mut self, answer: Packet<'static>, now: u64, history: &mut History) {
        self.link.as_mut().expect("it came on it").answers.push_back(answer);
        if self.calm || self.rng.u32(..100) >= self.temper.lazy {
            self.answer(usize::MAX, now, history);
        }
    }

    pub(super) fn answer(&mut self, count: usize, now: u64, history: &mut History) {
        for _ in 0..count {
            let Some(link) = &mut self.link else { return };
            let Some(answer) = link.answers.pop_front() else { return };
            let (client, connection) = (self.index, link.connection);
            let (kind, ack) = match &answer {
                Packet::PubAck(ack) => (Kind::PubAck, ack),
                Packet::PubRec(ack) => (Kind::PubRec, ack),
                Packet::PubComp(ack) => (Kind::PubComp, ack),
                other => unreachable!("no answer: {other:?}"),
            };
            let (packet_id, reason) = (ack.packet_id.get(), ack.reason);
            history.note(Fact::Answered { client, connection, kind, packet_id, reason });
            self.say(&answer, now);
        }
    }
}

/// What a payload begins with; an empty one has only its topic.
pub(crate) fn tag_of(payload: &[u8], topic: &str) -> Tag {
    match payload.iter().position(|byte| *byte == b'|') {
        Some(end) => String::from_utf8_lossy(&payload[..end]).into(),
        None if payload.is_empty() => format!("nothing on {topic}").into(),
        None => "no tag".into(),
    }
}
