//! The clients: pairs that cost as little as possible, so that the broker is what is measured.
//! PUBLISH is encoded once and patched; acknowledgements leave in one write for all that was read.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Instant;

use kedgemq::mqtt::codec::client::encode;
use kedgemq::mqtt::packet::{Connect, RetainHandling, Subscribe, SubscriptionOptions};
use kedgemq::mqtt::{Packet, PacketId, QoS, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::server::{Figures, Server};

/// A publisher is at most so many windows ahead of its subscriber: no broker has to drop anything.
const AHEAD: u64 = 10;

/// First bytes of packets.
pub(crate) const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;
const PINGREQ: [u8; 2] = [0xC0, 0];
const PINGRESP: u8 = 0xD0;
pub(crate) const PUBLISH_TYPE: u8 = 0x30;

/// What is done in a round.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) pairs: usize,
    pub(crate) messages: u64,
    pub(crate) size: usize,
    pub(crate) window: u64,
    pub(crate) qos: u8,
    /// Whether the subscribers' sessions outlive their connections.
    pub(crate) persistent: bool,
}

impl Load {
    /// One round. `Err` also when a message is missing or came twice.
    pub(crate) async fn measure(&self, server: &Server) -> Result<Figures, String> {
        let mut pairs = Vec::new();
        for index in 0..self.pairs {
            pairs.push(Pair::connect(*self, server, index).await.map_err(failed)?);
        }
        let (cpu, written, start) = (server.cpu()?, server.written()?, Instant::now());
        let mut running = JoinSet::new();
        for pair in pairs {
            running.spawn(pair.run());
        }
        while let Some(ended) = running.join_next().await {
            ended.map_err(|error| format!("a client failed: {error}"))?.map_err(failed)?;
        }
        let messages = (self.pairs as u64 * self.messages) as f64;
        Ok(Figures {
            rate: messages / start.elapsed().as_secs_f64(),
            cpu: (server.cpu()? - cpu) * 1e6 / messages,
            written: (server.written()? - written) / messages,
        })
    }
}

fn failed(error: io::Error) -> String {
    format!("a client failed: {error}")
}

/// A publisher and the subscriber to its topic.
struct Pair {
    load: Load,
    publisher: Link,
    subscriber: Link,
    publish: Template,
    sent: u64,
    acknowledged: u64,
    received: u64,
    /// QoS 2 messages that were released.
    released: u64,
}

impl Pair {
    async fn connect(load: Load, server: &Server, index: usize) -> io::Result<Self> {
        let topic = format!("bench/{index}");
        let mut subscriber =
            Link::connect(server.address, &format!("subscriber-{index}"), load.persistent).await?;
        subscriber.subscribe(&topic, load.qos).await?;
        Ok(Self {
            load,
            publisher: Link::connect(server.address, &format!("publisher-{index}"), false).await?,
            subscriber,
            publish: Template::new(&topic, load.qos, load.size),
            sent: 0,
            acknowledged: 0,
            received: 0,
            released: 0,
        })
    }

    async fn run(mut self) -> io::Result<()> {
        while !self.done() {
            self.fill_window();
            self.publisher.flush().await?;
            self.subscriber.flush().await?;
            tokio::select! {
                ready = self.publisher.stream.readable() => ready?,
                ready = self.subscriber.stream.readable() => ready?,
            }
            self.take_acknowledgements()?;
            self.take_messages()?;
        }
        self.expect_no_more().await
    }

    fn done(&self) -> bool {
        let all = self.load.messages;
        let published = self.load.qos == 0 || self.acknowledged == all;
        let taken = self.load.qos < 2 || self.released == all;
        self.received >= all && published && taken
    }

    fn fill_window(&mut self) {
        let Load { messages, window, qos, .. } = self.load;
        // Nobody acknowledges QoS 0, so there the subscriber does.
        let ended = if qos == 0 { self.received } else { self.acknowledged };
        let limit = messages.min(ended + window).min(self.received + window * AHEAD);
        while self.sent < limit {
            self.publish.put(self.sent, &mut self.publisher.output);
            self.sent += 1;
        }
    }

    fn take_acknowledgements(&mut self) -> io::Result<()> {
        let Self { publisher, acknowledged, .. } = self;
        publisher.take(|first, body, output| match first {
            PUBACK | PUBCOMP => *acknowledged += 1,
            PUBREC => put_ack(PUBREL, &body[..2], output),
            _ => {}
        })
    }

    fn take_messages(&mut self) -> io::Result<()> {
        let Self { subscriber, received, released, .. } = self;
        subscriber.take(|first, body, output| match (first & 0xF0, first >> 1 & 3) {
            (PUBLISH_TYPE, qos) => {
                *received += 1;
                let id = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                match qos {
                    1 => put_ack(PUBACK, &body[id..id + 2], output),
                    2 => put_ack(PUBREC, &body[id..id + 2], output),
                    _ => {}
                }
            }
            _ if first == PUBREL => {
                *released += 1;
                put_ack(PUBCOMP, &body[..2], output);
            }
            _ => {}
        })
    }

    /// What was written before the answer to a PINGREQ is here before it.
    async fn expect_no_more(mut self) -> io::Result<()> {
        self.subscriber.output.extend(PINGREQ);
        self.subscriber.flush().await?;
        let (mut more, mut answered) = (self.received - self.load.messages, false);
        while !answered {
            self.subscriber.stream.readable().await?;
            self.subscriber.take(|first, _, _| {
                answered |= first == PINGRESP;
                more += u64::from(first & 0xF0 == PUBLISH_TYPE);
            })?;
        }
        if more == 0 { Ok(()) } else { Err(io::Error::other(format!("{more} came twice"))) }
    }
}

/// Appends an acknowledgement.
pub(crate) fn put_ack(first: u8, id: &[u8], output: &mut Vec<u8>) {
    output.extend([first, 2, id[0], id[1]]);
}

/// The bytes of a PUBLISH, and where its Packet Identifier stands.
pub(crate) struct Template {
    bytes: Vec<u8>,
    id: Option<usize>,
}

impl Template {
    pub(crate) fn new(topic: &str, qos: u8, size: usize) -> Self {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend(topic.as_bytes());
        let id_in_body = body.len();
        if qos > 0 {
            body.extend([0, 0]);
        }
        body.resize(body.len() + size, b'x');
        let mut bytes = vec![PUBLISH_TYPE | qos << 1];
        let mut length = body.len();
        while length > 127 {
            bytes.push((length % 128) as u8 | 128);
            length /= 128;
        }
        bytes.push(length as u8);
        let id = (qos > 0).then(|| bytes.len() + id_in_body);
        bytes.extend(body);
        Self { bytes, id }
    }

    pub(crate) fn put(&self, number: u64, output: &mut Vec<u8>) {
        let start = output.len();
        output.extend_from_slice(&self.bytes);
        if let Some(id) = self.id {
            let value = (number % 65_535) as u16 + 1;
            output[start + id..start + id + 2].copy_from_slice(&value.to_be_bytes());
        }
    }
}

/// One connection of MQTT 3.1.1.
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
    pub(crate) output: Vec<u8>,
}

impl Link {
    pub(crate) async fn connect(
        server: SocketAddr,
        id: &str,
        persistent: bool,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let mut link = Self { stream, input: Vec::new(), output: Vec::new() };
        let connect = Connect {
            version: Version::V311,
            clean_start: !persistent,
            keep_alive: 0,
            client_id: id,
            user_name: None,
            password: None,
            will: None,
            session_expiry: None,
            receive_maximum: None::<NonZeroU16>,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
        };
        encode(&Packet::Connect(Box::new(connect)), Version::V311, &mut link.output);
        link.answer().await?;
        Ok(link)
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) -> io::Result<()> {
        let options = SubscriptionOptions {
            qos: [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)],
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let packet_id = PacketId(NonZeroU16::MIN);
        let filters = vec![(filter, options)];
        let subscribe = Subscribe { packet_id, subscription_id: None, filters };
        encode(&Packet::Subscribe(subscribe), Version::V311, &mut self.output);
        self.answer().await
    }

    /// Writes, and waits for one packet: CONNACK or SUBACK, whose last byte says how it went.
    async fn answer(&mut self) -> io::Result<()> {
        self.flush().await?;
        let mut answer = None;
        while answer.is_none() {
            self.stream.readable().await?;
            self.take(|_, body, _| answer = body.last().copied())?;
        }
        let refused = answer.filter(|code| *code > 2);
        refused.map_or(Ok(()), |code| Err(io::Error::other(format!("refused with {code}"))))
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.output.clear();
        }
        Ok(())
    }

    /// Reads what is there and hands each packet on: first byte, body, and where answers go.
    pub(crate) fn take(
        &mut self,
        mut packet: impl FnMut(u8, &[u8], &mut Vec<u8>),
    ) -> io::Result<()> {
        self.input.reserve(64 * 1024);
        match self.stream.try_read_buf(&mut self.input) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut taken = 0;
        while let Some((head, size)) = frame(&self.input[taken..]) {
            let whole = &self.input[taken..taken + size];
            packet(whole[0], &whole[head..], &mut self.output);
            taken += size;
        }
        self.input.drain(..taken);
        Ok(())
    }
}

/// Sizes of the fixed header and of the whole packet at the front, once it is there.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (place, byte) in bytes.iter().enumerate().skip(1).take(4) {
        length |= usize::from(byte & 127) << (7 * (place - 1));
        if byte & 128 == 0 {
            let size = place + 1 + length;
            return (bytes.len() >= size).then_some((place + 1, size));
        }
    }
    None
}
