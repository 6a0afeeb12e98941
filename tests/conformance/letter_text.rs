//! What a dead letter says: its topic, and the properties that it is given.

use std::time::Duration;

use kedgemq::config::{Envelope, LetterTopic};
use kedgemq::mqtt::Packet;
use kedgemq::mqtt::ReasonCode;
use kedgemq::mqtt::packet::Publish;

use crate::dead_letters::{backlog, undertaker, value};
use crate::packets::*;
use crate::rig::{Rig, UNIX_MS};

#[test]
fn the_topic_encodes_the_owner_and_keeps_the_topic_raw() {
    let mut rig = Rig::new();
    let reader = undertaker(&mut rig);
    let name = "a/b+c#d%e~f$g\u{e9}";
    let client = rig.connect(v5(name).stored());
    rig.subscribe(client, "x/#", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "x/%41/\u{e9}", "x"));
    rig.connect(v5(name).stored().clean());
    rig.wait(1);
    let letters = rig.deliveries(reader);
    let topic = &*letters[0].message.topic;
    assert_eq!(topic, "$dead/session_cleared/a%2Fb%2Bc%23d%25e%7Ef%24g\u{e9}/x/%41/\u{e9}");
    let properties = user_properties(&letters[0].message.properties);
    assert_eq!(value(&properties, "dl-owner"), name);
    assert_eq!(value(&properties, "dl-topic"), "x/%41/\u{e9}");
}

#[test]
fn the_topic_of_a_share_group_names_group_and_filter() {
    let mut rig = Rig::new();
    let reader = undertaker(&mut rig);
    let client = rig.connect(v5("c"));
    rig.subscribe(client, "$share/g/x/+", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "x/y", "x"));
    let id = rig.packet_id(client);
    rig.send(client, Packet::PubAck(refusal(id, ReasonCode(0x80))));
    assert_eq!(rig.lines(reader), ["PUBLISH $dead/rejected/$share~g~x%2F%2B/x/y x q1"]);
}

#[test]
fn a_long_owner_is_shortened_in_the_topic_and_whole_in_the_properties() {
    let mut rig = Rig::new();
    let reader = undertaker(&mut rig);
    let (one, two) = ("n".repeat(300) + "1", "n".repeat(300) + "2");
    let mut owners = Vec::new();
    for name in [&one, &two] {
        backlog(&mut rig, name);
        rig.connect(v5(name).stored().clean());
        rig.wait(1);
        let letters = rig.deliveries(reader);
        let owner = letters[0].message.topic.split('/').nth(2).expect("owner").to_owned();
        assert!(owner.starts_with(&("n".repeat(64) + "~")), "{owner}");
        assert!(owner.len() < 100);
        let properties = user_properties(&letters[0].message.properties);
        assert_eq!(value(&properties, "dl-owner"), name);
        owners.push(owner);
    }
    assert_ne!(owners[0], owners[1]);
}

#[test]
fn the_properties_say_what_why_and_when() {
    let mut rig = Rig::new();
    let reader = undertaker(&mut rig);
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a/+", 2);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    let received = UNIX_MS + rig.now.0;
    rig.publish(sender, expiring(60, q1(1, "a/b", "x")));
    rig.wait(5);
    let died = UNIX_MS + rig.now.0;
    rig.connect(v5("c").stored().clean());
    rig.wait(1);
    let letters = rig.deliveries(reader);
    assert_eq!(letters[0].message.expiry, None, "it cannot die again");
    assert_eq!(letters[0].message.payload, "x");
    assert!(!letters[0].retain);
    let properties = user_properties(&letters[0].message.properties);
    for (name, expected) in [
        ("dl-reason", "session_cleared"),
        ("dl-first-reason", "session_cleared"),
        ("dl-topic", "a/b"),
        ("dl-owner", "c"),
        ("dl-filter", "a/+"),
        ("dl-qos", "1"),
        ("dl-deliveries", "0"),
        ("dl-deaths", "1"),
        ("dl-redrives", "0"),
        ("dl-age-ms", "5000"),
        ("dl-expiry", "60"),
        ("dl-broker", "rig"),
    ] {
        assert_eq!(value(&properties, name), expected, "{name}");
    }
    assert!(!value(&properties, "dl-id").is_empty());
    for (name, expected) in [("dl-received", received), ("dl-time", died)] {
        let text = value(&properties, name);
        let parsed = humantime::parse_rfc3339(text).expect("RFC 3339");
        let since = parsed.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        assert_eq!(since, Duration::from_millis(expected), "{name}");
        assert!(text.contains('.'), "{text} has no milliseconds");
    }
}

#[test]
fn the_publishers_own_properties_come_first_and_its_dl_properties_are_left_out() {
    let mut rig = Rig::new();
    let reader = undertaker(&mut rig);
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let mut own = vec![0x01, 1];
    own.extend(user_property("b", "1"));
    own.extend(user_property("dl-reason", "forged"));
    own.extend(user_property("a", "2"));
    let sender = rig.connect(v5("p"));
    rig.publish(sender, Publish { properties: own.into(), ..q1(1, "a", "x") });
    rig.connect(v5("c").stored().clean());
    rig.wait(1);
    let letters = rig.deliveries(reader);
    assert_eq!(letters[0].message.properties[..2], [0x01, 1]);
    let properties = user_properties(&letters[0].message.properties);
    assert_eq!(properties[0], ("b".to_owned(), "1".to_owned()));
    assert_eq!(properties[1], ("a".to_owned(), "2".to_owned()));
    assert!(properties[2].0.starts_with("dl-"));
    assert_eq!(value(&properties, "dl-reason"), "session_cleared");
}

#[test]
fn a_publishers_dl_properties_pass_on_ordinary_ways() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.subscribe(client, "a", 0);
    let own = user_property("dl-reason", "mine");
    rig.publish(client, Publish { properties: (&own).into(), ..q0("a", "x") });
    assert_eq!(*rig.deliveries(client)[0].message.properties, *own);
}

#[test]
fn an_envelope_has_everything_in_one_object() {
    let mut rig = Rig::with(|settings| settings.dead_letters.envelope = Envelope::Json);
    let reader = rig.connect(v4("reader"));
    rig.subscribe(reader, "$dead/#", 1);
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    let mut publish = q1(1, "a", "x");
    publish.properties = user_property("colour", "red").into();
    rig.publish(sender, publish);
    rig.connect(v5("c").clean());
    rig.wait(1);
    let letters = rig.deliveries(reader);
    let object: serde_json::Value =
        serde_json::from_slice(&letters[0].message.payload).expect("JSON");
    assert_eq!(object["reason"], "session_cleared");
    assert_eq!(object["owner"], "c");
    assert_eq!(object["topic"], "a");
    assert_eq!(object["payload"], "x");
    assert_eq!(object["user_properties"], serde_json::json!([["colour", "red"]]));
}

#[test]
fn another_template_is_the_topic_of_all_letters_and_nobody_elses() {
    let template = LetterTopic::new("site/dead/{reason}/{topic}").expect("it is one");
    let mut rig = Rig::with(|settings| settings.dead_letters.topic = template);
    let reader = rig.connect(v5("reader"));
    rig.subscribe(reader, "site/#", 1);
    crate::dead_letters::backlog(&mut rig, "c");
    rig.connect(v5("c").clean());
    rig.wait(1);
    assert_eq!(rig.lines(reader), ["PUBLISH site/dead/session_cleared/a x q1"]);
    let sender = rig.connect(v5("forger"));
    rig.publish(sender, q1(1, "site/dead/forged", "x"));
    assert!(rig.lines(sender)[0].starts_with("PUBACK 1 87"));
}

#[test]
fn mqtt_4_7_3_3_the_topic_of_a_letter_is_cut_to_65535_bytes() {
    let mut rig = Rig::new();
    let reader = undertaker(&mut rig);
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "#", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    let topic = "\u{e9}".repeat(65_535 / 2);
    rig.publish(sender, q1(1, &topic, "x"));
    rig.connect(v5("c").stored().clean());
    rig.wait(1);
    let letters = rig.deliveries(reader);
    let cut = &*letters[0].message.topic;
    assert!((65_534..=65_535).contains(&cut.len()), "{}", cut.len());
    assert!(topic.starts_with(cut.trim_start_matches("$dead/session_cleared/c/")));
    let properties = user_properties(&letters[0].message.properties);
    assert_eq!(value(&properties, "dl-topic"), topic);
}
