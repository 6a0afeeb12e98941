//! Bytes that mean harm: nothing panics, and what is accepted can be written again as it was.

use fastrand::Rng;

use super::generate;
use crate::mqtt::Version::{self, V5, V311};
use crate::mqtt::codec::{client, connect_version, decode};
use crate::mqtt::packet::Packet;

const LIMIT: usize = 1 << 20;

/// Reads `bytes` as both sides would. Returns how many readings there were.
fn read(bytes: &[u8], version: Version) -> usize {
    let _ = connect_version(bytes);
    let mut read = 0;
    if let Ok(Some((packet, size))) = decode(bytes, version, LIMIT) {
        assert!(size <= bytes.len());
        read += 1;
        check_again(&packet, version);
    }
    if let Ok(Some((_, size))) = client::decode(bytes, version) {
        assert!(size <= bytes.len());
        read += 1;
    }
    read
}

/// An accepted packet, written by us, is accepted and the same.
fn check_again(packet: &Packet<'_>, version: Version) {
    let mut bytes = Vec::new();
    client::encode(packet, version, &mut bytes);
    let again = decode(&bytes, version, usize::MAX).unwrap().unwrap().0;
    assert_eq!(&again, packet);
}

#[test]
fn random_bytes() {
    let mut random = Rng::with_seed(11);
    let mut bytes = [0_u8; 48];
    for round in 0..2_000_000_u32 {
        let length = random.usize(..=bytes.len());
        random.fill(&mut bytes[..length]);
        if length > 2 && round % 4 != 0 {
            bytes[1] = (length - 2) as u8;
            let first = random.u8(1..16) << 4;
            bytes[0] = first | if [0x60, 0x80, 0xA0].contains(&first) { 2 } else { 0 };
        }
        read(&bytes[..length], if round % 2 == 0 { V5 } else { V311 });
    }
}

#[test]
fn mutated_packets() {
    let mut random = Rng::with_seed(12);
    let mut accepted = 0;
    for round in 0..16_000 {
        let version = if round % 2 == 0 { V5 } else { V311 };
        let mut bytes = Vec::new();
        if round % 3 == 0 {
            let reply = generate::server_reply(&mut random, version);
            bytes = super::encoded(&reply, version, usize::MAX);
        } else {
            client::encode(&generate::client_packet(&mut random, version), version, &mut bytes);
        }
        bytes.truncate(400);
        for _ in 0..60 {
            let mut mutated = bytes.clone();
            for _ in 0..random.usize(1..4) {
                mutate(&mut mutated, &mut random);
            }
            let other = if version == V5 { V311 } else { V5 };
            accepted += read(&mutated, version) + read(&mutated, other);
        }
    }
    assert!(accepted > 100_000, "the mutations reach behind the checks: {accepted}");
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Rng) {
    let at = random.usize(..=bytes.len().min(40));
    match random.u8(..6) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        1 if at < bytes.len() => bytes[at] = random.u8(..),
        2 if at < bytes.len() => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][random.usize(..5)],
        3 if at < bytes.len() => drop(bytes.remove(at)),
        4 if at <= bytes.len() => bytes.insert(at, random.u8(..)),
        _ => bytes.truncate(at.max(2)),
    }
    // Half of the time the lengths fit again, so that the change is looked at.
    if random.bool() && (2..130).contains(&bytes.len()) {
        bytes[1] = (bytes.len() - 2) as u8;
    }
}

#[test]
fn every_first_byte_with_every_length_of_nothing() {
    for first in 0..=255 {
        for length in 0..64 {
            let mut bytes = vec![0; length + 2];
            bytes[0] = first;
            bytes[1] = length as u8;
            read(&bytes, V5);
            read(&bytes, V311);
            bytes[2..].fill(0xFF);
            read(&bytes, V5);
            read(&bytes, V311);
        }
    }
}
