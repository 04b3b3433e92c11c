//! What is asked and what comes of it: a workload's request, its response, or why there is none; and limits of time.

use std::cell::Cell;
use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use tokio::time::Instant;

use crate::contract::SERVER_HEADER;
use crate::plan::RetryOn;
use crate::record::{ConnectionEnd, EndedBy, Progress, RequestError};

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
    pub(super) stream: Option<Streaming>,
}

/// A request whose response goes on.
#[derive(Default)]
pub(super) struct Streaming {
    /// Pause between the client's own messages; `None` = its request is whole from the beginning.
    pub(super) messages: Option<Duration>,
    pub(super) began: Cell<bool>,
    pub(super) received: Cell<Progress>,
}

impl Streaming {
    pub(super) fn new(messages: Option<Duration>) -> Self {
        Self {
            messages,
            ..Self::default()
        }
    }
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
    /// Settings of [`crate::plan::Retry::on`] under which it is tried again.
    pub(super) retried_by: &'static [RetryOn],
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

/// The server that answers, by its own word.
pub(super) fn server_of(head: &Response<()>) -> Option<String> {
    let name = head.headers().get(SERVER_HEADER)?.to_str().ok()?;
    Some(name.to_owned())
}

/// Waits until `deadline`; for ever without one.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// `work`'s result, or `None` when `limit` passed first.
pub(super) async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
        None => Some(work.await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
