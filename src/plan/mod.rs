//! The plan: a scenario resolved into cases of plain numbers.
//!
//! No I/O and no look at the machine. [`LabPlan`] is all the lab is told; what is expected stays in [`Case`].

pub mod address;
pub(crate) mod counters;
mod duration;
mod expectation;
mod expected;
mod fault;
pub(crate) mod fault_spec;
mod listening;
mod place;
mod probes;
pub mod profile;
pub(crate) mod program;
mod published;
mod repetition;
mod resolve;
pub(crate) mod target;
pub(crate) mod topology;
pub(crate) mod transport;
mod warnings;
mod workload;

pub use counters::{CounterExpectation, Growth};
pub use expected::{
    Cause, Check, CountWindow, Expectation, Location, Odds, Prediction, TimeWindow, Warning,
    Window, word,
};
pub use fault::{
    Direction, End, Fault, FaultKind, Neighbour, Path, Phase, Process, RejectWith, Trigger, Where,
};
pub use listening::{AcceptQueue, EMULATED, Emulated, Emulation, LONGEST_UPTIME};
pub use place::{Node, Place, Pod, Sysctl};
pub use probes::Probes;
pub use published::{Figure, Published, Since, Until};
pub use repetition::{Quantile, QuantileExpectation, Repetition, Time};
pub use resolve::{PlanOptions, cases};
pub use workload::{CloseOnFailure, DOWNLOAD_PART, LEASE_SHARE, Work, Workload, Workloads};

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One concrete run from a scenario: every matrix value chosen, every number resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The scenario's name.
    pub scenario: String,
    /// The case's name within it: `default`, or its matrix values as `key=value,…`.
    pub name: String,
    /// What the scenario shows, in its author's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Which of the case's repetitions this is, where it is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition: Option<Repetition>,
    /// What the lab does.
    pub lab: LabPlan,
    /// What must hold afterwards.
    pub expectations: Vec<Expectation>,
    /// What must hold of the kernel's counters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<CounterExpectation>,
    /// What must hold of all repetitions together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<QuantileExpectation>,
    /// What the timeout model says beforehand, by client.
    pub predictions: Vec<Prediction>,
    /// What was published of what it reproduces, by client.
    #[serde(default)]
    pub published: Vec<Published>,
    /// Traps seen in the scenario: one sentence each, with where it stood.
    pub warnings: Vec<Warning>,
}

/// Everything a lab needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabPlan {
    /// Seed of everything random that can be seeded (jitter, start offsets).
    pub seed: u64,
    /// How long the case lasts, from its start.
    pub duration: Duration,
    /// How long unfinished requests are given after that before they count as unfinished.
    pub drain: Duration,
    /// Round-trip time between any two nodes; `None` = as fast as the machine.
    #[serde(default)]
    pub rtt: Option<RoundTrip>,
    /// Machines that can lose power.
    pub nodes: Vec<Node>,
    /// Pods, each in a network namespace behind its node.
    pub pods: Vec<Pod>,
    /// Servers, each in a pod or on a node.
    pub servers: Vec<Server>,
    /// Virtual addresses.
    pub services: Vec<Service>,
    /// Clients.
    pub clients: Vec<Client>,
    /// Faults, in the file's order.
    pub faults: Vec<Fault>,
    /// What is looked at besides what verdicts need.
    #[serde(default)]
    pub probes: Probes,
}

/// A round-trip time that a scenario asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundTrip {
    /// How long, both ways together.
    pub time: Duration,
    /// Where it stood.
    pub location: Location,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Name.
    pub name: String,
    /// Where it runs.
    pub place: Place,
    /// Its node.
    pub node: String,
    /// Addresses it listens on, IPv4 and IPv6.
    pub listen: Vec<SocketAddr>,
    /// TLS, or clear text.
    pub tls: bool,
    /// Names its certificate carries besides its own: the services it stands behind.
    pub tls_names: Vec<String>,
    /// Protocols it speaks (ALPN with TLS, the connection's first bytes without).
    pub protocols: Vec<Protocol>,
    /// What it does.
    pub app: App,
    /// Time between a request's arrival and its response.
    pub response_delay: Duration,
    /// Store its `lock` or `nodes` app works on: one for all servers of a service, surviving any node.
    pub store: String,
    /// Connections that wait to be accepted.
    #[serde(default)]
    pub accept_queue: AcceptQueue,
    /// What the lab does in its kernel's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulate: Option<Emulated>,
}

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum App {
    /// Says which server answered.
    Echo,
    /// Keeps a lease with holder and expiry, with optimistic concurrency.
    Lock,
    /// Takes nodes' heartbeats, and judges which are ready.
    Nodes,
}

/// An HTTP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}

/// A virtual address whose connections the client's node spreads over endpoints by DNAT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Name; clients use it as a host name.
    pub name: String,
    /// Virtual address and port.
    pub address: SocketAddr,
    /// Servers behind it, by name, with the address the DNAT goes to (same family as `address`).
    pub endpoints: Vec<Endpoint>,
    /// Until every client has a connection, all of them go to this endpoint.
    pub pin_first: Option<String>,
    /// Time from the loss of a node until its endpoints leave the rules; `None` = they stay.
    pub removal: Option<Duration>,
}

/// A backend of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Server's name.
    pub server: String,
    /// Its address.
    pub address: SocketAddr,
}

/// A client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// Name.
    pub name: String,
    /// Where it runs.
    pub place: Place,
    /// Its node.
    pub node: String,
    /// What it asks.
    pub target: Target,
    /// Name of the profile it began from; empty for a program, which brings a transport of its own.
    pub profile: String,
    /// Its transport, every knob resolved. Of a program nothing is known: everything is off, and nobody looks.
    pub transport: Transport,
    /// What it does.
    pub workloads: Workloads,
    /// When it starts, from the case's start.
    pub start: Duration,
    /// Where it stood.
    pub location: Location,
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Host name as in the URL: a service, a server or a node.
    pub host: String,
    /// Its address and port.
    pub address: SocketAddr,
    /// Path with its leading slash.
    pub path: String,
    /// TLS, or clear text.
    pub tls: bool,
    /// Names of the servers that can answer there.
    pub servers: Vec<String>,
    /// The service, if the host is one.
    pub service: Option<String>,
}

/// A client's transport. `None` = off, or no limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transport {
    /// HTTP version.
    pub protocol: Protocol,
    /// Time for connect(), SYN to SYN-ACK.
    pub dial_timeout: Option<Duration>,
    /// Time for the TLS handshake.
    pub tls_timeout: Option<Duration>,
    /// Time for a request as a whole, dial included. h1: closes the connection. h2: resets the stream only.
    pub request_timeout: Option<Duration>,
    /// Time without a byte while waiting for a response. Closes the connection (h1) or resets the stream (h2).
    pub read_timeout: Option<Duration>,
    /// Time a connection may lie idle in the pool before the client closes it.
    pub idle_timeout: Option<Duration>,
    /// TCP keepalive.
    pub keepalive: Option<Keepalive>,
    /// TCP_USER_TIMEOUT.
    pub user_timeout: Option<Duration>,
    /// HTTP/2 PING health check.
    pub ping: Option<Ping>,
    /// After a request's timeout on h2 send a PING, and close the connection if its answer takes longer than this.
    pub ping_after_timeout: Option<Duration>,
    /// What the transport sends again by itself.
    pub retry: Retry,
}

/// TCP keepalive of a socket. Counts only while nothing is unacknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keepalive {
    /// TCP_KEEPIDLE.
    pub idle: Duration,
    /// TCP_KEEPINTVL.
    pub interval: Duration,
    /// TCP_KEEPCNT.
    pub count: u32,
}

/// HTTP/2 PING health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// A PING goes out when nothing was read for this long.
    pub idle: Duration,
    /// The connection is closed when nothing was read for this long after the PING.
    pub timeout: Duration,
    /// Also when no request is open.
    pub while_idle: bool,
}

/// What a transport sends again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Retry {
    /// Tries after the first; 0 = none.
    pub attempts: u32,
    /// Pause before each.
    pub backoff: Duration,
    /// On which errors.
    pub on: Vec<RetryOn>,
}

/// An error that a transport may answer with another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// A connection that had carried a request before was lost before the response's first byte.
    ReusedConnectionLost,
    /// Any connection was lost before the response's first byte.
    ConnectionLost,
    /// A connection could not be opened.
    DialFailed,
}

/// A program that is a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The program and its arguments, placeholders filled in.
    pub command: Vec<String>,
    /// The client's URL, as written.
    pub url: String,
    /// Environment variables besides those that every program gets.
    pub env: Vec<(String, String)>,
    /// Pause between its end and its next start; `None` = it is started once.
    pub every: Option<Duration>,
    /// Where the command stood.
    pub location: Location,
}

impl Client {
    /// The program it is; `None` for a client of ours.
    #[must_use]
    pub fn program(&self) -> Option<&Program> {
        self.workloads.program()
    }
}

impl LabPlan {
    /// The round-trip time between two nodes that was asked for; none = as fast as the machine.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.rtt.as_ref().map_or(Duration::ZERO, |rtt| rtt.time)
    }

    /// The longest that a server of `client` takes for a response.
    #[must_use]
    pub fn slowest(&self, client: &Client) -> Duration {
        let servers = self.servers.iter();
        let own = servers.filter(|s| client.target.servers.contains(&s.name));
        own.map(|s| s.response_delay).max().unwrap_or_default()
    }

    /// The node called `name`.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The pod called `name`.
    #[must_use]
    pub fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.name == name)
    }

    /// The sysctls set in a place's own network namespace.
    #[must_use]
    pub fn sysctls_at(&self, place: &Place) -> &[Sysctl] {
        match place {
            Place::Node(name) => self.node(name).map(|n| n.sysctls.as_slice()),
            Place::Pod(name) => self.pod(name).map(|p| p.sysctls.as_slice()),
        }
        .unwrap_or_default()
    }

    /// The node a place stands on.
    #[must_use]
    pub fn node_of<'a>(&'a self, place: &'a Place) -> Option<&'a str> {
        match place {
            Place::Node(name) => Some(name),
            Place::Pod(pod) => self.pod(pod).map(|p| p.node.as_str()),
        }
    }

    /// The addresses of a node or a pod, IPv4 and IPv6.
    #[must_use]
    pub fn addresses(&self, place: &Place) -> Option<[IpAddr; 2]> {
        match place {
            Place::Node(name) => {
                let node = self.node(name)?;
                Some([node.address.into(), node.address6.into()])
            }
            Place::Pod(name) => {
                let pod = self.pod(name)?;
                Some([pod.address.into(), pod.address6.into()])
            }
        }
    }

    /// The server that listens on `address`.
    #[must_use]
    pub fn server_at(&self, address: SocketAddr) -> Option<&Server> {
        self.servers.iter().find(|s| s.listen.contains(&address))
    }

    /// The node that has `address`, itself or by one of its pods.
    #[must_use]
    pub fn node_with(&self, address: IpAddr) -> Option<&str> {
        let node = self
            .nodes
            .iter()
            .find(|n| IpAddr::V4(n.address) == address || IpAddr::V6(n.address6) == address);
        let pod = self
            .pods
            .iter()
            .find(|p| IpAddr::V4(p.address) == address || IpAddr::V6(p.address6) == address);
        node.map(|n| n.name.as_str())
            .or_else(|| pod.map(|p| p.node.as_str()))
    }
}
