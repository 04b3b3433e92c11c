//! A client's transport: requests with their timeouts and retries over HTTP/1.1 or HTTP/2.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tokio::time::Instant;

use super::connections::{Connection, Connections};
use super::dial::Dialer;
use super::h1::H1;
use super::h2::H2;
use super::phase::{Call, PhaseBoard};
use super::{ClientError, Surroundings};
use crate::plan::{self, Protocol, RetryOn};
use crate::record::{ConnectionEnd, EndedBy, Observation, Recorder, RequestError, RequestId};
use crate::server::{REQUEST_HEADER, SERVER_HEADER};
use crate::task_group::TaskGroup;

/// One client's transport.
pub(super) struct Transport {
    protocol: Speaker,
    desk: Rc<Desk>,
    connections: Rc<Connections>,
    request_timeout: Option<Duration>,
    retry: plan::Retry,
    origin: Origin,
    last: Cell<u32>,
}

enum Speaker {
    H1(Box<H1>),
    H2(H2),
}

/// Scheme and authority of everything a client asks.
struct Origin {
    scheme: &'static str,
    authority: String,
}

/// Where a client's requests are noted, for the record and the phase board.
pub(super) struct Desk {
    client: String,
    recorder: Recorder,
    phases: Rc<PhaseBoard>,
    /// Requests under way, and the connection each waits on.
    waiting: RefCell<BTreeMap<u32, Option<u32>>>,
}

/// A whole response.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) server: Option<String>,
    pub(super) body: Bytes,
    /// Connection it came on.
    pub(super) connection: u32,
}

/// Why one try has no response.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: RequestError,
    pub(super) connection: Option<u32>,
    pub(super) text: String,
    /// Settings of [`plan::Retry::on`] under which it is tried again.
    pub(super) retried_by: &'static [RetryOn],
}

/// One try of a request.
pub(super) struct Try<'a> {
    pub(super) desk: &'a Desk,
    pub(super) number: u32,
    pub(super) attempt: u32,
    pub(super) message: &'a Request<Bytes>,
    pub(super) deadline: Option<Instant>,
}

impl Transport {
    pub(super) fn new(
        client: &plan::Client,
        around: &Surroundings,
        tasks: TaskGroup,
    ) -> Result<Self, ClientError> {
        let connections = Connections::new(&client.name, around.recorder.clone());
        let dialer = Dialer::new(client, around, Rc::clone(&connections))?;
        around.phases.join(&client.name);
        Ok(Self {
            protocol: match client.transport.protocol {
                Protocol::H1 => Speaker::H1(Box::new(H1::new(dialer, &client.transport, tasks))),
                Protocol::H2 => Speaker::H2(H2::new(
                    dialer,
                    &client.name,
                    &client.transport,
                    around.recorder.clone(),
                    tasks,
                )),
            },
            desk: Rc::new(Desk {
                client: client.name.clone(),
                recorder: around.recorder.clone(),
                phases: Rc::clone(&around.phases),
                waiting: RefCell::default(),
            }),
            connections,
            request_timeout: client.transport.request_timeout,
            retry: client.transport.retry.clone(),
            origin: Origin::of(&client.target),
            last: Cell::new(0),
        })
    }

    /// Sends a request and waits for its response, with all tries. Everything is recorded.
    ///
    /// # Errors
    /// Why there is none, or the HTTP error there is.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Reply, RequestError> {
        let number = self.last.get() + 1;
        self.last.set(number);
        let message = match self.message(number, method, path, body) {
            Ok(message) => message,
            Err(error) => {
                self.desk.recorder.emit(Observation::RigError {
                    text: format!("client {}: {error}", self.desk.client),
                    location: None,
                });
                return Err(RequestError::Status);
            }
        };
        let deadline = self.request_timeout.map(|limit| Instant::now() + limit);
        self.desk.begin(number);
        let result = self.tries(number, &message, deadline).await;
        self.desk.end(number, result)
    }

    async fn tries(
        &self,
        number: u32,
        message: &Request<Bytes>,
        deadline: Option<Instant>,
    ) -> Result<Reply, Failure> {
        let mut attempt = 1;
        loop {
            let now = Try {
                desk: &self.desk,
                number,
                attempt,
                message,
                deadline,
            };
            let result = match &self.protocol {
                Speaker::H1(h1) => h1.exchange(&now).await,
                Speaker::H2(h2) => h2.exchange(&now).await,
            };
            let failure = match result {
                Err(failure) if self.tries_again(attempt, &failure) => failure,
                other => return other,
            };
            self.desk.waits_on(number, None, Call::Connecting);
            tokio::select! {
                biased;
                () = until(deadline) => return Err(Failure {
                    connection: None,
                    ..Failure::timeout(None, &failure.text)
                }),
                () = tokio::time::sleep(self.retry.backoff) => attempt += 1,
            }
        }
    }

    fn tries_again(&self, attempt: u32, failure: &Failure) -> bool {
        attempt <= self.retry.attempts
            && failure
                .retried_by
                .iter()
                .any(|on| self.retry.on.contains(on))
    }

    fn message(
        &self,
        number: u32,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Bytes>, ClientError> {
        let url = format!("{}://{}{path}", self.origin.scheme, self.origin.authority);
        Request::builder()
            .method(method)
            .uri(&url)
            .header(REQUEST_HEADER, format!("{}/{number}", self.desk.client))
            .body(body)
            .map_err(|source| ClientError::Url { url, source })
    }

    /// The workload pauses.
    pub(super) fn rest(&self) {
        self.desk.phases.rest(&self.desk.client);
    }

    /// The case ends: what still waits has no response.
    pub(super) fn give_up_waiting(&self) {
        let waiting = std::mem::take(&mut *self.desk.waiting.borrow_mut());
        for (number, connection) in waiting {
            self.desk.recorder.emit(Observation::RequestUnfinished {
                request: self.desk.request(number),
                connection,
            });
        }
    }

    /// Ends every connection and dial.
    pub(super) fn close_all(&self, by: EndedBy, text: &str) {
        self.connections.close_all(by, text);
    }
}

/// However the client ends, also by a loss of power.
impl Drop for Transport {
    fn drop(&mut self) {
        self.desk.phases.leave(&self.desk.client);
    }
}

impl Desk {
    fn request(&self, number: u32) -> RequestId {
        RequestId {
            client: self.client.clone(),
            number,
        }
    }

    fn begin(&self, number: u32) {
        self.waits_on(number, None, Call::Connecting);
    }

    fn waits_on(&self, number: u32, connection: Option<u32>, call: Call) {
        self.waiting.borrow_mut().insert(number, connection);
        self.phases.set(&self.client, number, call);
    }

    fn end(&self, number: u32, result: Result<Reply, Failure>) -> Result<Reply, RequestError> {
        self.waiting.borrow_mut().remove(&number);
        self.phases.over(&self.client, number);
        let result = result.and_then(Reply::checked);
        let request = self.request(number);
        match result {
            Ok(reply) => {
                self.recorder.emit(Observation::Response {
                    request,
                    connection: reply.connection,
                    server: reply.server.clone(),
                    status: reply.status.as_u16(),
                });
                Ok(reply)
            }
            Err(failure) => {
                self.recorder.emit(Observation::RequestFailed {
                    request,
                    connection: failure.connection,
                    error: failure.error,
                    text: failure.text,
                });
                Err(failure.error)
            }
        }
    }
}

impl Try<'_> {
    /// The request is about to be written to `connection`.
    pub(super) fn sending(&self, connection: &Connection) {
        let warm = connection.count_request() > 0;
        self.desk
            .waiting
            .borrow_mut()
            .insert(self.number, Some(connection.id));
        self.desk
            .phases
            .before_write(&self.desk.client, self.number, warm);
        self.desk.recorder.emit(Observation::RequestSent {
            request: self.desk.request(self.number),
            connection: connection.id,
            attempt: self.attempt,
        });
    }

    /// It is handed over.
    pub(super) fn sent(&self, connection: &Connection) {
        let call = Call::Sent(Rc::clone(&connection.wire));
        self.desk.waits_on(self.number, Some(connection.id), call);
    }

    /// Its time is over.
    pub(super) async fn expired(&self) {
        until(self.deadline).await;
    }
}

impl Reply {
    pub(super) fn new(head: &Response<()>, body: Bytes, connection: u32) -> Self {
        let server = head.headers().get(SERVER_HEADER);
        Self {
            status: head.status(),
            server: server
                .and_then(|v: &HeaderValue| v.to_str().ok())
                .map(str::to_owned),
            body,
            connection,
        }
    }

    /// An HTTP error is a failure, but for 409: that is how a lock says that another was faster.
    fn checked(self) -> Result<Self, Failure> {
        let error = self.status.is_client_error() || self.status.is_server_error();
        if !error || self.status == StatusCode::CONFLICT {
            return Ok(self);
        }
        let mut text = format!("HTTP {}", self.status);
        if !self.body.is_empty() {
            let _ = write!(text, ": {}", String::from_utf8_lossy(&self.body));
        }
        Err(Failure {
            error: RequestError::Status,
            connection: Some(self.connection),
            text,
            retried_by: &[],
        })
    }
}

impl Failure {
    /// No connection could be opened.
    pub(super) fn dial(end: &ConnectionEnd) -> Self {
        if end.by == EndedBy::RequestTimeout {
            return Self::timeout(None, "while connecting");
        }
        Self {
            error: RequestError::Dial,
            connection: None,
            text: format!("dial: {}", end.text),
            retried_by: &[RetryOn::DialFailed],
        }
    }

    /// The request's own time was over.
    pub(super) fn timeout(connection: Option<u32>, doing: &str) -> Self {
        Self {
            error: RequestError::Timeout,
            connection,
            text: format!("request timeout exceeded ({doing})"),
            retried_by: &[],
        }
    }

    /// No byte came for too long.
    pub(super) fn read_timeout(connection: u32) -> Self {
        Self {
            error: RequestError::Timeout,
            connection: Some(connection),
            text: "read timeout exceeded".to_owned(),
            retried_by: &[],
        }
    }

    /// The connection was lost. `answering`: the response had begun. `reused`: it had carried a request before.
    pub(super) fn lost(connection: u32, text: &str, answering: bool, reused: bool) -> Self {
        Self {
            error: RequestError::ConnectionLost,
            connection: Some(connection),
            text: format!("connection lost: {text}"),
            retried_by: match (answering, reused) {
                (true, _) => &[],
                (false, false) => &[RetryOn::ConnectionLost],
                (false, true) => &[RetryOn::ConnectionLost, RetryOn::ReusedConnectionLost],
            },
        }
    }
}

impl Origin {
    fn of(target: &plan::Target) -> Self {
        let (scheme, port) = if target.tls {
            ("https", 443)
        } else {
            ("http", 80)
        };
        let host = target.host.trim_matches(['[', ']']);
        let mut authority = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        if target.address.port() != port {
            let _ = write!(authority, ":{}", target.address.port());
        }
        Self { scheme, authority }
    }
}

/// Waits until `deadline`; for ever without one.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, address: &str, tls: bool) -> plan::Target {
        plan::Target {
            host: host.to_owned(),
            address: address.parse().expect("an address"),
            path: "/".to_owned(),
            tls,
            servers: Vec::new(),
            service: None,
        }
    }

    #[test]
    fn the_authority_names_a_port_only_where_it_must() {
        let authority = |t: plan::Target| Origin::of(&t).authority;
        assert_eq!(authority(target("aa", "10.0.0.1:443", true)), "aa");
        assert_eq!(authority(target("aa", "10.0.0.1:443", false)), "aa:443");
        assert_eq!(authority(target("aa", "10.0.0.1:80", false)), "aa");
        assert_eq!(
            authority(target("fd00::1", "[fd00::1]:8080", false)),
            "[fd00::1]:8080"
        );
    }

    #[test]
    fn a_conflict_is_an_answer_and_other_http_errors_are_failures() {
        let checked = |status: StatusCode| {
            let reply = Reply {
                status,
                server: None,
                body: Bytes::new(),
                connection: 1,
            };
            reply.checked().map(|r| r.status).map_err(|f| f.error)
        };
        assert_eq!(checked(StatusCode::OK), Ok(StatusCode::OK));
        assert_eq!(checked(StatusCode::CONFLICT), Ok(StatusCode::CONFLICT));
        assert_eq!(checked(StatusCode::NOT_FOUND), Err(RequestError::Status));
        assert_eq!(checked(StatusCode::BAD_GATEWAY), Err(RequestError::Status));
    }
}
