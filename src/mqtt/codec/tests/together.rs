//! What comes together is nothing but its packets.

use fastrand::Rng;

use super::generate;
use crate::mqtt::Version::{self, V5, V31, V311};
use crate::mqtt::codec::run::COUNT_MAX;
use crate::mqtt::codec::{DecodeError, Decoder, Input, Run, client, decode, pass_on};
use crate::mqtt::packet::{Ack, Packet, Payload, Publish};
use crate::mqtt::{PacketId, QoS, ReasonCode};

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

fn plain_ack(packet_id: u16) -> Ack<'static> {
    let packet_id = PacketId::new(packet_id).unwrap();
    Ack { packet_id, reason: ReasonCode::SUCCESS, reason_string: None }
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
        Input::Packet(_) | Input::Acks(_) => 0,
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
fn what_comes_together_is_what_its_packets_alone_would_be() {
    let mut random = Rng::with_seed(1);
    let (mut runs, mut acks) = (0, 0);
    for round in 0..3_000 {
        let version = [V5, V311, V31][round % 3];
        let mut bytes = Vec::new();
        for _ in 0..random.usize(1..12) {
            let packet = match random.u8(..3) {
                0 => generate::client_packet(&mut random, version),
                1 => Packet::PubRec(plain_ack(random.u16(1..))),
                _ => Packet::Publish(plain("a", &[b'x'; 200][..random.usize(..200)])),
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
                Ok(Some(Input::Acks(all))) => {
                    acks += usize::from(all.packets().count() > 1);
                    all.packets().collect()
                }
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
    assert!(runs > 300 && acks > 300, "only {runs} and {acks}");
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

#[test]
fn plain_acknowledgements_of_one_kind_come_together() {
    let of = |kind: u8, id: u8| [kind, 2, 0, id];
    for kind in [0x40, 0x50, 0x62, 0x70] {
        let other = if kind == 0x40 { 0x50 } else { 0x40 };
        let bytes = [of(kind, 1), of(kind, 2), of(kind, 3), of(other, 4), of(kind, 5)].concat();
        for version in [V5, V311, V31] {
            let (all, rest) = read(&bytes[..bytes.len() - 1], version);
            let counts: Vec<_> = all
                .iter()
                .map(|input| match input {
                    Input::Acks(acks) => acks.packets().count(),
                    _ => 0,
                })
                .collect();
            assert_eq!(counts, [3, 1]);
            assert_eq!(rest, [kind, 2, 0], "it is not whole");
        }
        let bytes = [of(kind, 1), of(kind, 0)].concat();
        let (all, rest) = read(&bytes, V5);
        assert_eq!((all.len(), rest), (1, &of(kind, 0)[..]), "0 is no Packet Identifier");
        let mut decoder = Decoder::new(&bytes, V5, 3);
        assert_eq!(decoder.next_input(), Err(DecodeError::PacketTooLarge(4)));
    }
    let (all, _) = read(&[0x40, 3, 0, 1, 0x80, 0x40, 4, 0, 2, 0, 0], V5);
    assert!(all.iter().all(|input| matches!(input, Input::Packet(Packet::PubAck(_)))), "{all:?}");
    let (all, _) = read(&[0x6A, 2, 0, 1], V31);
    assert!(matches!(all[..], [Input::Packet(Packet::PubRel(_))]), "sent again");
}
