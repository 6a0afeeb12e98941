//! Wakes the core when it wants to be, looks at the wall clock, and keeps the stored time fresh.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::engine::Engine;
use crate::time::Timestamp;

/// Between two looks at the wall clock.
const LOOK: Duration = Duration::from_secs(60);

/// The stored time is at most this old, also when nothing happens.
const CHECKPOINT: Duration = Duration::from_secs(3600);

/// Who wakes so much later than planned was stopped, or its machine slept.
const LATE: Duration = Duration::from_millis(100);

/// What clients get then before their silence counts: what they sent meanwhile is not read yet.
const GRACE: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut look = engine.now();
    loop {
        let now = engine.now();
        if now >= look {
            look = now + LOOK;
            engine.check_wall_clock();
            if now.since(engine.last_checkpoint()) >= CHECKPOINT {
                engine.checkpoint();
            }
        }
        if engine.due().is_some_and(|due| due <= now) {
            engine.tick();
        }
        let next = engine.due().map_or(look, |due| due.min(look));
        let planned = next.max(engine.now());
        sleep_until(&engine, next).await;
        if engine.now().since(planned) > LATE {
            sleep(GRACE).await;
        }
    }
}

/// Sleeps until `at`, or until the core wants to be called earlier.
async fn sleep_until(engine: &Engine, at: Timestamp) {
    let at = Instant::from_std(engine.clock().instant(at));
    let _ = timeout_at(at, engine.timer().notified()).await;
}
