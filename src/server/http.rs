//! HTTP/1.1 and HTTP/2 for apps that answer whole requests: the protocol by ALPN or by its first bytes, each request with its
//! response, and responses that go on, which every such app gives.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::connection::{App, AppContext, ByteStream, Connection, Ended, Outbox};
use super::idle::{OpenRequest, OpenRequests};
use super::stream::ResponseParts;
use crate::contract::stream::{PART_END, StreamQuery};
use crate::contract::{GOODBYE, REQUEST_HEADER, SERVER_HEADER};
use crate::plan::units::exact;
use crate::plan::{Protocol, ServerLimits};
use crate::record::{EndedBy, Observation, Progress, RequestId};

/// How an HTTP/2 connection begins (RFC 9113, 3.4); its first three bytes are no other method's.
const PREFACE: &[u8] = b"PRI";

/// Requests that come together with their own reset, as those do that ran out of time while a path was silent, until the
/// connection is closed for it (CVE-2023-44487). The library's own limit of 20 ends every connection after some minutes of silence;
/// this is Go's, four times its 250 streams (golang.org/x/net/http2, `unstartedHandlers`), which Kubernetes' API server has.
const PENDING_RESETS: usize = 1000;

/// An app that has a whole response to each whole request.
pub(super) trait HttpApp {
    /// The response to a request.
    fn respond(&self, request: &WholeRequest) -> WholeResponse;
}

/// A whole request.
pub(super) struct WholeRequest {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Bytes,
    pub(super) peer: SocketAddr,
}

/// What an app says to it.
pub(super) struct WholeResponse {
    pub(super) status: StatusCode,
    pub(super) body: serde_json::Value,
}

impl WholeResponse {
    /// An HTTP error.
    pub(super) fn error(status: StatusCode, text: &str) -> Self {
        Self {
            status,
            body: serde_json::json!({ "error": text }),
        }
    }
}

/// Makes a server of HTTP out of an app's responses.
pub(super) fn over_http(context: AppContext, app: impl HttpApp + 'static) -> Rc<dyn App> {
    let app = Box::new(app);
    Rc::new(HttpServer { context, app })
}

struct HttpServer {
    context: AppContext,
    app: Box<dyn HttpApp>,
}

impl App for HttpServer {
    fn serve(self: Rc<Self>, connection: Connection) -> LocalBoxFuture<'static, Result<(), Ended>> {
        speak(self, connection).boxed_local()
    }
}

async fn speak(server: Rc<HttpServer>, connection: Connection) -> Result<(), Ended> {
    let Connection {
        stream,
        peer,
        alpn,
        tls,
        outbox,
    } = connection;
    let mut stream = Rewound {
        stream,
        ahead: Bytes::new(),
    };
    let protocol = match (tls, alpn.as_deref()) {
        (true, Some(b"h2")) => Protocol::H2,
        (true, _) => Protocol::H1,
        (false, _) => match server.protocol_in_clear(&mut stream).await? {
            Some(protocol) => protocol,
            None => return Ok(()),
        },
    };
    let AppContext {
        server: plan,
        commons,
        tasks,
    } = &server.context;
    if !plan.protocols.contains(&protocol) {
        return Err(Ended::saying(format!("{protocol:?} is not spoken here")));
    }
    commons.recorder.emit(Observation::ServerAccepted {
        server: plan.name.clone(),
        peer,
        protocol: Some(protocol),
    });
    let stream = TokioIo::new(stream);
    let open = Rc::new(OpenRequests::default());
    let service = service_fn(|request| {
        let exchange = Exchange {
            server: Rc::clone(&server),
            outbox: Rc::clone(&outbox),
            peer,
            open: open.begin(),
        };
        exchange.answer(request)
    });
    let limits = &plan.limits;
    match protocol {
        Protocol::H1 => {
            let connection = hyper::server::conn::http1::Builder::new()
                // A client that says nothing is what is studied here.
                .header_read_timeout(None)
                .serve_connection(stream, service);
            unless_idle(connection, &open, limits, |c| c.graceful_shutdown()).await
        }
        Protocol::H2 => {
            let mut builder = hyper::server::conn::http2::Builder::new(tasks.clone());
            builder.max_pending_accept_reset_streams(PENDING_RESETS);
            if let Some(ping) = limits.ping {
                builder
                    .timer(TokioTimer::new())
                    .keep_alive_interval(ping.idle)
                    .keep_alive_timeout(ping.timeout);
            }
            let connection = builder.serve_connection(stream, service);
            unless_idle(connection, &open, limits, |c| c.graceful_shutdown()).await
        }
    }
}

/// Serves a connection to its end, or until it has been idle for too long: then `close` says goodbye, which the peer has a moment to
/// hear.
async fn unless_idle<C>(
    connection: C,
    open: &OpenRequests,
    limits: &ServerLimits,
    close: impl FnOnce(Pin<&mut C>),
) -> Result<(), Ended>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended.map_err(Into::into),
        () = open.none_for(limits.idle_timeout) => {}
    }
    close(connection.as_mut());
    // What becomes of the goodbye is nobody's concern any more.
    let _ = tokio::time::timeout(GOODBYE, connection).await;
    let idle = limits.idle_timeout.unwrap_or_default();
    Err(Ended {
        by: Some(EndedBy::IdleTimeout),
        text: format!("no request for {}", exact(idle)),
    })
}

impl From<hyper::Error> for Ended {
    fn from(error: hyper::Error) -> Self {
        let source = std::error::Error::source(&error);
        Self {
            // The one limit that the library keeps.
            by: error.is_timeout().then_some(EndedBy::PingTimeout),
            text: match source {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
        }
    }
}

impl HttpServer {
    /// The protocol a connection without TLS begins with; `None` if it ends before it says anything.
    async fn protocol_in_clear(&self, stream: &mut Rewound) -> Result<Option<Protocol>, Ended> {
        if let [only] = self.context.server.protocols[..] {
            return Ok(Some(only));
        }
        let mut first = BytesMut::new();
        while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
            let read = stream.read_buf(&mut first).await?;
            if read == 0 {
                return Ok(None);
            }
        }
        let h2 = first.starts_with(PREFACE);
        stream.ahead = first.freeze();
        Ok(Some(if h2 { Protocol::H2 } else { Protocol::H1 }))
    }

    /// A request is there; time passes before it is answered.
    async fn hold(&self, arrived: Observation, id: Option<&RequestId>, peer: SocketAddr) {
        let AppContext {
            server, commons, ..
        } = &self.context;
        commons.recorder.emit(arrived);
        let said = id.map(|id| id.client.clone());
        if let Some(client) = said.or_else(|| commons.phases.asker(peer.ip())) {
            commons.phases.hold(&client).await;
        }
        if !server.response_delay.is_zero() {
            tokio::time::sleep(server.response_delay).await;
        }
    }
}

/// One request and its response.
struct Exchange {
    server: Rc<HttpServer>,
    outbox: Rc<Outbox>,
    peer: SocketAddr,
    open: OpenRequest,
}

impl Exchange {
    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let id = request_id(&request);
        let (head, body) = request.into_parts();
        let line = match head.uri.path_and_query() {
            Some(path) => format!("{} {path}", head.method),
            None => head.method.to_string(),
        };
        let arrived = Observation::ServerRequest {
            server: self.server.context.server.name.clone(),
            peer: self.peer,
            request: id.clone(),
            line,
        };
        let wanted = StreamQuery::of(head.uri.query());
        if let Some(Ok(wanted)) = wanted {
            // Its request's body may go on as well, so nobody waits for the end of that.
            self.server.hold(arrived, id.as_ref(), self.peer).await;
            let parts = ResponseParts::of(wanted, body);
            return Ok(self.response(id, StatusCode::OK, Content::Parts(parts)));
        }
        let Ok(collected) = body.collect().await else {
            // The client is gone or talks nonsense; hyper ends the connection by itself.
            let error = "the request's body ended early";
            return Ok(self.whole(id, &WholeResponse::error(StatusCode::BAD_REQUEST, error)));
        };
        let whole = WholeRequest {
            path: head.uri.path().to_owned(),
            body: collected.to_bytes(),
            method: head.method,
            peer: self.peer,
        };
        self.server.hold(arrived, id.as_ref(), self.peer).await;
        let response = match wanted {
            Some(Err(error)) => WholeResponse::error(StatusCode::BAD_REQUEST, &error),
            _ => self.server.app.respond(&whole),
        };
        Ok(self.whole(id, &response))
    }

    fn whole(self, id: Option<RequestId>, response: &WholeResponse) -> Response<ResponseBody> {
        let bytes = Bytes::from(response.body.to_string());
        self.response(id, response.status, Content::Whole(Some(bytes)))
    }

    fn response(
        self,
        request: Option<RequestId>,
        status: StatusCode,
        content: Content,
    ) -> Response<ResponseBody> {
        let server = &self.server.context.server.name;
        let mut response = Response::new(ResponseBody {
            content,
            outbox: self.outbox,
            server: server.clone(),
            peer: self.peer,
            request,
            status,
            sent: None,
            _open: self.open,
        });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Ok(name) = HeaderValue::from_str(server) {
            headers.insert(SERVER_HEADER, name);
        }
        response
    }
}

/// `CLIENT/NUMBER` or `CLIENT/WORKLOAD/NUMBER`, as our clients say it.
fn request_id(request: &Request<Incoming>) -> Option<RequestId> {
    let value = request.headers().get(REQUEST_HEADER)?.to_str().ok()?;
    let (rest, number) = value.rsplit_once('/')?;
    let (client, workload) = match rest.split_once('/') {
        None => (rest, None),
        Some((client, workload)) => (client, Some(workload.to_owned())),
    };
    Some(RequestId {
        client: client.to_owned(),
        number: number.parse().ok()?,
        workload,
    })
}

/// A response's body, which tells the outbox when hyper has taken a part of it.
struct ResponseBody {
    content: Content,
    outbox: Rc<Outbox>,
    server: String,
    peer: SocketAddr,
    request: Option<RequestId>,
    status: StatusCode,
    /// What was taken so far; `None` before hyper asked for the first time.
    sent: Option<Progress>,
    /// Its request is open until then.
    _open: OpenRequest,
}

/// What is still to be handed over.
enum Content {
    Whole(Option<Bytes>),
    Parts(ResponseParts),
}

impl ResponseBody {
    fn begins(&mut self) {
        if self.sent.is_none() {
            self.sent = Some(Progress::default());
            self.outbox.post(Observation::ServerResponse {
                server: self.server.clone(),
                peer: self.peer,
                request: self.request.clone(),
                status: Some(self.status.as_u16()),
            });
        }
    }

    fn goes_on(&mut self, part: &Bytes) {
        let mut sent = self.sent.unwrap_or_default();
        sent.bytes += part.len() as u64;
        let ends = part.iter().filter(|byte| **byte == PART_END).count();
        sent.parts += u32::try_from(ends).unwrap_or(u32::MAX);
        self.sent = Some(sent);
        self.outbox.post(Observation::ServerStreamed {
            server: self.server.clone(),
            peer: self.peer,
            request: self.request.clone(),
            sent,
        });
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.begins();
        let next = match &mut self.content {
            Content::Whole(bytes) => return Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Content::Parts(parts) => ready!(parts.poll_next(cx)),
        };
        if let Some(part) = &next {
            self.goes_on(part);
        }
        Poll::Ready(next.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Content::Parts(_) => SizeHint::new(),
        }
    }
}

/// A connection's bytes, with those that were read ahead to learn the protocol.
struct Rewound {
    stream: Box<dyn ByteStream>,
    ahead: Bytes,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let length = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
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
