//! What the clients and the one who kills the broker know of each other.

use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::harness::DEADLINE;

/// Publishers wait when the slowest subscriber is so many messages behind: no queue may overflow.
const LAG: u64 = 5000;

/// Shared by all threads.
pub(crate) struct Stage {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Counts the starts of the broker; 0 before the first.
    start: u64,
    address: Option<SocketAddr>,
    subscribed: Vec<bool>,
    published: u64,
    acknowledged: u64,
    /// Of each subscriber, without repetitions.
    received: Vec<u64>,
    /// Nothing new is published.
    finishing: bool,
}

impl Stage {
    pub(crate) fn new(subscribers: usize) -> Self {
        let state = State {
            start: 0,
            address: None,
            subscribed: vec![false; subscribers],
            published: 0,
            acknowledged: 0,
            received: vec![0; subscribers],
            finishing: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The broker has started and listens there.
    pub(crate) fn open(&self, address: SocketAddr) {
        self.change(|state| {
            state.start += 1;
            state.address = Some(address);
        });
    }

    /// Waits for a later start than `start`: its number and address.
    pub(crate) fn wait_open(&self, start: u64) -> (u64, SocketAddr) {
        self.wait("a start of the broker", |state| {
            let address = state.address.filter(|_| state.start > start)?;
            Some((state.start, address))
        })
    }

    pub(crate) fn subscribed(&self, subscriber: usize) {
        self.change(|state| state.subscribed[subscriber] = true);
    }

    pub(crate) fn wait_subscribed(&self) {
        self.wait("the subscriptions", |state| state.subscribed.iter().all(|is| *is).then_some(()));
    }

    pub(crate) fn published(&self, count: u64) {
        self.change(|state| state.published += count);
    }

    pub(crate) fn acknowledged(&self, count: u64) {
        self.change(|state| state.acknowledged += count);
    }

    pub(crate) fn received(&self, subscriber: usize, count: u64) {
        self.change(|state| state.received[subscriber] += count);
    }

    /// Waits until the slowest subscriber has come near. Whether to publish on.
    pub(crate) fn wait_lag(&self) -> bool {
        self.wait("the slowest subscriber", |state| {
            let slowest = state.received.iter().min().copied().unwrap_or_default();
            let near = state.published.saturating_sub(slowest) < LAG;
            (state.finishing || near).then_some(!state.finishing)
        })
    }

    pub(crate) fn finish(&self) {
        self.change(|state| state.finishing = true);
    }

    /// Waits until so many messages were acknowledged or received, and then `bit` longer.
    pub(crate) fn wait_progress(&self, events: u64, bit: Duration) {
        let goal = self.lock().events() + events;
        self.wait("progress", |state| (state.events() >= goal).then_some(()));
        let end = Instant::now() + bit;
        let mut state = self.lock();
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            state = self.changed.wait_timeout(state, left).expect("no panic under the lock").0;
        }
    }

    pub(crate) fn summary(&self) -> String {
        let state = self.lock();
        let (published, acknowledged) = (state.published, state.acknowledged);
        format!("published {published}, acknowledged {acknowledged}, received {:?}", state.received)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait<T>(&self, what: &str, mut find: impl FnMut(&State) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.lock();
        loop {
            if let Some(found) = find(&state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                panic!("waited too long for {what}: {}", self.summary());
            }
            state = self.changed.wait_timeout(state, left).expect("no panic under the lock").0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }
}

impl State {
    fn events(&self) -> u64 {
        self.acknowledged + self.received.iter().sum::<u64>()
    }
}
