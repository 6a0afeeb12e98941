//! What is in the table while clients come and go, and messages do.

use super::*;
use crate::broker::example;
use crate::config::{Retry, Settings, ShareRule, Strategy};
use crate::mqtt::packet::{
    Ack, Connect, PacketId, Payload, Publish, RetainHandling, Subscribe, SubscriptionOptions,
    Unsubscribe,
};
use crate::mqtt::{Packet, QoS};
use crate::turn::{Action, CloseCause, DeadReason, LetterFilter, Letters, Record};

const START: Timestamp = Timestamp(0);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const WEEK: u32 = 7 * 24 * 3600;

/// A broker with its clock. Its table is empty.
struct Rig {
    broker: Broker,
    now: Timestamp,
    turn: Turn,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        settings.limits.sys_interval = Duration::ZERO;
        change(&mut settings);
        let broker = Broker::new(settings, 1, START);
        Self { broker, now: START, turn: Turn::default() }
    }

    /// A client that is sent one message at a time.
    fn connect(&mut self, slot: u32, client_id: &str, keep_alive: u16) -> ConnectionId {
        let id = ConnectionId { slot, generation: self.now.0.try_into().unwrap() };
        let connect = Connect {
            keep_alive,
            receive_maximum: 1.try_into().ok(),
            ..example::connect(client_id)
        };
        self.broker.handle_connect(id, example::anonymous(), connect, self.now, &mut self.turn);
        id
    }

    fn packet(&mut self, id: ConnectionId, packet: &Packet<'_>) {
        self.broker.handle_packet(id, packet, self.now, &mut self.turn);
    }

    fn subscribe(&mut self, id: ConnectionId, filter: &str) {
        let options = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let packet_id = PacketId::new(1).unwrap();
        let filters = vec![(filter, options)];
        let subscribe = Subscribe { packet_id, subscription_id: None, filters };
        self.packet(id, &Packet::Subscribe(subscribe));
    }

    fn publish(&mut self, id: ConnectionId, topic: &str, message_expiry: Option<u32>) {
        self.packet(id, &Packet::Publish(Publish { message_expiry, ..publish(topic) }));
    }

    /// A PUBACK for the message that is in flight.
    fn acknowledge(&mut self, id: ConnectionId, reason: ReasonCode) {
        let session = self.broker.sessions.of_connection(id).unwrap();
        let sent = session.outbound.iter().next().expect("it has a message");
        let packet_id = crate::turn::packet_id(sent.ordinal);
        self.packet(id, &Packet::PubAck(Ack { packet_id, reason, reason_string: None }));
    }

    fn in_flight(&mut self, id: ConnectionId) -> usize {
        self.broker.sessions.of_connection(id).unwrap().outbound.len()
    }

    fn close(&mut self, id: ConnectionId) {
        let cause = CloseCause::Peer { flushed: true };
        self.broker.handle_close(id, cause, self.now, &mut self.turn);
    }

    /// Time passes, with what is due in it.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.broker.next_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.broker.handle_timeout(self.now, &mut self.turn);
            self.answer();
        }
        self.now = until;
    }

    /// The letters come that are asked for.
    fn answer(&mut self) {
        for load in std::mem::take(&mut self.turn.letters) {
            let range = load.first..=load.last;
            let letters = self.turn.records.iter().filter_map(|record| match record {
                Record::Dead(letter) if range.contains(&letter.id) => Some((**letter).clone()),
                _ => None,
            });
            let mut letters: Vec<_> = letters.collect();
            let has_more = letters.len() > load.count as usize;
            letters.truncate(load.count as usize);
            let letters = Letters { load, letters, has_more };
            self.broker.handle_letters(&letters, self.now, &mut self.turn);
        }
    }

    fn timers(&self) -> usize {
        self.broker.timers.len()
    }

    fn dead(&self, reason: DeadReason) -> u64 {
        self.broker.counters.dead[reason as usize]
    }
}

fn publish(topic: &str) -> Publish<'_> {
    Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic,
        packet_id: PacketId::new(1),
        topic_alias: None,
        message_expiry: None,
        properties: (&[]).into(),
        payload: Payload::Borrowed(b"x"),
    }
}

#[test]
fn a_connection_takes_its_timers_with_it() {
    let mut rig = Rig::new(|settings| settings.limits.ack_timeout = Some(24 * HOUR));
    for second in 0..1000 {
        let id = rig.connect(0, "c", u16::MAX); // Takes over every second time.
        rig.subscribe(id, "a");
        rig.publish(id, "a", None); // What comes back is not acknowledged.
        assert_eq!(rig.timers(), 2, "its Keep Alive and its acknowledgement");
        if second % 2 == 1 {
            rig.close(id);
            assert_eq!(rig.timers(), 0);
        }
        rig.pass(SECOND);
    }
}

#[test]
fn a_connection_takes_timers_with_it_that_were_set_again() {
    let mut rig = Rig::new(|settings| settings.limits.ack_timeout = Some(40 * HOUR));
    let id = rig.connect(0, "c", u16::MAX);
    rig.subscribe(id, "a");
    for _ in 0..10 {
        rig.publish(id, "a", None);
        rig.pass(15 * HOUR);
        rig.acknowledge(id, ReasonCode::SUCCESS);
        rig.publish(id, "a", None);
        rig.pass(15 * HOUR);
        assert_eq!(rig.timers(), 2);
        rig.acknowledge(id, ReasonCode::SUCCESS);
    }
    rig.close(id);
    assert_eq!(rig.timers(), 0);
}

/// However often its time comes and goes.
#[test]
fn a_queue_has_one_timer() {
    let mut rig = Rig::new(|_| {});
    let id = rig.connect(0, "c", 0);
    rig.subscribe(id, "a");
    for _ in 0..1000 {
        rig.publish(id, "a", Some(WEEK));
        rig.publish(id, "a", Some(WEEK)); // It waits.
        rig.publish(id, "a", Some(WEEK / 2));
        assert_eq!(rig.timers(), 1);
        for _ in 0..3 {
            rig.acknowledge(id, ReasonCode::SUCCESS);
        }
        rig.packet(id, &Packet::PingReq); // The queue is no more.
        rig.pass(SECOND);
    }
    rig.close(id);
    assert_eq!(rig.timers(), 0, "the session took it with it");
}

#[test]
fn a_share_group_takes_its_timer_with_it() {
    let mut rig = Rig::new(|_| {});
    let id = rig.connect(0, "c", 0);
    for _ in 0..1000 {
        rig.subscribe(id, "$share/g/a");
        rig.publish(id, "a", Some(WEEK));
        assert_eq!(rig.timers(), 0, "nothing waits");
        rig.publish(id, "a", Some(WEEK)); // It waits.
        assert_eq!(rig.timers(), 1);
        rig.acknowledge(id, ReasonCode::SUCCESS);
        rig.acknowledge(id, ReasonCode::SUCCESS);
        let packet_id = PacketId::new(1).unwrap();
        let unsubscribe = Unsubscribe { packet_id, filters: vec!["$share/g/a"] };
        rig.packet(id, &Packet::Unsubscribe(unsubscribe));
        assert_eq!(rig.timers(), 0);
        rig.pass(SECOND);
    }
}

/// Its timer wakes for what left meanwhile.
#[test]
fn what_waits_expires_after_what_left() {
    let mut rig = Rig::new(|_| {});
    let id = rig.connect(0, "c", 0);
    rig.subscribe(id, "a");
    rig.publish(id, "a", None);
    rig.publish(id, "a", Some(10));
    rig.acknowledge(id, ReasonCode::SUCCESS);
    rig.publish(id, "a", Some(30));
    rig.publish(id, "a", Some(20));
    rig.pass(20 * SECOND - Duration::from_millis(1));
    assert_eq!(rig.dead(DeadReason::Expired), 0);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.dead(DeadReason::Expired), 1);
    rig.pass(10 * SECOND);
    assert_eq!(rig.dead(DeadReason::Expired), 2);
}

#[test]
fn what_expires_before_what_came_before_it_wakes_sooner() {
    let mut rig = Rig::new(|_| {});
    let id = rig.connect(0, "c", 0);
    rig.subscribe(id, "a");
    for message_expiry in [None, Some(20), Some(10)] {
        rig.publish(id, "a", message_expiry);
    }
    for dead in 1..=2 {
        rig.pass(10 * SECOND);
        assert_eq!(rig.dead(DeadReason::Expired), dead);
    }
}

/// Nobody had to look after it while it was with a member.
#[test]
fn what_comes_back_to_a_share_group_expires() {
    let mut rig = Rig::new(|_| {});
    let (goes, stays) = (rig.connect(0, "goes", 0), rig.connect(1, "stays", 0));
    rig.subscribe(goes, "$share/g/a");
    rig.publish(stays, "a", Some(20));
    rig.subscribe(stays, "$share/g/a");
    rig.publish(stays, "a", Some(10)); // Its window is full.
    rig.pass(15 * SECOND);
    rig.close(goes);
    assert_eq!(rig.dead(DeadReason::Expired), 0);
    rig.pass(5 * SECOND);
    assert_eq!(rig.dead(DeadReason::Expired), 1);
}

/// However often the members block it, and do not.
#[test]
fn a_share_group_by_topic_has_one_timer_for_who_holds_it_up() {
    let mut rig = Rig::new(|settings| {
        let strategy = Strategy::HashTopic { patience: HOUR };
        let filter = wildmatch::WildMatch::new("*");
        settings.sharing.rules.push(ShareRule { filter, strategy });
    });
    let (slow, quick) = (rig.connect(0, "slow", 0), rig.connect(1, "quick", 0));
    rig.subscribe(slow, "$share/g/#");
    rig.subscribe(quick, "$share/g/#");
    let topics = (0..).map(|n| format!("t{n}"));
    let mut topics = topics.skip_while(|topic| {
        rig.publish(slow, topic, None);
        let is_quick = rig.in_flight(quick) > 0;
        if is_quick {
            rig.acknowledge(quick, ReasonCode::SUCCESS);
        }
        is_quick
    });
    let topic = topics.next().unwrap();
    drop(topics);
    for _ in 0..=4096 {
        rig.publish(slow, &topic, None);
    }
    for _ in 0..1000 {
        assert_eq!(rig.timers(), 1);
        rig.pass(SECOND);
        rig.broker.handle_outbox(quick, true, rig.now, &mut rig.turn);
        rig.publish(slow, &topic, None);
        rig.broker.handle_outbox(quick, false, rig.now, &mut rig.turn);
    }
    rig.pass(HOUR - Duration::from_millis(1));
    assert_eq!(rig.in_flight(quick), 0, "it waits anew each time");
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.in_flight(quick), 1);
    for takes in [slow, quick] {
        rig.acknowledge(takes, ReasonCode::SUCCESS); // The topic goes back to who takes again.
    }
    assert_eq!((rig.timers(), rig.in_flight(quick)), (1, 0));
    rig.close(quick);
    rig.close(slow);
    assert!(rig.broker.timers.single.is_empty(), "the group took it with it");
}

#[test]
fn a_letter_takes_its_retry_with_it() {
    let mut rig = Rig::new(|settings| {
        let letters = &mut settings.dead_letters;
        letters.max_count = 10;
        let reasons = vec![DeadReason::Rejected];
        letters.retry = Retry { reasons, max: 1, backoff_min: 24 * HOUR, backoff_max: 24 * HOUR };
    });
    let id = rig.connect(0, "c", 0);
    rig.subscribe(id, "a");
    for _ in 0..1000 {
        rig.publish(id, "a", None);
        rig.acknowledge(id, ReasonCode::UNSPECIFIED_ERROR);
        rig.pass(SECOND);
    }
    assert_eq!(rig.dead(DeadReason::Rejected), 1000);
    assert_eq!(rig.timers(), 12, "those of ten letters, their age, and the summary");
}

/// However many turns pass before it is looked after.
#[test]
fn what_is_due_at_once_is_due_once() {
    let mut rig = Rig::new(|settings| settings.dead_letters.include_transient = true);
    let id = rig.connect(0, "c", 0);
    for n in 0..1000 {
        let topic = format!("{n}/a");
        rig.packet(id, &Packet::Publish(Publish { retain: true, ..publish(&topic) }));
    }
    for slot in 1..1000 {
        rig.now = rig.now + SECOND;
        rig.subscribe(id, "+/b"); // It takes several looks at what is retained.
        let ends = rig.connect(slot, "ends", 0);
        rig.close(ends);
        assert_eq!(rig.timers(), 2, "retained messages, and what it leaves");
    }
    rig.close(id);
    assert_eq!(rig.timers(), 1);
    rig.pass(SECOND);
    assert_eq!(rig.timers(), 0);
}

/// Their timers would each bring it letters.
#[test]
fn a_task_keeps_its_rate_after_others_that_were_cancelled() {
    let mut rig = Rig::new(|_| {});
    let id = rig.connect(0, "c", 0);
    rig.subscribe(id, "a");
    for _ in 0..100 {
        rig.publish(id, "a", None);
        rig.acknowledge(id, ReasonCode::UNSPECIFIED_ERROR);
    }
    let before = rig.timers();
    for _ in 0..5 {
        let task = rig.broker.task().map(|task| task.id);
        task.map(|task| rig.broker.handle_cancel(task, &mut rig.turn));
        let (action, filter) = (Action::Republish, LetterFilter::default());
        rig.broker.handle_task(action, filter, 1, rig.now, &mut rig.turn).unwrap();
        rig.pass(Duration::from_millis(1));
        assert_eq!(rig.timers(), before + 1);
    }
    rig.pass(10 * SECOND);
    assert_eq!(rig.broker.task().unwrap().done, 11, "one at once, and one a second");
}
