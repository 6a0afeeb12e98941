//! Clients of both versions. `session` keeps the protocol's state machines; here is what a client
//! does of its own accord, as its temper has it: some are lazy, refuse, vanish, begin anew, and
//! one breaks the rules.

mod cast;
mod mischief;
mod packets;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use kedgemq::mqtt::codec::client::encode;
use kedgemq::mqtt::properties::append_user_property;
use kedgemq::mqtt::{Packet, Version};

use crate::history::{Fact, History, Publication, Tag};
use crate::plan::pick;

pub(crate) use cast::cast;
pub(crate) use session::tag_of;

/// A client gives a connection up that says nothing for so long, in milliseconds.
const PATIENCE: u64 = 15_000;
/// It asks whether somebody is there after so long.
const SILENCE: u64 = 4_000;
/// Messages that it begins to send before the first is acknowledged.
const WINDOW: usize = 8;

/// What a client wants of the network.
pub(crate) enum Deed {
    /// A new connection; an old one is left alone, open.
    Open,
    Send(Vec<u8>),
    Fin,
    Reset,
    /// It neither reads nor says anything any more.
    Vanish,
}

/// What a client is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Temper {
    /// Its session outlives its connections.
    pub(crate) stored: bool,
    /// How many of a hundred deeds are messages.
    pub(crate) publishes: u32,
    /// How many of a hundred messages it leaves unanswered for a while.
    pub(crate) lazy: u32,
    /// How many of a hundred messages it refuses.
    pub(crate) refuses: u32,
    /// Begins anew, lets its session expire, unsubscribes.
    pub(crate) fickle: bool,
    /// Breaks rules.
    pub(crate) rascal: bool,
}

/// A subscription that a client wants.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    filter: &'static str,
    qos: u8,
    no_local: bool,
}

/// A message on its way to the broker.
struct Out {
    publication: Arc<Publication>,
    packet_id: u16,
    expiry: Option<u32>,
    pubrec_arrived: bool,
    was_sent: bool,
    /// Whether it was sent on this connection.
    sent_here: bool,
}

enum Request {
    Subscribe(&'static str),
    Unsubscribe,
}

/// The client's side of one connection.
struct Link {
    connection: usize,
    accepted: bool,
    /// Session Expiry Interval in seconds.
    expiry: u32,
    opened: u64,
    input: Vec<u8>,
    answers: VecDeque<Packet<'static>>,
    requests: BTreeMap<u16, Request>,
    /// The broker's Receive Maximum.
    quota: usize,
    alias_maximum: u16,
    /// Topics that the client gave an alias.
    aliases: Vec<String>,
    /// Topics that the broker gave an alias.
    known_aliases: BTreeMap<u16, String>,
    said: u64,
    asked: Option<u64>,
}

/// One client.
pub(crate) struct Client {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) next_act: u64,
    /// When it reads again.
    pub(crate) reads_from: u64,
    pub(crate) deeds: Vec<Deed>,
    pub(crate) temper: Temper,
    pub(crate) wishes: Vec<Wish>,
    pub(crate) version: Version,
    rng: Rng,
    calm: bool,
    link: Option<Link>,
    outgoing: VecDeque<Out>,
    /// QoS 2 Packet Identifiers between PUBLISH and PUBREL.
    taken: BTreeMap<u16, Tag>,
    subscribed: BTreeSet<&'static str>,
    last_packet_id: u16,
    published: u32,
    /// It asked for a Clean Start and did not hear whether it got one; or it cannot know whether
    /// the session that it will find is the one that it knows.
    must_begin_anew: bool,
    /// The shortest Session Expiry Interval since the last CONNACK, in seconds.
    expiry: u32,
}

/// A session with a shorter expiry may end between two connections.
const SAFE_EXPIRY: u32 = 3600;

impl Client {
    pub(crate) fn new(
        index: usize,
        name: &str,
        version: Version,
        temper: Temper,
        wishes: Vec<Wish>,
        mut rng: Rng,
    ) -> Self {
        Self {
            index,
            name: name.to_owned(),
            next_act: rng.u64(..500),
            reads_from: 0,
            deeds: Vec::new(),
            temper,
            wishes,
            version,
            rng,
            calm: false,
            link: None,
            outgoing: VecDeque::new(),
            taken: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            last_packet_id: 0,
            published: 0,
            must_begin_anew: false,
            expiry: u32::MAX,
        }
    }

    /// From now on it only finishes what it began.
    pub(crate) fn calm_down(&mut self, now: u64) {
        self.calm = true;
        self.reads_from = self.reads_from.min(now);
        self.next_act = self.next_act.min(now);
    }

    /// Whether all that it began is finished, else what is not.
    pub(crate) fn unfinished(&self) -> Option<String> {
        let Some(link) = self.link.as_ref().filter(|link| link.accepted) else {
            return Some(format!("{} is not connected", self.name));
        };
        if let Some(out) = self.outgoing.front() {
            return Some(format!(
                "{} waits for {} «{}»",
                self.name, out.packet_id, out.publication.tag
            ));
        }
        let done = link.answers.is_empty() && link.requests.is_empty();
        let wished = self.wishes.iter().all(|wish| self.subscribed.contains(wish.filter));
        (!done || !wished).then(|| format!("{} waits for the answer to a request", self.name))
    }

    /// Does something. A new connection will be number `fresh`.
    pub(crate) fn act(&mut self, now: u64, fresh: usize, history: &mut History) {
        let pause = if self.calm { self.rng.u64(20..200) } else { self.rng.u64(50..1500) };
        self.next_act = now + pause;
        let Some(link) = &self.link else {
            if self.calm || self.rng.u32(..10) < 6 {
                self.connect(now, fresh, history);
            }
            return;
        };
        let is_late = link.asked.is_some_and(|since| now - since > PATIENCE)
            || (!link.accepted && now - link.opened > PATIENCE);
        if is_late {
            self.drop_link(Deed::Reset, "no answer", history);
            return;
        }
        if !link.accepted {
            return;
        }
        if now - link.said > SILENCE {
            self.say(&Packet::PingReq, now);
            let link = self.link.as_mut().expect("seen above");
            link.asked = link.asked.or(Some(now));
        }
        if self.calm {
            self.subscribe_wishes(now, history);
            self.answer(usize::MAX, now, history);
        } else {
            self.act_at_random(now, fresh, history);
        }
    }

    fn act_at_random(&mut self, now: u64, fresh: usize, history: &mut History) {
        let Temper { publishes, fickle, rascal, .. } = self.temper;
        let dice = self.rng.u32(..1000);
        match dice {
            0..40 => self.leave(now, history),
            40..70 => self.drop_link(Deed::Reset, "reset", history),
            70..85 => {
                self.drop_link(Deed::Vanish, "vanished", history);
                self.next_act = now + self.rng.u64(1_000..20_000);
            }
            85..100 => {
                self.drop_link(Deed::Vanish, "taken over by itself", history);
                self.connect(now, fresh, history);
            }
            100..115 => self.reads_from = now + self.rng.u64(500..12_000),
            115..160 if fickle => self.unsubscribe(now, history),
            160..230 if rascal => self.misbehave(now, history),
            _ => {
                if self.rng.u32(..3) > 0 {
                    self.subscribe_wishes(now, history);
                }
                let some = self.rng.usize(..4);
                self.answer(some, now, history);
                if self.rng.u32(..100) < publishes {
                    for _ in 0..self.rng.u32(1..5) {
                        self.publish(now, history);
                    }
                }
            }
        }
    }

    fn connect(&mut self, now: u64, fresh: usize, history: &mut History) {
        let anew = self.temper.fickle && !self.calm && self.rng.u32(..6) == 0;
        self.must_begin_anew |= anew;
        let clean = self.must_begin_anew || !self.temper.stored;
        let will = (!self.calm && self.rng.u32(..3) == 0).then(|| self.new_message(true));
        let connect = packets::Connecting {
            version: self.version,
            clean,
            name: &self.name,
            keep_alive: pick(&mut self.rng, &[0, 6, 20]),
            expiry: match (self.version, self.temper.stored) {
                (Version::V311 | Version::V31, _) => None,
                (_, false) => None,
                _ if self.temper.fickle && !self.calm => {
                    Some(pick(&mut self.rng, &[0, 2, 10, 3600, 3600, 3600]))
                }
                _ => Some(pick(&mut self.rng, &[3600, u32::MAX])),
            },
            window: pick(&mut self.rng, &[None, Some(1), Some(2), Some(5)]),
            size: (self.temper.refuses > 0 && !self.calm && self.rng.u32(..4) == 0).then_some(300),
            aliases: pick(&mut self.rng, &[0, 0, 4]),
            will: will.as_ref().map(|(publication, _)| packets::Willing {
                publication,
                delay: pick(&mut self.rng, &[0, 0, 2, 8]),
            }),
        };
        let expiry = match (self.version, clean) {
            (Version::V311 | Version::V31, true) => 0,
            (Version::V311 | Version::V31, false) => u32::MAX,
            _ => connect.expiry.unwrap_or(0),
        };
        let v5 = self.version == Version::V5;
        let window = usize::from(connect.window.filter(|_| v5).unwrap_or(u16::MAX));
        let mut bytes = Vec::new();
        encode(&connect.packet(), self.version, &mut bytes);
        let (client, connection) = (self.index, fresh);
        let will_delay = connect.will.as_ref().map_or(0, |will| if v5 { will.delay } else { 0 });
        let will = will.map(|(publication, _)| publication);
        let connect = Fact::Connect { client, connection, clean, expiry, window, will, will_delay };
        history.note(connect);
        self.deeds.push(Deed::Open);
        self.deeds.push(Deed::Send(bytes));
        self.link = Some(Link {
            connection,
            accepted: false,
            expiry,
            opened: now,
            input: Vec::new(),
            answers: VecDeque::new(),
            requests: BTreeMap::new(),
            quota: WINDOW,
            alias_maximum: 0,
            aliases: Vec::new(),
            known_aliases: BTreeMap::new(),
            said: now,
            asked: None,
        });
    }

    fn leave(&mut self, now: u64, history: &mut History) {
        let Some(link) = &self.link else {
            return;
        };
        let connection = link.connection;
        let will = self.rng.u32(..3) == 0;
        let ends = self.temper.fickle && self.version == Version::V5 && self.rng.u32(..3) == 0;
        let expiry = ends.then_some(0);
        self.expiry = self.expiry.min(expiry.unwrap_or(u32::MAX));
        history.note(Fact::Left { client: self.index, connection, expiry });
        self.say(&packets::disconnect(will && self.version == Version::V5, expiry), now);
        self.drop_link(Deed::Fin, "left", history);
        self.next_act = now + self.rng.u64(100..6_000);
    }

    /// It does not look at its connection any more.
    fn drop_link(&mut self, deed: Deed, how: &'static str, history: &mut History) {
        if let Some(link) = self.link.take() {
            history.note(Fact::Closed { client: self.index, connection: link.connection, how });
            self.deeds.push(deed);
            self.expiry = self.expiry.min(link.expiry);
            if !link.accepted && self.expiry < SAFE_EXPIRY {
                self.must_begin_anew = true;
            } else if link.accepted && link.expiry == 0 {
                self.forget_session(history); // It ends with its connection.
            }
        }
        for out in &mut self.outgoing {
            out.sent_here = false;
        }
    }

    /// The connection ended.
    pub(crate) fn closed(&mut self, connection: usize, history: &mut History) {
        if self.link.as_ref().is_some_and(|link| link.connection == connection) {
            self.drop_link(Deed::Reset, "closed", history);
        }
    }

    /// A new message, with its Message Expiry Interval.
    fn new_message(&mut self, is_will: bool) -> (Arc<Publication>, Option<u32>) {
        self.published += 1;
        let kind = if is_will { "w" } else { "m" };
        let tag: Tag = format!("{kind}{}-{}", self.index, self.published).into();
        let retain = !is_will && self.temper.stored && self.rng.u32(..8) == 0;
        let topics = if retain { ["r/x", "r/y"] } else { ["t/a", "t/b"] };
        let topic = pick(&mut self.rng, &topics).to_owned();
        let clears = retain && self.rng.u32(..6) == 0;
        let mut payload = format!("{tag}|").into_bytes();
        let len = if self.rng.u32(..12) == 0 { 1_500 } else { self.rng.usize(..120) };
        payload.extend((0..len).map(|_| self.rng.u8(..)));
        if clears {
            payload.clear();
        }
        let v5 = self.version == Version::V5;
        let mut properties = Vec::new();
        if v5 && self.rng.bool() {
            append_user_property(&mut properties, "tag", &tag);
        }
        let expires = v5 && !retain && !self.calm && self.rng.u32(..8) == 0;
        let publication = Publication {
            tag,
            topic,
            qos: pick(&mut self.rng, &[0, 1, 1, 2, 2]),
            retain,
            payload: payload.into(),
            properties: Bytes::from(properties),
            publisher: self.index,
            is_will,
            expiry: expires.then(|| self.rng.u32(1..8)).filter(|_| !is_will),
        };
        let publication = Arc::new(publication);
        (publication.clone(), publication.expiry)
    }

    fn publish(&mut self, now: u64, history: &mut History) {
        if self.outgoing.len() >= WINDOW + 4 {
            return;
        }
        let (publication, expiry) = self.new_message(false);
        if publication.qos == 0 {
            let topic = publication.topic.clone();
            self.publish_at_once(publication, expiry, now, history);
            for _ in 0..self.rng.usize(..4) {
                let (other, expiry) = self.new_message(false);
                let (qos, topic) = (0, topic.clone());
                let other = Publication { qos, topic, ..Publication::clone(&other) };
                if !other.retain {
                    self.publish_at_once(other.into(), expiry, now, history);
                }
            }
            return;
        }
        let packet_id = self.new_packet_id();
        self.outgoing.push_back(Out {
            publication,
            packet_id,
            expiry,
            pubrec_arrived: false,
            was_sent: false,
            sent_here: false,
        });
        self.flush(now, history);
    }

    /// Publishes at QoS 0.
    fn publish_at_once(
        &mut self,
        publication: Arc<Publication>,
        expiry: Option<u32>,
        now: u64,
        history: &mut History,
    ) {
        let Some(link) = &self.link else { return };
        let (client, connection) = (self.index, link.connection);
        let packet = packets::publish(&publication, 0, false, expiry, None);
        self.say(&packet, now);
        let (packet_id, dup) = (0, false);
        history.note(Fact::Published { client, connection, packet_id, dup, publication });
    }

    /// Subscribes to what it wants and has not.
    fn subscribe_wishes(&mut self, now: u64, history: &mut History) {
        let Some(link) = self.link.as_ref().filter(|link| link.requests.is_empty()) else {
            return;
        };
        let connection = link.connection;
        let missing = self.wishes.iter().find(|wish| !self.subscribed.contains(wish.filter));
        let Some(wish) = missing.cloned() else {
            return;
        };
        let packet_id = self.new_packet_id();
        let Wish { filter, qos, no_local } = wish;
        let no_local = no_local && self.version == Version::V5;
        self.say(&packets::subscribe(packet_id, filter, qos, no_local), now);
        let link = self.link.as_mut().expect("seen above");
        link.requests.insert(packet_id, Request::Subscribe(filter));
        let (client, filter) = (self.index, filter.to_owned());
        history.note(Fact::Subscribe { client, connection, packet_id, filter, qos, no_local });
    }

    fn unsubscribe(&mut self, now: u64, history: &mut History) {
        let Some(link) = self.link.as_ref().filter(|link| link.requests.is_empty()) else {
            return;
        };
        let connection = link.connection;
        let Some(&filter) = self.subscribed.first() else {
            return;
        };
        self.subscribed.remove(filter);
        let packet_id = self.new_packet_id();
        self.say(&packets::unsubscribe(packet_id, filter), now);
        let link = self.link.as_mut().expect("seen above");
        link.requests.insert(packet_id, Request::Unsubscribe);
        let (client, filter) = (self.index, filter.to_owned());
        history.note(Fact::Unsubscribe { client, connection, packet_id, filter });
    }

    fn say(&mut self, packet: &Packet<'_>, now: u64) {
        let Some(link) = &mut self.link else {
            return;
        };
        link.said = now;
        let mut bytes = Vec::new();
        encode(packet, self.version, &mut bytes);
        self.deeds.push(Deed::Send(bytes));
    }

    /// The next one after the last that is not in use.
    fn new_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id % 30_000 + 1;
            let id = self.last_packet_id;
            let requests = self.link.as_ref().map(|link| &link.requests);
            let is_free = self.outgoing.iter().all(|out| out.packet_id != id)
                && requests.is_none_or(|requests| !requests.contains_key(&id));
            if is_free {
                return id;
            }
        }
    }
}
