//! How a dead letter looks as a publication: `$dead/{reason}/{owner}/{topic}`, the payload and
//! the publisher's properties untouched, then what is to be said of the death.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use crate::config::{DeadLetters, Envelope, LetterTopic};
use crate::mqtt::properties::{PassedOn, append_user_property};
use crate::mqtt::{Message, QoS};
use crate::turn::DeadLetter;

/// An owner's level may be this long, in bytes; a longer one is cut and ends in a hash.
const OWNER_MAX: usize = 128;
const OWNER_CUT: usize = 64;
/// The longest Topic Name, in bytes.
const TOPIC_MAX: usize = 65_535;

/// The letter as it is published; its subscribers' QoS decides.
pub(super) fn publication(letter: &DeadLetter, node: &str, settings: &DeadLetters) -> Message {
    let (properties, payload) = match settings.envelope {
        Envelope::None => (properties(letter, node), letter.message.payload.clone()),
        Envelope::Json => (Bytes::new(), envelope(letter, node)),
    };
    Message {
        topic: topic(letter, &settings.topic),
        properties: properties.into(),
        payload,
        qos: QoS::ExactlyOnce,
        retain: false,
        received: letter.died,
        expiry: None,
        past: None,
    }
}

/// `dl-id`: the same through all deaths and redrives of a message.
pub fn dl_id(letter: &DeadLetter, node: &str) -> String {
    format!("{node}-{}", letter.origin.0)
}

fn topic(letter: &DeadLetter, template: &LetterTopic) -> Arc<str> {
    let owner = owner_level(&letter.owner_name);
    let mut topic = template.of(letter.reason.as_str(), &owner, &letter.message.topic);
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
    for (name, value) in letter_facts(letter, node) {
        append_user_property(&mut out, name, &value);
    }
    out.into()
}

/// What is to be said of a death, in the order of the User Properties.
fn letter_facts(letter: &DeadLetter, node: &str) -> Vec<(&'static str, String)> {
    let message = &letter.message;
    let age = letter.died.since(message.received);
    let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let some = |name, value: Option<String>| value.map(|value| (name, value));
    let facts = [
        some("dl-id", Some(dl_id(letter, node))),
        some("dl-reason", Some(letter.reason.as_str().into())),
        some("dl-first-reason", Some(letter.first_reason.as_str().into())),
        some("dl-rc", letter.reason_code.map(|code| format!("0x{:02X}", code.0))),
        some("dl-rc-text", letter.reason_string.as_deref().map(Into::into)),
        some("dl-topic", Some(message.topic.as_ref().into())),
        some("dl-owner", Some(letter.owner_name.as_ref().into())),
        some("dl-filter", letter.filter.as_deref().map(Into::into)),
        some("dl-qos", Some((letter.qos as u8).to_string())),
        some("dl-retain", Some(u8::from(letter.retain).to_string())),
        some("dl-deliveries", Some(letter.deliveries.to_string())),
        some("dl-deaths", Some(letter.deaths.to_string())),
        some("dl-redrives", Some(letter.redrives.to_string())),
        some("dl-received", Some(rfc3339(letter.died_unix_ms.saturating_sub(age_ms)))),
        some("dl-time", Some(rfc3339(letter.died_unix_ms))),
        some("dl-age-ms", Some(age_ms.to_string())),
        some("dl-expiry", message.expiry.map(|expiry| expiry.to_string())),
        some("dl-broker", Some(node.into())),
    ];
    facts.into_iter().flatten().collect()
}

/// Everything in one JSON object: the facts under their names without `dl-`, the publisher's own
/// User Properties in their order, and the payload as text where it is UTF-8, else in base64.
fn envelope(letter: &DeadLetter, node: &str) -> Bytes {
    let mut object = serde_json::Map::new();
    for (name, value) in letter_facts(letter, node) {
        object.insert(name.trim_start_matches("dl-").into(), value.into());
    }
    let own = PassedOn::new(&letter.message.properties)
        .filter_map(|property| property.user_name().zip(property.user_value()))
        .map(|(name, value)| serde_json::json!([name, value]));
    object.insert("user_properties".into(), own.collect());
    match str::from_utf8(&letter.message.payload) {
        Ok(text) => object.insert("payload".into(), text.into()),
        Err(_) => {
            let text = BASE64_STANDARD.encode(&letter.message.payload);
            object.insert("payload_base64".into(), text.into())
        }
    };
    serde_json::Value::Object(object).to_string().into()
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
}
