//! Requests: whose they are, how much of a response that goes on has come, and why there is none.

use serde::{Deserialize, Serialize};

/// A request of a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId {
    /// Client's name.
    pub client: String,
    /// Number within the client, from 1.
    pub number: u32,
    /// The workload it is of, where its client has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
}

/// How much of a response that goes on there is so far. Its parts are lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Whole parts.
    pub parts: u32,
    /// Bytes.
    pub bytes: u64,
}

/// Why a request has no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestError {
    /// No connection could be opened.
    Dial,
    /// The request's own time was over.
    Timeout,
    /// Its connection was lost.
    ConnectionLost,
    /// The response was an HTTP error.
    Status,
}
