//! mosquitto_rr: a request, and its answer on the topic that the request names.

use std::process::{Command, Stdio};

use crate::client::{Library, Stage, Transport, Version};
use crate::harness::Lines;
use crate::mosquitto::Subscriber;
use crate::mosquitto_clients::{connection, version};

#[test]
fn mosquitto_rr_gets_its_answer_tcp_v311() {
    request_and_answer(Transport::Tcp, Version::V311);
}

#[test]
fn mosquitto_rr_gets_its_answer_tcp_v5() {
    request_and_answer(Transport::Tcp, Version::V5);
}

#[test]
fn mosquitto_rr_gets_its_answer_tls_v311() {
    request_and_answer(Transport::Tls, Version::V311);
}

#[test]
fn mosquitto_rr_gets_its_answer_tls_v5() {
    request_and_answer(Transport::Tls, Version::V5);
}

fn request_and_answer(transport: Transport, spoken: Version) {
    let stage = Stage::new(Library::Mosquitto, transport, spoken);
    let connection = connection(&stage);
    let format = "%t %q %p [%R]";
    let options = ["-V", version(spoken), "-q", "1", "-t", "ask/#"];
    let mut responder = Subscriber::start_over(&connection, format, &options);

    let mut child = Command::new("mosquitto_rr")
        .args(&connection)
        .args(["-V", version(spoken), "-q", "1", "-t", "ask/speed", "-e", "answers/17"])
        .args(["-m", "how fast?", "-W", "60", "-F", "%t %q %p"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("mosquitto_rr is installed: tests/run does it");
    let output = Lines::read(child.stdout.take().expect("stdout is piped"));

    let request = responder.message().expect("the request comes");
    // MQTT 3.1.1 has no Response Topic: there both sides know it.
    let named = if spoken == Version::V5 { "answers/17" } else { "" };
    assert_eq!(request, format!("ask/speed 1 how fast? [{named}]"));
    let answered = Command::new("mosquitto_pub")
        .args(&connection)
        .args(["-V", version(spoken), "-q", "1", "-t", "answers/17", "-m", "1450 rpm"])
        .status();
    assert!(answered.expect("mosquitto_pub is installed").success());
    output.wait_for("answers/17 1 1450 rpm");
    assert!(child.wait().expect("it is our child").success());
}
