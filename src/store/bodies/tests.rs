use super::*;

const ONE: OwnerId = OwnerId(1);
const OTHER: OwnerId = OwnerId(2);
const ID: MessageId = MessageId(7);
const BODY: Place = place(1, 100, 50);
const BEHIND: Place = place(1, 150, 10);
const ELSEWHERE: Place = place(2, 0, 10);

const fn place(segment: u64, offset: u32, len: u32) -> Place {
    Place { segment, offset, len }
}

fn with_body() -> Bodies {
    let mut bodies = Bodies::default();
    assert_eq!(bodies.add(ID, BODY), None);
    bodies
}

/// Ends a batch; what went.
fn settled(bodies: &mut Bodies) -> Vec<Place> {
    let mut gone = Vec::new();
    bodies.settle(|place| gone.push(place));
    gone
}

#[test]
fn the_body_of_a_copy_right_behind_it_is_not_here_when_the_batch_is_over() {
    let mut bodies = with_body();
    assert_eq!(bodies.refer(ID, ONE, BEHIND), Found::Own(50));
    assert_eq!(bodies.place(ID), Some(BODY));
    assert!(settled(&mut bodies).is_empty());
    assert_eq!(bodies.place(ID), None);
    bodies.release_own(ID, BODY);
    assert_eq!(settled(&mut bodies), [BODY]);
}

#[test]
fn a_body_without_a_copy_goes() {
    assert_eq!(settled(&mut with_body()), [BODY]);
    let mut bodies = with_body();
    bodies.refer(ID, ONE, BEHIND);
    bodies.release_own(ID, BODY);
    assert_eq!(settled(&mut bodies), [BODY]);
    assert!(settled(&mut bodies).is_empty());
}

#[test]
fn a_body_with_several_copies_or_one_elsewhere_is_here() {
    let mut bodies = with_body();
    bodies.refer(ID, ONE, BEHIND);
    assert_eq!(bodies.refer(ID, OTHER, ELSEWHERE), Found::Shared(Some(ONE)));
    assert!(settled(&mut bodies).is_empty());
    bodies.release(ID);
    assert!(settled(&mut bodies).is_empty());
    assert_eq!(bodies.place(ID), Some(BODY));
    bodies.release(ID);
    assert_eq!(settled(&mut bodies), [BODY]);

    let mut bodies = with_body();
    assert_eq!(bodies.refer(ID, ONE, ELSEWHERE), Found::Shared(None));
    assert!(settled(&mut bodies).is_empty());
    assert_eq!(bodies.place(ID), Some(BODY));
}

#[test]
fn a_later_record_of_the_turn_may_give_it_to_another_owner() {
    let mut bodies = with_body();
    bodies.refer(ID, ONE, BEHIND);
    bodies.release_own(ID, BODY);
    assert_eq!(bodies.refer(ID, OTHER, ELSEWHERE), Found::Shared(None));
    assert!(settled(&mut bodies).is_empty());
    assert_eq!(bodies.place(ID), Some(BODY));

    let mut bodies = with_body();
    bodies.refer(ID, ONE, BEHIND);
    settled(&mut bodies);
    assert_eq!(bodies.refer(ID, OTHER, ELSEWHERE), Found::Unknown);
    bodies.release_own(ID, BODY);
    assert_eq!(bodies.refer(ID, OTHER, ELSEWHERE), Found::Shared(None));
    assert!(settled(&mut bodies).is_empty());
    assert_eq!(bodies.place(ID), Some(BODY));
}

#[test]
fn a_body_that_moves_is_here_from_then_on() {
    let mut bodies = with_body();
    bodies.refer(ID, ONE, BEHIND);
    settled(&mut bodies);
    let (moved, behind) = (place(5, 0, 50), place(5, 50, 10));
    assert_eq!(bodies.add(ID, moved), None);
    assert_eq!(bodies.refer(ID, ONE, behind), Found::Shared(None));
    bodies.release_own(ID, BODY);
    assert_eq!(settled(&mut bodies), [BODY]);
    assert_eq!(bodies.add(ID, ELSEWHERE), Some(moved));
    assert!(settled(&mut bodies).is_empty());
    assert_eq!(bodies.place(ID), Some(ELSEWHERE));
}

#[test]
fn what_was_read_is_handed_over_where_that_may_be() {
    let mut bodies = Bodies::default();
    let others = [(MessageId(8), BODY), (MessageId(9), BODY), (MessageId(10), BODY)];
    for (id, body) in [(ID, BODY)].into_iter().chain(others) {
        assert_eq!(bodies.note(id, body), None);
    }
    for id in [7, 8, 8, 9] {
        bodies.count(MessageId(id));
    }
    let places = [(7, BEHIND), (8, BEHIND), (9, ELSEWHERE), (11, BEHIND)];
    assert_eq!(places.map(|(id, at)| bodies.hand_over(MessageId(id), at)), [50, 0, 0, 0]);
    assert_eq!(settled(&mut bodies), [BODY], "message 10 has no copy");
    let here = [7, 8, 9, 10].map(|id| bodies.place(MessageId(id)).is_some());
    assert_eq!(here, [false, true, true, false]);
}
