//! Faults in a scenario file: when, and for how long. What breaks each kind's own file says.

use schemars::JsonSchema;

use crate::fault::FaultKindSpec;
use crate::plan::Phase;
use crate::yaml::value::{Spanned, Time};

/// A fault: what breaks, and either `at` which time or `when` a client is in a phase.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// Time from the case's start.
    pub at: Option<Spanned<Time>>,
    /// Random time on top of `at`, at most this (default none); by the case's seed, so every repetition has its own.
    pub jitter: Option<Spanned<Time>>,
    /// A client's phase to wait for.
    pub when: Option<Spanned<WhenSpec>>,
    /// How long it lasts; then everything is as before (default: until the case's end). The endpoints of a node that has its
    /// power back are in the rules of services again after their `readiness`.
    #[serde(rename = "for")]
    pub lasts: Option<Spanned<Time>>,
    /// What breaks.
    pub fault: Spanned<FaultKindSpec>,
}

/// A client's phase to wait for.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhenSpec {
    /// The client.
    pub client: Spanned<String>,
    /// The phase.
    pub phase: Spanned<Phase>,
    /// Not before this time from the case's start (default 5s: all clients have their connections by then).
    pub after: Option<Spanned<Time>>,
}
