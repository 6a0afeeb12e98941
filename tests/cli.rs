//! The `kedgemq` command as a user or a service manager meets it: lines, exit codes, files.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

fn kedgemq(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kedgemq"));
    command.current_dir(directory).args(arguments);
    command
}

/// Runs to the end; gives the exit code, stdout and stderr.
fn finish(mut command: Command, input: &str) -> (i32, String, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary is built");
    // A command that fails early does not read: then the pipe is broken, which is fine.
    let _ = child.stdin.take().expect("stdin is piped").write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    (status.code().expect("no signal ended it"), text(stdout), text(stderr))
}

/// The one line of a command that must fail with this code.
fn failure(directory: &Path, arguments: &[&str], code: i32) -> String {
    let (found, _, stderr) = finish(kedgemq(directory, arguments), "");
    assert_eq!(found, code, "{arguments:?}: {stderr}");
    // The log of a start may stand before it.
    let line = stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("kedgemq: "), "{stderr}");
    line.to_owned()
}

/// A running broker. Dropped, it is killed.
struct Running {
    child: Child,
    /// `None` once nobody reads it any more.
    log: Option<BufReader<ChildStderr>>,
}

impl Running {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = kedgemq(directory, arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary is built");
        let log = BufReader::new(child.stderr.take().expect("stderr is piped"));
        Self { child, log: Some(log) }
    }

    /// Reads the log up to a line with this text.
    fn wait_for(&mut self, text: &str) -> String {
        let log = self.log.as_mut().expect("it is read");
        let mut all = String::new();
        loop {
            let mut line = String::new();
            let read = log.read_line(&mut line).expect("it runs");
            all.push_str(&line);
            assert!(read > 0, "the log ended without {text:?}:\n{all}");
            if line.contains(text) {
                return all;
            }
        }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().expect("it runs").success());
    }

    /// The exit code and all of stdout.
    fn end(&mut self) -> (i32, String) {
        let mut stdout = String::new();
        self.child.stdout.take().expect("it runs").read_to_string(&mut stdout).expect("it runs");
        (self.child.wait().expect("it runs").code().expect("it runs"), stdout)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_a_person_must_change_is_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    fs::write(here.join("bad.toml"), "[limits]\nreceive_maximum = 0\n").unwrap();
    let table: [(&[&str], &str); 6] = [
        (&["--port", "1"], "unexpected argument '--port' found"),
        (&["--mqtt", "1.2.3.4"], "invalid value '1.2.3.4' for '--mqtt <ADDR>': write ip:port"),
        (&["--mqtt", "0.0.0.0:1"], "--mqtt 0.0.0.0:1: other machines could connect"),
        (&["-c", "none.toml"], "none.toml: cannot be read: No such file"),
        (&["-c", "bad.toml"], "bad.toml:2: limits.receive_maximum: invalid value"),
        (&["check", "-c", "bad.toml"], "bad.toml:2: limits.receive_maximum: invalid value"),
    ];
    for (arguments, text) in table {
        let line = failure(here, arguments, 2);
        assert!(line.contains(text), "{line}");
    }
    assert_eq!(fs::read_dir(here).unwrap().count(), 1, "nothing was made");
}

#[test]
fn it_goes_on_when_nobody_reads_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let mut running = Running::start(directory.path(), &["--mqtt", "127.0.0.1:0"]);
    let log = running.wait_for("started");
    let address = log.split_once("address=").expect("it listens").1;
    let address = address.split_whitespace().next().expect("it says where");
    running.log = None;
    for _ in 0..3 {
        // Each connection is logged.
        let mut client = TcpStream::connect(address).expect("it listens");
        client.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a").unwrap();
        let mut connack = [0; 4];
        client.read_exact(&mut connack).expect("it answers");
        assert_eq!(connack, [0x20, 2, 0, 0]);
    }
    running.signal("-TERM");
    assert_eq!(running.end().0, 0);
}

#[test]
fn check_reads_the_files_that_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let config = "[auth]\npassword_file = \"users\"\nacl_file = \"acl\"\n[[listener]]\n\
                  address = \"1\"\ntls = true\ncertificate = \"server.crt\"\n\
                  key = \"server.key\"\n";
    fs::write(here.join("a.toml"), config).unwrap();
    let check = ["check", "-c", "a.toml"];
    assert!(failure(here, &check, 2).contains("server.crt: cannot be read"));
    fs::write(here.join("server.crt"), "").unwrap();
    assert!(failure(here, &check, 2).contains("server.crt: holds no certificate"));
    let without_tls = &config[..config.find("tls").unwrap()];
    fs::write(here.join("a.toml"), without_tls).unwrap();
    assert!(failure(here, &check, 2).contains("users: cannot be read"));
    fs::write(here.join("users"), "ada:$9$what\n").unwrap();
    fs::write(here.join("acl"), "user ada\ntopic everything\nfrobnicate\n").unwrap();
    assert!(failure(here, &check, 2).contains("acl:3: "));
    fs::write(here.join("acl"), "user ada\ntopic a/#\n").unwrap();
    let (code, stdout, stderr) = finish(kedgemq(here, &check), "");
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("users:1: "), "an unknown hash is a warning: {stdout}");
    assert!(stdout.trim_end().ends_with("a.toml: no mistakes found"), "{stdout}");
}

#[test]
fn a_taken_port_is_exit_code_1_and_offers_another() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = failure(directory.path(), &["--mqtt", &address], 1);
    assert_eq!(
        line,
        format!(
            "kedgemq: {address}: another program listens there; stop it, or listen elsewhere, as \
             with --mqtt 127.0.0.1:2883"
        )
    );
}

#[test]
fn data_in_use_is_exit_code_1() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--mqtt", "127.0.0.1:0"];
    let mut first = Running::start(directory.path(), &arguments);
    first.wait_for("started");
    let line = failure(directory.path(), &arguments, 1);
    assert!(line.contains("kedgemq.redb is in use"), "{line}");
}

#[test]
fn a_broker_starts_says_so_and_stops_at_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--mqtt", "127.0.0.1:0", "--mqtts", "127.0.0.1:0"];
    let mut broker = Running::start(directory.path(), &arguments);
    let log = broker.wait_for("started");
    let port = |tls: &str| {
        let line = log.lines().find(|line| line.contains("listening") && line.contains(tls));
        let (_, address) = line.unwrap().split_once("address=127.0.0.1:").unwrap();
        address.split_whitespace().next().unwrap().parse::<u16>().unwrap()
    };
    assert_ne!(port("tls=false"), 0);
    broker.signal("-TERM");
    broker.wait_for("stopped");
    let (code, stdout) = broker.end();
    assert_eq!(code, 0);
    let first = format!("--cafile certs/ca.crt -h localhost -p {} -t 'hello/#'", port("tls=true"));
    assert!(stdout.contains(&first), "{stdout}");
    for file in ["certs/ca.crt", "certs/ca.key", "certs/server.crt", "certs/server.key"] {
        assert!(directory.path().join(file).is_file(), "{file}");
    }
}

#[test]
fn without_a_tls_listener_no_certificates_are_made() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--mqtt", "127.0.0.1:0", "--data", "d", "--log-format", "json"];
    let mut broker = Running::start(directory.path(), &arguments);
    let log = broker.wait_for("\"started\"");
    assert!(log.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{log}");
    broker.signal("-INT");
    broker.wait_for("stopped");
    assert_eq!(broker.end().0, 0);
    let made: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(made, ["d"]);
}

#[test]
fn sighup_reads_again_and_a_bad_file_keeps_the_old() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let config = "[auth]\npassword_file = \"users\"\nacl_file = \"acl\"\n[[listener]]\n\
                  address = \"127.0.0.1:0\"\ntls = true\n";
    fs::write(here.join("a.toml"), config).unwrap();
    fs::write(here.join("users"), "").unwrap();
    fs::write(here.join("acl"), "").unwrap();
    let mut broker = Running::start(here, &["-c", "a.toml"]);
    broker.wait_for("started");
    broker.signal("-HUP");
    let log = broker.wait_for("read the ACL file again");
    assert!(log.contains("read the certificate again"), "{log}");
    assert!(log.contains("read the password file again"), "{log}");
    fs::write(here.join("certs/server.crt"), "garbage").unwrap();
    fs::remove_file(here.join("users")).unwrap();
    fs::write(here.join("acl"), "frobnicate").unwrap();
    broker.signal("-HUP");
    let log = broker.wait_for("the old rights stay");
    assert!(log.contains("the old certificate stays"), "{log}");
    assert!(log.contains("the old users stay"), "{log}");
    broker.signal("-TERM");
    broker.wait_for("stopped");
    assert_eq!(broker.end().0, 0);
}

#[test]
fn passwd_writes_replaces_and_deletes_users() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let file = here.join("users");
    let set = |user: &str, password: &str| {
        let (code, _, stderr) = finish(kedgemq(here, &["passwd", "users", user]), password);
        assert_eq!(code, 0, "{stderr}");
        fs::read_to_string(&file).unwrap()
    };
    let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    let first = set("ada", "secret\n");
    assert!(first.starts_with("ada:$7$10000$") && first.lines().count() == 1, "{first}");
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let second = set("bob", "secret");
    assert!(second.starts_with(&first) && second.lines().count() == 2, "{second}");
    assert_eq!(mode(), 0o640);
    let third = set("ada", "other\n");
    assert_ne!(third.lines().next(), second.lines().next());
    assert_eq!(third.lines().nth(1), second.lines().nth(1));
    let (code, _, stderr) = finish(kedgemq(here, &["passwd", "users", "ada", "-D"]), "");
    assert_eq!(code, 0, "{stderr}");
    let left = fs::read_to_string(&file).unwrap();
    assert!(left.starts_with("bob:") && left.lines().count() == 1, "{left}");
    assert_eq!(fs::read_dir(here).unwrap().count(), 1, "nothing else is left behind");
}

#[test]
fn passwd_refuses_what_cannot_work() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    fs::write(here.join("users"), "ada:$7$1$AAAA$BBBB\n").unwrap();
    assert!(failure(here, &["passwd", "users", "bob", "-D"], 2).contains("there is no user"));
    assert!(failure(here, &["passwd", "users", "a:b"], 2).contains("user \"a:b\": "));
    assert!(failure(here, &["passwd", "users", "bob"], 2).contains("an empty password"));
    assert!(failure(here, &["passwd", "no/such/users", "-D", "bob"], 2).contains("cannot be read"));
    assert_eq!(fs::read_to_string(here.join("users")).unwrap(), "ada:$7$1$AAAA$BBBB\n");
}
