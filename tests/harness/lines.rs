//! What a child process writes, line by line, to wait for.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::DEADLINE;

/// The lines that came so far, filled by a thread that ends with the process.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Reads `source` to its end in a thread of its own.
    pub(crate) fn read(source: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let filled = lines.clone();
        thread::spawn(move || filled.fill(source));
        lines
    }

    fn fill(&self, source: impl Read) {
        for line in BufReader::new(source).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            self.lock().lines.push(line);
            self.0.changed.notify_all();
        }
        self.lock().ended = true;
        self.0.changed.notify_all();
    }

    /// Waits until `find` makes something of the lines from `from` on.
    ///
    /// Panics with all lines when the process ends or the deadline passes before.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        from: usize,
        mut find: impl FnMut(&[String]) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.lock();
        loop {
            if let Some(found) = find(&state.lines[from.min(state.lines.len())..]) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let all = state.lines.join("\n");
                let why = if state.ended { "the process ended" } else { "nothing came" };
                drop(state);
                panic!("waiting for {what}: {why}; all that it said:\n{all}");
            }
            state = self.0.changed.wait_timeout(state, left).expect("no panic under the lock").0;
        }
    }

    /// Waits for a line that holds `text`, from line `from` on, and gives it.
    pub(crate) fn wait_for_from(&self, from: usize, text: &str) -> String {
        self.wait(&format!("{text:?}"), from, |lines| {
            lines.iter().find(|line| line.contains(text)).cloned()
        })
    }

    /// Waits for a line that holds `text` and gives it.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_for_from(0, text)
    }

    /// Waits until the process has closed its end: whether it did before the deadline.
    pub(crate) fn wait_end(&self) -> bool {
        self.wait_end_for(DEADLINE)
    }

    /// The same, for so long at most.
    pub(crate) fn wait_end_for(&self, patience: Duration) -> bool {
        let (state, timeout) = self
            .0
            .changed
            .wait_timeout_while(self.lock(), patience, |state| !state.ended)
            .expect("no panic under the lock");
        drop(state);
        !timeout.timed_out()
    }

    /// The line of this number, counted from 0, as soon as it has come; `None` when the process
    /// ends or the deadline passes before.
    pub(crate) fn line(&self, number: usize) -> Option<String> {
        let is_awaited = |state: &mut State| state.lines.len() <= number && !state.ended;
        let changed = &self.0.changed;
        let state = changed
            .wait_timeout_while(self.lock(), DEADLINE, is_awaited)
            .expect("no panic under the lock")
            .0;
        state.lines.get(number).cloned()
    }

    /// How many lines came so far: where to go on waiting.
    pub(crate) fn len(&self) -> usize {
        self.lock().lines.len()
    }

    /// All that came so far.
    pub(crate) fn text(&self) -> String {
        self.lock().lines.join("\n")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic under the lock")
    }
}
