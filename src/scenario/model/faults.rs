//! Faults in a scenario file: what breaks, when, where and for how long.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::{Spanned, Time};
use crate::plan::{Direction, Neighbour, Phase, RejectWith};

/// A fault: what breaks, and either `at` which time or `when` a client is in a phase.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// Time from the case's start.
    pub at: Option<Spanned<Time>>,
    /// Random time on top of `at`, at most this (default none); by the case's seed, so every repetition has its own.
    pub jitter: Option<Spanned<Time>>,
    /// A client's phase to wait for.
    pub when: Option<Spanned<WhenSpec>>,
    /// How long it lasts; then everything is as before (default: until the case's end).
    #[serde(rename = "for")]
    pub lasts: Option<Spanned<Time>>,
    /// What breaks.
    pub fault: Spanned<FaultKindSpec>,
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

/// What breaks.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKindSpec {
    /// A node and everything on it is gone, and says nothing.
    PowerLoss(PowerLossSpec),
    /// A node that lost its power comes back empty: its servers listen again, and RST answers what is left of old
    /// connections. Clients that ran there stay gone.
    PowerRestore(PowerRestoreSpec),
    /// A server's or a client's program is killed; its kernel closes what it had open (FIN or RST) and refuses what
    /// comes then. With `for`, a server is started again after that time.
    ProcessKill(ProcessKillSpec),
    /// A server's program does nothing at all. Its kernel goes on acknowledging and accepting.
    Hang(HangSpec),
    /// A link loses its carrier: a node's uplink, or that of a pod, with the node's end of it taken down.
    LinkDown(LinkDownSpec),
    /// Packets vanish, all of them or some by chance. (ARP and neighbour discovery do not.)
    Loss(LossSpec),
    /// Packets take longer (netem).
    Delay(DelaySpec),
    /// A router answers, and lets nothing pass.
    Reject(RejectSpec),
    /// SYNs vanish; established connections live on.
    SynDrop(SynDropSpec),
    /// An endpoint leaves a service's rules. Established connections to it stay.
    EndpointRemoved(EndpointSpec),
    /// An endpoint that has left a service's rules is in them again.
    EndpointAdded(EndpointSpec),
    /// The clients' nodes forget a service's connections (conntrack): what is sent next is translated anew.
    ConntrackDeleted(ConntrackDeletedSpec),
    /// The kernel destroys a client's connections (SOCK_DESTROY), as Cilium does for backends that are gone.
    SocketDestroyed(SocketDestroyedSpec),
}

/// A node and everything on it is gone, and says nothing.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerLossSpec {
    /// The node.
    pub node: Spanned<String>,
    /// Whether its link-layer address still resolves, as in cloud networks (default `resolves`).
    pub neighbour: Option<Spanned<Neighbour>>,
}

/// A node that lost its power comes back.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerRestoreSpec {
    /// The node.
    pub node: Spanned<String>,
}

/// A program is killed: a server's or a client's.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessKillSpec {
    /// The server.
    pub server: Option<Spanned<String>>,
    /// The client.
    pub client: Option<Spanned<String>>,
}

/// A server's program does nothing.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HangSpec {
    /// The server.
    pub server: Spanned<String>,
}

/// A link loses its carrier: that of one node, server or client.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkDownSpec {
    /// The uplink of this node.
    pub node: Option<Spanned<String>>,
    /// The link of this server's pod.
    pub server: Option<Spanned<String>>,
    /// The link of this client's pod.
    pub client: Option<Spanned<String>>,
}

/// A struct with a path, and after it fields of its own.
macro_rules! on_a_path {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// What passes the uplink of this node.
            pub node: Option<Spanned<String>>,
            /// What passes the link of this server's pod.
            pub server: Option<Spanned<String>>,
            /// What passes the link of this client's pod.
            pub client: Option<Spanned<String>>,
            /// Only what passes between two nodes, servers or clients. A node stands for itself and all its pods; a
            /// server or a client for its pod, or with `host_network` for the node without its pods.
            pub between: Option<Spanned<Vec<Spanned<String>>>>,
            /// Which way (default both): `in` towards what is named, `out` away from it; with `between`, `out` is from
            /// the first to the second.
            pub direction: Option<Spanned<Direction>>,
            $($(#[$doc])* pub $field: $type,)*
        }

        impl $name {
            /// Its path.
            #[must_use]
            pub fn path(&self) -> PathSpec<'_> {
                PathSpec {
                    node: self.node.as_ref(),
                    server: self.server.as_ref(),
                    client: self.client.as_ref(),
                    between: self.between.as_ref(),
                    direction: self.direction.as_ref(),
                }
            }
        }
    };
}

/// The words that say which packets a fault strikes.
#[derive(Debug, Clone, Copy, Default)]
pub struct PathSpec<'a> {
    /// A node.
    pub node: Option<&'a Spanned<String>>,
    /// A server.
    pub server: Option<&'a Spanned<String>>,
    /// A client.
    pub client: Option<&'a Spanned<String>>,
    /// Two of them.
    pub between: Option<&'a Spanned<Vec<Spanned<String>>>>,
    /// Which way.
    pub direction: Option<&'a Spanned<Direction>>,
}

on_a_path! {
    /// Packets vanish.
    LossSpec {
        /// How many of a hundred: above 0, at most 100. Each packet by chance, whatever became of others.
        percent: Spanned<Percent>,
    }
}

on_a_path! {
    /// Packets take longer.
    DelaySpec {
        /// By how much.
        delay: Spanned<Time>,
        /// At random this much more or less (default none). Packets may overtake each other.
        jitter: Option<Spanned<Time>>,
    }
}

on_a_path! {
    /// A router answers, and lets nothing pass. (With `node`, what stays within the node meets no router.)
    RejectSpec {
        /// `rst`: TCP RST, and what is not TCP passes; `icmp`: host unreachable.
        with: Spanned<RejectWith>,
    }
}

on_a_path! {
    /// SYNs vanish.
    SynDropSpec {}
}

impl LinkDownSpec {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> PathSpec<'_> {
        PathSpec {
            node: self.node.as_ref(),
            server: self.server.as_ref(),
            client: self.client.as_ref(),
            ..PathSpec::default()
        }
    }
}

/// An endpoint of a service.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// The service.
    pub service: Spanned<String>,
    /// The endpoint, by its server.
    pub server: Spanned<String>,
}

/// Connections of a service that are forgotten.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConntrackDeletedSpec {
    /// The service.
    pub service: Spanned<String>,
    /// Only those that lead to this server (default all).
    pub server: Option<Spanned<String>>,
}

/// Connections of a client that are destroyed.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SocketDestroyedSpec {
    /// The client.
    pub client: Spanned<String>,
    /// Only those that lead to this server (default all to what it asks).
    pub server: Option<Spanned<String>>,
}

/// Some of a hundred.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(pub f64);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Percent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of percent such as `30` or `0.5`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Percent, E> {
                let number = text.strip_suffix('%').unwrap_or(text).trim().parse();
                match number.ok().filter(|n: &f64| *n > 0.0 && *n <= 100.0) {
                    Some(number) => Ok(Percent(number)),
                    None => Err(E::custom(format!(
                        "`{text}` is not a number of percent above 0 and at most 100\nwrite e.g. `30` or `0.5`"
                    ))),
                }
            }
        }
        deserializer.deserialize_str(Words)
    }
}

impl JsonSchema for Percent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "exclusiveMinimum": 0, "maximum": 100 })
    }
}
