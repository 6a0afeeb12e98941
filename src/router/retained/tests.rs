use super::*;
use crate::mqtt::QoS;
use crate::time::Timestamp;

fn message(topic: &str, payload: &'static str) -> Arc<Message> {
    Arc::new(Message {
        topic: topic.into(),
        properties: Default::default(),
        payload: payload.into(),
        qos: QoS::AtMostOnce,
        retain: true,
        received: Timestamp(0),
        expiry: None,
        past: None,
    })
}

fn retained(topics: &str) -> Retained {
    let mut retained = Retained::default();
    for topic in topics.split_whitespace() {
        retained.set(topic.into(), Some(message(topic, "x")));
    }
    retained
}

/// Everything, in slices of `scan_max` topics.
fn all(retained: &Retained, filter: &str, scan_max: usize) -> String {
    let mut out = Vec::new();
    let mut after: Option<Arc<str>> = None;
    loop {
        let before = out.len();
        let next = retained.matching(filter, after.as_deref(), scan_max, &mut out);
        assert!(out.len() - before <= scan_max.max(1), "a slice stays within its bound");
        match next {
            None => break,
            Some(next) => {
                assert!(after < Some(Arc::clone(&next)), "it goes on");
                after = Some(next);
            }
        }
    }
    let topics = out.iter().map(|message| &*message.topic);
    topics.collect::<Vec<_>>().join(" ")
}

const TOPICS: &str = "a a! a/ a/b a/b/c a/b! a/d a0 b b/b /a $SYS/up $SYS/x/y aa/b";

/// filter; topics in their order
const MATCHES: &str = "
    a         ; a
    a/b       ; a/b
    a/x       ;
    x/#       ;
    x/+       ;
    a/#       ; a a/ a/b a/b! a/b/c a/d
    a/+       ; a/ a/b a/b! a/d
    a/b/#     ; a/b a/b/c
    a/+/#     ; a/ a/b a/b! a/b/c a/d
    a/+/c     ; a/b/c
    +         ; a a! a0 b
    +/b       ; a/b aa/b b/b
    /+        ; /a
    +/+       ; /a a/ a/b a/b! a/d aa/b b/b
    #         ; /a a a! a/ a/b a/b! a/b/c a/d a0 aa/b b b/b
    $SYS/#    ; $SYS/up $SYS/x/y
    $SYS/+    ; $SYS/up
    $SYS/x/#  ; $SYS/x/y
    a!/#      ; a!
";

#[test]
fn finds_what_matches_in_the_order_of_topics() {
    let retained = retained(TOPICS);
    for row in MATCHES.lines().filter(|row| !row.trim().is_empty()) {
        let (filter, expected) = row.split_once(';').unwrap();
        for scan_max in [0, 1, 2, 3, 100] {
            let found = all(&retained, filter.trim(), scan_max);
            assert_eq!(found, expected.trim(), "{row}, {scan_max} a slice");
        }
    }
}

#[test]
fn set_gives_back_the_one_before() {
    let mut retained = Retained::default();
    let (first, second) = (message("a", "1"), message("a", "2"));
    assert!(retained.is_empty());
    assert_eq!(retained.set("a".into(), None), None);
    assert_eq!(retained.set("a".into(), Some(first.clone())), None);
    assert_eq!(retained.set("a".into(), Some(second.clone())), Some(first));
    assert_eq!(retained.get("a"), Some(&second));
    assert_eq!(retained.len(), 1);
    assert_eq!(retained.set("a".into(), None), Some(second));
    assert_eq!(retained.get("a"), None);
    assert!(retained.is_empty());
}

#[test]
fn goes_on_where_a_topic_was_cleared() {
    let mut retained = retained("a/1 a/2 a/3 b/1");
    let mut out = Vec::new();
    let after = retained.matching("a/#", None, 2, &mut out);
    assert_eq!(after.as_deref(), Some("a/2"));
    retained.set("a/2".into(), None);
    retained.set("a/2x".into(), Some(message("a/2x", "x")));
    let done = retained.matching("a/#", after.as_deref(), 10, &mut out);
    assert_eq!(done, None);
    let topics: Vec<&str> = out.iter().map(|message| &*message.topic).collect();
    assert_eq!(topics, ["a/1", "a/2", "a/2x", "a/3"]);
}

#[test]
fn looks_only_at_topics_that_start_like_the_filter() {
    let retained = retained("a/1 b/1 b/2 c/1 c/2 c/3");
    let mut out = Vec::new();
    assert_eq!(retained.matching("b/#", None, 2, &mut out), None, "two are all there is to see");
    assert_eq!(out.len(), 2);
}

#[test]
fn leaps_over_what_a_filter_cannot_match() {
    let mut retained = Retained::default();
    for (line, machine) in (0..10).flat_map(|line| (0..1000).map(move |machine| (line, machine))) {
        let topic = format!("plant/{line}/{machine}/state");
        retained.set(topic.as_str().into(), Some(message(&topic, "x")));
    }
    for topic in ["plant/0/total", "plant/9/total", "$SYS/up", "plant/5/total/x"] {
        retained.set(topic.into(), Some(message(topic, "x")));
    }
    let rows = [
        ("plant/+/total", "plant/0/total plant/9/total"),
        ("plant/+/7", ""),
        ("+/9/total", "plant/9/total"),
        ("+", ""),
        ("plant/+", ""),
        ("+/+/1/x", ""),
        (
            "plant/+/7/state",
            &(0..10).map(|n| format!("plant/{n}/7/state")).collect::<Vec<_>>().join(" "),
        ),
    ];
    for (filter, expected) in rows {
        let mut out = Vec::new();
        let next = retained.matching(filter, None, 500, &mut out);
        assert_eq!(next, None, "{filter} looks at few of 10,000");
        let topics: Vec<&str> = out.iter().map(|message| &*message.topic).collect();
        assert_eq!(topics.join(" "), expected, "{filter}");
    }
}

/// All topics of up to four levels that are made of few characters, some before and some behind
/// the `/` in the order of bytes.
#[test]
fn leaping_leaves_nothing_out() {
    let levels = ["", "!", "$", "a", "a!", "a0", "aa", "b"];
    let mut topics: Vec<String> = levels.iter().map(ToString::to_string).collect();
    let mut last = topics.clone();
    for _ in 1..4 {
        let longer = |topic: &String| levels.map(|level| format!("{topic}/{level}"));
        last = last.iter().flat_map(longer).collect();
        topics.extend_from_slice(&last);
    }
    topics.retain(|topic| !topic.is_empty());
    topics.sort();
    let mut retained = Retained::default();
    for topic in &topics {
        retained.set(topic.as_str().into(), Some(message(topic, "x")));
    }
    let filters =
        "+ +/+ a/+ +/a +/+/b a/+/a a/+/a! +/a0/# a/+/b/# +/b/+/a a/+/+/a0 a!/+/! +/+/+/$ $/+/a +/#";
    for filter in filters.split_whitespace() {
        let expected = topics.iter().filter(|topic| topic::matches(topic, filter));
        let expected: Vec<&str> = expected.map(String::as_str).collect();
        for scan_max in [1, 3, 20, 10_000] {
            assert_eq!(all(&retained, filter, scan_max), expected.join(" "), "{filter} {scan_max}");
        }
    }
}
