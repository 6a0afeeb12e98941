//! Accepts connections, each into a task of its own.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::warn;

use super::Listener;
use super::admit::{Door, admit};
use super::connection::Connection;
use super::log::Seldom;
use super::outbox::Peer;

/// For the next try, when there are no more files to open.
const BACK_OFF: Duration = Duration::from_millis(100);

/// What listeners share.
pub(super) struct Gate {
    /// Where connections go.
    pub(super) door: Arc<Door>,
    /// One for each connection that may be open.
    pub(super) places: Arc<Semaphore>,
    /// How many that are.
    pub(super) max_connections: usize,
    /// For the lines about what was not accepted.
    pub(super) seldom: Seldom,
}

/// Accepts on `listener` until it is dropped.
pub(super) async fn accept(gate: Arc<Gate>, listener: Listener) {
    loop {
        match listener.socket.accept().await {
            Ok((socket, address)) => {
                let tls = listener.tls.is_some();
                gate.enter(socket, Peer { address, tls }, &listener);
            }
            Err(error) => gate.failed(&error).await,
        }
    }
}

impl Gate {
    fn enter(&self, socket: TcpStream, peer: Peer, listener: &Listener) {
        let Some(place) = Place::take(&self.places) else {
            if let Some(before) = self.seldom.pass(Instant::now()) {
                warn!(
                    target: "kedgemq",
                    address = %peer.address,
                    max_connections = self.max_connections,
                    also = before,
                    "closed at once: too many connections"
                );
            }
            return;
        };
        let _ = socket.set_nodelay(true); // It only makes it faster.
        let door = Arc::clone(&self.door);
        tokio::spawn(Life::new(door, socket, peer, listener, place));
    }

    /// Errors of one connection pass; others may last, so the next try waits.
    async fn failed(&self, error: &io::Error) {
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
        {
            return;
        }
        if let Some(before) = self.seldom.pass(Instant::now()) {
            warn!(target: "kedgemq", %error, also = before, "cannot accept connections");
        }
        sleep(BACK_OFF).await;
    }
}

/// One of the connections that may be open.
pub(super) struct Place(Arc<Semaphore>);

impl Place {
    fn take(places: &Arc<Semaphore>) -> Option<Self> {
        places.try_acquire().ok()?.forget();
        Some(Self(Arc::clone(places)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// The task of a connection: one box after the other, so that an idle one is small.
pub(super) enum Life {
    /// What admitting needs is gone with it.
    Admitting(Pin<Box<dyn Future<Output = Option<Box<Connection>>> + Send>>),
    Serving(Box<Connection>),
    Lingering(Pin<Box<dyn Future<Output = ()> + Send>>),
    Over,
}

impl Life {
    fn new(
        door: Arc<Door>,
        socket: TcpStream,
        peer: Peer,
        listener: &Listener,
        place: Place,
    ) -> Self {
        let (tls, access) = (listener.tls.clone(), Arc::clone(&listener.access));
        Self::Admitting(Box::pin(async move {
            let connection = admit(door, socket, peer, tls, access).await;
            connection.map(|connection| connection.keep(place))
        }))
    }
}

impl Future for Life {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut *self {
                Self::Admitting(admitting) => {
                    let connection = ready!(admitting.as_mut().poll(cx));
                    *self = connection.map_or(Self::Over, Self::Serving);
                }
                Self::Serving(connection) => {
                    let lingers = ready!(connection.poll_serve(cx));
                    let Self::Serving(connection) = std::mem::replace(&mut *self, Self::Over)
                    else {
                        unreachable!("it was matched above");
                    };
                    if lingers {
                        *self = Self::Lingering(Box::pin(connection.linger()));
                    }
                }
                Self::Lingering(lingering) => {
                    ready!(lingering.as_mut().poll(cx));
                    *self = Self::Over;
                }
                Self::Over => return Poll::Ready(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outbox::Outbox;
    use super::*;

    /// tokio puts 96 bytes around it, at addresses that 128 divides.
    #[test]
    fn the_task_of_an_idle_connection_is_small() {
        assert!(size_of::<Life>() <= 24, "{} bytes", size_of::<Life>());
        assert!(size_of::<Connection>() <= 104, "{} bytes", size_of::<Connection>());
    }

    #[test]
    fn an_empty_outbox_is_small() {
        assert!(size_of::<Outbox>() <= 184, "{} bytes", size_of::<Outbox>());
    }
}
