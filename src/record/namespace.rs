//! What a whole network namespace knows: counters, rules, connections.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A point in a case at which whole namespaces are looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// All is set up, and nothing has happened yet.
    Start,
    /// A fault is in force, by its index in the case.
    Fault(usize),
    /// An endpoint has just left a service's rules.
    EndpointRemoved(String),
    /// The case is over.
    End,
}

/// A connection to a service, as conntrack has it, or IPVS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The client's address.
    pub from: SocketAddr,
    /// The service's address.
    pub to: SocketAddr,
    /// The endpoint it is sent to: the source of what comes back.
    pub endpoint: SocketAddr,
    /// Its state there, e.g. `ESTABLISHED`.
    pub state: String,
    /// Seconds until it is forgotten, if nothing more comes.
    pub timeout_s: u32,
    /// Data went both ways: conntrack gives others up first when it is full. (IPVS knows no such thing.)
    pub assured: bool,
}
