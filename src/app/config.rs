//! The configuration that a broker runs with: the file and the flags over it, judged as a whole.
//!
//! Whatever a [`Config`] says can be done, as far as words can tell: nothing here opens a socket
//! or reads a file that the configuration names.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::Run;
use super::config_file::{
    AclSubscribe, Envelope, File, LogFormat, LogLevel, OnBrokenStore, Overflow, OverflowRule,
    ShareRule, Source, Strategy, UnauthorizedPublish, WhenFull,
};
use super::failure::Failure;
use super::listener::{Listener, ListenerTls};
use crate::dead_reason::DeadReason;
use crate::mqtt::{QoS, topic};
use crate::net::listen::Address;
use crate::{config, store};

/// All that a broker is started with. Paths are absolute.
#[derive(Debug)]
pub struct Config {
    /// The core.
    pub settings: config::Settings,
    /// The store.
    pub store: store::Options,
    /// Downtime that counts.
    pub max_downtime: Duration,
    /// The data directory.
    pub data: PathBuf,
    /// The directory of made certificates.
    pub certs: PathBuf,
    /// Names of the made server certificate, besides those that it always has.
    pub cert_names: Vec<String>,
    /// Threads that serve the connections.
    pub worker_threads: usize,
    /// How log lines look.
    pub log_format: LogFormat,
    /// How much is logged.
    pub log_level: LogLevel,
    /// The listeners: at least one.
    pub listeners: Vec<Listener>,
    /// Rights.
    pub acl_file: Option<PathBuf>,
    /// Bytes that may wait for one client.
    pub outbox_bytes: usize,
    /// Time for the handshake and CONNECT.
    pub connect_timeout: Duration,
    /// Connections at once; `None` is what the open-file limit allows.
    pub max_connections: Option<usize>,
}

/// Where the command was started.
#[derive(Clone, Debug)]
pub struct Place {
    /// The working directory.
    pub directory: PathBuf,
    /// The machine's name.
    pub host: String,
}

impl Config {
    /// Reads the named file, if any, and puts the flags over it.
    pub fn load(flags: &Run, place: &Place) -> Result<Self, Failure> {
        let Some(named) = &flags.config else {
            return Self::assemble(flags, None, place);
        };
        let file = place.directory.join(named);
        let text =
            std::fs::read_to_string(&file).map_err(|error| Failure::unreadable(&file, &error))?;
        Self::assemble(flags, Some(Source { file: &file, text: &text }), place)
    }

    /// The same without reading: the file's text is given.
    pub fn assemble(
        flags: &Run,
        source: Option<Source<'_>>,
        place: &Place,
    ) -> Result<Self, Failure> {
        let file = source.map(Source::parse).transpose()?.unwrap_or_default();
        let base = source.and_then(|source| source.file.parent()).unwrap_or(&place.directory);
        let data = directory(flags.data.as_deref(), file.data.as_deref(), "data", base, place);
        let certs = directory(flags.certs.as_deref(), file.certs.as_deref(), "certs", base, place);
        let listeners = listeners(flags, &file, source, base)?;
        let settings = settings(&file, source, place)?;
        let mut cert_names = flags.cert_name.clone();
        cert_names.extend(file.cert_names);
        cert_names.extend(listeners.iter().filter_map(certificate_name));
        let max_connections = file.limits.max_connections.map(|count| count.get());
        Ok(Self {
            settings,
            store: store_options(&data, &file.store),
            max_downtime: file.store.max_downtime.0,
            data,
            certs,
            cert_names,
            worker_threads: file.worker_threads.map_or(1, |count| count.get()),
            log_format: flags.log_format.unwrap_or(file.log.format),
            log_level: flags.log_level.unwrap_or(file.log.level),
            listeners,
            acl_file: file.auth.acl_file.map(|path| base.join(path)),
            outbox_bytes: file.limits.outbox.get(),
            connect_timeout: file.limits.connect_timeout.0,
            max_connections,
        })
    }

    /// The password files, each once.
    pub fn password_files(&self) -> BTreeSet<&Path> {
        self.listeners.iter().filter_map(|listener| listener.password_file.as_deref()).collect()
    }

    /// Whether a listener needs certificates that the broker makes.
    pub fn makes_certificates(&self) -> bool {
        self.listeners.iter().filter_map(|listener| listener.tls.as_ref()).any(ListenerTls::is_made)
    }
}

/// A flag is meant from the working directory; what the file says, and the default, from the
/// file's.
fn directory(
    flag: Option<&Path>,
    option: Option<&Path>,
    default: &str,
    base: &Path,
    place: &Place,
) -> PathBuf {
    match flag {
        Some(path) => place.directory.join(path),
        None => base.join(option.unwrap_or_else(|| Path::new(default))),
    }
}

fn listeners(
    flags: &Run,
    file: &File,
    source: Option<Source<'_>>,
    base: &Path,
) -> Result<Vec<Listener>, Failure> {
    let users = file.auth.password_file.as_ref().map(|path| base.join(path));
    let plain = flags.mqtt.iter().map(|address| ("--mqtt", address, false));
    let tls = flags.mqtts.iter().map(|address| ("--mqtts", address, true));
    let flagged: Result<Vec<_>, _> = tls
        .chain(plain)
        .map(|(flag, address, tls)| Listener::from_flag(flag, address, tls, users.clone()))
        .collect();
    let flagged = flagged?;
    if !flagged.is_empty() {
        return Ok(flagged);
    }
    match source {
        Some(source) if !file.listener.is_empty() => file
            .listener
            .iter()
            .map(|written| Listener::from_file(written, source, users.clone(), base))
            .collect(),
        _ => Ok(vec![
            Listener::on_loopback(8883, true, users.clone()),
            Listener::on_loopback(1883, false, users),
        ]),
    }
}

/// The name under which clients will look for a listener with a made certificate, where it is not
/// one that the certificate has anyhow.
fn certificate_name(listener: &Listener) -> Option<String> {
    listener.tls.as_ref().filter(|tls| tls.is_made())?;
    match &listener.address {
        Address::Exact(address) => {
            let ip: IpAddr = address.ip();
            (!ip.is_unspecified() && !ip.is_loopback()).then(|| ip.to_string())
        }
        Address::Name(name, _) => Some(name.clone()),
        Address::Loopback(_) => None,
    }
}

fn store_options(data: &Path, written: &super::config_file::Store) -> store::Options {
    let mut options = store::Options::in_directory(data);
    options.on_broken = match written.on_broken_store {
        OnBrokenStore::SetAside => store::OnBroken::SetAside,
        OnBrokenStore::Stop => store::OnBroken::Stop,
    };
    options.commit_interval = written.commit_interval.0;
    options.two_phase_commit = written.two_phase_commit;
    options.max_bytes = written.max_store_size.0;
    options.reserve_bytes = written.reserve.0;
    options
}

fn settings(
    file: &File,
    source: Option<Source<'_>>,
    place: &Place,
) -> Result<config::Settings, Failure> {
    let node = match (&file.node, source) {
        (Some(node), Some(source)) if node.get_ref().trim().is_empty() => {
            return Err(source.wrong(node.span(), "is empty: name the node, or leave it out"));
        }
        (Some(node), _) => node.get_ref().clone(),
        (None, _) => place.host.clone(),
    };
    let mut letter_topic = config::LetterTopic::default();
    if let Some(source) = source {
        check_filters(file, source)?;
        if let Some(template) = &file.dead_letters.topic {
            letter_topic = config::LetterTopic::new(template.get_ref())
                .map_err(|why| source.wrong(template.span(), why))?;
        }
    }
    Ok(config::Settings {
        limits: limits(&file.limits),
        overflow: overflow(file),
        sharing: sharing(file),
        dead_letters: config::DeadLetters {
            topic: letter_topic,
            ..dead_letters(&file.dead_letters)
        },
        rights: config::Rights {
            strict_subscribe: file.auth.acl_subscribe == AclSubscribe::Strict,
            close_unauthorized_publish: file.auth.unauthorized_publish
                == UnauthorizedPublish::Close,
        },
        node,
    })
}

fn check_filters(file: &File, source: Source<'_>) -> Result<(), Failure> {
    let rules = file.overflow.iter().map(|rule| &rule.topic);
    for filter in rules.chain(&file.dead_letters.no_subscribers) {
        if let Err(problem) = topic::parse_filter(filter.get_ref(), file.limits.topic_levels.get())
        {
            let why = format!("{:?} is no topic filter: {problem}", filter.get_ref());
            return Err(source.wrong(filter.span(), &why));
        }
    }
    Ok(())
}

fn overflow(file: &File) -> config::OverflowPolicies {
    let policy = |written| match written {
        Overflow::DropOldest => config::Overflow::DropOldest,
        Overflow::DropNewest => config::Overflow::DropNewest,
        Overflow::Refuse => config::Overflow::Refuse,
    };
    let rule = |written: &OverflowRule| config::OverflowRule {
        owner: wildmatch::WildMatch::new(&written.owner),
        topic: written.topic.get_ref().clone(),
        policy: policy(written.policy),
    };
    config::OverflowPolicies {
        rules: file.overflow.iter().map(rule).collect(),
        otherwise: policy(file.limits.overflow),
    }
}

fn sharing(file: &File) -> config::Sharing {
    let rule = |written: &ShareRule| config::ShareRule {
        filter: wildmatch::WildMatch::new(&written.filter),
        strategy: match written.strategy {
            Strategy::RoundRobin => config::Strategy::RoundRobin,
            Strategy::HashTopic => config::Strategy::HashTopic { patience: written.patience.0 },
        },
    };
    config::Sharing { rules: file.shared.iter().map(rule).collect() }
}

/// The bounds of each option make every conversion exact.
fn limits(written: &super::config_file::Limits) -> config::Limits {
    let u16 = |number: u64| u16::try_from(number).expect("bounded by its type");
    let u32 = |number: u64| u32::try_from(number).expect("bounded by its type");
    config::Limits {
        packet_size: written.packet_size.get(),
        receive_maximum: u16(written.receive_maximum.0),
        in_flight: u16(written.in_flight.0),
        queue_messages: written.queue_messages.get(),
        queue_bytes: written.queue_bytes.get(),
        memory_bytes: written.memory_bytes.get(),
        disk_bytes: written.disk_bytes.0,
        maximum_qos: match written.maximum_qos.0 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        },
        retain_available: written.retain_available,
        wildcard_subscriptions: written.wildcard_subscriptions,
        subscription_identifiers: written.subscription_identifiers,
        shared_subscriptions: written.shared_subscriptions,
        topic_alias_maximum: u16(written.topic_alias_maximum.0),
        session_expiry: written.session_expiry.0.unwrap_or(u32::MAX),
        topic_levels: written.topic_levels.get(),
        keep_alive: u16(u64::from(written.keep_alive.0.unwrap_or(0))),
        retained_messages: written.retained_messages.get(),
        subscriptions: written.subscriptions.get(),
        max_deliveries: u32(written.max_deliveries.0),
        max_deliveries_v311: u32(written.max_deliveries_v311.0),
        ack_timeout: written.ack_timeout.0.map(|seconds| Duration::from_secs(seconds.into())),
        message_expiry: written.message_expiry.0,
        restart_grace: written.restart_grace.0,
        sys_interval: written.sys_interval.0,
    }
}

fn dead_letters(written: &super::config_file::DeadLetters) -> config::DeadLetters {
    let on = |reason: &DeadReason| match reason {
        DeadReason::Expired => written.expired,
        DeadReason::QueueFull => written.queue_full,
        DeadReason::SessionExpired => written.session_expired,
        DeadReason::SessionCleared => written.session_cleared,
        DeadReason::Rejected => written.rejected,
        DeadReason::TooLarge => written.too_large,
        DeadReason::DeliveryLimit => written.delivery_limit,
        DeadReason::Unauthorized => written.unauthorized,
        DeadReason::Purged => written.purged,
        DeadReason::StorageFull => written.storage_full,
        DeadReason::NoSubscribers => true, // For the filters that are named.
    };
    config::DeadLetters {
        reasons: DeadReason::ALL.into_iter().filter(on).collect(),
        topic: config::LetterTopic::default(),
        envelope: match written.envelope {
            Envelope::None => config::Envelope::None,
            Envelope::Json => config::Envelope::Json,
        },
        no_subscribers: written.no_subscribers.iter().map(|f| f.get_ref().clone()).collect(),
        refuse_when_full: written.when_full == WhenFull::Refuse,
        include_qos0: written.include_qos0,
        include_transient: written.include_transient,
        max_count: written.max_count.get(),
        max_bytes: written.max_bytes.0,
        max_age: written.max_age.0,
        retry: config::Retry {
            reasons: written.retry.reasons.iter().map(|reason| reason.0).collect(),
            max: u32::try_from(written.retry.max.0).expect("bounded by its type"),
            backoff_min: written.retry.backoff_min.0,
            backoff_max: written.retry.backoff_max.0,
        },
    }
}

#[cfg(test)]
mod tests;
