//! What one of several faults did to a client.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ClientResult, Part, PredictedResult, seconds};
use crate::plan::{Cause, Phase};

/// What one of several faults did to a client, until another fault struck it after its recovery, or the case's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutageResult {
    /// The fault: its place in the case's `faults`, from 0.
    pub fault: usize,
    /// The fault's name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The client had not recovered from an earlier fault yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub during_another: bool,
    /// The fault that its times are counted from.
    #[serde(rename = "fault_at_s", with = "seconds::option")]
    pub fault_at: Option<Duration>,
    /// What the client was doing then.
    pub phase: Option<Phase>,
    /// What ended the wait on the connection that the fault struck.
    pub cause: Option<Cause>,
    /// What says so.
    pub evidence: Option<String>,
    /// From the fault until the client gave that connection up; `None` = never.
    #[serde(rename = "detected_after_s", with = "seconds::option")]
    pub detected_after: Option<Duration>,
    /// The record does not say whether it did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detection_unknown: bool,
    /// From the fault until the client recovered, and stayed well until another fault struck it or the case ended; `None` =
    /// never.
    #[serde(rename = "recovered_after_s", with = "seconds::option")]
    pub recovered_after: Option<Duration>,
    /// Requests that ended without a response meanwhile; `None` for a program.
    pub requests_failed: Option<u32>,
    /// Dials meanwhile.
    pub dials: u32,
    /// The longest time meanwhile from one response, or part of one, to the next.
    #[serde(
        default,
        rename = "longest_without_response_s",
        with = "seconds::option"
    )]
    pub longest_without_response: Option<Duration>,
    /// The outage in its parts.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// What of it lies in no part.
    #[serde(default, rename = "unexplained_s", with = "seconds::option")]
    pub unexplained: Option<Duration>,
    /// What the timeout model says of a client that this fault strikes; `None` if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<PredictedResult>,
    /// The same, given what the client was doing when it struck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_given_phase: Option<PredictedResult>,
}

/// What one of several faults did to a client, in full: as of a case that ended when another fault struck the client after its
/// recovery.
#[derive(Debug, Clone, PartialEq)]
pub struct OfFault {
    /// The fault: its place in the case's `faults`, from 0.
    pub fault: usize,
    /// All that is known of the client then.
    pub client: ClientResult,
}
