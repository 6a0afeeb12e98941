//! The configuration file as it is written: names, types and bounds of all options, nothing that
//! needs two of them to be judged. [`super::config`] does that.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use toml::Spanned;

use super::failure::Failure;
use super::quantity::{ANY, Cap, Count, Period, Seconds, Size};
use crate::config;
use crate::dead_reason::DeadReason;
use crate::net::listen::Address;

/// A whole file. What it does not say is as its `Default` says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// The node's name, as dead letters give it; otherwise the host name.
    pub node: Option<Spanned<String>>,
    /// The data directory.
    pub data: Option<PathBuf>,
    /// The directory of made certificates.
    pub certs: Option<PathBuf>,
    /// Further names of the made server certificate.
    pub cert_names: Vec<String>,
    /// Threads that serve the connections; otherwise one.
    pub worker_threads: Option<Count<1, 1024>>,
    /// The log.
    pub log: Log,
    /// Limits.
    pub limits: Limits,
    /// What happens to messages for full queues.
    pub overflow: Vec<OverflowRule>,
    /// Which member of a share group gets a message.
    pub shared: Vec<ShareRule>,
    /// Dead letters.
    pub dead_letters: DeadLetters,
    /// The store.
    pub store: Store,
    /// Users and rights.
    pub auth: Auth,
    /// Listeners; none gives the usual ones.
    pub listener: Vec<Listener>,
}

/// `[log]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// The least important lines that are written.
    pub level: LogLevel,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What does not work.
    Error,
    /// And what may become trouble.
    Warn,
    /// And who comes and goes.
    #[default]
    Info,
    /// And why.
    Debug,
    /// And each packet.
    Trace,
}

/// `[limits]`: [`config::Limits`] under the same names, and those of the connections.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // see config::Limits
pub struct Limits {
    pub packet_size: Size<256, 268_435_460>,
    pub receive_maximum: Count<1, 65_535>,
    pub in_flight: Count<1, 65_535>,
    pub queue_messages: Count<1, ANY>,
    pub queue_bytes: Size<1, ANY>,
    pub overflow: Overflow,
    pub memory_bytes: Size<1, ANY>,
    pub disk_bytes: Size<1, ANY>,
    pub maximum_qos: Count<0, 2>,
    pub retain_available: bool,
    pub wildcard_subscriptions: bool,
    pub subscription_identifiers: bool,
    pub shared_subscriptions: bool,
    pub topic_alias_maximum: Count<0, 65_535>,
    pub session_expiry: Seconds<{ u32::MAX - 1 }>,
    pub topic_levels: Count<1, 32_768>,
    pub keep_alive: Seconds<65_535>,
    pub retained_messages: Count<0, ANY>,
    pub subscriptions: Count<1, ANY>,
    pub max_deliveries: Count<0, 4_294_967_295>,
    pub max_deliveries_v311: Count<0, 4_294_967_295>,
    pub ack_timeout: Seconds<{ u32::MAX }>,
    pub message_expiry: Seconds<{ u32::MAX }>,
    pub restart_grace: Period,
    pub sys_interval: Period,
    /// Bytes that wait in memory to be written to one connection.
    pub outbox: Size<4_096, ANY>,
    /// Time for the TLS handshake and CONNECT.
    pub connect_timeout: Period,
    /// Connections at once; otherwise what the open-file limit allows.
    pub max_connections: Option<Count<1, ANY>>,
}

impl Default for Limits {
    fn default() -> Self {
        let core = config::Limits::default();
        let cap = (core.session_expiry != u32::MAX).then_some(core.session_expiry);
        let keep_alive = (core.keep_alive != 0).then_some(u32::from(core.keep_alive));
        Self {
            packet_size: Size(core.packet_size as u64),
            receive_maximum: Count(u64::from(core.receive_maximum)),
            in_flight: Count(u64::from(core.in_flight)),
            queue_messages: Count(core.queue_messages as u64),
            queue_bytes: Size(core.queue_bytes as u64),
            overflow: Overflow::DropOldest,
            memory_bytes: Size(core.memory_bytes as u64),
            disk_bytes: Size(core.disk_bytes),
            maximum_qos: Count(core.maximum_qos as u64),
            retain_available: core.retain_available,
            wildcard_subscriptions: core.wildcard_subscriptions,
            subscription_identifiers: core.subscription_identifiers,
            shared_subscriptions: core.shared_subscriptions,
            topic_alias_maximum: Count(u64::from(core.topic_alias_maximum)),
            session_expiry: Seconds(cap),
            topic_levels: Count(core.topic_levels as u64),
            keep_alive: Seconds(keep_alive),
            retained_messages: Count(core.retained_messages as u64),
            subscriptions: Count(core.subscriptions as u64),
            max_deliveries: Count(u64::from(core.max_deliveries)),
            max_deliveries_v311: Count(u64::from(core.max_deliveries_v311)),
            ack_timeout: Seconds(None),
            message_expiry: Seconds(core.message_expiry),
            restart_grace: Period(core.restart_grace),
            sys_interval: Period(core.sys_interval),
            outbox: Size(1024 * 1024),
            connect_timeout: Period(std::time::Duration::from_secs(10)),
            max_connections: None,
        }
    }
}

/// `[dead_letters]`: a switch for each reason, and [`config::DeadLetters`] under the same names.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // see DeadReason and config::DeadLetters
pub struct DeadLetters {
    pub expired: bool,
    pub queue_full: bool,
    pub session_expired: bool,
    pub session_cleared: bool,
    pub rejected: bool,
    pub too_large: bool,
    pub delivery_limit: bool,
    pub unauthorized: bool,
    pub purged: bool,
    pub storage_full: bool,
    pub topic: Option<Spanned<String>>,
    pub envelope: Envelope,
    pub no_subscribers: Vec<Spanned<String>>,
    pub when_full: WhenFull,
    pub include_qos0: bool,
    pub include_transient: bool,
    pub max_count: Count<0, ANY>,
    pub max_bytes: Size<0, ANY>,
    pub max_age: Period,
    pub retry: Retry,
}

/// `[dead_letters.retry]`: [`config::Retry`] under the same names.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // see config::Retry
pub struct Retry {
    pub reasons: Vec<Reason>,
    pub max: Count<1, { u32::MAX as u64 }>,
    pub backoff_min: Period,
    pub backoff_max: Period,
}

impl Default for Retry {
    fn default() -> Self {
        let core = config::Retry::default();
        Self {
            reasons: Vec::new(),
            max: Count(u64::from(core.max)),
            backoff_min: Period(core.backoff_min),
            backoff_max: Period(core.backoff_max),
        }
    }
}

/// A reason by its word.
#[derive(Clone, Copy, Debug)]
pub struct Reason(pub DeadReason);

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let found = DeadReason::ALL.into_iter().find(|reason| reason.as_str() == word);
        found.map(Self).ok_or_else(|| {
            let words: Vec<_> = DeadReason::ALL.iter().map(|reason| reason.as_str()).collect();
            D::Error::custom(format!("{word:?} is no reason; there are {}", words.join(", ")))
        })
    }
}

impl Default for DeadLetters {
    fn default() -> Self {
        let core = config::DeadLetters::default();
        let on = |reason| core.reasons.contains(&reason);
        Self {
            expired: on(DeadReason::Expired),
            queue_full: on(DeadReason::QueueFull),
            session_expired: on(DeadReason::SessionExpired),
            session_cleared: on(DeadReason::SessionCleared),
            rejected: on(DeadReason::Rejected),
            too_large: on(DeadReason::TooLarge),
            delivery_limit: on(DeadReason::DeliveryLimit),
            unauthorized: on(DeadReason::Unauthorized),
            purged: on(DeadReason::Purged),
            storage_full: on(DeadReason::StorageFull),
            topic: None,
            envelope: Envelope::None,
            no_subscribers: Vec::new(),
            when_full: WhenFull::DropOldest,
            include_qos0: core.include_qos0,
            include_transient: core.include_transient,
            max_count: Count(core.max_count as u64),
            max_bytes: Size(core.max_bytes),
            max_age: Period(core.max_age),
            retry: Retry::default(),
        }
    }
}

/// How a letter's payload looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Envelope {
    /// As the publisher sent it.
    None,
    /// One JSON object.
    Json,
}

/// What a publish meets that would make one letter too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The oldest letter goes.
    DropOldest,
    /// It is refused.
    Refuse,
}

/// What happens to a message for a queue that is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The oldest that was never sent dies.
    #[default]
    DropOldest,
    /// The new one dies.
    DropNewest,
    /// Its publisher is refused.
    Refuse,
}

/// `[[overflow]]`: what happens instead of `limits.overflow`; the first that fits counts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverflowRule {
    /// Client Identifier, or `$share~group~filter`; `*` stands for anything.
    #[serde(default = "anybody")]
    pub owner: String,
    /// Topic Filter of the message.
    #[serde(default = "anything")]
    pub topic: Spanned<String>,
    /// What happens.
    pub policy: Overflow,
}

/// `[[shared]]`: who gets a message instead of each member in its turn; the first that fits counts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareRule {
    /// `$share/name/filter`; `*` stands for anything.
    #[serde(default = "anybody")]
    pub filter: String,
    /// Who gets it.
    pub strategy: Strategy,
    /// How long a member that takes nothing may hold up the others.
    #[serde(default = "patience")]
    pub patience: Period,
}

/// Which member of a share group gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Each in its turn.
    RoundRobin,
    /// The same for all messages of a topic.
    HashTopic,
}

fn patience() -> Period {
    Period(std::time::Duration::from_secs(60))
}

fn anybody() -> String {
    "*".into()
}

fn anything() -> Spanned<String> {
    Spanned::new(0..0, "#".into())
}

/// `[store]`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// What becomes of a data file that is proven to be broken.
    pub on_broken_store: OnBrokenStore,
    /// The least time between two commits.
    pub commit_interval: Period,
    /// Whether a commit syncs twice, against a disk that writes out of order.
    pub two_phase_commit: bool,
    /// Bytes that the store may use.
    pub max_store_size: Cap,
    /// Bytes kept for when the disk is full.
    pub reserve: Size<0, ANY>,
    /// Downtime that counts for expiries; more is a clock that jumped.
    pub max_downtime: Period,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            on_broken_store: OnBrokenStore::SetAside,
            commit_interval: Period(std::time::Duration::from_millis(1)),
            two_phase_commit: false,
            max_store_size: Cap(None),
            reserve: Size(8 * 1024 * 1024),
            max_downtime: Period(std::time::Duration::from_secs(7 * 24 * 3600)),
        }
    }
}

/// What becomes of a broken data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBrokenStore {
    /// It is renamed, and a new one started.
    SetAside,
    /// The broker does not start.
    Stop,
}

/// `[auth]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// The users of every listener that names no file of its own.
    pub password_file: Option<PathBuf>,
    /// Rights.
    pub acl_file: Option<PathBuf>,
    /// A filter that is wider than the rights.
    pub acl_subscribe: AclSubscribe,
    /// A publish without the right, in 3.1.1.
    pub unauthorized_publish: UnauthorizedPublish,
}

/// What a filter that is wider than the rights gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AclSubscribe {
    /// Accepted, and filtered at delivery.
    #[default]
    Filter,
    /// Refused.
    Strict,
}

/// What a 3.1.1 publish without the right gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnauthorizedPublish {
    /// Acknowledged and dropped.
    #[default]
    Acknowledge,
    /// The connection is closed.
    Close,
}

/// `[[listener]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Where to listen.
    #[serde(deserialize_with = "address")]
    pub address: Spanned<Address>,
    /// Whether it speaks TLS.
    #[serde(default)]
    pub tls: bool,
    /// The server's certificate, in place of a made one.
    pub certificate: Option<Spanned<PathBuf>>,
    /// Its key.
    pub key: Option<Spanned<PathBuf>>,
    /// The CAs of clients.
    pub client_ca: Option<Spanned<PathBuf>>,
    /// Whether clients show a certificate.
    pub client_certificate: Option<Spanned<AskClients>>,
    /// Whether its Common Name is the user.
    pub common_name_as_user: Option<Spanned<bool>>,
    /// Whether clients without a User Name may connect.
    pub anonymous: Option<Spanned<bool>>,
    /// The users of this listener.
    pub password_file: Option<PathBuf>,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AskClients {
    /// They are not asked.
    None,
    /// They may.
    Optional,
    /// They must.
    Required,
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Spanned<Address>, D::Error> {
    let text = Spanned::<String>::deserialize(from)?;
    let span = text.span();
    let read = text.get_ref().parse();
    let address = read.map_err(|error| {
        D::Error::custom(format_args!("{:?} is no address: {error}", text.get_ref()))
    })?;
    Ok(Spanned::new(span, address))
}

/// A file and its text, to tell where in it something stands.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The file, absolute.
    pub file: &'a Path,
    /// What it holds.
    pub text: &'a str,
}

impl Source<'_> {
    /// Reads the options.
    pub fn parse(self) -> Result<File, Failure> {
        toml::from_str(self.text).map_err(|error| {
            let wrong = reworded(error.message());
            match error.span() {
                Some(span) => self.wrong(span, &wrong),
                None => Failure::given(format_args!("{}: {wrong}", self.file.display())),
            }
        })
    }

    /// The line for what is wrong at a place: file, line, option, and what is wrong.
    pub fn wrong(self, place: Range<usize>, wrong: &str) -> Failure {
        let end = place.start.min(self.text.len());
        let number = self.text.as_bytes()[..end].iter().filter(|b| **b == b'\n').count() + 1;
        let file = self.file.display();
        let option = option_at(self.text, number);
        Failure::given(format_args!("{file}:{number}: {option}{wrong}"))
    }
}

/// serde speaks of fields; the name of an unknown one stands before the text already.
fn reworded(message: &str) -> String {
    match message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
        Some((_, rest)) => format!("unknown option{rest}"),
        None => message.replacen("missing field", "missing option", 1),
    }
}

/// The option that a line belongs to, as `table.key: `, or nothing when it has none.
fn option_at(text: &str, number: usize) -> String {
    let (mut table, mut key) = ("", "");
    for line in text.lines().take(number).map(str::trim) {
        if let Some(header) = line.strip_prefix('[').filter(|_| !line.contains('=')) {
            let header = header.split(']').next().unwrap_or_default();
            (table, key) = (header.trim_start_matches('[').trim(), "");
        } else if let Some((name, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            key = name.trim();
        }
    }
    match (table, key) {
        ("", "") => String::new(),
        ("", one) | (one, "") => format!("{one}: "),
        (table, key) => format!("{table}.{key}: "),
    }
}

#[cfg(test)]
mod tests;
