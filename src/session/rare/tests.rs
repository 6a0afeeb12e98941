use super::*;
use crate::mqtt::Version;
use crate::mqtt::packet::PacketId;
use crate::session::Session;
use crate::session::link::Link;
use crate::session::outbound::Outbound;
use crate::session::queue::{Queue, Totals};
use crate::turn::{Backlog, MessageId, OwnerId, RecordNumber};

fn session(expiry: u32) -> Session {
    Session::new(OwnerId(1), "c".into(), Version::V5, expiry)
}

fn boxes(session: &mut Session) -> [bool; 4] {
    [
        session.inbound.present().is_some(),
        session.queue.present().is_some(),
        session.outbound.present().is_some(),
        session.more.present().is_some(),
    ]
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 152, "{} bytes", size_of::<Session>());
    assert!(size_of::<Link>() <= 120, "{} bytes", size_of::<Link>());
    assert!(size_of::<Outbound>() <= 104, "{} bytes", size_of::<Outbound>());
}

#[test]
fn who_looks_at_a_part_or_takes_from_it_makes_no_box() {
    for expiry in [0, 60] {
        let mut session = session(expiry);
        assert!(session.queue.is_empty() && session.outbound.is_empty());
        assert_eq!(session.queue.is_stored(), expiry > 0);
        assert!(session.inbound.received.is_empty() && session.more.groups.is_empty());
        assert!(session.next_load().is_none());
        session.rest(RecordNumber(9));
        session.will_is_not_due();
        session.disconnect();
        assert_eq!(boxes(&mut session), [false; 4]);
    }
}

#[test]
fn a_part_has_a_box_while_something_is_in_it() {
    let mut session = session(60);
    let packet_id = PacketId::new(1).unwrap();
    session.inbound.receive(packet_id);
    session.outbound.keep_taken(packet_id);
    session.more.groups.join(OwnerId(2));
    let backlog = Backlog {
        owner: OwnerId(1),
        first: MessageId(1),
        count: 1,
        bytes: 1,
        soonest_expiry: None,
    };
    session.queue.restore(&backlog, &mut Totals::default());

    session.disconnect();
    assert_eq!(boxes(&mut session), [true; 4]);
    assert!(session.inbound.release(packet_id) && session.queue.len() == 1);

    session.more.groups.leave(OwnerId(2));
    session.rest(RecordNumber(9));
    assert_eq!(boxes(&mut session), [false, true, true, false]);
}

#[test]
fn a_box_goes_when_its_publishes_are_acknowledged() {
    let mut session = session(0);
    session.inbound.acknowledges_after(RecordNumber(2));
    session.rest(RecordNumber(1));
    assert!(session.inbound.present().is_some(), "it counts against our Receive Maximum");
    session.rest(RecordNumber(2));
    assert!(session.inbound.present().is_none());
}

#[test]
fn an_emptied_queue_keeps_no_memory_and_its_kind() {
    let mut queue: Rare<Queue> = Rare::new(true);
    let _ = queue.take_all(&mut Totals::default());
    assert!(queue.present().is_some());
    queue.tidy();
    assert!(queue.present().is_none() && queue.is_stored());
    let _ = queue.take_all(&mut Totals::default());
    assert!(queue.is_stored(), "the new one is of the same kind");
}

#[test]
fn used_packet_identifiers_are_remembered() {
    let mut outbound: Rare<Outbound> = Rare::new(());
    outbound.restore_bound(7);
    outbound.tidy();
    assert_eq!(outbound.bound(), 7);
}
