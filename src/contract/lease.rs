//! What a candidate and a server with a lock say to each other.

use serde::{Deserialize, Serialize};

/// A lease as a server shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it; `null` when it is free or expired.
    pub holder: Option<String>,
    /// Rises with every change.
    pub version: u64,
    /// Milliseconds until it expires, 0 when free.
    pub expires_in_ms: u64,
}

/// What a candidate puts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The candidate.
    pub holder: String,
    /// How long the lease is to last, in milliseconds.
    pub lease_ms: u64,
    /// The version it read.
    pub version: u64,
}
