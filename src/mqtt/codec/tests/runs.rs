//! A run is nothing but its packets.

use fastrand::Rng;

use super::generate;
use crate::mqtt::Version::{self, V5, V31, V311};
use crate::mqtt::codec::run::COUNT_MAX;
use crate::mqtt::codec::{Decoder, Input, Run, client, decode, pass_on};
use crate::mqtt::packet::{Packet, Payload, Publish};
use crate::mqtt::{PacketId, QoS};

const LIMIT: usize = 10_000;

/// A PUBLISH that may be in a run.
fn plain<'a>(topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
    Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        topic_alias: None,
        message_expiry: None,
        properties: (&[]).into(),
        payload: Payload::Borrowed(payload),
    }
}

fn written(publishes: &[Publish<'_>], version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    for publish in publishes {
        client::encode(&Packet::Publish(publish.clone()), version, &mut bytes);
    }
    bytes
}

/// All that `bytes` begin with, and what is left.
fn read(bytes: &[u8], version: Version) -> (Vec<Input<'_>>, &[u8]) {
    let mut decoder = Decoder::new(bytes, version, LIMIT);
    let mut all = Vec::new();
    while let Ok(Some(input)) = decoder.next_input() {
        all.push(input);
    }
    (all, decoder.rest())
}

/// How many packets each input has.
fn counts(publishes: &[Publish<'_>], version: Version) -> Vec<usize> {
    let bytes = written(publishes, version);
    let count = |input: &Input<'_>| match input {
        Input::Packet(_) => 0,
        Input::Run(run) => run.count,
    };
    read(&bytes, version).0.iter().map(count).collect()
}

fn check(run: &Run<'_>) {
    let publishes: Vec<_> = run.publishes().collect();
    let mut bytes = Vec::new();
    let mut sizes = Vec::new();
    for publish in &publishes {
        assert_eq!(publish.topic, run.topic);
        let start = bytes.len();
        pass_on(publish, run.version, &mut bytes);
        sizes.push(bytes.len() - start);
    }
    assert_eq!(run.bytes, bytes, "it is what subscribers are sent");
    assert_eq!(run.count, publishes.len());
    assert_eq!(run.largest, sizes.into_iter().max().unwrap());
    let payloads = publishes.iter().map(|publish| publish.payload.as_slice().len());
    assert_eq!(run.payload, payloads.sum::<usize>());
}

/// Also before a packet that is malformed, too large, or not whole.
#[test]
fn runs_and_packets_are_what_packets_alone_would_be() {
    let mut random = Rng::with_seed(1);
    let mut runs = 0;
    for round in 0..3_000 {
        let version = [V5, V311, V31][round % 3];
        let mut bytes = Vec::new();
        for _ in 0..random.usize(1..12) {
            let packet = match random.bool() {
                true => generate::client_packet(&mut random, version),
                false => Packet::Publish(plain("a", &[b'x'; 200][..random.usize(..200)])),
            };
            client::encode(&packet, version, &mut bytes);
        }
        match random.u8(0..4) {
            0 => bytes.truncate(random.usize(..bytes.len())),
            1 => *random.choice(&mut bytes).unwrap() = random.u8(..),
            _ => {}
        }
        let mut decoder = Decoder::new(&bytes, version, LIMIT);
        let mut at = 0;
        loop {
            let input = decoder.next_input();
            let inside: Vec<Packet<'_>> = match input.clone() {
                Ok(Some(Input::Packet(packet))) => vec![packet],
                Ok(Some(Input::Run(run))) => {
                    check(&run);
                    runs += usize::from(run.count > 1);
                    run.publishes().map(Packet::Publish).collect()
                }
                Ok(None) | Err(_) => Vec::new(),
            };
            for packet in &inside {
                let (alone, size) = decode(&bytes[at..], version, LIMIT).unwrap().unwrap();
                assert_eq!(alone, *packet);
                at += size;
            }
            assert_eq!(decoder.rest(), &bytes[at..]);
            if inside.is_empty() {
                let alone = decode(&bytes[at..], version, LIMIT);
                assert_eq!(input.map(|_| ()), alone.map(|whole| assert_eq!(whole, None)));
                break;
            }
        }
    }
    assert!(runs > 300, "only {runs}");
}

#[test]
fn publishes_of_one_topic_are_a_run() {
    let (a, b) = (plain("a", b"1"), plain("a", b"a longer one"));
    for version in [V5, V311, V31] {
        assert_eq!(counts(&[a.clone(), b.clone(), a.clone()], version), [3]);
        let other = plain("b", b"1");
        assert_eq!(counts(&[a.clone(), b.clone(), other, a.clone()], version), [2, 1, 1]);
        let longer = plain("ab", b"1");
        assert_eq!(counts(&[a.clone(), longer, b.clone()], version), [1, 1, 1]);
    }
    let properties = Publish { properties: (&[1, 1]).into(), ..a.clone() };
    let both = [properties.clone(), properties, a.clone(), b.clone()];
    assert_eq!(counts(&both, V5), [2, 2]);
    assert_eq!(counts(&both, V311), [4], "it has none");
    let many = vec![a; COUNT_MAX + 1];
    assert_eq!(counts(&many, V311), [COUNT_MAX, 1]);
}

#[test]
fn what_is_not_passed_on_as_it_came_is_a_packet() {
    let plain = plain("a", b"1");
    let large = [0; 4096];
    let packet_id = PacketId::new(1);
    for (publish, version) in [
        (Publish { retain: true, ..plain.clone() }, V311),
        (Publish { qos: QoS::AtLeastOnce, packet_id, ..plain.clone() }, V311),
        (Publish { qos: QoS::ExactlyOnce, packet_id, dup: true, ..plain.clone() }, V31),
        (Publish { payload: Payload::Borrowed(&large), ..plain.clone() }, V311),
        (Publish { message_expiry: Some(1), ..plain.clone() }, V5),
        (Publish { topic_alias: std::num::NonZeroU16::new(1), ..plain.clone() }, V5),
    ] {
        let before = [plain.clone(), publish.clone(), plain.clone()];
        assert_eq!(counts(&before, version), [1, 0, 1], "{publish:?}");
    }
}
