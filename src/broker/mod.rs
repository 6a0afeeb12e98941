//! The core: one [`Broker`] owns all MQTT state and decides everything.

use crate::auth::Identity;
use crate::config::Settings;
use crate::metrics::Counters;
use crate::mqtt::packet::{Connect, Packet};
use crate::time::{Timestamp, WallClock};
use crate::turn::{CloseCause, ConnectionId, OwnerId, Record, StoreState, Stored, Turn};

/// All MQTT state.
#[derive(Debug)]
pub struct Broker {
    counters: Counters,
}

impl Broker {
    /// An empty broker. The same seed and inputs give the same turns.
    pub fn new(_settings: Settings, _seed: u64, _now: Timestamp) -> Self {
        Self {
            counters: Counters::default(),
        }
    }

    /// Applies what the store kept, once, before anything else.
    pub fn restore(&mut self, _records: impl Iterator<Item = Record>, _now: Timestamp) {}

    /// What the world's clock shows, for dead letters.
    pub fn set_wall_clock(&mut self, _clock: WallClock) {}

    /// A CONNECT came on a connection that is not known yet.
    pub fn handle_connect(
        &mut self,
        _id: ConnectionId,
        _who: Identity,
        _connect: Connect<'_>,
        _now: Timestamp,
        _turn: &mut Turn,
    ) {
    }

    /// A packet came. For a connection that is gone it is ignored.
    pub fn handle_packet(
        &mut self,
        _id: ConnectionId,
        _packet: Packet<'_>,
        _now: Timestamp,
        _turn: &mut Turn,
    ) {
    }

    /// The world ends a connection, known or not yet; says the last words to it where there are some.
    pub fn handle_close(
        &mut self,
        _id: ConnectionId,
        _cause: CloseCause,
        _now: Timestamp,
        _turn: &mut Turn,
    ) {
    }

    /// The outbox of a connection passed its limit (`full`), or drained again.
    pub fn handle_outbox(
        &mut self,
        _id: ConnectionId,
        _full: bool,
        _now: Timestamp,
        _turn: &mut Turn,
    ) {
    }

    /// Stored copies of a [`crate::turn::Load`] came; what is missing in its range is gone.
    pub fn handle_loaded(
        &mut self,
        _load: crate::turn::Load,
        _messages: Vec<Stored>,
        _now: Timestamp,
        _turn: &mut Turn,
    ) {
        let _ = OwnerId(0);
    }

    /// The store failed, or takes records again.
    pub fn handle_store_state(&mut self, _state: StoreState, _now: Timestamp, _turn: &mut Turn) {}

    /// The broker stops: says goodbye to all connections.
    pub fn handle_shutdown(&mut self, _now: Timestamp, _turn: &mut Turn) {}

    /// The time of [`next_timeout`](Self::next_timeout) came.
    pub fn handle_timeout(&mut self, _now: Timestamp, _turn: &mut Turn) {}

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
