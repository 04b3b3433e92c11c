//! HTTP/1.1: one request at a time on a connection, idle connections in a pool. A request that times out closes its
//! connection, for nothing else could tell its late response from the next one's.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::connections::Connection;
use super::dial::{Dialed, Dialer};
use super::exchange::{Failure, Reply};
use super::request_log::Attempt;
use crate::plan;
use crate::record::EndedBy;
use crate::task_group::TaskGroup;

/// The pool of one client.
pub(super) struct H1 {
    dialer: Dialer,
    idle: RefCell<Vec<Pooled>>,
    idle_timeout: Option<Duration>,
    idle_timer: Option<Duration>,
    read_timeout: Option<Duration>,
    tasks: TaskGroup,
}

struct Pooled {
    sender: SendRequest<Full<Bytes>>,
    connection: Rc<Connection>,
}

impl H1 {
    pub(super) fn new(dialer: Dialer, transport: &plan::Transport, tasks: TaskGroup) -> Self {
        Self {
            dialer,
            idle: RefCell::default(),
            idle_timeout: transport.idle_timeout,
            idle_timer: transport.idle_timer(),
            read_timeout: transport.read_timeout,
            tasks,
        }
    }

    /// One try of a request on an idle connection, or a new one.
    pub(super) async fn exchange(&self, now: &Attempt<'_>) -> Result<Reply, Failure> {
        let mut pooled = match self.take_idle() {
            Some(pooled) => pooled,
            None => self.open(now).await?,
        };
        let connection = Rc::clone(&pooled.connection);
        let reply = self.send(now, &mut pooled.sender, &connection).await?;
        // Ready again means that it is idle; anything else (`connection: close`) that it is not to be used again.
        if pooled.sender.ready().await.is_ok() {
            connection.set_idle(true);
            self.idle.borrow_mut().push(pooled);
        }
        Ok(reply)
    }

    /// The connection that was used last: the others may then grow old and be closed.
    fn take_idle(&self) -> Option<Pooled> {
        let mut idle = self.idle.borrow_mut();
        // The oldest first, as the pool has them. With a timer there is none left to find.
        for pooled in idle
            .iter()
            .filter(|p| p.connection.has_rested(self.idle_timeout))
        {
            pooled
                .connection
                .close(EndedBy::IdleTimeout, "idle timeout");
        }
        idle.retain(|pooled| !pooled.connection.is_over() && pooled.sender.is_ready());
        let pooled = idle.pop()?;
        pooled.connection.set_idle(false);
        Some(pooled)
    }

    async fn open(&self, now: &Attempt<'_>) -> Result<Pooled, Failure> {
        let dialed = self.dialer.dial(now.expired()).await;
        let Dialed { stream, connection } = dialed.map_err(|end| Failure::dial(&end))?;
        let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| lost(&connection, &error, false, false))?;
        let idle_timer = self.idle_timer;
        let driven = Rc::clone(&connection);
        self.tasks.spawn(async move {
            let mut driver = pin!(driver);
            // By reference: the socket is open until its end is recorded.
            tokio::select! {
                biased;
                result = &mut driver => {
                    driven.ended(match result {
                        Ok(()) => driven.socket.end_in_good_order(),
                        Err(error) => driven.socket.end_found(text_of(&error)),
                    });
                }
                () = driven.closing() => {}
                () = driven.idle_for(idle_timer) => driven.close(EndedBy::IdleTimeout, "idle timeout"),
            }
        });
        Ok(Pooled { sender, connection })
    }

    async fn send(
        &self,
        now: &Attempt<'_>,
        sender: &mut SendRequest<Full<Bytes>>,
        connection: &Rc<Connection>,
    ) -> Result<Reply, Failure> {
        let socket = &connection.socket;
        let reused = connection.is_warm();
        now.sending(connection);
        let (read_before, begun) = (socket.bytes_read(), Instant::now());
        let mut exchange = pin!(exchange(now, connection, sender));
        now.sent(connection);
        let silent = async {
            match self.read_timeout {
                Some(limit) => socket.silent(begun, limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            result = &mut exchange => match result {
                Ok((head, body)) => Ok(Reply::new(&head, body, connection.id)),
                Err(error) => Err(lost(connection, &error, socket.bytes_read() > read_before, reused)),
            },
            () = now.expired() => {
                connection.close(EndedBy::RequestTimeout, "a request on it timed out");
                Err(Failure::timeout(Some(connection.id), "while waiting for the response"))
            }
            () = silent => {
                connection.close(EndedBy::ReadTimeout, "no data while waiting for a response");
                Err(Failure::read_timeout(connection.id))
            }
        }
    }
}

async fn exchange(
    now: &Attempt<'_>,
    connection: &Connection,
    sender: &mut SendRequest<Full<Bytes>>,
) -> hyper::Result<(Response<()>, Bytes)> {
    let request = on_wire(now.message);
    let (head, mut body) = sender.send_request(request).await?.into_parts();
    let head = Response::from_parts(head, ());
    now.answered(connection, &head);
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame?.into_data() {
            now.take(connection, &piece, &mut whole);
        }
    }
    Ok((head, whole.into()))
}

/// The failure of a request whose connection is lost; records the connection's end if its driver has not yet.
fn lost(connection: &Connection, error: &hyper::Error, answering: bool, reused: bool) -> Failure {
    connection.ended(connection.socket.end_found(text_of(error)));
    let text = connection
        .end()
        .map_or_else(|| text_of(error), |end| end.text);
    Failure::lost(connection.id, &text, answering, reused)
}

/// HTTP/1.1 names the host in a header and asks for the path alone.
fn on_wire(message: &Request<Bytes>) -> Request<Full<Bytes>> {
    let (mut head, body) = message.clone().into_parts();
    if let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(HOST, host);
    }
    if let Some(path) = head.uri.path_and_query() {
        head.uri = Uri::from(path.clone());
    }
    Request::from_parts(head, Full::new(body))
}

/// An error with its source, as programs log it.
fn text_of(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
