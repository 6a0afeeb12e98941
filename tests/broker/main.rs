//! The real binary over TLS, with clients that are not ours: rumqttc and the mosquitto clients
//! (`tests/clients` has more of them); and each reason of a dead letter, with one that is.

#[allow(dead_code)] // Each test target uses its part of the harness.
#[path = "../client/mod.rs"]
mod client;
#[allow(dead_code)]
#[path = "../harness/mod.rs"]
mod harness;
#[allow(dead_code)]
#[path = "../conformance/packets.rs"]
mod packets;

#[allow(dead_code)] // `tests/clients` uses its part, too.
mod mosquitto;
#[allow(dead_code)]
mod rumqtt;

mod dead_letters;
mod process;
mod qos;
mod reasons;
mod retained;
mod sessions;
mod shared;
mod sys;
mod users;
mod wills;
