use super::*;
use crate::broker::example;
use crate::config::Settings;
use crate::mqtt::Packet;
use crate::mqtt::packet::{Connect, PacketId, Payload, Publish, RetainHandling, Subscribe};
use crate::turn::{CloseCause, ConnectionId};

const NOW: Timestamp = Timestamp(1);

fn connect(broker: &mut Broker, slot: u32, client_id: &str, turn: &mut Turn) -> ConnectionId {
    connect_for(broker, slot, client_id, None, turn)
}

/// With a Session Expiry Interval.
fn connect_for(
    broker: &mut Broker,
    slot: u32,
    client_id: &str,
    session_expiry: Option<u32>,
    turn: &mut Turn,
) -> ConnectionId {
    let id = ConnectionId { slot, generation: 0 };
    let connect = Connect { session_expiry, ..example::connect(client_id) };
    broker.handle_connect(id, example::anonymous(), connect, NOW, turn);
    id
}

fn join(broker: &mut Broker, id: ConnectionId, turn: &mut Turn) {
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::DoNotSend,
    };
    let packet_id = PacketId::new(1).unwrap();
    let filters = vec![("$share/g/a", options)];
    let subscribe = Subscribe { packet_id, subscription_id: None, filters };
    broker.handle_packet(id, &Packet::Subscribe(subscribe), NOW, turn);
}

fn publish(broker: &mut Broker, id: ConnectionId, turn: &mut Turn) {
    let publish = Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "a",
        packet_id: PacketId::new(1),
        topic_alias: None,
        message_expiry: None,
        properties: (&[]).into(),
        payload: Payload::Borrowed(b"x"),
    };
    broker.handle_packet(id, &Packet::Publish(publish), NOW, turn);
}

#[test]
fn a_group_forgets_the_members_that_ended() {
    let (mut broker, mut turn) = (Broker::new(Settings::default(), 1, NOW), Turn::default());
    let stays = connect(&mut broker, 0, "stays", &mut turn);
    join(&mut broker, stays, &mut turn);
    for n in 1..=20 {
        let comes = connect(&mut broker, n, &n.to_string(), &mut turn);
        join(&mut broker, comes, &mut turn);
        publish(&mut broker, stays, &mut turn);
        publish(&mut broker, stays, &mut turn);
        let group = broker.groups.values().next().unwrap();
        assert_eq!(group.sent_to.len(), 2, "both got one");
        broker.handle_close(comes, CloseCause::Peer { flushed: true }, NOW, &mut turn);
    }
    let group = broker.groups.values().next().unwrap();
    assert_eq!(group.sent_to.len(), 1);
}

#[test]
fn what_waits_leaves_memory_when_the_last_member_goes() {
    let mut settings = Settings::default();
    settings.limits.in_flight = 1;
    let (mut broker, mut turn) = (Broker::new(settings, 1, NOW), Turn::default());
    let sender = connect(&mut broker, 0, "sender", &mut turn);
    let members = [1, 2].map(|n| {
        let member = connect_for(&mut broker, n, &n.to_string(), Some(60), &mut turn);
        join(&mut broker, member, &mut turn);
        member
    });
    broker.handle_outbox(members[0], true, NOW, &mut turn); // It gets none that could come back.
    for _ in 0..2 {
        publish(&mut broker, sender, &mut turn);
    }
    let has_bodies = |broker: &Broker| {
        let queue = &broker.groups.values().next().unwrap().queue;
        assert!(!queue.is_empty());
        queue.front().is_some()
    };
    for (gone, expected) in members.into_iter().zip([true, false]) {
        assert!(has_bodies(&broker));
        broker.handle_close(gone, CloseCause::Peer { flushed: true }, NOW, &mut turn);
        assert_eq!(has_bodies(&broker), expected);
    }
}
