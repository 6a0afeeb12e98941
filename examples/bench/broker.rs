//! A broker as a process: found, configured, started, and ended when dropped.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::link::Target;
use crate::proc::Process;

/// Repairing a long backlog takes its time.
const STARTING: Duration = Duration::from_secs(120);

/// What KedgeMQ writes beside its data file after a start, by default.
const RESERVE: u64 = 4 << 20;
/// It may also have no space for it.
const RESERVING: Duration = Duration::from_secs(2);

/// A running broker; ended when dropped.
pub(crate) struct Broker {
    child: Child,
    pub(crate) target: Target,
    pub(crate) process: Process,
}

impl Broker {
    /// With its own defaults, apart from the listener and what `configuration` says. All its files
    /// are in `directory`, and stay.
    pub(crate) fn start_kedgemq(
        binary: &Path,
        directory: &Path,
        configuration: &str,
        certificate: Option<&Certificate>,
    ) -> Result<Self, String> {
        let tls = certificate.map_or_else(String::new, |made| {
            let (certificate, key) = (made.certificate.display(), made.key.display());
            format!("tls = true\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n")
        });
        let text = format!("{configuration}\n[[listener]]\naddress = \"127.0.0.1:0\"\n{tls}");
        let file = write(directory, "kedgemq.toml", &text)?;
        let mut command = Command::new(binary);
        command.arg("-c").arg(&file).arg("--data").arg(directory.join("data"));
        let mut address = None;
        let child = start(command, |line| {
            let found = line.contains("listening").then(|| line.split_once("address=")).flatten();
            if let Some((_, rest)) = found {
                address = rest.split_whitespace().next().and_then(|text| text.parse().ok());
            }
            line.contains("started")
        })?;
        let mut broker = Self::new(child, ([0, 0, 0, 0], 0).into(), certificate);
        broker.target.address = address.ok_or("kedgemq does not say where it listens")?;
        Ok(broker)
    }

    /// With its own defaults, apart from the listener and what `configuration` says: without more,
    /// nothing is stored.
    pub(crate) fn start_mosquitto(
        binary: &Path,
        directory: &Path,
        configuration: &str,
        certificate: Option<&Certificate>,
    ) -> Result<Self, String> {
        let address = free_address()?;
        let tls = certificate.map_or_else(String::new, |made| {
            let (certificate, key) = (made.certificate.display(), made.key.display());
            format!("certfile {certificate}\nkeyfile {key}\ntls_version tlsv1.3\n")
        });
        // Started by root, it would become another user who may not write here.
        let text = format!(
            "{configuration}\nuser root\npersistence_location {}/\nallow_anonymous true\n\
             listener {} {}\n{tls}",
            directory.display(),
            address.port(),
            address.ip()
        );
        let mut command = Command::new(binary);
        command.arg("-c").arg(write(directory, "mosquitto.conf", &text)?);
        let child = start(command, |line| line.ends_with(" running"))?;
        Ok(Self::new(child, address, certificate))
    }

    fn new(child: Child, address: SocketAddr, certificate: Option<&Certificate>) -> Self {
        let process = Process::of(child.id());
        let tls = certificate.map(|made| made.client.clone());
        Self { child, target: Target { address, tls }, process }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until KedgeMQ has written its reserve in `directory`: no message is to be charged with it.
pub(crate) fn wait_for_reserve(directory: &Path) {
    let file = directory.join("data/kedgemq.reserve");
    let end = Instant::now() + RESERVING;
    let is_whole = || file.metadata().is_ok_and(|file| file.len() >= RESERVE);
    while !is_whole() && Instant::now() < end {
        thread::sleep(Duration::from_millis(1));
    }
}

fn write(directory: &Path, name: &str, text: &str) -> Result<PathBuf, String> {
    let file = directory.join(name);
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(file)
}

/// Starts it and waits for the line of its log that `ready` knows.
fn start(mut command: Command, mut ready: impl FnMut(&str) -> bool) -> Result<Child, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
    let log = child.stderr.take().ok_or("stderr is piped")?;
    let lines = read_lines(log);
    let mut said = String::new();
    while let Ok(line) = lines.recv_timeout(STARTING) {
        if ready(&line) {
            return Ok(child);
        }
        said.push_str(&line);
        said.push('\n');
    }
    // It has ended or says nothing; either way it is of no use.
    let _ = child.kill();
    let _ = child.wait();
    Err(format!("{name} does not start:\n{said}"))
}

/// Its lines, read to the end also when nobody wants them any more: a full pipe would stop it.
fn read_lines(source: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

/// `given`, else what cargo builds now, in the profile of this program.
pub(crate) fn find_kedgemq(given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    if let Some(cargo) = env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--bin", "kedgemq"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        // What cargo tells a program that it runs makes build scripts run again.
        for (name, _) in env::vars() {
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                build.env_remove(name);
            }
        }
        let status = build.status().map_err(|error| format!("cargo: {error}"))?;
        if !status.success() {
            return Err("cargo could not build kedgemq".into());
        }
    }
    let program = env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let binary = program.ancestors().nth(2).map(|target| target.join("kedgemq"));
    let binary = binary.filter(|path| path.exists());
    binary.ok_or_else(|| "no kedgemq is built: say --kedgemq PATH".into())
}

/// `given`, else the first in PATH or where Debian puts it.
pub(crate) fn find_mosquitto(given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = PathBuf::from("/usr/sbin");
    let mut places = env::split_paths(&path).chain([sbin]).map(|place| place.join("mosquitto"));
    let found = places.find(|place| place.is_file());
    found.ok_or_else(|| {
        "mosquitto is missing: apt-get install mosquitto, or --mosquitto PATH, or --ours-only"
            .into()
    })
}

pub(crate) fn new_directory(within: &Path) -> Result<TempDir, String> {
    let made = tempfile::Builder::new().prefix("kedgemq-bench-").tempdir_in(within);
    made.map_err(|error| format!("{}: {error}", within.display()))
}

fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map_err(|error| format!("no free port: {error}"))
}
