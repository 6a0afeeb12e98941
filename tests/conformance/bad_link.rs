//! Clients on a bad radio link, and those that cannot refuse a message: none of it makes good
//! messages dead letters.

use std::time::Duration;

use kedgemq::mqtt::Packet;
use kedgemq::turn::{CloseCause, ConnectionId};

use crate::packets::*;
use crate::rig::Rig;

const PAYLOADS: [&str; 3] = ["1", "2", "3"];

/// A client of topic `a` that was sent three messages and went without a word about them.
fn with_messages(connect: &ConnectOptions, qos: u8) -> Rig {
    let mut rig = Rig::new();
    let client = rig.connect(connect.clone());
    rig.subscribe(client, "a", qos);
    let sender = rig.connect(v5("p"));
    for (n, payload) in (1..).zip(PAYLOADS) {
        match qos {
            1 => rig.publish(sender, q1(n, "a", payload)),
            _ => rig.publish(sender, q2(n, "a", payload)),
        }
    }
    rig.cut(client);
    rig
}

/// It reads all that it is sent, and shows with a PINGREQ that it does, but acknowledges nothing.
fn read(rig: &mut Rig, client: ConnectionId) {
    let got = rig.deliveries(client);
    let payloads: Vec<_> = got.iter().map(|got| got.message.payload.clone()).collect();
    assert_eq!(payloads, PAYLOADS);
    rig.send(client, Packet::PingReq);
}

/// In the end it acknowledges, and each message was there.
fn expect_all(rig: &mut Rig, connect: &ConnectOptions) {
    assert_eq!(rig.dead(), [""; 0]);
    let client = rig.connect(connect.clone());
    read(rig, client);
    assert_eq!(rig.dead(), [""; 0]);
}

/// Silent for longer than one and a half Keep Alives, ten seconds after it read.
fn time_out(rig: &mut Rig, client: ConnectionId) {
    rig.advance(Duration::from_secs(100));
    assert!(rig.is_closed(client), "its Keep Alive passed");
}

#[test]
fn a_v311_client_that_acknowledges_nothing_a_hundred_times_loses_nothing() {
    let connect = ConnectOptions { keep_alive: 10, ..v4("c").stored() };
    for qos in [1, 2] {
        let mut rig = with_messages(&connect, qos);
        for round in 0..100 {
            let client = rig.connect(connect.clone());
            read(&mut rig, client);
            match round % 5 {
                0 => time_out(&mut rig, client),
                1 => rig.close(client, CloseCause::Peer { flushed: true }), // FIN or RST.
                2 => rig.close(client, CloseCause::Peer { flushed: false }),
                3 => rig.cut(client),
                _ => {} // The next connection takes over.
            }
        }
        rig.crash();
        expect_all(&mut rig, &connect);
    }
}

#[test]
fn a_v5_client_is_charged_for_nothing_that_the_network_does() {
    let connect = ConnectOptions { keep_alive: 10, ..v5("c").stored() };
    for qos in [1, 2] {
        let mut rig = with_messages(&connect, qos);
        for round in 0..100 {
            let client = rig.connect(connect.clone());
            read(&mut rig, client);
            match round % 4 {
                0 => time_out(&mut rig, client),
                1 => rig.cut(client), // A write took too long, or the network said so.
                2 => rig.operate(|broker, now, turn| {
                    broker.handle_kick("c", now, turn);
                }),
                _ => {} // The next connection takes over.
            }
        }
        rig.crash();
        expect_all(&mut rig, &connect);
    }
}

/// A link that breaks while a message is on its way: nothing came back since, and the client had
/// no time to read it.
#[test]
fn a_v5_client_whose_link_resets_before_it_answered_is_not_charged() {
    let connect = v5("c").stored();
    let mut rig = with_messages(&connect, 1);
    for round in 0..100 {
        let client = rig.connect(connect.clone());
        assert_eq!(rig.deliveries(client).len(), PAYLOADS.len());
        rig.advance(Duration::from_secs(1));
        rig.close(client, CloseCause::Peer { flushed: round % 2 == 0 });
    }
    expect_all(&mut rig, &connect);
}

/// Whom the limit is for: a client that reads, and then dies of what it read.
#[test]
fn a_v5_client_that_crashes_twenty_times_loses_the_oldest_message_alone() {
    let connect = v5("c").stored();
    let mut rig = with_messages(&connect, 1);
    for _ in 0..20 {
        let client = rig.connect(connect.clone());
        read(&mut rig, client);
        rig.close(client, CloseCause::Peer { flushed: true });
    }
    assert_eq!(rig.dead(), ["delivery_limit c 1"]);
}
