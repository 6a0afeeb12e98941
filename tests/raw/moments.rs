//! What more than one packet makes wrong, or right only just: quotas, aliases, take-over, wills,
//! answers that a client asked to be short, packets in pieces and packets in one piece.

use kedgemq::mqtt::Version::{self, V5, V311};

use crate::harness::Broker;
use crate::socket::Socket;

/// A broker, and a client that hears all.
struct Stage {
    broker: Broker,
    watcher: Socket,
}

impl Stage {
    fn new() -> Self {
        Self::with("")
    }

    fn with(limits: &str) -> Self {
        let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
        let broker = Broker::start_configured(|_| format!("{limits}{listener}"));
        let mut watcher = connect(&broker, V5, "watcher", CLEAN);
        watcher.send(r##"82 * 0001 {} "#" 00"##);
        watcher.expect("90 * 0001 {} 00").expect("SUBACK");
        Self { broker, watcher }
    }

    fn connect(&self, version: Version, client_id: &str, connect_packet: &str) -> Socket {
        connect(&self.broker, version, client_id, connect_packet)
    }

    /// The watcher got exactly what these texts stand for, each a PUBLISH of QoS 0.
    #[track_caller]
    fn heard(&mut self, publishes: &[&str]) {
        for publish in publishes {
            self.watcher.expect(publish).expect("what was published");
        }
        self.watcher.send(r#"30 * "pulse" {} 'pulse'"#);
        self.watcher.expect(r#"30 * "pulse" {} 'pulse'"#).expect("nothing more");
    }
}

pub(crate) const CLEAN: &str = r#"10 * "MQTT" ^ 02 0000 {} @"#;
/// For an hour; in 3.1.1 for ever.
const STORED: &str = r#"10 * "MQTT" ^ 00 0000 { 11 00000E10 } @"#;

/// Takes a successful CONNACK away.
#[track_caller]
pub(crate) fn connect(
    broker: &Broker,
    version: Version,
    client_id: &str,
    connect_packet: &str,
) -> Socket {
    let (socket, connack) = open(broker, version, client_id, connect_packet);
    assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02X?}");
    socket
}

/// The connection and its first packet.
#[track_caller]
pub(crate) fn open(
    broker: &Broker,
    version: Version,
    client_id: &str,
    connect_packet: &str,
) -> (Socket, Vec<u8>) {
    let mut socket = Socket::open(broker.plain(), version, client_id);
    socket.send(connect_packet);
    let connack = socket.packet().expect("CONNACK");
    (socket, connack)
}

/// DISCONNECT with this code, then the end; in 3.1.1 the end alone.
#[track_caller]
pub(crate) fn ends(socket: &mut Socket, version: Version, code: u8) {
    if version == V5 {
        let packet = socket.packet().expect("DISCONNECT");
        assert_eq!((packet[0], packet[2]), (0xE0, code), "{packet:02X?}");
    }
    socket.expect_end().expect("the end");
}

#[test]
fn one_publish_more_than_receive_maximum_ends_the_connection() {
    // [MQTT-3.3.4-7], section 3.14.2.1: 0x93.
    let mut stage = Stage::with("[limits]\nreceive_maximum = 100\n");
    let mut sender = stage.connect(V5, "sender", STORED);
    for n in 1..=100 {
        sender.send(&format!(r#"34 * "a" {n:04X} {{}} 'x'"#));
        sender.expect(&format!("50 * {n:04X}")).unwrap();
    }
    let publishes = [r#"30 * "a" {} 'x'"#; 100];
    stage.heard(&publishes);
    // A free place is a place, once.
    sender.send(r#"62 * 0007 | 34 * "a" 00C8 {} 'y'"#);
    sender.expect("70 * 0007").unwrap();
    sender.expect("50 * 00C8").unwrap();
    stage.heard(&[r#"30 * "a" {} 'y'"#]);
    sender.send(r#"30 * "a" {} 'QoS 0 is free' | 34 * "a" 00C9 {} 'too much'"#);
    ends(&mut sender, V5, 0x93);
    stage.heard(&[r#"30 * "a" {} 'QoS 0 is free'"#]);
    // The session knows what it had, and not what was too much.
    let mut sender = stage.connect(V5, "sender", STORED);
    sender.send("62 * 0001 | 62 * 00C8 | 62 * 00C9");
    for answer in ["70 * 0001", "70 * 00C8", "70 * 00C9 92"] {
        sender.expect(answer).unwrap();
    }
    stage.heard(&[]);
}

#[test]
fn a_client_of_3_1_1_knows_no_receive_maximum() {
    let mut stage = Stage::new();
    let mut sender = stage.connect(V311, "sender", STORED);
    for n in 1..=150 {
        sender.send(&format!(r#"34 * "a" {n:04X} 'x'"#));
    }
    for n in 1..=150 {
        sender.expect(&format!("50 * {n:04X}")).unwrap();
    }
    let publishes = [r#"30 * "a" {} 'x'"#; 150];
    stage.heard(&publishes);
}

#[test]
fn a_topic_alias_is_known_on_its_connection_alone() {
    // [MQTT-3.3.2-7], [MQTT-3.3.2-10]
    let mut stage = Stage::new();
    let mut sender = stage.connect(V5, "sender", STORED);
    sender.send(r#"30 * "a" { 23 0020 } '1' | 30 * "" { 23 0020 } '2'"#);
    sender.send(r#"30 * "b" { 23 0020 } '3' | 30 * "" { 23 0020 } '4' | C000"#);
    sender.expect("D000").unwrap();
    let a = [r#"30 * "a" {} '1'"#, r#"30 * "a" {} '2'"#];
    stage.heard(&[a[0], a[1], r#"30 * "b" {} '3'"#, r#"30 * "b" {} '4'"#]);
    let mut again = stage.connect(V5, "sender", STORED);
    ends(&mut sender, V5, 0x8E);
    again.send(r#"34 * "" 0001 { 23 0020 } '5'"#);
    ends(&mut again, V5, 0x82);
    stage.heard(&[]);
}

#[test]
fn a_take_over_ends_the_older_connection() {
    // [MQTT-3.1.4-3], section 3.14.2.1: 0x8E, 3.1.1: [MQTT-3.1.4-2]
    let mut stage = Stage::new();
    for version in [V311, V5] {
        let mut old = stage.connect(version, "one", STORED);
        old.send(r#"82 * 0001 {} "keep" 01"#);
        old.expect("90 * 0001 {} 01").unwrap();
        let (mut new, connack) = open(&stage.broker, version, "one", STORED);
        assert_eq!(connack[2..4], [1, 0], "the session goes on");
        ends(&mut old, version, 0x8E);
        // What the old one still sends is nobody's.
        old.send(r#"30 * "bad" {} 'x'"#);
        stage.watcher.send(r#"32 * "keep" 0002 {} 'x'"#);
        new.expect(r#"32 * "keep" 0001 {} 'x'"#).unwrap();
        stage.watcher.expect(r#"30 * "keep" {} 'x'"#).unwrap();
        stage.watcher.expect("40 * 0002").unwrap();
        stage.heard(&[]);
        drop(stage.connect(version, "one", CLEAN));
    }
}

#[test]
fn a_broken_rule_brings_the_will_and_a_disconnect_takes_it_away() {
    // [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.14.4-3]
    const WITH_WILL: &str = r#"10 * "MQTT" ^ 06 0000 {} @ {} "will" "gone""#;
    let mut stage = Stage::new();
    let will = r#"30 * "will" {} 'gone'"#;
    let breaks = [
        ("00 *", 0x81),
        (r#"36 * "bad" 0001 {} 'x'"#, 0x81),
        ("82 * 0001 {}", 0x82),
        (WITH_WILL, 0x82),
        ("30 FDFF7F", 0x95),
    ];
    for (bytes, code) in breaks {
        for version in [V311, V5] {
            let mut client = stage.connect(version, "mortal", WITH_WILL);
            client.send(bytes);
            ends(&mut client, version, code);
            stage.heard(&[will]);
        }
    }
    for version in [V311, V5] {
        let mut client = stage.connect(version, "mortal", WITH_WILL);
        client.send("E0 * | 00 *");
        client.expect_end().unwrap();
        stage.heard(&[]);
    }
    let mut client = stage.connect(V5, "mortal", WITH_WILL);
    client.send("E0 * 04");
    client.expect_end().unwrap();
    stage.heard(&[will]);
}

#[test]
fn what_stands_before_a_broken_packet_counts_and_what_stands_behind_does_not() {
    for version in [V311, V5] {
        let mut stage = Stage::new();
        let mut client = stage.connect(version, "client", STORED);
        let before = r#"82 * 0001 {} "keep" 01 | 30 * "a" {} '1' | 34 * "a" 0007 {} '2'"#;
        let behind = r#"30 * "bad" {} 'x' | A2 * 0002 {} "keep" | 62 * 0007"#;
        client.send(&format!("{before} | 00 * | {behind}"));
        // SUBACK and PUBREC wait for the disk; the end does not.
        while client.packet().is_ok_and(|packet| packet[0] != 0xE0) {}
        client.expect_end().unwrap();
        stage.heard(&[r#"30 * "a" {} '1'"#, r#"30 * "a" {} '2'"#]);
        let mut client = stage.connect(version, "client", STORED);
        client.send("62 * 0007");
        client.expect("70 * 0007").unwrap();
        client.send(r#"30 * "keep" {} 'x'"#);
        client.expect(r#"30 * "keep" {} 'x'"#).unwrap();
    }
}

#[test]
fn packets_may_come_byte_by_byte() {
    for version in [V311, V5] {
        let mut stage = Stage::new();
        let mut client = Socket::open(stage.broker.plain(), version, "slow");
        let mut slowly = |text: &str| {
            for byte in client.bytes(text) {
                client.send_bytes(&[byte]);
            }
            client.packet().unwrap()
        };
        assert_eq!(slowly(CLEAN)[3], 0);
        assert_eq!(
            slowly(r#"82 * 0001 {} "mine" 02"#)[..4],
            [0x90, 3 + u8::from(version == V5), 0, 1]
        );
        assert_eq!(slowly(r#"34 * "a" 0009 {} 'whole'"#), [0x50, 2, 0, 9]);
        assert_eq!(slowly("62 * 0009"), [0x70, 2, 0, 9]);
        assert_eq!(slowly("C000"), [0xD0, 0]);
        stage.heard(&[r#"30 * "a" {} 'whole'"#]);
        // And so may what is wrong, as soon as it shows.
        for byte in client.bytes("82 8080808000") {
            client.send_bytes(&[byte]);
        }
        ends(&mut client, version, 0x81);
    }
}

#[test]
fn the_largest_packet_is_taken_and_one_byte_more_is_not() {
    // [MQTT-3.2.2-15], section 3.14.2.1: 0x95. Ours is 2 MiB.
    let largest = 2 * 1024 * 1024;
    for version in [V311, V5] {
        let mut stage = Stage::new();
        let mut client = stage.connect(version, "large", CLEAN);
        let head = client.bytes(r#""a" {}"#).len() + 4;
        let payload = largest - head;
        client.send(&format!(r#"30 * "a" {{}} 61x{payload} | C000"#));
        client.expect("D000").unwrap();
        let heard = stage.watcher.packet().unwrap();
        assert!(heard.len() >= largest && heard.ends_with(b"aaaa"));
        // Said by the fixed header: the rest is not waited for.
        client.send(r#"30 FDFF7F "a" {} 'x'"#);
        ends(&mut client, version, 0x95);
        stage.heard(&[]);
    }
}

#[test]
fn who_wants_no_reason_strings_gets_none_but_in_connack_and_disconnect() {
    // [MQTT-3.1.2-29]; nobody may publish to $SYS.
    let stage = Stage::new();
    let publish = r#"32 * "$SYS/x" 0001 {} 'x' | 34 * "$SYS/x" 0002 {} 'x' | C000"#;
    let told = |properties: &str| {
        let connect = format!(r#"10 * "MQTT" ^ 02 0000 {{ {properties} }} @"#);
        let mut client = stage.connect(V5, "client", &connect);
        client.send(publish);
        let answers = [client.packet().unwrap(), client.packet().unwrap()];
        client.expect("D000").unwrap();
        assert_eq!([answers[0][4], answers[1][4]], [0x87, 0x87], "not authorized");
        answers.map(|answer| answer.len())
    };
    let with_text = told("");
    assert!(with_text.iter().all(|length| *length > 8), "{with_text:?}");
    assert_eq!(told("17 01"), with_text);
    assert_eq!(told("17 00"), [5, 5]);
    // [MQTT-3.4.2-2], [MQTT-3.5.2-2]: no Reason String above the Maximum Packet Size.
    assert_eq!(told("27 00000010"), [5, 5]);
    assert_eq!(told("27 00001000"), with_text);
}

#[test]
fn connack_answers_what_was_asked() {
    let stage = Stage::new();
    let properties = |connect: &str| {
        let (_, connack) = open(&stage.broker, V5, "", connect);
        assert_eq!(connack[3], 0, "{connect}: {connack:02X?}");
        connack[5..].to_vec()
    };
    // [MQTT-3.1.3-6], [MQTT-3.2.2-16]: an identifier is assigned, and said.
    let first = properties(r#"10 * "MQTT" 05 02 0000 {} """#);
    let second = properties(r#"10 * "MQTT" 05 00 0000 { 11 00000E10 } """#);
    let assigned = |properties: &[u8]| {
        let at = properties.iter().position(|byte| *byte == 0x12).expect("it is said");
        let length = usize::from(properties[at + 2]);
        properties[at + 3..at + 3 + length].to_vec()
    };
    assert_ne!(assigned(&first), assigned(&second));
    // [MQTT-3.1.2-28]: no Response Information unasked, and asked for it may be left out, too.
    for asks in ["19 00", "19 01"] {
        let answer = properties(&format!(r#"10 * "MQTT" 05 02 0000 {{ {asks} }} "me""#));
        assert!(!answer.contains(&0x1A), "{answer:02X?}");
    }
    // Section 3.1.2.9: 5.0 allows a Password without a User Name.
    properties(r#"10 * "MQTT" 05 42 0000 {} "me" "password""#);
    // 3.1.1: [MQTT-3.1.3-7]
    let (mut client, connack) = open(&stage.broker, V311, "", r#"10 * "MQTT" 04 02 0000 """#);
    assert_eq!(connack, [0x20, 2, 0, 0]);
    client.send("C000");
    client.expect("D000").unwrap();
}

#[test]
fn disconnect_cannot_raise_an_expiry_of_0() {
    // Section 3.14.2.2.2
    let stage = Stage::new();
    let mut client = stage.connect(V5, "client", CLEAN);
    client.send("E0 * 00 { 11 00000001 }");
    ends(&mut client, V5, 0x82);
    let (_, connack) = open(&stage.broker, V5, "client", STORED);
    assert_eq!(connack[2..4], [0, 0], "there is no session");
}

#[test]
fn a_silent_client_is_disconnected() {
    // [MQTT-3.1.2-22], section 3.14.2.1: 0x8D
    let mut stage = Stage::new();
    let mut clients = [V311, V5].map(|version| {
        let client = format!("silent {version:?}");
        stage.connect(version, &client, r#"10 * "MQTT" ^ 06 0001 {} @ {} "will" "silent""#)
    });
    ends(&mut clients[0], V311, 0x8D);
    ends(&mut clients[1], V5, 0x8D);
    stage.heard(&[r#"30 * "will" {} 'silent'"#; 2]);
}

#[test]
fn a_byte_order_mark_is_a_character_like_any_other() {
    // [MQTT-1.5.4-3], 3.1.1: [MQTT-1.5.3-3]; control characters and non-characters are taken.
    for version in [V311, V5] {
        let mut stage = Stage::new();
        let mut client = stage.connect(version, "client", CLEAN);
        let topics = ["[ EFBBBF 61 ]", "[ 61 EFBBBF ]", "[ 01 7F ]", "[ EFBFBF ]", "[ F48FBFBF ]"];
        for topic in topics {
            client.send(&format!("30 * {topic} {{}} 'x'"));
        }
        client.send("C000");
        client.expect("D000").unwrap();
        let heard = topics.map(|topic| format!("30 * {topic} {{}} 'x'"));
        stage.heard(&heard.each_ref().map(String::as_str));
    }
}
