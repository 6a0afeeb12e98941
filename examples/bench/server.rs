//! A broker as a process, and what Linux says of the work that it did.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// Ticks a second of /proc/PID/stat, on every Linux of today.
const TICKS: f64 = 100.0;

/// What a round showed.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    /// Messages a second, from the first PUBLISH to the last acknowledgement.
    pub(crate) rate: f64,
    /// CPU time of the broker in microseconds a message.
    pub(crate) cpu: f64,
    /// Bytes that the broker caused to be written to disk, a message.
    pub(crate) written: f64,
}

impl Figures {
    /// The median of each figure.
    pub(crate) fn median(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| {
            let mut all: Vec<f64> = rounds.iter().map(figure).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        Self { rate: of(|one| one.rate), cpu: of(|one| one.cpu), written: of(|one| one.written) }
    }
}

/// A running broker; ended and its files removed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    _directory: TempDir,
}

impl Server {
    /// With its own defaults, apart from the port and what `configuration` says.
    pub(crate) fn start_kedgemq(
        binary: &Path,
        directory: &Path,
        configuration: &str,
    ) -> Result<Self, String> {
        let directory = new_directory(directory)?;
        let file = directory.path().join("kedgemq.toml");
        fs::write(&file, configuration).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut command = Command::new(binary);
        command
            .arg("-c")
            .arg(&file)
            .args(["--mqtt", "127.0.0.1:0", "--data"])
            .arg(directory.path().join("data"));
        let mut address = None;
        let child = start(command, |line| {
            let found = line.contains("listening").then(|| line.split_once("address=")).flatten();
            if let Some((_, rest)) = found {
                address = rest.split_whitespace().next().and_then(|text| text.parse().ok());
            }
            line.contains("started")
        })?;
        let mut server = Self { child, address: ([0, 0, 0, 0], 0).into(), _directory: directory };
        server.address = address.ok_or("kedgemq does not say where it listens")?;
        Ok(server)
    }

    /// With its own defaults, apart from the port and what `configuration` says: without more,
    /// nothing is stored.
    pub(crate) fn start_mosquitto(
        binary: &Path,
        directory: &Path,
        configuration: &str,
    ) -> Result<Self, String> {
        let directory = new_directory(directory)?;
        let address = free_address()?;
        let file = directory.path().join("mosquitto.conf");
        // Started by root, it would become another user who may not write here.
        let text = format!(
            "{configuration}user root\npersistence_location {}/\n\
             listener {} {}\nallow_anonymous true\n",
            directory.path().display(),
            address.port(),
            address.ip()
        );
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut command = Command::new(binary);
        command.arg("-c").arg(&file);
        let child = start(command, |line| line.ends_with(" running"))?;
        Ok(Self { child, address, _directory: directory })
    }

    /// CPU seconds used so far, of all threads, in user and kernel.
    pub(crate) fn cpu(&self) -> Result<f64, String> {
        let text = self.proc("stat")?;
        // The name in parentheses may hold anything; the fields go on behind it with the third.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok());
        match (ticks(14), ticks(15)) {
            (Some(user), Some(system)) => Ok((user + system) / TICKS),
            _ => Err(format!("unknown format of /proc/PID/stat: {text}")),
        }
    }

    /// Bytes that went to the disk so far, or will.
    pub(crate) fn written(&self) -> Result<f64, String> {
        let text = self.proc("io")?;
        let bytes = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        let bytes = bytes.and_then(|text| text.trim().parse().ok());
        bytes.ok_or_else(|| format!("unknown format of /proc/PID/io: {text}"))
    }

    fn proc(&self, name: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{name}", self.child.id());
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it and waits for the line of its log that `ready` knows.
fn start(mut command: Command, mut ready: impl FnMut(&str) -> bool) -> Result<Child, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
    let log = child.stderr.take().ok_or("stderr is piped")?;
    let lines = read_lines(log);
    let mut said = String::new();
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(30)) {
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
        "mosquitto is missing: apt-get install mosquitto, or --mosquitto PATH".into()
    })
}

fn new_directory(within: &Path) -> Result<TempDir, String> {
    let made = tempfile::Builder::new().prefix("kedgemq-bench-").tempdir_in(within);
    made.map_err(|error| format!("{}: {error}", within.display()))
}

fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map_err(|error| format!("no free port: {error}"))
}
