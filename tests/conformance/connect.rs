//! CONNECT, CONNACK, keep-alive, PINGREQ, DISCONNECT and AUTH.

use kedgemq::auth::Admission;
use kedgemq::mqtt::{ReasonCode, Reply, Version};
use kedgemq::turn::CloseCause;

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

fn connack(rig: &mut Rig, connect: ConnectOptions) -> kedgemq::mqtt::reply::ConnAck {
    let client = rig.open(connect);
    match rig.received(client).remove(0) {
        Reply::ConnAck(ack) => *ack,
        other => panic!("{other:?} before CONNACK"),
    }
}

#[test]
fn mqtt_3_1_0_2_a_second_connect_is_a_protocol_error() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    let again = v5("c");
    rig.send(client, kedgemq::mqtt::Packet::Connect(Box::new(again.packet())));
    assert_eq!(rig.lines(client), ["DISCONNECT 82", "CLOSE"]);

    let client = rig.connect(v4("d"));
    let again = v4("d");
    rig.send(client, kedgemq::mqtt::Packet::Connect(Box::new(again.packet())));
    assert_eq!(rig.lines(client), ["CLOSE"]);
}

#[test]
fn mqtt_3_1_2_4_clean_start_discards_the_session() {
    for connect in [v4("c"), v5("c")] {
        let mut rig = Rig::new();
        let first = rig.connect(connect.clone().stored());
        rig.subscribe(first, "a", 1);
        rig.disconnect(first);
        let second = rig.open(connect.clone().stored().clean());
        assert_eq!(rig.lines(second), ["CONNACK 00"]);
        rig.publish(second, q1(1, "a", "x"));
        assert!(rig.deliveries(second).is_empty());
    }
}

#[test]
fn mqtt_3_1_2_5_without_clean_start_the_session_goes_on() {
    for connect in [v4("c"), v5("c")] {
        let mut rig = Rig::new();
        let first = rig.connect(connect.clone().stored());
        rig.subscribe(first, "a", 1);
        rig.disconnect(first);
        let second = rig.open(connect.stored());
        assert_eq!(rig.lines(second), ["CONNACK 00 present"]);
        rig.publish(second, q0("a", "x"));
        assert_eq!(rig.lines(second), ["PUBLISH a x q0"]);
    }
}

#[test]
fn mqtt_3_1_2_6_without_a_session_a_new_one_is_made() {
    let mut rig = Rig::new();
    for connect in [v4("c").stored(), v5("d").stored()] {
        let client = rig.open(connect);
        assert_eq!(rig.lines(client), ["CONNACK 00"]);
    }
}

#[test]
fn mqtt_3_1_2_22_silence_of_one_and_a_half_keep_alives_closes() {
    let mut rig = Rig::new();
    let five = rig.connect(ConnectOptions { keep_alive: 10, ..v5("five") });
    let four = rig.connect(ConnectOptions { keep_alive: 10, ..v4("four") });
    rig.wait(14);
    assert!(!rig.is_closed(five) && !rig.is_closed(four));
    rig.wait(2);
    assert_eq!(rig.lines(five), ["DISCONNECT 8D", "CLOSE"]);
    assert_eq!(rig.lines(four), ["CLOSE"]);
}

#[test]
fn mqtt_3_1_2_22_any_packet_counts_as_a_sign_of_life() {
    let mut rig = Rig::new();
    let client = rig.connect(ConnectOptions { keep_alive: 10, ..v5("c") });
    for _ in 0..5 {
        rig.wait(12);
        rig.publish(client, q0("a", "x"));
    }
    assert!(!rig.is_closed(client));
    rig.wait(16);
    assert!(rig.is_closed(client));
}

#[test]
fn keep_alive_0_never_closes() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.wait(1_000_000);
    assert!(!rig.is_closed(client));
}

#[test]
fn mqtt_3_1_3_2_the_client_identifier_names_the_session() {
    let mut rig = Rig::new();
    let first = rig.connect(v5("c").stored());
    rig.disconnect(first);
    let other = rig.open(v5("C").stored());
    assert_eq!(rig.lines(other), ["CONNACK 00"]);
}

#[test]
fn mqtt_3_1_3_5_client_identifiers_of_23_letters_and_digits_are_allowed() {
    let mut rig = Rig::new();
    for name in ["0", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"] {
        for connect in [v4(name), v5(name)] {
            let client = rig.open(connect);
            assert_eq!(rig.lines(client), ["CONNACK 00"]);
        }
    }
}

#[test]
fn mqtt_3_1_3_6_an_empty_client_identifier_gets_one_of_its_own() {
    let mut rig = Rig::new();
    let first = connack(&mut rig, v5("")).assigned_client_id.expect("assigned");
    let second = connack(&mut rig, v5("")).assigned_client_id.expect("assigned");
    assert!(!first.is_empty());
    assert_ne!(first, second);
}

#[test]
fn mqtt_3_1_3_7_the_assigned_client_identifier_works_as_if_given() {
    let mut rig = Rig::new();
    let first = rig.open(v5("").stored());
    let Reply::ConnAck(ack) = rig.received(first).remove(0) else { panic!("CONNACK") };
    let name = ack.assigned_client_id.expect("assigned");
    rig.disconnect(first);
    let ack = connack(&mut rig, v5(&name).stored());
    assert!(ack.session_present);
    assert_eq!(ack.assigned_client_id, None);
}

#[test]
fn mqtt_3_2_2_16_an_assigned_identifier_is_new_after_a_crash_too() {
    let mut rig = Rig::new();
    let before = connack(&mut rig, v5("").stored()).assigned_client_id.expect("assigned");
    rig.crash();
    let after = connack(&mut rig, v5("").stored());
    assert_ne!(after.assigned_client_id.expect("assigned"), before);
    assert!(!after.session_present);
}

#[test]
fn mqtt311_3_1_3_7_an_empty_client_identifier_needs_clean_session() {
    let mut rig = Rig::new();
    let client = rig.open(v4(""));
    assert_eq!(rig.lines(client), ["CONNACK 00"]);
}

#[test]
fn mqtt311_3_1_3_8_an_empty_client_identifier_without_clean_session_is_refused() {
    let mut rig = Rig::new();
    let client = rig.open(v4("").stored());
    assert_eq!(rig.lines(client), ["CONNACK 85", "CLOSE"]);
}

#[test]
fn mqtt_3_1_4_2_wrong_credentials_close() {
    let mut rig = Rig::new();
    for (admission, line) in
        [(Admission::BadUserNameOrPassword, "CONNACK 86"), (Admission::NotAuthorized, "CONNACK 87")]
    {
        for connect in [v4("c"), v5("c")] {
            let client = rig.open(ConnectOptions { admission, ..connect });
            assert_eq!(rig.lines(client), [line, "CLOSE"]);
        }
    }
}

#[test]
fn mqtt_3_1_4_3_a_take_over_disconnects_the_old_connection() {
    let mut rig = Rig::new();
    let five = rig.connect(v5("five"));
    let four = rig.connect(v4("four"));
    rig.connect(v5("five"));
    rig.connect(v4("four"));
    assert_eq!(rig.lines(five), ["DISCONNECT 8E", "CLOSE"]);
    assert_eq!(rig.lines(four), ["CLOSE"]);
}

#[test]
fn mqtt_3_1_4_3_a_take_over_keeps_the_session_where_it_is_stored() {
    let mut rig = Rig::new();
    let old = rig.connect(v5("c").stored());
    rig.subscribe(old, "a", 1);
    let new = rig.open(v5("c").stored());
    assert_eq!(rig.lines(new), ["CONNACK 00 present"]);
    rig.publish(new, q0("a", "x"));
    assert_eq!(rig.lines(new), ["PUBLISH a x q0"]);
}

#[test]
fn a_take_over_without_clean_start_resumes_a_transient_session_or_makes_a_new_one() {
    let mut rig = Rig::new();
    let old = rig.connect(v5("c"));
    rig.subscribe(old, "a", 1);
    let new = rig.open(v5("c").stored());
    let present = rig.lines(new) == ["CONNACK 00 present"];
    rig.publish(new, q0("a", "x"));
    assert_eq!(rig.lines(new).len(), usize::from(present), "present and subscribed, or neither");
}

#[test]
fn mqtt_3_1_4_5_connack_comes_first_and_once() {
    let mut rig = Rig::new();
    let first = rig.connect(v5("c").stored());
    rig.subscribe(first, "a", 1);
    rig.cut(first);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let second = rig.open(v5("c").stored());
    assert_eq!(rig.lines(second), ["CONNACK 00 present", "PUBLISH a x q1"]);
}

#[test]
fn mqtt_3_1_4_6_nothing_is_done_for_a_refused_client() {
    let mut rig = Rig::new();
    let other = rig.connect(v5("other"));
    rig.subscribe(other, "a", 0);
    let admission = Admission::NotAuthorized;
    let refused = rig.open(ConnectOptions { admission, ..v5("c").stored() });
    rig.publish(refused, q0("a", "x"));
    assert_eq!(rig.lines(other), NOTHING);
    assert!(rig.store.session_of("c").is_none());
    assert_eq!(rig.lines(refused), ["CONNACK 87", "CLOSE"]);
}

#[test]
fn a_refused_connect_takes_over_nothing() {
    let mut rig = Rig::new();
    let first = rig.connect(v5("c"));
    let admission = Admission::BadUserNameOrPassword;
    rig.open(ConnectOptions { admission, ..v5("c") });
    assert_eq!(rig.lines(first), NOTHING);
    rig.send(first, kedgemq::mqtt::Packet::PingReq);
    assert_eq!(rig.lines(first), ["PINGRESP"]);
}

#[test]
fn mqtt_3_2_2_2_clean_start_is_never_session_present() {
    let mut rig = Rig::new();
    let first = rig.connect(v5("c").stored());
    rig.disconnect(first);
    assert!(!connack(&mut rig, v5("c").stored().clean()).session_present);
}

#[test]
fn mqtt_3_2_2_3_session_present_says_whether_there_is_one() {
    let mut rig = Rig::new();
    assert!(!connack(&mut rig, v5("c").stored()).session_present);
    assert!(connack(&mut rig, v5("c").stored()).session_present);
    assert!(!connack(&mut rig, v4("d").stored()).session_present);
    assert!(connack(&mut rig, v4("d").stored()).session_present);
}

#[test]
fn mqtt_3_2_2_6_a_refusing_connack_has_no_session_present() {
    let mut rig = Rig::new();
    rig.connect(v5("c").stored());
    let admission = Admission::NotAuthorized;
    let ack = connack(&mut rig, ConnectOptions { admission, ..v5("c").stored() });
    assert!(!ack.session_present);
}

#[test]
fn mqtt_3_2_2_21_a_capped_keep_alive_is_told_and_used() {
    let mut rig = Rig::with(|settings| settings.limits.keep_alive = 30);
    for asked in [0, 60] {
        let name = asked.to_string();
        let client = rig.open(ConnectOptions { keep_alive: asked, ..v5(&name) });
        let Reply::ConnAck(ack) = rig.received(client).remove(0) else { panic!("CONNACK") };
        assert_eq!(ack.server_keep_alive, Some(30));
        rig.wait(44);
        assert!(!rig.is_closed(client));
        rig.wait(2);
        assert!(rig.is_closed(client));
    }
}

#[test]
fn mqtt_3_2_2_22_without_server_keep_alive_the_clients_value_counts() {
    let mut rig = Rig::with(|settings| settings.limits.keep_alive = 30);
    let client = rig.open(ConnectOptions { keep_alive: 10, ..v5("c") });
    let Reply::ConnAck(ack) = rig.received(client).remove(0) else { panic!("CONNACK") };
    assert_eq!(ack.server_keep_alive, None);
    rig.wait(16);
    assert!(rig.is_closed(client));
}

#[test]
fn connack_tells_the_limits() {
    let mut rig = Rig::with(|settings| {
        settings.limits.session_expiry = 60;
        settings.limits.receive_maximum = 100;
    });
    let ack = connack(&mut rig, v5("c").stored());
    assert_eq!(ack.receive_maximum, Some(100));
    assert_eq!(ack.topic_alias_maximum, 32);
    assert_eq!(ack.maximum_packet_size, Some(2 * 1024 * 1024));
    assert_eq!(ack.session_expiry, Some(60));
    let ack = connack(&mut Rig::new(), v5("d"));
    assert_eq!(ack.receive_maximum, None, "as many as there are Packet Identifiers");
}

#[test]
fn connack_does_not_repeat_the_session_expiry_that_the_client_asked_for() {
    let mut rig = Rig::new();
    assert_eq!(connack(&mut rig, v5("c").stored()).session_expiry, None);
}

#[test]
fn mqtt_3_12_4_1_pingreq_is_answered() {
    let mut rig = Rig::new();
    for connect in [v4("c"), v5("d")] {
        let client = rig.connect(connect);
        rig.send(client, kedgemq::mqtt::Packet::PingReq);
        assert_eq!(rig.lines(client), ["PINGRESP"]);
    }
}

#[test]
fn mqtt_3_14_0_1_no_disconnect_before_connack() {
    let mut rig = Rig::new();
    let stranger = rig.new_connection(Version::V5);
    let cause = CloseCause::Malformed { reason: ReasonCode::MALFORMED_PACKET, why: "x".into() };
    rig.close(stranger, cause);
    assert!(!rig.lines(stranger).iter().any(|line| line.starts_with("DISCONNECT")));
}

#[test]
fn a_connect_that_cannot_be_read_is_answered_where_the_version_allows_it() {
    // Section 4.13.1; [MQTT-3.1.4-1] and [MQTT-3.1.2-2] of 3.1.1
    let mut rig = Rig::new();
    let mut answer = |version, reason| {
        let stranger = rig.new_connection(version);
        rig.close(stranger, CloseCause::BadConnect { version, reason, why: "x".into() });
        rig.lines(stranger)
    };
    let (malformed, level) =
        (ReasonCode::MALFORMED_PACKET, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION);
    assert_eq!(answer(Version::V5, malformed), ["CONNACK 81", "CLOSE"]);
    assert_eq!(answer(Version::V5, ReasonCode::PACKET_TOO_LARGE), ["CONNACK 95", "CLOSE"]);
    assert_eq!(answer(Version::V311, malformed), ["CLOSE"]);
    assert_eq!(answer(Version::V311, level), ["CONNACK 84", "CLOSE"]);
}

#[test]
fn mqtt_4_13_1_1_a_malformed_packet_ends_the_connection_with_its_code() {
    let mut rig = Rig::new();
    for reason in [ReasonCode::MALFORMED_PACKET, ReasonCode::PACKET_TOO_LARGE] {
        let five = rig.connect(v5("five"));
        let four = rig.connect(v4("four"));
        for client in [five, four] {
            rig.close(client, CloseCause::Malformed { reason, why: "x".into() });
        }
        assert_eq!(rig.lines(five), [format!("DISCONNECT {:02X}", reason.0), "CLOSE".into()]);
        assert_eq!(rig.lines(four), ["CLOSE"]);
    }
}

#[test]
fn mqtt_3_14_4_1_nothing_follows_the_clients_disconnect() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.send(client, disconnect(0, None));
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q0("a", "x"));
    rig.send(client, kedgemq::mqtt::Packet::PingReq);
    assert!(rig.lines(client).iter().all(|line| line == "CLOSE"));
}

#[test]
fn mqtt_4_12_0_1_an_authentication_method_is_refused() {
    let mut rig = Rig::new();
    let client = rig.open(ConnectOptions { authentication_method: Some("M"), ..v5("c") });
    assert_eq!(rig.lines(client), ["CONNACK 8C", "CLOSE"]);
}

#[test]
fn mqtt_4_12_0_7_auth_without_a_method_is_a_protocol_error() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c"));
    rig.send(client, auth(0x19));
    assert_eq!(rig.lines(client), ["DISCONNECT 82", "CLOSE"]);
}

#[test]
fn a_shutdown_says_goodbye() {
    let mut rig = Rig::new();
    let five = rig.connect(v5("five"));
    let four = rig.connect(v4("four"));
    rig.shut_down();
    assert_eq!(rig.lines(five), ["DISCONNECT 8B", "CLOSE"]);
    assert_eq!(rig.lines(four), ["CLOSE"]);
}

#[test]
fn a_session_may_change_its_protocol_version() {
    let mut rig = Rig::new();
    let first = rig.connect(v4("c").stored());
    rig.subscribe(first, "a", 1);
    rig.disconnect(first);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let second = rig.open(v5("c").stored());
    assert_eq!(rig.lines(second), ["CONNACK 00 present", "PUBLISH a x q1"]);
}

#[test]
fn a_packet_on_a_connection_that_is_gone_is_ignored() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("w"));
    rig.subscribe(watcher, "a", 0);
    let client = rig.connect(v5("c"));
    rig.cut(client);
    rig.publish(client, q0("a", "x"));
    assert_eq!(rig.lines(watcher), NOTHING);
}

#[test]
fn mqtt_3_1_2_29_no_reason_strings_for_clients_that_want_none() {
    for problem_information in [false, true] {
        let mut rig = Rig::new();
        let client = rig.connect(ConnectOptions { problem_information, ..v5("c") });
        let too_deep = "x/".repeat(200);
        rig.send(client, subscribe(1, &[(&too_deep, options(0)), ("a/#/b", options(0))]));
        rig.send(client, unsubscribe(2, &["never"]));
        rig.publish(client, q1(3, "$dead/x", "x"));
        rig.publish(client, q2(4, "$dead/x", "x"));
        let texts = rig.received(client).into_iter().filter_map(|reply| match reply {
            Reply::SubAck(list) | Reply::UnsubAck(list) => list.reason_string,
            Reply::PubAck(ack) | Reply::PubRec(ack) => ack.reason_string,
            _ => None,
        });
        assert_eq!(texts.count(), if problem_information { 2 } else { 0 });
    }
}

#[test]
fn mqtt_3_14_4_1_nothing_follows_our_disconnect() {
    // [MQTT-3.14.4-2]
    for connect in [v4("c").stored(), v5("c").stored()] {
        let mut rig = Rig::new();
        let sender = rig.connect(v5("p"));
        let client = rig.connect(connect.clone());
        rig.subscribe(client, "a", 2);
        rig.publish(sender, q2(1, "a", "x"));
        let id = rig.packet_id(client);
        rig.send(client, kedgemq::mqtt::Packet::Connect(Box::new(connect.packet())));
        match connect.version {
            Version::V5 => assert_eq!(rig.sent_now(client), ["DISCONNECT 82", "CLOSE"]),
            _ => assert_eq!(rig.sent_now(client), ["CLOSE"]),
        }
        rig.publish(sender, q0("a", "0"));
        assert_eq!(rig.sent_now(client), NOTHING);
        rig.publish(sender, q2(2, "a", "2"));
        assert_eq!(rig.sent_now(client), NOTHING);
        assert_eq!(rig.held(client), NOTHING);
        rig.send(client, pubrec(id));
        assert_eq!(rig.sent_now(client), NOTHING);
    }
}
