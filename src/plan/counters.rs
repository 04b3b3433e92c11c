//! What must hold of the counters of a namespace.

use serde::{Deserialize, Serialize};

use super::CountWindow;
use super::Location;

/// What must hold of a counter of a node or pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CounterExpectation {
    /// As named in the scenario: a node, a server or a client.
    pub of: String,
    /// The node or pod whose namespace counts.
    pub place: String,
    /// The counter, with its group, e.g. `TcpExt.ListenDrops`.
    pub counter: String,
    /// What it must have grown by, from the case's start to its end.
    pub growth: Growth,
    /// As written, e.g. `web TcpExt.ListenDrops: at least 1`.
    pub text: String,
    /// Where it stood.
    pub location: Location,
}

/// By how much a counter must have grown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// A number in a window.
    Within(CountWindow),
    /// As much as another counter of the same namespace.
    SameAs(String),
}
