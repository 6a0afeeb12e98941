use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::super::outbox::{Appended, Stencil};
use super::super::rig::{self, CONNECT, LONG, Served};
use super::*;
use crate::mqtt::Reply;
use crate::time::Timestamp;
use crate::turn::{ConnectionId, Encoded, Output, RecordNumber};

const PINGREQ: [u8; 2] = [0xC0, 0];
const PINGRESP: [u8; 2] = [0xD0, 0];

/// QoS 1 PUBLISH of 3.1.1 to "t" with Packet Identifier 1.
const PUBLISH: [u8; 7] = [0x32, 5, 0, 1, b't', 0, 1];
const PUBACK: [u8; 4] = [0x40, 2, 0, 1];

/// CONNECT of 5.0 with Clean Start and Client Identifier "c".
const CONNECT_V5: &[u8] = &[0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 1, b'c'];

async fn read(served: &mut Served, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    served.client.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// All that comes until the end of the stream.
async fn read_all(served: &mut Served) -> Vec<u8> {
    let mut bytes = Vec::new();
    served.client.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn packets_that_come_with_the_connect_are_handled_after_it() {
    let (engine, _) = rig::engine();
    let hello = [CONNECT, &PINGREQ, &PINGREQ[..1]].concat();
    let mut served = rig::serve(&engine, LONG, &hello).await;
    assert_eq!(read(&mut served, 6).await, [[0x20, 2].as_slice(), &[0, 0], &PINGRESP].concat());
    served.client.write_all(&PINGREQ[1..]).await.unwrap();
    assert_eq!(read(&mut served, 2).await, PINGRESP);
}

#[tokio::test]
async fn a_packet_in_single_bytes_is_one_packet() {
    let (engine, _) = rig::engine();
    let mut served = rig::connected(&engine).await;
    for byte in [PUBLISH.as_slice(), &PINGREQ].concat() {
        served.client.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&mut served, 6).await, [PUBACK.as_slice(), &PINGRESP].concat());
}

#[tokio::test]
async fn a_packet_larger_than_a_read_arrives_whole() {
    let (engine, _) = rig::engine();
    let mut served = rig::connected(&engine).await;
    let (length, payload) = (300_000_usize, vec![b'x'; 300_000 - 5]);
    let fixed = [0x32, 0xE0, 0xA7, 0x12];
    assert_eq!(0x60 + (0x27 << 7) + (0x12 << 14), length);
    let packet = [&fixed, &PUBLISH[2..], &payload, &PINGREQ].concat();
    served.client.write_all(&packet).await.unwrap();
    assert_eq!(read(&mut served, 6).await, [PUBACK.as_slice(), &PINGRESP].concat());
}

/// A client whose unread bytes fill several reads.
async fn flooding(engine: &Arc<Engine>) -> (Served, usize) {
    let ours = TcpSocket::new_v4().unwrap();
    ours.set_recv_buffer_size(1 << 20).unwrap();
    ours.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = ours.listen(1).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    client.write_all(CONNECT).await.unwrap();
    let (outbox, task) = rig::admitted(engine, socket, None, LONG);
    let mut served = Served { client, outbox: outbox.await.unwrap(), task };
    assert_eq!(read(&mut served, 4).await, [0x20, 2, 0, 0]);
    let publish = [0x30, 3, 0, 1, b't'];
    let sent = served.client.try_write(&publish.repeat(1 << 20)).unwrap();
    (served, sent)
}

#[tokio::test]
async fn a_client_that_never_stops_sending_gives_way_after_its_share() {
    let (engine, _) = rig::engine();
    let received = || engine.traffic().so_far().bytes_received as usize;
    let (_served, sent) = flooding(&engine).await;
    let before = received();
    while received() == before {
        yield_now().await;
    }
    let taken = received() - before;
    assert!(taken < 128 << 10, "{taken} bytes of {sent} in one go");
    assert!(sent > 192 << 10, "there was more to take");
}

#[tokio::test]
async fn what_is_no_mqtt_is_closed_without_a_word() {
    let (engine, _) = rig::engine();
    for hello in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &PINGREQ] {
        let mut served = rig::serve(&engine, LONG, hello).await;
        assert!(served.outbox.is_none());
        let mut nothing = Vec::new();
        let _ = served.client.read_to_end(&mut nothing).await; // FIN or RST.
        assert!(nothing.is_empty());
    }
}

#[tokio::test]
async fn a_connect_that_does_not_come_in_time_is_not_waited_for() {
    let (engine, _) = rig::engine();
    let mut served = rig::serve(&engine, Duration::from_millis(1), &CONNECT[..5]).await;
    assert!(served.outbox.is_none());
    assert!(read_all(&mut served).await.is_empty());
}

#[tokio::test]
async fn an_unknown_version_is_told_so_as_3_1_1_does() {
    let (engine, _) = rig::engine();
    let mut hello = CONNECT.to_vec();
    hello[8] = 3;
    let mut served = rig::serve(&engine, LONG, &hello).await;
    assert_eq!(read_all(&mut served).await, [0x20, 2, 0, 1]);
}

#[tokio::test]
async fn a_malformed_packet_is_answered_after_those_before_it() {
    let (engine, _) = rig::engine();
    let mut served = rig::serve(&engine, LONG, CONNECT_V5).await;
    let broken = [PINGREQ.as_slice(), &[0xC1, 0], &PINGREQ].concat();
    served.client.write_all(&broken).await.unwrap();
    let all = read_all(&mut served).await;
    let connack = usize::from(all[1]) + 2;
    assert_eq!(all[connack..connack + 2], PINGRESP);
    assert_eq!((all[connack + 2], all[connack + 4]), (0xE0, 0x81), "DISCONNECT, malformed packet");
    drop(served.client);
    served.task.await.unwrap();
}

#[tokio::test]
async fn a_full_store_stops_reading_but_not_writing() {
    let (engine, notes) = rig::engine();
    let mut served = rig::connected(&engine).await;
    notes.full.store(true, Ordering::SeqCst);
    served.client.write_all(&[PINGREQ, PINGREQ].concat()).await.unwrap();
    assert_eq!(read(&mut served, 4).await, [PINGRESP, PINGRESP].concat());
    served.client.write_all(&[PUBLISH.as_slice(), &PINGREQ].concat()).await.unwrap();
    let outbox = served.outbox.clone().unwrap();
    while !outbox.is_starved() {
        tokio::task::yield_now().await;
    }
    let pingresp = crate::turn::Output::Packet(crate::mqtt::Reply::PingResp);
    rig::say(&engine, outbox.id(), pingresp);
    assert_eq!(read(&mut served, 2).await, PINGRESP);
    notes.full.store(false, Ordering::SeqCst);
    engine.room();
    assert_eq!(read(&mut served, 6).await, [PUBACK.as_slice(), &PINGRESP].concat());
}

#[tokio::test]
async fn what_waits_for_the_lock_while_others_fill_the_store_is_not_taken() {
    let (engine, notes) = rig::engine();
    let mut served = rig::connected(&engine).await;
    notes.late.store(1, Ordering::SeqCst);
    notes.full.store(true, Ordering::SeqCst);
    served.client.write_all(&PUBLISH).await.unwrap();
    let outbox = served.outbox.clone().unwrap();
    let starved = async {
        while !outbox.is_starved() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, starved).await.expect("it was not taken");
    assert_eq!(notes.late.load(Ordering::SeqCst), 0, "it saw room");
    notes.full.store(false, Ordering::SeqCst);
    engine.room();
    assert_eq!(read(&mut served, 4).await, PUBACK);
    drop(served.client);
    served.task.await.unwrap();
}

#[tokio::test]
async fn a_client_that_disconnects_gets_fin_and_its_seat_is_free() {
    let (engine, _) = rig::engine();
    let mut served = rig::connected(&engine).await;
    let id = served.outbox.as_ref().unwrap().id();
    served.client.write_all(&[0xE0, 0]).await.unwrap();
    assert!(read_all(&mut served).await.is_empty());
    drop(served.client);
    served.task.await.unwrap();
    let next = rig::connected(&engine).await.outbox.unwrap().id();
    assert_eq!((next.slot, next.generation), (id.slot, id.generation + 1));
}

#[tokio::test]
async fn stopping_says_goodbye_to_all_and_admits_nobody_more() {
    let (engine, _) = rig::engine();
    let mut served = rig::serve(&engine, LONG, CONNECT_V5).await;
    let mut head = [0; 2];
    served.client.read_exact(&mut head).await.unwrap();
    read(&mut served, usize::from(head[1])).await;
    engine.say_goodbye();
    let all = read_all(&mut served).await;
    assert_eq!((all[0], all[2]), (0xE0, 0x8B), "DISCONNECT, server shutting down");
    drop(served.client);
    engine.quiet().await;
    let mut late = rig::serve(&engine, LONG, CONNECT).await;
    assert!(read_all(&mut late).await.is_empty());
}

/// What a turn of another connection does that brings this one a PINGRESP.
fn tell(outbox: &Arc<Outbox>, slot: u32, micros: u32) -> Appended {
    let mut opened = outbox.open(RecordNumber(0), Timestamp(0)).unwrap();
    let ping = Output::Packet(Reply::PingResp);
    opened.append(None, ping, &Encoded::default(), &mut Stencil::default());
    opened.close(Some(ConnectionId { slot, generation: 0 }), micros)
}

#[tokio::test]
async fn what_several_tell_at_a_time_is_written_when_all_that_are_ready_had_their_turn() {
    let (engine, _) = rig::engine();
    let mut served = rig::connected(&engine).await;
    let outbox = served.outbox.clone().unwrap();
    let first = tell(&outbox, 101, 1010);
    outbox.hand_over(first.claimed.expect("it leaves at once"), Buffer::default(), 0);
    assert_eq!(read(&mut served, 2).await, PINGRESP);
    let second = tell(&outbox, 102, 1020);
    assert!(second.claimed.is_none() && second.gather);
    outbox.wake_to_gather();
    let ready = {
        let outbox = Arc::clone(&outbox);
        tokio::spawn(async move {
            assert_eq!(outbox.unwritten(), 2, "the task lets others go first");
            assert!(tell(&outbox, 103, 1030).claimed.is_none());
        })
    };
    ready.await.unwrap();
    assert_eq!(read(&mut served, 4).await, [PINGRESP, PINGRESP].concat());
    assert!(tell(&outbox, 104, 5000).claimed.is_some(), "the right was given back");
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 200, "{}", size_of::<Connection>());
    assert!(size_of::<Outbox>() <= 400, "{}", size_of::<Outbox>());
}
