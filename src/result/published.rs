//! Published figures beside measured ones.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seconds;
use crate::plan::{Since, Until};

/// What was published of a client, beside what was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PublishedResult {
    /// Times between two events.
    pub figures: Vec<FigureResult>,
    /// When a segment was sent again, counted from its first sending, as published; empty if it was not.
    #[serde(rename = "retransmissions_s", with = "seconds::list")]
    pub retransmissions: Vec<Duration>,
    /// When that segment's connection was given up, counted from its first sending, as published.
    #[serde(rename = "gave_up_after_s", with = "seconds::option")]
    pub gave_up: Option<Duration>,
}

/// A published time and the one measured between the same two events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FigureResult {
    /// The event both begin with.
    pub from: Since,
    /// The event both end with.
    pub until: Until,
    /// As published.
    #[serde(rename = "published_s", with = "seconds")]
    pub published: Duration,
    /// As measured; `None` if one of the two events did not happen.
    #[serde(rename = "measured_s", with = "seconds::option")]
    pub measured: Option<Duration>,
    /// Where the published time comes from and what to know of it.
    pub note: Option<String>,
}
