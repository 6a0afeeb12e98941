//! A broker in the foreground: from the first signal handler to the last commit.

use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::args::Run;
use super::config::{Config, Place};
use super::failure::Failure;
use super::greeting::{self, Open};
use super::start::{self, Prepared};
use super::{log, print};
use crate::admin;
use crate::net::certs;
use crate::server::{self, Control, ServeError};
use crate::store::StoreError;

/// Runs until SIGTERM or Ctrl-C.
pub(super) fn run(flags: &Run, place: &Place) -> Result<(), Failure> {
    let config = Config::load(flags, place)?;
    log::start(config.log_format, config.log_level);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::machine(format_args!("no threads can be started: {error}")))?;
    runtime.block_on(serve(config, place))
}

async fn serve(config: Config, place: &Place) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let data = config.data.clone();
    let announcement = Announcement::of(&config, place);
    let Prepared { setup, files, open } = start::prepare(config, place).await?;
    let (stop, shutdown) = watch::channel(false);
    let (acl, reload) = mpsc::channel(4);
    let (started, mut has_started) = oneshot::channel();
    let control = Control { shutdown, reload, started: Some(started) };
    let mut server = std::pin::pin!(server::run(setup, control));
    let mut announced = false;
    let mut tools = None;
    loop {
        tokio::select! {
            ended = &mut server => {
                stop.send_replace(true);
                if let Some(tools) = tools {
                    let _ = tools.await; // Its socket is gone then.
                }
                ended.map_err(|error| serve_failure(&error))?;
                info!("stopped");
                return Ok(());
            }
            Ok(handle) = &mut has_started, if !announced => {
                announced = true;
                tools = Some(admin::start(&data, handle, stop.subscribe()));
                announcement.make(&open);
            }
            caught = signals.next() => match caught {
                Caught::Reload => files.read_again(&acl),
                Caught::Stop(name) if *stop.borrow() => {
                    return Err(Failure::machine(format_args!(
                        "a second {name}: stopped before everything was finished"
                    )));
                }
                Caught::Stop(name) => {
                    info!(signal = name, "stopping");
                    stop.send_replace(true);
                }
            },
        }
    }
}

/// What a start says once it is done.
struct Announcement<'a> {
    place: &'a Place,
    ca: std::path::PathBuf,
    data: String,
    node: String,
    begun: Instant,
}

impl<'a> Announcement<'a> {
    fn of(config: &Config, place: &'a Place) -> Self {
        Self {
            place,
            ca: certs::Paths::within(&config.certs).ca,
            data: config.store.path.display().to_string(),
            node: config.settings.node.clone(),
            begun: Instant::now(),
        }
    }

    fn make(&self, open: &[Open]) {
        let (data, node) = (&self.data, &self.node);
        let milliseconds = self.begun.elapsed().as_millis();
        info!(version = env!("CARGO_PKG_VERSION"), %node, %data, %milliseconds, "started");
        print(&greeting::text(open, &self.ca, &self.place.directory));
    }
}

/// What a signal asks for.
enum Caught {
    Stop(&'static str),
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> Result<Self, Failure> {
        let catch = |kind| {
            signal(kind).map_err(|error| {
                Failure::machine(format_args!("signals cannot be caught: {error}"))
            })
        };
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.terminate.recv() => Caught::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Caught::Stop("SIGINT"),
            _ = self.hangup.recv() => Caught::Reload,
        }
    }
}

/// A newer format and a corrupt file stay what they are until someone acts.
fn serve_failure(error: &ServeError) -> Failure {
    match error {
        ServeError::Open(StoreError::NewerFormat { .. } | StoreError::Corrupt { .. }) => {
            Failure::given(error)
        }
        ServeError::Open(_) => Failure::machine(error),
        ServeError::Broken(_) => {
            error!(%error, "the data file is broken");
            Failure::machine(error)
        }
        ServeError::Stop(_) => {
            warn!(%error, "stopped");
            Failure::machine(error)
        }
    }
}
