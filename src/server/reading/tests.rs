use std::future::poll_fn;

use tokio::io::AsyncWriteExt;
use tokio::join;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;

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
    Batch::decode(bytes.into(), Version::V311, 1_000_000)
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
        assert_eq!((batch.used, batch.input.len()), (whole, count));
        assert!(batch.error.is_none());
    }
}

#[test]
fn what_stands_before_an_error_is_handled() {
    let bytes = [PINGREQ.to_vec(), vec![0xC1, 0]].concat();
    let batch = decode(&bytes);
    assert_eq!((batch.used, batch.input.len()), (2, 1));
    assert!(batch.error.is_some());
}

#[test]
fn only_big_payloads_are_copied_before_the_lock() {
    let bytes = [publish(SHARED_FROM), publish(SHARED_FROM + 1)].concat();
    let batch = decode(&bytes);
    let shared: Vec<bool> = batch
        .input
        .iter()
        .map(|input| match input {
            Input::Packet(Packet::Publish(publish)) => {
                matches!(publish.payload, Payload::Shared(_))
            }
            _ => panic!("two PUBLISHes that are too large for a run"),
        })
        .collect();
    assert_eq!(shared, [false, true]);
}

#[test]
fn a_full_store_stops_only_what_needs_it() {
    assert!(!decode(&PINGREQ).needs_store());
    for kind in [0x40, 0x50, 0x70] {
        assert!(!decode(&[kind, 2, 0, 1, kind, 2, 0, 2, 0xE0, 0]).needs_store());
    }
    assert!(decode(&[0x40, 2, 0, 1, 0x62, 2, 0, 1]).needs_store());
    assert!(decode(&[PINGREQ.to_vec(), publish(1)].concat()).needs_store());
}

#[test]
fn a_batch_has_the_memory_of_the_one_before() {
    let bytes = PINGREQ.repeat(100);
    let first = decode(&bytes);
    let memory = (first.input.as_ptr().addr(), first.input.capacity());
    drop(first);
    let second = decode(&bytes[..2]);
    assert_eq!((second.input.as_ptr().addr(), second.input.capacity()), memory);
    drop(second);
    drop(decode(&PINGREQ.repeat(ROOM + 1)));
    assert_eq!(decode(&[]).input.capacity(), 0, "too much to be kept");
}

/// What a connection would do with what it reads of `stream`, which comes in pieces of `piece`
/// bytes: how long each payload is, and whether it was copied.
async fn read(stream: &[u8], piece: usize) -> Vec<(usize, bool)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (half, _other) = listener.accept().await.unwrap().0.into_split();
    let (mut link, mut carry) = (Link::Plain(half), Carry::default());
    let mut payloads = Vec::new();
    let mut handle = |arrived: Arrived<'_>| {
        let batch = Batch::decode(arrived, Version::V311, 8_000_000);
        assert!(batch.error.is_none());
        let memory = arrived.bytes.as_ptr_range();
        payloads.extend(batch.input.iter().map(|input| {
            let publish = match input {
                Input::Packet(Packet::Publish(publish)) => publish.clone(),
                Input::Packet(_) | Input::Acks(_) => return (0, false),
                Input::Run(run) => run.publishes().next().unwrap(),
            };
            let payload = publish.payload.as_slice();
            assert!(payload.iter().all(|byte| *byte == b'x'));
            (payload.len(), !memory.contains(&payload.as_ptr()))
        }));
        (batch.used, ())
    };
    let write = async {
        for piece in stream.chunks(piece) {
            client.write_all(piece).await.unwrap();
            yield_now().await;
        }
    };
    let read = async {
        let mut left = stream.len();
        while left > 0 {
            let next = poll_fn(|cx| carry.poll_read(&mut link, cx, &mut handle)).await;
            let Read { count, has_more, .. } = next.unwrap().unwrap();
            left -= count;
            if has_more {
                carry.again(&mut handle);
            }
        }
    };
    join!(write, read);
    assert!(carry.bytes().is_empty());
    payloads
}

#[tokio::test]
async fn a_large_packet_is_whole_however_it_comes_and_its_payload_stays_where_it_is() {
    for large in [READ - 6, READ + 1, 3 * READ, 16 * READ, 40 * READ + 1] {
        let stream = [publish(9), publish(large), PINGREQ.to_vec(), publish(large), publish(8)];
        for piece in [SMALL + 1, READ - 1, READ + 7, 5 * READ, usize::MAX] {
            let payloads = read(&stream.concat(), piece).await;
            let lengths: Vec<usize> = payloads.iter().map(|(length, _)| *length).collect();
            assert_eq!(lengths, [9, large, 0, large, 8], "in pieces of {piece}");
            if large > READ {
                assert!(payloads.iter().all(|(_, is_copied)| !is_copied), "{large} by {piece}");
            }
        }
    }
}

#[tokio::test]
async fn a_large_packet_that_nobody_takes_stays() {
    let large = Bytes::from(publish(3 * READ));
    let mut carry = Carry(large.to_vec());
    carry.0.reserve(10 * READ);
    let refuse = |arrived: Arrived<'_>| (0, assert!(arrived.owner.is_some()));
    carry.handle_large(true, refuse);
    assert_eq!(carry.bytes(), large);
    assert!(carry.0.capacity() < large.len() + READ, "room for more would stay with a payload");
    carry.again(|arrived| (arrived.bytes.len(), ()));
    assert!(carry.bytes().is_empty());
}

#[test]
fn what_a_length_field_announces_takes_no_memory() {
    let mut carry = Carry(publish(200_000_000)[..=SMALL].to_vec());
    carry.extend(&[b'x'; 100], |_| (0, ()));
    assert!(carry.0.capacity() <= 2 * SMALL);
}
