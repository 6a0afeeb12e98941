//! Packets to a server.

use crate::mqtt::codec::frame::Kind;
use crate::mqtt::codec::properties::id;
use crate::mqtt::codec::writer::{put_binary, put_string, put_u16, put_u32, put_variable};
use crate::mqtt::packet::{
    Ack, Auth, Connect, Disconnect, Publish, Subscribe, SubscriptionOptions, Unsubscribe, Will,
};
use crate::mqtt::{Packet, ReasonCode, Version};

/// Appends `packet`; a CONNECT in its own version. What 3.1.1 has no place for is left out.
pub fn encode(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    let first = match packet {
        Packet::Connect(connect) => put_connect(connect, &mut body),
        Packet::Publish(publish) => put_publish(publish, version, &mut body),
        Packet::PubAck(ack) => put_ack(Kind::PubAck, ack, version, &mut body),
        Packet::PubRec(ack) => put_ack(Kind::PubRec, ack, version, &mut body),
        Packet::PubRel(ack) => put_ack(Kind::PubRel, ack, version, &mut body),
        Packet::PubComp(ack) => put_ack(Kind::PubComp, ack, version, &mut body),
        Packet::Subscribe(subscribe) => put_subscribe(subscribe, version, &mut body),
        Packet::Unsubscribe(unsubscribe) => put_unsubscribe(unsubscribe, version, &mut body),
        Packet::PingReq => Kind::PingReq.first_byte(),
        Packet::Disconnect(disconnect) => put_disconnect(disconnect, version, &mut body),
        Packet::Auth(auth) => put_auth(auth, &mut body),
    };
    out.push(first);
    put_variable(out, body.len());
    out.extend_from_slice(&body);
}

fn put_connect(connect: &Connect<'_>, body: &mut Vec<u8>) -> u8 {
    put_string(body, if connect.version == Version::V31 { "MQIsdp" } else { "MQTT" });
    body.push(match connect.version {
        Version::V31 => 3,
        Version::V311 => 4,
        Version::V5 => 5,
    });
    body.push(connect_flags(connect));
    put_u16(body, connect.keep_alive);
    if connect.version == Version::V5 {
        put_properties(&connect_properties(connect), body);
    }
    put_string(body, connect.client_id);
    if let Some(will) = &connect.will {
        put_will(will, connect.version, body);
    }
    if let Some(user_name) = connect.user_name {
        put_string(body, user_name);
    }
    if let Some(password) = connect.password {
        put_binary(body, password);
    }
    Kind::Connect.first_byte()
}

fn connect_flags(connect: &Connect<'_>) -> u8 {
    let will = connect
        .will
        .as_ref()
        .map_or(0, |will| 1 << 2 | (will.qos as u8) << 3 | u8::from(will.retain) << 5);
    u8::from(connect.clean_start) << 1
        | will
        | u8::from(connect.password.is_some()) << 6
        | u8::from(connect.user_name.is_some()) << 7
}

fn connect_properties(connect: &Connect<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    put_four(id::SESSION_EXPIRY_INTERVAL, connect.session_expiry, &mut out);
    if let Some(maximum) = connect.receive_maximum {
        out.push(id::RECEIVE_MAXIMUM);
        put_u16(&mut out, maximum.get());
    }
    put_four(id::MAXIMUM_PACKET_SIZE, connect.maximum_packet_size, &mut out);
    if connect.topic_alias_maximum > 0 {
        out.push(id::TOPIC_ALIAS_MAXIMUM);
        put_u16(&mut out, connect.topic_alias_maximum);
    }
    if connect.request_response_information {
        out.extend_from_slice(&[id::REQUEST_RESPONSE_INFORMATION, 1]);
    }
    if !connect.request_problem_information {
        out.extend_from_slice(&[id::REQUEST_PROBLEM_INFORMATION, 0]);
    }
    put_text(id::AUTHENTICATION_METHOD, connect.authentication_method, &mut out);
    out
}

fn put_will(will: &Will<'_>, version: Version, body: &mut Vec<u8>) {
    if version == Version::V5 {
        let mut properties = Vec::new();
        put_four(id::WILL_DELAY_INTERVAL, Some(will.delay).filter(|&s| s > 0), &mut properties);
        put_four(id::MESSAGE_EXPIRY_INTERVAL, will.message_expiry, &mut properties);
        properties.extend_from_slice(&will.properties);
        put_properties(&properties, body);
    }
    put_string(body, will.topic);
    put_binary(body, will.payload);
}

fn put_publish(publish: &Publish<'_>, version: Version, body: &mut Vec<u8>) -> u8 {
    put_string(body, publish.topic);
    if let Some(packet_id) = publish.packet_id {
        put_u16(body, packet_id.get());
    }
    if version == Version::V5 {
        let mut properties = Vec::new();
        put_four(id::MESSAGE_EXPIRY_INTERVAL, publish.message_expiry, &mut properties);
        if let Some(alias) = publish.topic_alias {
            properties.push(id::TOPIC_ALIAS);
            put_u16(&mut properties, alias.get());
        }
        properties.extend_from_slice(&publish.properties);
        put_properties(&properties, body);
    }
    body.extend_from_slice(publish.payload.as_slice());
    let flags = u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
    Kind::Publish.first_byte() | flags
}

fn put_ack(kind: Kind, ack: &Ack<'_>, version: Version, body: &mut Vec<u8>) -> u8 {
    put_u16(body, ack.packet_id.get());
    if version == Version::V5 {
        let mut properties = Vec::new();
        put_text(id::REASON_STRING, ack.reason_string, &mut properties);
        put_reason(ack.reason, &properties, body);
    }
    kind.first_byte()
}

fn put_subscribe(subscribe: &Subscribe<'_>, version: Version, body: &mut Vec<u8>) -> u8 {
    put_u16(body, subscribe.packet_id.get());
    if version == Version::V5 {
        let mut properties = Vec::new();
        if let Some(subscription_id) = subscribe.subscription_id {
            properties.push(id::SUBSCRIPTION_IDENTIFIER);
            put_variable(&mut properties, subscription_id as usize);
        }
        put_properties(&properties, body);
    }
    for (filter, options) in &subscribe.filters {
        put_string(body, filter);
        body.push(match version {
            Version::V311 | Version::V31 => options.qos as u8,
            Version::V5 => subscription_options(options),
        });
    }
    Kind::Subscribe.first_byte()
}

fn subscription_options(options: &SubscriptionOptions) -> u8 {
    options.qos as u8
        | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | (options.retain_handling as u8) << 4
}

fn put_unsubscribe(unsubscribe: &Unsubscribe<'_>, version: Version, body: &mut Vec<u8>) -> u8 {
    put_u16(body, unsubscribe.packet_id.get());
    if version == Version::V5 {
        put_properties(&[], body);
    }
    for filter in &unsubscribe.filters {
        put_string(body, filter);
    }
    Kind::Unsubscribe.first_byte()
}

fn put_disconnect(disconnect: &Disconnect<'_>, version: Version, body: &mut Vec<u8>) -> u8 {
    if version == Version::V5 {
        let mut properties = Vec::new();
        put_four(id::SESSION_EXPIRY_INTERVAL, disconnect.session_expiry, &mut properties);
        put_text(id::REASON_STRING, disconnect.reason_string, &mut properties);
        put_reason(disconnect.reason, &properties, body);
    }
    Kind::Disconnect.first_byte()
}

fn put_auth(auth: &Auth<'_>, body: &mut Vec<u8>) -> u8 {
    if auth.reason != ReasonCode::SUCCESS || auth.authentication_method.is_some() {
        let mut properties = Vec::new();
        put_text(id::AUTHENTICATION_METHOD, auth.authentication_method, &mut properties);
        body.push(auth.reason.0);
        put_properties(&properties, body);
    }
    Kind::Auth.first_byte()
}

/// Reason Code and properties in the shortest form.
fn put_reason(reason: ReasonCode, properties: &[u8], body: &mut Vec<u8>) {
    if !properties.is_empty() {
        body.push(reason.0);
        put_properties(properties, body);
    } else if reason != ReasonCode::SUCCESS {
        body.push(reason.0);
    }
}

fn put_properties(properties: &[u8], body: &mut Vec<u8>) {
    put_variable(body, properties.len());
    body.extend_from_slice(properties);
}

fn put_four(identifier: u8, value: Option<u32>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        out.push(identifier);
        put_u32(out, value);
    }
}

fn put_text(identifier: u8, value: Option<&str>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        out.push(identifier);
        put_string(out, value);
    }
}
