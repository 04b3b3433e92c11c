//! A client's transport: requests with their timeouts and retries over HTTP/1.1 or HTTP/2.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use tokio::time::Instant;

use super::connections::Connections;
use super::desk::{Desk, Stream, Try, server_of};
use super::dial::Dialer;
use super::h1::H1;
use super::h2::H2;
use super::phase::Call;
use super::{ClientError, Surroundings};
use crate::plan::{self, CloseOnFailure, Protocol, RetryOn};
use crate::record::{ConnectionEnd, EndedBy, Observation, RequestError, RequestId};
use crate::server::REQUEST_HEADER;
use crate::task_group::TaskGroup;

/// One client's transport.
pub(super) struct Transport {
    protocol: Speaker,
    desk: Desk,
    connections: Rc<Connections>,
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

/// What a workload asks for.
pub(super) struct Ask<'a> {
    /// The workload's name, where the client has several.
    pub(super) workload: Option<&'a str>,
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Bytes,
    /// Time it may take, response included.
    pub(super) timeout: Option<Duration>,
    /// Its response is to go on.
    pub(super) stream: Option<Stream>,
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
            desk: Desk::new(
                &client.name,
                around.recorder.clone(),
                Rc::clone(&around.phases),
            ),
            connections,
            retry: client.transport.retry.clone(),
            origin: Origin::of(&client.target),
            last: Cell::new(0),
        })
    }

    /// Sends a request and waits for its response, with all tries. Everything is recorded.
    ///
    /// # Errors
    /// Why there is none, or the HTTP error there is.
    pub(super) async fn request(&self, ask: Ask<'_>) -> Result<Reply, RequestError> {
        let number = self.last.get() + 1;
        self.last.set(number);
        let id = RequestId {
            client: self.desk.client.clone(),
            number,
            workload: ask.workload.map(str::to_owned),
        };
        let deadline = ask.timeout.map(|limit| Instant::now() + limit);
        let stream = ask.stream;
        let message = match self.message(&id, ask.method, ask.path, ask.body) {
            Ok(message) => message,
            Err(error) => {
                self.desk.recorder.emit(Observation::RigError {
                    text: format!("client {}: {error}", self.desk.client),
                    location: None,
                });
                return Err(RequestError::Status);
            }
        };
        self.desk.waits_on(&id, None, Call::Connecting);
        let first = Try {
            desk: &self.desk,
            id: &id,
            attempt: 1,
            message: &message,
            deadline,
            stream: stream.as_ref(),
        };
        let result = self.tries(first).await;
        self.desk.end(id, result)
    }

    async fn tries(&self, mut now: Try<'_>) -> Result<Reply, Failure> {
        loop {
            let result = match &self.protocol {
                Speaker::H1(h1) => h1.exchange(&now).await,
                Speaker::H2(h2) => h2.exchange(&now).await,
            };
            let failure = match result {
                Err(failure) if self.tries_again(&now, &failure) => failure,
                other => return other,
            };
            self.desk.waits_on(now.id, None, Call::Connecting);
            tokio::select! {
                biased;
                () = now.expired() => return Err(Failure {
                    connection: None,
                    ..Failure::timeout(None, &failure.text)
                }),
                () = tokio::time::sleep(self.retry.backoff) => now.attempt += 1,
            }
        }
    }

    /// What may have been done already is not asked for again by the transport itself: only safe methods are (RFC 9110,
    /// 9.2), as in Go's; others once it is clear that nothing was sent.
    fn tries_again(&self, now: &Try<'_>, failure: &Failure) -> bool {
        let harmless = now.message.method().is_safe() || failure.error == RequestError::Dial;
        harmless
            && now.attempt <= self.retry.attempts
            && failure
                .retried_by
                .iter()
                .any(|on| self.retry.on.contains(on))
    }

    fn message(
        &self,
        id: &RequestId,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Bytes>, ClientError> {
        let url = format!("{}://{}{path}", self.origin.scheme, self.origin.authority);
        Request::builder()
            .method(method)
            .uri(&url)
            .header(REQUEST_HEADER, header_of(id))
            .body(body)
            .map_err(|source| ClientError::Url { url, source })
    }

    /// The workload pauses.
    pub(super) fn rest(&self) {
        self.desk.phases.rest(&self.desk.client);
    }

    /// The case ends: what still waits has no response.
    pub(super) fn give_up_waiting(&self) {
        self.desk.give_up_waiting();
    }

    /// Closes connections because heartbeats failed.
    pub(super) fn begin_anew(&self, which: CloseOnFailure) {
        let by = EndedBy::HeartbeatFailure;
        let text = "closed after heartbeats had failed";
        self.connections.close_open(by, text, which);
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

impl Reply {
    pub(super) fn new(head: &Response<()>, body: Bytes, connection: u32) -> Self {
        Self {
            status: head.status(),
            server: server_of(head),
            body,
            connection,
        }
    }

    /// An HTTP error is a failure, but for 409: that is how a lock says that another was faster.
    pub(super) fn checked(self) -> Result<Self, Failure> {
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

/// What servers are told of a request: `CLIENT/NUMBER`, or `CLIENT/WORKLOAD/NUMBER`.
fn header_of(id: &RequestId) -> String {
    match &id.workload {
        None => format!("{}/{}", id.client, id.number),
        Some(workload) => format!("{}/{workload}/{}", id.client, id.number),
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
