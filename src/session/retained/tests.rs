use super::*;

fn begun(filters: &[&str]) -> RetainedPending {
    let mut pending = RetainedPending::new();
    filters.iter().for_each(|filter| pending.begin((*filter).into()));
    pending
}

/// Whose turn it is, until nothing is left.
fn turns(mut pending: RetainedPending) -> Vec<String> {
    let mut turns = Vec::new();
    while let Some((filter, _)) = pending.first() {
        turns.push(filter.to_string());
        pending.advance(None);
    }
    assert!(pending.is_empty() && pending.of_filter.is_empty());
    turns
}

#[test]
fn a_filter_has_one_entry_however_often_it_is_asked_for() {
    let mut pending = begun(&["a", "b"]);
    for _ in 0..1000 {
        pending.begin("a".into());
        assert_eq!((pending.len(), pending.of_filter.len()), (2, 2));
    }
    assert_eq!(turns(pending), ["b", "a"]);
}

#[test]
fn each_has_its_turn_until_it_is_done() {
    let mut pending = begun(&["b", "a", "c"]);
    pending.advance(Some("b/1".into()));
    assert_eq!(pending.first(), Some(("b".into(), Some("b/1".into()))));
    pending.advance(None);
    assert_eq!(pending.first(), Some(("a".into(), None)));
    assert_eq!(turns(pending), ["a", "c"]);
}

#[test]
fn who_asks_again_starts_from_the_beginning() {
    let mut pending = begun(&["a"]);
    pending.advance(Some("a/1".into()));
    pending.begin("a".into());
    assert_eq!(pending.first(), Some(("a".into(), None)));
    assert_eq!(turns(pending), ["a"]);
}

#[test]
fn what_is_forgotten_has_no_turn() {
    let mut pending = begun(&["a", "b", "c"]);
    pending.forget("b");
    pending.forget("x");
    assert_eq!(turns(pending), ["a", "c"]);
}
