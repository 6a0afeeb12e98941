//! KedgeMQ: a lightweight TLS MQTT broker for edge gateways.

pub mod auth;
pub mod broker;
pub mod config;
pub mod dead_reason;
pub mod metrics;
pub mod mqtt;
pub mod net;
pub mod router;
pub mod server;
pub mod session;
pub mod store;
pub mod time;
pub mod turn;
