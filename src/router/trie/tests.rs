use super::*;
use crate::mqtt::packet::RetainHandling;
use crate::mqtt::topic;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn entry(owner: u64, qos: usize) -> Entry {
    Entry {
        owner: OwnerId(owner),
        options: SubscriptionOptions {
            qos: QOS[qos],
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        },
        subscription_id: None,
    }
}

/// Reads `owner filter qos [id] [nl] [rap]`, several with ` | ` between.
fn subscribed(text: &str) -> Subscriptions {
    let mut all = Subscriptions::new(7);
    for one in text.split(" | ") {
        let mut words = one.split_whitespace();
        let owner = words.next().unwrap().parse().unwrap();
        let filter = words.next().unwrap();
        let mut entry = entry(owner, words.next().unwrap().parse().unwrap());
        for word in words {
            match word {
                "nl" => entry.options.no_local = true,
                "rap" => entry.options.retain_as_published = true,
                id => entry.subscription_id = Some(id.parse().unwrap()),
            }
        }
        all.insert(filter, entry);
    }
    all
}

/// Writes targets as `owner:qos`, then `rap` and the identifiers.
fn targets(all: &Subscriptions, topic: &str, publisher: Option<u64>) -> String {
    let mut out = Vec::new();
    all.matches(topic, publisher.map(OwnerId), &mut out);
    let words = out.iter().map(|target| {
        let rap = if target.retain_as_published { "rap" } else { "" };
        let ids = target.subscription_ids.as_deref().unwrap_or_default();
        let ids = ids.iter().map(|id| format!("#{id}")).collect::<String>();
        format!("{}:{}{rap}{ids}", target.owner.0, target.qos as u8)
    });
    words.collect::<Vec<_>>().join(" ")
}

/// subscriptions; topic; publisher (0: none); targets
const ROUTES: &str = "
    1 a/b 0                                  ; a/b         ; 0 ; 1:0
    1 a/b 0                                  ; a/c         ; 0 ;
    1 a/b 0                                  ; a           ; 0 ;
    1 a 0                                    ; a/b         ; 0 ;
    1 a/b 1                                  ; A/b         ; 0 ;
    1 a/# 1                                  ; a           ; 0 ; 1:1
    1 a/# 1                                  ; a/b/c       ; 0 ; 1:1
    1 a/# 1                                  ; ab          ; 0 ;
    1 a/+ 1                                  ; a           ; 0 ;
    1 a/+ 1                                  ; a/          ; 0 ; 1:1
    1 a/+ 1                                  ; a/b         ; 0 ; 1:1
    1 a/+ 1                                  ; a/b/c       ; 0 ;
    1 + 1                                    ; a           ; 0 ; 1:1
    1 + 1                                    ; /a          ; 0 ;
    1 /+ 1                                   ; /a          ; 0 ; 1:1
    1 +/+ 1                                  ; /a          ; 0 ; 1:1
    1 +/b/# 1                                ; a/b         ; 0 ; 1:1
    1 a//c 1                                 ; a//c        ; 0 ; 1:1
    1 a/+/c 1                                ; a//c        ; 0 ; 1:1
    1 # 2                                    ; a/b/c       ; 0 ; 1:2
    1 # 2                                    ; /           ; 0 ; 1:2
    1 # 2                                    ; $SYS/uptime ; 0 ;
    1 +/uptime 2                             ; $SYS/uptime ; 0 ;
    1 $SYS/# 2                               ; $SYS/uptime ; 0 ; 1:2
    1 $SYS/+ 2                               ; $SYS/uptime ; 0 ; 1:2
    1 $SYS/# 2                               ; $SYS        ; 0 ; 1:2
    1 $SYS/# 2                               ; $dead/a     ; 0 ;
    1 a/# 2                                  ; a/$x        ; 0 ; 1:2
    1 ü/+ 1                                  ; ü/é         ; 0 ; 1:1
    2 a 1 | 1 a 0 | 3 a 2                    ; a           ; 0 ; 1:0 2:1 3:2
    2 # 1 | 1 a 0 | 3 + 2                    ; a           ; 0 ; 1:0 2:1 3:2
    1 a 0 | 1 # 2 | 1 + 1                    ; a           ; 0 ; 1:2
    1 a 0 9 | 1 # 2 | 1 + 1 4                ; a           ; 0 ; 1:2#4#9
    1 a 0 3 | 1 # 2 9                        ; a           ; 0 ; 1:2#3#9
    1 a 0 4 | 1 # 2 4                        ; a           ; 0 ; 1:2#4#4
    1 a 0 9 | 1 # 2 3 | 2 a 1 8              ; b           ; 0 ; 1:2#3
    1 a 0 rap | 1 # 2                        ; a           ; 0 ; 1:2rap
    1 a 0 rap | 2 # 2                        ; a           ; 0 ; 1:0rap 2:2
    1 a 0 nl | 2 a 1 nl                      ; a           ; 1 ; 2:1
    1 a 0 nl | 2 a 1 nl                      ; a           ; 3 ; 1:0 2:1
    1 a 0 nl | 2 a 1 nl                      ; a           ; 0 ; 1:0 2:1
    1 a 2 5 nl | 1 # 1 6                     ; a           ; 1 ; 1:1#6
    1 a 0 1 | 1 a 2 2 rap                    ; a           ; 0 ; 1:2rap#2
    1 a 2 7 rap nl | 1 a 0                   ; a           ; 1 ; 1:0
";

#[test]
fn routes() {
    for row in ROUTES.lines().filter(|row| !row.trim().is_empty()) {
        let columns: Vec<&str> = row.split(';').map(str::trim).collect();
        let [subscriptions, topic, publisher, expected] = columns[..] else {
            panic!("four columns: {row}");
        };
        let publisher = publisher.parse().ok().filter(|publisher| *publisher != 0);
        let found = targets(&subscribed(subscriptions), topic, publisher);
        assert_eq!(found, expected, "{row}");
    }
}

#[test]
fn insert_and_remove_say_what_was_there() {
    let mut all = Subscriptions::new(0);
    assert!(!all.insert("a/+", entry(1, 0)));
    assert!(all.insert("a/+", entry(1, 1)));
    assert!(!all.insert("a/+", entry(2, 1)));
    assert!(all.insert("a/+", entry(2, 0)));
    assert_eq!(all.len(), 2);
    assert!(!all.remove("a/#", OwnerId(1)));
    assert!(!all.remove("a/+/b", OwnerId(1)));
    assert!(!all.remove("a", OwnerId(1)));
    assert!(!all.remove("a/+", OwnerId(3)));
    assert!(all.remove("a/+", OwnerId(1)));
    assert!(!all.remove("a/+", OwnerId(1)));
    assert_eq!(targets(&all, "a/b", None), "2:0");
    assert!(all.remove("a/+", OwnerId(2)));
    assert!(all.is_empty());
    assert!(all.root.is_unused());
}

#[test]
fn removing_leaves_what_others_need() {
    let mut all = subscribed("1 a/b/c 0 | 2 a/b 0 | 3 a/b/# 0 | 4 a/+/c 0");
    assert!(all.remove("a/b", OwnerId(2)));
    assert_eq!(targets(&all, "a/b/c", None), "1:0 3:0 4:0");
    assert!(all.remove("a/b/#", OwnerId(3)));
    assert!(all.remove("a/b/c", OwnerId(1)));
    let a = &all.root.literals["a"];
    assert!(a.literals.is_empty(), "a/b is pruned");
    assert_eq!(targets(&all, "a/b/c", None), "4:0");
}

#[test]
fn memory_goes_back_when_a_crowd_has_left() {
    let mut all = Subscriptions::new(0);
    for owner in 0..10_000 {
        all.insert(&format!("devices/{owner}"), entry(owner, 0));
    }
    for owner in 1..10_000 {
        assert!(all.remove(&format!("devices/{owner}"), OwnerId(owner)));
    }
    let room = all.root.literals["devices"].literals.capacity();
    assert!(room < 32, "room for {room} names");
}

#[test]
fn a_crowd_on_one_filter_comes_in_order() {
    let mut all = Subscriptions::new(0);
    for owner in (0..20_000).rev() {
        all.insert("a", entry(owner, 1));
    }
    let mut out = Vec::new();
    all.matches("a", Some(OwnerId(1)), &mut out);
    assert!(out.iter().map(|target| target.owner.0).eq(0..20_000));
    for owner in 0..20_000 {
        assert!(all.remove("a", OwnerId(owner)));
    }
    assert!(all.root.is_unused());
}

#[test]
fn as_deep_as_topics_get() {
    let deep = vec!["x"; 128].join("/");
    let mut all = Subscriptions::new(0);
    all.insert(&deep, entry(1, 0));
    all.insert(&vec!["+"; 128].join("/"), entry(2, 0));
    assert_eq!(targets(&all, &deep, None), "1:0 2:0");
    assert!(all.remove(&deep, OwnerId(1)));
    assert!(all.remove(&vec!["+"; 128].join("/"), OwnerId(2)));
    assert!(all.root.is_unused());
}

/// A random one out of few names, so that filters and topics meet often.
fn path(random: &mut fastrand::Rng, names: &[&str]) -> String {
    let depth = random.usize(1..=4);
    let mut levels: Vec<&str> = (0..depth).map(|_| names[random.usize(..names.len())]).collect();
    let end = levels.iter().position(|level| *level == "#");
    levels.truncate(end.map_or(depth, |end| end + 1));
    levels.join("/")
}

/// The same by looking at every subscription.
fn expected(all: &BTreeMap<(String, u64), Entry>, name: &str) -> String {
    let mut best = BTreeMap::<u64, u8>::new();
    for ((filter, owner), entry) in all {
        if topic::matches(name, filter) {
            let qos = best.entry(*owner).or_default();
            *qos = (*qos).max(entry.options.qos as u8);
        }
    }
    let words = best.iter().map(|(owner, qos)| format!("{owner}:{qos}"));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn agrees_with_looking_at_every_subscription() {
    for seed in 0..8 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let mut all = Subscriptions::new(seed);
        let mut plain = BTreeMap::new();
        for _ in 0..2_000 {
            let filter = path(random, &["a", "b", "", "$s", "+", "#"]);
            let (owner, qos) = (random.u64(..6), random.usize(..3));
            if random.u8(..3) > 0 {
                let new = entry(owner, qos);
                let replaced = plain.insert((filter.clone(), owner), new).is_some();
                assert_eq!(all.insert(&filter, new), replaced);
            } else {
                let removed = plain.remove(&(filter.clone(), owner)).is_some();
                assert_eq!(all.remove(&filter, OwnerId(owner)), removed);
            }
            assert_eq!(all.len(), plain.len());
            let topic = path(random, &["a", "b", "", "$s"]);
            assert_eq!(targets(&all, &topic, None), expected(&plain, &topic), "{topic}");
        }
        for ((filter, owner), _) in plain {
            assert!(all.remove(&filter, OwnerId(owner)));
        }
        assert!(all.root.is_unused(), "all pruned");
    }
}

#[test]
fn the_seed_shows_nowhere() {
    let (mut one, mut other) = (Subscriptions::new(1), Subscriptions::new(u64::MAX));
    let random = &mut fastrand::Rng::with_seed(3);
    for id in 0..500 {
        let filter = path(random, &["a", "b", "c", "+", "#"]);
        let mut new = entry(random.u64(..50), random.usize(..3));
        new.subscription_id = Some(id);
        one.insert(&filter, new);
        other.insert(&filter, new);
    }
    for topic in ["a", "a/b", "a/b/c", "c/c/c/c"] {
        assert_eq!(targets(&one, topic, None), targets(&other, topic, None));
    }
}
