//! From an accepted socket to a client: TLS handshake, CONNECT, credentials. What is kept for it
//! is gone when the connection is admitted.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::access::{Credentials, identify};
use super::connection::{Connection, Seat, Terms};
use super::engine::Engine;
use super::link::Link;
use super::outbox::Peer;
use super::reading::{Carry, Read};
use super::{Access, log};
use crate::mqtt::codec::{self, DecodeError};
use crate::mqtt::packet::Connect;
use crate::mqtt::{Packet, Version};
use crate::net::tls::{self, Reloadable};
use crate::turn::CloseCause;

/// How long a socket may take nothing, when the client has no Keep Alive.
const STALL: Duration = Duration::from_secs(60);

/// What connections have in common until they are admitted.
pub(super) struct Door {
    /// Where they go.
    pub(super) engine: Arc<Engine>,
    /// How many passwords are compared at once.
    pub(super) password_permits: Semaphore,
    /// For the TLS handshake, and again for the CONNECT.
    pub(super) connect_timeout: Duration,
    /// Our Maximum Packet Size.
    pub(super) packet_size: usize,
}

/// Brings a connection through the door; `None` when nothing came of it.
pub(super) async fn admit(
    door: Arc<Door>,
    socket: TcpStream,
    peer: Peer,
    tls: Option<Arc<Reloadable>>,
    access: Arc<Access>,
) -> Option<Box<Connection>> {
    let (seat, mut link, common_name) = match door.seat(socket, peer, tls).await {
        Ok(seated) => seated,
        Err(why) => {
            log::no_client(peer, &why);
            return None;
        }
    };
    let mut carry = Carry::default();
    let first =
        timeout(door.connect_timeout, first_packet(&mut link, &mut carry, door.packet_size));
    match first.await {
        Ok(Ok(First::Connect)) => Some(door.connect(seat, link, carry, common_name, &access).await),
        Ok(Ok(First::Broken(error))) => Some(door.refuse(seat, link, &carry, error)),
        Ok(Ok(First::Other)) => {
            log::no_client(peer, "the first packet is no CONNECT");
            None
        }
        Ok(Err(error)) => {
            log::no_client(peer, &error.to_string());
            None
        }
        Err(_) => {
            log::no_client(peer, "no CONNECT in time");
            None
        }
    }
}

impl Door {
    /// Makes the link and its seat among the connections.
    async fn seat(
        &self,
        socket: TcpStream,
        peer: Peer,
        tls: Option<Arc<Reloadable>>,
    ) -> Result<(Seat, Link, Option<String>), String> {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let (link, half, common_name) = match tls {
            None => {
                let (read, write) = socket.into_split();
                (Link::Plain(read), Some(write), None)
            }
            Some(tls) => {
                let handshake = TlsAcceptor::from(tls.current()).accept(socket);
                let shaken = timeout(self.connect_timeout, handshake).await;
                let stream = shaken
                    .map_err(|_| "no TLS handshake in time".to_owned())?
                    .map_err(|error| format!("TLS handshake: {error}"))?;
                let common_name = tls::common_name(stream.get_ref().1);
                (Link::Tls(Box::new(stream)), None, common_name)
            }
        };
        let seat = Seat {
            engine: Arc::clone(&self.engine),
            outbox: self.engine.seat(peer, half, waker),
            known: false,
        };
        Ok((seat, link, common_name))
    }

    /// Gives the CONNECT that `carry` begins with to the core.
    async fn connect(
        &self,
        mut seat: Seat,
        link: Link,
        mut carry: Carry,
        common_name: Option<String>,
        access: &Access,
    ) -> Box<Connection> {
        let credentials =
            carry.connect(self.packet_size, |connect| Credentials::new(common_name, connect));
        let identity = identify(access, credentials, &self.password_permits).await;
        let id = seat.outbox.id();
        let whole = carry.bytes().len();
        let terms = carry.take_connect(self.packet_size, |connect| {
            let (version, keep_alive) = (connect.version, connect.keep_alive);
            seat.outbox.set_protocol(version, connect.maximum_packet_size);
            if self.engine.is_stopping() {
                seat.outbox.close();
            } else {
                seat.turn(|step| step.connect(id, identity, connect));
            }
            self.terms(version, keep_alive)
        });
        self.engine.traffic().received(whole - carry.bytes().len());
        seat.known = true;
        Connection::new(seat, link, carry, terms)
    }

    /// Lets the core say that the first packet is wrong.
    fn refuse(&self, seat: Seat, link: Link, carry: &Carry, error: DecodeError) -> Box<Connection> {
        let version = codec::connect_version(carry.bytes()).unwrap_or(Version::V311);
        seat.outbox.set_protocol(version, None);
        let id = seat.outbox.id();
        let reason = error.reason();
        let why = error.to_string().into();
        seat.turn(|step| step.close(id, CloseCause::BadConnect { version, reason, why }));
        seat.outbox.close();
        Connection::new(seat, link, Carry::default(), self.terms(version, 0))
    }

    fn terms(&self, version: Version, keep_alive: u16) -> Terms {
        let stall = match keep_alive {
            0 => STALL,
            seconds => Duration::from_millis(u64::from(seconds) * 1500),
        };
        let packet_size = u32::try_from(self.packet_size).unwrap_or(u32::MAX);
        Terms { version, packet_size, stall }
    }
}

/// What the first packet is.
enum First {
    Connect,
    /// A CONNECT that is wrong.
    Broken(DecodeError),
    Other,
}

/// Reads until the first packet is whole and in `carry`.
async fn first_packet(link: &mut Link, carry: &mut Carry, limit: usize) -> io::Result<First> {
    let judge = |bytes: &[u8]| match bytes.first() {
        Some(byte) if byte >> 4 != 1 => Some(First::Other),
        _ => match codec::decode(bytes, Version::V5, limit) {
            Ok(None) => None,
            Ok(Some(_)) => Some(First::Connect),
            Err(error) => Some(First::Broken(error)),
        },
    };
    loop {
        let read = |cx: &mut Context<'_>| carry.poll_read(link, cx, |came| (0, judge(came.bytes)));
        match poll_fn(read).await? {
            Some(Read { result: Some(first), .. }) => return Ok(first),
            Some(_) => {}
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Carry {
    /// Looks at the CONNECT that stands at the front.
    fn connect<T>(&self, limit: usize, look: impl FnOnce(&Connect<'_>) -> T) -> T {
        look(&whole_connect(self.bytes(), limit).0)
    }

    /// Gives the CONNECT that stands at the front away.
    fn take_connect<T>(&mut self, limit: usize, take: impl FnOnce(Connect<'_>) -> T) -> T {
        self.again(|arrived| {
            let (connect, size) = whole_connect(arrived.bytes, limit);
            (size, take(*connect))
        })
    }
}

fn whole_connect(bytes: &[u8], limit: usize) -> (Box<Connect<'_>>, usize) {
    match codec::decode(bytes, Version::V5, limit) {
        Ok(Some((Packet::Connect(connect), size))) => (connect, size),
        _ => unreachable!("the first packet was decoded as a CONNECT before"),
    }
}
