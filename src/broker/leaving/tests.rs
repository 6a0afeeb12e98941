use super::*;
use crate::broker::example;
use crate::config::Settings;
use crate::mqtt::packet::{Connect, PacketId, RetainHandling, Subscribe, SubscriptionOptions};
use crate::mqtt::{Packet, QoS};
use crate::turn::{CloseCause, ConnectionId, Load, Loaded, Turn};

const START: Timestamp = Timestamp(0);

fn broker() -> Broker {
    let mut settings = Settings::default();
    settings.limits.sys_interval = Duration::ZERO;
    Broker::new(settings, 1, START)
}

/// A client that subscribes to so many filters.
fn connect(broker: &mut Broker, count: usize, expiry: u32, turn: &mut Turn) -> ConnectionId {
    let id = ConnectionId { slot: 0, generation: 0 };
    let connect = Connect { session_expiry: Some(expiry), ..example::connect("c") };
    broker.handle_connect(id, example::anonymous(), connect, START, turn);
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    let filters: Vec<_> = (0..count).map(|n| format!("a/{n}/b")).collect();
    let filters = filters.iter().map(|filter| (&**filter, options)).collect();
    let packet_id = PacketId::new(1).unwrap();
    let subscribe = Subscribe { packet_id, subscription_id: None, filters };
    broker.handle_packet(id, &Packet::Subscribe(subscribe), START, turn);
    id
}

fn close(broker: &mut Broker, id: ConnectionId, turn: &mut Turn) {
    broker.handle_close(id, CloseCause::Peer { flushed: true }, START, turn);
}

/// What is removed, with what memory is given back, in each turn until no timer is left.
fn turns(broker: &mut Broker, turn: &mut Turn) -> Vec<(usize, usize)> {
    let mut turns = Vec::new();
    let mut last = START;
    while let Some(now) = broker.next_timeout() {
        assert!(now > last, "others have their turn");
        last = now;
        let before = (broker.subscriptions.len(), spent(broker));
        broker.handle_timeout(now, turn);
        let removed = before.0 - broker.subscriptions.len();
        turns.push((removed, before.1.saturating_sub(spent(broker))));
    }
    assert!(broker.leaving.is_done() && broker.leaving.owners.is_empty());
    assert_eq!(broker.leaving.len(), 0);
    turns
}

/// Filters that are removed, and still in memory.
fn spent(broker: &Broker) -> usize {
    broker.leaving.spent.iter().map(ExactSizeIterator::len).sum()
}

#[test]
fn many_subscriptions_go_in_slices() {
    let (mut broker, mut turn) = (broker(), Turn::default());
    let id = connect(&mut broker, 1000, 0, &mut turn);
    close(&mut broker, id, &mut turn);
    assert_eq!((broker.subscriptions.len(), broker.leaving.len()), (1000, 1000));
    let turns = turns(&mut broker, &mut turn);
    let (removed, freed): (Vec<_>, Vec<_>) = turns.into_iter().unzip();
    assert_eq!(removed, [256, 256, 256, 232, 0, 0, 0, 0]);
    assert_eq!(freed, [0, 0, 0, 0, 256, 256, 256, 232]);
    assert!(broker.subscriptions.is_empty());
}

#[test]
fn few_subscriptions_go_at_once() {
    let (mut broker, mut turn) = (broker(), Turn::default());
    let id = connect(&mut broker, SLICE, 0, &mut turn);
    close(&mut broker, id, &mut turn);
    assert!(broker.subscriptions.is_empty());
    assert_eq!(turns(&mut broker, &mut turn), []);
}

/// Faster than the slices follow: none of them has its turn.
#[test]
fn sessions_that_are_filled_and_end_again_and_again_do_not_add_up() {
    let (mut broker, mut turn) = (broker(), Turn::default());
    for _ in 0..20 {
        let id = connect(&mut broker, 1000, 0, &mut turn);
        assert!(broker.subscriptions.len() <= 1001, "{}", broker.subscriptions.len());
        assert!(spent(&broker) <= 2000, "{}", spent(&broker));
        close(&mut broker, id, &mut turn);
    }
    turns(&mut broker, &mut turn);
    assert!(broker.subscriptions.is_empty());
}

/// Whoever is done last: the router, or the dead letters, which are matched with the filters.
#[test]
fn filters_are_given_back_in_slices_when_the_dead_had_them_last() {
    let (mut broker, mut turn) = (broker(), Turn::default());
    let id = connect(&mut broker, 1000, 60, &mut turn);
    close(&mut broker, id, &mut turn);
    broker.handle_delete("c", START, &mut turn);
    broker.handle_timeout(START, &mut turn);
    let load: Load = turn.loads.pop().expect("what is left of it in the store");
    let removed: usize = turns(&mut broker, &mut turn).iter().map(|(removed, _)| removed).sum();
    assert_eq!(removed, 1000);
    let loaded = Loaded { load, copies: Vec::new(), has_more: false, soonest_expiry: None };
    broker.handle_loaded(loaded, START, &mut turn);
    assert_eq!(spent(&broker), 1000);
    let freed: Vec<_> = turns(&mut broker, &mut turn).into_iter().map(|(_, freed)| freed).collect();
    assert_eq!(freed, [256, 256, 256, 232]);
}

#[test]
fn what_is_leaving_is_not_counted() {
    let (mut broker, mut turn) = (broker(), Turn::default());
    let id = connect(&mut broker, 1000, 0, &mut turn);
    let mut told = |broker: &mut Broker| {
        broker.publish_sys(START, &mut turn);
        broker.retained.get("$SYS/broker/subscriptions/count").unwrap().payload.clone()
    };
    assert_eq!(told(&mut broker), "1000");
    close(&mut broker, id, &mut Turn::default());
    assert_eq!(told(&mut broker), "0");
    broker.leave(START);
    assert_eq!(told(&mut broker), "0");
}
