//! What lies between the operating system's sockets and the bytes of MQTT: addresses that listen,
//! TLS, and the certificates that are made for development.

pub mod certs;
#[doc(hidden)] // How the configuration writes an address.
pub mod listen;
pub mod tls;
