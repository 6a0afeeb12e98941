//! A stand-in for the storage thread around the real `Database`: group commit after a seeded
//! time, commits that failed repeated after a reopen and a look at the batch number.

use std::collections::VecDeque;
use std::mem;

use fastrand::Rng;
use kedgemq::store::{Checkpoint, Database};
use kedgemq::turn::{LetterLoad, Letters, Load, Loaded, Record, RecordNumber, StoreState, Turn};

use crate::bug::Bug;

/// How long lazy records may wait, in milliseconds.
const LAZY: u64 = 200;
const FIRST_PAUSE: u64 = 100;
const LONGEST_PAUSE: u64 = 2000;

/// What the engine has to be told.
pub(crate) enum News {
    Committed(RecordNumber),
    Loaded(Loaded),
    Letters(Letters),
    /// So many copies moved to the cold tables with a commit.
    Moved(u64),
    State(StoreState, String),
}

/// What is being done.
struct Job {
    at: u64,
    records: Vec<Record>,
    last: RecordNumber,
    checkpoint: Checkpoint,
    loads: VecDeque<Load>,
    letters: VecDeque<LetterLoad>,
    /// The batch that `records` become; 0 when they are written.
    batch: u64,
    pause: u64,
}

/// The storage thread.
pub(crate) struct Storage {
    database: Database,
    rng: Rng,
    bug: Option<Bug>,
    /// The longest that a commit takes, in milliseconds.
    slowness: u64,
    pending: Vec<Record>,
    last: RecordNumber,
    checkpoint: Checkpoint,
    urgent: bool,
    since: Option<u64>,
    loads: Vec<Load>,
    letters: Vec<LetterLoad>,
    next_commit: u64,
    job: Option<Job>,
    failing: bool,
    /// Records above which it is full.
    pub(crate) limit: usize,
    full: bool,
    /// The most that waited.
    pub(crate) largest: usize,
}

impl Storage {
    pub(crate) fn new(
        database: Database,
        rng: Rng,
        bug: Option<Bug>,
        slowness: u64,
        limit: usize,
    ) -> Self {
        Self {
            database,
            rng,
            bug,
            slowness,
            pending: Vec::new(),
            last: RecordNumber(0),
            checkpoint: Checkpoint::default(),
            urgent: false,
            since: None,
            loads: Vec::new(),
            letters: Vec::new(),
            next_commit: 0,
            job: None,
            failing: false,
            limit,
            full: false,
            largest: 0,
        }
    }

    pub(crate) fn submit(
        &mut self,
        turn: &mut Turn,
        wanted: bool,
        checkpoint: Checkpoint,
        now: u64,
    ) {
        let last = turn.last_record();
        let Turn { records, loads, letters, .. } = turn;
        self.letters.append(letters);
        self.urgent |= records.iter().any(|record| !record.is_lazy());
        self.pending.append(records);
        self.last = last;
        self.checkpoint = checkpoint;
        self.largest = self.largest.max(self.waiting());
        self.full |= self.waiting() > self.limit;
        let is_waiting = !self.pending.is_empty();
        self.urgent |= wanted && is_waiting;
        if is_waiting && self.since.is_none() {
            self.since = Some(now);
        }
        self.loads.append(loads);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Records that are not known to be on disk.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len() + self.job.as_ref().map_or(0, |job| job.records.len())
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.job.is_none() && self.pending.is_empty() && !self.is_asked()
    }

    pub(crate) fn is_ready(&self) -> bool {
        !self.failing
    }

    fn is_asked(&self) -> bool {
        !self.loads.is_empty() || !self.letters.is_empty()
    }

    /// Whether a commit is under way.
    pub(crate) fn is_committing(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.batch > 0)
    }

    /// When it acts next. `now` on the clock of the world.
    pub(crate) fn due(&self, now: u64) -> Option<u64> {
        if let Some(job) = &self.job {
            return Some(job.at);
        }
        let commit = match self.since {
            Some(_) if self.urgent => Some(self.next_commit),
            Some(since) => Some(self.next_commit.max(since + LAZY)),
            None => None,
        };
        let load = (self.is_asked() && !self.urgent).then_some(now);
        commit.into_iter().chain(load).min()
    }

    /// Goes on with what is due.
    pub(crate) fn step(&mut self, now: u64) -> Vec<News> {
        match self.job.take() {
            None => {
                self.begin(now);
                Vec::new()
            }
            Some(job) => self.attempt(job, now),
        }
    }

    /// A crash in the middle: the disk decides how far it comes.
    pub(crate) fn die(mut self) {
        if let Some(job) = self.job.take() {
            let _ = self.attempt(job, 0);
        }
    }

    /// Commits all that waits, closes the file.
    pub(crate) fn stop(mut self, now: u64) -> Result<(), String> {
        for _ in 0..20 {
            self.job.get_or_insert_with(|| empty_job(now));
            let job = self.job.take().expect("given above");
            let _ = self.attempt(job, now);
            self.urgent = true;
            if self.job.is_none() && self.pending.is_empty() {
                return self.database.close().map_err(|error| error.to_string());
            }
            if self.job.is_none() {
                self.begin(now);
            }
        }
        Err("the disk fails".to_owned())
    }

    fn begin(&mut self, now: u64) {
        let commits = self.since.is_some()
            && (self.urgent || self.since.is_some_and(|since| since + LAZY <= now));
        let mut job = empty_job(now + self.rng.u64(..=self.slowness));
        job.loads = mem::take(&mut self.loads).into();
        job.letters = mem::take(&mut self.letters).into();
        if commits {
            job.records = mem::take(&mut self.pending);
            self.spoil(&mut job.records);
            job.last = self.last;
            job.checkpoint = self.checkpoint;
            job.batch = self.database.batch() + 1;
            self.urgent = false;
            self.since = None;
            self.next_commit = now + 1;
        }
        self.job = Some(job);
    }

    fn attempt(&mut self, mut job: Job, now: u64) -> Vec<News> {
        let mut news = Vec::new();
        let result = self.carry_out(&mut job, &mut news);
        let Err(why) = result else {
            return news;
        };
        if !self.failing {
            self.failing = true;
            news.push(News::State(StoreState::Failing, why));
        }
        job.at = now + job.pause;
        job.pause = LONGEST_PAUSE.min(job.pause * 2);
        self.job = Some(job);
        news
    }

    fn carry_out(&mut self, job: &mut Job, news: &mut Vec<News>) -> Result<(), String> {
        if self.failing {
            self.database.reopen().map_err(|error| error.to_string())?;
        }
        if job.batch > 0 {
            let missing = self.database.batch() < job.batch;
            let records = if missing { &job.records[..] } else { &[] };
            let before = self.database.cold_counts().copies;
            let result = self.database.commit(records, job.checkpoint);
            result.map_err(|error| error.to_string())?;
            news.push(News::Moved(self.database.cold_counts().copies - before));
            job.batch = 0;
            job.records.clear();
            self.recovered(news);
            self.full &= self.pending.len() > self.limit / 2;
            news.push(News::Committed(job.last));
        }
        while let Some(&load) = job.loads.front() {
            let loaded = self.database.load(load).map_err(|error| error.to_string())?;
            job.loads.pop_front();
            self.recovered(news);
            news.push(News::Loaded(loaded));
        }
        while let Some(&load) = job.letters.front() {
            let letters = self.database.letters(load).map_err(|error| error.to_string())?;
            job.letters.pop_front();
            self.recovered(news);
            news.push(News::Letters(letters));
        }
        Ok(())
    }

    fn recovered(&mut self, news: &mut Vec<News>) {
        if mem::take(&mut self.failing) {
            news.push(News::State(StoreState::Ready, String::new()));
        }
    }

    fn spoil(&mut self, records: &mut Vec<Record>) {
        match self.bug {
            Some(Bug::ForgetsReceived) => {
                records.retain(|record| !matches!(record, Record::Received { .. }));
            }
            Some(Bug::LosesLastRecord) if self.rng.u32(..4) == 0 => drop(records.pop()),
            Some(Bug::CollectsNeeded) if self.rng.bool() => {
                records.retain(|record| !matches!(record, Record::Removed { .. }));
            }
            Some(Bug::RedriveKeepsLetter) => {
                let follows = records.iter().skip(1).map(|next| {
                    matches!(next, Record::Message { message, .. } if message.past.is_some())
                });
                let mut redrives = follows.chain([false]).collect::<Vec<_>>().into_iter();
                let forgets = |record: &Record| matches!(record, Record::DeadForgotten { .. });
                records.retain(|record| !(redrives.next() == Some(true) && forgets(record)));
            }
            _ => {}
        }
    }
}

fn empty_job(at: u64) -> Job {
    Job {
        at,
        records: Vec::new(),
        last: RecordNumber(0),
        checkpoint: Checkpoint::default(),
        loads: VecDeque::new(),
        letters: VecDeque::new(),
        batch: 0,
        pause: FIRST_PAUSE,
    }
}
