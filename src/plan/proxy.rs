//! How a service's connections find an endpoint.

use serde::{Deserialize, Serialize};

/// Every mode: what it does, its name, and its file in `lab/service/`. A new one is that file and a line here.
macro_rules! proxies {
    ($with:ident) => {
        $with! {
            /// DNAT rules shaped like those of kube-proxy's iptables mode, in the client's node.
            Iptables: iptables;
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

/// Where nothing is said, in a scenario or in an older record.
impl Default for Proxy {
    fn default() -> Self {
        Self::Iptables
    }
}
