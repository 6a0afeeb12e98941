//! Share groups of `hash_topic`: a topic has one member while the same members are connected.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kedgemq::config::{ShareRule, Strategy};
use kedgemq::turn::ConnectionId;
use wildmatch::WildMatch;

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

const PATIENCE: u64 = 60;
/// Copies that the core looks at.
const LOOKAHEAD: u16 = 4096;

fn by_topic() -> Rig {
    Rig::with(|settings| {
        let strategy = Strategy::HashTopic { patience: Duration::from_secs(PATIENCE) };
        let rule = ShareRule { filter: WildMatch::new("$share/h/*"), strategy };
        settings.sharing.rules.push(rule);
        settings.limits.in_flight = u16::MAX;
    })
}

fn join(rig: &mut Rig, connect: ConnectOptions) -> ConnectionId {
    let member = rig.connect(connect);
    rig.subscribe(member, "$share/h/t/+", 1);
    member
}

/// Topics and payloads that came.
fn take(rig: &mut Rig, member: ConnectionId) -> Vec<(String, String)> {
    let got = rig.deliveries(member).into_iter();
    got.map(|delivery| {
        let payload = String::from_utf8_lossy(&delivery.message.payload).into_owned();
        (delivery.message.topic.to_string(), payload)
    })
    .collect()
}

fn topics(taken: &[(String, String)]) -> BTreeSet<String> {
    taken.iter().map(|(topic, _)| topic.clone()).collect()
}

/// A topic of each member.
fn topic_of_each(rig: &mut Rig, members: &[ConnectionId]) -> Vec<String> {
    let sender = rig.connect(v5("probe"));
    let mut found: BTreeMap<ConnectionId, String> = BTreeMap::new();
    for n in 0..100 {
        rig.publish(sender, q0(&format!("t/{n}"), "probe"));
        for member in members {
            for (topic, _) in take(rig, *member) {
                found.entry(*member).or_insert(topic);
            }
        }
    }
    members.iter().map(|member| found[member].clone()).collect()
}

#[test]
fn a_topic_has_one_member_and_every_member_has_topics() {
    let mut rig = by_topic();
    let members = ["1", "2", "3"].map(|name| join(&mut rig, v5(name)));
    let sender = rig.connect(v5("p"));
    for n in 0..300 {
        rig.publish(sender, q1(n + 1, &format!("t/{}", n % 60), &n.to_string()));
        rig.publish(sender, q0(&format!("t/{}", n % 60), "at most once"));
    }
    let taken = members.map(|member| take(&mut rig, member));
    assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), 600);
    let of_each = taken.each_ref().map(|taken| topics(taken));
    assert_eq!(of_each.iter().map(BTreeSet::len).sum::<usize>(), 60, "no topic at two members");
    assert!(of_each.iter().all(|topics| topics.len() > 5), "{of_each:?}");
}

#[test]
fn the_first_rule_that_fits_counts_and_without_one_it_is_each_in_its_turn() {
    let mut rig = Rig::with(|settings| {
        let hash = Strategy::HashTopic { patience: Duration::from_secs(PATIENCE) };
        let rules = [("$share/a/x", Strategy::RoundRobin), ("$share/a/*", hash)];
        let rule = |(filter, strategy)| ShareRule { filter: WildMatch::new(filter), strategy };
        settings.sharing.rules = rules.map(rule).into();
    });
    let members = ["1", "2"].map(|name| rig.connect(v5(name)));
    for member in members {
        for filter in ["$share/a/x", "$share/a/y", "$share/b/y"] {
            rig.subscribe(member, filter, 0);
        }
    }
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q0("x", "x"));
    rig.publish(sender, q0("x", "x"));
    assert_eq!(members.map(|member| rig.deliveries(member).len()), [1, 1]);
    rig.publish(sender, q0("y", "y"));
    rig.publish(sender, q0("y", "y"));
    let mut counts = members.map(|member| rig.deliveries(member).len());
    counts.sort_unstable();
    assert_eq!(counts, [1, 3], "one group in turn, the other by topic");
}

#[test]
fn what_a_full_member_cannot_take_waits_and_the_rest_passes_it() {
    for stored in [false, true] {
        let mut rig = by_topic();
        let with = |name| if stored { v5(name).stored() } else { v5(name) };
        let slow = join(&mut rig, with("slow").window(1));
        let fast = join(&mut rig, with("fast"));
        let [its, other] = topic_of_each(&mut rig, &[slow, fast]).try_into().expect("one each");
        let sender = rig.connect(v5("p"));
        for n in 1..=5_u16 {
            rig.publish(sender, q1(2 * n, &its, &n.to_string()));
            rig.publish(sender, q1(2 * n + 1, &other, &n.to_string()));
        }
        let payloads = |taken: Vec<(String, String)>| -> Vec<String> {
            taken.into_iter().map(|(_, payload)| payload).collect()
        };
        assert_eq!(payloads(take(&mut rig, fast)), ["1", "2", "3", "4", "5"]);
        for n in 1..=5 {
            let got = rig.deliveries(slow);
            assert_eq!(got.len(), 1);
            assert_eq!(got[0].message.payload, n.to_string());
            rig.send(slow, puback(got[0].packet_id.expect("QoS 1").get()));
        }
        assert_eq!(rig.lines(fast), NOTHING);
        rig.wait(1);
        assert!(rig.store.copies.len() <= 5, "what fast did not acknowledge");
    }
}

#[test]
fn what_a_member_leaves_goes_on_in_its_order() {
    for stored in [false, true] {
        for leave in [Rig::cut as fn(&mut Rig, ConnectionId), unsubscribe_all] {
            let mut rig = by_topic();
            let with = |name| if stored { v5(name).stored() } else { v5(name) };
            let gone = join(&mut rig, with("gone").window(2));
            let stays = join(&mut rig, with("stays"));
            let [its, other] =
                topic_of_each(&mut rig, &[gone, stays]).try_into().expect("one each");
            let sender = rig.connect(v5("p"));
            for n in 1..=6 {
                rig.publish(sender, q1(n, &its, &n.to_string()));
            }
            let had = take(&mut rig, gone).len();
            assert_eq!(had, 2);
            leave(&mut rig, gone);
            rig.publish(sender, q1(7, &other, "7"));
            let got = take(&mut rig, stays);
            let of_its: Vec<_> =
                got.iter().filter(|(topic, _)| *topic == its).map(|(_, p)| p.as_str()).collect();
            // Without an end of its connection, it keeps what was sent to it [MQTT-3.10.4-3].
            let expected = &["1", "2", "3", "4", "5", "6"];
            let cut = leave as usize == Rig::cut as fn(&mut Rig, ConnectionId) as usize;
            assert_eq!(of_its, expected[if cut { 0 } else { 2 }..], "stored: {stored}");
            assert_eq!(got.len(), of_its.len() + 1);
        }
    }
}

fn unsubscribe_all(rig: &mut Rig, member: ConnectionId) {
    rig.send(member, unsubscribe(9, &["$share/h/t/+"]));
}

#[test]
fn only_the_topics_of_who_comes_or_goes_move() {
    let mut rig = by_topic();
    let one = join(&mut rig, v5("1").stored());
    let two = join(&mut rig, v5("2").stored());
    let three = join(&mut rig, v5("3").stored());
    let sender = rig.connect(v5("p"));
    let round = |rig: &mut Rig, members: &[ConnectionId]| -> Vec<BTreeSet<String>> {
        for n in 0..60 {
            rig.publish(sender, q0(&format!("t/{n}"), "x"));
        }
        members.iter().map(|member| topics(&take(rig, *member))).collect()
    };
    let before = round(&mut rig, &[one, two, three]);
    rig.cut(three);
    let without = round(&mut rig, &[one, two]);
    assert!(before[0].is_subset(&without[0]) && before[1].is_subset(&without[1]));
    assert_eq!(without[0].len() + without[1].len(), 60);
    let three = rig.connect(v5("3").stored());
    assert_eq!(round(&mut rig, &[one, two, three]), before);
}

#[test]
fn a_topic_has_the_same_member_after_a_crash() {
    let mut rig = by_topic();
    let members = ["1", "2"].map(|name| join(&mut rig, v5(name).stored()));
    let mut before = Vec::new();
    for again in [false, true] {
        let members = match again {
            false => members,
            true => {
                rig.crash();
                ["1", "2"].map(|name| rig.connect(v5(name).stored()))
            }
        };
        let sender = rig.connect(v5("p"));
        for n in 0..20 {
            rig.publish(sender, q0(&format!("t/{n}"), "x"));
        }
        let now: Vec<_> = members.map(|member| topics(&take(&mut rig, member))).into();
        if again {
            assert_eq!(now, before);
        }
        before = now;
    }
}

#[test]
fn the_backlog_of_a_group_goes_by_topic_too() {
    let mut rig = by_topic();
    for name in ["1", "2"] {
        let member = join(&mut rig, v5(name).stored());
        rig.cut(member);
    }
    let sender = rig.connect(v5("p"));
    for n in 0..200 {
        rig.publish(sender, q1(n + 1, &format!("t/{}", n % 20), &n.to_string()));
    }
    rig.crash();
    let mut got: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for name in ["1", "2"] {
        let member = rig.connect(v5(name).stored().window(10));
        for _ in 0..100 {
            let deliveries = rig.deliveries(member);
            if deliveries.is_empty() {
                break;
            }
            for delivery in deliveries {
                let payload = String::from_utf8_lossy(&delivery.message.payload).into_owned();
                let topic = delivery.message.topic.to_string();
                got.entry(topic).or_default().push(payload.parse().expect("a number"));
                rig.send(member, puback(delivery.packet_id.expect("QoS 1").get()));
            }
        }
    }
    assert_eq!(got.values().map(Vec::len).sum::<usize>(), 200);
    assert!(got.values().all(|numbers| numbers.is_sorted()), "{got:?}");
}

#[test]
fn what_waits_for_a_member_goes_on_when_it_goes_though_it_keeps_what_it_has() {
    // [MQTT-4.8.2-5]: at QoS 2 what was sent goes to nobody else.
    for stored in [false, true] {
        let mut rig = by_topic();
        let with = |name| if stored { v5(name).stored() } else { v5(name) };
        let gone = rig.connect(with("gone").window(1));
        let stays = rig.connect(with("stays"));
        for member in [gone, stays] {
            rig.subscribe(member, "$share/h/t/+", 2);
        }
        let [its, _] = topic_of_each(&mut rig, &[gone, stays]).try_into().expect("one each");
        let sender = rig.connect(v5("p"));
        for n in 1..=3 {
            rig.publish(sender, q2(n, &its, &n.to_string()));
        }
        assert_eq!(rig.lines(gone), [format!("PUBLISH {its} 1 q2")]);
        rig.cut(gone);
        let expected = [format!("PUBLISH {its} 2 q2"), format!("PUBLISH {its} 3 q2")];
        assert_eq!(rig.lines(stays), expected, "stored: {stored}");
    }
}

#[test]
fn what_a_session_had_that_left_the_group_and_ends_goes_on() {
    let mut rig = by_topic();
    let gone = join(&mut rig, v5("gone"));
    let stays = join(&mut rig, v5("stays"));
    let [its, _] = topic_of_each(&mut rig, &[gone, stays]).try_into().expect("one each");
    let sender = rig.connect(v5("p"));
    for n in 1..=3 {
        rig.publish(sender, q1(n, &its, &n.to_string()));
    }
    assert_eq!(rig.deliveries(gone).len(), 3);
    unsubscribe_all(&mut rig, gone);
    assert_eq!(rig.lines(stays), NOTHING);
    rig.cut(gone);
    let expected = [1, 2, 3].map(|n| format!("PUBLISH {its} {n} q1"));
    assert_eq!(rig.lines(stays), expected);
}

/// More copies for `slow` than are looked at, and one for `fast` behind them.
fn hidden(slow: ConnectOptions) -> (Rig, ConnectionId, ConnectionId) {
    let mut rig = by_topic();
    let slow = join(&mut rig, slow.window(1));
    let fast = join(&mut rig, v5("fast").window(65_535));
    let [its, other] = topic_of_each(&mut rig, &[slow, fast]).try_into().expect("one each");
    let sender = rig.connect(v5("p"));
    for n in 1..=LOOKAHEAD + 10 {
        rig.publish(sender, q1(n, &its, &n.to_string()));
    }
    rig.publish(sender, q1(LOOKAHEAD + 11, &other, "behind"));
    rig.lines(sender);
    assert_eq!(rig.lines(fast), NOTHING, "it is not looked at");
    (rig, slow, fast)
}

#[test]
fn a_member_that_takes_nothing_holds_up_the_others_only_for_a_while() {
    for slow in [v5("slow"), v5("slow").stored()] {
        let (mut rig, slow, fast) = hidden(slow);
        rig.wait(PATIENCE - 1);
        assert_eq!(rig.lines(fast), NOTHING);
        rig.wait(2);
        let got = take(&mut rig, fast);
        let numbers: Vec<u64> = got.iter().filter_map(|(_, p)| p.parse().ok()).collect();
        assert!(numbers.is_sorted());
        assert!(got.iter().any(|(_, payload)| payload == "behind"), "{}", got.len());
        // What it has it keeps; and when it takes messages again, its topics are its own.
        let had = rig.deliveries(slow);
        assert_eq!(had.len(), 1);
        let topic = had[0].message.topic.to_string();
        rig.send(slow, puback(had[0].packet_id.expect("QoS 1").get()));
        let sender = rig.connect(v5("again"));
        rig.publish(sender, q1(1, &topic, "its own"));
        rig.wait(1);
        let waiting = rig.deliveries(slow);
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0].message.payload, "its own");
    }
}

#[test]
fn a_member_that_goes_on_taking_messages_keeps_its_topics() {
    let (mut rig, slow, fast) = hidden(v5("slow"));
    for n in 1..=9 {
        let got = rig.deliveries(slow);
        assert_eq!(got[0].message.payload, n.to_string());
        rig.wait(PATIENCE - 5);
        assert_eq!(rig.lines(fast), NOTHING);
        rig.send(slow, puback(got[0].packet_id.expect("QoS 1").get()));
    }
    for _ in 0..3 {
        let got = rig.deliveries(slow);
        rig.send(slow, puback(got[0].packet_id.expect("QoS 1").get()));
    }
    assert_eq!(rig.deliveries(fast).len(), 1, "it came near enough");
}

#[test]
fn at_qos_0_a_topic_waits_for_nobody_else() {
    let mut rig = by_topic();
    let members = ["1", "2"].map(|name| join(&mut rig, v5(name)));
    let [its, _] = topic_of_each(&mut rig, &members).try_into().expect("one each");
    rig.outbox_full(members[0], true);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q0(&its, "x"));
    assert_eq!(rig.broker.counters().qos0_dropped, 1);
    assert_eq!(rig.lines(members[1]), NOTHING);
}
