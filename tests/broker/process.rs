//! The command as a process: what it leaves behind, what it makes and what it tells a newcomer.
//! (`tests/cli.rs` has its errors and exit codes.)

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::broker::Process;
use crate::harness::{Broker, Lines};
use crate::mosquitto::{self, Subscriber};

#[test]
fn a_signal_to_stop_loses_nothing() {
    for signal in ["TERM", "INT"] {
        let mut broker = Broker::start();
        mosquitto::subscribe_and_leave(&broker, "5", "meter", "job/#");
        mosquitto::publish(&broker, &["-q", "1", "-t", "job/a", "-m", "kept"]);
        broker.signal(signal);
        assert_eq!(broker.wait_exit().code(), Some(0), "SIG{signal}");

        broker.restart();
        let mut arguments = mosquitto::persistent("5", "meter");
        arguments.extend(["-q", "1", "-t", "job/#"]);
        let subscriber = Subscriber::start(&broker, "%p", &arguments);
        assert_eq!(subscriber.messages(1), ["kept"], "SIG{signal}");
    }
}

#[test]
fn a_second_broker_on_the_same_data_does_no_harm() {
    let mut broker = Broker::start();
    mosquitto::publish(&broker, &["-q", "1", "-r", "-t", "a", "-m", "kept"]);
    let data = broker.path("data").display().to_string();
    let mut second = Process::start(&["--mqtt", "127.0.0.1:0", "--data", &data]);
    let code = second.wait_exit().code();
    let said = second.log().text();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&data), "{said}");

    broker.kill();
    broker.restart();
    assert_eq!(Subscriber::start(&broker, "%p", &["-t", "a"]).messages(1), ["kept"]);
}

#[test]
fn certificates_are_made_once_with_private_keys() {
    let mut broker = Broker::start();
    let certs = broker.path("certs");
    let before = contents(&certs);
    let keys: Vec<_> = before.iter().filter(|(name, _)| name.ends_with(".key")).collect();
    assert_eq!(keys.len(), 2, "of the CA and of the server");
    for (name, _) in keys {
        let mode = fs::metadata(certs.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    broker.restart();
    assert_eq!(contents(&certs), before);
}

/// What a start prints is pasted as it is, and does what it says.
#[test]
fn the_printed_lines_show_a_dead_letter() {
    let broker = Broker::start();
    broker.wait_for_output("message-expiry-interval");
    let text = broker.output();
    let lines = text.lines().map(str::trim).skip_while(|line| !line.contains("$dead/#"));
    let lines: Vec<&str> = lines.take(3).collect();
    let [watch, session, publish] = lines[..] else { panic!("three lines: {lines:?}") };
    let watch = watch.strip_suffix('&').expect("it goes on in the background");
    // Ends with the first letter, or when none comes.
    let script = format!("{watch} -C 1 -W 60 &\n{session}\n{publish}\nwait\n");
    let mut shell = Command::new("sh")
        .args(["-ec", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh runs");
    let output = Lines::read(shell.stdout.take().expect("stdout is piped"));
    let letter = output.wait_for("$dead/expired/");
    assert!(letter.contains("dl-reason:expired"), "{letter}");
    assert!(output.wait_end(), "it ends by itself");
    assert!(shell.wait().unwrap().success());
}

fn contents(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).expect("the broker made it");
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, fs::read(entry.path()).expect("it may be read by its owner"))
    };
    let mut all: Vec<_> = entries.filter_map(Result::ok).map(read).collect();
    all.sort();
    all
}
