//! A broker in the foreground: from the first signal handler to the last commit.

use std::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::args::Run;
use super::config::{Config, Place};
use super::failure::Failure;
use super::greeting::{self, Open};
use super::start::{self, Prepared, Reread};
use super::{log, print};
use crate::admin;
use crate::net::certs;
use crate::server::{ServeError, Server};
use crate::store::StoreError;

/// Runs until SIGTERM or Ctrl-C.
pub(super) fn run(flags: &Run, place: &Place) -> Result<(), Failure> {
    let config = Config::load(flags, place)?;
    log::start(config.log_format, config.log_level);
    start_threads(config.worker_threads)?.block_on(serve(config, place))
}

fn start_threads(workers: usize) -> Result<Runtime, Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    runtime.map_err(|error| Failure::machine(format_args!("no threads can be started: {error}")))
}

async fn serve(config: Config, place: &Place) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let data = config.data.clone();
    let announcement = Announcement::of(&config, place);
    let Prepared { setup, files, open } = start::prepare(config, place).await?;
    let server = Server::start(setup).await.map_err(|error| serve_failure(&error))?;
    let (end, ended) = watch::channel(false);
    let tools = admin::start(&data, server.handle(), ended);
    announcement.make(&open);
    follow(&mut signals, &server, &files).await;
    end.send_replace(true);
    let stopped = tokio::select! {
        stopped = server.stop() => stopped,
        name = signals.stop() => {
            return Err(Failure::machine(format_args!(
                "a second {name}: stopped before everything was finished"
            )));
        }
    };
    let _ = tools.await; // Its socket is gone then.
    stopped.map_err(|error| serve_failure(&error))?;
    info!("stopped");
    Ok(())
}

/// Until it is time to stop.
async fn follow(signals: &mut Signals, server: &Server, files: &Reread) {
    loop {
        tokio::select! {
            () = server.failed() => return,
            caught = signals.next() => match caught {
                Caught::Reload => files.read_again(server),
                Caught::Stop(name) => return info!(signal = name, "stopping"),
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

    /// Passes over SIGHUP.
    async fn stop(&mut self) -> &'static str {
        loop {
            if let Caught::Stop(name) = self.next().await {
                return name;
            }
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
