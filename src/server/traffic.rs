//! Bytes and network connections, counted where they pass: once a read and once a write.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics;

/// What passed since the start.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
    sockets: AtomicU64,
}

impl Traffic {
    /// Bytes came from a client.
    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes went to a client.
    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A network connection was accepted.
    pub(super) fn accepted(&self) {
        self.sockets.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it.
    pub(super) fn so_far(&self) -> metrics::Traffic {
        metrics::Traffic {
            bytes_received: self.received.load(Ordering::Relaxed),
            bytes_sent: self.sent.load(Ordering::Relaxed),
            sockets: self.sockets.load(Ordering::Relaxed),
        }
    }
}
