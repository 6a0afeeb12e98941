//! The words of the MQTT specifications, 3.1, 3.1.1 and 5.0, and how they look on the wire.
//!
//! `packet` is what a client sends, `reply` what the server sends, `message` what a PUBLISH
//! becomes once it stays, `codec` turns the first two into bytes and back.

pub mod codec;
pub mod message;
pub mod packet;
pub mod properties;
pub mod reason;
pub mod reply;
pub mod topic;

pub use mqttbytes::QoS;

pub use message::Message;
pub use packet::{Packet, PacketId, Version};
pub use reason::ReasonCode;
pub use reply::{Delivery, Reply};
