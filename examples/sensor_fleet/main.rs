//! A fleet of devices on bad links, and an account of every message at the end: delivered, queued,
//! or dead and why. Exit code 1 when one is missing.
//!
//! Each device sends readings (QoS 0), telemetry (QoS 1) and alarms (QoS 2), and takes commands
//! (QoS 1) in a session that outlives its connections, which are cut again and again. Some devices
//! stay away, never come back, or come back with a Clean Start; the alarm desk rejects garbled
//! alarms and crashes at some. It starts a broker of its own, with small limits.
//!
//! `cargo run --release --example sensor_fleet -- --help`

mod alarm;
mod audit;
// A session over several connections, as the tests have it.
#[allow(dead_code)]
#[path = "../../tests/client/mod.rs"]
mod client;
mod ledger;
mod server;
mod station;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use clap::Parser;
use tokio::runtime::Runtime;
use tokio::signal::ctrl_c;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use audit::{Audit, Open};
use ledger::{Key, Kind, Shared};
use server::Place;
use station::Fortune;

const STOPPED: &str = "stopped by Ctrl-C: nothing is accounted for";

/// Devices on bad links, and what became of every message.
#[derive(Parser)]
struct Options {
    /// Devices.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    devices: u32,
    /// Readings and telemetry of each device, together.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    messages: u32,
    /// Alarms of each device.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    alarms: u32,
    /// Commands to each device.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    commands: u32,
    /// More commands to device 2, which is away: its queue holds 1000.
    #[arg(long, default_value_t = server::QUEUE + 20)]
    burst: u32,
    /// Seconds in which they are sent.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Seconds that the broker has at the end, when the links hold.
    #[arg(long, default_value_t = 30)]
    patience: u32,
    /// Seconds until a link is cut, on average.
    #[arg(long, default_value_t = 8.0)]
    cut_after: f64,
    /// What chance decides, decides this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A running broker's listener without TLS, in place of one of our own.
    #[arg(long, requires = "data")]
    broker: Option<SocketAddr>,
    /// Its data directory.
    #[arg(long)]
    data: Option<PathBuf>,
}

/// What all clients know.
struct Fleet {
    options: Options,
    place: Place,
    /// In front of all topics and Client Identifiers.
    prefix: String,
    ledger: Shared,
    start: watch::Sender<Option<Instant>>,
    /// From now on no link is cut.
    calm: AtomicBool,
    /// By Ctrl-C.
    stopped: AtomicBool,
    /// Publishers that have nothing more to send.
    done: AtomicUsize,
}

impl Fleet {
    fn new(options: Options, place: Place) -> Arc<Self> {
        let prefix = format!("fleet-{}", std::process::id());
        let (calm, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
        let done = AtomicUsize::new(0);
        let (start, ledger) = (watch::Sender::new(None), Shared::default());
        Arc::new(Self { options, place, prefix, ledger, start, calm, stopped, done })
    }

    fn client_id(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn topic(&self, key: Key) -> String {
        format!("{}/{}/{}", self.prefix, key.kind.word(), key.device)
    }

    fn filter(&self, kind: Kind) -> String {
        format!("{}/{}/+", self.prefix, kind.word())
    }

    /// When all are there.
    async fn begun(&self) -> Instant {
        let mut start = self.start.subscribe();
        loop {
            if let Some(at) = *start.borrow_and_update() {
                return at;
            }
            start.changed().await.expect("the fleet has the sender");
        }
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.options.seconds.into())
    }

    /// Between two of so many messages of a device.
    fn pause(&self, rng: &mut fastrand::Rng, messages: u32) -> Duration {
        self.duration().mul_f64((0.5 + rng.f64() / 2.0) / f64::from(messages))
    }

    fn until_cut(&self, rng: &mut fastrand::Rng) -> Duration {
        Duration::from_secs_f64(self.options.cut_after.max(0.1) * (0.2 + 1.6 * rng.f64()))
    }

    /// From a cut to the next connection.
    fn away(&self, rng: &mut fastrand::Rng) -> Duration {
        Duration::from_millis(rng.u64(20..1500))
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// For so long; then whoever runs this may have enough.
    fn wait(&self, pause: Duration) -> Result<(), String> {
        thread::sleep(pause);
        if self.stopped.load(Ordering::Relaxed) { Err(STOPPED.into()) } else { Ok(()) }
    }

    fn done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    fn devices(&self) -> std::ops::Range<usize> {
        0..self.options.devices as usize
    }

    /// All who publish: each device's line, the devices that report, and the control room.
    fn publishers(&self) -> usize {
        let report = |device: &usize| Fortune::of(*device) == Fortune::Flaky;
        self.devices().count() + self.devices().filter(report).count() + 1
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == server::BROKER) {
        return server::be_broker(arguments);
    }
    match run(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("sensor_fleet: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every message is accounted for.
fn run(options: Options) -> Result<bool, String> {
    let (_server, place) = match (options.broker, &options.data) {
        (Some(plain), Some(data)) => (None, Place { plain, tls: None, data: data.clone() }),
        _ => server::start().map(|(server, place)| (Some(server), place))?,
    };
    let fleet = Fleet::new(options, place);
    let runtime = Runtime::new().map_err(|error| format!("no runtime: {error}"))?;
    let mut audit = Audit::connect(&fleet)?;
    let mut progress = Progress::default();
    progress.show(&fleet, "connecting");
    runtime.block_on(async {
        tokio::select! {
            ended = gather(&fleet) => ended,
            _ = ctrl_c() => Err(STOPPED.into()),
        }
    })?;
    let listener = Arc::clone(&fleet);
    runtime.spawn(async move {
        let _ = ctrl_c().await;
        listener.stopped.store(true, Ordering::Relaxed);
    });
    watch_sending(&fleet, &runtime, &mut progress)?;
    let open = settle(&fleet, &mut audit, &mut progress)?;
    progress.end();
    // What comes again comes no later than this; and nothing moves while it is counted.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let ledger = fleet.ledger.lock();
    let (text, wrong) = audit::account(&ledger, open);
    print!("{text}");
    for problem in wrong.iter().take(20) {
        println!("WRONG: {problem}");
    }
    if wrong.is_empty() {
        println!("all {} messages are accounted for", ledger.messages.len());
    }
    Ok(wrong.is_empty())
}

/// Everybody who subscribes is there before anybody publishes.
async fn gather(fleet: &Arc<Fleet>) -> Result<(), String> {
    let patience = Duration::from_secs(60);
    let all = async {
        station::reader(fleet).await;
        let (subscribed, has_subscribed) = oneshot::channel();
        tokio::spawn(alarm::desk(Arc::clone(fleet), subscribed));
        has_subscribed.await.map_err(|_| fleet.ledger.lock().problems.join("; "))?;
        let mut devices = JoinSet::new();
        for device in fleet.devices() {
            devices.spawn(station::device(Arc::clone(fleet), device));
        }
        for kind in [Kind::Reading, Kind::Telemetry] {
            station::historian(fleet, kind).await;
        }
        while let Some(ended) = devices.join_next().await {
            ended.map_err(|error| error.to_string())?;
        }
        Ok::<(), String>(())
    };
    let ended = tokio::time::timeout(patience, all).await;
    ended.map_err(|_| "the clients cannot connect or subscribe".to_owned())?
}

/// Until everything is sent, or the time is up; then the links hold.
fn watch_sending(
    fleet: &Arc<Fleet>,
    runtime: &Runtime,
    progress: &mut Progress,
) -> Result<(), String> {
    let begun = Instant::now();
    fleet.start.send_replace(Some(begun));
    runtime.spawn(station::control_room(Arc::clone(fleet)));
    for device in fleet.devices() {
        runtime.spawn(alarm::line(Arc::clone(fleet), device));
    }
    let limit = fleet.duration() * 3 / 2;
    while fleet.done.load(Ordering::Relaxed) < fleet.publishers() && begun.elapsed() < limit {
        fleet.wait(Duration::from_millis(100))?;
        progress.show(fleet, "sending");
    }
    fleet.calm.store(true, Ordering::Relaxed);
    Ok(())
}

/// Until nothing moves any more, or patience ends.
fn settle(fleet: &Fleet, audit: &mut Audit, progress: &mut Progress) -> Result<Open, String> {
    let begun = Instant::now();
    let patience = Duration::from_secs(fleet.options.patience.into());
    let (mut last, mut looks) = (None, 0);
    loop {
        let open = audit.look(fleet)?;
        looks = if last == Some(open) { looks + 1 } else { 1 };
        last = Some(open);
        let is_sent = fleet.done.load(Ordering::Relaxed) == fleet.publishers();
        // What is missing may be between two places, and a letter on its way to who reads them.
        let enough = if open.missing == 0 && open.unheard == 0 { 2 } else { 10 };
        let is_over = is_sent && open.moving == 0 && looks >= enough;
        if is_over || begun.elapsed() > patience {
            return Ok(open);
        }
        fleet.wait(Duration::from_millis(300))?;
        progress.show(fleet, "settling");
    }
}

/// How far it is, on stderr: one line on a terminal, else a line now and then.
#[derive(Default)]
struct Progress {
    shown: Option<Instant>,
    width: usize,
}

impl Progress {
    fn show(&mut self, fleet: &Fleet, what: &str) {
        let on_terminal = std::io::stderr().is_terminal();
        let pause = Duration::from_millis(if on_terminal { 100 } else { 2000 });
        if self.shown.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        self.shown = Some(Instant::now());
        let ledger = fleet.ledger.lock();
        let delivered = ledger.messages.values().filter(|message| message.received > 0).count();
        let text = format!(
            "{what}: {} devices, {} messages, {delivered} delivered, {} dead, {} cuts, {} crashes",
            fleet.options.devices,
            ledger.messages.len(),
            ledger.heard.len(),
            ledger.cuts,
            ledger.crashes,
        );
        drop(ledger);
        // With stderr gone there is nobody to tell.
        if on_terminal {
            let _ = write!(std::io::stderr(), "\r{text:<width$}", width = self.width);
            self.width = text.len();
        } else {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    fn end(&self) {
        if self.width > 0 {
            let _ = write!(std::io::stderr(), "\r{:<width$}\r", "", width = self.width);
        }
    }
}
