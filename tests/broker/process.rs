//! The command itself: how it starts, what it says and how it ends.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::Broker;
use crate::harness::broker::{Process, in_directory, new_directory};
use crate::mosquitto;

/// A start that must fail, and what it says on its way out.
fn fail<A: AsRef<std::ffi::OsStr>>(arguments: &[A], code: i32) -> String {
    let mut process = Process::start(arguments);
    let status = process.wait_exit();
    let said = process.log().text();
    assert_eq!(status.code(), Some(code), "it said:\n{said}");
    said
}

#[test]
fn sigterm_ends_it_cleanly() {
    let mut broker = Broker::start();
    mosquitto::subscribe_and_leave(&broker, "5", "meter", "job/#");
    mosquitto::publish(&broker, &["-q", "1", "-t", "job/a", "-m", "kept"]);
    broker.signal("TERM");
    assert_eq!(broker.wait_exit().code(), Some(0));

    broker.restart();
    let mut arguments = mosquitto::persistent("5", "meter");
    arguments.extend(["-q", "1", "-t", "job/#"]);
    let subscriber = mosquitto::Subscriber::start(&broker, "%p", &arguments);
    assert_eq!(subscriber.messages(1), ["kept"]);
}

#[test]
fn ctrl_c_ends_it_cleanly() {
    let mut broker = Broker::start();
    broker.signal("INT");
    assert_eq!(broker.wait_exit().code(), Some(0));
}

#[test]
fn a_taken_port_is_named_with_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = new_directory();
    let said = fail(&in_directory(directory.path(), &["--mqtt", &address]), 1);
    assert!(said.contains(&address), "{said}");
    assert!(said.contains("--mqtt 127.0.0.1:2883"), "{said}");
}

#[test]
fn a_second_broker_on_the_same_data_gives_up() {
    let broker = Broker::start();
    let data = broker.path("data").display().to_string();
    let said = fail(&["--mqtt", "127.0.0.1:0", "--data", &data], 1);
    assert!(said.contains(&data), "{said}");
    // The first one is unharmed.
    mosquitto::publish(&broker, &["-q", "2", "-t", "a", "-m", "b"]);
}

#[test]
fn a_wrong_option_is_named() {
    let directory = new_directory();
    let said = fail(&["--mqqt", "127.0.0.1:0"], 2);
    assert!(said.contains("--mqqt"), "{said}");
    let said = fail(&in_directory(directory.path(), &["--mqtt", "localhost:port"]), 2);
    assert!(said.contains("localhost:port"), "{said}");
}

#[test]
fn a_wrong_file_is_named_with_its_line() {
    let directory = new_directory();
    let file = directory.path().join("kedgemq.toml");
    let options = [
        ("\n[limits]\npacket_sise = \"1MiB\"\n", "packet_sise"),
        ("\n[limits]\nreceive_maximum = 70000\n", "receive_maximum"),
        ("\n\nrestart_grace 10\n", "restart_grace"),
    ];
    for (text, option) in options {
        fs::write(&file, text).unwrap();
        let name = file.display().to_string();
        // `check` finds the same without starting.
        for arguments in [vec!["-c", &name], vec!["check", "-c", &name]] {
            let said = fail(&arguments, 2);
            assert!(said.contains(&format!("{name}:3")), "no file and line: {said}");
            assert!(said.contains(option), "{said}");
            assert_eq!(said.trim_end().lines().count(), 1, "one line: {said}");
        }
    }
}

#[test]
fn a_listener_for_others_must_say_who_may_come() {
    let directory = new_directory();
    let said = fail(&in_directory(directory.path(), &["--mqtt", "0.0.0.0:0"]), 2);
    assert!(said.contains("anonymous"), "{said}");
}

#[test]
fn certificates_are_made_once_and_only_for_tls() {
    let mut broker = Broker::start();
    let certs = broker.path("certs");
    let before = contents(&certs);
    assert!(before.iter().any(|(name, _)| name == "ca.crt"));
    for (name, _) in before.iter().filter(|(name, _)| name.ends_with(".key")) {
        let mode = fs::metadata(certs.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    broker.restart();
    assert_eq!(contents(&certs), before);

    let broker = Broker::start_plain();
    assert!(!broker.path("certs").exists());
}

#[test]
fn the_lines_to_paste_name_the_real_files_and_ports() {
    let broker = Broker::start();
    let port = format!("-p {}", broker.tls().port());
    let line = broker.wait_for_output("mosquitto_sub");
    assert!(line.contains(&port), "{line}");
    let line = broker.wait_for_output("mosquitto_pub");
    assert!(line.contains(&port), "{line}");
    let line = broker.wait_for_output("$dead/");
    assert!(line.contains("'$dead/"), "the shell must not expand it: {line}");
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
