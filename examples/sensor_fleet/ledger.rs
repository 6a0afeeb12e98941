//! What was published, and what became of each message: it was delivered, it waits, or it is dead
//! and says why. Every client writes here; the summary reads it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// To the historian at QoS 0: at most once.
    Reading,
    /// To the historian at QoS 1: at least once.
    Telemetry,
    /// To the alarm desk at QoS 2: exactly once.
    Alarm,
    /// To a device at QoS 1.
    Command,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Reading, Self::Telemetry, Self::Alarm, Self::Command];

    /// As in topics and payloads.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Telemetry => "telemetry",
            Self::Alarm => "alarm",
            Self::Command => "command",
        }
    }

    pub(crate) fn qos(self) -> u8 {
        match self {
            Self::Reading => 0,
            Self::Telemetry | Self::Command => 1,
            Self::Alarm => 2,
        }
    }
}

/// Which message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) device: usize,
    pub(crate) number: u32,
}

impl Key {
    /// Of a payload: its first three words.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let mut words = str::from_utf8(payload).ok()?.split(' ');
        let word = words.next()?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
        let (device, number) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { kind, device, number })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.kind.word(), self.device, self.number)
    }
}

/// What is known of a message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// The broker has taken it; of QoS 0, it has left.
    pub(crate) acknowledged: bool,
    /// The acknowledgement said that nobody subscribes to it.
    pub(crate) unwanted: bool,
    pub(crate) received: u32,
    /// It waits in a queue.
    pub(crate) queued: bool,
    /// The reason of its dead letter.
    pub(crate) letter: Option<String>,
}

/// How a message ended, each in one way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    Delivered,
    Queued,
    Dead(String),
    Unwanted,
    /// Its publisher still has it.
    Kept,
    /// Acknowledged, and nowhere: for QoS 0 only.
    Lost,
}

impl Message {
    pub(crate) fn fate(&self) -> Fate {
        if let Some(reason) = &self.letter {
            return Fate::Dead(reason.clone());
        }
        match self {
            Self { received: 1.., .. } => Fate::Delivered,
            Self { queued: true, .. } => Fate::Queued,
            Self { unwanted: true, .. } => Fate::Unwanted,
            Self { acknowledged: false, .. } => Fate::Kept,
            _ => Fate::Lost,
        }
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) messages: BTreeMap<Key, Message>,
    /// Messages that were given to a client, counted apart.
    pub(crate) sent: BTreeMap<Kind, usize>,
    /// Letters that were read off `$dead/#`.
    pub(crate) heard: BTreeMap<String, Key>,
    /// Links that were cut.
    pub(crate) cuts: u64,
    /// Connections that were resumed or begun.
    pub(crate) connects: u64,
    /// Crashes of the alarm desk.
    pub(crate) crashes: u64,
    /// What must not happen, in words.
    pub(crate) problems: Vec<String>,
}

/// The ledger, as all clients have it.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Ledger>>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn published(&self, key: Key) {
        let mut ledger = self.lock();
        ledger.messages.entry(key).or_default();
        *ledger.sent.entry(key.kind).or_default() += 1;
    }

    pub(crate) fn acknowledged(&self, key: Key, unwanted: bool) {
        let mut ledger = self.lock();
        let message = ledger.messages.entry(key).or_default();
        message.acknowledged = true;
        message.unwanted = unwanted;
    }

    /// A subscriber has a message.
    pub(crate) fn received(&self, payload: &[u8]) {
        let mut ledger = self.lock();
        let key = Key::read(payload);
        match key.and_then(|key| ledger.messages.get_mut(&key)) {
            Some(message) => message.received += 1,
            None => ledger.stranger("a message", payload),
        }
    }

    /// Somebody who subscribes to `$dead/#` has a letter, for the first time or again.
    pub(crate) fn heard(&self, id: &str, payload: &[u8]) {
        let mut ledger = self.lock();
        match Key::read(payload).filter(|key| ledger.messages.contains_key(key)) {
            Some(key) => drop(ledger.heard.insert(id.to_owned(), key)),
            None => ledger.stranger("a letter", payload),
        }
    }

    pub(crate) fn problem(&self, what: String) {
        self.lock().problems.push(what);
    }
}

impl Ledger {
    fn stranger(&mut self, what: &str, payload: &[u8]) {
        let payload = String::from_utf8_lossy(payload);
        self.problems.push(format!("{what} that nobody published: {payload:?}"));
    }

    /// The store's letter of a message.
    pub(crate) fn died(&mut self, payload: &[u8], reason: &str) {
        match Key::read(payload).and_then(|key| self.messages.get_mut(&key)) {
            Some(message) => message.letter = Some(reason.to_owned()),
            None => self.stranger("a letter", payload),
        }
    }
}
