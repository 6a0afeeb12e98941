//! Dead letters: what becomes one and what does not, its topic, its properties, its keeping.

use std::time::Duration;

use kedgemq::dead_reason::DeadReason;
use kedgemq::mqtt::packet::Ack;
use kedgemq::mqtt::{Packet, ReasonCode};
use kedgemq::turn::{CloseCause, ConnectionId, Event};

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

/// A client that reads all dead letters.
pub(crate) fn undertaker(rig: &mut Rig) -> ConnectionId {
    let client = rig.connect(v5("undertaker"));
    rig.subscribe(client, "$dead/#", 1);
    client
}

/// `name` is offline, with one message for topic `a` in its queue.
pub(crate) fn backlog(rig: &mut Rig, name: &str) {
    let client = rig.connect(v5(name).stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
}

fn properties(rig: &mut Rig, client: ConnectionId) -> Vec<(String, String)> {
    let letters = rig.deliveries(client);
    assert_eq!(letters.len(), 1, "{letters:?}");
    user_properties(&letters[0].message.properties)
}

/// The only User Property of that name.
pub(crate) fn value<'a>(properties: &'a [(String, String)], name: &str) -> &'a str {
    let mut found = properties.iter().filter(|(key, _)| key == name);
    let (_, value) = found.next().unwrap_or_else(|| panic!("no {name} in {properties:?}"));
    assert!(found.next().is_none(), "{name} twice");
    value
}

#[test]
fn session_cleared_a_clean_start_makes_letters_of_the_backlog() {
    for connect in [v4("c"), v5("c")] {
        let mut rig = Rig::new();
        let reader = undertaker(&mut rig);
        let client = rig.connect(connect.clone().stored());
        rig.subscribe(client, "a", 1);
        rig.cut(client);
        let sender = rig.connect(v5("p"));
        rig.publish(sender, q1(1, "a", "x"));
        rig.connect(connect.stored().clean());
        rig.wait(1);
        assert_eq!(rig.dead(), ["session_cleared c x"]);
        assert_eq!(rig.lines(reader), ["PUBLISH $dead/session_cleared/c/a x q1"]);
        assert!(rig.store.copies.is_empty());
    }
}

#[test]
fn session_expired_the_end_of_a_session_makes_letters_of_the_backlog() {
    let mut rig = Rig::new();
    let reader = undertaker(&mut rig);
    backlog(&mut rig, "c");
    rig.wait(3_700);
    assert_eq!(rig.dead(), ["session_expired c x"]);
    assert_eq!(rig.lines(reader), ["PUBLISH $dead/session_expired/c/a x q1"]);
    assert!(rig.store.copies.is_empty());
}

#[test]
fn what_was_in_flight_dies_with_its_session_too() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "1"));
    rig.publish(sender, q2(2, "a", "2"));
    rig.cut(client);
    rig.wait(3_700);
    assert_eq!(rig.dead(), ["session_expired c 1", "session_expired c 2"]);
}

#[test]
fn a_big_backlog_dies_whole_and_goes_on_over_a_crash() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    for n in 1..=3_000 {
        rig.publish(sender, q1(n, "a", "x"));
        rig.lines(sender);
    }
    rig.connect(v5("c").stored().clean());
    rig.crash();
    rig.wait(100);
    assert_eq!(rig.dead().len(), 3_000);
    assert!(rig.store.copies.is_empty());
    assert_eq!(rig.store.sessions.len(), 1, "the old session is forgotten");
}

#[test]
fn rejected_a_refusing_puback_makes_a_letter() {
    let mut rig = Rig::new();
    let reader = undertaker(&mut rig);
    for connect in [v5("c"), v5("c").stored()] {
        let client = rig.connect(connect);
        rig.subscribe(client, "a", 1);
        let sender = rig.connect(v5("p"));
        rig.publish(sender, q1(1, "a", "x"));
        let packet_id = id(rig.packet_id(client));
        let (reason, reason_string) = (ReasonCode(0x99), Some("not JSON"));
        rig.send(client, Packet::PubAck(Ack { packet_id, reason, reason_string }));
        let properties = properties(&mut rig, reader);
        assert_eq!(value(&properties, "dl-reason"), "rejected");
        assert_eq!(value(&properties, "dl-rc-text"), "not JSON");
        assert!(["153", "0x99", "99"].contains(&value(&properties, "dl-rc")));
        assert_eq!(value(&properties, "dl-deliveries"), "1");
        rig.disconnect(client);
    }
}

#[test]
fn rejected_a_refusing_pubrec_makes_a_letter() {
    let mut rig = Rig::new();
    let reader = undertaker(&mut rig);
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "a", "x"));
    let id = rig.packet_id(client);
    rig.send(client, Packet::PubRec(refusal(id, ReasonCode(0x80))));
    assert_eq!(rig.lines(reader), ["PUBLISH $dead/rejected/c/a x q1"]);
    assert!(rig.store.copies.is_empty());
}

#[test]
fn too_large_a_message_over_maximum_packet_size_makes_a_letter() {
    let mut rig = Rig::new();
    let reader = undertaker(&mut rig);
    let client = rig.connect(ConnectOptions { maximum_packet_size: Some(50), ..v5("c") });
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    let big = "x".repeat(100);
    rig.publish(sender, q1(1, "a", &big));
    assert_eq!(rig.lines(sender), ["PUBACK 1 00"]);
    assert_eq!(rig.lines(reader), [format!("PUBLISH $dead/too_large/c/a {big} q1")]);
}

#[test]
fn too_large_holds_for_a_backlog() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    let big = "x".repeat(100);
    rig.publish(sender, q1(1, "a", &big));
    rig.publish(sender, q1(2, "a", "small"));
    let small = ConnectOptions { maximum_packet_size: Some(50), ..v5("c").stored() };
    let client = rig.connect(small);
    assert_eq!(rig.lines(client), ["PUBLISH a small q1"]);
    assert_eq!(rig.dead(), [format!("too_large c {big}")]);
}

#[test]
fn queue_full_makes_a_letter_of_the_oldest() {
    let mut rig = Rig::with(|settings| settings.limits.queue_messages = 1);
    let reader = undertaker(&mut rig);
    backlog(&mut rig, "c");
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "y"));
    assert_eq!(rig.lines(reader), ["PUBLISH $dead/queue_full/c/a x q1"]);
    assert_eq!(rig.store.copies_of("c").len(), 1);
}

/// The client takes what is sent and closes, `times` times.
fn crash_client(rig: &mut Rig, times: usize) -> Vec<usize> {
    let mut counts = Vec::new();
    for _ in 0..times {
        let client = rig.connect(v5("c").stored());
        counts.push(rig.deliveries(client).len());
        rig.send(client, Packet::PingReq);
        rig.close(client, CloseCause::Peer { flushed: true });
    }
    counts
}

#[test]
fn delivery_limit_charges_the_oldest_when_the_client_closes() {
    let mut rig = Rig::with(|settings| settings.limits.max_deliveries = 3);
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "poison"));
    rig.publish(sender, q1(2, "a", "good"));
    assert_eq!(crash_client(&mut rig, 4), [2, 2, 2, 1]);
    assert_eq!(rig.dead(), ["delivery_limit c poison"]);
}

#[test]
fn delivery_limit_is_counted_over_a_crash() {
    let mut rig = Rig::with(|settings| settings.limits.max_deliveries = 3);
    backlog(&mut rig, "c");
    crash_client(&mut rig, 2);
    rig.crash();
    crash_client(&mut rig, 1);
    rig.connect(v5("c").stored());
    assert_eq!(rig.dead(), ["delivery_limit c x"]);
}

#[test]
fn delivery_limit_charges_nothing_for_the_networks_doing() {
    let mut rig = Rig::with(|settings| settings.limits.max_deliveries = 2);
    backlog(&mut rig, "c");
    for _ in 0..10 {
        let client = rig.connect(v5("c").stored());
        assert_eq!(rig.deliveries(client).len(), 1);
        rig.send(client, Packet::PingReq);
        rig.cut(client);
        rig.connect(v5("c").stored());
        rig.connect(v5("c").stored());
    }
    assert!(rig.dead().is_empty());
}

#[test]
fn delivery_limit_is_off_for_v311() {
    let mut rig = Rig::with(|settings| settings.limits.max_deliveries = 2);
    let client = rig.connect(v4("c").stored());
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    rig.cut(client);
    for _ in 0..30 {
        let client = rig.connect(v4("c").stored());
        assert_eq!(rig.deliveries(client).len(), 1);
        rig.send(client, Packet::PingReq);
        rig.close(client, CloseCause::Peer { flushed: true });
    }
    assert!(rig.dead().is_empty());
}

#[test]
fn delivery_limit_keeps_the_identifier_of_a_qos_2_message() {
    let mut rig = Rig::with(|settings| settings.limits.max_deliveries = 1);
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "a", "x"));
    let taken = rig.packet_id(client);
    rig.send(client, Packet::PingReq);
    rig.close(client, CloseCause::Peer { flushed: true });
    let client = rig.connect(v5("c").stored());
    assert_eq!(rig.dead(), ["delivery_limit c x"]);
    for n in 2..=50 {
        rig.publish(sender, q2(n, "a", "y"));
    }
    let got = rig.deliveries(client);
    assert_eq!(got.len(), 49);
    assert!(got.iter().all(|d| d.packet_id != Some(id(taken))));

    rig.crash();
    rig.connect(v5("c").stored()); // Which writes what the session knows.
    let session = rig.store.sessions.values().find(|session| &*session.client_id == "c");
    assert_eq!(session.expect("it is stored").taken, [id(taken)]);
}

#[test]
fn no_letters_of_qos_0() {
    let mut rig = Rig::new();
    let client = rig.connect(ConnectOptions { maximum_packet_size: Some(50), ..v5("c") });
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q0("a", &"x".repeat(100)));
    assert!(rig.dead().is_empty());
}

#[test]
fn no_letters_of_an_overwritten_retained_message() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    rig.publish(sender, keep(1, "a", "x"));
    rig.publish(sender, keep(2, "a", "y"));
    rig.publish(sender, keep(3, "a", ""));
    assert!(rig.dead().is_empty());
}

#[test]
fn no_letters_of_a_publish_that_nobody_wants() {
    let mut rig = Rig::new();
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    rig.publish(sender, q2(2, "a", "x"));
    assert!(rig.dead().is_empty());
}

#[test]
fn letters_about_dead_letters_do_not_exist() {
    let mut rig = Rig::with(|settings| settings.limits.queue_messages = 2);
    let reader = rig.connect(v5("reader").stored());
    rig.subscribe(reader, "$dead/#", 1);
    rig.cut(reader);
    let small = ConnectOptions { maximum_packet_size: Some(30), ..v5("small") };
    let small = rig.connect(small);
    rig.subscribe(small, "$dead/#", 1);
    for _ in 0..5 {
        backlog(&mut rig, "c");
        rig.connect(v5("c").stored().clean());
        rig.wait(1);
    }
    rig.connect(v5("reader").stored().clean());
    rig.wait(10);
    assert_eq!(rig.dead(), ["session_cleared c x"; 5]);
}

#[test]
fn a_refused_letter_is_not_a_new_letter() {
    let mut rig = Rig::new();
    let reader = undertaker(&mut rig);
    backlog(&mut rig, "c");
    rig.connect(v5("c").stored().clean());
    rig.wait(1);
    let id = rig.packet_id(reader);
    rig.send(reader, Packet::PubAck(refusal(id, ReasonCode(0x80))));
    rig.wait(10);
    assert_eq!(rig.dead().len(), 1);
    assert_eq!(rig.lines(reader), NOTHING);
}

#[test]
fn nobody_publishes_under_dead() {
    let mut rig = Rig::new();
    let reader = undertaker(&mut rig);
    let five = rig.connect(v5("five"));
    rig.publish(five, q0("$dead/expired/c/a", "0"));
    rig.publish(five, q1(1, "$dead/expired/c/a", "1"));
    rig.publish(five, q2(2, "$dead/expired/c/a", "2"));
    rig.publish(five, keep(3, "$dead", "3"));
    let four = rig.connect(v4("four"));
    rig.publish(four, q1(1, "$dead/x", "1"));
    assert_eq!(rig.lines(reader), NOTHING);
    assert!(rig.store.retained.is_empty());
    let codes = rig.lines(five);
    assert!(codes.iter().all(|l| !l.ends_with(" 00") && !l.ends_with(" 10")), "{codes:?}");
}

#[test]
fn hash_does_not_match_dead_letters() {
    // [MQTT-4.7.2-1]
    let mut rig = Rig::new();
    let all = rig.connect(v5("all"));
    rig.subscribe(all, "#", 1);
    rig.subscribe(all, "+/session_cleared/#", 1);
    backlog(&mut rig, "c");
    rig.lines(all);
    rig.connect(v5("c").stored().clean());
    rig.wait(1);
    assert_eq!(rig.lines(all), NOTHING);
}

#[test]
fn letters_are_kept_when_nobody_listens() {
    let mut rig = Rig::new();
    backlog(&mut rig, "c");
    rig.connect(v5("c").stored().clean());
    rig.wait(1);
    assert_eq!(rig.dead(), ["session_cleared c x"]);
    rig.crash();
    rig.wait(1_000);
    assert_eq!(rig.dead(), ["session_cleared c x"]);
}

#[test]
fn a_reason_that_is_switched_off_is_counted_only() {
    let mut rig = Rig::with(|settings| {
        settings.dead_letters.reasons = vec![DeadReason::Expired];
    });
    rig.store.keeps_no_letters = true;
    let reader = undertaker(&mut rig);
    backlog(&mut rig, "c");
    rig.connect(v5("c").stored().clean());
    rig.wait(1);
    assert!(rig.dead().is_empty());
    assert_eq!(rig.lines(reader), NOTHING);
    assert!(rig.store.copies.is_empty());
    assert_eq!(rig.broker.counters().dead[DeadReason::SessionCleared as usize], 1);
}

#[test]
fn a_backlog_of_which_no_letters_are_kept_is_told_whole() {
    let mut rig = Rig::with(|settings| {
        settings.dead_letters.reasons = vec![DeadReason::Expired];
    });
    rig.store.keeps_no_letters = true;
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    for n in 1..=3 {
        rig.publish(sender, q1(n, "a", "x"));
    }
    rig.wait(3_700);
    let told = rig.events.iter().find_map(|event| match event {
        Event::Undelivered { owner, reason, count, kept } => {
            Some((&**owner, *reason, *count, *kept))
        }
        _ => None,
    });
    assert_eq!(told, Some(("c", "session_expired", 3, false)));
}

#[test]
fn deaths_are_counted_by_reason() {
    let mut rig = Rig::new();
    backlog(&mut rig, "c");
    rig.wait(3_700);
    assert_eq!(rig.broker.counters().dead[DeadReason::SessionExpired as usize], 1);
}

#[test]
fn above_the_quota_the_oldest_letter_goes() {
    let mut rig = Rig::with(|settings| settings.dead_letters.max_count = 2);
    for name in ["1", "2", "3"] {
        backlog(&mut rig, name);
        rig.connect(v5(name).stored().clean());
        rig.wait(1);
    }
    assert_eq!(rig.dead(), ["session_cleared 2 x", "session_cleared 3 x"]);
    assert_eq!(rig.broker.counters().dead_dropped, 1);
}

#[test]
fn the_quota_holds_over_a_crash() {
    let mut rig = Rig::with(|settings| settings.dead_letters.max_count = 2);
    for name in ["1", "2"] {
        backlog(&mut rig, name);
        rig.connect(v5(name).stored().clean());
        rig.wait(1);
    }
    rig.crash();
    backlog(&mut rig, "3");
    rig.connect(v5("3").stored().clean());
    rig.wait(1);
    assert_eq!(rig.dead(), ["session_cleared 2 x", "session_cleared 3 x"]);
}

#[test]
fn a_letter_ages_out_from_its_death() {
    let mut rig = Rig::with(|settings| {
        settings.dead_letters.max_age = Duration::from_secs(100);
    });
    backlog(&mut rig, "c");
    rig.wait(1_000);
    rig.connect(v5("c").stored().clean());
    rig.wait(90);
    assert_eq!(rig.dead().len(), 1);
    rig.crash();
    rig.wait(200);
    assert!(rig.dead().is_empty());
}

#[test]
fn v311_readers_get_topic_and_payload() {
    let mut rig = Rig::new();
    let reader = rig.connect(v4("reader").stored());
    rig.subscribe(reader, "$dead/+/c/#", 1);
    backlog(&mut rig, "c");
    rig.connect(v5("c").stored().clean());
    rig.wait(1);
    assert_eq!(rig.lines(reader), ["PUBLISH $dead/session_cleared/c/a x q1"]);
}

#[test]
fn an_offline_reader_gets_its_letters_later() {
    let mut rig = Rig::new();
    let reader = rig.connect(v5("reader").stored());
    rig.subscribe(reader, "$dead/#", 1);
    rig.cut(reader);
    backlog(&mut rig, "c");
    rig.connect(v5("c").stored().clean());
    rig.wait(1);
    rig.crash();
    let reader = rig.connect(v5("reader").stored());
    assert_eq!(rig.lines(reader), ["PUBLISH $dead/session_cleared/c/a x q1"]);
}

#[test]
fn a_copy_that_dies_in_the_step_that_ends_its_session_gets_its_letter() {
    // Its own will overflows the queue, whose bodies are still on disk, as a Clean Start ends it.
    let mut rig = Rig::with(|settings| settings.limits.queue_messages = 1);
    backlog(&mut rig, "c");
    rig.delay_loads();
    rig.open(v5("c").stored().will(will("a", "will")));
    rig.open(v5("c").stored().clean());
    rig.load_at_once();
    rig.wait(10);
    let mut dead = rig.dead();
    dead.sort();
    // The overflow had not reached its oldest copy when the session took it along.
    assert_eq!(dead, ["session_cleared c will", "session_cleared c x"]);
    assert!(rig.store.copies.is_empty());
}

#[test]
fn a_will_that_fills_the_queue_of_its_own_session_loses_nothing_when_that_begins_anew() {
    let mut rig = Rig::with(|settings| settings.limits.queue_messages = 1);
    let client = rig.connect(v5("c").stored().window(1).will(will("a", "will")));
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "in flight"));
    rig.publish(sender, q1(2, "a", "queued"));
    rig.connect(v5("c").stored().clean());
    rig.wait(1);
    let mut dead = rig.dead();
    dead.sort();
    let all = ["in flight", "queued", "will"].map(|text| format!("session_cleared c {text}"));
    assert_eq!(dead, all);
}
