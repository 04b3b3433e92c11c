//! What a node and the servers that judge it say to each other.

use serde::{Deserialize, Serialize};

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Its name.
    pub node: String,
    /// How long it may be silent before it is judged not ready, in milliseconds.
    pub grace_ms: u64,
}
