//! The plan: a scenario resolved into cases of plain numbers.
//!
//! No I/O and no look at the machine. [`LabPlan`] is all the lab is told; what is expected stays in [`Case`].

pub mod address;
mod app;
pub mod cost;
pub(crate) mod counters;
mod exec;
mod expected;
mod fault;
mod kernel;
mod listening;
mod middlebox;
mod place;
pub(crate) mod probes;
mod proxy;
mod published;
mod repetition;
mod server_limits;
mod server_program;
pub mod shard;
mod transport;
pub mod units;
mod workload;

pub use app::App;
pub(crate) use app::apps;
pub use counters::{CounterExpectation, Growth};
pub use exec::{Capability, Exec, Limits, Restart, Stop};
pub use expected::{
    Cause, Check, CountWindow, Expectation, Expected, ForeseenStanding, Location, Odds,
    PredictedQuantile, Prediction, ShareWindow, TimeWindow, Warning, Window, word,
};
pub use fault::{
    Direction, Effect, End, Fault, Neighbour, Packets, Path, Phase, Process, RejectWith, Trigger,
    Where,
};
pub use kernel::kernel_version;
pub use listening::{AcceptQueue, EMULATED, Emulated, Emulation, LONGEST_UPTIME};
pub use middlebox::{Middlebox, MiddleboxKind, UnknownPackets};
pub use place::{Node, Place, Pod, Sysctl, sysctl_number, sysctl_value, sysctls_at};
pub use probes::Probes;
pub use proxy::Proxy;
pub(crate) use proxy::proxies;
pub use published::{Figure, Published, Since, Until};
pub use repetition::{Quantile, QuantileExpectation, Repetition, Time};
pub use server_limits::{ServerLimits, ServerPing};
pub use server_program::{Ready, ServerProgram};
pub use transport::{IdleCheck, Keepalive, Ping, Protocol, Retry, RetryOn, TimeoutEnds, Transport};
pub use workload::{CloseOnFailure, DOWNLOAD_PART, LEASE_SHARE, Work, Workload, Workloads};

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest that a case may last.
pub const LONGEST_CASE: Duration = Duration::from_secs(24 * 3600);

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
    /// The values that the scenario's matrix gives it, in the matrix's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matrix: Vec<MatrixValue>,
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

/// A value that a scenario's matrix gives a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixValue {
    /// The whole path into the file.
    pub path: String,
    /// The end of it that tells it from the others, as case names have it.
    pub key: String,
    /// The value, or what the file calls it.
    pub value: String,
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
    /// Machines on paths that know connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub middleboxes: Vec<Middlebox>,
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
    /// What it does, where it is not a program.
    pub app: App,
    /// The program it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ServerProgram>,
    /// Time between a request's arrival and its response.
    pub response_delay: Duration,
    /// What ends the connections that it accepted, where it is not a program.
    #[serde(default, skip_serializing_if = "ServerLimits::are_none")]
    pub limits: ServerLimits,
    /// Store its `lock` or `nodes` app works on: one for all servers of a service, surviving any node.
    pub store: String,
    /// Connections that wait to be accepted.
    #[serde(default)]
    pub accept_queue: AcceptQueue,
    /// What the lab does in its kernel's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulate: Option<Emulated>,
}

/// A virtual address whose connections the client's node spreads over endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Name; clients use it as a host name.
    pub name: String,
    /// Virtual address and port.
    pub address: SocketAddr,
    /// How connections to it find an endpoint.
    #[serde(default)]
    pub proxy: Proxy,
    /// Servers behind it, by name, with the address connections go to (same family as `address`).
    pub endpoints: Vec<Endpoint>,
    /// Until every client has a connection, all of them go to this endpoint.
    pub pin_first: Option<String>,
    /// For how long after a connection a client's next one goes where that went; `None` = it does so by chance alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Duration>,
    /// Time from the loss of a node until its endpoints leave the rules; `None` = they stay.
    pub removal: Option<Duration>,
    /// Time from a node's power being back until its endpoints are in the rules again; `None` = they stay out.
    #[serde(default)]
    pub readiness: Option<Duration>,
}

impl Service {
    /// Whether dice alone decide where each new connection goes, and conntrack keeps an established one where it is.
    #[must_use]
    pub fn throws_dice(&self) -> bool {
        self.proxy.throws_dice() && self.affinity.is_none()
    }

    /// Whether an endpoint is put back into the rules by a fault of its own, and not when its node has its power back.
    pub fn is_put_back<'a>(
        &self,
        server: &str,
        faults: impl IntoIterator<Item = &'a Fault>,
    ) -> bool {
        let mut effects = faults.into_iter().flat_map(|fault| &fault.effects);
        effects.any(|effect| {
            matches!(effect, Effect::Rules { service, server: named, out: false }
                if *service == self.name && named == server)
        })
    }
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

/// A program that is a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// How it is started.
    #[serde(flatten)]
    pub exec: Exec,
    /// The client's URL, as written.
    pub url: String,
    /// Lines of its output that say how its work went.
    #[serde(default)]
    pub output: Option<OwnWords>,
}

/// Lines of a program's output that say how its work went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnWords {
    /// Those that match regular expressions.
    Matching {
        /// All is well.
        ok: Option<String>,
        /// Something failed.
        error: Option<String>,
        /// It leads from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leads: Option<String>,
        /// It leads no more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        follows: Option<String>,
    },
    /// JSON with `ok` or `error`.
    Json,
}

impl OwnWords {
    /// Whether any says how its work went.
    #[must_use]
    pub fn tell_of_work(&self) -> bool {
        match self {
            Self::Matching { ok, error, .. } => ok.is_some() || error.is_some(),
            Self::Json => true,
        }
    }
}

impl Client {
    /// The program it is; `None` for a client of ours.
    #[must_use]
    pub fn program(&self) -> Option<&Program> {
        self.workloads.program()
    }

    /// How long it waits for a response at most, and what that limit is called; `None` where it waits for ever, or for
    /// streams that begin at once, or where nobody knows.
    #[must_use]
    pub fn patience(&self) -> Option<(&'static str, Duration)> {
        let t = self.workloads.cycle().map(|_| &self.transport)?;
        let limits = [
            ("timeout", t.request_timeout),
            ("read timeout", t.read_timeout),
        ];
        let limits = limits
            .into_iter()
            .filter_map(|(name, limit)| Some((name, limit?)));
        limits.min_by_key(|(_, limit)| *limit)
    }
}

impl LabPlan {
    /// The middlebox on a node's uplink.
    #[must_use]
    pub fn middlebox_of(&self, node: &str) -> Option<&Middlebox> {
        self.middleboxes.iter().find(|m| m.node == node)
    }

    /// The round-trip time between two nodes that was asked for; none = as fast as the machine.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.rtt.as_ref().map_or(Duration::ZERO, |rtt| rtt.time)
    }

    /// The longest that a server of `client` takes for a response.
    #[must_use]
    pub fn slowest(&self, client: &Client) -> Duration {
        let own = self.servers_of(client);
        own.map(|s| s.response_delay).max().unwrap_or_default()
    }

    /// The programs among its clients and servers, by name.
    pub fn programs(&self) -> impl Iterator<Item = (&str, &Exec)> {
        let clients = self.clients.iter();
        let clients = clients.filter_map(|c| Some((c.name.as_str(), &c.program()?.exec)));
        let servers = self.servers.iter();
        let servers = servers.filter_map(|s| Some((s.name.as_str(), &s.program.as_ref()?.exec)));
        clients.chain(servers)
    }

    /// How long it may take from the end of the case until every client has ended.
    #[must_use]
    pub fn longest_end(&self) -> Duration {
        let programs = self.clients.iter().filter_map(Client::program);
        let graces = programs.filter_map(|program| Some(program.exec.stop?.grace));
        graces.fold(self.drain, Duration::max)
    }

    /// The servers that `client` may be answered by.
    pub fn servers_of(&self, client: &Client) -> impl Iterator<Item = &Server> {
        let servers = self.servers.iter();
        servers.filter(|s| client.target.servers.contains(&s.name))
    }

    /// Those of them that take longer for a response than `client` waits for one: no request to them can succeed.
    pub fn too_slow(&self, client: &Client) -> impl Iterator<Item = &Server> {
        let limit = client.patience();
        let late = move |s: &&Server| {
            limit.is_some_and(|(_, limit)| limit <= s.response_delay + self.round_trip())
        };
        self.servers_of(client).filter(late)
    }

    /// The client called `name`.
    #[must_use]
    pub fn client(&self, name: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.name == name)
    }

    /// The server called `name`.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
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
        sysctls_at(&self.nodes, &self.pods, place)
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

    /// That an endpoint of a service gets no new connections any more, in words.
    #[must_use]
    pub fn leaves(&self, service: &str, endpoint: &str) -> String {
        match self.moves(service) {
            true => format!("the address of {service} leaves {endpoint}"),
            false => format!("{endpoint} leaves the rules of {service}"),
        }
    }

    /// That it gets some again, in words.
    #[must_use]
    pub fn is_back(&self, service: &str, endpoint: &str) -> String {
        match self.moves(service) {
            true => format!("{endpoint} may have the address of {service} again"),
            false => format!("{endpoint} is in the rules of {service} again"),
        }
    }

    /// Whether one endpoint alone has a service's address.
    #[must_use]
    pub fn moves(&self, service: &str) -> bool {
        let mut services = self.services.iter();
        services.any(|s| s.name == service && s.proxy.moves())
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
