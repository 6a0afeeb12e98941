use super::*;
use crate::session::rare::Blank;

fn in_flight(ordinal: u64) -> InFlight {
    let message = Message {
        topic: "a".into(),
        properties: Default::default(),
        payload: bytes::Bytes::new(),
        qos: QoS::AtLeastOnce,
        retain: false,
        received: Timestamp(0),
        expiry: None,
        past: None,
    };
    InFlight {
        ordinal,
        owner: OwnerId(1),
        stored: false,
        entry: Entry::new(MessageId(ordinal), Arc::new(message), QoS::AtLeastOnce, false),
        own: (QoS::AtLeastOnce, false),
        pubrec_arrived: false,
        sent_at: Timestamp(0),
        heard_before: 0,
    }
}

/// Whatever was acknowledged before, and over a round of Packet Identifiers.
#[test]
fn what_was_sent_is_found_by_its_packet_identifier() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut outbound = Outbound::blank(());
    outbound.restore_bound(65_500);
    let mut there: Vec<u64> = Vec::new();
    for _ in 0..2000 {
        if there.len() < 20 && random.bool() {
            let ordinal = outbound.next();
            outbound.restore_in_flight(in_flight(ordinal));
            there.push(ordinal);
        } else if !there.is_empty() {
            let ordinal = there.swap_remove(random.usize(..there.len()));
            let removed = outbound.remove(packet_id(ordinal)).expect("it was sent");
            assert_eq!(removed.ordinal, ordinal);
            assert!(outbound.find(packet_id(ordinal)).is_none());
        }
        for &ordinal in &there {
            assert_eq!(outbound.find(packet_id(ordinal)).map(|sent| sent.ordinal), Some(ordinal));
        }
    }
}
