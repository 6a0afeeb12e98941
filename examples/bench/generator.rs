//! All clients of the benchmark in one thread over one epoll: reads and writes are batched over
//! the whole turn, so that the broker is what is measured.

use std::io;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::link::{Link, Target};
use crate::wire::{self, CONNACK, SUBACK};

/// A broker that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections that are being made at once: mosquitto lets 100 wait for its accept.
pub(crate) const CONNECTING: usize = 50;
/// Filters of one SUBSCRIBE.
const FILTERS: usize = 500;
const BUFFER: usize = 256 << 10;
/// Looking again every so often costs nothing.
const TICK: Duration = Duration::from_millis(100);

/// Why a round has no figures. Made from text, or from what the system said.
pub(crate) struct Failure(pub(crate) String);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(format!("a client failed: {error}"))
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// What came on a connection.
pub(crate) enum Input<'a> {
    Packet {
        first: u8,
        body: &'a [u8],
        /// Where the answer goes.
        output: &'a mut Vec<u8>,
    },
    Closed,
}

impl Input<'_> {
    /// When nothing but CONNACK and SUBACK is expected: whether it is one, and it says yes.
    fn is_yes(&self) -> Result<bool, Failure> {
        let Self::Packet { first, body, .. } = self else {
            return Err(Failure("the broker closed a connection".into()));
        };
        let codes = match *first {
            CONNACK => &body[1..],
            SUBACK => &body[2..],
            _ => return Ok(false),
        };
        let refused = codes.iter().find(|code| **code > 2 || (*first == CONNACK && **code != 0));
        refused.map_or(Ok(true), |code| Err(Failure(format!("a client was refused with {code}"))))
    }
}

/// Refuses what ends a round in whatever load: a CONNACK that says no, a closed connection.
pub(crate) fn expect_open(input: &Input) -> Result<(), Failure> {
    input.is_yes().map(|_| ())
}

pub(crate) struct Generator {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    target: Target,
    links: Vec<Option<Link>>,
    /// Links that have something to write.
    to_flush: Vec<usize>,
    heard: Instant,
}

impl Generator {
    pub(crate) fn new(target: Target) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; BUFFER],
            target,
            links: Vec::new(),
            to_flush: Vec::new(),
            heard: Instant::now(),
        })
    }

    /// Begins a connection, under a new number.
    pub(crate) fn open(&mut self) -> io::Result<usize> {
        let link = Link::open(&self.target)?;
        self.links.push(None);
        self.put(self.links.len() - 1, link)
    }

    /// Begins a connection in the place of one that ended.
    pub(crate) fn reopen(&mut self, number: usize) -> io::Result<usize> {
        let link = Link::open(&self.target)?;
        self.put(number, link)
    }

    /// Takes over a connection that somebody else made; it must not block.
    pub(crate) fn adopt(&mut self, stream: std::net::TcpStream) -> io::Result<usize> {
        self.links.push(None);
        self.put(self.links.len() - 1, Link::over(TcpStream::from_std(stream)))
    }

    fn put(&mut self, number: usize, mut link: Link) -> io::Result<usize> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut link.stream, Token(number), interest)?;
        self.links[number] = Some(link);
        Ok(number)
    }

    /// Where to append what is to be written to a connection in this turn.
    pub(crate) fn output(&mut self, number: usize) -> &mut Vec<u8> {
        let link = self.links[number].as_mut().expect("only an open one is written to");
        if !link.is_listed {
            link.is_listed = true;
            self.to_flush.push(number);
        }
        &mut link.output
    }

    /// Writes what waits, waits for what comes, and hands it on with the connection's number.
    /// Fails when nothing comes for long.
    pub(crate) fn turn(
        &mut self,
        mut take: impl FnMut(usize, Input) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.flush()?;
        self.poll.poll(&mut self.events, Some(TICK))?;
        if !self.events.is_empty() {
            self.heard = Instant::now();
        } else if self.heard.elapsed() > PATIENCE {
            return Err(Failure(format!("the broker has been silent for {PATIENCE:?}")));
        }
        for event in &self.events {
            let number = event.token().0;
            let Some(link) = &mut self.links[number] else { continue };
            if event.is_writable() {
                link.flush()?;
            }
            let packet = |first, body: &[u8], output: &mut Vec<u8>| {
                take(number, Input::Packet { first, body, output })
            };
            let is_open = link.read(&mut self.buffer, event.is_read_closed(), packet)?;
            if !is_open {
                self.links[number] = None;
                take(number, Input::Closed)?;
            } else if link.wants_write() && !link.is_listed {
                link.is_listed = true;
                self.to_flush.push(number);
            }
        }
        Ok(())
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        for number in self.to_flush.drain(..) {
            if let Some(link) = &mut self.links[number] {
                link.is_listed = false;
                link.flush()?;
            }
        }
        Ok(())
    }

    /// Makes connections with these Client Identifiers and waits for their CONNACKs; gives their
    /// numbers.
    pub(crate) fn connect(
        &mut self,
        client_ids: impl IntoIterator<Item = String>,
        clean_session: bool,
    ) -> Result<Vec<usize>, Failure> {
        let mut ids = client_ids.into_iter();
        let (mut made, mut answered) = (Vec::new(), 0);
        loop {
            while made.len() - answered < CONNECTING
                && let Some(id) = ids.next()
            {
                let number = self.open()?;
                wire::put_connect(&id, clean_session, self.output(number));
                made.push(number);
            }
            if answered == made.len() {
                return Ok(made);
            }
            self.turn(|_, input| {
                answered += usize::from(input.is_yes()?);
                Ok(())
            })?;
        }
    }

    /// Subscribes and waits for the SUBACKs.
    pub(crate) fn subscribe(
        &mut self,
        filters: &[(usize, Vec<String>)],
        qos: u8,
    ) -> Result<(), Failure> {
        let mut waiting = 0;
        for (number, filters) in filters {
            for some in filters.chunks(FILTERS) {
                wire::put_subscribe(some, qos, self.output(*number));
                waiting += 1;
            }
        }
        while waiting > 0 {
            self.turn(|_, input| {
                waiting -= usize::from(input.is_yes()?);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Says DISCONNECT on these connections and waits until the broker has closed them.
    pub(crate) fn disconnect(&mut self, numbers: &[usize]) -> Result<(), Failure> {
        for number in numbers {
            self.output(*number).extend(wire::DISCONNECT);
        }
        let mut open = numbers.len();
        while open > 0 {
            self.turn(|_, input| {
                open -= usize::from(matches!(input, Input::Closed));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Asks each of these for an answer and waits for all: whatever was written to a client
    /// before that is here then, and goes to `take`.
    pub(crate) fn ping(
        &mut self,
        numbers: &[usize],
        mut take: impl FnMut(usize, Input) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for number in numbers {
            self.output(*number).extend(wire::PINGREQ);
        }
        let mut waiting = numbers.len();
        while waiting > 0 {
            self.turn(|number, input| {
                if matches!(input, Input::Packet { first: wire::PINGRESP, .. }) {
                    waiting -= 1;
                }
                take(number, input)
            })?;
        }
        Ok(())
    }
}
