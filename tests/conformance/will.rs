//! The Will: when it is published and when not, its delay, and what a restart does to it.

use kedgemq::mqtt::packet::Will;
use kedgemq::mqtt::{QoS, ReasonCode};
use kedgemq::turn::{CloseCause, ConnectionId};

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

fn watched() -> (Rig, ConnectionId) {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("watcher"));
    rig.subscribe(watcher, "will/#", 2);
    (rig, watcher)
}

fn dies() -> Will<'static> {
    will("will/c", "dead")
}

fn delayed(delay: u32) -> Will<'static> {
    Will { delay, ..dies() }
}

const PUBLISHED: [&str; 1] = ["PUBLISH will/c dead q1"];

#[test]
fn mqtt_3_1_2_8_the_will_follows_a_lost_connection() {
    let causes = [
        CloseCause::Peer { flushed: true },
        CloseCause::Network("reset".into()),
        CloseCause::Malformed { reason: ReasonCode::MALFORMED_PACKET, why: "x".into() },
        CloseCause::Server { reason: ReasonCode::ADMINISTRATIVE_ACTION, why: "x".into() },
    ];
    for cause in causes {
        for connect in [v4("c"), v5("c"), v4("c").stored(), v5("c").stored()] {
            let (mut rig, watcher) = watched();
            let client = rig.connect(connect.will(dies()));
            assert_eq!(rig.lines(watcher), NOTHING);
            rig.close(client, cause.clone());
            assert_eq!(rig.lines(watcher), PUBLISHED, "{cause:?}");
        }
    }
}

#[test]
fn the_will_follows_a_keep_alive_timeout_and_a_protocol_error() {
    let (mut rig, watcher) = watched();
    rig.connect(ConnectOptions { keep_alive: 10, ..v5("c").will(dies()) });
    rig.wait(20);
    assert_eq!(rig.lines(watcher), PUBLISHED);
    let client = rig.connect(v5("c").will(dies()));
    rig.send(client, auth(0x19));
    assert_eq!(rig.lines(watcher), PUBLISHED);
}

#[test]
fn mqtt_3_14_4_3_a_normal_disconnect_discards_the_will() {
    // [MQTT-3.1.2-10]
    for connect in [v4("c"), v5("c"), v4("c").stored(), v5("c").stored()] {
        let (mut rig, watcher) = watched();
        let client = rig.connect(connect.will(dies()));
        rig.disconnect(client);
        rig.wait(10_000);
        assert_eq!(rig.lines(watcher), NOTHING);
    }
}

#[test]
fn a_normal_disconnect_discards_the_will_across_a_crash_too() {
    let (mut rig, _) = watched();
    let client = rig.connect(v5("c").stored().will(dies()));
    rig.disconnect(client);
    rig.crash();
    let watcher = rig.connect(v5("watcher"));
    rig.subscribe(watcher, "will/#", 2);
    rig.wait(1_000);
    assert_eq!(rig.lines(watcher), NOTHING);
}

#[test]
fn a_disconnect_with_will_message_publishes_it() {
    for reason in [0x04, 0x80, 0x81, 0x97] {
        let (mut rig, watcher) = watched();
        let client = rig.connect(v5("c").will(dies()));
        rig.send(client, disconnect(reason, None));
        assert_eq!(rig.lines(watcher), PUBLISHED);
    }
}

#[test]
fn mqtt_3_1_2_14_a_will_without_retain_is_not_retained() {
    let (mut rig, _) = watched();
    let client = rig.connect(v5("c").will(dies()));
    rig.cut(client);
    assert!(rig.store.retained.is_empty());
}

#[test]
fn mqtt_3_1_2_15_a_will_with_retain_is_retained() {
    for connect in [v4("c"), v5("c")] {
        let (mut rig, watcher) = watched();
        let client = rig.connect(connect.will(Will { retain: true, ..dies() }));
        rig.cut(client);
        assert_eq!(rig.lines(watcher), PUBLISHED);
        let late = rig.connect(v5("late"));
        rig.subscribe(late, "will/c", 1);
        assert_eq!(rig.lines(late), ["PUBLISH will/c dead q1 retain"]);
    }
}

#[test]
fn mqtt_3_1_2_12_the_will_has_its_qos() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (mut rig, watcher) = watched();
        let client = rig.connect(v5("c").will(Will { qos, ..dies() }));
        rig.cut(client);
        assert_eq!(rig.deliveries(watcher)[0].qos, qos);
    }
}

#[test]
fn the_will_keeps_its_properties_and_payload() {
    let (mut rig, watcher) = watched();
    let mut properties = vec![0x01, 1, 0x09, 0, 2, 7, 8];
    properties.extend(user_property("b", "2"));
    properties.extend(user_property("a", "1"));
    let with = Will {
        properties: properties.clone().into(),
        message_expiry: Some(30),
        payload: &[0, 255, 1],
        ..dies()
    };
    let client = rig.connect(v5("c").stored().will(with));
    rig.wait(100);
    rig.cut(client);
    let got = rig.deliveries(watcher);
    assert_eq!(*got[0].message.properties, *properties, "[MQTT-3.1.3-10]");
    assert_eq!(got[0].message.payload[..], [0, 255, 1]);
    let left = got[0].message.remaining_expiry(rig.now);
    assert_eq!(left, Some(30), "it begins when the will is published");
}

#[test]
fn mqtt_3_1_3_9_a_client_that_is_back_within_the_delay_has_no_will() {
    let (mut rig, watcher) = watched();
    let client = rig.connect(v5("c").stored().will(delayed(10)));
    rig.cut(client);
    rig.wait(9);
    let client = rig.connect(v5("c").stored());
    rig.wait(1_000);
    rig.cut(client);
    rig.wait(10_000);
    assert_eq!(rig.lines(watcher), NOTHING, "the new connection has none");
}

#[test]
fn the_will_is_published_after_its_delay() {
    let (mut rig, watcher) = watched();
    let client = rig.connect(v5("c").stored().will(delayed(10)));
    rig.cut(client);
    rig.wait(9);
    assert_eq!(rig.lines(watcher), NOTHING);
    rig.wait(2);
    assert_eq!(rig.lines(watcher), PUBLISHED);
    rig.wait(10_000);
    assert_eq!(rig.lines(watcher), NOTHING, "[MQTT-3.1.2-10]: once");
}

#[test]
fn the_end_of_the_session_ends_the_delay() {
    let (mut rig, watcher) = watched();
    let expiring = ConnectOptions { session_expiry: Some(5), ..v5("c").stored() };
    let client = rig.connect(expiring.will(delayed(1_000)));
    rig.cut(client);
    rig.wait(6);
    assert_eq!(rig.lines(watcher), PUBLISHED);
}

#[test]
fn a_transient_session_has_no_delay() {
    let (mut rig, watcher) = watched();
    let client = rig.connect(v5("c").will(delayed(1_000)));
    rig.cut(client);
    assert_eq!(rig.lines(watcher), PUBLISHED);
}

#[test]
fn a_clean_start_within_the_delay_ends_the_session_and_publishes_the_will() {
    let (mut rig, watcher) = watched();
    let client = rig.connect(v5("c").stored().will(delayed(1_000)));
    rig.cut(client);
    rig.connect(v5("c").stored().clean());
    assert_eq!(rig.lines(watcher), PUBLISHED);
}

#[test]
fn a_take_over_publishes_a_will_without_delay() {
    for connect in [v4("c").stored(), v5("c").stored()] {
        let (mut rig, watcher) = watched();
        rig.connect(connect.clone().will(dies()));
        rig.connect(connect);
        assert_eq!(rig.lines(watcher), PUBLISHED);
    }
}

#[test]
fn a_take_over_that_resumes_cancels_a_delayed_will() {
    let (mut rig, watcher) = watched();
    rig.connect(v5("c").stored().will(delayed(10)));
    rig.connect(v5("c").stored());
    rig.wait(1_000);
    assert_eq!(rig.lines(watcher), NOTHING);
}

#[test]
fn a_new_connect_replaces_the_will() {
    let (mut rig, watcher) = watched();
    let client = rig.connect(v5("c").stored().will(dies()));
    rig.disconnect(client);
    let client = rig.connect(v5("c").stored().will(will("will/new", "new")));
    rig.cut(client);
    assert_eq!(rig.lines(watcher), ["PUBLISH will/new new q1"]);
}

#[test]
fn a_will_reaches_offline_sessions() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("watcher").stored());
    rig.subscribe(watcher, "will/#", 1);
    rig.cut(watcher);
    let client = rig.connect(v4("c").will(dies()));
    rig.cut(client);
    rig.crash();
    let watcher = rig.connect(v5("watcher").stored());
    assert_eq!(rig.lines(watcher), PUBLISHED);
}

#[test]
fn a_shutdown_publishes_wills_to_sessions_that_are_stored() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("watcher").stored());
    rig.subscribe(watcher, "will/#", 1);
    rig.connect(v5("c").will(dies()));
    rig.shut_down();
    rig.crash();
    let watcher = rig.connect(v5("watcher").stored());
    assert_eq!(rig.deliveries(watcher).len(), 1);
}

#[test]
fn after_a_restart_a_will_waits_for_the_grace() {
    let mut rig = Rig::new();
    rig.connect(v4("c").stored().will(dies()));
    rig.crash();
    let watcher = rig.connect(v5("watcher"));
    rig.subscribe(watcher, "will/#", 2);
    rig.wait(9);
    assert_eq!(rig.lines(watcher), NOTHING);
    rig.wait(2);
    assert_eq!(rig.lines(watcher), PUBLISHED);
}

#[test]
fn after_a_restart_a_longer_delay_counts() {
    let mut rig = Rig::new();
    rig.connect(v5("c").stored().will(delayed(60)));
    rig.crash();
    let watcher = rig.connect(v5("watcher"));
    rig.subscribe(watcher, "will/#", 2);
    rig.wait(50);
    assert_eq!(rig.lines(watcher), NOTHING);
    rig.wait(11);
    assert_eq!(rig.lines(watcher), PUBLISHED);
}

#[test]
fn after_a_restart_a_client_that_comes_back_in_time_has_no_will() {
    let mut rig = Rig::new();
    rig.connect(v5("c").stored().will(dies()));
    rig.crash();
    let watcher = rig.connect(v5("watcher"));
    rig.subscribe(watcher, "will/#", 2);
    rig.wait(5);
    rig.connect(v5("c").stored());
    rig.wait(1_000);
    assert_eq!(rig.lines(watcher), NOTHING);
}

#[test]
fn a_published_will_is_not_published_again_after_a_crash() {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored().will(dies()));
    rig.cut(client);
    rig.crash();
    let watcher = rig.connect(v5("watcher"));
    rig.subscribe(watcher, "will/#", 2);
    rig.wait(3_000);
    assert_eq!(rig.lines(watcher), NOTHING);
}

#[test]
fn a_will_of_a_stored_session_leaves_when_its_removal_is_durable() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("watcher"));
    rig.subscribe(watcher, "will/#", 0);
    let client = rig.connect(v5("c").stored().will(dies()));
    rig.hold_commits();
    rig.cut(client);
    assert_eq!(rig.lines(watcher), NOTHING);
    rig.commit();
    assert_eq!(rig.lines(watcher), ["PUBLISH will/c dead q0"]);
}

#[test]
fn a_will_under_dead_is_never_published() {
    let mut rig = Rig::new();
    let watcher = rig.connect(v5("watcher"));
    rig.subscribe(watcher, "$dead/#", 1);
    let client = rig.open(v5("c").will(will("$dead/x", "forged")));
    if !rig.is_closed(client) {
        rig.cut(client);
    }
    assert_eq!(rig.lines(watcher), NOTHING);
}
