//! Data types of section 1.5, appended. The caller has made sure that lengths fit.

use super::frame::LARGEST_REMAINING;

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("strings and binary data have a 16 bit length");
    put_u16(out, length);
    out.extend_from_slice(bytes);
}

pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    put_binary(out, text.as_bytes());
}

pub(super) fn put_variable(out: &mut Vec<u8>, value: usize) {
    assert!(value <= LARGEST_REMAINING, "callers keep packets under {LARGEST_REMAINING} bytes");
    let mut left = value;
    loop {
        let low = (left & 0x7F) as u8;
        left >>= 7;
        if left == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Bytes that `put_variable` writes.
pub(super) fn variable_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// Size of the whole packet with this Remaining Length.
pub(super) fn packet_len(remaining: usize) -> usize {
    1 + variable_len(remaining) + remaining
}
