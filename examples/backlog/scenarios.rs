//! The scenarios, and what each prints.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kedgemq::store::Database;
use kedgemq::turn::{Load, MessageId, OwnerId, Record};

use crate::filling::{BATCH, NOW, body, fill, message, open_at, queued, removed, sent, session};
use crate::proc::Process;
use crate::run_apart;

/// Owners of a queue in `ready` and `fanout`: `client-1` and so on.
pub(crate) const SESSIONS: u64 = 1000;
/// Copies that the core asks for at a time.
const WINDOW: u32 = 200;

pub(crate) fn run(scenario: &str, scale: u64) {
    match scenario {
        "ready" => ready(1_000_000 / scale),
        "drain" => drain(10_000_000 / scale),
        "fanout" => fanout(10_000 / scale),
        "end" => end(1_000_000 / scale),
        "hot" => hot(2_000_000 / scale),
        _ => panic!("no scenario {scenario}"),
    }
}

/// Resident memory, now and at most, in MiB.
fn memory() -> (u64, u64) {
    let memory = Process::this().memory().expect("Linux says it");
    ((memory.resident / 1048576.0) as u64, (memory.peak / 1048576.0) as u64)
}

/// CPU time of all threads.
fn cpu() -> Duration {
    Duration::from_secs_f64(Process::this().cpu().expect("Linux says it"))
}

/// What `run` lets other processes do.
pub(crate) fn step(step: &str, path: &Path, messages: u64) {
    match step {
        "fill" | "fill-and-die" => {
            let (mut database, _) = open_at(path);
            let started = (Instant::now(), cpu());
            fill_ready(&mut database, messages);
            println!(
                "  filled in {:.1?}, CPU {:.1?}, memory at most {} MiB, {:?}",
                started.0.elapsed(),
                cpu() - started.1,
                memory().1,
                database.cold_counts()
            );
            if step == "fill-and-die" {
                std::process::abort();
            }
            database.close().expect("it closes");
        }
        "open" => drop(open_step(path)),
        "drain-all" => drain_all(path),
        "fill-one" => fill_one(path, messages),
        "drain-one" => drain_one(path, messages),
        _ => panic!("no step {step}"),
    }
}

fn open_step(path: &Path) -> Database {
    let started = (Instant::now(), cpu());
    let (database, restored) = open_at(path);
    let (now, most) = memory();
    println!(
        "  ready in {:.2?} (CPU {:.2?}), resident {now} MiB, at most {most} MiB, {} records",
        started.0.elapsed(),
        cpu() - started.1,
        restored.records.len(),
    );
    database
}

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("kedgemq.redb");
        Self { _directory: directory, path }
    }

    fn bytes(&self) -> u64 {
        self.path.metadata().expect("the file is there").len()
    }
}

/// 1,000,000 messages in 1,000 queues, 100,000 retained: how long an open takes, and memory.
fn ready(messages: u64) {
    println!("ready: {messages} messages for {SESSIONS} sessions, a tenth as many retained");
    for (how, fill) in [("closed", "fill"), ("killed", "fill-and-die")] {
        let place = Place::new();
        let path = place.path.to_str().expect("a path of ASCII").to_owned();
        let messages = messages.to_string();
        run_apart(&["step", fill, &path, &messages]);
        println!("  {how}: {} MiB on disk", place.bytes() >> 20);
        run_apart(&["step", "open", &path, &messages]);
        run_apart(&["step", "drain-all", &path, &messages]);
    }
}

/// All sessions come back at once and take their queues, a window each in turn.
fn drain_all(path: &Path) {
    let mut database = open_step(path);
    let started = (Instant::now(), cpu());
    let mut next = vec![1; 1 + usize::try_from(SESSIONS).expect("it is small")];
    let (mut records, mut drained) = (Vec::new(), 0);
    let mut is_left = true;
    while is_left {
        is_left = false;
        for owner in 1..=SESSIONS {
            let next = &mut next[usize::try_from(owner).expect("it is small")];
            let loaded = database.load(load(owner, *next)).expect("it loads");
            is_left |= loaded.has_more;
            for stored in loaded.copies {
                let message = stored.copy.message;
                drained += 1;
                *next = message.0 + 1;
                let sent = sent(owner, drained);
                records.push(Record::Sent { owner: OwnerId(owner), message, sent });
                records.push(removed(owner, message.0));
            }
            if records.len() as u64 >= 2 * BATCH || (owner == SESSIONS && !is_left) {
                database.commit(&records, NOW).expect("it commits");
                records.clear();
            }
        }
    }
    println!(
        "  {drained} drained: {:.2} µs a message, CPU {:.2} µs; memory {:?} MiB; {:?}",
        per(started.0.elapsed(), drained),
        per(cpu() - started.1, drained),
        memory(),
        database.cold_counts(),
    );
    database.close().expect("it closes");
}

fn fill_ready(database: &mut Database, messages: u64) {
    let sessions: Vec<Record> = (1..=SESSIONS).map(session).collect();
    database.commit(&sessions, NOW).expect("it commits");
    fill(database, messages, |id| vec![id % SESSIONS + 1]);
    let retained: Vec<Record> = (0..messages / 10)
        .map(|id| Record::Retained {
            topic: format!("plant/{id}/temperature").into(),
            message: Some(message(id)),
            lazy: false,
        })
        .collect();
    for records in retained.chunks(10_000) {
        database.commit(records, NOW).expect("it commits");
    }
}

fn load(owner: u64, first: u64) -> Load {
    Load {
        owner: OwnerId(owner),
        first: MessageId(first),
        last: MessageId(u64::MAX),
        count: WINDOW,
        bytes: 1 << 20,
        expired_by: None,
        after_lazy: true,
    }
}

/// A long queue drains in order after a restart; memory stays as it is.
fn drain(messages: u64) {
    println!("drain: {messages} messages in one queue");
    let place = Place::new();
    let path = place.path.to_str().expect("a path of ASCII").to_owned();
    let messages_text = messages.to_string();
    run_apart(&["step", "fill-one", &path, &messages_text]);
    println!("  {} bytes on disk a message", place.bytes() / messages);
    run_apart(&["step", "drain-one", &path, &messages_text]);
}

fn per(time: Duration, messages: u64) -> f64 {
    time.as_secs_f64() * 1e6 / messages as f64
}

fn fill_one(path: &Path, messages: u64) {
    let (mut database, _) = open_at(path);
    let started = (Instant::now(), cpu());
    database.commit(&[session(1)], NOW).expect("it commits");
    fill(&mut database, messages, |_| vec![1]);
    println!(
        "  fill: {:.2} µs a message, CPU {:.2} µs; memory {:?} MiB; {:?}",
        per(started.0.elapsed(), messages),
        per(cpu() - started.1, messages),
        memory(),
        database.cold_counts(),
    );
    database.close().expect("it closes");
}

fn drain_one(path: &Path, messages: u64) {
    let mut database = open_step(path);
    let started = (Instant::now(), cpu());
    let mut next = 1;
    let mut records = Vec::new();
    let mut loading = Duration::ZERO;
    while next <= messages {
        let before = Instant::now();
        let loaded = database.load(load(1, next)).expect("it loads");
        loading += before.elapsed();
        assert!(!loaded.copies.is_empty());
        for stored in loaded.copies {
            assert_eq!(stored.copy.message, MessageId(next), "in order");
            assert_eq!(stored.message.payload[..8], next.to_le_bytes(), "its own body");
            let (owner, message) = (OwnerId(1), MessageId(next));
            records.push(Record::Sent { owner, message, sent: sent(1, next) });
            records.push(removed(1, next));
            if next.is_multiple_of((messages / 4).max(1)) {
                println!("  {next} drained: memory {:?} MiB", memory());
            }
            next += 1;
        }
        if records.len() as u64 >= BATCH || next > messages {
            database.commit(&records, NOW).expect("it commits");
            records.clear();
        }
    }
    println!(
        "  drain: {:.2} µs a message, of it loads {:.2}; CPU {:.2} µs; {:?}",
        per(started.0.elapsed(), messages),
        per(loading, messages),
        per(cpu() - started.1, messages),
        database.cold_counts(),
    );
}

/// Each message to 1,000 sessions that are away: each body is on disk once.
fn fanout(messages: u64) {
    println!("fanout: {messages} messages for {SESSIONS} sessions each");
    let place = Place::new();
    let (mut database, _) = open_at(&place.path);
    let started = (Instant::now(), cpu());
    fill(&mut database, messages, |_| (1..=SESSIONS).collect());
    let copies = messages * SESSIONS;
    println!(
        "  fill: {:.2} µs a copy, CPU {:.2} µs; {} bytes on disk a message, {:.1} a copy; \
         memory {:?} MiB; {:?}",
        started.0.elapsed().as_secs_f64() * 1e6 / copies as f64,
        (cpu() - started.1).as_secs_f64() * 1e6 / copies as f64,
        place.bytes() / messages,
        place.bytes() as f64 / copies as f64,
        memory(),
        database.cold_counts(),
    );
    let before = Instant::now();
    let mut next = 1;
    let mut seen = 0;
    loop {
        let loaded = database.load(load(7, next)).expect("it loads");
        seen += loaded.copies.len() as u64;
        let Some(last) = loaded.copies.last() else { break };
        next = last.copy.message.0 + 1;
    }
    assert_eq!(seen, messages);
    println!(
        "  one queue loads in {:.2} µs a copy",
        before.elapsed().as_secs_f64() * 1e6 / messages as f64
    );
}

/// A session with a long queue ends while another goes on.
fn end(messages: u64) {
    println!("end: a session with {messages} messages");
    let place = Place::new();
    let (mut database, _) = open_at(&place.path);
    fill(&mut database, messages, |_| vec![1]);
    let mut id = messages;
    let mut commit = |database: &mut Database, more: Option<Record>| {
        id += 1;
        let (body, size) = body(id);
        let mut records = vec![body, queued(2, id, size, None), removed(2, id)];
        records.extend(more);
        let started = Instant::now();
        database.commit(&records, NOW).expect("it commits");
        started.elapsed()
    };
    let mut before: Vec<Duration> = (0..500).map(|_| commit(&mut database, None)).collect();
    let mut during =
        vec![commit(&mut database, Some(Record::OwnerForgotten { owner: OwnerId(1) }))];
    while database.has_work() {
        during.push(commit(&mut database, None));
    }
    let commits = during.len();
    before.sort_unstable();
    during.sort_unstable();
    println!(
        "  a commit before: median {:.2?}, longest {:.2?}; during {commits} commits: median \
         {:.2?}, longest {:.2?}; {:?}",
        before[before.len() / 2],
        before[before.len() - 1],
        during[commits / 2],
        during[commits - 1],
        database.cold_counts(),
    );
    assert!(database.load(load(1, 1)).expect("it loads").copies.is_empty());
}

/// QoS 1 to sessions that are there: body, copy, and its end, in fat batches.
fn hot(messages: u64) {
    println!("hot: {messages} messages to 50 sessions that are there");
    let place = Place::new();
    let (mut database, _) = open_at(&place.path);
    let bodies: Vec<_> = (0..1000).map(message).collect();
    let size = u32::try_from(bodies[0].size()).expect("it is small");
    let mut records = Vec::new();
    let mut spent = Duration::ZERO;
    for id in 1..=messages {
        let owner = id % 50 + 1;
        let message = bodies[usize::try_from(id % 1000).expect("it is small")].clone();
        records.push(Record::Message { id: MessageId(id), message });
        records.push(queued(owner, id, size, Some(sent(owner, id))));
        if let Some(old) = id.checked_sub(500).filter(|old| *old > 0) {
            records.push(removed(old % 50 + 1, old));
        }
        if id.is_multiple_of(BATCH) {
            let before = cpu();
            database.commit(&records, NOW).expect("it commits");
            spent += cpu() - before;
            records.clear();
        }
    }
    println!(
        "  CPU {:.2} µs a message; {:?}",
        spent.as_secs_f64() * 1e6 / messages as f64,
        database.cold_counts(),
    );
}
