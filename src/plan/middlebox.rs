//! Middleboxes (RFC 3234): what stands on a path and knows the connections that pass it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{End, LabPlan, Location, Place, Where};

/// A machine between a node and all others that passes the packets of connections it knows, and of no others.
///
/// It knows a connection from its SYN on, until that is closed, lies idle for too long, or the middlebox loses its state.
/// Addresses are not translated: what hosts at both ends see of its state is the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Middlebox {
    /// Name.
    pub name: String,
    /// The node whose uplink it sits on.
    pub node: String,
    /// What it is.
    pub kind: MiddleboxKind,
    /// How long it knows a connection on which nothing is sent; `None` = for ever.
    pub idle_timeout: Option<Duration>,
    /// What becomes of packets of connections that it does not know.
    pub unknown: UnknownPackets,
    /// Where it stood.
    pub location: Location,
}

/// What a middlebox is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum MiddleboxKind {
    /// Whoever sends on a connection that it does not know is treated alike.
    #[default]
    LoadBalancer,
    /// What comes from beyond its node and belongs to nothing it knows vanishes: it has no idea whom that is for.
    Nat,
}

/// What becomes of packets of connections that a middlebox does not know.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum UnknownPackets {
    /// They vanish.
    #[default]
    Drop,
    /// They are answered with TCP RST, as the one who is asked would send it.
    Reset,
}

impl Middlebox {
    /// The link that it sits on.
    #[must_use]
    pub fn link(&self) -> Where {
        Where::At(End::Machine(self.node.clone()))
    }

    /// Whether packets between two places pass it.
    #[must_use]
    pub fn is_crossed(&self, plan: &LabPlan, one: &Place, other: &Place) -> bool {
        self.link().is_crossed(plan, one, other)
    }
}
