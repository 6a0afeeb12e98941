//! The world around the core: sockets, clock, store and log.
//!
//! [`run`] opens the store, restores the core from it, accepts connections until it is told to
//! stop, and then stops in reverse. What is acknowledged is on disk when it returns.

mod accept;
mod access;
mod admit;
mod clock;
mod connection;
mod engine;
mod handle;
mod link;
mod log;
mod outbox;
mod reading;
#[cfg(test)]
mod rig;
mod slots;
mod timer;
mod traffic;
mod witness;
mod work;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use crate::auth::acl::Acl;
use crate::auth::password::Passwords;
use crate::broker::Broker;
use crate::config::Settings;
use crate::net::tls::Reloadable;
use crate::store;
use crate::time::WallClock;

#[doc(hidden)] // For the simulation.
pub use clock::{downtime, has_jumped};
pub use outbox::Order;

use accept::{Gate, accept};
use admit::Door;
use clock::Clock;
use engine::Engine;
pub use handle::{Handle, Seen, Tasks};
use log::Seldom;
use witness::Ear;

/// For the last words to clients at the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a server is made of.
#[derive(Debug)]
pub struct Setup {
    /// Limits and switches of the core.
    pub settings: Settings,
    /// Where and how sessions are stored.
    pub store: store::Options,
    /// A longer downtime counts as none: the clock is not trusted then.
    pub max_downtime: Duration,
    /// Bound sockets.
    pub listeners: Vec<Listener>,
    /// Bytes that may wait for one client; above, QoS 0 is dropped and QoS > 0 stays queued.
    pub outbox_bytes: usize,
    /// For the TLS handshake, and again for the CONNECT.
    pub connect_timeout: Duration,
    /// Connections at once; one more is closed at once.
    pub max_connections: usize,
    /// Rights; `None` allows all.
    pub acl: Option<Acl>,
}

/// A bound socket and who may connect to it.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// Where it listens, with the real port.
    pub address: SocketAddr,
    /// Its TLS, or none.
    pub tls: Option<Arc<Reloadable>>,
    /// Who may connect.
    pub access: Arc<Access>,
}

/// Who may connect to a listener.
#[derive(Debug)]
pub struct Access {
    /// Whether clients without a User Name may.
    pub anonymous: bool,
    /// Users and their passwords. Without, a User Name is taken as it is, from those who are
    /// admitted without one, as mosquitto does.
    pub passwords: Option<RwLock<Arc<Passwords>>>,
    /// Whether the Common Name of the client certificate is the user, in place of a password.
    pub common_name_as_user: bool,
    /// Whether TLS lets only clients with a good certificate through: that admits them.
    pub certificate_required: bool,
}

impl Access {
    /// Takes another password file, for the next CONNECT. Nothing happens without an old one.
    pub fn set_passwords(&self, passwords: Arc<Passwords>) {
        if let Some(current) = &self.passwords {
            *current.write().unwrap_or_else(PoisonError::into_inner) = passwords;
        }
    }
}

/// The strings by which a running server is moved.
#[derive(Debug)]
pub struct Control {
    /// Becomes true to stop.
    pub shutdown: watch::Receiver<bool>,
    /// New rights.
    pub reload: mpsc::Receiver<Option<Acl>>,
    /// Told once, when sessions are restored and connections are accepted.
    pub started: Option<oneshot::Sender<Handle>>,
}

/// Why a server cannot start, or could not stop as it should.
#[derive(Debug)]
pub enum ServeError {
    /// The store cannot be opened.
    Open(store::StoreError),
    /// Something could not be written at the end.
    Stop(store::StoreError),
    /// The data file turned out to be corrupt, or to be doubtful, while it was in use.
    Broken(store::StoreError),
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

/// Serves until `control` says stop. Nothing is accepted before all sessions are restored.
pub async fn run(setup: Setup, control: Control) -> Result<(), ServeError> {
    let Control { shutdown, mut reload, started } = control;
    let packet_size = setup.settings.limits.packet_size;
    let path = setup.store.path.clone();
    let about = handle::About::of(&setup.settings);
    let was_blank = store::is_blank(&path);
    log::before_open(&path);
    let (database, restored) = store::open(setup.store).map_err(ServeError::Open)?;
    log::opened(&path, was_blank, &restored);
    let engine =
        Arc::new(restore(setup.settings, restored, setup.max_downtime, setup.outbox_bytes));
    engine.set_acl(setup.acl);
    let ear = Arc::new(Ear(Arc::downgrade(&engine)));
    engine.start(Box::new(database.start(ear)));
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
    let mut tasks = JoinSet::new();
    tasks.spawn(timer::run(Arc::clone(&engine)));
    for listener in setup.listeners {
        tasks.spawn(accept(Arc::clone(&gate), listener, shutdown.clone()));
    }
    if let Some(started) = started {
        let _ = started.send(Handle::new(&engine, about)); // Nobody may want to know.
    }
    let is_broken = tokio::select! {
        () = steer(&engine, shutdown, &mut reload) => false,
        () = engine.lost() => true,
    };
    tasks.shutdown().await;
    stop(&engine).await.map_err(|error| match is_broken {
        true => ServeError::Broken(error),
        false => ServeError::Stop(error),
    })
}

/// Follows `reload` until it is time to stop.
async fn steer(
    engine: &Engine,
    mut shutdown: watch::Receiver<bool>,
    reload: &mut mpsc::Receiver<Option<Acl>>,
) {
    let mut stop = std::pin::pin!(shutdown.wait_for(|stop| *stop));
    loop {
        tokio::select! {
            biased;
            _ = &mut stop => return,
            acl = reload.recv() => match acl {
                Some(acl) => engine.set_acl(acl),
                None => {
                    let _ = stop.await;
                    return;
                }
            },
        }
    }
}

/// Says goodbye, lets it be written, and commits all.
async fn stop(engine: &Arc<Engine>) -> Result<(), store::StoreError> {
    engine.say_goodbye();
    let _ = timeout(GOODBYE, engine.quiet()).await;
    engine.checkpoint();
    let engine = Arc::clone(engine);
    let stopped = spawn_blocking(move || engine.stop_store()).await;
    stopped.expect("stopping the store does not panic")
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
