//! What is looked at besides what verdicts need.

use serde::{Deserialize, Serialize};

use super::Location;

/// Bytes of packets kept of a link where the scenario does not say: some 4,000 of them.
pub(crate) const PACKET_LIMIT: u64 = 1 << 20;

/// What is looked at in a lab besides what verdicts need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// Every client's and server's sockets through time.
    pub sockets: bool,
    /// Counters of every namespace.
    pub counters: bool,
    /// Counters that must be there, with where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named_counters: Vec<(String, Location)>,
    /// The services' rules and connections.
    pub rules: bool,
    /// Servers of whose connections with clients something is expected: their links and the ends of their sockets are looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// Nodes and pods whose link's packets are kept.
    pub packets: Vec<String>,
    /// Bytes of packets kept of each of these links, the newest.
    #[serde(default = "packet_limit")]
    pub packet_limit: u64,
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            sockets: true,
            counters: true,
            named_counters: Vec::new(),
            rules: true,
            servers: Vec::new(),
            packets: Vec::new(),
            packet_limit: PACKET_LIMIT,
        }
    }
}

fn packet_limit() -> u64 {
    PACKET_LIMIT
}
