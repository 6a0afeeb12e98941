//! What one side writes, the other reads to the same, and no part of it is a packet.

use fastrand::Rng;

use super::{context, encoded, generate};
use crate::mqtt::Reply;
use crate::mqtt::Version::{V5, V31, V311};
use crate::mqtt::codec::{
    LARGEST_PACKET, client, connect_version, decode, encode_publish_head, publish_fits,
    publish_size,
};
use crate::mqtt::packet::Packet;

#[test]
fn what_a_client_writes_is_read() {
    let mut random = Rng::with_seed(1);
    for round in 0..20_000 {
        let version = [V5, V311, V31][round % 3];
        let packet = generate::client_packet(&mut random, version);
        let mut bytes = Vec::new();
        client::encode(&packet, version, &mut bytes);
        let size = bytes.len();
        assert_eq!(decode(&bytes, version, size), Ok(Some((packet.clone(), size))));
        bytes.extend_from_slice(b"\xFF\xFF");
        assert_eq!(decode(&bytes, version, size), Ok(Some((packet.clone(), size))), "more behind");
        if let Packet::Connect(connect) = packet {
            assert_eq!(connect_version(&bytes), Some(connect.version));
        }
    }
}

#[test]
fn what_the_server_writes_is_read() {
    let mut random = Rng::with_seed(2);
    for round in 0..20_000 {
        let version = [V5, V311, V31][round % 3];
        let reply = generate::server_reply(&mut random, version);
        let bytes = encoded(&reply, version, usize::MAX);
        assert_eq!(client::decode(&bytes, version), Ok(Some((reply.clone(), bytes.len()))));
        if let Reply::Publish(delivery) = reply {
            assert_eq!(publish_size(&delivery, version), bytes.len());
            assert!(publish_fits(&delivery, version, bytes.len()));
            assert!(!publish_fits(&delivery, version, bytes.len() - 1));
            let mut head = Vec::new();
            encode_publish_head(&delivery, context(version), &mut head);
            assert_eq!([&head[..], &delivery.message.payload].concat(), bytes);
        }
    }
}

#[test]
fn the_beginning_of_a_packet_is_no_packet() {
    let mut random = Rng::with_seed(3);
    for round in 0..1_000 {
        let version = [V5, V311, V31][round % 3];
        let mut bytes = Vec::new();
        client::encode(&generate::client_packet(&mut random, version), version, &mut bytes);
        let reply = encoded(&generate::server_reply(&mut random, version), version, usize::MAX);
        for length in (0..bytes.len()).take(300) {
            assert_eq!(decode(&bytes[..length], version, LARGEST_PACKET), Ok(None));
        }
        for length in (0..reply.len()).take(300) {
            assert_eq!(client::decode(&reply[..length], version), Ok(None));
        }
    }
}

/// The same with a Remaining Length that fits, so that the cut is inside of a whole packet.
#[test]
fn a_packet_cut_inside_is_never_read_past_its_end() {
    let mut random = Rng::with_seed(4);
    let mut refused = 0;
    for round in 0..2_000 {
        let version = [V5, V311, V31][round % 3];
        let mut bytes = Vec::new();
        client::encode(&generate::client_packet(&mut random, version), version, &mut bytes);
        let body = bytes.len() - 2;
        if body >= 128 {
            continue;
        }
        for length in 0..body {
            bytes[1] = length as u8;
            match decode(&bytes, version, LARGEST_PACKET) {
                Ok(read) => assert_eq!(read.unwrap().1, 2 + length),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 10_000, "{refused}");
}
