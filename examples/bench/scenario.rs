//! The table of scenarios.

use crate::broker::Broker;
use crate::exchange::{self, Shape};
use crate::generator::Failure;
use crate::measure::Sample;
use crate::steady::{self, Steady};
use crate::{idle, offline, retained, storm};

/// What is measured under a name.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Messages delivered in a round, in all, or connections made.
    pub(crate) messages: u64,
    /// The same for a quick look.
    pub(crate) quick: u64,
    pub(crate) load: Load,
    pub(crate) has_tls: bool,
    /// Lines for both configuration files, where the defaults would drop what is to be measured.
    pub(crate) kedgemq: &'static str,
    pub(crate) mosquitto: &'static str,
}

#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// See `exchange`.
    Exchange(Shape),
    /// See `offline`.
    Offline(Shape),
    /// See `steady`; messages a second.
    Steady(u64),
    /// See `idle`.
    Idle,
    /// See `retained`.
    Retained,
    /// See `storm`.
    Storm,
}

impl Load {
    /// Names of what it measures one after the other; one alone has none.
    pub(crate) fn phases(&self) -> &'static [&'static str] {
        match self {
            Self::Offline(_) => &["publish", "drain"],
            _ => &[""],
        }
    }

    /// One round; a sample of each phase.
    pub(crate) fn measure(&self, broker: &Broker, messages: u64) -> Result<Vec<Sample>, Failure> {
        Ok(match *self {
            Self::Exchange(shape) => vec![exchange::measure(shape, broker, messages)?],
            Self::Offline(shape) => offline::measure(shape, broker, messages)?.into(),
            Self::Steady(rate) => {
                let (publishers, size) = (PAIRS.publishers, PAIRS.size);
                let (persistent, away) = (false, false);
                let steady = Steady { rate, publishers, messages, size, persistent, away };
                vec![steady::measure(steady, broker)?]
            }
            Self::Idle => vec![idle::measure(broker, messages)?],
            Self::Retained => vec![retained::measure(broker, messages)?],
            Self::Storm => vec![storm::measure(broker, messages)?],
        })
    }
}

const PAIRS: Shape = Shape {
    publishers: 50,
    subscribers: 50,
    qos: 0,
    size: 64,
    window: 20,
    persistent: false,
    topics: 1,
};
/// Publishers that go ahead as far as mosquitto can follow without dropping: the brokers read as
/// much at a time as they can.
const BURST: Shape = Shape { window: 500, ..PAIRS };
const FEW: Shape = Shape { publishers: 10, subscribers: 10, qos: 1, ..PAIRS };

const BASE: Scenario = Scenario {
    name: "pairs-qos0",
    what: "50 publishers to a subscriber each, 64 bytes, window 20, QoS 0",
    messages: 1_000_000,
    quick: 50_000,
    load: Load::Exchange(PAIRS),
    has_tls: false,
    kedgemq: "",
    mosquitto: "",
};

const OFFLINE: Scenario = Scenario {
    name: "offline",
    what: "256 bytes at QoS 1 to 50 persistent sessions that are away, then what they take when \
           they are back",
    messages: 100_000,
    quick: 10_000,
    load: Load::Offline(Shape { size: 256, qos: 1, persistent: true, ..PAIRS }),
    kedgemq: "[limits]\nqueue_messages = 100000000\nqueue_bytes = \"64GiB\"\n\
              disk_bytes = \"64GiB\"\n",
    mosquitto: "max_queued_messages 0\n",
    ..BASE
};

/// All of them, in the order of the output.
pub(crate) const SCENARIOS: [Scenario; 21] = [
    BASE,
    Scenario {
        name: "pairs-qos0-burst",
        what: "the same with window 500",
        messages: 5_000_000,
        quick: 100_000,
        load: Load::Exchange(BURST),
        ..BASE
    },
    Scenario {
        name: "pairs-qos1",
        what: "window 20 again, QoS 1",
        messages: 500_000,
        quick: 25_000,
        load: Load::Exchange(Shape { qos: 1, ..PAIRS }),
        ..BASE
    },
    Scenario {
        name: "pairs-qos2",
        what: "the same at QoS 2",
        messages: 300_000,
        quick: 15_000,
        load: Load::Exchange(Shape { qos: 2, ..PAIRS }),
        ..BASE
    },
    Scenario {
        name: "pairs-qos1-persistent",
        what: "QoS 1 to persistent sessions: KedgeMQ stores each message before it acknowledges \
               it, mosquitto with its defaults nothing",
        messages: 300_000,
        quick: 15_000,
        load: Load::Exchange(Shape { qos: 1, persistent: true, ..PAIRS }),
        ..BASE
    },
    Scenario {
        name: "pairs-qos1-tls",
        what: "QoS 1 over TLS 1.3",
        messages: 300_000,
        quick: 15_000,
        load: Load::Exchange(Shape { qos: 1, ..PAIRS }),
        has_tls: true,
        ..BASE
    },
    Scenario {
        name: "fan-out",
        what: "one publisher to 100 subscribers, QoS 0",
        load: Load::Exchange(Shape { publishers: 1, subscribers: 100, ..PAIRS }),
        ..BASE
    },
    Scenario {
        name: "fan-out-burst",
        what: "the same with window 500",
        messages: 5_000_000,
        quick: 100_000,
        load: Load::Exchange(Shape { publishers: 1, subscribers: 100, ..BURST }),
        ..BASE
    },
    Scenario {
        name: "fan-in",
        what: "50 publishers to one subscriber, QoS 1",
        messages: 500_000,
        quick: 25_000,
        load: Load::Exchange(Shape { subscribers: 1, qos: 1, ..PAIRS }),
        mosquitto: "max_queued_messages 0\n",
        ..BASE
    },
    Scenario {
        name: "fan-in-qos0",
        what: "the same at QoS 0",
        messages: 2_000_000,
        quick: 50_000,
        load: Load::Exchange(Shape { subscribers: 1, ..PAIRS }),
        ..BASE
    },
    Scenario {
        name: "wildcards",
        what: "100,000 subscriptions +/n/#, of 50 sessions, and each message matches one, QoS 0",
        messages: 500_000,
        quick: 50_000,
        load: Load::Exchange(Shape { topics: 2000, ..PAIRS }),
        ..BASE
    },
    OFFLINE,
    Scenario {
        name: "offline-few",
        what: "the same with 10 publishers and sessions: fewer messages share a commit",
        load: Load::Offline(Shape { size: 256, persistent: true, ..FEW }),
        ..OFFLINE
    },
    Scenario {
        name: "steady",
        what: "5,000 messages a second by the clock, QoS 1; latency from when a message was meant \
               to be sent",
        messages: 50_000,
        quick: 5_000,
        load: Load::Steady(5000),
        ..BASE
    },
    Scenario {
        name: "retained",
        what: "100,000 retained messages, then a subscription to #, QoS 0",
        messages: 100_000,
        quick: 10_000,
        load: Load::Retained,
        ..BASE
    },
    Scenario {
        name: "large-64k",
        what: "10 pairs, 64 KiB, window 10, QoS 1",
        messages: 10_000,
        quick: 1000,
        load: Load::Exchange(Shape { size: 64 << 10, window: 10, ..FEW }),
        ..BASE
    },
    Scenario {
        name: "large-1m",
        what: "10 pairs, 1 MiB, window 2, QoS 1",
        messages: 1000,
        quick: 100,
        load: Load::Exchange(Shape { size: 1 << 20, window: 2, ..FEW }),
        ..BASE
    },
    Scenario {
        name: "idle",
        what: "connections that do nothing, MQTT 3.1.1, no subscription",
        messages: 5000,
        quick: 1000,
        load: Load::Idle,
        ..BASE
    },
    Scenario {
        name: "idle-tls",
        what: "the same over TLS 1.3",
        messages: 5000,
        quick: 500,
        load: Load::Idle,
        has_tls: true,
        ..BASE
    },
    Scenario {
        name: "connect",
        what: "connections one after the other, 50 at a time, from TCP to DISCONNECT",
        messages: 10_000,
        quick: 1000,
        load: Load::Storm,
        ..BASE
    },
    Scenario {
        name: "connect-tls",
        what: "the same with a full handshake of TLS 1.3 each",
        messages: 3000,
        quick: 300,
        load: Load::Storm,
        has_tls: true,
        ..BASE
    },
];
