//! One connection of a server: TLS or not, the protocol by ALPN or by its first bytes, and its requests.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::stream::{PART_END, Parts, Wanted};
use super::{REQUEST_HEADER, SERVER_HEADER, Shared, echo, lock, nodes};
use crate::plan::{App, Protocol};
use crate::record::{Observation, Progress, Recorder, RequestId};

/// How an HTTP/2 connection begins (RFC 9113, 3.4); its first three bytes are no other method's.
const PREFACE: &[u8] = b"PRI";

/// A whole request.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Bytes,
    pub(super) peer: SocketAddr,
}

/// What an app says to it.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: serde_json::Value,
}

impl Answer {
    /// An HTTP error.
    pub(super) fn error(status: StatusCode, text: &str) -> Self {
        Self {
            status,
            body: serde_json::json!({ "error": text }),
        }
    }
}

/// Serves one connection to its end.
pub(super) async fn run(shared: Rc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let result = serve(&shared, stream, peer).await;
    shared.commons.recorder.emit(Observation::ServerClosed {
        server: shared.server.name.clone(),
        peer,
        error: result.err(),
    });
}

async fn serve(shared: &Rc<Shared>, stream: TcpStream, peer: SocketAddr) -> Result<(), String> {
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let outbox = Rc::new(Outbox::new(shared.commons.recorder.clone()));
    let stream = Noting {
        stream,
        outbox: Rc::clone(&outbox),
        replay: Bytes::new(),
    };
    let Some(config) = &shared.tls else {
        let mut stream = stream;
        let Some(protocol) = protocol_in_clear(shared, &mut stream).await? else {
            return Ok(());
        };
        return speak(shared, protocol, stream, outbox, peer).await;
    };
    let stream = TlsAcceptor::from(config.clone())
        .accept(stream)
        .await
        .map_err(|e| format!("TLS: {e}"))?;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::H2,
        _ => Protocol::H1,
    };
    speak(shared, protocol, stream, outbox, peer).await
}

/// The protocol a connection without TLS begins with; `None` if it ends before it says anything.
async fn protocol_in_clear(
    shared: &Shared,
    stream: &mut Noting,
) -> Result<Option<Protocol>, String> {
    if let [only] = shared.server.protocols[..] {
        return Ok(Some(only));
    }
    let mut first = BytesMut::new();
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        let read = stream
            .read_buf(&mut first)
            .await
            .map_err(|e| e.to_string())?;
        if read == 0 {
            return Ok(None);
        }
    }
    let h2 = first.starts_with(PREFACE);
    stream.replay = first.freeze();
    Ok(Some(if h2 { Protocol::H2 } else { Protocol::H1 }))
}

async fn speak<S>(
    shared: &Rc<Shared>,
    protocol: Protocol,
    stream: S,
    outbox: Rc<Outbox>,
    peer: SocketAddr,
) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    if !shared.server.protocols.contains(&protocol) {
        return Err(format!("{protocol:?} is not spoken here"));
    }
    shared.commons.recorder.emit(Observation::ServerAccepted {
        server: shared.server.name.clone(),
        peer,
        protocol,
    });
    let stream = TokioIo::new(stream);
    let service =
        service_fn(|request| answer(Rc::clone(shared), Rc::clone(&outbox), peer, request));
    let ended = match protocol {
        Protocol::H1 => {
            hyper::server::conn::http1::Builder::new()
                // A client that says nothing is what is studied here.
                .header_read_timeout(None)
                .serve_connection(stream, service)
                .await
        }
        Protocol::H2 => {
            hyper::server::conn::http2::Builder::new(shared.tasks.clone())
                .serve_connection(stream, service)
                .await
        }
    };
    ended.map_err(|error| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })
}

async fn answer(
    shared: Rc<Shared>,
    outbox: Rc<Outbox>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Parcel>, Infallible> {
    let id = request_id(&request);
    let (head, body) = request.into_parts();
    let line = match head.uri.path_and_query() {
        Some(path) => format!("{} {path}", head.method),
        None => head.method.to_string(),
    };
    let arrived = Observation::ServerRequest {
        server: shared.server.name.clone(),
        peer,
        request: id.clone(),
        line,
    };
    if let Some(Ok(wanted)) = Wanted::of(head.uri.query()) {
        // Its request's body may go on as well, so nobody waits for the end of that.
        hold(&shared, arrived, id.as_ref()).await;
        return Ok(pack(
            &shared,
            &outbox,
            peer,
            id,
            Content::Parts(Parts::of(wanted, body)),
        ));
    }
    let Ok(collected) = body.collect().await else {
        // The client is gone or talks nonsense; hyper ends the connection by itself.
        let answer = Answer::error(StatusCode::BAD_REQUEST, "the request's body ended early");
        return Ok(pack(&shared, &outbox, peer, id, Content::Whole(answer)));
    };
    let asked = Asked {
        path: head.uri.path().to_owned(),
        body: collected.to_bytes(),
        method: head.method,
        peer,
    };
    hold(&shared, arrived, id.as_ref()).await;
    let answer = match Wanted::of(head.uri.query()) {
        Some(Err(error)) => Answer::error(StatusCode::BAD_REQUEST, &error),
        _ => of_app(&shared, &asked),
    };
    Ok(pack(&shared, &outbox, peer, id, Content::Whole(answer)))
}

/// A request is there; time passes before it is answered.
async fn hold(shared: &Shared, arrived: Observation, id: Option<&RequestId>) {
    shared.commons.recorder.emit(arrived);
    if let Some(id) = id {
        shared.commons.phases.hold(&id.client).await;
    }
    if !shared.server.response_delay.is_zero() {
        tokio::time::sleep(shared.server.response_delay).await;
    }
}

fn of_app(shared: &Shared, asked: &Asked) -> Answer {
    let (commons, server) = (&shared.commons, &shared.server);
    match server.app {
        App::Echo => echo::answer(&server.name, asked),
        App::Lock => lock::answer(&commons.stores.get(&server.store), asked),
        App::Nodes => nodes::answer(&commons.registries.get(&server.store), asked),
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

/// What a response brings.
enum Content {
    Whole(Answer),
    Parts(Parts),
}

fn pack(
    shared: &Shared,
    outbox: &Rc<Outbox>,
    peer: SocketAddr,
    request: Option<RequestId>,
    content: Content,
) -> Response<Parcel> {
    let (status, load) = match content {
        Content::Whole(answer) => {
            let bytes = Bytes::from(answer.body.to_string());
            (answer.status, Load::Whole(Some(bytes)))
        }
        Content::Parts(parts) => (StatusCode::OK, Load::Parts(parts)),
    };
    let mut response = Response::new(Parcel {
        load,
        outbox: Rc::clone(outbox),
        server: shared.server.name.clone(),
        peer,
        request,
        status,
        sent: None,
    });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Ok(name) = HeaderValue::from_str(&shared.server.name) {
        headers.insert(SERVER_HEADER, name);
    }
    response
}

/// A response's body, which tells the outbox when hyper has taken a part of it.
struct Parcel {
    load: Load,
    outbox: Rc<Outbox>,
    server: String,
    peer: SocketAddr,
    request: Option<RequestId>,
    status: StatusCode,
    /// What was taken so far; `None` before hyper asked for the first time.
    sent: Option<Progress>,
}

enum Load {
    Whole(Option<Bytes>),
    Parts(Parts),
}

impl Parcel {
    fn begins(&mut self) {
        if self.sent.is_none() {
            self.sent = Some(Progress::default());
            self.outbox.post(Observation::ServerResponse {
                server: self.server.clone(),
                peer: self.peer,
                request: self.request.clone(),
                status: self.status.as_u16(),
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

impl Body for Parcel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.begins();
        let next = match &mut self.load {
            Load::Whole(bytes) => return Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Load::Parts(parts) => ready!(parts.poll_next(cx)),
        };
        if let Some(part) = &next {
            self.goes_on(part);
        }
        Poll::Ready(next.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.load, Load::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.load {
            Load::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Load::Parts(_) => SizeHint::new(),
        }
    }
}

/// Responses hyper has taken and not yet written. They are recorded as sent at the next write the kernel takes.
struct Outbox {
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

    fn post(&self, observation: Observation) {
        self.waiting.borrow_mut().push(observation);
    }

    fn written(&self) {
        for observation in self.waiting.take() {
            self.recorder.emit(observation);
        }
    }
}

/// A server's TCP stream, which tells the outbox when the kernel took bytes.
struct Noting {
    stream: TcpStream,
    outbox: Rc<Outbox>,
    /// Bytes read ahead to learn the protocol.
    replay: Bytes,
}

impl AsyncRead for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.replay.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let length = self.replay.len().min(buffer.remaining());
        buffer.put_slice(&self.replay.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Noting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if matches!(result, Poll::Ready(Ok(_))) {
            self.outbox.written();
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        if matches!(result, Poll::Ready(Ok(_))) {
            self.outbox.written();
        }
        result
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
