use bytes::Bytes;

use super::*;
use crate::mqtt::QoS;
use crate::time::Timestamp;

fn message(payload: &'static [u8], expiry: Option<u32>) -> Message {
    Message {
        topic: "a/ü".into(),
        properties: Bytes::from_static(&[1, 0]).into(),
        payload: Bytes::from_static(payload),
        qos: QoS::AtMostOnce,
        retain: true,
        received: Timestamp(u64::MAX),
        expiry,
        past: None,
    }
}

fn sent() -> Sent {
    Sent {
        session: OwnerId(u64::MAX),
        ordinal: 128,
        qos: QoS::ExactlyOnce,
        subscription_ids: Some([1, u32::MAX].into()),
        pubrec_arrived: true,
    }
}

/// One of each kind, as written by its function.
fn all_kinds() -> Vec<u8> {
    let (owner, id) = (OwnerId(300), MessageId(u64::MAX));
    let packet_id = PacketId::new(u16::MAX).unwrap();
    let copy = Copy {
        owner,
        message: id,
        qos: QoS::AtLeastOnce,
        retain: true,
        subscription_ids: None,
        size: u32::MAX,
        expires: Some(Timestamp(0)),
        deliveries: 127,
        sent: Some(sent()),
    };
    let mut out = Vec::new();
    put_body(&mut out, id, &message(b"payload", Some(u32::MAX)));
    put_copy(&mut out, &copy);
    put_sent_copy(&mut out, owner, id, &sent());
    put_pubrec_arrived(&mut out, owner, id);
    put_delivery_failed(&mut out, owner, id, 9);
    put_returned(&mut out, owner, id);
    put_removed(&mut out, owner, id);
    put_received(&mut out, owner, packet_id);
    put_released(&mut out, owner, packet_id);
    put_session_ended(&mut out, owner);
    put_owner_forgotten(&mut out, owner);
    out
}

fn read_all(bytes: &[u8]) -> Result<Vec<LogRecord<'_>>, Broken> {
    let mut reader = Reader::new(bytes);
    let mut records = Vec::new();
    while !reader.is_empty() {
        records.push(LogRecord::read(&mut reader)?);
    }
    Ok(records)
}

#[test]
fn each_kind_is_read_as_it_was_written() {
    let bytes = all_kinds();
    let records = read_all(&bytes).unwrap();
    let (owner, message) = (OwnerId(300), MessageId(u64::MAX));
    let LogRecord::Message { id, body } = records[0] else {
        panic!("{:?}", records[0]);
    };
    assert_eq!(id, message);
    let read = read_body(body, &mut Shelf::new(0, &mut Vec::new())).unwrap();
    assert_eq!(read, self::message(b"payload", Some(u32::MAX)));
    let LogRecord::Queued(copy) = &records[1] else {
        panic!("{:?}", records[1]);
    };
    assert_eq!((copy.owner, copy.message, copy.size), (owner, message, u32::MAX));
    assert_eq!(copy.sent, Some(sent()));
    let sent = sent();
    let sent = LogRecord::Sent { owner, message, sent };
    let failed = LogRecord::DeliveryFailed { owner, message, deliveries: 9 };
    let (session, packet_id) = (owner, PacketId::new(u16::MAX).unwrap());
    let rest = [
        sent,
        LogRecord::PubRecArrived { owner, message },
        failed,
        LogRecord::Returned { owner, message },
        LogRecord::Removed { owner, message },
        LogRecord::Received { session, packet_id },
        LogRecord::Released { session, packet_id },
        LogRecord::SessionEnded { session },
        LogRecord::OwnerForgotten { owner },
    ];
    assert_eq!(records[2..], rest);
}

#[test]
fn a_body_is_as_long_as_it_says() {
    for payload in [0, 1, 100, 127, 128, 16_383, 16_384, 2_097_152] {
        let payload: &'static [u8] = vec![0; payload].leak();
        for expiry in [None, Some(0), Some(300)] {
            let message = message(payload, expiry);
            let mut bytes = Vec::new();
            put_message(&mut bytes, &message);
            assert_eq!(message_len(&message), bytes.len() as u64);
        }
    }
}

#[test]
fn bytes_that_are_no_record_are_found_out() {
    let bytes = all_kinds();
    let mut random = fastrand::Rng::with_seed(5);
    let whole = read_all(&bytes).unwrap().len();
    for len in 0..bytes.len() {
        // Cut in the middle of a record, or between two.
        let cut = read_all(&bytes[..len]);
        assert!(cut.is_err() || cut.is_ok_and(|records| records.len() < whole));
    }
    for _ in 0..20_000 {
        let mut wrong = bytes.clone();
        for _ in 0..random.usize(1..5) {
            let at = random.usize(..wrong.len());
            wrong[at] = random.u8(..);
        }
        // Anything but a panic or an endless read.
        for record in read_all(&wrong).unwrap_or_default() {
            if let LogRecord::Message { body, .. } = record {
                drop(read_body(body, &mut Shelf::new(0, &mut Vec::new())));
            }
        }
    }
}
