use std::cell::RefCell;

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

/// A look at who has these.
fn look(
    is_able: impl Fn(SessionId) -> bool,
    is_meant: impl Fn(SessionId) -> bool,
) -> impl Fn(SessionId) -> Look {
    move |session| match (is_able(session), is_meant(session)) {
        (false, _) => Look::Unable,
        (true, false) => Look::PassedOver,
        (true, true) => Look::Takes,
    }
}

/// Who gets the next `count` messages, of those that are not `busy`.
fn picks(group: &mut ShareGroup, count: usize, busy: &[u64]) -> Vec<u64> {
    let is_free = |session: SessionId| !busy.contains(&session.0);
    let free: Vec<_> = group.members().map(|m| m.session).filter(|s| is_free(*s)).collect();
    free.into_iter().for_each(|session| group.may_do(session));
    let mut pick = || group.pick(Ability::Free, look(is_free, |_| true));
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

/// Whom `pick` asks whether it is able, when nobody is.
fn asked(group: &mut ShareGroup, ability: Ability) -> Vec<u64> {
    let asked = RefCell::new(Vec::new());
    let is_able = |session: SessionId| {
        asked.borrow_mut().push(session.0);
        false
    };
    let nobody = group.pick(ability, look(is_able, |_| true));
    assert_eq!(nobody, None);
    asked.into_inner()
}

#[test]
fn who_was_asked_in_vain_is_asked_again_when_it_may_be_able() {
    let mut group = group([1, 2, 3]);
    picks(&mut group, 1, &[]);
    assert_eq!(asked(&mut group, Ability::Free), [2, 3, 1]);
    assert_eq!(asked(&mut group, Ability::Free), [0; 0]);
    group.may_do(OwnerId(3));
    group.may_do(OwnerId(9)); // Not a member.
    assert_eq!(asked(&mut group, Ability::Free), [3]);
    assert_eq!(asked(&mut group, Ability::Open), [2, 3, 1]);
    group.may_do(OwnerId(1));
    assert_eq!(asked(&mut group, Ability::Free), [1]);
    assert_eq!(asked(&mut group, Ability::Open), [1]);
    assert!(group.leave(OwnerId(2)));
    group.join(member(2));
    assert_eq!(asked(&mut group, Ability::Free), [2]);
    assert_eq!(asked(&mut group, Ability::Free), [0; 0]);
}

#[test]
fn who_is_able_and_passed_over_stays_known() {
    let mut group = group([1, 2, 3]);
    let pick = |group: &mut ShareGroup, topic_of: u64| {
        let picked = group.pick(Ability::Free, look(|_| true, |session| session.0 == topic_of));
        picked.map(|member| member.session.0)
    };
    assert_eq!(pick(&mut group, 3), Some(3));
    assert_eq!(pick(&mut group, 9), None);
    assert_eq!(pick(&mut group, 2), Some(2));
    assert_eq!(pick(&mut group, 1), Some(1));
}

#[test]
fn to_know_whether_any_is_able_takes_no_turn() {
    let mut group = group([1, 2, 3]);
    assert!(group.any(Ability::Free, look(|session| session.0 == 2, |_| true)));
    assert!(group.knows(Ability::Free, |session| session.0 != 1), "2 and 3 are marked still");
    assert!(!group.knows(Ability::Free, |session| session.0 == 1));
    assert!(!group.any(Ability::Free, look(|session| session.0 == 9, |_| true)));
    assert!(!group.knows(Ability::Free, |session| session.0 == 2));
    assert_eq!(picks(&mut group, 3, &[]), [1, 2, 3]);
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
    assert_eq!(group.pick(Ability::Free, |_| Look::Takes), None);
    group.join(member(1));
    assert_eq!(picks(&mut group, 1, &[]), [1]);
}

#[test]
fn joining_again_keeps_the_place() {
    let mut group = group([1, 2]);
    let again = Member { subscription_id: Some(8), ..member(1) };
    assert!(group.join(again));
    assert!(group.members().eq(&[again, member(2)]));
    assert_eq!(group.member(OwnerId(1)), Some(again));
    assert_eq!(group.member(OwnerId(3)), None);
    assert_eq!(group.pick(Ability::Free, |_| Look::Takes), Some(again));
}

/// What a group promises, at the price of a look at every member.
#[derive(Default)]
struct Plain {
    members: Vec<u64>,
    next: usize,
}

impl Plain {
    fn join(&mut self, session: u64) -> bool {
        let is_known = self.members.contains(&session);
        self.members.extend((!is_known).then_some(session));
        is_known
    }

    fn leave(&mut self, session: u64) -> bool {
        let Some(at) = self.members.iter().position(|member| *member == session) else {
            return false;
        };
        self.members.remove(at);
        self.next -= usize::from(at < self.next);
        true
    }

    fn pick(&mut self, can_take: impl Fn(u64) -> bool) -> Option<u64> {
        let mut order = (self.next..self.members.len()).chain(0..self.next);
        let at = order.find(|at| can_take(self.members[*at]))?;
        self.next = at + 1;
        Some(self.members[at])
    }
}

#[test]
fn turns_are_those_of_a_plain_list_whoever_comes_and_goes() {
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..200 {
        let (mut group, mut plain) = (ShareGroup::default(), Plain::default());
        let most = random.u64(1..40);
        let mut can_take = vec![false; most as usize];
        for _ in 0..400 {
            let session = random.u64(0..most);
            match random.u8(0..6) {
                0 => assert_eq!(group.join(member(session)), plain.join(session)),
                1 => assert_eq!(group.leave(OwnerId(session)), plain.leave(session)),
                2 => {
                    // Its window gets full, or room.
                    let takes = &mut can_take[session as usize];
                    *takes = !*takes;
                    if *takes {
                        group.may_do(OwnerId(session));
                    }
                }
                _ => {
                    let is_able = |member: SessionId| can_take[member.0 as usize];
                    let may = random.u64(1..4);
                    let may = |member| member % may == 0;
                    let picked = group.pick(Ability::Free, look(is_able, |member| may(member.0)));
                    let expected = plain.pick(|member| can_take[member as usize] && may(member));
                    assert_eq!(picked.map(|member| member.session.0), expected, "{round}");
                    assert!(group.knows(Ability::Free, is_able));
                }
            }
            let members = group.members().map(|member| member.session.0);
            assert!(members.eq(plain.members.iter().copied()), "{round}");
            assert_eq!(group.is_empty(), plain.members.is_empty());
            let of = |session| group.member(OwnerId(session)).map(|member| member.session.0);
            assert!((0..most).all(|s| of(s) == plain.members.contains(&s).then_some(s)));
        }
    }
}

#[test]
fn gaps_are_closed_when_most_have_left() {
    let mut group = group(0..1_000);
    for gone in 0..990 {
        assert!(group.leave(OwnerId(gone)));
        assert!(group.places.len() <= FEW.max(2 * group.count));
    }
    assert!(group.places.capacity() <= 20);
    assert!(group.place_of.capacity() <= 40);
}

#[test]
fn only_a_large_group_has_an_index() {
    let mut group = group(0..8);
    assert_eq!(group.place_of.capacity(), 0);
    group.join(member(8));
    assert_eq!(group.place_of.len(), 9);
    for gone in 0..8 {
        assert!(group.leave(OwnerId(gone)));
    }
    assert_eq!(group.place_of.capacity(), 0);
    assert_eq!(picks(&mut group, 2, &[]), [8, 8]);
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
