//! What is in the table after clients came and went.

use super::*;
use crate::auth::{Admission, Identity};
use crate::config::Settings;
use crate::mqtt::packet::{
    Ack, Connect, PacketId, Payload, Publish, RetainHandling, Subscribe, SubscriptionOptions,
};
use crate::mqtt::{Packet, QoS, Version};
use crate::turn::CloseCause;

const DAY: u64 = 24 * 3600 * 1000;

/// A broker whose table is empty, and that watches over acknowledgements.
fn broker() -> Broker {
    let mut settings = Settings::default();
    settings.limits.sys_interval = Duration::ZERO;
    settings.limits.ack_timeout = Some(Duration::from_millis(7 * DAY));
    Broker::new(settings, 1, Timestamp(0))
}

/// With the longest Keep Alive there is.
fn connect(broker: &mut Broker, slot: u32, client_id: &str, now: Timestamp) -> ConnectionId {
    let id = ConnectionId { slot, generation: u32::try_from(now.0).unwrap() };
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive: u16::MAX,
        client_id,
        user_name: None,
        password: None,
        will: None,
        session_expiry: None,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
    };
    let who = Identity { user: None, admission: Admission::Granted };
    broker.handle_connect(id, who, connect, now, &mut Turn::default());
    id
}

fn subscribe(broker: &mut Broker, id: ConnectionId, filter: &str, now: Timestamp) {
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::DoNotSend,
    };
    let packet_id = PacketId::new(1).unwrap();
    let subscribe =
        Subscribe { packet_id, subscription_id: None, filters: vec![(filter, options)] };
    broker.handle_packet(id, &Packet::Subscribe(subscribe), now, &mut Turn::default());
}

fn publish(broker: &mut Broker, id: ConnectionId, topic: &str, now: Timestamp) {
    let publish = Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic,
        packet_id: PacketId::new(1),
        topic_alias: None,
        message_expiry: None,
        properties: (&[]).into(),
        payload: Payload::Borrowed(b"x"),
    };
    broker.handle_packet(id, &Packet::Publish(publish), now, &mut Turn::default());
}

fn acknowledge(broker: &mut Broker, id: ConnectionId, packet_id: u16, now: Timestamp) {
    let packet_id = PacketId::new(packet_id).unwrap();
    let ack = Ack { packet_id, reason: ReasonCode::SUCCESS, reason_string: None };
    broker.handle_packet(id, &Packet::PubAck(ack), now, &mut Turn::default());
}

fn close(broker: &mut Broker, id: ConnectionId, now: Timestamp) {
    let cause = CloseCause::Peer { flushed: true };
    broker.handle_close(id, cause, now, &mut Turn::default());
}

#[test]
fn a_connection_takes_its_timers_with_it() {
    let mut broker = broker();
    let mut last = None;
    for second in 0..1000 {
        let now = Timestamp(second * 1000);
        let id = connect(&mut broker, 0, "c", now); // Takes over every second time.
        subscribe(&mut broker, id, "a", now);
        publish(&mut broker, id, "a", now); // What comes back is not acknowledged.
        assert_eq!(broker.timers.len(), 2, "its Keep Alive and its acknowledgement");
        last = Some((id, now));
        if second % 2 == 0 {
            close(&mut broker, id, now);
            assert_eq!(broker.timers.len(), 0);
        }
    }
    let (id, now) = last.unwrap();
    close(&mut broker, id, now);
    assert_eq!(broker.timers.len(), 0);
}

#[test]
fn a_connection_takes_timers_with_it_that_were_set_again() {
    let mut broker = broker();
    let (mut now, mut turn) = (Timestamp(0), Turn::default());
    let id = connect(&mut broker, 0, "c", now);
    subscribe(&mut broker, id, "a", now);
    publish(&mut broker, id, "a", now);
    for packet_id in 1..=20 {
        now = now + Duration::from_secs(1);
        publish(&mut broker, id, "a", now);
        acknowledge(&mut broker, id, packet_id, now);
        now = broker.next_timeout().unwrap();
        broker.handle_timeout(now, &mut turn);
        assert_eq!(broker.timers.len(), 2, "{now:?}");
    }
    assert!(now > Timestamp(7 * DAY));
    close(&mut broker, id, now);
    assert_eq!(broker.timers.len(), 0);
}
