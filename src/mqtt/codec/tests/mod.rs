//! Rule by rule, then what is written against what is read, then hostile bytes.

mod acceptance;
mod generate;
mod hostile;
mod replies;
mod round_trip;
mod rules;
mod second_opinion;
mod together;

use crate::mqtt::reply::EncodeContext;
use crate::mqtt::{Reply, Version};
use crate::time::Timestamp;

/// A packet with a body under 128 bytes.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    let mut bytes = vec![first, body.len() as u8];
    bytes.extend_from_slice(body);
    bytes
}

fn context(version: Version) -> EncodeContext {
    EncodeContext { version, now: Timestamp(0) }
}

fn encoded(reply: &Reply, version: Version, limit: usize) -> Vec<u8> {
    let mut out = Vec::new();
    super::encode(reply, context(version), limit, &mut out);
    out
}
