//! A socket, with or without TLS, as its connection's task reads and writes it.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

use super::outbox::{Buffer, SLICES};

/// What a connection reads from. The writing half of a plain one is the right to write.
#[derive(Debug)]
pub(super) enum Link {
    /// TCP alone.
    Plain(OwnedReadHalf),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Link {
    /// Reads into the room that `buffer` has; 0 is the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        let read = match self {
            Self::Plain(half) => pin!(half.read_buf(buffer)).poll(cx),
            Self::Tls(stream) => pin!(stream.read_buf(buffer)).poll(cx),
        };
        match ready!(read) {
            // Many clients close TCP without TLS's own goodbye.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
            read => Poll::Ready(read),
        }
    }

    /// Writes from the front of `buffer`, to `half` where there is one.
    pub(super) fn poll_write(
        &mut self,
        half: &mut Option<OwnedWriteHalf>,
        cx: &mut Context<'_>,
        buffer: &Buffer,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = buffer.slices(&mut slices);
        let slices = &slices[..count];
        match (self, half) {
            (Self::Plain(_), Some(half)) => Pin::new(half).poll_write_vectored(cx, slices),
            (Self::Tls(stream), _) => Pin::new(stream).poll_write_vectored(cx, slices),
            (Self::Plain(_), None) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Brings on its way what TLS still holds.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Says the end of TLS, and of TCP. A plain link does so when its half is dropped.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
