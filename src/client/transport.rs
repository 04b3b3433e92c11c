//! A client's transport: requests with their timeouts and retries over HTTP/1.1 or HTTP/2.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Request};
use tokio::time::Instant;

use super::connections::Connections;
use super::dial::Dialer;
use super::exchange::{Ask, Failure, Reply};
use super::h1::H1;
use super::h2::H2;
use super::request_log::{Attempt, RequestLog};
use super::surroundings::{ClientError, Surroundings};
use crate::contract::REQUEST_HEADER;
use crate::contract::phase::RequestStage;
use crate::plan::{self, CloseOnFailure, Protocol};
use crate::record::{EndedBy, Observation, RequestError, RequestId};
use crate::task_group::TaskGroup;

/// One client's transport.
pub(super) struct HttpTransport {
    protocol: Version,
    log: RequestLog,
    connections: Rc<Connections>,
    retry: plan::Retry,
    origin: Origin,
    last: Cell<u32>,
}

enum Version {
    H1(Box<H1>),
    H2(H2),
}

/// Scheme and authority of everything a client asks.
struct Origin {
    scheme: &'static str,
    authority: String,
}

impl HttpTransport {
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
                Protocol::H1 => Version::H1(Box::new(H1::new(dialer, &client.transport, tasks))),
                Protocol::H2 => Version::H2(H2::new(
                    dialer,
                    &client.name,
                    &client.transport,
                    around.recorder.clone(),
                    tasks,
                )),
            },
            log: RequestLog::new(
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
            client: self.log.client.clone(),
            number,
            workload: ask.workload.map(str::to_owned),
        };
        let deadline = ask.timeout.map(|limit| Instant::now() + limit);
        let stream = ask.stream;
        let message = match self.message(&id, ask.method, ask.path, ask.body) {
            Ok(message) => message,
            Err(error) => {
                self.log.recorder.emit(Observation::RigError {
                    text: format!("client {}: {error}", self.log.client),
                    location: None,
                });
                return Err(RequestError::Status);
            }
        };
        self.log.waits_on(&id, None, RequestStage::Connecting);
        let first = Attempt {
            log: &self.log,
            id: &id,
            attempt: 1,
            message: &message,
            deadline,
            stream: stream.as_ref(),
        };
        let result = self.tries(first).await;
        self.log.end(id, result)
    }

    async fn tries(&self, mut now: Attempt<'_>) -> Result<Reply, Failure> {
        loop {
            let result = match &self.protocol {
                Version::H1(h1) => h1.exchange(&now).await,
                Version::H2(h2) => h2.exchange(&now).await,
            };
            let failure = match result {
                Err(failure) if self.tries_again(&now, &failure) => failure,
                other => return other,
            };
            self.log.waits_on(now.id, None, RequestStage::Connecting);
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
    fn tries_again(&self, now: &Attempt<'_>, failure: &Failure) -> bool {
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
        self.log.phases.rest(&self.log.client);
    }

    /// The case ends: what still waits has no response.
    pub(super) fn give_up_waiting(&self) {
        self.log.give_up_waiting();
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
impl Drop for HttpTransport {
    fn drop(&mut self) {
        self.log.phases.leave(&self.log.client);
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
}
