//! Opening a connection: socket options, connect(), the TLS handshake, each with its own limit.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connections::{Connection, Connections};
use super::exchange::within;
use super::socket_watch::WatchedStream;
use super::surroundings::{ClientError, Surroundings};
use crate::contract::phase::PhaseBoard;
use crate::linux::namespace::Namespace;
use crate::linux::socket_options;
use crate::plan::{self, Protocol};
use crate::record::{ConnectionEnd, EndedBy, Observation, Recorder};

/// Opens one client's connections.
pub(super) struct Dialer {
    client: String,
    namespace: Rc<Namespace>,
    recorder: Recorder,
    phases: Rc<PhaseBoard>,
    connections: Rc<Connections>,
    target: SocketAddr,
    transport: plan::Transport,
    location: plan::Location,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// An open connection.
pub(super) struct Dialed {
    pub(super) stream: ByteStream,
    pub(super) connection: Rc<Connection>,
}

impl Dialer {
    pub(super) fn new(
        client: &plan::Client,
        around: &Surroundings,
        connections: Rc<Connections>,
    ) -> Result<Self, ClientError> {
        let tls = if client.target.tls {
            let config = around.trust.client_config(client.transport.protocol)?;
            let host = client.target.host.trim_matches(['[', ']']).to_owned();
            let name =
                ServerName::try_from(host.clone()).map_err(|_| ClientError::ServerName { host })?;
            Some((TlsConnector::from(config), name))
        } else {
            None
        };
        Ok(Self {
            client: client.name.clone(),
            namespace: Rc::clone(&around.namespace),
            recorder: around.recorder.clone(),
            phases: Rc::clone(&around.phases),
            connections,
            target: client.target.address,
            transport: client.transport.clone(),
            location: client.location.clone(),
            tls,
        })
    }

    /// Opens a connection, unless `cancel` comes first: the request that asked for it was over.
    ///
    /// # Errors
    /// What ended the dial; it is recorded already.
    pub(super) async fn dial(
        &self,
        cancel: impl Future<Output = ()>,
    ) -> Result<Dialed, ConnectionEnd> {
        let socket = self.socket().map_err(|error| self.rig_error(&error))?;
        let connection = self.connections.begin(&socket);
        // Watched from the start: its TCP_INFO must be read before the descriptor is closed.
        let connected = self.connect(&connection, &socket);
        let stream = match TcpStream::from_std(socket.into()) {
            Ok(stream) => WatchedStream::new(stream, Rc::clone(&connection.socket)),
            Err(error) => {
                connection.socket.closed();
                let end = self.rig_error(&error);
                connection.ended(end.clone());
                return Err(end);
            }
        };
        if let Err(error) = connected {
            connection.socket.failed(&error);
            let end = connection.socket.end_found("connect");
            connection.ended(end.clone());
            return Err(end);
        }
        self.establish(connection, stream, cancel).await
    }

    /// The socket with its options, which stand before its SYN goes out.
    fn socket(&self) -> io::Result<Socket> {
        let socket = self.namespace.tcp_socket(self.target)?;
        socket.set_tcp_nodelay(true)?;
        socket_options::limit(
            SockRef::from(&socket),
            self.transport.keepalive,
            self.transport.keepalive_by_sysctls,
            self.transport.user_timeout,
        )?;
        Ok(socket)
    }

    /// Sends the SYN. An error here is the kernel's answer to it (no route, refused on loopback).
    fn connect(&self, connection: &Connection, socket: &Socket) -> io::Result<()> {
        self.phases.before_connect(&self.client);
        let at = self.recorder.now();
        let result = match socket.connect(&self.target.into()) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
            other => other,
        };
        let local = socket.local_addr().ok().and_then(|a| a.as_socket());
        let local = local.filter(|a| a.port() != 0);
        connection.dial_started(at, self.target, local);
        result
    }

    async fn establish(
        &self,
        connection: Rc<Connection>,
        stream: WatchedStream,
        cancel: impl Future<Output = ()>,
    ) -> Result<Dialed, ConnectionEnd> {
        let result = {
            let mut handshakes = pin!(self.handshakes(&connection, stream));
            // By reference: the socket must still be open when its TCP_INFO is read for the event.
            tokio::select! {
                biased;
                result = &mut handshakes => result,
                () = cancel => {
                    let end = connection.socket.end(
                        EndedBy::RequestTimeout,
                        "the request that asked for the connection timed out",
                    );
                    Err(end)
                }
            }
        };
        match result {
            Ok((stream, local)) => {
                connection.opened(local, self.target, self.transport.protocol);
                Ok(Dialed { stream, connection })
            }
            Err(end) => {
                connection.ended(end.clone());
                Err(end)
            }
        }
    }

    async fn handshakes(
        &self,
        connection: &Connection,
        stream: WatchedStream,
    ) -> Result<(ByteStream, SocketAddr), ConnectionEnd> {
        let socket = &connection.socket;
        match within(self.transport.dial_timeout, stream.connected()).await {
            None => return Err(socket.end(EndedBy::DialTimeout, "dial timeout")),
            Some(Err(error)) => return Err(socket.end_found(error.to_string())),
            Some(Ok(())) => {}
        }
        let local = stream
            .local_addr()
            .map_err(|error| socket.end_found(error.to_string()))?;
        let Some((connector, name)) = &self.tls else {
            return Ok((ByteStream::Plain(stream), local));
        };
        let mut handshake = pin!(connector.connect(name.clone(), stream).into_fallible());
        match within(self.transport.tls_timeout, &mut handshake).await {
            None => Err(socket.end(EndedBy::TlsTimeout, "TLS handshake timeout")),
            // The error brings the stream back, so that the socket is open while its end is read.
            Some(Err((error, _stream))) => Err(socket.end_found(error.to_string())),
            Some(Ok(stream)) => {
                self.check_protocol(connection, &stream)?;
                Ok((ByteStream::Tls(Box::new(stream)), local))
            }
        }
    }

    /// HTTP/2 needs the server's word; HTTP/1.1 is what remains when it says nothing.
    fn check_protocol(
        &self,
        connection: &Connection,
        stream: &TlsStream<WatchedStream>,
    ) -> Result<(), ConnectionEnd> {
        let chosen = stream.get_ref().1.alpn_protocol();
        if self.transport.protocol == Protocol::H2 && chosen != Some(b"h2") {
            let text = "the server did not choose HTTP/2";
            return Err(connection.socket.end(EndedBy::Protocol, text));
        }
        Ok(())
    }

    /// The harness could not make a socket: that says nothing of the client.
    fn rig_error(&self, error: &io::Error) -> ConnectionEnd {
        let text = format!(
            "client {}: can't make a socket in {}: {error}",
            self.client,
            self.namespace.name()
        );
        self.recorder.emit(Observation::RigError {
            text: text.clone(),
            location: Some(self.location.clone()),
        });
        ConnectionEnd {
            by: EndedBy::Kernel,
            errno: error.raw_os_error(),
            tcp_info: None,
            text,
            not_before: None,
        }
    }
}

/// A connection's bytes, through TLS or not.
pub(super) enum ByteStream {
    Plain(WatchedStream),
    Tls(Box<TlsStream<WatchedStream>>),
}

impl AsyncRead for ByteStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
