//! The shape of a scenario file. The JSON Schema is made from these types too, descriptions included.

mod counters;
mod expect;
mod expect_servers;
mod faults;
mod nodes;
mod probes;
mod published;
mod repeat;
mod server_program;
mod uptime;
mod window;
mod workload;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, IgnoredAny};
use serde_json::json;

pub(crate) use expect::OF_CLIENT;
pub use expect::{ExpectOutageSpec, ExpectSpec, ExpectWorkloadSpec, ExpectedSpec, WindowSpec};
pub(crate) use expect_servers::SERVERS;
pub use expect_servers::{ExpectServerSpec, ExpectationsSpec, ForgotSpec};
pub use faults::{FaultSpec, RollingSpec, WhenSpec};

pub use counters::{CounterSpec, CountersSpec};
pub use nodes::{NodeSpec, Nodes};
pub use probes::{ProbesSpec, Switch};
pub use published::{FigureSpec, PublishedSpec};
pub use repeat::{DistributionSpec, QuantilesSpec};
pub use server_program::{ReadySpec, ServerExecSpec};
pub use uptime::Uptime;
pub use window::{Bounds, CountWindowSpec, ShareWindowSpec, TimeWindowSpec};
pub use workload::{
    BackoffSpec, DownloadSpec, ExecSpec, HeartbeatSpec, LeaderElectionSpec, MessagesSpec,
    OutputSpec, PollSpec, RestartSpec, ResyncSpec, StreamSpec, WatchSpec, WorkloadSpec,
};

use crate::plan::{
    App, Emulation, IdleCheck, MiddleboxKind, Protocol, Proxy, RetryOn, TimeoutEnds, UnknownPackets,
};
use crate::preset::{self, Preset};
pub use crate::yaml::on_or::OnOr;
pub use crate::yaml::value::{Named, NamedEntry, OffOr, OneOrList, Size, Spanned, Text, Time};

/// A scenario: what stands, what breaks, and what must hold afterwards.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The scenario's name, used in reports.
    pub name: Spanned<String>,
    /// What it shows, in a sentence or two.
    pub description: Option<Spanned<String>>,
    /// How long every case lasts. Without it: until everything expected and predicted must have happened.
    pub duration: Option<Spanned<Time>>,
    /// How often every case runs, each time with other dice, and its clients elsewhere in their rhythm when the first fault comes.
    /// Results tell how its times are distributed.
    pub repeat: Option<Spanned<u32>>,
    /// Machines that can lose power: a list of names, or a mapping from names to settings.
    pub nodes: Spanned<Nodes>,
    /// Sysctls of every node and every pod.
    pub sysctls: Option<Spanned<Named<Text>>>,
    /// Round-trip time between any two nodes, half of it each way (default: as fast as the machine). Pods of one node have
    /// none between them.
    pub rtt: Option<Spanned<Time>>,
    /// Servers by name.
    pub servers: Spanned<Named<ServerSpec>>,
    /// Virtual addresses by name, with the servers behind them.
    pub service: Option<Spanned<Named<ServiceSpec>>>,
    /// Machines on paths that know the connections which pass them, by name.
    pub middleboxes: Option<Spanned<Named<MiddleboxSpec>>>,
    /// Clients by name.
    pub clients: Spanned<Named<ClientSpec>>,
    /// Client profiles of one's own, by name.
    pub profiles: Option<Spanned<Named<ProfileSpec>>>,
    /// What breaks.
    pub faults: Spanned<Vec<Spanned<FaultSpec>>>,
    /// What is looked at besides what verdicts need.
    pub probes: Option<Spanned<ProbesSpec>>,
    /// What must hold, by client; of servers under `servers`.
    pub expect: Option<Spanned<ExpectationsSpec>>,
    /// What must hold in some cases of the matrix only. It takes the place of the same line in `expect`.
    pub expect_when: Option<Spanned<Vec<Spanned<ExpectWhenSpec>>>>,
    /// What must hold of the kernel's counters: by node, server or client, and by the counter's name with its group, e.g.
    /// `TcpExt.ListenDrops`. An emulation's stand in the group `emulated`, e.g. `emulated.TcpExt.PAWSPassive`.
    pub expect_counters: Option<Spanned<CountersSpec>>,
    /// Figures that others have published of this, by client.
    pub published: Option<Spanned<Named<PublishedSpec>>>,
    /// Dotted paths into this file, each with the values it shall take: one case for every combination. A list of values, or a
    /// mapping from names to them, which then stand in the cases' names: `{ "1.2": [...], "1.3": [...] }`.
    pub matrix: Option<Spanned<Matrix>>,
}

/// A machine between a node and all others that passes the packets of connections it knows, from their SYN on, and of no others.
/// Addresses are not translated.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MiddleboxSpec {
    /// The node whose uplink it sits on. (One at most for each.)
    pub node: Spanned<String>,
    /// `load_balancer` (default), or `nat`, to which what comes from beyond its node and belongs to no connection that it knows is
    /// for nobody: it vanishes whatever `unknown` says.
    pub kind: Option<Spanned<MiddleboxKind>>,
    /// How long it knows a connection on which nothing is sent, in whole seconds (default: for ever). When that happens first to a
    /// connection of a client, it is a fault of the kind `idle_timeout`, and what is expected counts from then.
    pub idle_timeout: Option<Spanned<Time>>,
    /// What becomes of packets of connections that it does not know: `drop` (default), or `reset`, an answer with RST.
    pub unknown: Option<Spanned<UnknownPackets>>,
}

/// A server.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerSpec {
    /// The node it runs on.
    pub node: Spanned<String>,
    /// What it does (default `echo`).
    pub app: Option<Spanned<App>>,
    /// TLS, or clear text (the default).
    pub tls: Option<Spanned<bool>>,
    /// Port it listens on (default 443 with TLS, 80 without).
    pub port: Option<Spanned<u16>>,
    /// HTTP versions it speaks (default both).
    pub protocols: Option<Spanned<Vec<Spanned<Protocol>>>>,
    /// On the node itself instead of in a pod (default false).
    pub host_network: Option<Spanned<bool>>,
    /// Time between a request's arrival and its response (default none).
    pub response_delay: Option<Spanned<Time>>,
    /// Sysctls of its pod.
    pub sysctls: Option<Spanned<Named<Text>>>,
    /// Connections that may wait to be accepted, as given to listen(2) (default 1024); the kernel takes one more.
    pub backlog: Option<Spanned<u16>>,
    /// Connections its program accepts on each of its addresses before it accepts no more (default: no end). Those
    /// accepted go on being served.
    pub accepts: Option<Spanned<u32>>,
    /// What the lab does in its kernel's place, for new connections to this server.
    pub emulate: Option<Spanned<Emulation>>,
    /// A program that is the server, in place of an app.
    pub exec: Option<Spanned<ServerExecSpec>>,
    /// When the program is ready (default: when it listens on its port).
    pub ready: Option<Spanned<ReadySpec>>,
    /// TCP keepalive of the connections that it accepts (default off); `on`: with the kernel's own times, which are sysctls. This and
    /// the next three are an app's: a program sets its own.
    pub keepalive: Option<Spanned<OffOr<OnOr<KeepaliveSpec>>>>,
    /// TCP_USER_TIMEOUT of those (default off).
    pub user_timeout: Option<Spanned<OffOr<Time>>>,
    /// Time after which it closes a connection on which no request is open (default off).
    pub idle_timeout: Option<Spanned<OffOr<Time>>>,
    /// HTTP/2 PINGs to its clients (default off).
    pub ping: Option<Spanned<OffOr<ServerPingSpec>>>,
}

/// A virtual address.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Virtual address and port, e.g. `192.168.255.220:443` or `[fd00:ff::1]:443`.
    pub address: Spanned<String>,
    /// How connections find an endpoint (default `iptables`; without `endpoints` it is `programs`).
    pub proxy: Option<Spanned<Proxy>>,
    /// Servers behind it (default: whichever programs among the servers the rules of a program name, such as kube-proxy with
    /// `capabilities: [net_admin]` on its node's network; their certificates bear the service's name).
    pub endpoints: Option<Spanned<Vec<Spanned<String>>>>,
    /// Until every client has a connection, all connections go to this endpoint.
    pub pin_first: Option<Spanned<String>>,
    /// Where a client's next connections go (default: by chance, or in turn, whatever its earlier ones were).
    pub affinity: Option<Spanned<AffinitySpec>>,
    /// Time from a node's loss until its endpoints leave the rules (default `40s`; of a `vip` 3609 ms, VRRP's three
    /// advertisements of a second and a skew); `off`: they stay.
    pub removal: Option<Spanned<OffOr<Time>>>,
    /// Time from a node's power being back until its endpoints are in the rules again (default `10s`); `off`: they stay out.
    /// An endpoint that an `endpoint_added` puts back waits for that.
    pub readiness: Option<Spanned<OffOr<Time>>>,
}

/// A service's session affinity, as Kubernetes has it.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AffinitySpec {
    /// A client's address keeps its endpoint for so long after its last new connection (`ClientIP`; Kubernetes' default is 3h,
    /// 10800 s): whole seconds, up to 24h. A dead endpoint too, until it leaves the rules.
    pub client_ip: Spanned<Time>,
}

/// A client.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientSpec {
    /// The node it runs on.
    pub node: Spanned<String>,
    /// On the node itself instead of in a pod (default false).
    pub host_network: Option<Spanned<bool>>,
    /// What it asks: `http://` or `https://`, a service, server, node or address, and a path. For a program also `tcp://`, a
    /// name and a port, whatever it speaks there.
    pub url: Spanned<String>,
    /// The profile its transport begins from: a preset, or one from `profiles`. An `exec` client has none.
    #[schemars(with = "Option<ProfileName>")]
    pub profile: Option<Spanned<String>>,
    /// Knobs that differ from the profile's.
    pub transport: Option<Spanned<TransportSpec>>,
    /// What it does. A client has this or `workloads`.
    pub workload: Option<Spanned<WorkloadSpec>>,
    /// Several things that it does at once over one transport: with HTTP/2 they share a connection, with HTTP/1.1 each
    /// request under way has its own.
    pub workloads: Option<Spanned<Vec<Spanned<WorkloadSpec>>>>,
    /// Sysctls of its pod.
    pub sysctls: Option<Spanned<Named<Text>>>,
    /// When it starts, from the case's start (default at once).
    pub start: Option<Spanned<Time>>,
    /// By how much longer than others its machine is up (default 0s). All pods of a lab have one kernel and so one clock; a
    /// server's emulation of `tw_recycle` adds this to the timestamps of this pod's SYNs when it judges them.
    pub uptime: Option<Spanned<Uptime>>,
}

/// A client's transport, and a profile, which has a base and the same knobs.
macro_rules! knobs {
    ($($(#[$doc:meta])* $knob:ident: $type:ty,)*) => {
        /// A client's transport. What is not named here is as in the profile.
        #[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct TransportSpec {
            $($(#[$doc])* pub $knob: Option<Spanned<$type>>,)*
        }

        /// A client profile of one's own: a base, and the knobs that differ from it.
        #[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct ProfileSpec {
            /// The profile it begins from (default `bare`: HTTP/1.1 and everything off).
            #[schemars(with = "Option<ProfileName>")]
            pub base: Option<Spanned<String>>,
            $($(#[$doc])* pub $knob: Option<Spanned<$type>>,)*
        }

        impl ProfileSpec {
            /// Its knobs alone.
            #[must_use]
            pub fn knobs(&self) -> TransportSpec {
                TransportSpec { $($knob: self.$knob.clone(),)* }
            }
        }
    };
}

knobs! {
    /// HTTP version.
    protocol: Protocol,
    /// Time for connect(), SYN to SYN-ACK.
    dial_timeout: OffOr<Time>,
    /// Time for the TLS handshake.
    tls_timeout: OffOr<Time>,
    /// Time for a request, dial included. h1: closes the connection; h2: resets the stream only.
    request_timeout: OffOr<Time>,
    /// Time without a byte while waiting for a response. Closes the connection (h1) or resets the stream (h2).
    read_timeout: OffOr<Time>,
    /// Time a connection may lie idle before the client closes it.
    idle_timeout: OffOr<Time>,
    /// When a connection is held against that time (default `timer`): `next_request` looks before it uses one, and till then the
    /// socket stays open.
    idle_check: IdleCheck,
    /// TCP keepalive; `on`: SO_KEEPALIVE with the kernel's own times, which are sysctls (`net.ipv4.tcp_keepalive_time`, `…_intvl`,
    /// `…_probes`).
    keepalive: OffOr<OnOr<KeepaliveSpec>>,
    /// TCP_USER_TIMEOUT.
    user_timeout: OffOr<Time>,
    /// HTTP/2 PING health check.
    ping: OffOr<PingSpec>,
    /// What a request's timeout ends on h2 (default `stream`): `connection` takes no further request, and is closed as idle ones are.
    timeout_ends: TimeoutEnds,
    /// After a request's timeout on h2 send a PING; if its answer takes longer than this, the next request closes the connection.
    ping_after_timeout: OffOr<Time>,
    /// What the transport sends again by itself.
    retry: OffOr<RetrySpec>,
}

/// The name of a profile, for the JSON Schema: it offers the presets, and takes every other name as one from `profiles`.
struct ProfileName;

impl JsonSchema for ProfileName {
    fn schema_name() -> Cow<'static, str> {
        "ProfileName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let preset = |preset: &Preset| json!({ "const": preset.name, "description": preset.about });
        let own = json!({ "type": "string", "description": "A profile from `profiles`." });
        let mut names: Vec<_> = preset::presets().iter().map(preset).collect();
        names.push(own);
        json_schema!({
            "description": "Where a transport begins: a preset, or a profile of one's own. `halfopen profiles` tells what each preset sets.",
            "anyOf": names,
        })
    }
}

/// TCP keepalive of a socket; counts only while nothing is unacknowledged. What is not named is inherited.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepaliveSpec {
    /// TCP_KEEPIDLE, whole seconds.
    pub idle: Option<Spanned<Time>>,
    /// TCP_KEEPINTVL, whole seconds.
    pub interval: Option<Spanned<Time>>,
    /// TCP_KEEPCNT.
    pub count: Option<Spanned<u8>>,
}

/// HTTP/2 PING health check. What is not named is inherited.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PingSpec {
    /// A PING goes out when nothing was read for this long.
    pub idle: Option<Spanned<Time>>,
    /// The connection is closed when nothing was read for this long after the PING.
    pub timeout: Option<Spanned<Time>>,
    /// Also when no request is open (default false where there is nothing to inherit).
    pub while_idle: Option<Spanned<bool>>,
}

/// A server's HTTP/2 PINGs, with or without a request.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerPingSpec {
    /// A PING goes out when nothing was read for this long.
    pub idle: Spanned<Time>,
    /// The connection is closed when its answer has not come after this long.
    pub timeout: Spanned<Time>,
}

/// What a transport sends again by itself. What is not named is inherited.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetrySpec {
    /// Tries after the first.
    pub attempts: Option<Spanned<u8>>,
    /// Pause before each.
    pub backoff: Option<Spanned<Time>>,
    /// On which errors.
    pub on: Option<Spanned<OneOrList<RetryOn>>>,
}

impl ClientSpec {
    /// What it does, in the file's order, with the places: its one workload, or its several.
    pub fn works(&self) -> impl Iterator<Item = &Spanned<WorkloadSpec>> {
        let several = self.workloads.as_ref().and_then(Spanned::get);
        self.workload.iter().chain(several.into_iter().flatten())
    }
}

/// What must hold where the matrix has certain values.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectWhenSpec {
    /// Matrix keys, each with a value or a list of values; the entry counts where all of them fit.
    pub matrix: Spanned<Named<OneOrList<Text>>>,
    /// What must hold there, by client; of servers under `servers`.
    pub expect: Spanned<ExpectationsSpec>,
    /// What must hold of counters there.
    pub expect_counters: Option<Spanned<CountersSpec>>,
}

/// The matrix, which is applied to the file's text before it gets its shape (see `yaml::matrix`).
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix;

impl<'de> Deserialize<'de> for Matrix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl JsonSchema for Matrix {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Matrix".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    { "type": "array", "minItems": 1 },
                    {
                        "description": "The values by the names that they have in the cases' names.",
                        "type": "object",
                        "minProperties": 1,
                    },
                ],
            },
            "examples": [
                { "sysctls.net.ipv4.tcp_retries2": [15, 9, 8, 5] },
                { "clients.mine.workload.exec.command": { "1.2": ["old/mine"], "1.3": ["new/mine"] } },
            ],
        })
    }
}
