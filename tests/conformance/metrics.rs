//! What is counted, and told of seldom.

use std::time::Duration;

use kedgemq::dead_reason::DeadReason;
use kedgemq::metrics::Gauges;
use kedgemq::turn::Event;

use crate::dead_letters::backlog;
use crate::packets::*;
use crate::rig::Rig;

#[test]
fn letters_that_the_quota_drops_are_told_of_seldom() {
    let mut rig = Rig::with(|settings| settings.dead_letters.max_count = 1);
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    for n in 1..=10 {
        rig.publish(sender, q1(n, "a", "x"));
    }
    rig.connect(v5("c").stored().clean());
    let told = |rig: &Rig| -> Vec<u64> {
        let counts = rig.events.iter().map(|event| match event {
            Event::LettersDropped { count } => Some(*count),
            _ => None,
        });
        counts.flatten().collect()
    };
    rig.wait(1);
    assert_eq!(told(&rig), [1]);
    rig.wait(1_000);
    assert_eq!(told(&rig), [1, 8], "one line a minute, and none about nothing");
    assert_eq!(rig.broker.counters().dead_dropped, 9);
}

#[test]
fn gauges_are_right_after_a_crash_and_counters_begin_anew() {
    let mut rig = Rig::with(|settings| {
        settings.dead_letters.max_age = Duration::from_secs(1_000);
    });
    for name in ["1", "2"] {
        backlog(&mut rig, name);
        rig.connect(v5(name).stored().clean());
        rig.wait(100);
    }
    let before = rig.broker.gauges(rig.now);
    assert_eq!((before.dead_letters, before.dead_letter_bytes), (2, 4));
    assert_eq!(before.dead_letter_oldest_seconds, 200);
    rig.crash();
    assert_eq!(rig.broker.gauges(rig.now), Gauges { sessions: 2, ..before });
    assert_eq!(rig.broker.counters().dead, [0; DeadReason::ALL.len()]);
    rig.wait(2_000);
    assert_eq!(rig.broker.gauges(rig.now), Gauges { sessions: 2, ..Gauges::default() });
    let counters = rig.broker.counters();
    assert_eq!((counters.dead_aged_out, counters.dead_dropped), (2, 0));
}
