//! An operator's task over dead letters: one at a time, letter by letter, at a rate, going on after
//! a restart from where its record says.
//!
//! Invariant: what a task acts on came for it: letters that another one asked for, which ended
//! meanwhile, may lie behind letters that it has not seen yet.

use std::sync::Arc;
use std::time::Duration;

use super::Broker;
use super::timer::Timer;
use crate::time::Timestamp;
use crate::turn::{
    Action, DeadId, DeadLetter, Event, LetterFilter, LetterLoad, Letters, Record, RecordNumber,
    Task, Turn,
};

/// Slices a second of a task with a rate, roughly.
const SLICES: u32 = 10;
/// Letters in a slice at most.
const SLICE: u32 = 256;
/// Bytes of letters in a slice at most.
const SLICE_BYTES: u32 = 1024 * 1024;

/// The task, and whether its next letters are on their way.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    last_id: u64,
    current: Option<Task>,
    /// The last one that ended.
    ended: Option<Task>,
    /// Only while a task is going on.
    load: Option<LetterLoad>,
}

impl Broker {
    /// The task that is going on.
    pub fn task(&self) -> Option<&Task> {
        self.tasks.current.as_ref()
    }

    /// The last task that ended.
    pub fn ended_task(&self) -> Option<&Task> {
        self.tasks.ended.as_ref()
    }

    /// Starts a task; `None` while another one is going on.
    pub fn handle_task(
        &mut self,
        action: Action,
        filter: LetterFilter,
        rate: u32,
        now: Timestamp,
        turn: &mut Turn,
    ) -> Option<u64> {
        if self.tasks.current.is_some() {
            return None;
        }
        self.tasks.last_id += 1;
        let task = Task {
            id: self.tasks.last_id,
            action,
            filter,
            rate,
            started: now,
            cursor: DeadId(0),
            last: DeadId(self.cemetery.last_id),
            done: 0,
            left: 0,
        };
        if let Some(ended) = &self.tasks.ended {
            turn.record(Record::TaskForgotten { id: ended.id });
        }
        turn.record(Record::Task(Box::new(task.clone())));
        self.tasks.current = Some(task);
        self.timers.set_single(now, Timer::Task);
        Some(self.tasks.last_id)
    }

    /// Cancels a task; false if it is not going on.
    pub fn handle_cancel(&mut self, id: u64, turn: &mut Turn) -> bool {
        let is_current = self.tasks.current.as_ref().is_some_and(|task| task.id == id);
        if is_current {
            self.end_task(true, turn);
        }
        is_current
    }

    pub(super) fn restore_task(&mut self, task: Task, now: Timestamp) {
        self.tasks.last_id = task.id;
        if task.is_ended() {
            self.tasks.ended = Some(task);
        } else {
            self.tasks.current = Some(task);
            self.timers.set_single(now, Timer::Task);
        }
    }

    /// The time of the next slice.
    pub(super) fn go_on(&mut self, turn: &mut Turn) {
        let (Some(task), None) = (&self.tasks.current, self.tasks.load) else {
            return;
        };
        let share = task.rate.div_ceil(SLICES);
        let count = if task.rate == 0 { SLICE } else { share.min(SLICE) };
        let first = task.filter.id.unwrap_or(DeadId(task.cursor.0 + 1));
        let last = task.filter.id.unwrap_or(task.last);
        let load = LetterLoad { first, last, count, bytes: SLICE_BYTES, task: Some(task.id) };
        self.tasks.load = Some(load);
        turn.letters.push(load);
    }

    /// Dead letters came.
    pub(super) fn letters(&mut self, letters: &Letters, now: Timestamp, turn: &mut Turn) {
        if letters.load.task.is_none() {
            if let [letter] = &letters.letters[..] {
                self.retry_loaded(letter, now, turn);
            }
        } else if self.tasks.load == Some(letters.load) {
            self.tasks.load = None;
            self.work(letters, now, turn);
        } // Else the task was cancelled meanwhile.
    }

    fn work(&mut self, letters: &Letters, now: Timestamp, turn: &mut Turn) {
        let mut task = self.tasks.current.take().expect("a load goes with its task");
        let limit = task.filter.limit.unwrap_or(u64::MAX);
        let mut acted = 0_u32;
        for letter in &letters.letters {
            if task.done >= limit {
                break;
            }
            task.cursor = letter.id;
            if task.filter.matches(letter) && self.cemetery.is_kept(letter.id) {
                let is_done = self.act(task.action, letter, now, turn);
                acted += 1;
                task.done += u64::from(is_done);
                task.left += u64::from(!is_done);
            }
        }
        let is_over = !letters.has_more || task.done >= limit;
        let rate = task.rate;
        self.tasks.current = Some(task.clone());
        if is_over {
            return self.end_task(false, turn);
        }
        turn.record(Record::Task(Box::new(task)));
        // Letters that are not meant take no time.
        let pause = if rate == 0 { Duration::ZERO } else { Duration::from_secs(1) * acted / rate };
        self.timers.set_single(now + pause, Timer::Task);
    }

    /// Whether the letter could be dealt with.
    fn act(
        &mut self,
        action: Action,
        letter: &DeadLetter,
        now: Timestamp,
        turn: &mut Turn,
    ) -> bool {
        match action {
            Action::Republish => {
                let publication = Arc::new(self.letter_publication(letter));
                self.route(&publication, None, RecordNumber::default(), now, turn);
                true
            }
            Action::RedriveToOwner => self.redrive_to_owner(letter, now, turn),
            Action::RedriveToTopic => self.redrive_to_topic(letter, now, turn),
            Action::Purge => {
                self.forget_letter(letter.id, turn);
                true
            }
        }
    }

    fn end_task(&mut self, is_cancelled: bool, turn: &mut Turn) {
        if let Some(mut task) = self.tasks.current.take() {
            task.end(is_cancelled);
            turn.record(Record::Task(Box::new(task.clone())));
            let (done, left) = (task.done, task.left);
            turn.events.push(Event::TaskEnded { id: task.id, done, left });
            self.tasks.ended = Some(task);
            self.tasks.load = None;
        }
    }
}
