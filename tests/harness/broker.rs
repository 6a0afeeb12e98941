//! `kedgemq` as a process, on free ports of 127.0.0.1 and in a directory of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::Lines;

/// Variables that a process gets on top of ours.
pub(crate) type Environment = Vec<(String, String)>;

/// A running broker; it is killed and its directory removed when this is dropped.
pub(crate) struct Broker {
    directory: TempDir,
    arguments: Vec<String>,
    environment: Environment,
    process: Process,
    tls: Option<SocketAddr>,
    plain: Option<SocketAddr>,
}

impl Broker {
    /// One TLS and one plain listener, no configuration file.
    pub(crate) fn start() -> Self {
        let directory = new_directory();
        let arguments =
            in_directory(directory.path(), &["--mqtt", "127.0.0.1:0", "--mqtts", "127.0.0.1:0"]);
        Self::run(directory, arguments, Environment::new())
    }

    /// One plain listener and nothing else.
    pub(crate) fn start_plain() -> Self {
        let directory = new_directory();
        let arguments = in_directory(directory.path(), &["--mqtt", "127.0.0.1:0"]);
        Self::run(directory, arguments, Environment::new())
    }

    /// One plain listener, what `configuration` says, and an environment that `environment`
    /// makes for the directory it is given.
    pub(crate) fn start_plain_in(
        configuration: &str,
        environment: impl FnOnce(&Path) -> Environment,
    ) -> Self {
        let directory = new_directory();
        let file = directory.path().join("kedgemq.toml");
        fs::write(&file, configuration).expect("the directory is ours");
        let environment = environment(directory.path());
        let arguments = &["-c", &text(&file), "--mqtt", "127.0.0.1:0"];
        let arguments = in_directory(directory.path(), arguments);
        Self::run(directory, arguments, environment)
    }

    /// One plain listener, on the data that `fill` puts into the data directory.
    pub(crate) fn start_on(fill: impl FnOnce(&Path)) -> Self {
        let directory = new_directory();
        let data = directory.path().join("data");
        fs::create_dir(&data).expect("the directory is ours");
        fill(&data);
        let arguments = in_directory(directory.path(), &["--mqtt", "127.0.0.1:0"]);
        Self::run(directory, arguments, Environment::new())
    }

    /// Listens as the configuration file says that `write` makes for the directory it is given.
    pub(crate) fn start_configured(write: impl FnOnce(&Path) -> String) -> Self {
        let directory = new_directory();
        let file = directory.path().join("kedgemq.toml");
        fs::write(&file, write(directory.path())).expect("the directory is ours");
        let arguments = in_directory(directory.path(), &["-c", &text(&file)]);
        Self::run(directory, arguments, Environment::new())
    }

    fn run(directory: TempDir, arguments: Vec<String>, environment: Environment) -> Self {
        let process = Process::start_in(&arguments, &environment);
        let mut broker =
            Self { directory, arguments, environment, process, tls: None, plain: None };
        broker.find_listeners();
        broker
    }

    /// Waits for the start line, which comes after the listeners' lines.
    fn find_listeners(&mut self) {
        let listening = self.process.log.wait("the start line", 0, |lines| {
            let started = lines.iter().any(|line| line.contains("started"));
            started.then(|| lines.iter().filter_map(|line| listener(line)).collect::<Vec<_>>())
        });
        let find = |tls| listening.iter().find(|found| found.1 == tls).map(|found| found.0);
        self.tls = find(true);
        self.plain = find(false);
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts again on the same data, on other free ports; kills what still runs.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process = Process::start_in(&self.arguments, &self.environment);
        self.find_listeners();
    }

    /// Starts it on the same data and kills it so soon after: while it may still read them.
    pub(crate) fn die_starting(&mut self, after: Duration) {
        self.kill();
        self.process = Process::start_in(&self.arguments, &self.environment);
        let ended = self.process.log.wait_end_for(after);
        assert!(!ended, "it ended by itself; its log:\n{}", self.process.log.text());
        self.kill();
    }

    /// Sends a signal, as `kill` names it: `TERM`, `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        self.process.wait_exit()
    }

    /// Its log, of this start alone.
    pub(crate) fn log(&self) -> &Lines {
        &self.process.log
    }

    /// Waits for a line of its log that holds `text`, and gives it.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        self.process.log.wait_for(text)
    }

    /// Waits for a line on stdout that holds `text`, and gives it.
    pub(crate) fn wait_for_output(&self, text: &str) -> String {
        self.process.output.wait_for(text)
    }

    /// What it wrote to stdout so far.
    pub(crate) fn output(&self) -> String {
        self.process.output.text()
    }

    /// Where it listens for TLS.
    pub(crate) fn tls(&self) -> SocketAddr {
        self.tls.expect("this broker has a TLS listener")
    }

    /// Where it listens without TLS.
    pub(crate) fn plain(&self) -> SocketAddr {
        self.plain.expect("this broker has a plain listener")
    }

    /// The certificate that clients trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.path("certs/ca.crt")
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.process.kill();
        if thread::panicking() {
            eprintln!("the broker's log:\n{}", self.process.log.text());
        }
    }
}

/// `kedgemq` with any arguments: for starts that must fail.
pub(crate) struct Process {
    child: Child,
    log: Lines,
    output: Lines,
}

impl Process {
    /// Starts it; its working directory is of no importance, as all paths are absolute.
    pub(crate) fn start<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> Self {
        Self::start_in(arguments, &[])
    }

    /// The same, with more variables.
    fn start_in<A: AsRef<std::ffi::OsStr>>(
        arguments: &[A],
        environment: &[(String, String)],
    ) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kedgemq"))
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Lines::read(child.stderr.take().expect("stderr is piped"));
        let output = Lines::read(child.stdout.take().expect("stdout is piped"));
        Self { child, log, output }
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        assert!(self.log.wait_end(), "it does not end; its log:\n{}", self.log.text());
        self.child.wait().expect("it is our child")
    }

    /// What it wrote to stderr.
    pub(crate) fn log(&self) -> &Lines {
        &self.log
    }

    /// Sends a signal, as `kill` names it.
    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").arg("-c").arg(command).status().expect("sh runs");
        assert!(status.success(), "could not send SIG{name}");
    }

    fn kill(&mut self) {
        // Fails only for one that has ended.
        let _ = self.child.kill();
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A directory that goes with its broker.
pub(crate) fn new_directory() -> TempDir {
    tempfile::Builder::new().prefix("kedgemq-test-").tempdir().expect("a temporary directory")
}

/// `arguments` with data and certificates in `directory`.
pub(crate) fn in_directory(directory: &Path, arguments: &[&str]) -> Vec<String> {
    let data = text(&directory.join("data"));
    let certs = text(&directory.join("certs"));
    let mut all: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    all.extend(["--data".into(), data, "--certs".into(), certs]);
    all
}

/// The address and whether it speaks TLS, of a line that says where the broker listens.
fn listener(line: &str) -> Option<(SocketAddr, bool)> {
    let field = |name: &str| {
        let value = line.split_once(name)?.1.split_whitespace().next()?;
        Some(value.trim_matches('"'))
    };
    let address = line.contains("listening").then(|| field("address="))??;
    Some((address.parse().ok()?, field("tls=")? == "true"))
}

fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are UTF-8").to_owned()
}
