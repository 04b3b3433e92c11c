//! The shape of what a client does.

use std::time::Duration;

use schemars::JsonSchema;

use crate::plan::{Capability, CloseOnFailure};
use crate::yaml::value::{Named, OffOr, Size, Spanned, Time, given};

/// What a client does.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadSpec {
    /// GET, then a pause, for ever.
    Poll(PollSpec),
    /// Try to become and stay the holder of a lock.
    LeaderElection(LeaderElectionSpec),
    /// One request whose response never ends: events arrive on it, or nothing at all.
    Watch(WatchSpec),
    /// POST, then a pause, for ever.
    Resync(ResyncSpec),
    /// Tell servers that its node is alive, as a kubelet does.
    Heartbeat(HeartbeatSpec),
    /// A long response, or a request and a response that both go on.
    Stream(StreamSpec),
    /// Run a program of yours, as it is.
    Exec(Box<ExecSpec>),
}

/// GET, then a pause, for ever.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PollSpec {
    /// Its name among the client's workloads (default `poll`).
    pub name: Option<Spanned<String>>,
    /// Pause between a request's end and the next one.
    pub every: Spanned<Time>,
    /// Time a request may take; overrides the transport's `request_timeout`.
    pub timeout: Option<Spanned<OffOr<Time>>>,
}

/// Try to become and stay the holder of a lock.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaderElectionSpec {
    /// Its name among the client's workloads (default `leader_election`).
    pub name: Option<Spanned<String>>,
    /// Pause between a try's end and the next one.
    pub every: Spanned<Time>,
    /// Time a request may take; overrides the transport's `request_timeout`.
    pub timeout: Option<Spanned<OffOr<Time>>>,
    /// How long a lease lasts after its last renewal (default 15s).
    pub lease: Option<Spanned<Time>>,
    /// How long the client believes that it leads after its last renewal (default 10s).
    pub renew_deadline: Option<Spanned<Time>>,
    /// Random time on top of each pause, at most this (default none; client-go adds up to 1.2 times the pause).
    pub jitter: Option<Spanned<Time>>,
}

/// One request whose response never ends: events arrive on it, or nothing at all. When it ends, the next one begins.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchSpec {
    /// Its name among the client's workloads (default `watch`).
    pub name: Option<Spanned<String>>,
    /// The server sends an event this often (default `off`: it is silent).
    pub push: Option<Spanned<OffOr<Time>>>,
    /// Pause between a watch's end and the next one (default 1s).
    pub every: Option<Spanned<Time>>,
    /// Time a watch may take, which cuts healthy ones too; overrides the transport's `request_timeout`.
    pub timeout: Option<Spanned<OffOr<Time>>>,
}

/// POST, then a pause, for ever.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResyncSpec {
    /// Its name among the client's workloads (default `resync`).
    pub name: Option<Spanned<String>>,
    /// Pause between a response and the next request.
    pub every: Spanned<Time>,
    /// Pause between a request that failed and the next one (default: as `every`; client-go's work queue begins with 5ms).
    pub retry_after: Option<Spanned<Time>>,
    /// Time a request may take; overrides the transport's `request_timeout`.
    pub timeout: Option<Spanned<OffOr<Time>>>,
}

/// Tell servers with `app: nodes` that its node is alive, as a kubelet does: POST its status and, beside that, renew its
/// lease. Either of them counts.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatSpec {
    /// Its name among the client's workloads (default `heartbeat`).
    pub name: Option<Spanned<String>>,
    /// Pause between a beat's end and the next one (default 10s).
    pub every: Option<Spanned<Time>>,
    /// Time a request may take (default 10s); overrides the transport's `request_timeout`.
    pub timeout: Option<Spanned<OffOr<Time>>>,
    /// How long its lease lasts, of which a quarter is the pause between two renewals (default 40s); `off`: no lease.
    pub lease: Option<Spanned<OffOr<Time>>>,
    /// The servers judge the node not ready when nothing came for this long (default 40s; 50s from Kubernetes 1.32).
    pub grace: Option<Spanned<Time>>,
    /// Tries of each beat, one right after the other, until one is answered (default 5).
    pub attempts: Option<Spanned<u8>>,
    /// Connections to close whenever the second try of a beat, or a later one, has failed too (default none).
    pub close_on_failure: Option<Spanned<OffOr<CloseOnFailure>>>,
}

/// A long response, or a request and a response that both go on.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamSpec {
    /// A response of so many bytes a second for a while.
    Download(DownloadSpec),
    /// Messages both ways, as on gRPC's streams: the server answers each. HTTP/2 only.
    Messages(MessagesSpec),
}

/// A response of so many bytes a second for a while.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DownloadSpec {
    /// Its name among the client's workloads (default `stream`).
    pub name: Option<Spanned<String>>,
    /// Bytes a second, which come once a second.
    pub rate: Spanned<Size>,
    /// How long one lasts.
    pub duration: Spanned<Time>,
    /// Pause between one's end and the next one (default 1s).
    pub every: Option<Spanned<Time>>,
    /// Time a download may take; overrides the transport's `request_timeout`.
    pub timeout: Option<Spanned<OffOr<Time>>>,
}

/// Messages both ways, as on gRPC's streams: the server answers each.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessagesSpec {
    /// Its name among the client's workloads (default `stream`).
    pub name: Option<Spanned<String>>,
    /// Pause between two messages.
    pub interval: Spanned<Time>,
    /// Pause between a stream's end and the next one (default 1s).
    pub every: Option<Spanned<Time>>,
    /// Time a stream may take; overrides the transport's `request_timeout`.
    pub timeout: Option<Spanned<OffOr<Time>>>,
}

/// Run a program of yours, as it is. It is judged by what servers and the wire see of it.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecSpec {
    /// The program and its arguments. `{url}`, `{host}`, `{address}` and `{ca}` stand for the client's URL, its host
    /// name, the IP address and port, and the path of the file with the certificate authority, a server's name for that one's
    /// IP address, `{files}` for the folder with its `files`, `{scenario_dir}` for this file's folder; `{{url}}` for `{url}`.
    pub command: Spanned<Vec<Spanned<String>>>,
    /// Environment variables besides the ones every program gets, with the same placeholders.
    pub env: Option<Spanned<Named<String>>>,
    /// The user it runs as, by number (default: who starts the run). On the virtual clock.
    pub user: Option<Spanned<u32>>,
    /// What it may do that other programs may not, in its pod's network namespace alone, or in its node's with `host_network`
    /// (default: nothing). As in Kubernetes' `securityContext`, what it starts may do the same.
    pub capabilities: Option<Spanned<Vec<Spanned<Capability>>>>,
    /// The folder it is started in (default: the one that the run is started in), with the same placeholders.
    pub cwd: Option<Spanned<String>>,
    /// Files that it finds in the folder `{files}`: their texts by their names, with the same placeholders.
    pub files: Option<Spanned<Named<String>>>,
    /// What it reads on its standard input (default: nothing).
    pub stdin: Option<Spanned<String>>,
    /// What it writes to is a terminal, as of `kubectl run -t`: programs that hold their output back otherwise write each line
    /// at once (default false: pipes). Standard output and standard error are then one.
    pub tty: Option<Spanned<bool>>,
    /// Memory that it may have with all that it starts: on the real clock it is ended if it takes more (default 1GiB); on the
    /// virtual clock its guest has so much more for it (default 128MiB).
    pub memory: Option<Spanned<Size>>,
    /// What it may write to /tmp, /var/tmp and /dev/shm each (default 64MiB); on the virtual clock its guest has memory for that.
    pub tmpfs: Option<Spanned<Size>>,
    /// Run it again and again, with this pause between its end and its next start. Without it, it is started once.
    pub every: Option<Spanned<Time>>,
    /// Start it again when it has failed (`on_failure`) or ended (`always`), as the kubelet does it: at once, then after pauses
    /// that double (default: it is not started again).
    pub restart: Option<Spanned<RestartSpec>>,
    /// The pauses of `restart`.
    pub backoff: Option<Spanned<BackoffSpec>>,
    /// The signal it gets when the case is over (default SIGTERM where there is a `stop_grace_period`; otherwise it is killed).
    pub stop_signal: Option<Spanned<String>>,
    /// How long it has to end after that, before it is killed (default 30s, Kubernetes', where there is a `stop_signal`). What
    /// it writes then, and its exit code, count.
    pub stop_grace_period: Option<Spanned<Time>>,
    /// Lines of its output that say how its work went: a second witness, which the report shows beside what servers and the
    /// wire saw.
    pub output: Option<Spanned<OutputSpec>>,
}

/// Which lines of a program's output say that something was answered well, or that it failed.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// A line that matches this regular expression says that all is well.
    pub ok: Option<Spanned<String>>,
    /// A line that matches this regular expression says that something failed.
    pub error: Option<Spanned<String>>,
    /// A line that matches this regular expression says that it leads from now on: `leads` can then be expected of it.
    pub leads: Option<Spanned<String>>,
    /// A line that matches this regular expression says that it leads no more.
    pub follows: Option<Spanned<String>>,
    /// Lines are JSON: `{"ok": true}` says that all is well, `{"ok": false}` or one with an `error` that something failed
    /// (default false).
    pub json: Option<Spanned<bool>>,
}

/// After which end a program is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestartSpec {
    /// When it has exited with another code than 0, or was ended by a signal.
    OnFailure,
    /// Whenever it has ended.
    Always,
}

/// The pauses before a program is started again. The first restart waits for nothing; after a run of twice `most` it begins
/// anew.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackoffSpec {
    /// Before the second restart; then it doubles (default 10s, the kubelet's).
    pub first: Option<Spanned<Time>>,
    /// The longest (default 5m, the kubelet's).
    pub most: Option<Spanned<Time>>,
}

impl WorkloadSpec {
    /// Its kind's name.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Poll(_) => "poll",
            Self::LeaderElection(_) => "leader_election",
            Self::Watch(_) => "watch",
            Self::Resync(_) => "resync",
            Self::Heartbeat(_) => "heartbeat",
            Self::Stream(_) => "stream",
            Self::Exec(_) => "exec",
        }
    }

    /// Where its own name stands, if it has one.
    #[must_use]
    pub fn own_name(&self) -> Option<&Spanned<String>> {
        match self {
            Self::Poll(spec) => spec.name.as_ref(),
            Self::LeaderElection(spec) => spec.name.as_ref(),
            Self::Watch(spec) => spec.name.as_ref(),
            Self::Resync(spec) => spec.name.as_ref(),
            Self::Heartbeat(spec) => spec.name.as_ref(),
            Self::Stream(StreamSpec::Download(spec)) => spec.name.as_ref(),
            Self::Stream(StreamSpec::Messages(spec)) => spec.name.as_ref(),
            Self::Exec(_) => None,
        }
    }

    /// Its name among the client's workloads.
    #[must_use]
    pub fn name(&self) -> &str {
        let own = self.own_name().and_then(Spanned::get);
        own.map_or(self.kind(), String::as_str)
    }

    /// Its own limit on a request.
    #[must_use]
    pub fn timeout(&self) -> &Option<Spanned<OffOr<Time>>> {
        match self {
            Self::Poll(spec) => &spec.timeout,
            Self::LeaderElection(spec) => &spec.timeout,
            Self::Watch(spec) => &spec.timeout,
            Self::Resync(spec) => &spec.timeout,
            Self::Heartbeat(spec) => &spec.timeout,
            Self::Stream(StreamSpec::Download(spec)) => &spec.timeout,
            Self::Stream(StreamSpec::Messages(spec)) => &spec.timeout,
            Self::Exec(_) => &None,
        }
    }

    /// Every time in it that may not be zero.
    pub(crate) fn times(&self) -> Vec<&Spanned<Time>> {
        let (must, may) = match self {
            Self::Poll(spec) => (Some(&spec.every), vec![]),
            Self::LeaderElection(spec) => {
                (Some(&spec.every), vec![&spec.lease, &spec.renew_deadline])
            }
            Self::Watch(spec) => (None, vec![&spec.every]),
            Self::Resync(spec) => (Some(&spec.every), vec![&spec.retry_after]),
            Self::Heartbeat(spec) => (None, vec![&spec.every, &spec.grace]),
            Self::Stream(StreamSpec::Download(spec)) => (Some(&spec.duration), vec![&spec.every]),
            Self::Stream(StreamSpec::Messages(spec)) => (Some(&spec.interval), vec![&spec.every]),
            Self::Exec(spec) => (None, vec![&spec.every]),
        };
        let may = may.into_iter().filter_map(Option::as_ref);
        must.into_iter().chain(may).collect()
    }

    /// Every time in it that may be `off`, but not zero.
    pub(crate) fn optional_times(&self) -> Option<(&Spanned<OffOr<Time>>, Duration)> {
        let field = match self {
            Self::Watch(spec) => &spec.push,
            Self::Heartbeat(spec) => &spec.lease,
            _ => return None,
        };
        match (field, given(field)) {
            (Some(field), Some(OffOr::On(time))) => Some((field, time.0)),
            _ => None,
        }
    }
}
