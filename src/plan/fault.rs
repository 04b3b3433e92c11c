//! What breaks, and when: a fault's own words, and the effects that it is made of.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Client, LabPlan, Location, Place};

/// What breaks, and when.
///
/// Only people read the kind, the target and the detail; what happens is in the effects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// How expectations call it, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The kind's name in YAML and reports.
    pub kind: String,
    /// What it strikes, in words.
    pub target: String,
    /// How strong it is, or of which kind, in people's units; `None` where there is nothing to choose. (Which way packets
    /// go is part of the target.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When.
    pub trigger: Trigger,
    /// What it does, in this order. They are undone in the opposite order.
    pub effects: Vec<Effect>,
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
    /// When a middlebox forgets connections of a client since nothing was sent on them for too long: of several such faults the
    /// first that has not happened yet. That may never be.
    Forgotten {
        /// Middlebox's name.
        middlebox: String,
        /// Client's name.
        client: String,
        /// It can't be before this time from the case's start.
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

/// One of the things that faults are made of.
///
/// The set is closed. The lab, the verdict and the timeout model match it without `_`: a fault made of these needs
/// nothing of them, and a new effect does not compile until each has said what it makes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// No packet leaves a node or reaches it, nor passes between its pods; nobody is told.
    Silence {
        /// Which.
        node: String,
        /// What becomes of its link-layer address.
        neighbour: Neighbour,
    },
    /// Everything that runs on a node ends, and its endpoints leave the rules of services when the cluster notices.
    Stop {
        /// Which.
        node: String,
    },
    /// A node that is silent and stopped is so no more. It knows of no connection, and its servers listen again.
    Restore {
        /// Which.
        node: String,
    },
    /// A program ends. Its kernel closes what it had open, and refuses what comes then.
    Kill {
        /// Which.
        process: Process,
    },
    /// A server's program does nothing. Its kernel goes on acknowledging and accepting.
    Hang {
        /// Which.
        server: String,
    },
    /// A link has no carrier.
    Carrier {
        /// What is behind it: a machine's uplink, or a pod's.
        behind: End,
    },
    /// Packets vanish.
    Drop {
        /// Where.
        path: Path,
        /// Which.
        packets: Packets,
        /// How many of a hundred, by chance; at 100 all of them.
        percent: f64,
    },
    /// Packets take longer.
    Delay {
        /// Which.
        path: Path,
        /// By how much.
        delay: Duration,
        /// How much more or less than that at random.
        jitter: Duration,
    },
    /// A router answers in the place of who is asked, and lets nothing pass.
    Answer {
        /// Which packets.
        path: Path,
        /// With what.
        with: RejectWith,
    },
    /// An endpoint leaves a service's rules, or is in them again.
    Rules {
        /// Service.
        service: String,
        /// Server.
        server: String,
        /// Whether it leaves them.
        out: bool,
    },
    /// The nodes of a service's clients forget its connections (conntrack).
    Forget {
        /// Service.
        service: String,
        /// Only those to this server.
        server: Option<String>,
    },
    /// The kernel of a client destroys the client's connections (SOCK_DESTROY).
    Destroy {
        /// Client.
        client: String,
        /// Only those to this server.
        server: Option<String>,
    },
    /// A middlebox knows connections no more that it has passed so far.
    LoseState {
        /// Middlebox.
        middlebox: String,
        /// Only those of this client on which nothing was sent for too long, by itself; `None` = all, as one that starts anew.
        idle_of: Option<String>,
    },
}

/// Which of the packets on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packets {
    /// All, but for ARP and neighbour discovery.
    All,
    /// SYNs; SYN-ACKs, which answer those of the other way, are none.
    Syn,
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

impl Fault {
    /// What people call it: by its name, or by what it is and strikes.
    #[must_use]
    pub fn called(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.to_string())
    }

    /// The node that loses its power by it: it is silent, and what ran there has ended.
    #[must_use]
    pub fn dead_node(&self) -> Option<&str> {
        let silent = |name: &str| {
            let mut effects = self.effects.iter();
            effects.any(|effect| matches!(effect, Effect::Silence { node, .. } if node == name))
        };
        self.effects.iter().find_map(|effect| match effect {
            Effect::Stop { node } if silent(node) => Some(node.as_str()),
            Effect::Stop { .. }
            | Effect::Silence { .. }
            | Effect::Restore { .. }
            | Effect::Kill { .. }
            | Effect::Hang { .. }
            | Effect::Carrier { .. }
            | Effect::Drop { .. }
            | Effect::Delay { .. }
            | Effect::Answer { .. }
            | Effect::Rules { .. }
            | Effect::Forget { .. }
            | Effect::Destroy { .. }
            | Effect::LoseState { .. } => None,
        })
    }

    /// Whether it can strike somebody: it does not only mend, or change rules that leave alone what is established.
    #[must_use]
    pub fn can_strike(&self) -> bool {
        self.effects.iter().any(Effect::can_strike)
    }

    /// Whether it ends a client: the client's node stops, or the client itself is killed.
    #[must_use]
    pub fn ends(&self, client: &Client) -> bool {
        self.effects.iter().any(|effect| effect.ends(client))
    }
}

/// Its kind and what it strikes, e.g. `power_loss of node3`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.kind, self.target)
    }
}

impl Effect {
    /// The node whose link-layer address resolves no more by it.
    #[must_use]
    pub fn dead_neighbour(&self) -> Option<&str> {
        match self {
            Self::Silence {
                node,
                neighbour: Neighbour::Dead,
            } => Some(node),
            Self::Silence {
                neighbour: Neighbour::Resolves,
                ..
            }
            | Self::Stop { .. }
            | Self::Restore { .. }
            | Self::Kill { .. }
            | Self::Hang { .. }
            | Self::Carrier { .. }
            | Self::Drop { .. }
            | Self::Delay { .. }
            | Self::Answer { .. }
            | Self::Rules { .. }
            | Self::Forget { .. }
            | Self::Destroy { .. }
            | Self::LoseState { .. } => None,
        }
    }

    /// Whether a connection or a dial can suffer from it.
    #[must_use]
    pub fn can_strike(&self) -> bool {
        match self {
            Self::Silence { .. }
            | Self::Stop { .. }
            | Self::Kill { .. }
            | Self::Hang { .. }
            | Self::Carrier { .. }
            | Self::Drop { .. }
            | Self::Delay { .. }
            | Self::Answer { .. }
            | Self::Forget { .. }
            | Self::Destroy { .. }
            | Self::LoseState { .. } => true,
            Self::Restore { .. } | Self::Rules { .. } => false,
        }
    }

    /// Whether it ends a client.
    #[must_use]
    pub fn ends(&self, client: &Client) -> bool {
        match self {
            Self::Stop { node } => *node == client.node,
            Self::Kill {
                process: Process::Client(name),
            } => *name == client.name,
            Self::Kill {
                process: Process::Server(_),
            }
            | Self::Silence { .. }
            | Self::Restore { .. }
            | Self::Hang { .. }
            | Self::Carrier { .. }
            | Self::Drop { .. }
            | Self::Delay { .. }
            | Self::Answer { .. }
            | Self::Rules { .. }
            | Self::Forget { .. }
            | Self::Destroy { .. }
            | Self::LoseState { .. } => false,
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

impl Trigger {
    /// Whether all that has to be for it to fire is that the case goes on.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        match self {
            Self::At(_) | Self::Phase { .. } => true,
            Self::Forgotten { .. } => false,
        }
    }

    /// Before this time from the case's start it does not fire, whatever its client does.
    #[must_use]
    pub fn not_before(&self) -> Duration {
        match self {
            Self::At(at) | Self::Phase { after: at, .. } | Self::Forgotten { after: at, .. } => *at,
        }
    }

    /// The first and the last time from the case's start at which it can fire, while all is well; the last is `None`
    /// where nobody knows it.
    #[must_use]
    pub fn times(&self, plan: &LabPlan) -> (Duration, Option<Duration>) {
        match self {
            Self::At(at) => (*at, Some(*at)),
            Self::Forgotten { after, .. } => (*after, None),
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
