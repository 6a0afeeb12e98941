use std::sync::atomic::Ordering;

use tokio::io::AsyncReadExt;

use super::super::rig::{self, OUTBOX, publish, say, say_held};
use super::super::work::INLINE_WRITES;
use super::*;
use crate::mqtt::reply::{Ack, ConnAck};
use crate::mqtt::{PacketId, QoS, ReasonCode, Reply, Version};
use crate::turn::{Output, Record};

const PINGRESP: [u8; 2] = [0xD0, 0];

fn puback(packet_id: u16) -> Reply {
    Reply::PubAck(Ack {
        packet_id: PacketId::new(packet_id).unwrap(),
        reason: ReasonCode::SUCCESS,
        reason_string: None,
    })
}

fn connack() -> Reply {
    Reply::ConnAck(Box::new(ConnAck {
        session_present: false,
        reason: ReasonCode::SUCCESS,
        session_expiry: None,
        receive_maximum: None,
        maximum_packet_size: None,
        assigned_client_id: None,
        maximum_qos: None,
        retain_available: true,
        wildcard_subscriptions: true,
        subscription_identifiers: true,
        shared_subscriptions: true,
        topic_alias_maximum: 0,
        server_keep_alive: None,
        reason_string: None,
    }))
}

fn pingresp() -> Output {
    Output::Packet(Reply::PingResp)
}

async fn read(client: &mut tokio::net::TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn what_may_leave_is_written_by_the_end_of_the_turn() {
    let (engine, notes) = rig::engine();
    let (mut client, outbox) = rig::seat(&engine).await;
    say(&engine, outbox.id(), pingresp());
    assert!(outbox.is_flushed());
    assert_eq!(read(&mut client, 2).await, PINGRESP);
    assert!(notes.submitted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_connection_gets_its_own_in_the_order_of_the_decisions() {
    let (engine, _) = rig::engine();
    let (mut one, first) = rig::seat(&engine).await;
    let (mut other, second) = rig::seat(&engine).await;
    let gone = ConnectionId { generation: 7, ..second.id() };
    for _ in 0..2 {
        engine.turn(By::Server, |step| {
            step.call(|_, _, turn| {
                for number in 1..4 {
                    turn.send(first.id(), Output::Packet(puback(number)));
                    turn.send(gone, pingresp());
                    turn.send(second.id(), Output::Packet(puback(10 * number)));
                }
            });
        });
        assert_eq!(read(&mut one, 12).await, [0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 3]);
        assert_eq!(read(&mut other, 12).await, [0x40, 2, 0, 10, 0x40, 2, 0, 20, 0x40, 2, 0, 30]);
    }
}

/// A PUBLISH of 3.1.1, its topic `t`, encoded in the turn.
fn written(turn: &mut Turn, payload: u8) -> Output {
    let encode = |bytes: &mut Vec<u8>| bytes.extend([0x30, 4, 0, 1, b't', payload]);
    Output::Written(turn.written.publish(Version::V311, QoS::AtMostOnce, encode))
}

#[tokio::test]
async fn what_the_core_encoded_overtakes_no_connack() {
    let (engine, _) = rig::engine();
    let served = rig::connected(&engine).await;
    let (mut client, task) = (served.client, served.task);
    let id = served.outbox.unwrap().id();
    let mut number = RecordNumber::default();
    engine.turn(By::Server, |step| {
        step.call(|_, _, turn| {
            let first = written(turn, b'0');
            turn.send(id, first);
            number = turn.record(Record::Marks(crate::turn::Marks::default()));
            turn.hold(number, id, Output::Packet(connack()));
            let second = written(turn, b'1');
            turn.send(id, second);
        });
        step.call(|_, _, turn| {
            assert!(turn.written.is_empty(), "what is appended is not needed any more");
            let third = written(turn, b'2');
            turn.send(id, third);
        });
    });
    assert_eq!(read(&mut client, 6).await, [0x30, 4, 0, 1, b't', b'0']);
    engine.set_committed(number);
    let publishes = [0x30, 4, 0, 1, b't', b'1', 0x30, 4, 0, 1, b't', b'2'];
    assert_eq!(read(&mut client, 16).await, [&[0x20, 2, 0, 0][..], &publishes].concat());
    drop(client);
    task.await.unwrap();
}

#[tokio::test]
async fn acknowledgements_that_the_core_encoded_wait_for_their_record() {
    let (engine, _) = rig::engine();
    let served = rig::connected(&engine).await;
    let (mut client, task) = (served.client, served.task);
    let id = served.outbox.unwrap().id();
    let mut number = RecordNumber::default();
    engine.turn(By::Server, |step| {
        step.call(|_, _, turn| {
            for packet_id in [1, 2] {
                number = turn.record(Record::Marks(crate::turn::Marks::default()));
                let ack = turn.written.ack([0x40, 2, 0, packet_id]);
                turn.hold_written(number, id, ack);
            }
            let ack = turn.written.ack([0x40, 2, 0, 3]);
            turn.send_written(id, ack); // Needs no record, but is not the first.
            turn.send(id, pingresp());
        });
    });
    assert_eq!(read(&mut client, 2).await, PINGRESP);
    engine.set_committed(number);
    assert_eq!(read(&mut client, 12).await, [0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 3]);
    drop(client);
    task.await.unwrap();
}

#[tokio::test]
async fn what_is_held_waits_for_its_record_and_keeps_its_order() {
    let (engine, notes) = rig::engine();
    let served = rig::connected(&engine).await;
    let (mut client, task) = (served.client, served.task);
    let id = served.outbox.unwrap().id();
    let first = say_held(&engine, id, puback(1));
    let second = say_held(&engine, id, puback(2));
    say(&engine, id, Output::Packet(puback(3)));
    say(&engine, id, pingresp());
    assert_eq!(read(&mut client, 2).await, PINGRESP);
    let submitted: Vec<_> = {
        let submitted = notes.submitted.lock().unwrap();
        submitted.iter().map(|turn| (turn.records.len(), turn.last, turn.wanted)).collect()
    };
    assert_eq!(submitted, [(1, first, true), (1, second, true), (0, second, true)]);
    engine.set_committed(first);
    assert_eq!(read(&mut client, 4).await, [0x40, 2, 0, 1]);
    say(&engine, id, pingresp());
    assert_eq!(read(&mut client, 2).await, PINGRESP);
    engine.set_committed(second);
    assert_eq!(read(&mut client, 8).await, [0x40, 2, 0, 2, 0x40, 2, 0, 3]);
    drop(client);
    task.await.unwrap();
}

#[tokio::test]
async fn what_waits_for_a_record_on_disk_leaves_at_once() {
    let (engine, _) = rig::engine();
    let (mut client, outbox) = rig::seat(&engine).await;
    engine.set_committed(RecordNumber(1));
    say_held(&engine, outbox.id(), puback(1));
    assert_eq!(read(&mut client, 4).await, [0x40, 2, 0, 1]);
}

#[tokio::test]
async fn a_commit_between_the_decision_and_the_list_is_not_missed() {
    let (engine, _) = rig::engine();
    let (mut client, outbox) = rig::seat(&engine).await;
    engine.turn(By::Server, |step| {
        step.call(|_, _, turn| {
            let number = turn.record(Record::Marks(crate::turn::Marks::default()));
            turn.hold(number, outbox.id(), Output::Packet(puback(1)));
        });
        engine.set_committed(RecordNumber(1)); // It stands in no list yet.
    });
    assert_eq!(read(&mut client, 4).await, [0x40, 2, 0, 1]);
}

#[tokio::test]
async fn close_drops_what_waits_and_sends_fin_after_the_rest() {
    let (engine, _) = rig::engine();
    let served = rig::connected(&engine).await;
    let (mut client, task) = (served.client, served.task);
    let id = served.outbox.unwrap().id();
    let number = say_held(&engine, id, puback(1));
    engine.turn(By::Server, |step| {
        step.call(|_, _, turn| {
            turn.send(id, pingresp());
            turn.send(id, Output::Close);
            turn.send(id, pingresp());
        });
    });
    engine.set_committed(number);
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, PINGRESP);
    drop(client);
    task.await.unwrap();
    say(&engine, id, pingresp()); // Finds nobody.
}

#[tokio::test]
async fn a_socket_that_takes_no_more_is_the_tasks_business() {
    let (engine, _) = rig::engine();
    let served = rig::connected(&engine).await;
    let (mut client, task) = (served.client, served.task);
    let outbox = served.outbox.unwrap();
    let mut sent = 0;
    while outbox.unwritten() < 10 * OUTBOX {
        say(&engine, outbox.id(), publish(vec![7; OUTBOX]));
        say(&engine, outbox.id(), pingresp());
        sent += 1;
    }
    assert_eq!(outbox.take_fullness(), None, "the core knows that it is full");
    let head = 7; // Fixed header with a length of three bytes, and the topic.
    for _ in 0..sent {
        let packet = read(&mut client, head + OUTBOX + 2).await;
        assert_eq!(packet[0], 0x30);
        assert!(packet[head..head + OUTBOX].iter().all(|byte| *byte == 7));
        assert_eq!(packet[head + OUTBOX..], PINGRESP);
    }
    assert!(!outbox.fullness_changed(), "the core knows that it drained");
    drop(client);
    task.await.unwrap();
}

#[tokio::test]
async fn many_writes_of_one_turn_are_left_to_the_tasks() {
    let (engine, _) = rig::engine();
    let mut seats = Vec::new();
    for _ in 0..INLINE_WRITES + 3 {
        seats.push(rig::seat(&engine).await);
    }
    engine.turn(By::Server, |step| {
        step.call(|_, _, turn| {
            for (_, outbox) in &seats {
                turn.send(outbox.id(), pingresp());
            }
        });
    });
    let woken = seats.iter().filter(|(_, outbox)| outbox.take_signal()).count();
    assert_eq!(woken, 3);
    let written = seats.iter().filter(|(_, outbox)| outbox.is_flushed()).count();
    assert_eq!(written, INLINE_WRITES);
}

#[tokio::test]
async fn who_waits_for_room_is_woken_once_there_is_some() {
    let (engine, notes) = rig::engine();
    let (_client, outbox) = rig::seat(&engine).await;
    assert!(!engine.must_wait(&outbox));
    notes.full.store(true, Ordering::SeqCst);
    assert!(engine.must_wait(&outbox));
    assert!(engine.must_wait(&outbox));
    assert!(!outbox.take_signal());
    notes.full.store(false, Ordering::SeqCst);
    engine.room();
    assert!(outbox.take_signal());
    engine.room();
    assert!(!outbox.take_signal());
}
