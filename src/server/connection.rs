//! One connection of a server, from accept() to its end: TLS or not, and the app that serves it.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::LocalBoxFuture;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::commons::Commons;
use crate::linux::socket_options;
use crate::plan;
use crate::record::{EndedBy, Observation, Recorder};
use crate::task_group::TaskGroup;

/// What a server does with its connections, whatever they speak.
pub(super) trait App {
    /// Serves one connection to its end.
    ///
    /// # Errors
    /// What ended it otherwise than its peer did in good order.
    fn serve(self: Rc<Self>, connection: Connection) -> LocalBoxFuture<'static, Result<(), Ended>>;
}

/// How a connection ended, if its peer did not end it in good order.
#[derive(Debug)]
pub(super) struct Ended {
    /// Which limit of the server's ended it, if one did.
    pub(super) by: Option<EndedBy>,
    /// In words for the record.
    pub(super) text: String,
}

impl Ended {
    /// By no limit of the server's.
    pub(super) fn saying(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { by: None, text }
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::saying(error.to_string())
    }
}

/// What an app knows of its server.
#[derive(Clone)]
pub(super) struct AppContext {
    /// The server.
    pub(super) server: plan::Server,
    /// What it shares with the lab's other servers.
    pub(super) commons: Rc<Commons>,
    /// Tasks that end when the server does.
    pub(super) tasks: TaskGroup,
}

/// A connection's bytes.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream for S {}

/// A connection that an app serves: accepted, and with its TLS handshake done.
pub(super) struct Connection {
    /// Its bytes, in the clear.
    pub(super) stream: Box<dyn ByteStream>,
    /// Who is at the other end.
    pub(super) peer: SocketAddr,
    /// The protocol that ALPN chose; `None` without TLS, or without a choice.
    pub(super) alpn: Option<Vec<u8>>,
    /// Whether it came by TLS.
    pub(super) tls: bool,
    /// What is to be recorded when the kernel takes the next bytes written to the stream.
    pub(super) outbox: Rc<Outbox>,
}

/// What all connections of a server need.
pub(super) struct Acceptor {
    /// What the app knows as well.
    pub(super) context: AppContext,
    /// TLS, or clear text.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Serves each.
    pub(super) app: Rc<dyn App>,
}

impl Acceptor {
    /// Serves one connection to its end.
    pub(super) async fn run(self: Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        let result = self.serve(stream, peer).await;
        let AppContext {
            server, commons, ..
        } = &self.context;
        let (by, error) = match result {
            Ok(()) => (None, None),
            Err(Ended { by, text }) => (by, Some(text)),
        };
        commons.recorder.emit(Observation::ServerClosed {
            server: server.name.clone(),
            peer,
            error,
            by,
        });
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr) -> Result<(), Ended> {
        stream.set_nodelay(true)?;
        let limits = &self.context.server.limits;
        socket_options::limit(
            SockRef::from(&stream),
            limits.keepalive,
            limits.keepalive_by_sysctls,
            limits.user_timeout,
        )?;
        let outbox = Rc::new(Outbox::new(self.context.commons.recorder.clone()));
        let stream = OutboxStream {
            stream,
            outbox: Rc::clone(&outbox),
        };
        let mut connection = Connection {
            stream: Box::new(tokio::io::empty()),
            peer,
            alpn: None,
            tls: self.tls.is_some(),
            outbox,
        };
        match &self.tls {
            None => connection.stream = Box::new(stream),
            Some(config) => {
                let handshake = TlsAcceptor::from(Arc::clone(config)).accept(stream);
                let stream = handshake
                    .await
                    .map_err(|e| Ended::saying(format!("TLS: {e}")))?;
                connection.alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                connection.stream = Box::new(stream);
            }
        }
        Rc::clone(&self.app).serve(connection).await
    }
}

/// What an app has handed over and the kernel has not yet taken. It is recorded as sent at the next write that the kernel
/// takes.
pub(super) struct Outbox {
    recorder: Recorder,
    waiting: RefCell<Vec<Observation>>,
}

impl Outbox {
    fn new(recorder: Recorder) -> Self {
        Self {
            recorder,
            waiting: RefCell::default(),
        }
    }

    /// Records `observation` once the kernel has taken bytes.
    pub(super) fn post(&self, observation: Observation) {
        self.waiting.borrow_mut().push(observation);
    }

    fn written(&self) {
        for observation in self.waiting.take() {
            self.recorder.emit(observation);
        }
    }
}

/// A server's TCP stream, which tells the outbox when the kernel took bytes.
struct OutboxStream {
    stream: TcpStream,
    outbox: Rc<Outbox>,
}

impl OutboxStream {
    fn note(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(result, Poll::Ready(Ok(_))) {
            self.outbox.written();
        }
        result
    }
}

impl AsyncRead for OutboxStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for OutboxStream {
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
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    use super::*;
    use crate::contract::phase::PhaseBoard;
    use crate::contract::tls::Authority;

    /// Speaks no HTTP: it says each byte again, plus one.
    struct Next;

    impl App for Next {
        fn serve(
            self: Rc<Self>,
            mut connection: Connection,
        ) -> LocalBoxFuture<'static, Result<(), Ended>> {
            async move {
                while let Ok(byte) = connection.stream.read_u8().await {
                    connection.outbox.post(Observation::RigError {
                        text: format!("said {}", byte + 1),
                        location: None,
                    });
                    connection.stream.write_u8(byte + 1).await?;
                }
                Err(Ended::saying("it hung up"))
            }
            .boxed_local()
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_app_serves_bytes_whatever_they_mean() -> io::Result<()> {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&seen);
        let recorder = Recorder::new(move |event| match event.what {
            Observation::RigError { text, .. } => kept.borrow_mut().push(text),
            Observation::ServerClosed { error, .. } => kept.borrow_mut().extend(error),
            _ => {}
        });
        let authority = Authority::new().map_err(io::Error::other)?;
        let phases = PhaseBoard::new(recorder.clone());
        let acceptor = Rc::new(Acceptor {
            context: AppContext {
                server: crate::server::tests::server(),
                commons: Rc::new(Commons::new(recorder, authority, phases)),
                tasks: TaskGroup::default(),
            },
            tls: None,
            app: Rc::new(Next),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let served = async {
            let (stream, peer) = listener.accept().await?;
            acceptor.run(stream, peer).await;
            io::Result::Ok(())
        };
        let asked = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_u8(41).await?;
            stream.read_u8().await
        };
        let (served, answer) = LocalSet::new()
            .run_until(async { tokio::join!(served, asked) })
            .await;
        served?;
        assert_eq!(answer?, 42);
        assert_eq!(*seen.borrow(), ["said 42", "it hung up"]);
        Ok(())
    }
}
