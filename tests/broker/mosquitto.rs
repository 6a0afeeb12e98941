//! The mosquitto clients against a broker of ours.

use std::process::{Child, Command, Output, Stdio};

use crate::harness::{Broker, Lines};

/// Protocols as the clients' option `-V` names them.
pub(crate) const VERSIONS: [&str; 3] = ["31", "311", "5"];

/// Options that connect without TLS.
pub(crate) fn over_tcp(broker: &Broker) -> Vec<String> {
    let address = broker.plain();
    ["-h", &address.ip().to_string(), "-p", &address.port().to_string()].map(String::from).into()
}

/// Options that connect over TLS.
pub(crate) fn over_tls(broker: &Broker) -> Vec<String> {
    let address = broker.tls();
    let ca = broker.ca().display().to_string();
    ["-h", &address.ip().to_string(), "-p", &address.port().to_string(), "--cafile", &ca]
        .map(String::from)
        .into()
}

/// Runs `mosquitto_pub` over TLS to its end.
pub(crate) fn run_publisher(broker: &Broker, arguments: &[&str]) -> Output {
    Command::new("mosquitto_pub")
        .args(over_tls(broker))
        .args(arguments)
        .output()
        .expect("mosquitto_pub is installed: tests/run does it")
}

/// Publishes with `mosquitto_pub` over TLS; it must say that it was acknowledged.
pub(crate) fn publish(broker: &Broker, arguments: &[&str]) {
    let output = run_publisher(broker, arguments);
    assert!(output.status.success(), "mosquitto_pub {arguments:?}: {output:?}");
}

/// Makes a persistent session with a subscription and leaves: its messages wait from now on.
pub(crate) fn subscribe_and_leave(broker: &Broker, version: &str, id: &str, filter: &str) {
    let mut command = Command::new("mosquitto_sub");
    command.args(over_tls(broker)).args(persistent(version, id));
    let output = command.args(["-q", "2", "-t", filter, "-E"]).output();
    let output = output.expect("mosquitto_sub is installed: tests/run does it");
    assert!(output.status.success(), "mosquitto_sub -E: {output:?}");
}

/// Options of a session that outlives its connection.
pub(crate) fn persistent<'a>(version: &'a str, id: &'a str) -> Vec<&'a str> {
    let mut options = vec!["-V", version, "-i", id, "-c"];
    if version == "5" {
        options.extend(["-x", "3600"]);
    }
    options
}

/// A running `mosquitto_sub`.
pub(crate) struct Subscriber {
    child: Child,
    output: Lines,
    /// Lines of its output that [`message`](Self::message) has seen.
    seen: usize,
}

/// Stands in front of each message's line, apart from what the client says about itself.
const MARK: &str = "message ";

impl Subscriber {
    /// Subscribes over TLS and waits until the broker has confirmed it. A message is shown in
    /// `format`, as the client's option `-F` has it.
    pub(crate) fn start(broker: &Broker, format: &str, arguments: &[&str]) -> Self {
        Self::start_over(&over_tls(broker), format, arguments)
    }

    /// The same over a connection of one's choice.
    pub(crate) fn start_over(connection: &[String], format: &str, arguments: &[&str]) -> Self {
        let subscriber = Self::spawn_over(connection, format, arguments);
        subscriber.output.wait_for("Subscribed (mid: 1)");
        subscriber
    }

    /// The same without the wait: for one that is to be refused.
    pub(crate) fn spawn(broker: &Broker, format: &str, arguments: &[&str]) -> Self {
        Self::spawn_over(&over_tls(broker), format, arguments)
    }

    fn spawn_over(connection: &[String], format: &str, arguments: &[&str]) -> Self {
        // Its output is for a pipe and would come in blocks.
        let mut child = Command::new("stdbuf")
            .args(["-oL", "mosquitto_sub", "-d", "-F", &format!("{MARK}{format}")])
            .args(connection)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("mosquitto_sub is installed: tests/run does it");
        let output = Lines::read(child.stdout.take().expect("stdout is piped"));
        Self { child, output, seen: 0 }
    }

    /// The next message, in the order of arrival; `None` when none comes any more.
    pub(crate) fn message(&mut self) -> Option<String> {
        loop {
            let line = self.output.line(self.seen)?;
            self.seen += 1;
            if let Some(message) = line.strip_prefix(MARK) {
                return Some(message.to_owned());
            }
        }
    }

    /// Sends SIGTERM, at which it disconnects, and waits for its end.
    pub(crate) fn leave(self) {
        let kill = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(kill.expect("kill is installed").success());
        self.wait_exit();
    }

    /// Waits until `count` messages have come and gives them in their order.
    pub(crate) fn messages(&self, count: usize) -> Vec<String> {
        self.output.wait(&format!("{count} messages"), 0, |lines| {
            let messages = lines.iter().filter_map(|line| line.strip_prefix(MARK));
            let messages: Vec<String> = messages.map(String::from).collect();
            (messages.len() >= count).then_some(messages)
        })
    }

    /// Waits until the broker has answered its CONNECT.
    pub(crate) fn wait_connected(&self) {
        self.output.wait_for("received CONNACK");
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait_exit(mut self) {
        assert!(self.output.wait_end(), "it does not end: {}", self.output.text());
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
