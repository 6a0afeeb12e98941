//! paho from Python, the client of many a script.

use std::process::Command;

use crate::harness::Broker;
use crate::mosquitto;

#[test]
fn paho_at_each_qos_with_all_properties() {
    let broker = Broker::start();
    let address = broker.tls();
    for version in mosquitto::VERSIONS {
        let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.venv/bin/python"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/broker/round_trip.py"))
            .args([&address.ip().to_string(), &address.port().to_string()])
            .arg(broker.ca())
            .arg(version)
            .output()
            .expect("tests/run makes tests/.venv");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("all came"), "{output:?}");
    }
}
