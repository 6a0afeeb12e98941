//! The world around the core: sockets, clock, store and log.
//!
//! [`Server::start`] opens the store, restores the core from it and accepts connections;
//! [`Server::stop`] goes the same way back. What is acknowledged is on disk when it returns.

mod accept;
mod access;
mod admit;
mod clock;
mod connection;
mod disk;
mod engine;
mod handle;
mod link;
mod log;
mod outbox;
mod reading;
#[cfg(test)]
mod rig;
mod setup;
mod slots;
mod timer;
mod traffic;
mod witness;
mod work;

use std::fmt;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use crate::auth::acl::Acl;
use crate::broker::Broker;
use crate::config::Settings;
use crate::store::{self, Database, StoreError};
use crate::time::WallClock;

#[doc(hidden)] // For the simulation.
pub use clock::{downtime, has_jumped};
#[doc(hidden)] // For the simulation.
pub use outbox::{Order, Waiting};

use accept::{Gate, accept};
use admit::Door;
use clock::Clock;
use engine::Engine;
use handle::About;
#[doc(hidden)] // For tools.
pub use handle::{Handle, Seen, Tasks};
pub use setup::{Access, Listener, Setup};

use log::Seldom;
use witness::listen;

/// For the last words to clients at the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a server cannot start, or could not stop as it should.
#[derive(Debug)]
pub enum ServeError {
    /// The store cannot be opened.
    Open(StoreError),
    /// Something could not be written at the end.
    Stop(StoreError),
    /// The data file turned out to be corrupt, or to be doubtful, while it was in use. This process
    /// keeps it open to its end.
    Broken(StoreError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Stop(error) => write!(f, "the last commit failed: {error}"),
            Self::Broken(error) => {
                write!(f, "stopped; the next start reads all of the data file: {error}")
            }
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(error) | Self::Stop(error) | Self::Broken(error) => Some(error),
        }
    }
}

/// A broker that runs, in the background of the tokio runtime that it was started in.
///
/// Dropped without [`stop`](Self::stop) it commits what was submitted and lets go of the data file
/// before the drop is over, which blocks for as long; its sockets close when the runtime comes to
/// it, and clients may miss its goodbye.
pub struct Server {
    engine: Arc<Engine>,
    about: About,
    addresses: Vec<SocketAddr>,
    /// Who accepts, and the timer.
    tasks: JoinSet<()>,
    /// What tells the engine of the store, to the end: what waits for the last commits leaves then.
    _listening: JoinSet<()>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the store, restores all sessions, and only then accepts connections: it is ready
    /// when this returns.
    ///
    /// # Errors
    /// [`ServeError::Open`]; nothing runs then, and the sockets are closed.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without IO and time.
    pub async fn start(setup: Setup) -> Result<Self, ServeError> {
        let Setup { settings, store, max_downtime, outbox_bytes, .. } = setup;
        let packet_size = settings.limits.packet_size;
        let about = About::of(&settings);
        let opened = spawn_blocking(move || open(settings, store, max_downtime, outbox_bytes));
        let opened = opened.await.expect("opening the store does not panic");
        let (engine, database) = opened.map_err(ServeError::Open)?;
        let engine = Arc::new(engine);
        engine.set_acl(setup.acl);
        let (ear, news) = listen(&engine);
        engine.start(Box::new(database.start(Arc::new(ear))));
        engine.tick(); // What was restored may have timers, and nobody connects for long.
        let gate = Arc::new(Gate {
            door: Arc::new(Door {
                engine: Arc::clone(&engine),
                password_permits: Semaphore::new(password_threads()),
                connect_timeout: setup.connect_timeout,
                packet_size,
            }),
            places: Arc::new(Semaphore::new(setup.max_connections.min(Semaphore::MAX_PERMITS))),
            max_connections: setup.max_connections,
            seldom: Seldom::default(),
        });
        let addresses = setup.listeners.iter().map(|listener| listener.address).collect();
        let mut tasks = JoinSet::new();
        tasks.spawn(timer::run(Arc::clone(&engine)));
        for listener in setup.listeners {
            tasks.spawn(accept(Arc::clone(&gate), listener));
        }
        let mut listening = JoinSet::new();
        listening.spawn(news.pass_on(Arc::clone(&engine)));
        Ok(Self { engine, about, addresses, tasks, _listening: listening })
    }

    /// Where it listens, with the real ports, in the order of [`Setup::listeners`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Takes other rights; `None` allows all.
    pub fn set_acl(&self, acl: Option<Acl>) {
        self.engine.set_acl(acl);
    }

    /// For tools.
    #[doc(hidden)]
    pub fn handle(&self) -> Handle {
        Handle::new(&self.engine, self.about.clone())
    }

    /// Waits until it cannot go on, because the data file turned out to be corrupt or doubtful:
    /// nothing is stored any more, so nothing above QoS 0 is acknowledged, and
    /// [`stop`](Self::stop) says why.
    pub async fn failed(&self) {
        self.engine.lost().await;
    }

    /// Closes the sockets, says goodbye to all clients, and commits: what was acknowledged is on
    /// disk, and the data file is free for the next start. Takes two seconds at most for clients
    /// that are slow to go, and the time of the last commit.
    ///
    /// # Errors
    /// [`ServeError::Stop`] or [`ServeError::Broken`]; it has stopped all the same.
    pub async fn stop(mut self) -> Result<(), ServeError> {
        self.tasks.shutdown().await;
        self.engine.say_goodbye();
        let _ = timeout(GOODBYE, self.engine.quiet()).await;
        self.engine.checkpoint();
        let engine = Arc::clone(&self.engine);
        let stopped = spawn_blocking(move || engine.stop_store()).await;
        let stopped = stopped.expect("stopping the store does not panic");
        let is_broken = tokio::select! {
            biased;
            () = self.failed() => true,
            () = ready(()) => false,
        };
        stopped.map_err(if is_broken { ServeError::Broken } else { ServeError::Stop })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.engine.is_stopping() {
            self.engine.say_goodbye();
        }
        if let Err(error) = self.engine.stop_store() {
            log::stopped_badly(&error);
        }
    }
}

/// The data file, and the core as it remembers it.
fn open(
    settings: Settings,
    store: store::Options,
    max_downtime: Duration,
    outbox_bytes: usize,
) -> Result<(Engine, Database), StoreError> {
    let path = store.path.clone();
    let was_blank = store::is_blank(&path);
    log::before_open(&path);
    let (database, restored) = store::open(store)?;
    log::opened(&path, was_blank, &restored);
    Ok((restore(settings, restored, max_downtime, outbox_bytes), database))
}

/// The core as the store remembers it, on a clock that goes on from there.
fn restore(
    settings: Settings,
    restored: store::Restored,
    max_downtime: Duration,
    outbox_bytes: usize,
) -> Engine {
    let unix_ms = clock::unix_ms();
    let clock = Clock::continue_from(restored.checkpoint, unix_ms, max_downtime);
    let now = clock.now();
    log::restored(&restored.records);
    let wall = WallClock::new(now, unix_ms);
    let mut broker = Broker::new(settings, seed(), now);
    broker.set_wall_clock(wall);
    broker.restore(restored.records.into_iter(), now);
    Engine::new(broker, clock, wall, outbox_bytes)
}

/// The seed of the core's randomness, from the operating system.
fn seed() -> u64 {
    let mut seed = [0; 8];
    let random = SystemRandom::new();
    random.fill(&mut seed).expect("the operating system gives randomness");
    u64::from_ne_bytes(seed)
}

/// Comparing passwords takes a CPU, and one should be left for messages.
fn password_threads() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cpus.saturating_sub(1).max(1)
}
