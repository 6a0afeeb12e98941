//! How a dead letter looks as a publication: `$dead/{reason}/{owner}/{topic}`, the payload and
//! the publisher's properties untouched, then what is to be said of the death.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use crate::mqtt::properties::{PassedOn, append_user_property};
use crate::mqtt::{Message, QoS};
use crate::turn::DeadLetter;

/// The first level of every letter's topic.
const PREFIX: &str = "$dead";
/// An owner's level may be this long, in bytes; a longer one is cut and ends in a hash.
const OWNER_MAX: usize = 128;
const OWNER_CUT: usize = 64;
/// The longest Topic Name, in bytes.
const TOPIC_MAX: usize = 65_535;

/// Whether a topic is a letter's: about letters there are no letters.
pub(super) fn is_dead_topic(topic: &str) -> bool {
    topic.strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The letter as it is published; its subscribers' QoS decides.
pub(super) fn publication(letter: &DeadLetter, node: &str) -> Message {
    Message {
        topic: topic(letter),
        properties: properties(letter, node),
        payload: letter.message.payload.clone(),
        qos: QoS::ExactlyOnce,
        retain: false,
        received: letter.died,
        expiry: None,
    }
}

fn topic(letter: &DeadLetter) -> Arc<str> {
    let mut topic = format!("{PREFIX}/{}/", letter.reason.as_str());
    topic.push_str(&owner_level(&letter.owner_name));
    topic.push('/');
    topic.push_str(&letter.message.topic);
    let mut end = topic.len().min(TOPIC_MAX);
    while !topic.is_char_boundary(end) {
        end -= 1;
    }
    topic.truncate(end);
    topic.into()
}

/// One level of the topic for an owner. Of `$share~group~filter` the first two `~` are ours.
fn owner_level(name: &str) -> String {
    let encoded = match name.strip_prefix("$share~").and_then(|rest| rest.split_once('~')) {
        Some((group, filter)) => format!("$share~{}~{}", encode(group), encode(filter)),
        None => encode(name),
    };
    if encoded.len() <= OWNER_MAX {
        return encoded;
    }
    let hash = crc32fast::hash(name.as_bytes());
    format!("{}~{hash:08x}", &encoded[..boundary(&encoded, OWNER_CUT)])
}

/// The largest cut up to `at` that splits neither a character nor an escape.
fn boundary(encoded: &str, mut at: usize) -> usize {
    while !encoded.is_char_boundary(at) {
        at -= 1;
    }
    match encoded[..at].rfind('%') {
        Some(escape) if at - escape < 3 => escape,
        _ => at,
    }
}

/// Percent-encodes what a level cannot hold and what the template means itself.
fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for c in name.chars() {
        if "/+#%~$".contains(c) || c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                write!(encoded, "%{byte:02X}").expect("a string takes all");
            }
        } else {
            encoded.push(c);
        }
    }
    encoded
}

fn properties(letter: &DeadLetter, node: &str) -> Bytes {
    let message = &letter.message;
    let mut out = Vec::with_capacity(message.properties.len() + 512);
    for property in PassedOn::new(&message.properties) {
        if !property.user_name().is_some_and(|name| name.starts_with("dl-")) {
            out.extend_from_slice(property.bytes);
        }
    }
    let mut add = |name: &str, value: &str| append_user_property(&mut out, name, value);
    add("dl-id", &format!("{node}-{}", letter.id.0));
    add("dl-reason", letter.reason.as_str());
    add("dl-first-reason", letter.first_reason.as_str());
    if let Some(code) = letter.reason_code {
        add("dl-rc", &format!("0x{:02X}", code.0));
    }
    if let Some(text) = &letter.reason_string {
        add("dl-rc-text", text);
    }
    add("dl-topic", &message.topic);
    add("dl-owner", &letter.owner_name);
    if let Some(filter) = &letter.filter {
        add("dl-filter", filter);
    }
    add("dl-qos", &(letter.qos as u8).to_string());
    add("dl-retain", if letter.retain { "1" } else { "0" });
    add("dl-deliveries", &letter.deliveries.to_string());
    add("dl-deaths", &letter.deaths.to_string());
    add("dl-redrives", &letter.redrives.to_string());
    let age = letter.died.since(message.received);
    let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    add("dl-received", &rfc3339(letter.died_unix_ms.saturating_sub(age_ms)));
    add("dl-time", &rfc3339(letter.died_unix_ms));
    add("dl-age-ms", &age_ms.to_string());
    if let Some(expiry) = message.expiry {
        add("dl-expiry", &expiry.to_string());
    }
    add("dl-broker", node);
    out.into()
}

/// RFC 3339 in milliseconds, UTC. What no clock shows becomes the end of the year 9999.
fn rfc3339(unix_ms: u64) -> String {
    const LAST: u64 = 253_402_300_799_999;
    let time = UNIX_EPOCH + Duration::from_millis(unix_ms.min(LAST));
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_becomes_one_level() {
        let table = [
            ("meter-17", "meter-17"),
            ("a/b+c#d%e~f$g", "a%2Fb%2Bc%23d%25e%7Ef%24g"),
            ("tab\there", "tab%09here"),
            ("$share~workers~plant/+/x", "$share~workers~plant%2F%2B%2Fx"),
            ("größe", "größe"),
        ];
        for (name, level) in table {
            assert_eq!(owner_level(name), level, "{name}");
        }
    }

    #[test]
    fn a_long_owner_is_cut_between_escapes_and_keeps_its_identity() {
        let long = format!("{}{}", "x".repeat(63), "/".repeat(100));
        let level = owner_level(&long);
        assert!(level.starts_with(&format!("{}~", "x".repeat(63))), "{level}");
        assert_ne!(level, owner_level(&format!("{long}/")));
        assert!(level.len() <= OWNER_MAX);
    }

    #[test]
    fn only_the_first_level_makes_a_dead_topic() {
        assert!(is_dead_topic("$dead/expired/a/b"));
        assert!(is_dead_topic("$dead"));
        assert!(!is_dead_topic("$deadly/a"));
        assert!(!is_dead_topic("a/$dead"));
    }
}
