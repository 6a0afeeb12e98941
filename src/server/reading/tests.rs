use super::*;

const PINGREQ: [u8; 2] = [0xC0, 0];

/// QoS 0 PUBLISH of 3.1.1 to "t".
fn publish(payload: usize) -> Vec<u8> {
    let mut bytes = vec![0x30];
    let mut length = 3 + payload;
    loop {
        let more = if length > 127 { 0x80 } else { 0 };
        bytes.push(u8::try_from(length % 128).unwrap() | more);
        length /= 128;
        if length == 0 {
            break;
        }
    }
    bytes.extend([0, 1, b't']);
    bytes.resize(bytes.len() + payload, b'x');
    bytes
}

fn decode(bytes: &[u8]) -> Batch<'_> {
    Batch::decode(bytes, Version::V311, 1_000_000)
}

#[test]
fn whole_packets_are_taken_and_the_rest_stays() {
    let bytes = [publish(10), PINGREQ.to_vec(), publish(10)].concat();
    for end in 0..=bytes.len() {
        let batch = decode(&bytes[..end]);
        let sizes = [publish(10).len(), 2, publish(10).len()];
        let mut whole = 0;
        let mut count = 0;
        for size in sizes {
            if whole + size > end {
                break;
            }
            whole += size;
            count += 1;
        }
        assert_eq!((batch.used, batch.packets.len()), (whole, count));
        assert!(batch.error.is_none());
    }
}

#[test]
fn what_stands_before_an_error_is_handled() {
    let bytes = [PINGREQ.to_vec(), vec![0xC1, 0]].concat();
    let batch = decode(&bytes);
    assert_eq!((batch.used, batch.packets.len()), (2, 1));
    assert!(batch.error.is_some());
}

#[test]
fn only_big_payloads_are_copied_before_the_lock() {
    let bytes = [publish(SHARED_FROM), publish(SHARED_FROM + 1)].concat();
    let batch = decode(&bytes);
    let shared: Vec<bool> = batch
        .packets
        .iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => matches!(publish.payload, Payload::Shared(_)),
            _ => panic!("two PUBLISHes"),
        })
        .collect();
    assert_eq!(shared, [false, true]);
}

#[test]
fn a_full_store_stops_only_what_needs_it() {
    assert!(!decode(&PINGREQ).needs_store());
    assert!(!decode(&[0x40, 2, 0, 1, 0xE0, 0]).needs_store());
    assert!(decode(&[PINGREQ.to_vec(), publish(1)].concat()).needs_store());
}

#[test]
fn a_batch_has_the_memory_of_the_one_before() {
    let bytes = PINGREQ.repeat(100);
    let first = decode(&bytes);
    let memory = (first.packets.as_ptr().addr(), first.packets.capacity());
    drop(first);
    let second = decode(&bytes[..2]);
    assert_eq!((second.packets.as_ptr().addr(), second.packets.capacity()), memory);
    drop(second);
    drop(decode(&PINGREQ.repeat(ROOM + 1)));
    assert_eq!(decode(&[]).packets.capacity(), 0, "too much to be kept");
}
