//! Rights: publish, Will and delivery, as an ACL file in mosquitto's format says.

use std::time::Duration;

use kedgemq::auth::acl::Acl;
use kedgemq::config::{LetterTopic, ShareRule, Strategy};
use kedgemq::mqtt::{Packet, ReasonCode};
use wildmatch::WildMatch;

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

const ACL: &str = "\
topic read public/#
user ann
topic readwrite plant/#
topic read $SYS/#
user bob
topic read plant/#
topic read $dead/#
user eve
topic write plant/#
pattern readwrite own/%u/%c/#
";

fn acl(text: &str) -> Option<Acl> {
    Some(Acl::parse(text).expect("a good file"))
}

fn guarded() -> Rig {
    let mut rig = Rig::new();
    rig.broker.set_acl(acl(ACL));
    rig
}

fn user(connect: ConnectOptions, name: &str) -> ConnectOptions {
    ConnectOptions { user: Some(name.to_owned()), ..connect }
}

#[test]
fn a_publish_with_the_right_arrives() {
    let mut rig = guarded();
    let bob = rig.connect(user(v5("bob"), "bob"));
    rig.subscribe(bob, "plant/#", 1);
    let ann = rig.connect(user(v5("ann"), "ann"));
    rig.publish(ann, q1(1, "plant/a", "x"));
    assert_eq!(rig.lines(ann), ["PUBACK 1 00"]);
    assert_eq!(rig.lines(bob), ["PUBLISH plant/a x q1"]);
}

#[test]
fn a_v5_publish_without_the_right_is_refused() {
    let mut rig = guarded();
    let ann = rig.connect(user(v5("ann"), "ann"));
    rig.subscribe(ann, "plant/#", 1);
    let bob = rig.connect(user(v5("bob"), "bob"));
    rig.publish(bob, q0("plant/a", "0"));
    rig.publish(bob, q1(1, "plant/a", "1"));
    rig.publish(bob, q2(2, "plant/a", "2"));
    rig.publish(bob, keep(3, "plant/a", "3"));
    assert_eq!(rig.lines(bob), ["PUBACK 1 87", "PUBREC 2 87", "PUBACK 3 87"]);
    assert_eq!(rig.lines(ann), NOTHING);
    assert!(rig.store.retained.is_empty());
    assert!(rig.dead().is_empty());
    assert_eq!(rig.broker.counters().unauthorized_publishes, 4);
}

#[test]
fn mqtt311_3_3_5_2_a_publish_without_the_right_is_acknowledged_and_dropped() {
    let mut rig = guarded();
    let ann = rig.connect(user(v5("ann"), "ann"));
    rig.subscribe(ann, "plant/#", 1);
    let bob = rig.connect(user(v4("bob"), "bob"));
    rig.publish(bob, q1(1, "plant/a", "1"));
    rig.publish(bob, q2(2, "plant/a", "2"));
    rig.send(bob, pubrel(2));
    assert_eq!(rig.lines(bob), ["PUBACK 1", "PUBREC 2", "PUBCOMP 2"]);
    assert_eq!(rig.lines(ann), NOTHING);
}

#[test]
fn unauthorized_publish_close_closes_v311_clients() {
    let mut rig = Rig::with(|settings| settings.rights.close_unauthorized_publish = true);
    rig.broker.set_acl(acl(ACL));
    let bob = rig.connect(user(v4("bob"), "bob"));
    rig.publish(bob, q1(1, "plant/a", "1"));
    assert_eq!(rig.lines(bob), ["CLOSE"]);
}

#[test]
fn a_wider_filter_is_accepted_and_filtered_at_delivery() {
    let mut rig = guarded();
    let eve = rig.connect(user(v5("eve"), "eve"));
    rig.send(eve, subscribe(1, &[("#", options(1)), ("plant/#", options(1))]));
    assert_eq!(rig.lines(eve), ["SUBACK 1 01 01"]);
    let ann = rig.connect(user(v5("ann"), "ann"));
    rig.publish(ann, q1(1, "plant/a", "x"));
    assert_eq!(rig.lines(eve), NOTHING);
    assert!(rig.dead().is_empty(), "what was never to be had is no death");
}

#[test]
fn strict_subscribe_refuses_a_wider_filter() {
    let mut rig = Rig::with(|settings| settings.rights.strict_subscribe = true);
    rig.broker.set_acl(acl(ACL));
    let bob = rig.connect(user(v5("bob"), "bob"));
    rig.send(bob, subscribe(1, &[("#", options(1)), ("plant/+/x", options(1))]));
    assert_eq!(rig.lines(bob), ["SUBACK 1 87 01"]);
}

#[test]
fn retained_messages_need_the_right_too() {
    let mut rig = guarded();
    let ann = rig.connect(user(v5("ann"), "ann"));
    rig.publish(ann, keep(1, "plant/a", "x"));
    let eve = rig.connect(user(v5("eve"), "eve"));
    rig.subscribe(eve, "#", 1);
    assert_eq!(rig.lines(eve), NOTHING);
    let bob = rig.connect(user(v5("bob"), "bob"));
    rig.subscribe(bob, "#", 1);
    assert_eq!(rig.lines(bob), ["PUBLISH plant/a x q1 retain"]);
}

#[test]
fn a_will_without_the_right_is_not_published() {
    let mut rig = guarded();
    let ann = rig.connect(user(v5("ann"), "ann"));
    rig.subscribe(ann, "plant/#", 1);
    for connect in [v4("bob"), v5("bob"), v5("bob").stored()] {
        let bob = rig.open(user(connect, "bob").will(will("plant/will", "forged")));
        if !rig.is_closed(bob) {
            rig.cut(bob);
        }
        assert_eq!(rig.lines(ann), NOTHING);
    }
}

#[test]
fn a_will_with_the_right_is_published() {
    let mut rig = guarded();
    let bob = rig.connect(user(v5("bob"), "bob"));
    rig.subscribe(bob, "plant/#", 1);
    let eve = rig.connect(user(v5("eve"), "eve").will(will("plant/will", "x")));
    rig.cut(eve);
    assert_eq!(rig.lines(bob), ["PUBLISH plant/will x q1"]);
}

#[test]
fn patterns_name_user_and_client() {
    let mut rig = guarded();
    let ann = rig.connect(user(v5("c1"), "ann"));
    rig.subscribe(ann, "own/#", 0);
    rig.publish(ann, q1(1, "own/ann/c1/x", "mine"));
    rig.publish(ann, q1(2, "own/ann/c2/x", "not mine"));
    assert_eq!(rig.lines(ann), ["PUBLISH own/ann/c1/x mine q0", "PUBACK 1 00", "PUBACK 2 87"]);
}

#[test]
fn an_anonymous_client_has_the_lines_before_the_first_user() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    rig.publish(sender, keep(1, "public/a", "x"));
    rig.publish(sender, keep(2, "plant/a", "y"));
    rig.broker.set_acl(acl(ACL));
    let nobody = rig.connect(v5("n"));
    rig.subscribe(nobody, "#", 0);
    assert_eq!(rig.lines(nobody), ["PUBLISH public/a x q0 retain"]);
}

#[test]
fn unauthorized_a_right_that_was_withdrawn_makes_letters_of_what_waited() {
    let mut rig = guarded();
    let bob = rig.connect(user(v5("bob"), "bob").stored());
    rig.subscribe(bob, "plant/#", 1);
    rig.cut(bob);
    let ann = rig.connect(user(v5("ann"), "ann"));
    rig.publish(ann, q1(1, "plant/a", "x"));
    rig.broker.set_acl(acl("user bob\ntopic read other/#\n"));
    let bob = rig.connect(user(v5("bob"), "bob").stored());
    assert_eq!(rig.lines(bob), NOTHING);
    assert_eq!(rig.dead(), ["unauthorized bob x"]);
}

/// A guarded rig whose share groups have a member for each topic.
fn guarded_by_topic() -> Rig {
    let mut rig = Rig::with(|settings| {
        let strategy = Strategy::HashTopic { patience: Duration::from_secs(60) };
        settings.sharing.rules.push(ShareRule { filter: WildMatch::new("*"), strategy });
    });
    rig.broker.set_acl(acl(ACL));
    rig
}

#[test]
fn a_share_group_gets_nothing_that_none_of_its_members_may_read() {
    for mut rig in [guarded(), guarded_by_topic()] {
        let ann = rig.connect(user(v5("ann"), "ann"));
        let eve = rig.connect(user(v5("eve"), "eve").stored());
        rig.subscribe(eve, "$share/g/#", 1);
        rig.publish(ann, q1(1, "plant/a", "x"));
        let local = rig.connect(v5("p"));
        rig.broker.set_acl(None);
        rig.publish(local, q1(1, "public/a", "y"));
        assert_eq!(rig.lines(eve), ["PUBLISH public/a y q1"]);
        assert!(rig.dead().is_empty());
    }
}

#[test]
fn unauthorized_what_waits_in_a_share_group_dies_when_no_member_may_read_it_any_more() {
    for mut rig in [guarded(), guarded_by_topic()] {
        let bob = rig.connect(user(v5("bob"), "bob").stored());
        rig.subscribe(bob, "$share/g/#", 1);
        rig.cut(bob);
        let ann = rig.connect(user(v5("ann"), "ann"));
        rig.publish(ann, q1(1, "plant/a", "x"));
        rig.publish(ann, q1(2, "plant/b", "y"));
        rig.broker.set_acl(acl("user bob\ntopic read plant/b\n"));
        let bob = rig.connect(user(v5("bob"), "bob").stored());
        assert_eq!(rig.lines(bob), ["PUBLISH plant/b y q1"]);
        assert_eq!(rig.dead(), ["unauthorized $share~g~# x"]);
    }
}

#[test]
fn what_waits_in_a_share_group_waits_for_a_member_that_is_away_and_may_read_it() {
    for mut rig in [guarded(), guarded_by_topic()] {
        let bob = rig.connect(user(v5("bob"), "bob").stored());
        rig.subscribe(bob, "$share/g/#", 1);
        rig.cut(bob);
        let ann = rig.connect(user(v5("ann"), "ann"));
        rig.publish(ann, q1(1, "plant/a", "x"));
        let eve = rig.connect(user(v5("eve"), "eve").stored());
        rig.subscribe(eve, "$share/g/#", 1);
        assert_eq!(rig.lines(eve), NOTHING);
        let bob = rig.connect(user(v5("bob"), "bob").stored());
        assert_eq!(rig.lines(bob), ["PUBLISH plant/a x q1"]);
        assert!(rig.dead().is_empty());
    }
}

#[test]
fn what_was_sent_before_the_right_was_withdrawn_is_completed() {
    let mut rig = guarded();
    let bob = rig.connect(user(v5("bob"), "bob").stored());
    rig.subscribe(bob, "plant/#", 1);
    let ann = rig.connect(user(v5("ann"), "ann"));
    rig.publish(ann, q1(1, "plant/a", "x"));
    rig.lines(bob);
    rig.cut(bob);
    rig.broker.set_acl(acl("user bob\ntopic read other/#\n"));
    let bob = rig.connect(user(v5("bob"), "bob").stored());
    assert_eq!(rig.lines(bob), ["PUBLISH plant/a x q1 dup"]);
}

#[test]
fn dead_letters_need_a_line_that_begins_with_dead() {
    let mut rig = Rig::new();
    rig.broker.set_acl(acl("user all\ntopic readwrite #\nuser bob\ntopic read $dead/#\n"));
    let all = rig.connect(user(v5("all"), "all"));
    let bob = rig.connect(user(v5("bob"), "bob"));
    for client in [all, bob] {
        rig.subscribe(client, "$dead/#", 0);
    }
    let tiny = ConnectOptions { maximum_packet_size: Some(20), ..user(v5("tiny"), "all") };
    let tiny = rig.connect(tiny);
    rig.subscribe(tiny, "a", 1);
    rig.publish(all, q1(1, "a", &"x".repeat(50)));
    assert_eq!(rig.deliveries(bob).len(), 1);
    assert!(rig.deliveries(all).is_empty());
}

#[test]
fn what_begins_with_a_dollar_needs_a_line_of_its_own() {
    let lines = "user all\ntopic readwrite #\ntopic readwrite +/#\npattern readwrite +/%u/#\n\
                 user bob\ntopic read $dead/#\nuser eve\ntopic read $SYS/#\n";
    let mut rig = Rig::with(|settings| settings.limits.sys_interval = Duration::from_secs(1));
    rig.broker.set_acl(acl(lines));
    let readers = ["all", "bob", "eve"].map(|name| rig.connect(user(v5(name), name)));
    for reader in readers {
        rig.subscribe(reader, "$dead/#", 1);
        rig.subscribe(reader, "$SYS/broker/version", 1);
    }
    let tiny = ConnectOptions { maximum_packet_size: Some(20), ..user(v5("tiny"), "all") };
    let tiny = rig.connect(tiny);
    rig.subscribe(tiny, "a", 1);
    let sender = rig.connect(user(v5("sender"), "all"));
    rig.publish(sender, q1(1, "a", &"x".repeat(50)));
    rig.wait(2);
    let topics = readers.map(|reader| {
        let got = rig.deliveries(reader).into_iter();
        got.map(|got| got.message.topic.to_string()).collect::<Vec<_>>()
    });
    let expected: [&[&str]; 3] = [&[], &["$dead/too_large/tiny/a"], &["$SYS/broker/version"]];
    assert_eq!(topics, expected);
}

/// Wherever letters go, a grant of everything is none of them.
#[test]
fn letters_under_another_topic_need_a_line_of_their_own_too() {
    let lines = "user all\ntopic readwrite #\ntopic read +/dead/#\npattern read %u/dead/#\n\
                 user bob\ntopic read site/dead/#\nuser eve\ntopic read site/#\n\
                 topic deny +/dead/rejected/#\n";
    let mut rig = Rig::with(|settings| {
        let topic = LetterTopic::new("site/dead/{reason}/{owner}/{topic}");
        settings.dead_letters.topic = topic.expect("it is one");
    });
    rig.broker.set_acl(acl(lines));
    let readers = ["all", "bob", "eve"].map(|name| rig.connect(user(v5(name), name)));
    for reader in readers {
        rig.subscribe(reader, "site/#", 1);
    }
    let tiny = ConnectOptions { maximum_packet_size: Some(20), ..user(v5("tiny"), "all") };
    let tiny = rig.connect(tiny);
    rig.subscribe(tiny, "a", 1);
    let sender = rig.connect(user(v5("sender"), "all"));
    rig.publish(sender, q1(1, "a", &"x".repeat(50)));
    rig.publish(sender, q1(2, "a", "y"));
    let y = rig.packet_id(tiny);
    rig.send(tiny, Packet::PubAck(refusal(y, ReasonCode::UNSPECIFIED_ERROR)));
    rig.publish(sender, q1(3, "site/other", "z"));
    let topics = readers.map(|reader| {
        let got = rig.deliveries(reader).into_iter();
        got.map(|got| got.message.topic.to_string()).collect::<Vec<_>>()
    });
    let (large, refused) = ("site/dead/too_large/tiny/a", "site/dead/rejected/tiny/a");
    let expected: [&[&str]; 3] = [&["site/other"], &[large, refused], &[large, "site/other"]];
    assert_eq!(topics, expected);
}

#[test]
fn strict_subscribe_asks_for_the_line_of_letters_under_another_topic() {
    let mut rig = Rig::with(|settings| {
        settings.rights.strict_subscribe = true;
        let topic = LetterTopic::new("site/dead/{reason}/{owner}/{topic}");
        settings.dead_letters.topic = topic.expect("it is one");
    });
    rig.broker.set_acl(acl("user all\ntopic read #\nuser bob\ntopic read site/#\n"));
    for (name, filter, code) in
        [("all", "site/dead/#", "87"), ("all", "#", "01"), ("bob", "site/dead/+/x/#", "01")]
    {
        let client = rig.connect(user(v5(name), name));
        rig.send(client, subscribe(1, &[(filter, options(1))]));
        assert_eq!(rig.lines(client), [format!("SUBACK 1 {code}")], "{name} {filter}");
    }
}

/// Whatever a line grants, and at any QoS, retained or as a will.
#[test]
fn nobody_publishes_under_dead_or_sys_with_any_right() {
    for guard in [None, acl("topic readwrite #\ntopic readwrite $dead/#\ntopic readwrite $SYS/#\n")]
    {
        let mut rig = Rig::new();
        rig.broker.set_acl(guard);
        let reader = rig.connect(v5("reader"));
        rig.subscribe(reader, "$dead/#", 1);
        rig.subscribe(reader, "$SYS/#", 1);
        for connect in [v4("c"), v5("c")] {
            for topic in ["$dead", "$dead/expired/c/a", "$SYS/broker/version"] {
                let client = rig.connect(connect.clone());
                rig.publish(client, q0(topic, "0"));
                rig.publish(client, q1(1, topic, "1"));
                rig.publish(client, q2(2, topic, "2"));
                rig.publish(client, keep(3, topic, "3"));
                let testator = rig.open(connect.clone().will(will(topic, "will")));
                rig.cut(testator);
            }
        }
        assert_eq!(rig.lines(reader), NOTHING);
        assert!(rig.store.retained.is_empty());
    }
}

#[test]
fn without_an_acl_whoever_may_connect_reads_letters_and_facts() {
    for connect in [v4("reader"), v5("reader")] {
        let mut rig = Rig::with(|settings| settings.limits.sys_interval = Duration::from_secs(1));
        let reader = rig.connect(connect);
        rig.subscribe(reader, "$dead/#", 0);
        rig.subscribe(reader, "$SYS/broker/version", 0);
        let tiny = rig.connect(ConnectOptions { maximum_packet_size: Some(20), ..v5("tiny") });
        rig.subscribe(tiny, "a", 1);
        let sender = rig.connect(v5("sender"));
        rig.publish(sender, q1(1, "a", &"x".repeat(50)));
        rig.wait(2);
        let mut got = rig.deliveries(reader);
        got.sort_by_key(|got| got.message.topic.clone());
        let topics: Vec<_> = got.iter().map(|got| &*got.message.topic).collect();
        assert_eq!(topics, ["$SYS/broker/version", "$dead/too_large/tiny/a"]);
    }
}

#[test]
fn without_an_acl_everybody_may_do_all_but_publish_under_dead() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.subscribe(client, "any/#", 0);
    rig.publish(client, q1(1, "any/topic", "x"));
    assert_eq!(rig.deliveries(client).len(), 1);
    rig.publish(client, q1(2, "$dead/x", "x"));
    assert!(rig.lines(client)[0].starts_with("PUBACK 2 8"));
}

#[test]
fn a_shared_subscription_gives_to_those_who_may() {
    let mut rig = guarded();
    let bob = rig.connect(user(v5("bob"), "bob"));
    let eve = rig.connect(user(v5("eve"), "eve"));
    for client in [bob, eve] {
        rig.subscribe(client, "$share/g/plant/#", 1);
    }
    let ann = rig.connect(user(v5("ann"), "ann"));
    for n in 1..=4 {
        rig.publish(ann, q1(n, "plant/a", "x"));
    }
    assert_eq!(rig.deliveries(eve).len(), 0);
    assert_eq!(rig.deliveries(bob).len(), 4);
}
