//! Retained messages and Retain Handling.

use std::collections::BTreeSet;

use kedgemq::mqtt::QoS;
use kedgemq::mqtt::packet::{RetainHandling, SubscriptionOptions};
use kedgemq::turn::ConnectionId;

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

/// A broker that keeps `x` for topic `a`.
fn with_one() -> Rig {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    rig.publish(sender, keep(1, "a", "x"));
    rig
}

fn handling(retain_handling: RetainHandling) -> SubscriptionOptions {
    SubscriptionOptions { retain_handling, ..options(1) }
}

#[test]
fn mqtt_3_3_1_5_the_newest_retained_message_is_kept() {
    let mut rig = with_one();
    let sender = rig.connect(v4("q"));
    rig.publish(sender, keep(1, "a", "y"));
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 1);
    assert_eq!(rig.lines(watcher), ["PUBLISH a y q1 retain"]);
}

#[test]
fn retained_at_every_qos_is_kept() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    rig.publish(sender, retained(q0("a/0", "0")));
    rig.publish(sender, keep(1, "a/1", "1"));
    rig.publish(sender, retained(q2(2, "a/2", "2")));
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a/+", 2);
    let mut lines = rig.lines(watcher);
    lines.sort();
    assert_eq!(
        lines,
        ["PUBLISH a/0 0 q0 retain", "PUBLISH a/1 1 q1 retain", "PUBLISH a/2 2 q2 retain"]
    );
}

#[test]
fn mqtt_3_3_1_6_an_empty_payload_removes_it() {
    let mut rig = with_one();
    let watcher = rig.connect(v5("w"));
    rig.subscribe_with(watcher, "a", handling(RetainHandling::DoNotSend), None);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, retained(q0("a", "")));
    assert_eq!(rig.lines(watcher), ["PUBLISH a  q0"], "processed normally");
    let late = rig.connect(v5("late"));
    rig.subscribe(late, "a", 1);
    assert_eq!(rig.lines(late), NOTHING);
    assert!(rig.store.retained.is_empty());
}

#[test]
fn mqtt_3_3_1_7_an_empty_payload_is_not_stored() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    rig.publish(sender, keep(1, "a", ""));
    assert!(rig.store.retained.is_empty());
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "#", 1);
    assert_eq!(rig.lines(watcher), NOTHING);
}

#[test]
fn mqtt_3_3_1_8_without_retain_nothing_changes() {
    let mut rig = with_one();
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "y"));
    rig.publish(sender, q0("a", ""));
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 1);
    assert_eq!(rig.lines(watcher), ["PUBLISH a x q1 retain"]);
}

#[test]
fn mqtt_3_3_1_9_handling_0_sends_at_every_subscribe() {
    for connect in [v4("w"), v5("w")] {
        let mut rig = with_one();
        let watcher = rig.connect(connect);
        for _ in 0..2 {
            rig.subscribe(watcher, "a", 0);
            assert_eq!(rig.lines(watcher), ["PUBLISH a x q0 retain"]);
        }
    }
}

#[test]
fn mqtt_3_3_1_10_handling_1_sends_if_the_subscription_is_new() {
    let mut rig = with_one();
    let watcher = rig.connect(v5("w"));
    rig.subscribe_with(watcher, "a", handling(RetainHandling::SendIfNew), None);
    assert_eq!(rig.deliveries(watcher).len(), 1);
    rig.subscribe_with(watcher, "a", handling(RetainHandling::SendIfNew), None);
    assert_eq!(rig.lines(watcher), NOTHING);
    rig.send(watcher, unsubscribe(1, &["a"]));
    rig.lines(watcher);
    rig.subscribe_with(watcher, "a", handling(RetainHandling::SendIfNew), None);
    assert_eq!(rig.deliveries(watcher).len(), 1);
}

#[test]
fn mqtt_3_3_1_11_handling_2_never_sends() {
    let mut rig = with_one();
    let watcher = rig.connect(v5("w"));
    rig.subscribe_with(watcher, "a", handling(RetainHandling::DoNotSend), None);
    assert_eq!(rig.lines(watcher), NOTHING);
}

#[test]
fn a_retained_message_has_retain_set_whatever_retain_as_published_says() {
    let mut rig = with_one();
    for retain_as_published in [false, true] {
        let watcher = rig.connect(v5("w"));
        let options = SubscriptionOptions { retain_as_published, ..options(1) };
        rig.subscribe_with(watcher, "a", options, None);
        assert!(rig.deliveries(watcher)[0].retain);
    }
}

#[test]
fn retained_messages_carry_the_subscription_identifier() {
    let mut rig = with_one();
    let watcher = rig.connect(v5("w"));
    rig.subscribe_with(watcher, "a", options(1), Some(9));
    assert_eq!(rig.deliveries(watcher)[0].subscription_ids.as_deref(), Some(&[9][..]));
}

#[test]
fn wildcards_find_all_retained_messages_but_those_under_dollar() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    for (n, topic) in (1..).zip(["a", "a/b", "a/b/c", "b", "/"]) {
        rig.publish(sender, keep(n, topic, "x"));
    }
    for (n, (filter, found)) in
        [("#", 5), ("a/#", 3), ("+", 2), ("a/+", 1), ("+/+", 2)].into_iter().enumerate()
    {
        let watcher = rig.connect(v5(&n.to_string()));
        rig.subscribe(watcher, filter, 0);
        assert_eq!(rig.deliveries(watcher).len(), found, "{filter}");
    }
}

#[test]
fn no_local_does_not_send_ones_own_retained_message() {
    // Section 3.8.3.1 speaks of Application Messages of the same ClientID, retained ones included;
    // a broker that forgot the publisher over time may send it, but never twice.
    let mut rig = with_one();
    let client = rig.connect(v5("p"));
    let no_local = SubscriptionOptions { no_local: true, ..options(0) };
    rig.subscribe_with(client, "a", no_local, None);
    assert!(rig.deliveries(client).len() <= 1);
}

#[test]
fn a_shared_subscription_gets_no_retained_messages() {
    let mut rig = with_one();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "$share/g/a", 1);
    assert_eq!(rig.lines(watcher), NOTHING);
}

#[test]
fn many_retained_messages_come_in_full_through_a_small_window() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    for n in 1..=2_000 {
        rig.publish(sender, keep(n, &format!("a/{n}"), "x"));
        rig.lines(sender);
    }
    for connect in [v5("w").window(3), v5("s").stored().window(3)] {
        let watcher = rig.connect(connect);
        rig.subscribe(watcher, "a/#", 1);
        let mut topics = BTreeSet::new();
        loop {
            let got = rig.deliveries(watcher);
            if got.is_empty() {
                break;
            }
            assert!(got.len() <= 3);
            for delivery in got {
                topics.insert(delivery.message.topic.to_string());
                rig.send(watcher, puback(delivery.packet_id.expect("QoS 1").get()));
            }
        }
        assert_eq!(topics.len(), 2_000);
    }
}

#[test]
fn retained_messages_survive_a_crash_at_every_qos() {
    let mut rig = with_one();
    let sender = rig.connect(v4("p"));
    rig.publish(sender, retained(q0("b", "y")));
    rig.crash();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "#", 0);
    let mut lines = rig.lines(watcher);
    lines.sort();
    assert_eq!(lines, ["PUBLISH a x q0 retain", "PUBLISH b y q0 retain"]);
}

#[test]
fn a_retained_message_expires() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    rig.publish(sender, expiring(10, keep(1, "a", "x")));
    rig.wait(4);
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 0);
    let got = rig.deliveries(watcher);
    assert_eq!(got[0].message.remaining_expiry(rig.now), Some(6), "[MQTT-3.3.2-6]");
    rig.wait(7);
    let late = rig.connect(v5("late"));
    rig.subscribe(late, "a", 0);
    assert_eq!(rig.lines(late), NOTHING);
    assert!(rig.dead().is_empty(), "a retained message is nobody's copy");
    assert!(rig.store.retained.is_empty(), "who finds it expired clears it");
}

#[test]
fn too_many_retained_messages_are_refused() {
    let mut rig = Rig::with(|settings| settings.limits.retained_messages = 1);
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "#", 0);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, keep(1, "a", "x"));
    rig.publish(sender, keep(2, "b", "y"));
    rig.publish(sender, keep(3, "a", "z"));
    assert_eq!(rig.lines(sender), ["PUBACK 1 00", "PUBACK 2 97", "PUBACK 3 00"]);
    assert_eq!(rig.deliveries(watcher).len(), 2, "a refused message goes to nobody");
}

#[test]
fn a_session_that_loses_its_connection_gets_the_rest_when_it_comes_back() {
    // [MQTT-3.3.1-9]
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    for n in 1..=3_000 {
        rig.publish(sender, keep(n, &format!("t/{n:04}"), "x"));
    }
    let client = rig.connect(v5("c").stored().window(10));
    rig.subscribe(client, "t/#", 1);
    let mut got = BTreeSet::new();
    let mut client = Some(client);
    for round in 0..400 {
        let reader = client.take().unwrap_or_else(|| rig.connect(v5("c").stored().window(10)));
        let deliveries = rig.deliveries(reader);
        for delivery in &deliveries {
            assert!(got.insert(delivery.message.topic.clone()) || delivery.dup);
            rig.send(reader, puback(delivery.packet_id.expect("QoS 1").get()));
        }
        rig.wait(1);
        if round % 50 == 7 {
            rig.cut(reader);
        } else {
            client = Some(reader);
        }
    }
    assert_eq!(got.len(), 3_000);
}

/// A broker that keeps `count` messages for topics below `a`, and one for `b`; and a client that
/// subscribed to `a/#` at QoS 1 and acknowledges nothing, with how many it is owed by now.
fn with_much_on_its_way(count: u16) -> (Rig, ConnectionId, usize) {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    for n in 1..=count {
        rig.publish(sender, keep(n, &format!("a/{n}"), "x"));
    }
    rig.publish(sender, keep(1, "b", "x"));
    let watcher = rig.connect(v5("w").window(3));
    rig.subscribe(watcher, "a/#", 1);
    let view = rig.broker.session_view("w").expect("it is connected");
    let owed = usize::try_from(view.queued + view.in_flight).expect("few");
    assert!(owed < count.into(), "all are on their way");
    (rig, watcher, owed)
}

/// Topic and QoS of all that comes, each acknowledged.
fn take_all(rig: &mut Rig, client: ConnectionId) -> Vec<(String, QoS)> {
    let mut all = Vec::new();
    loop {
        let got = rig.deliveries(client);
        if got.is_empty() {
            return all;
        }
        for delivery in got {
            all.push((delivery.message.topic.to_string(), delivery.qos));
            if let Some(packet_id) = delivery.packet_id {
                rig.send(client, puback(packet_id.get()));
            }
        }
    }
}

/// What comes after several SUBSCRIBEs is the answer to all of them, and keeps nothing else from
/// coming.
#[test]
fn who_asks_again_before_all_came_gets_all_once_more() {
    let (mut rig, watcher, owed) = with_much_on_its_way(1_500);
    rig.subscribe(watcher, "b", 1);
    for _ in 0..100 {
        rig.subscribe(watcher, "a/#", 1);
    }
    let all = take_all(&mut rig, watcher);
    assert_eq!(all.iter().position(|(topic, _)| topic == "b"), Some(owed));
    let again: BTreeSet<_> = all[owed + 1..].iter().map(|(topic, _)| topic).collect();
    assert_eq!((all.len(), again.len()), (owed + 1 + 1_500, 1_500));
}

#[test]
fn what_is_still_to_come_comes_as_the_newest_subscribe_says() {
    // [MQTT-3.8.4-3]
    let (mut rig, watcher, owed) = with_much_on_its_way(1_500);
    let lower = SubscriptionOptions { qos: QoS::AtMostOnce, ..handling(RetainHandling::DoNotSend) };
    rig.subscribe_with(watcher, "a/#", lower, None);
    let all = take_all(&mut rig, watcher);
    let first = all.iter().filter(|(_, qos)| *qos == QoS::AtLeastOnce).count();
    assert_eq!((first, all.len()), (owed, 1_500));
}

#[test]
fn who_unsubscribes_gets_no_more_of_them() {
    let (mut rig, watcher, owed) = with_much_on_its_way(1_500);
    rig.send(watcher, unsubscribe(9, &["a/#"]));
    assert_eq!(take_all(&mut rig, watcher).len(), owed);
}
