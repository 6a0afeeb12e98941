//! Dead letters and the tasks over them, as they are told.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dead_reason::DeadReason;
use crate::mqtt::topic;
use crate::turn::{DeadId, LetterFilter};

/// Which dead letters; a field that is not there allows all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Of this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of this owner: a Client Identifier, or `$share~group~filter`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whose topic this Topic Filter matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// That died then or later, in milliseconds since 1970, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_unix_ms: Option<u64>,
    /// That died before, in milliseconds since 1970, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_unix_ms: Option<u64>,
    /// This one alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// This one alone, by its [`Letter::dl_id`]: it must be there, and the only one of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dl_id: Option<String>,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

impl Filter {
    /// The same for the core, but for `dl_id`; the error is one line.
    pub(in crate::admin) fn letters(self) -> Result<LetterFilter, String> {
        let reason = self.reason.map(|word| reason(&word)).transpose()?;
        if let Some(filter) = &self.topic {
            let levels = usize::MAX;
            let parts = topic::parse_filter(filter, levels);
            let parts = parts.map_err(|error| format!("topic filter {filter:?}: {error}"))?;
            if parts.share.is_some() {
                return Err(format!("topic filter {filter:?}: leave out $share and the name"));
            }
        }
        Ok(LetterFilter {
            reason,
            owner: self.owner.map(Arc::from),
            topic: self.topic.map(Arc::from),
            since_unix_ms: self.since_unix_ms,
            until_unix_ms: self.until_unix_ms,
            id: self.id.map(DeadId),
            limit: self.limit,
        })
    }

    pub(in crate::admin) fn of(filter: &LetterFilter) -> Self {
        Self {
            reason: filter.reason.map(|reason| reason.as_str().to_owned()),
            owner: filter.owner.as_deref().map(str::to_owned),
            topic: filter.topic.as_deref().map(str::to_owned),
            since_unix_ms: filter.since_unix_ms,
            until_unix_ms: filter.until_unix_ms,
            id: filter.id.map(|id| id.0),
            dl_id: None,
            limit: filter.limit,
        }
    }
}

fn reason(word: &str) -> Result<DeadReason, String> {
    let found = DeadReason::ALL.into_iter().find(|reason| reason.as_str() == word);
    found.ok_or_else(|| format!("{word:?} is no reason of a dead letter"))
}

/// A dead letter. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its number: [`Filter::id`].
    pub id: u64,
    /// The same through all deaths of the message.
    pub dl_id: String,
    /// When it died.
    pub time: String,
    /// Why.
    pub reason: String,
    /// Why at its first death.
    pub first_reason: String,
    /// The subscriber's Reason Code, as `0x83`.
    pub reason_code: Option<String>,
    /// The subscriber's Reason String.
    pub reason_string: Option<String>,
    /// Whose copy it was.
    pub owner: String,
    /// The topic filter that matched it, where known.
    pub filter: Option<String>,
    /// Topic Name.
    pub topic: String,
    /// Its effective QoS.
    pub qos: u8,
    /// RETAIN as it would have been sent.
    pub retain: bool,
    /// How often it was sent.
    pub deliveries: u32,
    /// How often it died.
    pub deaths: u32,
    /// How often it was redriven.
    pub redrives: u32,
    /// When it is redriven by itself.
    pub retry: Option<String>,
    /// When the broker took it.
    pub received: String,
    /// Between that and the death, in milliseconds.
    pub age_ms: u64,
    /// Message Expiry Interval of the publisher, in seconds.
    pub expiry: Option<u32>,
    /// Topic, properties and payload, in bytes.
    pub size: u64,
    /// The publisher's User Properties, in their order.
    pub user_properties: Vec<(String, String)>,
    /// The payload, if it is asked for and is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload, if it is asked for and is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letters {
    /// By number.
    pub letters: Vec<Letter>,
    /// What to ask after for the next page; none at the end.
    pub next: Option<u64>,
}

/// How many letters there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All.
    pub letters: u64,
    /// Their size together, in bytes.
    pub bytes: u64,
    /// By reason and owner.
    pub groups: Vec<Group>,
}

/// Letters of one reason and owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The reason.
    pub reason: String,
    /// The owner.
    pub owner: String,
    /// How many.
    pub letters: u64,
    /// Their size together, in bytes.
    pub bytes: u64,
}

/// What is done with dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Published under `$dead/…` again.
    Republish,
    /// Queued again for the owner.
    RedriveToOwner,
    /// Published to the topic again.
    RedriveToTopic,
    /// Forgotten.
    Purge,
}

/// A task over dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its number.
    pub id: u64,
    /// What is done.
    pub action: Action,
    /// With which letters.
    pub filter: Filter,
    /// Letters a second; 0 is as fast as it goes.
    pub rate: u32,
    /// When it was started, RFC 3339.
    pub started: String,
    /// How many letters it was done with.
    pub done: u64,
    /// How many stay dead, as their owner is gone or has no room.
    pub left: u64,
    /// Letters up to this number were looked at, while it goes on; then that of `last`.
    pub looked_at: u64,
    /// The last letter that it looks at.
    pub last: u64,
    /// Whether it goes on, was finished or cancelled.
    pub state: State,
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It goes on.
    Running,
    /// It did all.
    Finished,
    /// It was ended before that.
    Cancelled,
}
