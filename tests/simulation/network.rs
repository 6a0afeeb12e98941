//! Connections that delay, split, stall and cut bytes. Bytes of one direction keep their order,
//! as TCP has it; what is cut off is the end.

use std::collections::VecDeque;

use fastrand::Rng;
use kedgemq::turn::ConnectionId;

/// What travels.
#[derive(Debug)]
pub(crate) enum Parcel {
    Bytes(Vec<u8>),
    /// The other side closed in order.
    Fin,
    /// The other side is gone.
    Reset,
}

/// How the network is on one seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// The longest usual delay, in milliseconds.
    pub(crate) delay: u64,
    /// How many of a thousand parcels stall for seconds.
    pub(crate) stalls: u32,
    /// How many of a thousand parcels are the last of their connection.
    pub(crate) cuts: u32,
    /// Bytes on their way to a client, above which the broker's socket takes no more.
    pub(crate) room: usize,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    parcels: VecDeque<(u64, Parcel)>,
    bytes: usize,
    last: u64,
    /// Nothing more can be put in.
    pub(crate) ended: bool,
}

impl Pipe {
    /// Puts bytes in, cut in parts.
    pub(crate) fn put(&mut self, mut bytes: Vec<u8>, now: u64, weather: Weather, rng: &mut Rng) {
        if self.ended {
            return;
        }
        self.bytes += bytes.len();
        while !bytes.is_empty() {
            let whole = bytes.len() == 1 || rng.u32(..4) > 0;
            let part = if whole { bytes.len() } else { rng.usize(1..bytes.len()) };
            let rest = bytes.split_off(part);
            let due = self.due(now, weather, rng);
            self.parcels.push_back((due, Parcel::Bytes(bytes)));
            bytes = rest;
        }
    }

    /// Puts an end in.
    pub(crate) fn end(&mut self, parcel: Parcel, now: u64, weather: Weather, rng: &mut Rng) {
        if self.ended {
            return;
        }
        self.ended = true;
        let due = self.due(now, weather, rng);
        self.parcels.push_back((due, parcel));
    }

    fn due(&mut self, now: u64, weather: Weather, rng: &mut Rng) -> u64 {
        let mut delay = rng.u64(..=weather.delay);
        if rng.u32(..1000) < weather.stalls {
            delay += rng.u64(500..15_000);
        }
        self.last = self.last.max(now + delay);
        self.last
    }

    /// Loses a random part of what is on its way, from some point on.
    pub(crate) fn cut(&mut self, rng: &mut Rng) {
        let keep = rng.usize(..=self.parcels.len());
        for (_, parcel) in self.parcels.drain(keep..) {
            if let Parcel::Bytes(bytes) = parcel {
                self.bytes -= bytes.len();
            }
        }
        self.ended = true;
    }

    pub(crate) fn next_due(&self) -> Option<u64> {
        self.parcels.front().map(|(due, _)| *due)
    }

    pub(crate) fn take(&mut self) -> Option<Parcel> {
        let (_, parcel) = self.parcels.pop_front()?;
        if let Parcel::Bytes(bytes) = &parcel {
            self.bytes -= bytes.len();
        }
        Some(parcel)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// All is lost.
    pub(crate) fn drop_all(&mut self) {
        self.parcels.clear();
        self.bytes = 0;
        self.ended = true;
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: usize,
    /// At the broker; `None` when that side is gone.
    pub(crate) seat: Option<ConnectionId>,
    /// Whether the event log knows that the broker's side ended.
    pub(crate) is_gone: bool,
    /// Whether the client still looks at it.
    pub(crate) client_side: bool,
    /// To the broker.
    pub(crate) up: Pipe,
    /// To the client.
    pub(crate) down: Pipe,
}

impl Connection {
    /// Whether anything can still happen to it.
    pub(crate) fn is_open(&self) -> bool {
        self.seat.is_some() || (self.client_side && !(self.down.ended && self.down.is_empty()))
    }
}
