use super::*;
use crate::config::Settings;
use crate::mqtt::QoS;
use crate::turn::Copy;

const NOW: Timestamp = Timestamp(1);

/// Of a copy whose message is on disk only.
fn death(owner: u64, message: u64, reason: DeadReason) -> Death {
    let copy = Copy {
        owner: OwnerId(owner),
        message: MessageId(message),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: None,
        size: 10,
        expires: None,
        deliveries: 0,
        sent: None,
    };
    Death::new(OwnerId(owner), true, Entry::restored(copy), reason)
}

fn broker() -> Broker {
    Broker::new(Settings::default(), 1, NOW)
}

/// Owner and number of copies of each batch.
fn batches(broker: &Broker) -> Vec<(u64, usize)> {
    let batches = broker.doomed.batches.iter();
    batches.map(|batch| (batch.owner.0, batch.copies.len())).collect()
}

#[test]
fn copies_of_many_owners_that_die_in_turn_wait_in_one_batch_for_each() {
    let mut broker = broker();
    for message in 1..=3 {
        for owner in 1..=200 {
            broker.doom(death(owner, message, DeadReason::Rejected), "name".into(), NOW);
        }
    }
    assert_eq!(batches(&broker), (1..=200).map(|owner| (owner, 3)).collect::<Vec<_>>());
}

#[test]
fn a_batch_has_one_reason_and_the_order_of_the_messages() {
    let mut broker = broker();
    let deaths = [
        (5, DeadReason::Rejected),
        (4, DeadReason::Rejected),
        (6, DeadReason::TooLarge),
        (7, DeadReason::TooLarge),
    ];
    for (message, reason) in deaths {
        broker.doom(death(1, message, reason), "name".into(), NOW);
        broker.doom(death(2, 1, DeadReason::Rejected), "name".into(), NOW);
    }
    let of_first: Vec<_> = batches(&broker).into_iter().filter(|(owner, _)| *owner == 1).collect();
    assert_eq!(of_first, [(1, 1), (1, 1), (1, 2)]);
}

#[test]
fn a_batch_that_is_gone_is_not_added_to() {
    let mut broker = broker();
    for owner in [1, 2, 1, 3] {
        broker.doom(death(owner, 1, DeadReason::Rejected), "name".into(), NOW);
    }
    assert_eq!(batches(&broker), [(1, 1), (2, 1), (1, 1), (3, 1)]);
    broker.doomed.pop();
    broker.doom(death(1, 2, DeadReason::Rejected), "name".into(), NOW);
    assert_eq!(batches(&broker), [(2, 1), (1, 2), (3, 1)]);
    while broker.doomed.pop().is_some() {}
    assert!(broker.doomed.newest.is_empty());
    broker.doom(death(1, 3, DeadReason::Rejected), "name".into(), NOW);
    assert_eq!(batches(&broker), [(1, 1)]);
}
