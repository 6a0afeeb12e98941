//! Bytes to packets and back, strict and without copies, for both protocol versions.
//!
//! What arrives is hostile until it has passed `decode`. Its promise: it never panics, it reserves
//! no memory because a length field asks for it, and every rule that the bytes of one packet alone
//! can break is enforced here and nowhere else. Rules that need to know what came before belong to
//! the session.

mod acks;
pub mod client;
mod connect;
mod decode;
mod encode;
mod error;
mod frame;
mod properties;
mod reader;
mod run;
mod writer;

#[cfg(test)]
mod tests;

pub use acks::{AckKind, Acks};
pub use connect::connect_version;
pub use decode::{Decoder, Input, decode};
pub use encode::{
    encode, encode_publish, encode_publish_head, pass_on, plain_ack, publish_fits, publish_size,
    set_packet_id, smallest_size,
};
pub use error::DecodeError;
pub use frame::{LARGEST_PACKET, packet_size};
pub use run::Run;
