//! An independent codec writes what we read and reads what we write, field by field, wherever it
//! is right. It is not about: empty user names and passwords, passwords that are no text, several
//! Subscription Identifiers, version 5 UNSUBSCRIBE from us, AUTH.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use mqttbytes::{Protocol, v4, v5};

use super::{encoded, generate};
use crate::mqtt::Version::{V5, V311};
use crate::mqtt::codec::{client, decode};
use crate::mqtt::packet::{Connect, Packet, Publish, RetainHandling, Subscribe, Will};
use crate::mqtt::reply::{ConnAck, TopicAlias};
use crate::mqtt::{Delivery, PacketId, Reply};

const LIMIT: usize = 1 << 20;

/// What is passed on, in the order in which the other codec writes it.
const PUBLISH_PROPERTIES: &[u8] =
    b"\x01\x01\x08\x00\x01r\x09\x00\x02\x00\xFF\x26\x00\x01k\x00\x01v\x03\x00\x01c";
const WILL_PROPERTIES: &[u8] =
    b"\x01\x01\x03\x00\x01c\x08\x00\x01r\x09\x00\x02\x00\xFF\x26\x00\x01k\x00\x01v";

#[test]
fn what_it_writes_in_version_5_we_read() {
    let mut random = Rng::with_seed(21);
    let mut compared = 0;
    for _ in 0..20_000 {
        let mut packet = generate::client_packet(&mut random, V5);
        let mut out = BytesMut::new();
        match &mut packet {
            Packet::Connect(connect) => {
                plain_login(connect);
                if let Some(will) = &mut connect.will {
                    will.properties = Cow::Borrowed(WILL_PROPERTIES);
                }
                connect_v5(connect).write(&mut out).unwrap();
            }
            Packet::Publish(publish) => {
                publish.properties = Cow::Borrowed(PUBLISH_PROPERTIES);
                publish_v5(publish).write(&mut out).unwrap();
            }
            Packet::Subscribe(subscribe) => {
                subscribe_v5(subscribe).write(&mut out).unwrap();
            }
            Packet::Unsubscribe(unsubscribe) => {
                let mut theirs = v5::Unsubscribe::new("");
                theirs.pkid = unsubscribe.packet_id.get();
                theirs.filters = unsubscribe.filters.iter().map(|&filter| filter.into()).collect();
                theirs.write(&mut out).unwrap();
            }
            _ => continue,
        }
        compared += 1;
        assert_eq!(decode(&out, V5, LIMIT), Ok(Some((packet, out.len()))));
    }
    assert!(compared > 5_000);
}

fn plain_login(connect: &mut Connect<'_>) {
    let login = connect.user_name.is_some();
    connect.user_name = login.then_some("user");
    connect.password = login.then_some(b"secret");
}

fn connect_v5(connect: &Connect<'_>) -> v5::Connect {
    v5::Connect {
        protocol: Protocol::V5,
        keep_alive: connect.keep_alive,
        client_id: connect.client_id.into(),
        clean_session: connect.clean_start,
        last_will: connect.will.as_ref().map(will_v5),
        login: connect.user_name.map(|user| v5::Login::new(user, "secret")),
        properties: Some(v5::ConnectProperties {
            session_expiry_interval: connect.session_expiry,
            receive_maximum: connect.receive_maximum.map(u16::from),
            max_packet_size: connect.maximum_packet_size,
            topic_alias_max: Some(connect.topic_alias_maximum),
            request_response_info: Some(connect.request_response_information.into()),
            request_problem_info: Some(connect.request_problem_information.into()),
            user_properties: vec![("k".into(), "v".into()), ("k".into(), "v".into())],
            authentication_method: connect.authentication_method.map(Into::into),
            authentication_data: None,
        }),
    }
}

fn will_v5(will: &Will<'_>) -> v5::LastWill {
    let mut theirs = v5::LastWill::new(will.topic, will.payload, will.qos, will.retain);
    theirs.properties = Some(v5::WillProperties {
        delay_interval: Some(will.delay),
        payload_format_indicator: Some(1),
        message_expiry_interval: will.message_expiry,
        content_type: Some("c".into()),
        response_topic: Some("r".into()),
        correlation_data: Some(Bytes::from_static(b"\x00\xFF")),
        user_properties: vec![("k".into(), "v".into())],
    });
    theirs
}

fn publish_v5(publish: &Publish<'_>) -> v5::Publish {
    v5::Publish {
        dup: publish.dup,
        qos: publish.qos,
        retain: publish.retain,
        topic: publish.topic.into(),
        pkid: publish.packet_id.map_or(0, PacketId::get),
        properties: Some(publish_properties(
            publish.message_expiry,
            publish.topic_alias.map(u16::from),
            &[],
        )),
        payload: Bytes::copy_from_slice(publish.payload.as_slice()),
    }
}

/// [`PUBLISH_PROPERTIES`] and those that the broker acts on.
fn publish_properties(
    expiry: Option<u32>,
    alias: Option<u16>,
    ids: &[u32],
) -> v5::PublishProperties {
    v5::PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: expiry,
        topic_alias: alias,
        response_topic: Some("r".into()),
        correlation_data: Some(Bytes::from_static(b"\x00\xFF")),
        user_properties: vec![("k".into(), "v".into())],
        subscription_identifiers: ids.iter().map(|&id| id as usize).collect(),
        content_type: Some("c".into()),
    }
}

fn subscribe_v5(subscribe: &Subscribe<'_>) -> v5::Subscribe {
    let mut theirs = v5::Subscribe::empty_subscribe();
    theirs.pkid = subscribe.packet_id.get();
    theirs.properties = subscribe.subscription_id.map(|id| v5::SubscribeProperties {
        id: Some(id as usize),
        user_properties: vec![("k".into(), "v".into())],
    });
    for &(filter, options) in &subscribe.filters {
        let mut one = v5::SubscribeFilter::new(filter.into(), options.qos);
        one.set_nolocal(options.no_local);
        one.set_preserve_retain(options.retain_as_published);
        one.set_retain_forward_rule(match options.retain_handling {
            RetainHandling::Send => v5::RetainForwardRule::OnEverySubscribe,
            RetainHandling::SendIfNew => v5::RetainForwardRule::OnNewSubscribe,
            RetainHandling::DoNotSend => v5::RetainForwardRule::Never,
        });
        theirs.filters.push(one);
    }
    theirs
}

#[test]
fn what_it_writes_in_3_1_1_we_read() {
    let mut random = Rng::with_seed(22);
    for _ in 0..20_000 {
        let mut packet = generate::client_packet(&mut random, V311);
        let mut out = BytesMut::new();
        match &mut packet {
            Packet::Connect(connect) => {
                plain_login(connect);
                connect_v4(connect).write(&mut out)
            }
            Packet::Publish(publish) => {
                let payload = publish.payload.as_slice();
                let mut theirs = v4::Publish::new(publish.topic, publish.qos, payload);
                theirs.dup = publish.dup;
                theirs.retain = publish.retain;
                theirs.pkid = publish.packet_id.map_or(0, PacketId::get);
                theirs.write(&mut out)
            }
            Packet::PubAck(ack) => v4::PubAck::new(ack.packet_id.get()).write(&mut out),
            Packet::PubRec(ack) => v4::PubRec::new(ack.packet_id.get()).write(&mut out),
            Packet::PubRel(ack) => v4::PubRel::new(ack.packet_id.get()).write(&mut out),
            Packet::PubComp(ack) => v4::PubComp::new(ack.packet_id.get()).write(&mut out),
            Packet::Subscribe(subscribe) => {
                let mut theirs = v4::Subscribe::empty_subscribe();
                theirs.pkid = subscribe.packet_id.get();
                for (filter, options) in &subscribe.filters {
                    theirs.add((*filter).into(), options.qos);
                }
                theirs.write(&mut out)
            }
            Packet::Unsubscribe(unsubscribe) => {
                let mut theirs = v4::Unsubscribe::new("");
                theirs.pkid = unsubscribe.packet_id.get();
                theirs.topics = unsubscribe.filters.iter().map(|&filter| filter.into()).collect();
                theirs.write(&mut out)
            }
            Packet::PingReq => v4::PingReq.write(&mut out),
            Packet::Disconnect(_) => v4::Disconnect.write(&mut out),
            Packet::Auth(_) => unreachable!("not in 3.1.1"),
        }
        .unwrap();
        assert_eq!(decode(&out, V311, LIMIT), Ok(Some((packet, out.len()))));
    }
}

fn connect_v4(connect: &Connect<'_>) -> v4::Connect {
    let mut theirs = v4::Connect::new(connect.client_id);
    theirs.keep_alive = connect.keep_alive;
    theirs.clean_session = connect.clean_start;
    if let Some(user) = connect.user_name {
        theirs.set_login(user, "secret");
    }
    let will = connect.will.as_ref();
    theirs.last_will =
        will.map(|will| v4::LastWill::new(will.topic, will.payload, will.qos, will.retain));
    theirs
}

#[test]
fn what_we_write_in_version_5_it_reads() {
    let mut random = Rng::with_seed(23);
    for _ in 0..20_000 {
        let reply = generate::server_reply(&mut random, V5);
        let bytes = encoded(&reply, V5, usize::MAX);
        let theirs = v5::read(&mut BytesMut::from(&bytes[..]), LIMIT);
        if let Reply::Publish(delivery) = &reply {
            compare_publish_v5(delivery);
            continue;
        }
        match (&reply, theirs.unwrap()) {
            (Reply::ConnAck(ours), v5::Packet::ConnAck(theirs)) => compare_connack(ours, &theirs),
            (Reply::PubAck(ours), v5::Packet::PubAck(theirs)) => {
                assert_eq!(
                    (ours.packet_id.get(), ours.reason.0),
                    (theirs.pkid, theirs.reason as u8)
                );
                let text = theirs.properties.and_then(|properties| properties.reason_string);
                assert_eq!(ours.reason_string.as_deref(), text.as_deref());
            }
            (Reply::PubRec(ours), v5::Packet::PubRec(theirs)) => {
                assert_eq!(
                    (ours.packet_id.get(), ours.reason.0),
                    (theirs.pkid, theirs.reason as u8)
                );
            }
            (Reply::PubRel(ours), v5::Packet::PubRel(theirs)) => {
                assert_eq!(
                    (ours.packet_id.get(), ours.reason.0),
                    (theirs.pkid, theirs.reason as u8)
                );
            }
            (Reply::PubComp(ours), v5::Packet::PubComp(theirs)) => {
                assert_eq!(
                    (ours.packet_id.get(), ours.reason.0),
                    (theirs.pkid, theirs.reason as u8)
                );
            }
            (Reply::SubAck(ours), v5::Packet::SubAck(theirs)) => {
                assert_eq!(ours.packet_id.get(), theirs.pkid);
                let codes: Vec<_> = theirs.return_codes.iter().map(|&code| code as u8).collect();
                assert!(ours.reasons.iter().map(|reason| reason.0).eq(codes));
                let text = theirs.properties.and_then(|properties| properties.reason_string);
                assert_eq!(ours.reason_string.as_deref(), text.as_deref());
            }
            (Reply::UnsubAck(ours), v5::Packet::UnsubAck(theirs)) => {
                assert_eq!(ours.packet_id.get(), theirs.pkid);
                let codes: Vec<_> = theirs.reasons.iter().map(|&code| code as u8).collect();
                assert!(ours.reasons.iter().map(|reason| reason.0).eq(codes));
            }
            (Reply::Disconnect(ours), v5::Packet::Disconnect(theirs)) => {
                assert_eq!(ours.reason.0, theirs.reason_code as u8);
                let text = theirs.properties.and_then(|properties| properties.reason_string);
                assert_eq!(ours.reason_string.as_deref(), text.as_deref());
            }
            (Reply::PingResp, v5::Packet::PingResp) => {}
            (ours, theirs) => panic!("{ours:?} {theirs:?}"),
        }
    }
}

fn compare_publish_v5(delivery: &Delivery) {
    let mut delivery = delivery.clone();
    let mut message = (*delivery.message).clone();
    message.properties = Bytes::from_static(PUBLISH_PROPERTIES).into();
    delivery.message = message.into();
    delivery.subscription_ids = delivery.subscription_ids.map(|ids| ids[..1].into());
    let alias = delivery.topic_alias.map(|(TopicAlias::Define(id) | TopicAlias::Use(id))| id);
    let ids = delivery.subscription_ids.clone();
    let expected = v5::Publish {
        dup: delivery.dup,
        qos: delivery.qos,
        retain: delivery.retain,
        topic: delivery.message.topic.to_string(),
        pkid: delivery.packet_id.map_or(0, PacketId::get),
        properties: Some(publish_properties(
            delivery.message.expiry,
            alias,
            ids.as_deref().unwrap_or(&[]),
        )),
        payload: delivery.message.payload.clone(),
    };
    let bytes = encoded(&Reply::Publish(delivery), V5, usize::MAX);
    let theirs = v5::read(&mut BytesMut::from(&bytes[..]), LIMIT);
    assert_eq!(theirs, Ok(v5::Packet::Publish(expected)));
}

fn compare_connack(ours: &ConnAck, theirs: &v5::ConnAck) {
    assert_eq!(ours.session_present, theirs.session_present);
    assert_eq!(ours.reason.0, theirs.code as u8);
    let mut expected = v5::ConnAckProperties::new();
    expected.session_expiry_interval = ours.session_expiry;
    expected.receive_max = ours.receive_maximum;
    expected.max_packet_size = ours.maximum_packet_size;
    expected.assigned_client_identifier = ours.assigned_client_id.as_deref().map(Into::into);
    expected.topic_alias_max = Some(ours.topic_alias_maximum).filter(|&maximum| maximum > 0);
    let missing = |is_available: bool| (!is_available).then_some(0);
    expected.max_qos = ours.maximum_qos.map(|qos| qos as u8);
    expected.retain_available = missing(ours.retain_available);
    expected.wildcard_subscription_available = missing(ours.wildcard_subscriptions);
    expected.subscription_identifiers_available = missing(ours.subscription_identifiers);
    expected.shared_subscription_available = missing(ours.shared_subscriptions);
    expected.reason_string = ours.reason_string.as_deref().map(Into::into);
    expected.server_keep_alive = ours.server_keep_alive;
    let theirs = theirs.properties.clone().unwrap_or_else(v5::ConnAckProperties::new);
    assert_eq!(theirs, expected);
}

#[test]
fn what_we_write_in_3_1_1_it_reads() {
    let mut random = Rng::with_seed(24);
    for _ in 0..20_000 {
        let reply = generate::server_reply(&mut random, V311);
        let bytes = encoded(&reply, V311, usize::MAX);
        let mut again = BytesMut::new();
        match (&reply, v4::read(&mut BytesMut::from(&bytes[..]), LIMIT).unwrap()) {
            (Reply::ConnAck(ours), v4::Packet::ConnAck(theirs)) => {
                assert_eq!(ours.session_present, theirs.session_present);
                theirs.write(&mut again)
            }
            (Reply::Publish(ours), v4::Packet::Publish(theirs)) => {
                assert_eq!(
                    (ours.dup, ours.qos, ours.retain),
                    (theirs.dup, theirs.qos, theirs.retain)
                );
                assert_eq!(ours.packet_id.map_or(0, PacketId::get), theirs.pkid);
                assert_eq!(*ours.message.topic, *theirs.topic);
                assert_eq!(ours.message.payload, theirs.payload);
                theirs.write(&mut again)
            }
            (Reply::PubAck(_), v4::Packet::PubAck(theirs)) => theirs.write(&mut again),
            (Reply::PubRec(_), v4::Packet::PubRec(theirs)) => theirs.write(&mut again),
            (Reply::PubRel(_), v4::Packet::PubRel(theirs)) => theirs.write(&mut again),
            (Reply::PubComp(_), v4::Packet::PubComp(theirs)) => theirs.write(&mut again),
            (Reply::SubAck(_), v4::Packet::SubAck(theirs)) => theirs.write(&mut again),
            (Reply::UnsubAck(_), v4::Packet::UnsubAck(theirs)) => theirs.write(&mut again),
            (Reply::PingResp, v4::Packet::PingResp) => v4::PingResp.write(&mut again),
            (ours, theirs) => panic!("{ours:?} {theirs:?}"),
        }
        .unwrap();
        assert_eq!(again, bytes);
        assert_eq!(client::decode(&again, V311), Ok(Some((reply, bytes.len()))));
    }
}
