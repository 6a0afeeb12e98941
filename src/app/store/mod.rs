//! `kedgemq store`: what is done to the data file besides running on it.

use std::fs;
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::{Run, Store, StoreCommand};
use super::config::{Config, Place};
use super::failure::Failure;
use super::print;
use crate::admin::call::{Answer, Backup, Progress, Request};
use crate::admin::{CallError, Client};
use crate::store::{BackupError, Compacted, Copied, Snapshot, StoreError, compact};

mod check;
mod export;
mod import;
mod lines;
mod queues;

pub(super) use export::{create, unwritable};

/// Does what `kedgemq store …` says.
pub(super) fn obey(line: &Store, place: &Place) -> Result<(), Failure> {
    let flags = Run { config: line.config.clone(), data: line.data.clone(), ..Run::default() };
    let config = Config::load(&flags, place)?;
    let data_file = &config.store.path;
    match &line.command {
        StoreCommand::Backup { file, json } => backup(&config, &place.directory.join(file), *json),
        StoreCommand::Check { file: Some(file), json } => {
            check::check(there(&place.directory.join(file))?, *json)
        }
        StoreCommand::Check { file: None, json } => check::check(there(data_file)?, *json),
        StoreCommand::Export { file } => {
            export::export(there(data_file)?, &file_or_pipe(file, place))
        }
        StoreCommand::Import { file } => import::import(data_file, &file_or_pipe(file, place)),
        StoreCommand::Compact { json } => compacted(there(data_file)?, *json),
    }
}

/// What a command reads or writes.
enum Target {
    File(PathBuf),
    Pipe,
}

fn file_or_pipe(file: &Path, place: &Place) -> Target {
    if file == Path::new("-") { Target::Pipe } else { Target::File(place.directory.join(file)) }
}

/// The data file, if there is one: looking at it makes none.
fn there(data_file: &Path) -> Result<&Path, Failure> {
    match fs::metadata(data_file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::given(format_args!("{}: there is no store", data_file.display())))
        }
        // Whatever else is wrong with it is said by who opens it.
        _ => Ok(data_file),
    }
}

/// Of a running broker over its socket; of a stopped one from its file.
fn backup(config: &Config, target: &Path, json: bool) -> Result<(), Failure> {
    let backup = match Client::connect(&config.data) {
        Ok(client) => backup_running(client, target)?,
        Err(CallError::NotRunning { .. }) => backup_stopped(&config.store.path, target)?,
        Err(error) => return Err(Failure::machine(error)),
    };
    if json {
        return print_json(&backup);
    }
    let Backup { file, rows, bytes: _, file_bytes } = backup;
    print(&format!("{}: {rows} rows, {}\n", file.display(), size(file_bytes)));
    Ok(())
}

fn backup_running(mut client: Client, target: &Path) -> Result<Backup, Failure> {
    let mut bar = Bar::default();
    let request = Request::Backup { file: target.to_owned() };
    let answer = client.call(&request, &mut |progress| bar.show(progress));
    bar.end();
    match answer.map_err(Failure::machine)? {
        Answer::Backup(backup) => Ok(backup),
        other => Err(Failure::machine(format_args!("the broker answered {other:?}"))),
    }
}

fn backup_stopped(data_file: &Path, target: &Path) -> Result<Backup, Failure> {
    let snapshot = Snapshot::of_file(there(data_file)?).map_err(Failure::machine)?;
    let mut bar = Bar::default();
    let copied = snapshot.copy_to(target, &mut |Copied { rows, of, bytes }| {
        bar.show(Progress { done: rows, of, bytes });
        ControlFlow::Continue(())
    });
    bar.end();
    let Copied { rows, bytes, .. } = copied.map_err(|error: BackupError| match error {
        BackupError::Exists { .. } => Failure::given(error),
        other => Failure::machine(other),
    })?;
    let file_bytes = fs::metadata(target).map_or(0, |found| found.len());
    Ok(Backup { file: target.to_owned(), rows, bytes, file_bytes })
}

fn compacted(data_file: &Path, json: bool) -> Result<(), Failure> {
    let Compacted { before, after } = compact(data_file).map_err(failure)?;
    if json {
        return print_json(&serde_json::json!({ "before": before, "after": after }));
    }
    print(&format!("{}: {} before, {} after\n", data_file.display(), size(before), size(after)));
    Ok(())
}

fn failure(error: StoreError) -> Failure {
    Failure::machine(error)
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value);
    let text = text.map_err(|error| Failure::machine(format_args!("no JSON: {error}")))?;
    print(&format!("{text}\n"));
    Ok(())
}

pub(super) fn size(bytes: u64) -> bytesize::Display {
    bytesize::ByteSize(bytes).display().iec()
}

/// One line on a terminal that says how far something is.
#[derive(Default)]
struct Bar {
    width: usize,
    percent: Option<u64>,
}

impl Bar {
    fn show(&mut self, Progress { done, of, bytes }: Progress) {
        let percent = done.saturating_mul(100) / of.max(1);
        if self.percent == Some(percent) || !std::io::stderr().is_terminal() {
            return;
        }
        self.percent = Some(percent);
        self.write(&format!("{percent:3} %  {done} of {of} rows, {}", size(bytes)));
    }

    fn end(&mut self) {
        if self.width > 0 {
            self.write("");
            self.write("");
        }
    }

    fn write(&mut self, text: &str) {
        // With stderr gone there is nobody to tell.
        let _ = write!(std::io::stderr(), "\r{text:<width$}", width = self.width);
        self.width = text.len();
    }
}
