//! A client in a process of its own, told by JSON lines what to do.

use std::collections::VecDeque;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Client, Message, Options, Properties, Publish, Stage, Transport, Version};
use crate::harness::Lines;

/// What a driver says.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Connected {
        session_present: Option<bool>,
    },
    Subscribed {
        qos: u8,
    },
    Published,
    Left,
    Message {
        topic: String,
        qos: u8,
        retain: bool,
        payload: String,
        properties: Option<Properties>,
    },
}

pub(crate) struct Driver {
    child: Child,
    output: Lines,
    errors: Lines,
    /// Lines of its output that were read.
    read: usize,
    came: VecDeque<Message>,
    session_present: Option<bool>,
}

impl Driver {
    pub(crate) fn python(script: &str, stage: &Stage, options: &Options<'_>) -> Self {
        let mut command = Command::new(path(".venv/bin/python"));
        command.arg("-B").arg(path(&format!("clients/python/{script}"))); // -B: no __pycache__
        Self::connect(command, stage, options)
    }

    pub(crate) fn node(script: &str, stage: &Stage, options: &Options<'_>) -> Self {
        let mut command = Command::new("node");
        command.arg(path(&format!("clients/js/{script}")));
        Self::connect(command, stage, options)
    }

    fn connect(mut command: Command, stage: &Stage, options: &Options<'_>) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().expect("tests/run installs what its driver needs");
        let output = Lines::read(child.stdout.take().expect("stdout is piped"));
        let errors = Lines::read(child.stderr.take().expect("stderr is piped"));
        let came = VecDeque::new();
        let mut driver = Self { child, output, errors, read: 0, came, session_present: None };
        driver.tell(&connect_command(stage, options));
        driver.session_present = driver.wait("CONNACK", |event| match event {
            Event::Connected { session_present } => Some(session_present),
            _ => None,
        });
        driver
    }

    fn tell(&mut self, command: &Value) {
        let input = self.child.stdin.as_mut().expect("stdin is piped");
        let told = writeln!(input, "{command}").and_then(|()| input.flush());
        assert!(told.is_ok(), "the client has ended: {}", self.errors.text());
    }

    fn wait<T>(&mut self, what: &str, is_it: impl Fn(Event) -> Option<T>) -> T {
        loop {
            match self.next_event() {
                Ok(Some(event)) => {
                    if let Some(found) = is_it(event) {
                        return found;
                    }
                }
                Ok(None) => {}
                Err(why) => panic!("waiting for {what}: {why}"),
            }
        }
    }

    /// The next event; messages are put aside.
    fn next_event(&mut self) -> Result<Option<Event>, String> {
        let Some(line) = self.output.line(self.read) else {
            return Err(format!("nothing came; the client's errors: {:?}", self.errors.text()));
        };
        self.read += 1;
        let event = serde_json::from_str(&line).expect("a driver says nothing but events");
        let Event::Message { topic, qos, retain, payload, properties } = event else {
            return Ok(Some(event));
        };
        let payload = STANDARD.decode(payload).expect("the driver encoded it");
        self.came.push_back(Message { topic, qos, retain, payload, properties });
        Ok(None)
    }
}

impl Client for Driver {
    fn session_present(&self) -> Option<bool> {
        self.session_present
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        self.tell(&json!({"do": "subscribe", "filter": filter, "qos": qos}));
        let granted = self.wait("SUBACK", |event| match event {
            Event::Subscribed { qos } => Some(qos),
            _ => None,
        });
        assert_eq!(granted, qos, "granted for {filter}");
    }

    fn publish(&mut self, publish: &Publish<'_>) {
        self.tell(&publish_command(publish));
        let what = format!("the acknowledgement of {} messages", publish.payloads.len());
        self.wait(&what, |event| matches!(event, Event::Published).then_some(()));
    }

    fn next_message(&mut self) -> Result<Message, String> {
        loop {
            if let Some(message) = self.came.pop_front() {
                return Ok(message);
            }
            self.next_event()?;
        }
    }

    fn leave(mut self: Box<Self>) {
        self.tell(&json!({"do": "leave"}));
        self.wait("its leaving", |event| matches!(event, Event::Left).then_some(()));
        assert!(self.output.wait_end(), "it does not end");
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "{status}: {}", self.errors.text());
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect_command(stage: &Stage, options: &Options<'_>) -> Value {
    let (address, ca) = match stage.transport {
        Transport::Tcp => (stage.broker.plain(), None),
        Transport::Tls => (stage.broker.tls(), Some(stage.broker.ca())),
    };
    json!({
        "do": "connect",
        "host": address.ip().to_string(),
        "port": address.port(),
        "ca": ca,
        "version": match stage.version { Version::V311 => "3.1.1", Version::V5 => "5" },
        "id": options.id,
        "persistent": options.persistent,
        "will": options.will.as_ref().map(publish_command),
    })
}

fn publish_command(publish: &Publish<'_>) -> Value {
    json!({
        "do": "publish",
        "topic": publish.topic,
        "qos": publish.qos,
        "retain": publish.retain,
        "payloads": publish.payloads.iter().map(|one| STANDARD.encode(one)).collect::<Vec<_>>(),
        "properties": publish.properties,
    })
}

/// A path below `tests/`.
fn path(name: &str) -> String {
    format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"))
}
