//! Clients that keep no protocol at all: whatever they send, the broker does not fall, the store
//! is never told nonsense, and a well-behaved client is served as ever.

use std::time::Duration;

use fastrand::Rng;
use kedgemq::auth::acl::Acl;
use kedgemq::mqtt::packet::{Publish, RetainHandling, SubscriptionOptions, Will};
use kedgemq::mqtt::{Packet, ReasonCode};
use kedgemq::turn::{CloseCause, ConnectionId, StoreState};

use crate::packets::*;
use crate::rig::Rig;

const SEEDS: u64 = 150;
const STEPS: usize = 300;
const FILTERS: [&str; 8] =
    ["a", "a/#", "#", "+", "$share/g/a", "$share/g/#", "$dead/#", "$SYS/broker/version"];
const TOPICS: [&str; 6] = ["a", "a/b", "b", "$dead/x", "$SYS/x", ""];

fn connect(rng: &mut Rng) -> ConnectOptions {
    let name = format!("c{}", rng.u8(..5));
    let connect = if rng.bool() { v5(&name) } else { v4(&name) };
    let connect = if rng.bool() { connect.stored() } else { connect };
    let is_v5 = connect.version == kedgemq::mqtt::Version::V5;
    let will = rng.bool().then(|| Will {
        delay: if is_v5 { rng.u32(..20) } else { 0 },
        retain: rng.bool(),
        qos: qos(rng.u8(..3)),
        ..will("a", "will")
    });
    ConnectOptions {
        keep_alive: rng.u16(..20),
        session_expiry: connect.session_expiry.map(|_| rng.u32(..100)),
        receive_maximum: is_v5.then(|| rng.u16(1..4)),
        maximum_packet_size: (is_v5 && rng.bool()).then_some(60),
        topic_alias_maximum: if is_v5 { rng.u16(..3) } else { 0 },
        user: rng.bool().then(|| "ann".to_owned()),
        will,
        ..connect
    }
}

fn publish(rng: &mut Rng, payload: &'static str) -> Publish<'static> {
    let topic = rng.choice(TOPICS).expect("some");
    let publish = match rng.u8(..3) {
        0 => q0(topic, payload),
        1 => q1(rng.u16(1..6), topic, payload),
        _ => q2(rng.u16(1..6), topic, payload),
    };
    let publish = Publish { retain: rng.u8(..4) == 0, dup: rng.bool(), ..publish };
    let publish = if rng.u8(..4) == 0 { expiring(rng.u32(..10), publish) } else { publish };
    if topic.is_empty() || rng.u8(..4) == 0 {
        return aliased(rng.u16(1..35), publish);
    }
    publish
}

fn packet(rng: &mut Rng) -> Packet<'static> {
    let reason = ReasonCode(if rng.u8(..4) == 0 { 0x80 } else { 0 });
    // What the broker sends begins with these two identifiers, before and after a restart.
    let packet_id = rng.choice([0, 4096]).expect("two") + rng.u16(1..6);
    let options = SubscriptionOptions {
        no_local: false,
        retain_as_published: rng.bool(),
        retain_handling: rng
            .choice([RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend])
            .expect("three"),
        ..options(rng.u8(..3))
    };
    let filter = rng.choice(FILTERS).expect("some");
    match rng.u8(..18) {
        0..5 => Packet::Publish(publish(rng, "x")),
        5 => {
            Packet::Publish(publish(rng, "a payload that is too long for some of the clients here"))
        }
        6..8 => subscribe(packet_id, &[(filter, options)]),
        8 => unsubscribe(packet_id, &[filter]),
        9..12 => Packet::PubAck(refusal(packet_id, reason)),
        12..14 => Packet::PubRec(refusal(packet_id, reason)),
        14 => pubrel(rng.u16(1..6)),
        15 => pubcomp(packet_id),
        16 => Packet::PingReq,
        _ if rng.u8(..5) == 0 => disconnect(rng.u8(..2) * 4, rng.bool().then_some(5)),
        _ => Packet::PingReq,
    }
}

fn step(rig: &mut Rig, rng: &mut Rng, clients: &mut Vec<ConnectionId>) {
    let client = clients[rng.usize(..clients.len())];
    match rng.u8(..100) {
        0..70 => rig.send(client, packet(rng)),
        70..80 => clients.push(rig.open(connect(rng))),
        80..83 => rig.cut(client),
        83..85 => rig.close(client, CloseCause::Peer { flushed: rng.bool() }),
        85 => rig.hold_commits(),
        86 => rig.commit(),
        87 => rig.commit_at_once(),
        88 => rig.delay_loads(),
        89 => rig.load_at_once(),
        90 => rig.outbox_full(client, rng.bool()),
        91 => rig.crash(),
        92 => rig.wait(rng.u64(..200)),
        93 => rig.broker.set_acl(None),
        94 => {
            let acl = Acl::parse("topic readwrite a/#\nuser ann\ntopic readwrite a\n");
            rig.broker.set_acl(Some(acl.expect("a good file")));
        }
        95 => rig.store_state(StoreState::Failing),
        96 => rig.store_state(StoreState::Ready),
        _ => rig.wait(rng.u64(..3)),
    }
}

#[test]
fn whatever_clients_send_the_broker_stands() {
    for seed in 0..SEEDS {
        let mut rng = Rng::with_seed(seed);
        let mut rig = Rig::with(|settings| {
            settings.limits.queue_messages = 5;
            settings.limits.max_deliveries = 2;
            settings.limits.sys_interval = Duration::from_secs(10);
            settings.dead_letters.max_count = 20;
            settings.dead_letters.include_qos0 = seed % 2 == 0;
            settings.dead_letters.include_transient = seed % 3 == 0;
        });
        let mut clients = vec![rig.open(v5("first"))];
        for _ in 0..STEPS {
            step(&mut rig, &mut rng, &mut clients);
        }
        rig.load_at_once();
        rig.commit_at_once();
        rig.store_state(StoreState::Ready);
        rig.broker.set_acl(None);
        let good = rig.connect(v5("good").stored());
        rig.subscribe(good, "good", 2);
        rig.publish(good, q2(1, "good", "x"));
        assert_eq!(rig.lines(good), ["PUBLISH good x q2", "PUBREC 1 00"], "seed {seed}");
        assert!(rig.store.dead.len() <= 20, "seed {seed}");
    }
}
