//! A client's TCP connection, watched: when bytes last went in either direction, and what the kernel said of the
//! socket at the moment of its first error. That TCP_INFO is the evidence for the cause of its death.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::contract::phase::Unacknowledged;
use crate::linux::tcp_info::tcp_info;
use crate::record::{ConnectionEnd, EndedBy, TcpInfo};

/// What is known of a socket; outlives it.
pub(super) struct SocketWatch {
    /// None once the socket is closed.
    fd: Cell<Option<RawFd>>,
    last_read: Cell<Instant>,
    bytes_read: Cell<u64>,
    peer_closed: Cell<bool>,
    death: RefCell<Option<FirstError>>,
}

/// The first error of a socket.
#[derive(Clone)]
struct FirstError {
    errno: Option<i32>,
    text: String,
    tcp_info: Option<TcpInfo>,
}

impl Unacknowledged for SocketWatch {
    fn unacknowledged(&self) -> bool {
        self.tcp_info().is_some_and(|info| info.unacked > 0)
    }
}

impl SocketWatch {
    /// Follows `socket`, which must stay open until [`SocketWatch::closed`].
    pub(super) fn new(socket: &impl AsRawFd) -> Rc<Self> {
        Rc::new(Self {
            fd: Cell::new(Some(socket.as_raw_fd())),
            last_read: Cell::new(Instant::now()),
            bytes_read: Cell::new(0),
            peer_closed: Cell::new(false),
            death: RefCell::new(None),
        })
    }

    /// The socket is about to be closed.
    pub(super) fn closed(&self) {
        self.fd.set(None);
    }

    /// When bytes were last read; at first, when the connection was begun.
    pub(super) fn last_read(&self) -> Instant {
        self.last_read.get()
    }

    /// Bytes read so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.get()
    }

    /// TCP_INFO: at the first error if there was one, else now; none when the socket was closed without error.
    pub(super) fn tcp_info(&self) -> Option<TcpInfo> {
        if let Some(death) = &*self.death.borrow() {
            return death.tcp_info;
        }
        let fd = self.fd.get()?;
        // SAFETY: `fd` is set to None before the socket is closed, so it is open, and nothing closes it during the
        // call: a lab is one thread.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        tcp_info(fd).ok()
    }

    /// Whether the socket gave an error, or its peer closed.
    pub(super) fn is_broken(&self) -> bool {
        self.peer_closed.get() || self.death.borrow().is_some()
    }

    /// Notes an error of the socket; only the first counts.
    pub(super) fn failed(&self, error: &io::Error) {
        if self.death.borrow().is_some() {
            return;
        }
        let tcp_info = self.tcp_info();
        *self.death.borrow_mut() = Some(FirstError {
            errno: error.raw_os_error(),
            text: error.to_string(),
            tcp_info,
        });
    }

    /// The end of a connection that the client itself ended.
    pub(super) fn end(&self, by: EndedBy, text: impl Into<String>) -> ConnectionEnd {
        ConnectionEnd {
            by,
            errno: None,
            tcp_info: self.tcp_info(),
            text: text.into(),
            not_before: None,
        }
    }

    /// The end of a connection that the client did not end. `text` is what the protocol made of it.
    pub(super) fn end_found(&self, text: impl Into<String>) -> ConnectionEnd {
        if let Some(death) = self.death.borrow().clone() {
            return ConnectionEnd {
                by: EndedBy::Kernel,
                errno: death.errno,
                tcp_info: death.tcp_info,
                text: death.text,
                not_before: None,
            };
        }
        let by = if self.peer_closed.get() {
            EndedBy::Peer
        } else {
            EndedBy::Protocol
        };
        self.end(by, text)
    }

    /// The end of a connection that went on to its end in good order, and not by us. With TLS the peer's goodbye (close_notify) is
    /// read before its FIN.
    pub(super) fn end_in_good_order(&self) -> ConnectionEnd {
        if self.death.borrow().is_none() {
            self.peer_closed.set(true);
        }
        self.end_found("closed by the peer")
    }

    /// Waits until nothing was read for `limit`, counted from `since` at the earliest.
    pub(super) async fn silent(&self, since: Instant, limit: Duration) {
        loop {
            let due = self.last_read().max(since) + limit;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

/// The stream of a [`SocketWatch`].
pub(super) struct WatchedStream {
    stream: TcpStream,
    socket: Rc<SocketWatch>,
}

impl WatchedStream {
    pub(super) fn new(stream: TcpStream, socket: Rc<SocketWatch>) -> Self {
        Self { stream, socket }
    }

    /// Waits for the answer to its SYN.
    pub(super) async fn connected(&self) -> io::Result<()> {
        let result = match self.stream.writable().await {
            Ok(()) => self.stream.take_error(),
            Err(error) => Err(error),
        };
        match result {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => {
                self.socket.failed(&error);
                Err(error)
            }
        }
    }

    /// The client's own address.
    pub(super) fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.stream.local_addr()
    }

    fn note<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result {
            self.socket.failed(error);
        }
        result
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        self.socket.closed();
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let had_room = buffer.remaining() > 0;
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if matches!(result, Poll::Ready(Ok(()))) {
            let read = buffer.filled().len() - before;
            if read > 0 {
                self.socket.last_read.set(Instant::now());
                self.socket
                    .bytes_read
                    .set(self.socket.bytes_read.get() + read as u64);
            } else if had_room {
                self.socket.peer_closed.set(true);
            }
        }
        self.note(result)
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.note(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
