use super::*;
use crate::broker::example;
use crate::config::Settings;
use crate::mqtt::Packet;
use crate::mqtt::packet::{Connect, PacketId, Payload, Publish};
use crate::turn::{ConnectionId, OwnerId, RecordNumber};

const NOW: Timestamp = Timestamp(1);

fn connect(broker: &mut Broker, session_expiry: u32, turn: &mut Turn) -> ConnectionId {
    let id = ConnectionId { slot: 0, generation: 0 };
    let connect = Connect { session_expiry: Some(session_expiry), ..example::connect("c") };
    broker.handle_connect(id, example::anonymous(), connect, NOW, turn);
    id
}

fn publish() -> Packet<'static> {
    Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "a",
        packet_id: PacketId::new(1),
        topic_alias: None,
        message_expiry: None,
        properties: (&[]).into(),
        payload: Payload::Borrowed(b"x"),
    })
}

fn boxes(broker: &mut Broker) -> [bool; 4] {
    let session = broker.session(OwnerId(1)); // The first.
    [
        session.inbound.present().is_some(),
        session.queue.present().is_some(),
        session.outbound.present().is_some(),
        session.more.present().is_some(),
    ]
}

#[test]
fn a_connection_that_does_nothing_has_a_session_without_boxes() {
    let (mut broker, mut turn) = (Broker::new(Settings::default(), 1, NOW), Turn::default());
    let id = connect(&mut broker, 0, &mut turn);
    broker.handle_packet(id, &Packet::PingReq, NOW, &mut turn);
    assert_eq!(boxes(&mut broker), [false; 4]);
}

#[test]
fn a_stored_session_has_its_reserved_packet_identifiers_alone() {
    let (mut broker, mut turn) = (Broker::new(Settings::default(), 1, NOW), Turn::default());
    let id = connect(&mut broker, 60, &mut turn);
    broker.handle_packet(id, &Packet::PingReq, NOW, &mut turn);
    assert_eq!(boxes(&mut broker), [false, false, true, false]);
}

#[test]
fn a_ping_gives_back_what_publishing_needed() {
    let (mut broker, mut turn) = (Broker::new(Settings::default(), 1, NOW), Turn::default());
    let id = connect(&mut broker, 0, &mut turn);
    broker.handle_packet(id, &publish(), NOW, &mut turn);
    assert!(boxes(&mut broker)[0]);
    broker.set_committed(RecordNumber(99));
    broker.handle_packet(id, &Packet::PingReq, NOW, &mut turn);
    assert_eq!(boxes(&mut broker), [false; 4]);
}
