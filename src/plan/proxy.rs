//! How a service's connections find an endpoint.

use serde::{Deserialize, Serialize};

/// Every mode: what it does, its name, and its file in `lab/service/`. A new one is that file and a line here.
macro_rules! proxies {
    ($with:ident) => {
        $with! {
            /// DNAT rules shaped like those of kube-proxy's iptables mode, in the client's node.
            Iptables: iptables;
            /// DNAT by nf_tables' maps, shaped like those of kube-proxy's nftables mode, in the client's node.
            Nftables: nftables;
            /// The kernel's IPVS, set up as kube-proxy's ipvs mode does it, in the client's node. Round robin; a connection
            /// is forgotten 900 s after its last packet.
            Ipvs: ipvs;
            /// The address is that of a node, the first endpoint's, and moves to the next one's when that leaves (keepalived, by
            /// gratuitous ARP). Endpoints are servers with `host_network: true` on the service's port.
            Vip: vip;
            /// None of the lab's rules: programs set theirs, such as kube-proxy with `capabilities: [net_admin]`.
            Programs: programs;
        }
    };
}
pub(crate) use proxies;

macro_rules! words {
    ($($(#[$about:meta])* $proxy:ident: $file:ident;)*) => {
        /// How a service's connections find an endpoint.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Proxy {
            $($(#[$about])* $proxy,)*
        }
    };
}
proxies!(words);

impl Proxy {
    /// Whether rules throw dice for each new connection.
    #[must_use]
    pub fn throws_dice(self) -> bool {
        match self {
            Self::Iptables | Self::Nftables | Self::Programs => true,
            // Round robin; one alone.
            Self::Ipvs | Self::Vip => false,
        }
    }

    /// Whether conntrack's entry keeps an established connection where it is, and leads there whatever rules say.
    #[must_use]
    pub fn translates_by_conntrack(self) -> bool {
        match self {
            Self::Iptables | Self::Nftables | Self::Programs => true,
            // By a table of its own; not at all.
            Self::Ipvs | Self::Vip => false,
        }
    }

    /// Whether one endpoint alone has the service's address itself.
    #[must_use]
    pub fn moves(self) -> bool {
        match self {
            Self::Vip => true,
            Self::Iptables | Self::Nftables | Self::Ipvs | Self::Programs => false,
        }
    }
}

/// Where nothing is said, in a scenario or in an older record.
impl Default for Proxy {
    fn default() -> Self {
        Self::Iptables
    }
}
