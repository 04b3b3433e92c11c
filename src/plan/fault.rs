//! What breaks, and when.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{LabPlan, Location};

/// What breaks, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// When.
    pub trigger: Trigger,
    /// What.
    pub kind: FaultKind,
    /// Where it stood.
    pub location: Location,
}

/// When a fault fires.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// At a time from the case's start.
    At(Duration),
    /// When a client is in a phase.
    Phase {
        /// Client's name.
        client: String,
        /// Which phase.
        phase: Phase,
        /// Not before this time from the case's start.
        after: Duration,
    },
}

/// What a client is doing on the connection its requests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is outstanding.
    Idle,
    /// A request is sent, and its bytes are not acknowledged.
    RequestUnacknowledged,
    /// The request's bytes are acknowledged, the response has not come.
    WaitingForResponse,
    /// A response has begun and goes on.
    Streaming,
    /// A connection is being opened.
    Connecting,
}

/// What breaks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A node loses power.
    PowerLoss {
        /// Which.
        node: String,
        /// What becomes of its link-layer address.
        neighbour: Neighbour,
    },
}

impl FaultKind {
    /// The kind's name in YAML and reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PowerLoss { .. } => "power_loss",
        }
    }

    /// The node that loses its power by it.
    #[must_use]
    pub fn dead_node(&self) -> Option<&str> {
        match self {
            Self::PowerLoss { node, .. } => Some(node),
        }
    }

    /// What becomes of the dead node's link-layer address.
    #[must_use]
    pub fn neighbour(&self) -> Neighbour {
        match self {
            Self::PowerLoss { neighbour, .. } => *neighbour,
        }
    }

    /// What it strikes.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            Self::PowerLoss { node, .. } => node,
        }
    }
}

/// Whether a dead node's link-layer address still resolves.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Neighbour {
    /// ARP and neighbour discovery go on being answered, as in cloud networks.
    #[default]
    Resolves,
    /// The neighbour entry dies too, as on one Ethernet segment.
    Dead,
}

impl Trigger {
    /// The first and the last time from the case's start at which it can fire, while all is well; the last is `None`
    /// where nobody knows it.
    #[must_use]
    pub fn times(&self, plan: &LabPlan) -> (Duration, Option<Duration>) {
        match self {
            Self::At(at) => (*at, Some(*at)),
            Self::Phase {
                client,
                phase,
                after,
            } => {
                let client = plan.clients.iter().find(|c| c.name == *client);
                let earliest = client.map_or(*after, |c| c.start.max(*after));
                let latest = client
                    .filter(|_| *phase != Phase::Connecting)
                    .map(|c| earliest + (c.workloads.longest_pause() + plan.slowest(c)) * 2);
                (earliest, latest)
            }
        }
    }
}
