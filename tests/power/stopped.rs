//! A broker that did not run for longer than a client's Keep Alive allows silence: SIGSTOP, as a
//! machine that sleeps or swaps has it, too.

use std::time::Duration;

use kedgemq::mqtt::packet::Connect;
use kedgemq::mqtt::{QoS, Reply};

use crate::by_hand::{Hand, v5};
use crate::harness::Broker;

/// Clients, so that it is not by chance that one is heard in time.
const CLIENTS: u16 = 20;

#[test]
fn a_client_that_spoke_in_time_is_not_thrown_out_because_the_broker_was_stopped() {
    let broker = Broker::start_plain();
    let names: Vec<_> = (0..CLIENTS).map(|index| format!("client-{index}")).collect();
    let keep_alive = 1;
    let connect = |name| Hand::connect(broker.plain(), Connect { keep_alive, ..v5(name, 3600) }).0;
    let mut clients: Vec<_> = names.iter().map(|name| connect(name)).collect();
    broker.signal("STOP");
    for client in &mut clients {
        client.publish("spoke", QoS::AtLeastOnce, 1, None);
    }
    let ended = broker.log().wait_end_for(Duration::from_secs(4));
    assert!(!ended, "a stopped process cannot end");
    broker.signal("CONT");
    for client in &mut clients {
        match client.next() {
            Reply::PubAck(ack) if !ack.reason.is_error() => {}
            other => panic!("no PUBACK but {other:?}"),
        }
    }

    // Who is silent is thrown out all the same.
    let mut silent = clients.swap_remove(0);
    match silent.next() {
        Reply::Disconnect(end) => assert_eq!(end.reason.0, 0x8D),
        other => panic!("no DISCONNECT but {other:?}"),
    }
}
