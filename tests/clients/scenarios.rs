//! What each client does, and what it must see.

use crate::client::{Message, Options, Properties, Publish, Stage, Version};

/// The broker's limit of a packet, as it is by default.
const PACKET_SIZE: usize = 2 << 20;

/// Text, all bytes that are no text, more than a TLS record and any read buffer, and nothing.
pub(crate) fn each_qos(stage: Stage) {
    let mut client = stage.client("client");
    client.subscribe("plant/#", 2);
    for qos in 0..=2 {
        let mut publishes =
            [b"ein W\xC3\xB6rtchen".to_vec(), bytes(256), bytes(100_000), Vec::new()]
                .map(|payload| Publish::new("plant/a/speed", qos, &payload))
                .to_vec();
        if stage.version == Version::V5 {
            let properties = Some(properties());
            publishes.push(Publish { properties, ..Publish::new("plant/b", qos, b"7") });
        }
        for publish in publishes {
            client.publish(&publish);
            assert_eq!(client.messages(1), [as_it_comes(&publish)]);
        }
    }
    client.leave();
}

/// Kept for who comes later, marked as such; replaced by the next one and removed by an empty one.
pub(crate) fn retained(stage: Stage) {
    let mut publisher = stage.client("publisher");
    publisher.publish(&Publish::new("state/gone", 1, b"soon removed").retain());
    publisher.publish(&Publish::new("state/kept", 1, b"soon replaced").retain());
    publisher.publish(&Publish::new("state/kept", 2, b"the newest").retain());
    publisher.publish(&Publish::new("state/gone", 1, b"").retain());

    let mut late = stage.client("late");
    late.subscribe("state/+", 2);
    // A live one, though it is retained, too; it also shows that nothing else came before. Of the
    // same QoS, as some libraries hand over what is of QoS 2 when it is released.
    publisher.publish(&Publish::new("state/live", 2, b"live").retain());
    let kept = Publish::new("state/kept", 2, b"the newest").retain();
    let live = Publish::new("state/live", 2, b"live");
    assert_eq!(late.messages(2), [as_it_comes(&kept), as_it_comes(&live)]);
    late.leave();
    publisher.leave();
}

/// Published for the one that is cut off, not for the one that says good-bye, unless it says it
/// with Reason Code 0x04.
pub(crate) fn will(stage: Stage) {
    let mut watcher = stage.client("watcher");
    watcher.subscribe("will/#", 2);
    let with_will = |payload: &[u8]| {
        let will = Publish::new("will/meter", 2, payload).retain();
        let mut meter = stage.connect(&Options::new("meter").will(will));
        meter.subscribe("jobs", 1);
        meter
    };
    let leaving = with_will(b"left");
    let leaves_with_will = leaving.leaves_with_will();
    leaving.leave();
    // The next connection could overtake its DISCONNECT.
    stage.broker.wait_for_log("disconnected client=\"meter\"");
    if leaves_with_will {
        let left = Publish::new("will/meter", 2, b"left");
        assert_eq!(watcher.messages(1), [as_it_comes(&left)]);
    }
    drop(with_will(b"gone"));
    let gone = as_it_comes(&Publish::new("will/meter", 2, b"gone"));
    assert_eq!(
        watcher.messages(1),
        std::slice::from_ref(&gone),
        "the next one, so that no other came before"
    );

    let mut late = stage.client("late");
    late.subscribe("will/#", 2);
    assert_eq!(late.messages(1), [Message { retain: true, ..gone }], "the will was retained");
}

pub(crate) fn session_over_a_restart(stage: Stage) {
    session_over(stage, |stage| {
        stage.broker.signal("TERM");
        assert_eq!(stage.broker.wait_exit().code(), Some(0));
    });
}

pub(crate) fn session_over_a_kill(stage: Stage) {
    session_over(stage, |stage| stage.broker.kill());
}

/// What was acknowledged while its subscriber was away comes after the broker's end and new
/// start: all of it, once, in the order of its QoS.
fn session_over(mut stage: Stage, end: impl Fn(&mut Stage)) {
    const COUNT: usize = 150;
    let meter = Options::new("meter").persistent();
    let mut client = stage.connect(&meter);
    assert_ne!(client.session_present(), Some(true));
    client.subscribe("job/#", 2);
    client.leave();
    let mut publisher = stage.client("publisher");
    for qos in 1..=2 {
        publisher.publish(&numbered("job/a", qos, COUNT));
    }
    publisher.leave();

    end(&mut stage);
    stage.broker.restart();

    let mut client = stage.connect(&meter);
    assert_ne!(client.session_present(), Some(false));
    client.subscribe("other", 2);
    let came = client.messages(2 * COUNT);
    check_all_in_order(&came, "job/a", COUNT);
    // The next one shows that nothing came twice.
    let last = Publish::new("job/a", 2, b"last");
    stage.client("publisher").publish(&last);
    assert_eq!(client.messages(1), [as_it_comes(&last)]);
    client.leave();
}

/// Each message for one of two members, in turn.
pub(crate) fn shared(stage: Stage) {
    // At both QoS and with the last one fewer for a member than the smallest Receive Maximum (20,
    // of mosquitto_sub): the turn of a member whose window is full passes to the other.
    const COUNT: usize = 18;
    let mut members = ["first", "second"].map(|id| {
        let mut member = stage.client(id);
        member.subscribe("$share/crew/job/#", 2);
        member
    });
    let mut publisher = stage.client("publisher");
    for qos in 1..=2 {
        publisher.publish(&numbered("job/a", qos, COUNT));
    }
    let mut came = Vec::new();
    for member in &mut members {
        came.extend(member.messages(COUNT));
    }
    came.sort_by_key(|message| (message.qos, message.payload.clone()));
    check_all_in_order(&came, "job/a", COUNT);
    // All members are asked for their next one: nobody has one more of the old.
    let last = Publish::new("job/a", 2, b"last");
    for _ in &members {
        publisher.publish(&last);
    }
    for member in &mut members {
        assert_eq!(member.messages(1), [as_it_comes(&last)]);
    }
}

/// 1 MiB, and as much as a packet may hold.
pub(crate) fn large(stage: Stage) {
    const TOPIC: &str = "firmware/image";
    // Fixed header, length of the topic, Packet Identifier, and in MQTT 5 the Property Length.
    let property_length = usize::from(stage.version == Version::V5);
    let most = PACKET_SIZE - 4 - 2 - TOPIC.len() - 2 - property_length;
    let mut client = stage.client("client");
    client.subscribe(TOPIC, 2);
    for (qos, length) in [(0, 1 << 20), (1, 1 << 20), (2, 1 << 20), (1, most), (2, most)] {
        let publish = Publish::new(TOPIC, qos, &bytes(length));
        client.publish(&publish);
        let came = client.messages(1).remove(0);
        assert_eq!((came.qos, came.payload.len()), (qos, length));
        assert!(came == as_it_comes(&publish), "{length} bytes at QoS {qos} differ");
    }
    client.leave();
}

/// As fast as the client can, all of them, once, in the order of their QoS.
pub(crate) fn ten_thousand(stage: Stage) {
    const COUNT: usize = 5_000;
    let mut subscriber = stage.client("subscriber");
    subscriber.subscribe("load/#", 2);
    let mut publisher = stage.client("publisher");
    for qos in 1..=2 {
        publisher.publish(&numbered("load/a", qos, COUNT));
    }
    check_all_in_order(&subscriber.messages(2 * COUNT), "load/a", COUNT);
    subscriber.leave();
    publisher.leave();
}

/// So many messages, with their numbers for payload.
fn numbered(topic: &str, qos: u8, count: usize) -> Publish<'_> {
    let payloads = (0..count).map(|number| format!("{number:05}").into_bytes()).collect();
    Publish { payloads, ..Publish::new(topic, qos, b"") }
}

/// Holds when `came` is what [`numbered`] published at QoS 1 and 2: each once, in its order.
fn check_all_in_order(came: &[Message], topic: &str, count: usize) {
    for qos in 1..=2 {
        let found: Vec<&Message> = came.iter().filter(|message| message.qos == qos).collect();
        assert_eq!(found.len(), count, "at QoS {qos}");
        for (number, message) in found.into_iter().enumerate() {
            let expected = Publish::new(topic, qos, format!("{number:05}").as_bytes());
            assert_eq!(*message, as_it_comes(&expected), "number {number} at QoS {qos}");
        }
    }
}

/// The one message as a subscriber gets it that asked for QoS 2.
fn as_it_comes(publish: &Publish<'_>) -> Message {
    Message {
        topic: publish.topic.to_owned(),
        qos: publish.qos,
        retain: publish.retain,
        payload: publish.payloads[0].clone(),
        properties: publish.properties.clone(),
    }
}

fn properties() -> Properties {
    let user = [("unit", "rpm"), ("plant", "7"), ("plant", "8")];
    Properties {
        content_type: "text/plain".into(),
        response_topic: "answers/17".into(),
        correlation_data: "Größe-17".into(),
        user: user.map(|(name, value)| (name.into(), value.into())).into(),
    }
}

/// So many bytes of every value, in no short period.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}
