use super::*;
use crate::mqtt::QoS;
use crate::mqtt::packet::RetainHandling;
use crate::turn::OwnerId;

fn member(session: u64) -> Member {
    Member {
        session: OwnerId(session),
        options: SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        },
        subscription_id: None,
    }
}

fn group(sessions: impl IntoIterator<Item = u64>) -> ShareGroup {
    let mut group = ShareGroup::default();
    for session in sessions {
        assert!(!group.join(member(session)));
    }
    group
}

/// Who gets the next `count` messages, of those that are not `busy`.
fn picks(group: &mut ShareGroup, count: usize, busy: &[u64]) -> Vec<u64> {
    let mut pick = || group.pick(|session| !busy.contains(&session.0));
    (0..count).filter_map(|_| pick().map(|m| m.session.0)).collect()
}

#[test]
fn members_take_turns() {
    assert_eq!(picks(&mut group([5, 3, 9]), 7, &[]), [5, 3, 9, 5, 3, 9, 5]);
}

#[test]
fn who_can_not_take_it_keeps_no_turn() {
    let mut group = group([1, 2, 3]);
    assert_eq!(picks(&mut group, 4, &[2]), [1, 3, 1, 3]);
    assert_eq!(picks(&mut group, 3, &[]), [1, 2, 3]);
    assert_eq!(picks(&mut group, 1, &[1, 2, 3]), [0; 0], "nobody can");
    assert_eq!(picks(&mut group, 2, &[]), [1, 2], "the turn stayed");
}

#[test]
fn each_member_is_asked_once() {
    let mut group = group([1, 2, 3]);
    picks(&mut group, 1, &[]);
    let mut asked = Vec::new();
    let nobody = group.pick(|session| {
        asked.push(session.0);
        false
    });
    assert_eq!(nobody, None);
    assert_eq!(asked, [2, 3, 1]);
}

#[test]
fn leaving_skips_nobody() {
    for (gone, rest) in [(1, [3, 4, 2]), (2, [3, 4, 1]), (3, [4, 1, 2]), (4, [3, 1, 2])] {
        let mut group = group([1, 2, 3, 4]);
        picks(&mut group, 2, &[]);
        assert!(group.leave(OwnerId(gone)));
        assert_eq!(picks(&mut group, 3, &[]), rest, "without {gone}");
    }
}

#[test]
fn the_last_may_leave_and_come_back() {
    let mut group = group([1]);
    assert_eq!(picks(&mut group, 1, &[]), [1]);
    assert!(!group.leave(OwnerId(2)));
    assert!(group.leave(OwnerId(1)));
    assert!(group.is_empty());
    assert_eq!(group.pick(|_| true), None);
    group.join(member(1));
    assert_eq!(picks(&mut group, 1, &[]), [1]);
}

#[test]
fn joining_again_keeps_the_place() {
    let mut group = group([1, 2]);
    let again = Member { subscription_id: Some(8), ..member(1) };
    assert!(group.join(again));
    assert_eq!(group.members(), [again, member(2)]);
    assert_eq!(group.member(OwnerId(1)), Some(again));
    assert_eq!(group.member(OwnerId(3)), None);
    assert_eq!(group.pick(|_| true), Some(again));
}

#[test]
fn a_topic_keeps_its_member_until_that_one_goes() {
    let group = group(1..=5);
    let of = |topic: u32, gone: u64| {
        let member = group.pick_by_topic(&topic.to_string(), |session| session.0 != gone);
        member.expect("others are there").session.0
    };
    let mut counts = [0; 6];
    for topic in 0..1_000 {
        let usual = of(topic, 0);
        counts[usual as usize] += 1;
        for gone in 1..=5 {
            let now = of(topic, gone);
            assert!(if gone == usual { now != usual } else { now == usual }, "{topic} {gone}");
        }
    }
    assert!(counts[1..].iter().all(|count| (120..280).contains(count)), "{counts:?}");
    assert_eq!(group.pick_by_topic("a", |_| false), None);
}
