//! Every message that was acknowledged was delivered to every owner that had a matching
//! subscription of a stored session at that time, and the right, or became a dead letter of that
//! owner. Where some reasons keep no letters, [`super::accounting`] judges alone.

use std::collections::{BTreeMap, BTreeSet};

use super::Broken;
use kedgemq::auth::Access;

use super::reading::{Rights, Story, clients, counted_only, ledger, stories};
use crate::history::{Entered, Fact, History, Tag, Use};

/// A subscription that surely was there from one point of the log to another.
#[derive(Debug)]
struct Span {
    client: usize,
    /// The client's name, or the group's.
    owner: String,
    filter: String,
    no_local: bool,
    from: usize,
    /// An index in the log, and a time: the earlier of both ends it.
    until: (usize, u64),
}

/// What is known of one client's session.
#[derive(Debug)]
struct Session {
    /// Filters with an open span.
    open: BTreeMap<String, usize>,
    requests: BTreeMap<(usize, u16), (String, u8, bool)>,
    /// Whether it is stored, as far as the client was told.
    stored: bool,
    expiry: BTreeMap<usize, u64>,
    /// When connections ended at the broker.
    gone: BTreeMap<usize, u64>,
    /// The earliest time at which it may have ended, since CONNACK.
    may_end: u64,
    /// Where the first CONNECT was that may have ended it.
    cleaned: Option<usize>,
}

pub(super) fn check(history: &History) -> Result<(), Broken> {
    if !counted_only(history).is_empty() {
        return Ok(());
    }
    let rights = Rights::new(history);
    let (names, _) = clients(history);
    let stories = stories(history);
    let spans = spans(history);
    let (delivered, dead) = fates(history);
    for story in stories.values() {
        let Some((accepted, at)) = story.accepted else {
            continue;
        };
        let publication = &story.publication;
        if publication.qos == 0 || publication.payload.is_empty() {
            continue;
        }
        let owed = spans.iter().filter(|span| {
            span.from < story.first
                && accepted < span.until.0
                && at < span.until.1
                && wants(span, story)
                && {
                    let (time, reader) = ((story.first, accepted), names[&span.client]);
                    rights.may_all_along(time, reader, &publication.topic, Access::Receive)
                }
        });
        for Span { client, owner, filter, .. } in owed {
            let tag = &publication.tag;
            let key = (owner.clone(), tag.clone());
            if !delivered.contains(&key) && !dead.contains(&key) {
                let what = format!(
                    "«{tag}» was acknowledged at {accepted}, and {owner} (c{client}), subscribed \
                     to {filter}, never got it, nor is it dead"
                );
                return Err(Broken::of(tag, what));
            }
        }
    }
    Ok(())
}

fn wants(span: &Span, story: &Story) -> bool {
    let publication = &story.publication;
    let filter = match span.filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or(shared, |(_, filter)| filter),
        None => &span.filter,
    };
    let own = span.no_local && publication.publisher == span.client;
    kedgemq::mqtt::topic::matches(&publication.topic, filter) && !own
}

type Fates = (BTreeSet<(String, Tag)>, BTreeSet<(String, Tag)>);

/// What each owner took, and what is dead.
fn fates(history: &History) -> Fates {
    let (names, _) = clients(history);
    let mut groups: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    let (mut delivered, mut dead) = Fates::default();
    for (_, _, fact) in history.facts() {
        match fact {
            Fact::Subscribe { client, filter, .. } if filter.starts_with("$share/") => {
                groups.entry(*client).or_default().insert(group_name(filter));
            }
            Fact::Arrived(arrival) if arrival.used == Use::Taken => {
                delivered.insert((names[&arrival.client].to_owned(), arrival.tag.clone()));
                for group in groups.get(&arrival.client).into_iter().flatten() {
                    delivered.insert((group.clone(), arrival.tag.clone()));
                }
            }
            _ => {}
        }
    }
    for (_, _, entered, is_sure) in ledger(history) {
        if let Entered::Died { owner, tag, .. } = entered
            && is_sure
        {
            dead.insert((owner.to_string(), tag.clone()));
        }
    }
    for (_, _, fact) in history.facts() {
        if let Fact::Letter(letter) = fact {
            dead.insert((letter.owner.clone(), letter.tag.clone()));
        }
    }
    (delivered, dead)
}

/// As dead letters name it.
fn group_name(filter: &str) -> String {
    filter.replacen("$share/", "$share~", 1).replacen('/', "~", 1)
}

fn spans(history: &History) -> Vec<Span> {
    let (names, decent) = clients(history);
    let mut sessions: BTreeMap<usize, Session> = BTreeMap::new();
    let mut spans = Vec::new();
    for (index, at, fact) in history.facts() {
        match fact {
            Fact::Connect { client, connection, clean, expiry, .. } => {
                let session = sessions.entry(*client).or_default();
                session.connect(index, *connection, *clean, *expiry);
            }
            Fact::Gone { client, connection } => {
                let session = sessions.entry(*client).or_default();
                session.gone(*connection, at);
            }
            Fact::Left { client, connection, expiry: Some(expiry) } => {
                let session = sessions.entry(*client).or_default();
                session.expiry.insert(*connection, u64::from(*expiry) * 1000);
            }
            Fact::Accepted { client, connection, present } => {
                let session = sessions.entry(*client).or_default();
                session.accepted(*connection, *present, &mut spans);
            }
            Fact::Subscribe { client, connection, packet_id, filter, qos, no_local } => {
                let request = (filter.clone(), *qos, *no_local);
                let session = sessions.entry(*client).or_default();
                session.requests.insert((*connection, *packet_id), request);
            }
            Fact::Subscribed { client, connection, packet_id, reason } => {
                let session = sessions.entry(*client).or_default();
                let request = session.requests.remove(&(*connection, *packet_id));
                let (filter, qos, no_local) = request.expect("SUBACK comes after SUBSCRIBE");
                let counts = session.stored && qos > 0 && decent.contains(client);
                if reason.is_error() || !counts || session.open.contains_key(&filter) {
                    continue;
                }
                session.open.insert(filter.clone(), spans.len());
                let owner = match filter.starts_with("$share/") {
                    true => group_name(&filter),
                    false => names[client].to_owned(),
                };
                let (client, until) = (*client, (usize::MAX, u64::MAX));
                spans.push(Span { client, owner, filter, no_local, from: index, until });
            }
            Fact::Unsubscribe { client, filter, .. } => {
                let session = sessions.entry(*client).or_default();
                if let Some(span) = session.open.remove(filter) {
                    spans[span].until = (index, session.may_end);
                }
            }
            _ => {}
        }
    }
    spans
}

impl Default for Session {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            requests: BTreeMap::new(),
            stored: false,
            expiry: BTreeMap::new(),
            gone: BTreeMap::new(),
            may_end: u64::MAX,
            cleaned: None,
        }
    }
}

impl Session {
    fn connect(&mut self, index: usize, connection: usize, clean: bool, expiry: u32) {
        let expiry = match expiry {
            u32::MAX => u64::MAX,
            seconds => u64::from(seconds) * 1000,
        };
        self.expiry.insert(connection, expiry);
        if clean {
            self.cleaned = self.cleaned.or(Some(index));
        }
    }

    fn gone(&mut self, connection: usize, at: u64) {
        self.gone.insert(connection, at);
        self.may_end = self.may_end.min(self.end_of(connection));
    }

    /// Only now it shows whether the session went on.
    fn accepted(&mut self, connection: usize, present: bool, spans: &mut [Span]) {
        if !present {
            for (_, span) in std::mem::take(&mut self.open) {
                spans[span].until = (self.cleaned.unwrap_or(usize::MAX), self.may_end);
            }
            self.stored = false;
        }
        self.stored |= self.expiry.get(&connection).is_some_and(|expiry| *expiry > 0);
        // CONNACK may have come when the connection had ended.
        self.may_end = self.end_of(connection);
        self.cleaned = None;
    }

    /// When a session ends that this connection was the last of.
    fn end_of(&self, connection: usize) -> u64 {
        let gone = self.gone.get(&connection).copied().unwrap_or(u64::MAX);
        gone.saturating_add(self.expiry.get(&connection).copied().unwrap_or(0))
    }
}
