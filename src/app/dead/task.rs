//! Tasks over dead letters: started, followed, listed, cancelled. They go on in the broker,
//! whoever looks.

use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::super::ask::{Asked, Table, answer, json, seconds, write};
use super::super::failure::Failure;
use super::count;
use crate::admin::call::Request;
use crate::admin::call::letter::{Action, Filter, State, Task};

/// Between two looks at a task.
const PAUSE: Duration = Duration::from_millis(100);
/// Looks between two lines about the progress where a line cannot be overwritten.
const LINE: u32 = 50;
/// Characters of a full bar.
const BAR: usize = 30;

/// Starts a task and follows it to its end.
pub(super) fn run(
    broker: &mut Asked,
    action: Action,
    filter: Filter,
    rate: u32,
) -> Result<(), Failure> {
    let unable = |error| Failure::machine(format_args!("signals cannot be caught: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(unable)?;
    let mut interrupt =
        runtime.block_on(async { signal(SignalKind::interrupt()) }).map_err(unable)?;
    let of = count(broker, filter.clone())?.letters;
    let id = broker.ask(&Request::StartTask { action, filter, rate }, answer!(StartTask))?;
    let mut progress = Progress { of, looks: 0, width: 0 };
    loop {
        let tasks = broker.ask(&Request::Tasks {}, answer!(Tasks));
        let tasks = tasks.map_err(|failure| {
            let then = "goes on when the broker runs again";
            Failure::machine(format_args!("{}; task {id} {then}", failure.line))
        })?;
        let Some(task) = tasks.into_iter().find(|task| task.id == id) else {
            return Err(Failure::machine(format_args!("task {id} ended, and another one since")));
        };
        if task.state != State::Running {
            progress.end();
            return tell_end(broker, &task);
        }
        progress.show(&task);
        let caught = runtime.block_on(async { timeout(PAUSE, interrupt.recv()).await });
        if caught.is_ok() {
            progress.end();
            return Err(Failure::machine(format_args!(
                "task {id} goes on in the broker: kedgemq dead cancel {id} ends it"
            )));
        }
    }
}

fn tell_end(broker: &Asked, task: &Task) -> Result<(), Failure> {
    let Task { id, done, left, .. } = task;
    if broker.json {
        write(&json(task)?);
    } else {
        let stay = match left {
            0 => String::new(),
            left => format!("; {left} stay dead: their owner is gone or has no room"),
        };
        write(&format!("{done} letters {}{stay}\n", past(task.action)));
    }
    match task.state {
        State::Cancelled => Err(Failure::machine(format_args!("task {id} was cancelled"))),
        _ => Ok(()),
    }
}

fn past(action: Action) -> &'static str {
    match action {
        Action::Republish => "republished",
        Action::RedriveToOwner | Action::RedriveToTopic => "redriven",
        Action::Purge => "purged",
    }
}

/// The tasks as a table.
pub(super) fn list(broker: &mut Asked) -> Result<(), Failure> {
    let tasks = broker.ask(&Request::Tasks {}, answer!(Tasks))?;
    if broker.json {
        let lines: Result<String, Failure> = tasks.iter().map(json).collect();
        write(&lines?);
        return Ok(());
    }
    let head = ["ID", "STATE", "ACTION", "STARTED", "DONE", "LEFT", "RATE", "LETTERS"];
    let rows: Result<Vec<_>, Failure> = tasks.iter().map(row).collect();
    write(&Table::new(head).rows(&rows?));
    Ok(())
}

fn row(task: &Task) -> Result<[String; 8], Failure> {
    let state = match task.state {
        State::Running => "running",
        State::Finished => "finished",
        State::Cancelled => "cancelled",
    };
    let action = match task.action {
        Action::Republish => "republish",
        Action::RedriveToOwner => "redrive to owner",
        Action::RedriveToTopic => "redrive to topic",
        Action::Purge => "purge",
    };
    let rate = if task.rate == 0 { "-".to_owned() } else { format!("{}/s", task.rate) };
    let filter = if task.filter == Filter::default() {
        "all".to_owned()
    } else {
        json(&task.filter)?.trim_end().to_owned()
    };
    let (id, done, left) = (task.id.to_string(), task.done.to_string(), task.left.to_string());
    let (state, action) = (state.to_owned(), action.to_owned());
    Ok([id, state, action, seconds(&task.started), done, left, rate, filter])
}

/// Cancels a task.
pub(super) fn cancel(broker: &mut Asked, id: u64) -> Result<(), Failure> {
    let id = broker.ask(&Request::CancelTask { id }, answer!(CancelTask))?;
    let text = if broker.json {
        json(&serde_json::json!({ "cancelled": id }))?
    } else {
        format!("task {id} is cancelled\n")
    };
    write(&text);
    Ok(())
}

/// How far a task is, on stderr: a bar on a terminal; elsewhere a line now and then about one that
/// takes long.
struct Progress {
    of: u64,
    looks: u32,
    width: usize,
}

impl Progress {
    fn show(&mut self, task: &Task) {
        let text = self.text(task);
        // With stderr gone there is nobody to tell.
        if std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr(), "\r{text:<width$}", width = self.width);
            self.width = text.len();
        } else if self.looks > 0 && self.looks.is_multiple_of(LINE) {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
        self.looks += 1;
    }

    fn text(&self, task: &Task) -> String {
        let done = task.done + task.left;
        let part = |whole: u64| done.saturating_mul(whole) / self.of.max(1);
        let full = usize::try_from(part(BAR as u64)).unwrap_or(BAR).min(BAR);
        let (full, percent, of) = ("#".repeat(full), part(100), self.of);
        format!("task {}: [{full:<BAR$}] {percent:3} %  {done} of {of} letters", task.id)
    }

    fn end(&self) {
        if self.width > 0 {
            let _ = write!(std::io::stderr(), "\r{:<width$}\r", "", width = self.width);
        }
    }
}
