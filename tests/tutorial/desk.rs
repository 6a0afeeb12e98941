//! A desk with terminals: who sits there types commands and reads what all of them print.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use kedgemq::admin::Client;
use kedgemq::admin::call::{Answer, Request};
use tempfile::TempDir;

use crate::harness::DEADLINE;
use crate::harness::broker::new_directory;
use crate::harness::example::build;
use crate::page::timeless;

/// `cargo run …`, with what was built before and on free ports.
const CARGO: &str = r#"#!/bin/sh
case "$*" in
"run --release")
    exec "$KEDGEMQ" --mqtt 127.0.0.1:0 --mqtts 127.0.0.1:0 ;;
"run --release --example pump")
    exec "$PUMP" --port "$(cat "$PORTS/8883")" ;;
"run --release --example pump -- "*)
    shift 5
    exec "$PUMP" --port "$(cat "$PORTS/8883")" "$@" ;;
esac
echo "cargo $*: the test does not know it" >&2
exit 1
"#;

/// A client of mosquitto, with the port that is meant.
const MOSQUITTO: &str = r#"#!/bin/sh
before=
for argument do
    shift
    [ "$before" = -p ] && argument=$(cat "$PORTS/$argument")
    before=$argument
    set -- "$@" "$argument"
done
PATH=$REAL_PATH exec stdbuf -oL "$(basename "$0")" "$@"
"#;

/// Where the commands are typed.
pub(crate) struct Desk {
    directory: TempDir,
    /// `export …` of earlier lines, which a terminal keeps.
    exports: String,
    environment: BTreeMap<&'static str, String>,
    terminals: Vec<Terminal>,
    said: Receiver<Said>,
    sayer: Sender<Said>,
    subscriptions: usize,
}

/// What a command runs in.
struct Terminal {
    command: String,
    child: Child,
    /// Reads its stdout to the end.
    reader: JoinHandle<()>,
    /// It is there until somebody ends it.
    stays: bool,
    /// Printed, and not expected by anybody yet.
    unread: Vec<String>,
    errors: Vec<String>,
}

/// A line, and of which terminal.
struct Said {
    terminal: usize,
    is_error: bool,
    line: String,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let directory = new_directory();
        let top = directory.path();
        let kedgemq = PathBuf::from(env!("CARGO_BIN_EXE_kedgemq"));
        let pump = build("pump");
        let release = top.join("target/release");
        fs::create_dir_all(&release).unwrap();
        symlink(&kedgemq, release.join("kedgemq")).unwrap();
        fs::create_dir(top.join("ports")).unwrap();
        let scripts = top.join("scripts");
        fs::create_dir(&scripts).unwrap();
        for (name, text) in
            [("cargo", CARGO), ("mosquitto_sub", MOSQUITTO), ("mosquitto_pub", MOSQUITTO)]
        {
            let script = scripts.join(name);
            fs::write(&script, text).unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = env::var("PATH").unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let environment = BTreeMap::from([
            ("PATH", format!("{}:{path}", text(&scripts))),
            ("REAL_PATH", path),
            ("KEDGEMQ", text(&kedgemq)),
            ("PUMP", text(&pump)),
            ("PORTS", text(&top.join("ports"))),
        ]);
        let (sayer, said) = channel();
        let (exports, terminals, subscriptions) = (String::new(), Vec::new(), 0);
        Self { directory, exports, environment, terminals, said, sayer, subscriptions }
    }

    /// Types a command: to its end, which must be a good one, or if it stays, until it works.
    pub(crate) fn type_in(&mut self, command: &str) {
        if command.starts_with("export ") {
            self.exports.push_str(command);
            self.exports.push('\n');
            return;
        }
        let words: Vec<&str> = command.split_whitespace().collect();
        let ends = words.contains(&"-E") || words.contains(&"-C");
        let subscribes = words[0] == "mosquitto_sub" && !ends;
        let stays = words[0] == "cargo" || subscribes;
        if let ["cargo", "run", _, "--example", name, ..] = words[..] {
            self.interrupt(&format!("--example {name}"));
        }
        self.start(command, stays);
        if words == ["cargo", "run", "--release"] {
            self.find_ports();
        } else if subscribes {
            self.wait_subscribed();
        } else if !stays {
            self.finish();
        }
    }

    fn start(&mut self, command: &str, stays: bool) {
        // Where the tests run in the background of a script, Ctrl-C would be ignored.
        let mut shell = Command::new("env");
        shell.args(["--default-signal=INT", "sh", "-c"]);
        shell.arg(format!("{}{command}", self.exports)).process_group(0);
        shell.current_dir(self.directory.path()).envs(&self.environment);
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let terminal = self.terminals.len();
        let errors = child.stderr.take().unwrap();
        read(errors, self.sayer.clone(), terminal, true);
        let reader = read(child.stdout.take().unwrap(), self.sayer.clone(), terminal, false);
        let command = command.to_owned();
        let (unread, errors) = (Vec::new(), Vec::new());
        self.terminals.push(Terminal { command, child, reader, stays, unread, errors });
    }

    /// Waits until the last command has ended, and all that it printed is here.
    fn finish(&mut self) {
        let last = self.terminals.last_mut().unwrap();
        let status = last.child.wait().unwrap();
        let began = Instant::now();
        while !last.reader.is_finished() {
            assert!(began.elapsed() < DEADLINE, "{}: its output does not end", last.command);
            thread::yield_now();
        }
        self.take_lines();
        assert!(status.success(), "{status}\n{}", self.told());
    }

    /// Ctrl-C for what runs this.
    fn interrupt(&mut self, part: &str) {
        for terminal in &mut self.terminals {
            if terminal.stays && terminal.command.contains(part) {
                assert!(signal("INT", &terminal.child), "{} has ended", terminal.command);
                terminal.child.wait().unwrap();
                terminal.stays = false;
            }
        }
    }

    /// Of the broker, when its log says that it has started.
    fn find_ports(&mut self) {
        self.wait("the broker's start", |terminals| {
            let log = &terminals.last().unwrap().errors;
            log.iter().any(|line| line.contains(" started "))
        });
        let broker = self.terminals.last_mut().unwrap();
        for (meant, tls) in [("8883", "tls=true"), ("1883", "tls=false")] {
            let listening = |line: &&String| line.contains("listening") && line.contains(tls);
            let line = broker.errors.iter().find(listening).unwrap();
            let address = line.split_once("address=").unwrap().1;
            let port = address.split([' ', ':']).nth(1).unwrap();
            fs::write(self.directory.path().join("ports").join(meant), port).unwrap();
        }
    }

    /// Waits until the broker knows one subscription more.
    fn wait_subscribed(&mut self) {
        let data = self.directory.path().join("data");
        let mut broker = Client::connect(&data).unwrap();
        let began = Instant::now();
        loop {
            let answer = broker.call(&Request::Sessions { after: None }, &mut |_| {}).unwrap();
            let Answer::Sessions(page) = answer else { panic!("{answer:?}") };
            let connected = page.sessions.iter().filter(|session| session.connected);
            let filters = connected.flat_map(|session| &session.subscriptions);
            let count = filters.filter(|it| !it.filter.starts_with("plant/")).count();
            if count > self.subscriptions {
                self.subscriptions = count;
                return;
            }
            assert!(began.elapsed() < DEADLINE, "{}", self.told());
        }
    }

    /// Waits until a terminal shows these lines, all that is new in it, and reads them.
    pub(crate) fn expect(&mut self, lines: &[String]) {
        let lines: Vec<_> = lines.iter().map(|line| timeless(line)).collect();
        self.wait(&format!("this alone in a terminal:\n{}", lines.join("\n")), |terminals| {
            let found = terminals.iter_mut().find(|terminal| {
                terminal.unread.iter().map(|line| timeless(line)).eq(lines.iter().cloned())
            });
            found.map(|terminal| terminal.unread.clear()).is_some()
        });
    }

    /// Waits for a line in a terminal that begins so, the first that is new in it, and reads it.
    pub(crate) fn expect_begin(&mut self, begin: &str) {
        self.wait(&format!("a line that begins with {begin}"), |terminals| {
            let is_it = |terminal: &&mut Terminal| {
                terminal.unread.first().is_some_and(|line| line.starts_with(begin))
            };
            let found = terminals.iter_mut().find(is_it);
            found.map(|terminal| terminal.unread.remove(0)).is_some()
        });
    }

    /// Nothing was printed that nobody expected.
    pub(crate) fn expect_silence(&mut self) {
        self.take_lines();
        let is_broker = |terminal: &&Terminal| terminal.command == "cargo run --release";
        let mut others = self.terminals.iter().filter(|terminal| !is_broker(terminal));
        assert!(others.all(|terminal| terminal.unread.is_empty()), "{}", self.told());
    }

    fn wait(&mut self, what: &str, mut is_there: impl FnMut(&mut [Terminal]) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_there(&mut self.terminals) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok(said) => self.hear(said),
                Err(_) => panic!("waiting for {what}\n\n{}", self.told()),
            }
        }
    }

    fn take_lines(&mut self) {
        while let Ok(said) = self.said.try_recv() {
            self.hear(said);
        }
    }

    fn hear(&mut self, said: Said) {
        let terminal = &mut self.terminals[said.terminal];
        let lines = if said.is_error { &mut terminal.errors } else { &mut terminal.unread };
        lines.push(said.line);
    }

    /// What the terminals show that nobody expected, for a failure.
    fn told(&self) -> String {
        let told = |terminal: &Terminal| {
            let lines = [&terminal.unread[..], &terminal.errors].concat().join("\n");
            format!("$ {}\n{lines}\n", terminal.command)
        };
        self.terminals.iter().map(told).collect()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for terminal in &mut self.terminals {
            if terminal.stays {
                signal("KILL", &terminal.child);
                let _ = terminal.child.wait();
            }
        }
    }
}

/// To all that a terminal runs, as `kill` names it; whether there is somebody.
fn signal(name: &str, child: &Child) -> bool {
    let command = format!("kill -{name} -{}", child.id());
    Command::new("sh").arg("-c").arg(command).status().unwrap().success()
}

fn read(
    source: impl Read + Send + 'static,
    sayer: Sender<Said>,
    terminal: usize,
    is_error: bool,
) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            let _ = sayer.send(Said { terminal, is_error, line });
        }
    })
}
