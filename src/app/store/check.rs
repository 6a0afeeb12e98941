//! `kedgemq store check`: reads everything, and counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::queues::Queues;
use super::{print, print_json, size};
use crate::app::failure::Failure;
use crate::store::{Database, Restored, StoreError, inspect, is_blank, proven_batch};
use crate::turn::{OwnerId, Record};

/// What an export of such a file lacks.
pub(super) const WENT_BACK: &str =
    "its newest commit cannot be read any more: what follows is the store as it was before that";

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Report {
    file: String,
    file_bytes: u64,
    sessions: u64,
    ended_sessions: u64,
    subscriptions: u64,
    share_groups: u64,
    /// Copies in queues, those in flight among them.
    queued_messages: u64,
    queued_bytes: u64,
    in_flight: u64,
    received_packet_ids: u64,
    retained_messages: u64,
    retained_bytes: u64,
    dead_letters: u64,
    dead_letter_bytes: u64,
    /// What is broken, and where.
    problems: Vec<String>,
}

/// Checks the file and says what is in it.
pub(super) fn check(data_file: &Path, json: bool) -> Result<(), Failure> {
    let mut report = Report {
        file: data_file.display().to_string(),
        file_bytes: fs::metadata(data_file).map_or(0, |found| found.len()),
        ..Report::default()
    };
    let is_readable = match inspect(data_file) {
        _ if is_blank(data_file) => {
            report.problems.push(
                "it holds nothing: its making was cut short, or it was truncated or zeroed"
                    .to_owned(),
            );
            false
        }
        Ok((mut database, restored)) => {
            if proven_batch(data_file) > Some(database.batch()) {
                report.problems.push(WENT_BACK.to_owned());
            }
            Walk { owners: BTreeMap::new(), report: &mut report }.all(&mut database, &restored);
            true
        }
        Err(StoreError::Corrupt { why, .. }) => {
            report.problems.push(why);
            false
        }
        Err(error) => return Err(Failure::machine(error)),
    };
    if json {
        print_json(&report)?;
    } else {
        print(&report.text(is_readable));
    }
    match report.problems.len() {
        0 => Ok(()),
        1 => Err(Failure::machine(format_args!("{}: 1 problem", report.file))),
        many => Err(Failure::machine(format_args!("{}: {many} problems", report.file))),
    }
}

impl Report {
    fn text(&self, is_readable: bool) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&format!("broken: {problem}\n"));
        }
        if !is_readable {
            return text;
        }
        let numbers = [
            ("sessions", self.sessions, None),
            ("ended sessions", self.ended_sessions, None),
            ("subscriptions", self.subscriptions, None),
            ("share groups", self.share_groups, None),
            ("queued messages", self.queued_messages, Some(self.queued_bytes)),
            ("  in flight", self.in_flight, None),
            ("received packet ids", self.received_packet_ids, None),
            ("retained messages", self.retained_messages, Some(self.retained_bytes)),
            ("dead letters", self.dead_letters, Some(self.dead_letter_bytes)),
        ];
        for (name, count, bytes) in numbers {
            let bytes = bytes.map_or_else(String::new, |bytes| format!("  {}", size(bytes)));
            text.push_str(&format!("{name:<20}{count:>12}{bytes}\n"));
        }
        text.push_str(&format!("{:<20}{:>12}\n", "file size", size(self.file_bytes).to_string()));
        if self.problems.is_empty() {
            text.push_str("all of it can be read\n");
        }
        text
    }
}

/// An owner of a queue: its name, and copies that it must have.
struct Owner {
    /// Whether it is stored, and not only spoken of.
    is_there: bool,
    name: String,
    expected: u64,
    found: u64,
}

/// A way through all that is stored.
struct Walk<'a> {
    owners: BTreeMap<OwnerId, Owner>,
    report: &'a mut Report,
}

impl Walk<'_> {
    fn all(mut self, database: &mut Database, restored: &Restored) {
        for record in &restored.records {
            self.owner(record);
        }
        for record in &restored.records {
            self.count(record);
        }
        self.queues(database, &restored.records);
        for record in &restored.records {
            if let Record::DeadIndex(index) = record {
                self.dead_letter(database, index.id);
            }
        }
    }

    fn owner(&mut self, record: &Record) {
        let (id, name) = match record {
            Record::Session(session) => (session.id, format!("session {}", session.client_id)),
            Record::Group { owner, filter } => (*owner, format!("share group {filter}")),
            _ => return,
        };
        self.owners.insert(id, Owner { is_there: true, name, expected: 0, found: 0 });
    }

    fn count(&mut self, record: &Record) {
        let report = &mut *self.report;
        match record {
            Record::Session(_) => report.sessions += 1,
            Record::SessionEnded { .. } => report.ended_sessions += 1,
            Record::Group { .. } => report.share_groups += 1,
            Record::Subscribed { session, filter, .. } => {
                report.subscriptions += 1;
                self.refers(*session, &format!("the subscription {filter}"));
            }
            Record::Received { session, packet_id } => {
                report.received_packet_ids += 1;
                self.refers(*session, &format!("the received packet id {}", packet_id.get()));
            }
            Record::Queued(copy) => {
                report.in_flight += u64::from(copy.sent.is_some());
                self.expect(copy.owner, 1);
            }
            Record::Backlog(backlog) => self.expect(backlog.owner, backlog.count),
            Record::Retained { message: Some(message), .. } => {
                report.retained_messages += 1;
                report.retained_bytes += message.size() as u64;
            }
            Record::DeadIndex(index) => {
                report.dead_letters += 1;
                report.dead_letter_bytes += u64::from(index.size);
            }
            _ => {}
        }
    }

    fn named(&mut self, owner: OwnerId) -> &mut Owner {
        let unknown =
            || Owner { is_there: false, name: format!("owner {}", owner.0), expected: 0, found: 0 };
        self.owners.entry(owner).or_insert_with(unknown)
    }

    fn expect(&mut self, owner: OwnerId, count: u64) {
        self.refers(owner, "a queue");
        self.named(owner).expected += count;
    }

    fn refers(&mut self, to: OwnerId, what: &str) {
        if !self.named(to).is_there {
            let problem = format!("{what} belongs to owner {}, which is not there", to.0);
            self.report.problems.push(problem);
        }
    }

    fn queues(&mut self, database: &mut Database, records: &[Record]) {
        let mut queues = Queues::of(records);
        loop {
            match queues.next(database) {
                Ok(None) => break,
                Ok(Some(queued)) => {
                    for copy in &queued.copies {
                        self.report.queued_messages += 1;
                        self.report.queued_bytes += u64::from(copy.size);
                        self.named(copy.owner).found += 1;
                    }
                }
                Err(unreadable) => {
                    let name = &self.named(unreadable.owner).name;
                    let problem = format!("the queue of {name}: {}", unreadable.error);
                    self.report.problems.push(problem);
                }
            }
        }
        for owner in self.owners.values() {
            if owner.found != owner.expected {
                let Owner { name, expected, found, .. } = owner;
                self.report.problems.push(format!(
                    "the queue of {name} has {expected} messages, of which {found} can be read"
                ));
            }
        }
    }

    fn dead_letter(&mut self, database: &Database, id: crate::turn::DeadId) {
        let problem = match database.dead_letter(id) {
            Ok(Some(_)) => return,
            Ok(None) => format!("dead letter {} is not there", id.0),
            Err(error) => format!("dead letter {}: {error}", id.0),
        };
        self.report.problems.push(problem);
    }
}
