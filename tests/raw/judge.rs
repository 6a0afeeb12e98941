//! What is checked for each row, through others on the same broker: its answer; that nothing of it
//! reached anybody; that its client's session is what it was.

use kedgemq::mqtt::Version;

use crate::harness::Broker;
use crate::row::{Answer, Moment, Row};
use crate::socket::Socket;

/// Rows whose clients are connected at once.
const AT_ONCE: usize = 100;

/// Comes behind what ends a connection, and must not arrive.
const BEHIND: &str = r#"| 30 * "bad" {} 'behind'"#;

/// Puts all rows to one broker: what went wrong.
pub(crate) fn judge(rows: &[Row]) -> Vec<String> {
    let mut court = Court::open();
    for rows in rows.chunks(AT_ONCE) {
        court.try_rows(rows);
    }
    court.check_retained();
    court.failures
}

struct Court {
    broker: Broker,
    /// Subscribed to everything.
    watcher: Socket,
    publisher: Socket,
    failures: Vec<String>,
}

/// A row and its client.
struct Case<'a> {
    row: &'a Row,
    client_id: String,
    client: Socket,
    failure: Option<String>,
}

impl Case<'_> {
    /// Goes on unless something went wrong before.
    fn check(&mut self, act: impl FnOnce(&mut Socket) -> Result<(), String>) {
        if self.failure.is_none() {
            self.failure = act(&mut self.client).err();
        }
    }
}

impl Court {
    fn open() -> Self {
        let broker = Broker::start_plain();
        let mut watcher = Socket::open(broker.plain(), Version::V5, "watcher");
        watcher.send(r##"10 * "MQTT" ^ 02 0000 {} @ | 82 * 0001 {} "#" 00"##);
        watcher.packet().expect("CONNACK");
        watcher.expect("90 * 0001 {} 00").expect("SUBACK");
        let mut publisher = Socket::open(broker.plain(), Version::V5, "publisher");
        publisher.send(r#"10 * "MQTT" ^ 02 0000 {} @ | 33 * "kept" 0001 {} 'kept'"#);
        publisher.packet().expect("CONNACK");
        publisher.expect("40 * 0001").expect("PUBACK");
        watcher.expect(r#"30 * "kept" {} 'kept'"#).expect("the watcher hears everything");
        Self { broker, watcher, publisher, failures: Vec::new() }
    }

    fn try_rows(&mut self, rows: &[Row]) {
        let mut cases = self.connect(rows);
        self.fill(&mut cases);
        for case in &mut cases {
            let (row, client_id) = (case.row, case.client_id.clone());
            case.check(|client| match row.moment {
                Moment::Open => answer(client, row),
                Moment::First => {
                    let mut first = Socket::open(self.broker.plain(), row.version, &client_id);
                    answer(&mut first, row)?;
                    client.send("C000");
                    client.expect("D000")
                }
            });
            let heard = self.heard_since();
            if !heard.is_empty() {
                self.failures.push(format!("{}: others heard {heard:02X?}", row.name));
            }
        }
        self.publish_while_away();
        self.resume(&mut cases);
        for Case { row, failure, .. } in cases {
            let rule = row.rule;
            self.failures.extend(failure.map(|why| format!("{} ({rule}): {why}", row.name)));
        }
    }

    /// Makes the clients of the rows, their subscription and what they owe us.
    fn connect<'a>(&mut self, rows: &'a [Row]) -> Vec<Case<'a>> {
        let mut cases = Vec::new();
        for row in rows {
            let client_id = format!("client of {}", row.name);
            let mut client = Socket::open(self.broker.plain(), row.version, &client_id);
            client.send(CONNECT);
            client.send(r#"82 * 0001 {} "keep" 02 | 34 * "open" 0063 {} 'open'"#);
            cases.push(Case { row, client_id, client, failure: None });
        }
        for case in &mut cases {
            case.check(|client| {
                connack(client, 0)?;
                client.expect("90 * 0001 {} 02")?;
                client.expect("50 * 0063")
            });
            self.watcher.expect(r#"30 * "open" {} 'open'"#).expect("what all clients send");
        }
        cases
    }

    /// Makes what we owe them.
    fn fill(&mut self, cases: &mut [Case<'_>]) {
        self.publisher.send(r#"32 * "keep" 0001 {} 'one'"#);
        self.publisher.send(r#"34 * "keep" 0002 {} 'two' | 62 * 0002"#);
        self.publisher.send(r#"34 * "keep" 0003 {} 'three' | 62 * 0003"#);
        for answer in ["40 * 0001", "50 * 0002", "70 * 0002", "50 * 0003", "70 * 0003"] {
            self.publisher.expect(answer).expect("the publisher does nothing wrong");
        }
        for payload in ["one", "two", "three"] {
            let heard = self.watcher.expect(&format!(r#"30 * "keep" {{}} '{payload}'"#));
            heard.expect("what the publisher sends");
        }
        for case in cases.iter_mut() {
            case.check(|client| {
                client.expect(r#"32 * "keep" 0001 {} 'one'"#)?;
                client.expect(r#"34 * "keep" 0002 {} 'two'"#)?;
                client.expect(r#"34 * "keep" 0003 {} 'three'"#)?;
                client.send("50 * 0003");
                Ok(())
            });
        }
        for case in cases {
            case.check(|client| client.expect("62 * 0003"));
        }
    }

    /// What the watcher got that nobody should have sent.
    fn heard_since(&mut self) -> Vec<Vec<u8>> {
        self.publisher.send(r#"30 * "pulse" {} 'pulse'"#);
        let mut heard = Vec::new();
        loop {
            let packet = self.watcher.packet().expect("the watcher does nothing wrong");
            if packet.ends_with(b"pulse") {
                return heard;
            }
            heard.push(packet);
        }
    }

    /// Something that none of the rows subscribes to, and something that all do.
    fn publish_while_away(&mut self) {
        self.publisher.send(r#"32 * "bad" 0001 {} 'nobody' | 32 * "keep" 0001 {} 'four'"#);
        for _ in 0..2 {
            self.publisher.expect("40 * 0001").expect("the publisher does nothing wrong");
        }
        let heard = self.heard_since();
        assert_eq!(heard.len(), 2, "{heard:02X?}");
    }

    /// The sessions are what they were.
    fn resume(&mut self, cases: &mut [Case<'_>]) {
        for case in cases.iter_mut() {
            let (version, client_id) = (case.row.version, &case.client_id);
            case.client = Socket::open(self.broker.plain(), version, client_id);
            case.client.send(CONNECT);
        }
        for case in cases {
            case.check(resumed);
            case.check(released);
        }
        let heard = self.heard_since();
        if !heard.is_empty() {
            self.failures.push(format!("what was sent again was published again: {heard:02X?}"));
        }
    }

    /// Nothing but the publisher's message was retained.
    fn check_retained(&mut self) {
        let mut reader = Socket::open(self.broker.plain(), Version::V5, "reader");
        reader.send(r##"10 * "MQTT" ^ 02 0000 {} @ | 82 * 0001 {} "#" 00 | C000"##);
        reader.packet().expect("CONNACK");
        let expected = ["90 * 0001 {} 00", r#"31 * "kept" {} 'kept'"#, "D000"];
        for text in expected {
            self.failures.extend(reader.expect(text).err().map(|why| format!("retained: {why}")));
        }
    }
}

/// A session of an hour; in 3.1.1 for ever.
const CONNECT: &str = r#"10 * "MQTT" ^ 00 0000 { 11 00000E10 } @"#;

fn connack(client: &mut Socket, session_present: u8) -> Result<(), String> {
    let connack = client.packet()?;
    if connack[0] == 0x20 && connack[2..4] == [session_present, 0] {
        return Ok(());
    }
    Err(format!("in place of CONNACK with Session Present {session_present}: {connack:02X?}"))
}

/// Sends the row's bytes, and compares what comes back.
fn answer(socket: &mut Socket, row: &Row) -> Result<(), String> {
    match row.answer {
        Answer::Says(text) => {
            socket.send(&format!("{} | C000", row.bytes));
            for packet in text.split('|').filter(|packet| !packet.is_empty()) {
                socket.expect(packet)?;
            }
            return socket.expect("D000");
        }
        _ => socket.send(&format!("{} {BEHIND}", row.bytes)),
    }
    match row.answer {
        Answer::Ends(code) if row.version == Version::V5 => {
            let packet = socket.packet()?;
            let (kind, at) = if row.moment == Moment::First { (0x20, 3) } else { (0xE0, 2) };
            if packet[0] != kind || packet.get(at) != Some(&code) {
                return Err(format!("in place of {code:02X}: {packet:02X?}"));
            }
        }
        Answer::Returns(code) => socket.expect(&format!("20 02 00 {code:02X}"))?,
        _ => {}
    }
    socket.expect_end()
}

fn resumed(client: &mut Socket) -> Result<(), String> {
    connack(client, 1)?;
    client.expect(r#"3A * "keep" 0001 {} 'one'"#)?;
    client.expect(r#"3C * "keep" 0002 {} 'two'"#)?;
    client.expect("62 * 0003")?;
    // Sent before only to who was there.
    let mut four = client.packet()?;
    four[0] &= !8;
    if !four.starts_with(&[0x32]) || !four.ends_with(b"four") {
        return Err(format!("in place of what was published meanwhile: {four:02X?}"));
    }
    Ok(())
}

/// What the client sent before the row is known; and it leaves.
fn released(client: &mut Socket) -> Result<(), String> {
    client.send(r#"3C * "open" 0063 {} 'open' | 62 * 0063 | A2 * 0002 {} "keep""#);
    client.expect("50 * 0063")?;
    client.expect("70 * 0063")?;
    client.expect("B0 * 0002 {} (00)")
}
