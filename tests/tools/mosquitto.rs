//! mosquitto's clients, as people use them.

use std::net::SocketAddr;
use std::process::Command;

use crate::command::end;

/// `mosquitto_pub`, which must go well.
pub(crate) fn publish(broker: SocketAddr, arguments: &[&str]) {
    run("mosquitto_pub", broker, arguments);
}

/// `mosquitto_sub`, which must go well; gives its stdout.
pub(crate) fn subscribe(broker: SocketAddr, arguments: &[&str]) -> String {
    run("mosquitto_sub", broker, arguments)
}

/// Throws the session of `client` away.
pub(crate) fn clear_session(broker: SocketAddr, client: &str) {
    subscribe(broker, &["-i", client, "-t", "nothing", "-E"]);
}

fn run(program: &str, broker: SocketAddr, arguments: &[&str]) -> String {
    let (host, port) = (broker.ip().to_string(), broker.port().to_string());
    let mut command = Command::new(program);
    let ended = end(command.args(["-h", &host, "-p", &port]).args(arguments));
    assert_eq!(ended.code, 0, "{program} {arguments:?}: {ended:?}");
    ended.stdout
}
