//! Where things run: nodes and pods, with their addresses and sysctls.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Location;

/// A machine that can lose power.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Name.
    pub name: String,
    /// Number from 1; decides its addresses.
    pub index: u8,
    /// Address on the fabric (/24).
    pub address: Ipv4Addr,
    /// Address on the fabric (/64).
    pub address6: Ipv6Addr,
    /// Network of its pods (/24). Its first address is the pods' gateway.
    pub pod_network: Ipv4Addr,
    /// Network of its pods (/64). Its first address is the pods' gateway.
    pub pod_network6: Ipv6Addr,
    /// Sysctls written in the node's own namespace (its pods do not see them).
    pub sysctls: Vec<Sysctl>,
    /// What its pods send beyond their network bears the node's own address.
    #[serde(default)]
    pub masquerade: bool,
}

/// A sysctl to write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sysctl {
    /// Dotted key, e.g. `net.ipv4.tcp_retries2`.
    pub key: String,
    /// Value as written.
    pub value: String,
    /// Where it stood.
    pub location: Location,
}

/// A pod: a network namespace behind its node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// Name (that of its one server or client).
    pub name: String,
    /// Its node.
    pub node: String,
    /// Address in the node's pod network.
    pub address: Ipv4Addr,
    /// Address in the node's pod network.
    pub address6: Ipv6Addr,
    /// Sysctls written in the pod's namespace.
    pub sysctls: Vec<Sysctl>,
    /// By how much longer than this machine the one runs that it stands for; for [`super::Emulation::TwRecycle`] only.
    #[serde(default)]
    pub uptime: Duration,
}

/// Where a server or a client runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On the node itself (host network).
    Node(String),
    /// In a pod.
    Pod(String),
}
