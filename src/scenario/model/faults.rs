//! Faults in a scenario file: when, and for how long. What breaks each kind's own file says.

use schemars::JsonSchema;

use crate::fault::FaultKindSpec;
use crate::plan::Phase;
use crate::yaml::value::{Spanned, Time};

/// A fault: what breaks, and either `at` which time or `when` a client is in a phase.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// How expectations call it: `expect: { CLIENT: { NAME: … } }` speaks of the outage that it causes.
    pub name: Option<Spanned<String>>,
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
    pub fault: Option<Spanned<FaultKindSpec>>,
    /// Several nodes lose their power and get it back, one after the other: a rolling upgrade. From `at` on; in place of `fault`.
    pub rolling: Option<Spanned<RollingSpec>>,
}

/// Several nodes lose their power and get it back, one after the other. With a `name`, each node's turn is called
/// `NAME-NODE`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollingSpec {
    /// The nodes, in their order.
    pub nodes: Spanned<Vec<Spanned<String>>>,
    /// How long each is without power.
    pub down: Spanned<Time>,
    /// From one node's power being back until the next one loses its own (default 0s).
    pub pause: Option<Spanned<Time>>,
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

impl FaultSpec {
    /// How many faults it comes to.
    pub(crate) fn count(&self) -> usize {
        let rolling = self.rolling.as_ref().and_then(Spanned::get);
        let nodes = rolling.and_then(|rolling| rolling.nodes.get());
        nodes.map_or(1, Vec::len)
    }
}
