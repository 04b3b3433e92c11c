//! The shape of a scenario file. The JSON Schema is made from these types too, descriptions included.

mod faults;
mod nodes;
mod probes;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, IgnoredAny};

pub use faults::{
    ConntrackDeletedSpec, DelaySpec, EndpointSpec, FaultKindSpec, FaultSpec, HangSpec,
    LinkDownSpec, LossSpec, PathSpec, Percent, PowerLossSpec, PowerRestoreSpec, ProcessKillSpec,
    RejectSpec, SocketDestroyedSpec, SynDropSpec, WhenSpec,
};

use super::counters::CountersSpec;
use super::published::PublishedSpec;
use super::repeat::DistributionSpec;
use super::uptime::Uptime;
pub use nodes::{NodeSpec, Nodes};
pub use probes::{ProbesSpec, Switch};

pub use super::value::{Named, NamedEntry, OffOr, OneOrList, Size, Spanned, Text, Time};
pub(super) use super::value::{OFF_OR, ONE_OR_LIST, SPANNED};
pub use super::workload::{
    DownloadSpec, ExecSpec, HeartbeatSpec, LeaderElectionSpec, MessagesSpec, PollSpec, ResyncSpec,
    StreamSpec, WatchSpec, WorkloadSpec,
};
use crate::plan::{App, Cause, Emulation, Protocol, RetryOn};

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
    /// How often every case runs, each time with other dice. Results tell how its times are distributed.
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
    /// Clients by name.
    pub clients: Spanned<Named<ClientSpec>>,
    /// Client profiles of one's own, by name.
    pub profiles: Option<Spanned<Named<ProfileSpec>>>,
    /// What breaks.
    pub faults: Spanned<Vec<Spanned<FaultSpec>>>,
    /// What is looked at besides what verdicts need.
    pub probes: Option<Spanned<ProbesSpec>>,
    /// What must hold, by client.
    pub expect: Option<Spanned<Named<ExpectSpec>>>,
    /// What must hold in some cases of the matrix only. It takes the place of the same line in `expect`.
    pub expect_when: Option<Spanned<Vec<Spanned<ExpectWhenSpec>>>>,
    /// What must hold of the kernel's counters: by node, server or client, and by the counter's name with its group, e.g.
    /// `TcpExt.ListenDrops`. An emulation's stand in the group `emulated`, e.g. `emulated.TcpExt.PAWSPassive`.
    pub expect_counters: Option<Spanned<CountersSpec>>,
    /// Figures that others have published of this, by client.
    pub published: Option<Spanned<Named<PublishedSpec>>>,
    /// Dotted paths into this file, each with the values it shall take: one case for every combination.
    pub matrix: Option<Spanned<Matrix>>,
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
}

/// A virtual address.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Virtual address and port, e.g. `192.168.255.220:443` or `[fd00:ff::1]:443`.
    pub address: Spanned<String>,
    /// How connections find an endpoint (default `iptables`).
    pub proxy: Option<Spanned<Proxy>>,
    /// Servers behind it.
    pub endpoints: Spanned<Vec<Spanned<String>>>,
    /// Until every client has a connection, all connections go to this endpoint.
    pub pin_first: Option<Spanned<String>>,
    /// Time from a node's loss until its endpoints leave the rules (default `40s`); `off`: they stay.
    pub removal: Option<Spanned<OffOr<Time>>>,
}

/// How a service's connections find an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Proxy {
    /// DNAT rules shaped like those of kube-proxy's iptables mode, in the client's node.
    Iptables,
}

/// A client.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientSpec {
    /// The node it runs on.
    pub node: Spanned<String>,
    /// On the node itself instead of in a pod (default false).
    pub host_network: Option<Spanned<bool>>,
    /// What it asks: `http://` or `https://`, a service, server, node or address, and a path.
    pub url: Spanned<String>,
    /// The profile its transport begins from: a preset, or one from `profiles`. An `exec` client has none.
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

/// A struct with all of a transport's knobs, and before them fields of its own.
macro_rules! with_knobs {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
            /// HTTP version.
            pub protocol: Option<Spanned<Protocol>>,
            /// Time for connect(), SYN to SYN-ACK.
            pub dial_timeout: Option<Spanned<OffOr<Time>>>,
            /// Time for the TLS handshake.
            pub tls_timeout: Option<Spanned<OffOr<Time>>>,
            /// Time for a request, dial included. h1: closes the connection; h2: resets the stream only.
            pub request_timeout: Option<Spanned<OffOr<Time>>>,
            /// Time without a byte while waiting for a response. Closes the connection (h1) or resets the stream (h2).
            pub read_timeout: Option<Spanned<OffOr<Time>>>,
            /// Time a connection may lie idle before the client closes it.
            pub idle_timeout: Option<Spanned<OffOr<Time>>>,
            /// TCP keepalive.
            pub keepalive: Option<Spanned<OffOr<KeepaliveSpec>>>,
            /// TCP_USER_TIMEOUT.
            pub user_timeout: Option<Spanned<OffOr<Time>>>,
            /// HTTP/2 PING health check.
            pub ping: Option<Spanned<OffOr<PingSpec>>>,
            /// After a request's timeout on h2 send a PING; close the connection if its answer takes longer than this.
            pub ping_after_timeout: Option<Spanned<OffOr<Time>>>,
            /// What the transport sends again by itself.
            pub retry: Option<Spanned<OffOr<RetrySpec>>>,
        }
    };
}

with_knobs! {
    /// A client's transport. What is not named here is as in the profile.
    TransportSpec {}
}

with_knobs! {
    /// A client profile of one's own: a base, and the knobs that differ from it.
    ProfileSpec {
        /// The profile it begins from (default `bare`: HTTP/1.1 and everything off).
        base: Option<Spanned<String>>,
    }
}

impl ProfileSpec {
    /// Its knobs alone.
    #[must_use]
    pub fn knobs(&self) -> TransportSpec {
        let this = self.clone();
        TransportSpec {
            protocol: this.protocol,
            dial_timeout: this.dial_timeout,
            tls_timeout: this.tls_timeout,
            request_timeout: this.request_timeout,
            read_timeout: this.read_timeout,
            idle_timeout: this.idle_timeout,
            keepalive: this.keepalive,
            user_timeout: this.user_timeout,
            ping: this.ping,
            ping_after_timeout: this.ping_after_timeout,
            retry: this.retry,
        }
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

/// What must hold for a client. Times count from the fault.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectSpec {
    /// First response from a live server after which the client stays well.
    pub recovered: Option<Spanned<TimeWindowSpec>>,
    /// The client gave up the dead connection.
    pub detected: Option<Spanned<TimeWindowSpec>>,
    /// Requests after the fault that got no response.
    pub requests_failed: Option<Spanned<CountWindowSpec>>,
    /// Dials after the fault.
    pub dials: Option<Spanned<CountWindowSpec>>,
    /// What ended the wait on the dead connection: one, or one of a list.
    pub cause: Option<Spanned<OneOrList<Cause>>>,
    /// Watches and streams that the client's own timeout cut after the fault though their server was well.
    pub healthy_cuts: Option<Spanned<CountWindowSpec>>,
    /// The lock's store says that the client holds it.
    pub leads: Option<Spanned<TimeWindowSpec>>,
    /// One that believed to lead while the lock's store named another, and this client was one of the two.
    pub two_leaders: Option<Spanned<TimeWindowSpec>>,
    /// The servers judged its node not ready.
    pub not_ready: Option<Spanned<TimeWindowSpec>>,
    /// The servers judged its node ready again, and it stayed so.
    pub ready_again: Option<Spanned<TimeWindowSpec>>,
    /// Quantiles over all repetitions (`repeat`). The other expectations must hold in every single one.
    pub distribution: Option<Spanned<DistributionSpec>>,
    /// What must hold of one of its workloads alone, by the workload's name.
    pub workloads: Option<Spanned<Named<ExpectWorkloadSpec>>>,
}

/// What must hold of one workload of a client. Times count from the fault.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectWorkloadSpec {
    /// First response from a live server after which it stays well; of a stream, the first bytes.
    pub recovered: Option<Spanned<TimeWindowSpec>>,
    /// The client gave up the dead connection that this workload waited on.
    pub detected: Option<Spanned<TimeWindowSpec>>,
    /// Its requests after the fault that got no response, or not the whole of it.
    pub requests_failed: Option<Spanned<CountWindowSpec>>,
    /// What ended its wait on the dead connection: one, or one of a list.
    pub cause: Option<Spanned<OneOrList<Cause>>>,
    /// Its watches or streams that the client's own timeout cut after the fault though their server was well.
    pub healthy_cuts: Option<Spanned<CountWindowSpec>>,
}

/// A lower and an upper bound.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub struct Bounds<T>(pub Vec<Spanned<T>>);

impl<T: JsonSchema> JsonSchema for Bounds<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Bounds_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let bound = generator.subschema_for::<T>();
        json_schema!({ "type": "array", "items": bound, "minItems": 2, "maxItems": 2 })
    }
}

/// A window of time from the fault.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeWindowSpec {
    /// Not within the case.
    Never,
    /// Earliest and latest, both included.
    Between(Bounds<Time>),
    /// At most.
    Within(Time),
    /// At least, and not never.
    AtLeast(Time),
}

/// A window of a count.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CountWindowSpec {
    /// Smallest and largest, both included.
    Between(Bounds<u32>),
    /// Largest.
    AtMost(u32),
    /// Smallest.
    AtLeast(u32),
    /// Just this many.
    Exactly(u32),
}

/// What must hold where the matrix has certain values.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectWhenSpec {
    /// Matrix keys, each with a value or a list of values; the entry counts where all of them fit.
    pub matrix: Spanned<Named<OneOrList<Text>>>,
    /// What must hold there, by client.
    pub expect: Spanned<Named<ExpectSpec>>,
    /// What must hold of counters there.
    pub expect_counters: Option<Spanned<CountersSpec>>,
}

/// The matrix, which is applied to the file's text before it gets its shape (see [`super::matrix`]).
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
            "additionalProperties": { "type": "array", "minItems": 1 },
            "examples": [{ "sysctls.net.ipv4.tcp_retries2": [15, 9, 8, 5] }],
        })
    }
}
