//! What breaks, and when.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{LabPlan, Location, Place};
use crate::verdict::units::exact;

/// What breaks, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// When.
    pub trigger: Trigger,
    /// What.
    pub kind: FaultKind,
    /// How long it is in force; `None` = until the case's end, or it is done at once.
    #[serde(default)]
    pub lasts: Option<Duration>,
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
    /// A node and everything on it is gone, and says nothing.
    PowerLoss {
        /// Which.
        node: String,
        /// What becomes of its link-layer address.
        neighbour: Neighbour,
    },
    /// A node that lost its power comes back, empty: its servers listen again and know of no connection.
    PowerRestore {
        /// Which.
        node: String,
    },
    /// A server's or a client's program is killed: its kernel goes on, and closes what it had open.
    ProcessKill {
        /// Which.
        process: Process,
    },
    /// A server's program does nothing. Its kernel goes on acknowledging and accepting.
    Hang {
        /// Which.
        server: String,
    },
    /// A link loses its carrier.
    LinkDown {
        /// What is behind it: a machine's uplink, or a pod's.
        behind: End,
    },
    /// Some packets vanish, by chance, or all of them.
    Loss {
        /// Which packets.
        path: Path,
        /// How many of a hundred.
        percent: f64,
    },
    /// Packets take longer.
    Delay {
        /// Which packets.
        path: Path,
        /// By how much.
        delay: Duration,
        /// How much more or less than that at random.
        jitter: Duration,
    },
    /// A router answers in the place of who is asked.
    Reject {
        /// Which packets.
        path: Path,
        /// With what.
        with: RejectWith,
    },
    /// SYNs vanish; established connections live on.
    SynDrop {
        /// Which packets.
        path: Path,
    },
    /// An endpoint leaves a service's rules.
    EndpointRemoved {
        /// Service.
        service: String,
        /// Server.
        server: String,
    },
    /// An endpoint that had left a service's rules is in them again.
    EndpointAdded {
        /// Service.
        service: String,
        /// Server.
        server: String,
    },
    /// The nodes of a service's clients forget its connections.
    ConntrackDeleted {
        /// Service.
        service: String,
        /// Only those to this server.
        server: Option<String>,
    },
    /// The kernel of a client destroys the client's connections.
    SocketDestroyed {
        /// Client.
        client: String,
        /// Only those to this server.
        server: Option<String>,
    },
}

/// A program of the scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// A server's.
    Server(String),
    /// A client's.
    Client(String),
}

/// Packets by where they pass, and which way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// Where.
    pub place: Where,
    /// Which way.
    pub direction: Direction,
}

/// Where packets pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Where {
    /// The one link that leads to this.
    At(End),
    /// From one to the other, and nowhere else.
    Between(End, End),
}

/// An end of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// A node with all its pods.
    Machine(String),
    /// A pod.
    Pod(String),
    /// A node without its pods: what runs on its own network.
    Host(String),
}

/// A way along a path, as who is named (first) sees it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Towards what is named; with `between`, from the second to the first.
    In,
    /// Away from it; with `between`, from the first to the second.
    Out,
    /// Both ways.
    #[default]
    Both,
}

/// What a router answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RejectWith {
    /// TCP RST, as the one who is asked would send it. (Only TCP is answered.)
    Rst,
    /// ICMP "host unreachable".
    Icmp,
}

impl FaultKind {
    /// The kind's name in YAML and reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PowerLoss { .. } => "power_loss",
            Self::PowerRestore { .. } => "power_restore",
            Self::ProcessKill { .. } => "process_kill",
            Self::Hang { .. } => "hang",
            Self::LinkDown { .. } => "link_down",
            Self::Loss { .. } => "loss",
            Self::Delay { .. } => "delay",
            Self::Reject { .. } => "reject",
            Self::SynDrop { .. } => "syn_drop",
            Self::EndpointRemoved { .. } => "endpoint_removed",
            Self::EndpointAdded { .. } => "endpoint_added",
            Self::ConntrackDeleted { .. } => "conntrack_deleted",
            Self::SocketDestroyed { .. } => "socket_destroyed",
        }
    }

    /// The node that loses its power by it.
    #[must_use]
    pub fn dead_node(&self) -> Option<&str> {
        match self {
            Self::PowerLoss { node, .. } => Some(node),
            _ => None,
        }
    }

    /// What becomes of the dead node's link-layer address.
    #[must_use]
    pub fn neighbour(&self) -> Neighbour {
        match self {
            Self::PowerLoss { neighbour, .. } => *neighbour,
            _ => Neighbour::Resolves,
        }
    }

    /// What it strikes, in words.
    #[must_use]
    pub fn target(&self) -> String {
        let of = |whole: &String, part: &Option<String>| match part {
            Some(part) => format!("{part} of {whole}"),
            None => whole.clone(),
        };
        match self {
            Self::PowerLoss { node, .. } | Self::PowerRestore { node } => node.clone(),
            Self::ProcessKill {
                process: Process::Server(name) | Process::Client(name),
            }
            | Self::Hang { server: name } => name.clone(),
            Self::LinkDown { behind } => behind.to_string(),
            Self::Loss { path, .. }
            | Self::Delay { path, .. }
            | Self::Reject { path, .. }
            | Self::SynDrop { path } => path.to_string(),
            Self::EndpointRemoved { service, server } | Self::EndpointAdded { service, server } => {
                format!("{server} of {service}")
            }
            Self::ConntrackDeleted { service, server } => of(service, server),
            Self::SocketDestroyed {
                client,
                server: Some(server),
            } => format!("{client} to {server}"),
            Self::SocketDestroyed { client, .. } => client.clone(),
        }
    }

    /// How strong it is, or of which kind, in people's units; `None` where there is nothing to choose. (Which way packets
    /// go is part of [`Self::target`].)
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Loss { percent, .. } => Some(format!("{percent} %")),
            Self::Delay { delay, jitter, .. } if jitter.is_zero() => Some(exact(*delay)),
            Self::Delay { delay, jitter, .. } => {
                Some(format!("{} ± {}", exact(*delay), exact(*jitter)))
            }
            Self::Reject { with, .. } => Some(String::from(match with {
                RejectWith::Rst => "with RST",
                RejectWith::Icmp => "with ICMP host unreachable",
            })),
            Self::PowerLoss {
                neighbour: Neighbour::Dead,
                ..
            } => Some(String::from("neighbour entry dead too")),
            _ => None,
        }
    }

    /// Whether it stops being in force when its time is over: others happen at one instant, and are done.
    #[must_use]
    pub fn heals(&self) -> bool {
        !matches!(
            self,
            Self::PowerRestore { .. }
                | Self::ConntrackDeleted { .. }
                | Self::SocketDestroyed { .. }
                | Self::ProcessKill {
                    process: Process::Client(_)
                }
        )
    }

    /// The path it lies on, of those that have one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Loss { path, .. }
            | Self::Delay { path, .. }
            | Self::Reject { path, .. }
            | Self::SynDrop { path } => Some(path),
            _ => None,
        }
    }
}

impl Where {
    /// Whether packets between two places pass here.
    #[must_use]
    pub fn is_crossed(&self, plan: &LabPlan, one: &Place, other: &Place) -> bool {
        match self {
            Self::At(end) => end.holds(plan, one) != end.holds(plan, other),
            Self::Between(first, second) => {
                (first.holds(plan, one) && second.holds(plan, other))
                    || (first.holds(plan, other) && second.holds(plan, one))
            }
        }
    }
}

impl End {
    /// Whether a place is part of it.
    #[must_use]
    pub fn holds(&self, plan: &LabPlan, place: &Place) -> bool {
        match self {
            Self::Machine(node) => plan.node_of(place) == Some(node),
            Self::Pod(pod) => matches!(place, Place::Pod(name) if name == pod),
            Self::Host(node) => matches!(place, Place::Node(name) if name == node),
        }
    }

    /// The machine it is, or is part of; `None` if the plan does not have it.
    #[must_use]
    pub fn machine<'a>(&'a self, plan: &'a LabPlan) -> Option<&'a str> {
        match self {
            Self::Machine(node) | Self::Host(node) => Some(node),
            Self::Pod(pod) => plan.pod(pod).map(|pod| pod.node.as_str()),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(name) | Self::Pod(name) => f.write_str(name),
            Self::Host(name) => write!(f, "{name}'s own network"),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.direction {
            Direction::In => " (in)",
            Direction::Out => " (out)",
            Direction::Both => "",
        };
        match &self.place {
            Where::At(end) => write!(f, "{end}{word}"),
            Where::Between(first, second) => write!(f, "{first} to {second}{word}"),
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
