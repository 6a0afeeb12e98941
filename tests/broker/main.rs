//! The real binary over TLS, with clients that are not ours: rumqttc, paho and the mosquitto
//! clients.

#[allow(dead_code)] // Each test target uses its part of the harness.
#[path = "../harness/mod.rs"]
mod harness;

mod mosquitto;
mod rumqtt;

mod dead_letters;
mod paho;
mod process;
mod qos;
mod retained;
mod sessions;
mod shared;
mod sys;
mod users;
mod wills;
