//! Dead letters, read off a snapshot, and the tasks over them.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tracing::info;

use super::call::letter::{Action, Counts, Filter, Group, Letter, Letters, State, Task};
use super::call::{Answer, Progress};
use super::serve::Report;
use crate::broker::dl_id;
use crate::mqtt::properties::PassedOn;
use crate::server::Handle;
use crate::store::Snapshot;
use crate::time::WallClock;
use crate::turn::{self, DeadId, DeadLetter, LetterFilter, LetterLoad};

/// Letters and bytes of a page, roughly.
const PAGE: usize = 512;
const PAGE_BYTES: usize = 1024 * 1024;
/// Letters that are looked at for a page.
const LOOKED_AT: u64 = 16 * 1024;
/// Letters and bytes that are read at once.
const READ: u32 = 256;
const READ_BYTES: u32 = 1024 * 1024;

/// The letters behind `after` that a filter means, up to a page of them.
pub(super) fn page(
    server: &Handle,
    filter: Filter,
    after: u64,
    payload: bool,
    report: Report<'_>,
) -> Result<Answer, String> {
    let (_, wall) = server.time();
    let snapshot = server.snapshot().map_err(|error| error.to_string())?;
    let filter = meant(filter, &snapshot, server.node())?;
    let limit = filter.limit.unwrap_or(u64::MAX);
    let mut page = Letters { letters: Vec::new(), next: None };
    let (mut bytes, mut looked_at) = (0, 0_u64);
    walk(&snapshot, &filter, after, &mut |letter| {
        looked_at += 1;
        if filter.matches(letter) {
            page.letters.push(told(letter, server.node(), wall, payload));
            bytes += if payload { letter.message.size() } else { 0 };
        }
        let count = page.letters.len();
        let is_full = count >= PAGE || bytes >= PAGE_BYTES || looked_at >= LOOKED_AT;
        let is_over = count as u64 >= limit;
        page.next = (is_full && !is_over).then_some(letter.id.0);
        let seen = Progress { done: looked_at, of: looked_at, bytes: bytes as u64 };
        !is_full && !is_over && report(seen).is_continue()
    })?;
    Ok(Answer::Letters(page))
}

/// How many letters a filter means, by reason and owner.
pub(super) fn count(server: &Handle, filter: Filter, report: Report<'_>) -> Result<Answer, String> {
    let snapshot = server.snapshot().map_err(|error| error.to_string())?;
    let filter = meant(filter, &snapshot, server.node())?;
    let limit = filter.limit.unwrap_or(u64::MAX);
    let mut counts = Counts::default();
    let mut groups = BTreeMap::<_, (u64, u64)>::new();
    walk(&snapshot, &filter, 0, &mut |letter| {
        if counts.letters < limit && filter.matches(letter) {
            let size = letter.message.size() as u64;
            counts.letters += 1;
            counts.bytes += size;
            let group = groups.entry((letter.reason, letter.owner_name.clone())).or_default();
            group.0 += 1;
            group.1 += size;
        }
        let seen = Progress { done: counts.letters, of: counts.letters, bytes: counts.bytes };
        counts.letters < limit && report(seen).is_continue()
    })?;
    let told = |((reason, owner), (letters, bytes)): ((turn::DeadReason, _), _)| {
        let owner: std::sync::Arc<str> = owner;
        Group { reason: reason.as_str().to_owned(), owner: owner.to_string(), letters, bytes }
    };
    counts.groups = groups.into_iter().map(told).collect();
    Ok(Answer::CountLetters(counts))
}

/// Which letters are meant, with the number of the one that a `dl-id` names.
fn meant(filter: Filter, snapshot: &Snapshot, node: &str) -> Result<LetterFilter, String> {
    let dl_id = filter.dl_id.clone();
    let mut filter = filter.letters()?;
    if let Some(dl_id) = dl_id {
        filter.id = Some(find(&dl_id, snapshot, node)?);
    }
    Ok(filter)
}

/// The letter that has this `dl-id` now.
fn find(wanted: &str, snapshot: &Snapshot, node: &str) -> Result<DeadId, String> {
    let unknown = || format!("there is no dead letter with the dl-id {wanted:?}");
    let origin = wanted.rsplit_once('-').and_then(|(_, number)| number.parse().ok());
    let origin: u64 = origin.ok_or_else(unknown)?;
    let mut found = Vec::new();
    // The first letter of a message has that number, any later one a larger one.
    let after = origin.saturating_sub(1);
    walk(snapshot, &LetterFilter::default(), after, &mut |letter| {
        if letter.origin.0 == origin && dl_id(letter, node) == wanted {
            found.push(letter.id);
        }
        // While the first letter is there, the message was not redriven.
        letter.id.0 != origin
    })?;
    match found[..] {
        [] => Err(unknown()),
        [id] => Ok(id),
        _ => {
            let ids: Vec<_> = found.iter().map(|id| id.0.to_string()).collect();
            let ids = ids.join(", ");
            Err(format!("several letters have the dl-id {wanted:?}: name one by its number, {ids}"))
        }
    }
}

/// Reads letters behind `after` in their order, as long as `see` wants more.
fn walk(
    snapshot: &Snapshot,
    filter: &LetterFilter,
    after: u64,
    see: &mut dyn FnMut(&DeadLetter) -> bool,
) -> Result<(), String> {
    let mut first = DeadId(after.saturating_add(1));
    let mut last = DeadId(u64::MAX);
    if let Some(id) = filter.id {
        (first, last) = (first.max(id), id);
    }
    while first <= last {
        let load = LetterLoad { first, last, count: READ, bytes: READ_BYTES, task: None };
        let read = snapshot.letters(load).map_err(|error| error.to_string())?;
        if !read.letters.iter().all(&mut *see) {
            return Ok(());
        }
        match read.letters.last().filter(|_| read.has_more) {
            Some(letter) => first = DeadId(letter.id.0 + 1),
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Starts a task, unless one goes on.
pub(super) fn start(
    server: &Handle,
    action: Action,
    filter: Filter,
    rate: u32,
) -> Result<Answer, String> {
    let snapshot = server.snapshot().map_err(|error| error.to_string())?;
    let filter = meant(filter, &snapshot, server.node())?;
    let core_action = match action {
        Action::Republish => turn::Action::Republish,
        Action::RedriveToOwner => turn::Action::RedriveToOwner,
        Action::RedriveToTopic => turn::Action::RedriveToTopic,
        Action::Purge => turn::Action::Purge,
    };
    let started = server.start_task(core_action, filter, rate);
    match started.map_err(|error| error.to_string())? {
        Some(id) => {
            info!(target: "kedgemq", id, ?action, rate, "task over dead letters started");
            Ok(Answer::StartTask(id))
        }
        None => Err(match server.tasks().running {
            Some(task) => format!(
                "task {} is going on: wait for it, or end it with kedgemq dead cancel {}",
                task.id, task.id
            ),
            None => "another task was going on: try again".to_owned(),
        }),
    }
}

/// Cancels a task.
pub(super) fn cancel(server: &Handle, id: u64) -> Result<Answer, String> {
    if server.cancel_task(id).map_err(|error| error.to_string())? {
        info!(target: "kedgemq", id, "task over dead letters cancelled");
        return Ok(Answer::CancelTask(id));
    }
    Err(match server.tasks().running {
        Some(task) => format!("task {id} does not go on, but task {} does", task.id),
        None => format!("task {id} does not go on, nor does another"),
    })
}

/// The task that goes on and the last that ended.
pub(super) fn tasks(server: &Handle) -> Vec<Task> {
    let (_, wall) = server.time();
    let tasks = server.tasks();
    let running = tasks.running.map(|task| told_task(&task, State::Running, wall));
    let ended = tasks.ended.map(|task| {
        let state = if task.is_cancelled() { State::Cancelled } else { State::Finished };
        told_task(&task, state, wall)
    });
    running.into_iter().chain(ended).collect()
}

fn told_task(task: &turn::Task, state: State, wall: WallClock) -> Task {
    Task {
        id: task.id,
        action: match task.action {
            turn::Action::Republish => Action::Republish,
            turn::Action::RedriveToOwner => Action::RedriveToOwner,
            turn::Action::RedriveToTopic => Action::RedriveToTopic,
            turn::Action::Purge => Action::Purge,
        },
        filter: Filter::of(&task.filter),
        rate: task.rate,
        started: rfc3339(wall.unix_ms(task.started)),
        done: task.done,
        left: task.left,
        looked_at: task.cursor.0.min(task.last.0),
        last: task.last.0,
        state,
    }
}

fn told(letter: &DeadLetter, node: &str, wall: WallClock, with_payload: bool) -> Letter {
    let message = &letter.message;
    let own = PassedOn::new(&message.properties)
        .filter_map(|it| it.user_name().zip(it.user_value()))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let age = letter.died.since(message.received);
    let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let (payload, payload_base64) =
        if with_payload { payload(&message.payload) } else { (None, None) };
    Letter {
        id: letter.id.0,
        dl_id: dl_id(letter, node),
        time: rfc3339(letter.died_unix_ms),
        reason: letter.reason.as_str().to_owned(),
        first_reason: letter.first_reason.as_str().to_owned(),
        reason_code: letter.reason_code.map(|code| format!("0x{:02X}", code.0)),
        reason_string: letter.reason_string.as_deref().map(str::to_owned),
        owner: letter.owner_name.to_string(),
        filter: letter.filter.as_deref().map(str::to_owned),
        topic: message.topic.to_string(),
        qos: letter.qos as u8,
        retain: letter.retain,
        deliveries: letter.deliveries,
        deaths: letter.deaths,
        redrives: letter.redrives,
        retry: letter.retry.map(|at| rfc3339(wall.unix_ms(at))),
        received: rfc3339(letter.died_unix_ms.saturating_sub(age_ms)),
        age_ms,
        expiry: message.expiry,
        size: message.size() as u64,
        user_properties: own.collect(),
        payload,
        payload_base64,
    }
}

/// A payload as text, or if it is none, in base64.
pub(super) fn payload(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// RFC 3339 in milliseconds, UTC. What no clock shows becomes the end of the year 9999.
pub(super) fn rfc3339(unix_ms: u64) -> String {
    const LAST: u64 = 253_402_300_799_999;
    let time = UNIX_EPOCH + Duration::from_millis(unix_ms.min(LAST));
    humantime::format_rfc3339_millis(time).to_string()
}
