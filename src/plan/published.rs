//! Figures that others have published of what a case reproduces. They decide no verdict.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What was published of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// Client.
    pub client: String,
    /// Times between two events.
    pub figures: Vec<Figure>,
    /// When a segment was sent again, counted from its first sending; empty if that was not published.
    pub retransmissions: Vec<Duration>,
    /// When the kernel gave that segment's connection up, counted from its first sending.
    pub gave_up: Option<Duration>,
}

/// A published time, and between which two events it was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The event it begins with.
    pub from: Since,
    /// The event it ends with.
    pub until: Until,
    /// The published time.
    pub time: Duration,
    /// Where it comes from and what to know of it.
    pub note: Option<String>,
}

/// The event that a published time begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// The fault.
    Fault,
    /// The last response from a live server before the fault.
    LastGood,
    /// The first sending of the first request that failed after the fault.
    RequestSent,
    /// The first sending of the segment that was sent again until its connection was given up.
    UnansweredSent,
}

impl Since {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::LastGood => "last good response",
            Self::RequestSent => "request sent",
            Self::UnansweredSent => "unanswered segment first sent",
        }
    }
}

/// The event that a published time ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// The client gave up the dead connection.
    Detected,
    /// The first response after which the client stays well.
    Recovered,
    /// The first request that failed after the fault has its error.
    RequestFailed,
    /// The first dial after the dead connection was given up ends in vain.
    DialFailed,
}

impl Until {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Detected => "dead connection given up",
            Self::Recovered => "next good response",
            Self::RequestFailed => "error returned",
            Self::DialFailed => "next dial failed",
        }
    }
}
