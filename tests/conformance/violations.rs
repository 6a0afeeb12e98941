//! What is well-formed and yet wrong at its time: every [`Violation`] has its case here.

use std::collections::BTreeSet;

use kedgemq::mqtt::Packet;
use kedgemq::session::violation::Violation::{self, *};
use kedgemq::turn::{ConnectionId, Event};

use crate::packets::*;
use crate::rig::Rig;

/// With the Reason Code of the DISCONNECT, and whether 3.1.1 has it.
const ALL: [(Violation, u8, bool); 14] = [
    (SecondConnect, 0x82, true),
    (TopicAliasTooLarge, 0x94, false),
    (TopicAliasUnknown, 0x82, false),
    (ReceiveMaximumExceeded, 0x93, false),
    (TopicTooDeep, 0x90, true),
    (QosNotSupported, 0x9B, true),
    (RetainNotSupported, 0x9A, true),
    (WildcardsNotSupported, 0xA2, false),
    (SubscriptionIdsNotSupported, 0xA1, false),
    (SharesNotSupported, 0x9E, false),
    (SessionExpiryFromZero, 0x82, false),
    (UnexpectedAuth, 0x82, false),
    (WrongAcknowledgement, 0x82, true),
    (EarlyPubComp, 0x82, true),
];

/// A broker that has the rule.
fn rig_for(violation: Violation) -> Rig {
    Rig::with(|settings| {
        let limits = &mut settings.limits;
        match violation {
            ReceiveMaximumExceeded => limits.receive_maximum = 100,
            QosNotSupported => limits.maximum_qos = qos(0),
            RetainNotSupported => limits.retain_available = false,
            WildcardsNotSupported => limits.wildcard_subscriptions = false,
            SubscriptionIdsNotSupported => limits.subscription_identifiers = false,
            SharesNotSupported => limits.shared_subscriptions = false,
            _ => {}
        }
    })
}

/// The client breaks the rule. A new variant does not compile without its case.
fn commit(violation: Violation, rig: &mut Rig, client: ConnectionId) {
    let deep = "x/".repeat(200);
    match violation {
        SecondConnect => rig.send(client, Packet::Connect(Box::new(v5("c").packet()))),
        TopicAliasTooLarge => rig.publish(client, aliased(33, q0("a", "x"))),
        TopicAliasUnknown => rig.publish(client, aliased(1, q0("", "x"))),
        ReceiveMaximumExceeded => {
            for n in 1..=101 {
                rig.publish(client, q2(n, "nobody", "x"));
            }
        }
        TopicTooDeep => rig.publish(client, q1(1, &deep, "x")),
        QosNotSupported => rig.publish(client, q1(1, "a", "x")),
        RetainNotSupported => rig.publish(client, retained(q0("a", "x"))),
        WildcardsNotSupported => rig.send(client, subscribe(1, &[("a/+", options(0))])),
        SubscriptionIdsNotSupported => {
            rig.send(client, subscribe_with_id(1, 1, &[("a", options(0))]));
        }
        SharesNotSupported => rig.send(client, subscribe(1, &[("$share/g/a", options(0))])),
        SessionExpiryFromZero => rig.send(client, disconnect(0, Some(1))),
        UnexpectedAuth => rig.send(client, auth(0x19)),
        WrongAcknowledgement => {
            let id = sent(rig, client);
            rig.send(client, puback(id));
        }
        EarlyPubComp => {
            let id = sent(rig, client);
            rig.send(client, pubcomp(id));
        }
    }
}

/// The Packet Identifier of a QoS 2 PUBLISH to the client.
fn sent(rig: &mut Rig, client: ConnectionId) -> u16 {
    rig.subscribe(client, "a", 2);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q2(1, "a", "x"));
    rig.packet_id(client)
}

#[test]
fn each_ends_the_connection_with_its_code() {
    for (violation, code, in_v311) in ALL {
        let versions = if in_v311 { vec![v5("c"), v4("c")] } else { vec![v5("c")] };
        for connect in versions {
            let is_v5 = connect.version == kedgemq::mqtt::Version::V5;
            let mut rig = rig_for(violation);
            let client = rig.connect(connect);
            commit(violation, &mut rig, client);
            let lines = rig.lines(client);
            let told = format!("DISCONNECT {code:02X}");
            let expected: &[&str] = if is_v5 { &[&told, "CLOSE"] } else { &["CLOSE"] };
            assert!(lines.ends_with(&expected.iter().map(|s| s.to_string()).collect::<Vec<_>>()));
            let said = |event: &Event| {
                matches!(event, Event::Disconnected { connection, why, .. }
                    if *connection == client && **why == *violation.to_string())
            };
            assert!(rig.events.iter().any(said), "{violation:?}: {:?}", rig.events);
        }
    }
}

#[test]
fn each_has_a_case() {
    let cases: BTreeSet<String> = ALL.iter().map(|(v, _, _)| format!("{v:?}")).collect();
    let source = include_str!("../../src/session/violation.rs");
    let (_, rest) = source.split_once("pub enum Violation {").expect("the enum");
    let (body, _) = rest.split_once("\n}").expect("its end");
    let lines = body.lines().map(|line| line.trim().trim_end_matches(','));
    let variants: BTreeSet<String> =
        lines.filter(|l| !l.is_empty() && !l.starts_with("//")).map(Into::into).collect();
    assert_eq!(cases, variants);
}
