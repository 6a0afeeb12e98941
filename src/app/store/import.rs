//! `kedgemq store import`.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::lines::{FORMAT, Line};
use super::{Target, print};
use crate::app::failure::Failure;
use crate::store::{BackupError, Checkpoint, Fresh};
use crate::turn::Record;

/// Bytes of lines that are committed at once.
const STEP: usize = 4 * 1024 * 1024;

/// Makes `data_file` of an export.
pub(super) fn import(data_file: &Path, from: &Target) -> Result<(), Failure> {
    let (reader, name): (Box<dyn BufRead>, String) = match from {
        Target::Pipe => (Box::new(io::stdin().lock()), "stdin".to_owned()),
        Target::File(path) => {
            let file = File::open(path).map_err(|error| Failure::unreadable(path, &error))?;
            (Box::new(BufReader::new(file)), path.display().to_string())
        }
    };
    let mut lines = Lines { reader, name, number: 0, line: String::new() };
    // Before anything is made.
    let checkpoint = lines.header()?;
    let mut fresh = Fresh::create(data_file).map_err(unmade)?;
    let mut records = Vec::new();
    let mut bytes = 0;
    loop {
        let before = lines.number;
        match lines.next()? {
            Line::End(end) if end.lines == before => break,
            Line::End(_) => return Err(lines.wrong("lines are missing before this one")),
            line => line.records(&mut records).map_err(|wrong| lines.wrong(wrong))?,
        }
        bytes += lines.line.len();
        if bytes >= STEP {
            commit(&mut fresh, &mut records, checkpoint)?;
            bytes = 0;
        }
    }
    if !lines.is_at_end()? {
        return Err(lines.wrong("there is more behind the end"));
    }
    // Of a store that was never used there is nothing to commit.
    if let Some(checkpoint) = checkpoint {
        commit(&mut fresh, &mut records, Some(checkpoint))?;
    }
    fresh.finish().map_err(unmade)?;
    print(&format!("{}: made of {} lines\n", data_file.display(), lines.number));
    Ok(())
}

fn commit(
    fresh: &mut Fresh,
    records: &mut Vec<Record>,
    checkpoint: Option<Checkpoint>,
) -> Result<(), Failure> {
    fresh.commit(records, checkpoint.unwrap_or_default()).map_err(unmade)?;
    records.clear();
    Ok(())
}

fn unmade(error: BackupError) -> Failure {
    match error {
        BackupError::Exists { path } => Failure::given(format_args!(
            "{}: there is a store already: import into a data directory that has none",
            path.display()
        )),
        other => Failure::machine(other),
    }
}

/// The lines of an export.
struct Lines {
    reader: Box<dyn BufRead>,
    name: String,
    number: u64,
    line: String,
}

impl Lines {
    /// Reads the first line: which format this is, and when the store was written.
    fn header(&mut self) -> Result<Option<Checkpoint>, Failure> {
        self.read()?;
        let value: serde_json::Value =
            serde_json::from_str(&self.line).map_err(|_| self.wrong("this is no export"))?;
        match value["header"]["kedgemq_export"].as_u64() {
            None => return Err(self.wrong("this is no export")),
            Some(format) if format != u64::from(FORMAT) => {
                return Err(self.wrong(format_args!(
                    "format {format}, which this version does not read, but {FORMAT}"
                )));
            }
            Some(_) => {}
        }
        match self.parse()? {
            Line::Header(header) => Ok(header.checkpoint.map(|at| at.checkpoint())),
            _ => Err(self.wrong("this is no export")),
        }
    }

    fn next(&mut self) -> Result<Line, Failure> {
        self.read()?;
        self.parse()
    }

    fn read(&mut self) -> Result<(), Failure> {
        self.line.clear();
        self.number += 1;
        match self.reader.read_line(&mut self.line) {
            Ok(0) => Err(self.wrong("the export ends here, before its last line")),
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::machine(format_args!("{}: {error}", self.name))),
        }
    }

    fn parse(&self) -> Result<Line, Failure> {
        serde_json::from_str(&self.line).map_err(|error| self.wrong(error))
    }

    fn is_at_end(&mut self) -> Result<bool, Failure> {
        let rest = self.reader.fill_buf();
        let rest =
            rest.map_err(|error| Failure::machine(format_args!("{}: {error}", self.name)))?;
        Ok(rest.is_empty())
    }

    fn wrong(&self, wrong: impl std::fmt::Display) -> Failure {
        Failure::given(format_args!("{}:{}: {wrong}", self.name, self.number))
    }
}
