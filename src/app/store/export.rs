//! `kedgemq store export`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::check::WENT_BACK;
use super::lines::{CheckpointLine, Copy, End, FORMAT, Header, Line, Stored};
use super::queues::Queues;
use super::{Target, failure, print};
use crate::app::failure::Failure;
use crate::store::{Database, Restored, inspect, proven_batch};
use crate::turn::Record;

/// Writes all that is in `data_file`.
pub(super) fn export(data_file: &Path, to: &Target) -> Result<(), Failure> {
    let (mut database, restored) = inspect(data_file).map_err(failure)?;
    if proven_batch(data_file) > Some(database.batch()) {
        // Who has nothing better wants what there is.
        let _ = writeln!(io::stderr(), "warning: {}: {WENT_BACK}", data_file.display());
    }
    match to {
        Target::Pipe => {
            let out = Out::new(io::stdout().lock());
            out.all(&mut database, &restored)?;
        }
        Target::File(path) => {
            let file = create(path)?;
            let written = Out::new(&file).all(&mut database, &restored);
            let written = written.and_then(|lines| {
                file.sync_all().map_err(unwritable)?;
                Ok(lines)
            });
            match written {
                Ok(lines) => print(&format!("{}: {lines} lines\n", path.display())),
                Err(failure) => {
                    // A part of an export helps nobody.
                    let _ = std::fs::remove_file(path);
                    return Err(failure);
                }
            }
        }
    }
    Ok(())
}

pub(in crate::app) fn create(path: &Path) -> Result<File, Failure> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created.map_err(|error| {
        let path = path.display();
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::given(format_args!("{path} is there already: name a file that is not"))
            }
            _ => Failure::machine(format_args!("{path}: cannot be written: {error}")),
        }
    })
}

pub(in crate::app) fn unwritable(error: io::Error) -> Failure {
    Failure::machine(format_args!("the export cannot be written: {error}"))
}

/// Where lines go.
struct Out<W: Write> {
    writer: BufWriter<W>,
    lines: u64,
}

impl<W: Write> Out<W> {
    fn new(writer: W) -> Self {
        Self { writer: BufWriter::new(writer), lines: 0 }
    }

    /// Writes a whole export; says how many lines that are.
    fn all(mut self, database: &mut Database, restored: &Restored) -> Result<u64, Failure> {
        self.line(&Line::Header(Header {
            kedgemq_export: FORMAT,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            checkpoint: restored.checkpoint.map(CheckpointLine::new),
        }))?;
        let records = &restored.records;
        let is_copy = |record: &Record| matches!(record, Record::Queued(_) | Record::Backlog(_));
        // What a record refers to comes before it.
        let behind =
            |record: &Record| matches!(record, Record::Received { .. } | Record::Retained { .. });
        for record in records.iter().filter(|record| !is_copy(record) && !behind(record)) {
            self.record(record)?;
        }
        self.queues(database, records)?;
        for record in records.iter().filter(|record| behind(record)) {
            self.record(record)?;
        }
        self.dead_letters(database, records)?;
        let lines = self.lines;
        self.line(&Line::End(End { lines }))?;
        self.writer.flush().map_err(unwritable)?;
        Ok(self.lines)
    }

    fn queues(&mut self, database: &mut Database, records: &[Record]) -> Result<(), Failure> {
        let mut queues = Queues::of(records);
        let mut next = || queues.next(database).map_err(|unreadable| failure(unreadable.error));
        while let Some(queued) = next()? {
            let mut stored = Stored::of(queued.id, &queued.message);
            stored.copies.extend(queued.copies.iter().map(Copy::of));
            self.line(&Line::Message(stored))?;
        }
        Ok(())
    }

    fn dead_letters(&mut self, database: &Database, records: &[Record]) -> Result<(), Failure> {
        for record in records {
            if let Record::DeadIndex(index) = record {
                let letter = database.dead_letter(index.id).map_err(failure)?;
                let letter = letter.expect("a letter with an index is there");
                self.record(&Record::Dead(Box::new(letter)))?;
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &Record) -> Result<(), Failure> {
        Line::of(record).map_or(Ok(()), |line| self.line(&line))
    }

    fn line(&mut self, line: &Line) -> Result<(), Failure> {
        self.lines += 1;
        let written = serde_json::to_writer(&mut self.writer, line).map_err(io::Error::from);
        written.and_then(|()| self.writer.write_all(b"\n")).map_err(unwritable)
    }
}
