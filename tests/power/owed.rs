//! What a trace of the broker must show: each packet that owes the disk is written after a sync
//! that succeeded and that began after the packet was read that it answers. It knows sessions
//! that outlive their connections, whose beginnings it saw; of others nothing is owed.

use std::collections::{BTreeMap, HashMap};

use kedgemq::mqtt::codec::{client, decode};
use kedgemq::mqtt::{Packet, QoS, Reply, Version};

use crate::strace::Call;

/// The first byte of each connection.
const CONNECT: u8 = 0x10;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Packets that owed the disk, by kind.
    pub(crate) judged: BTreeMap<&'static str, usize>,
    /// Those that went out too early.
    pub(crate) early: Vec<String>,
    /// Syncs that failed.
    pub(crate) failed_syncs: usize,
}

/// Reads a whole trace.
pub(crate) fn judge(calls: &[Call]) -> Findings {
    let mut trace = Trace::default();
    let mut moments: Vec<(usize, &Call)> = Vec::with_capacity(calls.len());
    for call in calls {
        match &*call.name {
            // Another thread may get a descriptor before its closing is seen to be done.
            "sendto" | "writev" | "sendmsg" | "close" => moments.push((call.began, call)),
            _ => moments.push((call.ended, call)),
        }
    }
    moments.sort_by_key(|(at, _)| *at);
    for (at, call) in moments {
        trace.take(at, call);
    }
    trace.findings
}

#[derive(Default)]
struct Trace {
    connections: HashMap<u32, Connection>,
    /// When the newest sync that succeeded began.
    synced: Option<usize>,
    /// When each QoS 2 message was first read, by its payload.
    published: HashMap<Vec<u8>, usize>,
    findings: Findings,
}

#[derive(Default)]
struct Connection {
    version: Option<Version>,
    stored: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    /// When a packet was read that will be answered, by kind and Packet Identifier.
    read: HashMap<(&'static str, u16), usize>,
}

impl Trace {
    fn take(&mut self, at: usize, call: &Call) {
        let Some(descriptor) = call.descriptor() else {
            return;
        };
        match &*call.name {
            "fdatasync" | "fsync" if call.result == 0 => self.synced = Some(call.began),
            "fdatasync" | "fsync" => self.findings.failed_syncs += 1,
            "close" => drop(self.connections.remove(&descriptor)),
            "recvfrom" if call.result > 0 => {
                let connection = self.connections.entry(descriptor).or_default();
                connection.input.extend(call.data());
                connection.take_input(at, &mut self.published);
            }
            "sendto" | "writev" | "sendmsg" if call.result > 0 => {
                let Some(connection) = self.connections.get_mut(&descriptor) else {
                    return;
                };
                connection.output.extend(call.data());
                for (kind, id, since) in connection.take_output(&self.published) {
                    *self.findings.judged.entry(kind).or_default() += 1;
                    if self.synced.is_none_or(|synced| synced < since) {
                        let early = format!(
                            "line {}: {kind} {id} was written, what it answers was read at line \
                             {}, and the last good sync began at line {:?}",
                            at + 1,
                            since + 1,
                            self.synced.map(|line| line + 1)
                        );
                        self.findings.early.push(early);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Connection {
    fn take_input(&mut self, at: usize, published: &mut HashMap<Vec<u8>, usize>) {
        let mut input = std::mem::take(&mut self.input);
        let mut taken = 0;
        if self.version.is_none() && input.first() != Some(&CONNECT) {
            return; // The pipe through which signals come.
        }
        loop {
            // A CONNECT says its version itself.
            let version = self.version.unwrap_or(Version::V5);
            let decoded = decode(&input[taken..], version, usize::MAX);
            let Some((packet, size)) = decoded.expect("our clients write packets") else {
                break;
            };
            taken += size;
            let key = match packet {
                Packet::Connect(connect) => {
                    self.version = Some(connect.version);
                    self.stored = match connect.version {
                        Version::V311 | Version::V31 => !connect.clean_start,
                        Version::V5 => connect.session_expiry.unwrap_or(0) > 0,
                    };
                    Some(("CONNACK", 0))
                }
                Packet::Publish(publish) => {
                    let id = publish.packet_id.map(|id| id.0.get());
                    if publish.qos == QoS::ExactlyOnce {
                        let payload = publish.payload.as_slice().to_vec();
                        published.entry(payload).or_insert(at);
                    }
                    let kind = if publish.qos == QoS::AtLeastOnce { "PUBACK" } else { "PUBREC" };
                    id.map(|id| (kind, id))
                }
                Packet::PubRec(ack) => Some(("PUBREL", ack.packet_id.0.get())),
                Packet::PubRel(ack) => Some(("PUBCOMP", ack.packet_id.0.get())),
                Packet::Subscribe(subscribe) => Some(("SUBACK", subscribe.packet_id.0.get())),
                _ => None,
            };
            if let Some(key) = key {
                self.read.insert(key, at);
            }
        }
        input.drain(..taken);
        self.input = input;
    }

    /// The packets that owe the disk, and when what they answer was read.
    fn take_output(
        &mut self,
        published: &HashMap<Vec<u8>, usize>,
    ) -> Vec<(&'static str, u16, usize)> {
        let Some(version) = self.version else {
            return Vec::new();
        };
        let mut owed = Vec::new();
        let mut taken = 0;
        while let Some((reply, size)) =
            client::decode(&self.output[taken..], version).expect("the broker writes packets")
        {
            taken += size;
            if !self.stored {
                continue;
            }
            let (kind, id) = match reply {
                Reply::ConnAck(ack) if !ack.reason.is_error() => ("CONNACK", 0),
                Reply::PubAck(ack) if !ack.reason.is_error() => ("PUBACK", ack.packet_id.0.get()),
                Reply::PubRec(ack) if !ack.reason.is_error() => ("PUBREC", ack.packet_id.0.get()),
                Reply::PubComp(ack) if !ack.reason.is_error() => ("PUBCOMP", ack.packet_id.0.get()),
                Reply::PubRel(ack) => ("PUBREL", ack.packet_id.0.get()),
                Reply::SubAck(ack) if ack.reasons.iter().any(|reason| !reason.is_error()) => {
                    ("SUBACK", ack.packet_id.0.get())
                }
                Reply::Publish(delivery) if delivery.qos == QoS::ExactlyOnce => {
                    let id = delivery.packet_id.map_or(0, |id| id.0.get());
                    let since = published.get(&*delivery.message.payload);
                    owed.extend(since.map(|since| ("PUBLISH", id, *since)));
                    continue;
                }
                _ => continue,
            };
            owed.extend(self.read.get(&(kind, id)).map(|since| (kind, id, *since)));
        }
        self.output.drain(..taken);
        owed
    }
}

#[test]
fn an_acknowledgement_before_its_sync_is_found() {
    let connect = concat!(
        r#"1 recvfrom(7, "\x10\x0d\x00\x04\x4d\x51\x54\x54\x04\x00\x00\x00\x00\x01\x73", 9, 0) "#,
        "= 15"
    );
    let publish = r#"1 recvfrom(7, "\x32\x06\x00\x01\x61\x00\x01\x68", 9, 0, NULL, NULL) = 8"#;
    let puback = r#"1 sendto(7, "\x40\x02\x00\x01", 4, MSG_NOSIGNAL, NULL, 0) = 4"#;
    let (good, bad) = ("2 fdatasync(11) = 0", "2 fdatasync(11) = -1 EIO (INJECTED)");
    let (begin, end) = ("2 fdatasync(11 <unfinished ...>", "2 <... fdatasync resumed>) = 0");
    let early = |lines: &[&str]| {
        let trace = [&[connect], lines].concat().join("\n");
        let findings = judge(&crate::strace::parse(&trace));
        assert_eq!(findings.judged.get("PUBACK"), Some(&1), "{trace}");
        findings.early.len()
    };
    assert_eq!(early(&[publish, good, puback]), 0);
    assert_eq!(early(&[publish, begin, end, puback]), 0);
    assert_eq!(early(&[publish, puback, good]), 1);
    assert_eq!(early(&[good, publish, puback]), 1, "that sync was before it");
    assert_eq!(early(&[begin, publish, end, puback]), 1, "that sync began before it");
    assert_eq!(early(&[publish, begin, puback, end]), 1, "that sync was not done");
    assert_eq!(early(&[publish, bad, puback]), 1, "that sync failed");
}
