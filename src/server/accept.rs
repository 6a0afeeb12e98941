//! Accepts connections, each into a task of its own.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tracing::warn;

use super::Listener;
use super::admit::{Door, admit};
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
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
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
        tokio::spawn(run(door, socket, peer, listener, place));
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

/// The task of a connection. What admitting needs is boxed, and not part of the steady task.
fn run(
    door: Arc<Door>,
    socket: TcpStream,
    peer: Peer,
    listener: &Listener,
    place: OwnedSemaphorePermit,
) -> impl Future<Output = ()> + use<> {
    let (tls, access) = (listener.tls.clone(), Arc::clone(&listener.access));
    let admitting = Box::pin(admit(door, socket, peer, tls, access));
    async move {
        let _place = place;
        if let Some(connection) = admitting.await {
            connection.serve().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_size<A, B, C, D, E, F>(_: fn(A, B, C, &D, E) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_task_of_an_idle_connection_is_small() {
        assert!(future_size(run) <= 128, "{} bytes", future_size(run));
    }
}
