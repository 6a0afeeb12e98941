use bytes::Bytes;

use super::*;
use crate::mqtt::{Message, PacketId, QoS};

const ID: ConnectionId = ConnectionId { slot: 3, generation: 1 };

fn link() -> Link {
    Link::new(ID, Version::V5, Timestamp(0))
}

fn delivery(payload: usize, expiry: Option<u32>, topic_alias: Option<TopicAlias>) -> Delivery {
    let message = Message {
        topic: "a/b".into(),
        properties: Bytes::from_static(&[1, 1]).into(),
        payload: vec![b'x'; payload].into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        received: Timestamp(0),
        expiry,
        past: None,
    };
    Delivery {
        message: Arc::new(message),
        qos: QoS::AtLeastOnce,
        packet_id: PacketId::new(7),
        dup: false,
        retain: true,
        subscription_ids: Some([9].into()),
        topic_alias,
    }
}

/// What leaves: the packets as bytes, until when they are held, and how many bytes are encoded.
fn told(turn: &mut Turn) -> (Vec<u8>, Vec<Option<RecordNumber>>, usize) {
    let encoded = turn.written.size();
    let (mut bytes, mut held) = (Vec::new(), Vec::new());
    for (until, outgoing) in turn.take_owned_output() {
        let Output::Packet(reply) = outgoing.output else {
            panic!("taken as a packet");
        };
        let context = EncodeContext { version: Version::V5, now: Timestamp(0) };
        codec::encode(&reply, context, usize::MAX, &mut bytes);
        held.push(until);
    }
    (bytes, held, encoded)
}

#[test]
fn what_may_leave_now_and_is_the_same_later_is_encoded_here() {
    let at_once = RecordNumber::default();
    let alias = Some(TopicAlias::Define(1));
    for (until, delivery, is_encoded) in [
        (at_once, delivery(10, None, None), true),
        (at_once, delivery(PAYLOAD_MAX, None, None), true),
        (at_once, delivery(PAYLOAD_MAX + 1, None, None), false),
        (at_once, delivery(10, Some(60), None), false),
        (at_once, delivery(10, None, alias), false),
        (RecordNumber(5), delivery(10, None, None), false),
    ] {
        let (mut turn, mut plain) = (Turn::default(), Turn::default());
        let (mut link, mut other) = (link(), link());
        link.publish(&mut turn, until, &delivery);
        other.say(&mut plain, until, Reply::Publish(delivery.clone()));
        assert_eq!(format!("{link:?}"), format!("{other:?}"), "it is counted for");
        let ((bytes, held, encoded), (same, as_held, none)) = (told(&mut turn), told(&mut plain));
        assert_eq!((&bytes, &held), (&same, &as_held), "{delivery:?}");
        assert_eq!((encoded > 0, none), (is_encoded, 0), "{delivery:?}");
    }
}

#[test]
fn a_turn_with_much_output_does_not_encode_all_of_it_here() {
    let (mut turn, mut link) = (Turn::default(), link());
    for _ in 0..100 {
        link.publish(&mut turn, RecordNumber::default(), &delivery(PAYLOAD_MAX, None, None));
    }
    let largest = 64 * 1024 + PAYLOAD_MAX + 100;
    assert!(turn.written.size() <= largest, "{}", turn.written.size());
    assert_eq!(turn.take_owned_output().len(), 100);
}
