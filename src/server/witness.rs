//! What the storage thread reports, on its way to the engine.

use std::sync::Weak;

use super::engine::Engine;
use super::log;
use super::work::By;
use crate::store::{StoreError, Witness};
use crate::turn::{Letters, Loaded, RecordNumber, StoreState};

/// The engine, as the store knows it.
pub(super) struct Ear(pub(super) Weak<Engine>);

impl Witness for Ear {
    fn committed(&self, up_to: RecordNumber) {
        if let Some(engine) = self.0.upgrade() {
            engine.set_committed(up_to);
        }
    }

    fn loaded(&self, loaded: Loaded) {
        if let Some(engine) = self.0.upgrade() {
            engine.turn(By::Storage, |step| {
                step.call(|broker, now, turn| broker.handle_loaded(loaded, now, turn));
            });
        }
    }

    fn letters(&self, letters: Letters) {
        if let Some(engine) = self.0.upgrade() {
            engine.turn(By::Storage, |step| {
                step.call(|broker, now, turn| broker.handle_letters(&letters, now, turn));
            });
        }
    }

    fn state(&self, state: StoreState, why: &str) {
        if let Some(engine) = self.0.upgrade() {
            engine.turn(By::Storage, |step| {
                step.call(|broker, now, turn| broker.handle_store_state(state, now, turn));
            });
        }
        log::store_state(state, why); // Who reads it may rely on it.
    }

    fn room(&self) {
        if let Some(engine) = self.0.upgrade() {
            engine.room();
        }
    }

    fn broken(&self, _error: &StoreError) {
        if let Some(engine) = self.0.upgrade() {
            engine.lose_store();
        }
    }
}
