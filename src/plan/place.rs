//! Where things run: nodes and pods, with their addresses and sysctls.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
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

/// What a sysctl is set to: of several writings the last one rules.
#[must_use]
pub fn sysctl_value<'a>(sysctls: &'a [Sysctl], key: &str) -> Option<&'a str> {
    let mut all = sysctls.iter().rev();
    all.find(|sysctl| sysctl.key == key)
        .map(|sysctl| sysctl.value.as_str())
}

/// The same of a number. A value that is none is the machine's to refuse, and counts as not set.
#[must_use]
pub fn sysctl_number<T: FromStr>(sysctls: &[Sysctl], key: &str) -> Option<T> {
    sysctl_value(sysctls, key)?.trim().parse().ok()
}

/// The sysctls set in a place's own network namespace.
#[must_use]
pub fn sysctls_at<'a>(nodes: &'a [Node], pods: &'a [Pod], place: &Place) -> &'a [Sysctl] {
    let own = match place {
        Place::Node(name) => nodes.iter().find(|n| n.name == *name).map(|n| &n.sysctls),
        Place::Pod(name) => pods.iter().find(|p| p.name == *name).map(|p| &p.sysctls),
    };
    own.map_or(&[], Vec::as_slice)
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

impl Place {
    /// The node's name, or the pod's.
    #[must_use]
    pub fn name(&self) -> &str {
        let (Self::Node(name) | Self::Pod(name)) = self;
        name
    }
}
