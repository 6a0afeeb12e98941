//! Receive Maximum under load, both ways, on a socket: never one PUBLISH too many, none too few,
//! none twice, in order, over a connection that is lost with a full window.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread;

use kedgemq::mqtt::Version::{self, V5, V311};

use crate::harness::Broker;
use crate::socket::Socket;

const MESSAGES: usize = 3000;
/// Ours, and our cap on the client's.
const OURS: usize = 100;
const TOPICS: [&str; 2] = ["t/a", "t/b"];

/// Publishes all messages, of QoS 1 and 2, as many at once as it may.
fn publish_all(address: SocketAddr) {
    let mut socket = Socket::open(address, V5, "publisher");
    socket.send(r#"10 * "MQTT" ^ 02 0000 {} @"#);
    assert_eq!(socket.packet().expect("CONNACK")[0], 0x20);
    let mut open = BTreeSet::new();
    for n in 0..MESSAGES {
        while open.len() == OURS {
            read_answer(&mut socket, &mut open);
        }
        let id = n % 60_000 + 1;
        let (first, topic) = (0x32 + n % 3 % 2 * 2, TOPICS[n / 3 % 2]);
        socket.send(&format!(r#"{first:02X} * "{topic}" {id:04X} {{}} '{n:05}'"#));
        open.insert(id);
    }
    while !open.is_empty() {
        read_answer(&mut socket, &mut open);
    }
}

fn read_answer(socket: &mut Socket, open: &mut BTreeSet<usize>) {
    let packet = socket.packet().expect("an acknowledgement");
    let id = usize::from(packet[2]) << 8 | usize::from(packet[3]);
    match packet[0] {
        0x40 | 0x70 => assert!(open.remove(&id), "{packet:02X?} ends what was open"),
        0x50 => socket.send(&format!("62 * {id:04X}")),
        _ => panic!("{packet:02X?} in place of an acknowledgement"),
    }
}

/// What is known of a Packet Identifier that is open.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// PUBLISH of this QoS came.
    Came(u8),
    /// PUBREC was sent, PUBREL has not come.
    Taken,
}

/// Subscribes, and answers only when its window is full.
struct Subscriber {
    address: SocketAddr,
    version: Version,
    window: usize,
    socket: Socket,
    open: BTreeMap<u16, Stage>,
    /// Those of [`open`](Self::open), oldest first.
    order: Vec<u16>,
    /// QoS, topic and number of each message.
    got: Vec<(u8, String, usize)>,
}

impl Subscriber {
    fn new(address: SocketAddr, version: Version, window: usize) -> Self {
        let socket = Socket::open(address, version, "subscriber");
        let (open, order, got) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { address, version, window, socket, open, order, got }
    }

    fn connect(&mut self, session_present: u8) {
        self.socket = Socket::open(self.address, self.version, "subscriber");
        let window = self.window;
        self.socket.send(&format!(r#"10 * "MQTT" ^ 00 0000 {{ 11 00000E10 21 {window:04X} }} @"#));
        let connack = self.socket.packet().expect("CONNACK");
        assert_eq!(connack[2..4], [session_present, 0], "{connack:02X?}");
    }

    fn subscribe(&mut self) {
        self.socket.send(r##"82 * 0001 {} "t/#" 02"##);
        self.socket.expect("90 * 0001 {} 02").expect("SUBACK");
    }

    /// Until the window is full, or all came.
    fn fill(&mut self) {
        while self.open.len() < self.window && self.got.len() < MESSAGES {
            self.read();
        }
    }

    /// With a full window nothing comes but the answer to what is asked.
    fn is_full(&mut self) {
        self.socket.send(r#"C000 | 82 * 0002 {} "else" 00 | A2 * 0003 {} "else""#);
        for answer in ["D000", "90 * 0002 {} 00", "B0 * 0003 {} (00)"] {
            self.socket.expect(answer).expect("no PUBLISH above Receive Maximum");
        }
    }

    /// Answers what is open, oldest first.
    fn answer(&mut self) {
        for id in self.order.clone() {
            match self.open[&id] {
                Stage::Came(1) => {
                    self.close(id);
                    self.socket.send(&format!("40 * {id:04X}"));
                }
                Stage::Came(_) => {
                    self.open.insert(id, Stage::Taken);
                    self.socket.send(&format!("50 * {id:04X}"));
                }
                Stage::Taken => {}
            }
        }
        while self.open.values().any(|stage| *stage == Stage::Taken) {
            self.read();
        }
    }

    fn read(&mut self) {
        let packet = self.socket.packet().expect("what is owed");
        match packet[0] {
            0x32 | 0x34 => self.take(&packet),
            0x62 => self.release(&packet),
            _ => panic!("{packet:02X?}"),
        }
    }

    fn take(&mut self, packet: &[u8]) {
        let qos = packet[0] >> 1 & 3;
        let (topic, rest) = packet[4..].split_at(3);
        let id = u16::from_be_bytes([rest[0], rest[1]]);
        let number = String::from_utf8_lossy(&rest[rest.len() - 5..]);
        let number = number.parse().expect("what was published");
        self.got.push((qos, String::from_utf8_lossy(topic).into(), number));
        assert_eq!(self.open.insert(id, Stage::Came(qos)), None, "{id} is open");
        self.order.push(id);
        assert!(self.open.len() <= self.window, "[MQTT-3.3.4-9]: {:?}", self.open);
    }

    fn release(&mut self, packet: &[u8]) {
        let id = u16::from_be_bytes([packet[2], packet[3]]);
        assert_eq!(self.open.get(&id), Some(&Stage::Taken), "PUBREL of {id}");
        self.close(id);
        self.socket.send(&format!("70 * {id:04X}"));
    }

    fn close(&mut self, id: u16) {
        self.open.remove(&id);
        self.order.retain(|other| *other != id);
    }

    /// Loses the connection with a full window; all of it comes again, in its order.
    fn come_back(&mut self) {
        self.connect(1);
        for id in self.order.clone() {
            let Stage::Came(qos) = self.open[&id] else { panic!("nothing was answered") };
            let again = self.socket.packet().expect("what is open");
            assert_eq!(again[0], 0x38 | qos << 1, "{again:02X?}");
            assert_eq!(again[7..9], id.to_be_bytes(), "{again:02X?}");
        }
        self.is_full();
    }
}

fn load(version: Version, window: usize) {
    let broker = Broker::start_plain();
    let address = broker.plain();
    let mut subscriber = Subscriber::new(address, version, window);
    subscriber.connect(0);
    subscriber.subscribe();
    let publisher = thread::spawn(move || publish_all(address));
    let mut rounds = 0;
    while subscriber.got.len() < MESSAGES || !subscriber.open.is_empty() {
        subscriber.fill();
        if subscriber.open.len() == window && rounds % 7 == 0 {
            subscriber.is_full();
        }
        if subscriber.open.len() == window && rounds % 50 == 10 {
            subscriber.come_back();
        }
        subscriber.answer();
        rounds += 1;
    }
    publisher.join().expect("the publisher has all acknowledgements");
    let mut numbers: Vec<usize> = subscriber.got.iter().map(|(.., number)| *number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>(), "each message once");
    for (qos, topic) in [(1, "t/a"), (1, "t/b"), (2, "t/a"), (2, "t/b")] {
        let mine = subscriber.got.iter().filter(|(q, t, _)| (*q, &**t) == (qos, topic));
        let numbers: Vec<usize> = mine.map(|(.., number)| *number).collect();
        assert!(numbers.len() > 400 && numbers.is_sorted(), "[MQTT-4.6.0-5]: {qos} {topic}");
    }
}

#[test]
fn a_window_of_ten_holds_under_load() {
    load(V5, 10);
}

#[test]
fn our_cap_is_the_window_of_3_1_1() {
    load(V311, OURS);
}
