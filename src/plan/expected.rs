//! What must hold after a case, what the timeout model says before it, and where in the YAML it stood.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units::{exact, percent};

/// What must hold after a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// Client.
    pub client: String,
    /// The workload of it; `None` = the client as a whole.
    #[serde(default)]
    pub workload: Option<String>,
    /// The fault, by its name, whose outage is meant; `None` = the first that struck the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The server of whose connections with the client it is; `None` = it is of the client itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// What of it.
    pub check: Check,
    /// As written, e.g. `standby.recovered: between 924 s and 1050 s`.
    pub text: String,
    /// Where it stood.
    pub location: Location,
}

/// What an expectation looks at, and what it wants. In JSON an object with the metric's name as its one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<String, Expected>",
    into = "BTreeMap<String, Expected>"
)]
pub struct Check {
    /// The metric's name, as in YAML.
    pub metric: String,
    /// What it must be.
    pub expected: Expected,
}

impl Check {
    /// What `metric` must be.
    pub fn new(metric: &str, expected: impl Into<Expected>) -> Self {
        let (metric, expected) = (metric.to_owned(), expected.into());
        Self { metric, expected }
    }
}

impl From<Check> for BTreeMap<String, Expected> {
    fn from(Check { metric, expected }: Check) -> Self {
        Self::from([(metric, expected)])
    }
}

impl TryFrom<BTreeMap<String, Expected>> for Check {
    type Error = &'static str;

    fn try_from(mut only: BTreeMap<String, Expected>) -> Result<Self, Self::Error> {
        match (only.pop_first(), only.is_empty()) {
            (Some((metric, expected)), true) => Ok(Self { metric, expected }),
            _ => Err("an expectation has one metric"),
        }
    }
}

/// What a metric must be. Times are counted from the fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Expected {
    /// A time within a window.
    Time(TimeWindow),
    /// A number within a window.
    Count(CountWindow),
    /// A share of the whole.
    Share(ShareWindow),
    /// One of these.
    Causes(Vec<Cause>),
    /// So, or not so.
    Fact(bool),
}

impl From<TimeWindow> for Expected {
    fn from(window: TimeWindow) -> Self {
        Self::Time(window)
    }
}

impl From<CountWindow> for Expected {
    fn from(window: CountWindow) -> Self {
        Self::Count(window)
    }
}

impl From<ShareWindow> for Expected {
    fn from(window: ShareWindow) -> Self {
        Self::Share(window)
    }
}

impl From<Vec<Cause>> for Expected {
    fn from(causes: Vec<Cause>) -> Self {
        Self::Causes(causes)
    }
}

impl From<bool> for Expected {
    fn from(fact: bool) -> Self {
        Self::Fact(fact)
    }
}

/// A window of time from the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeWindow {
    /// Both bounds belong to it.
    Between(Duration, Duration),
    /// At most.
    Within(Duration),
    /// At least (and not never).
    AtLeast(Duration),
    /// Not within the case.
    Never,
}

impl std::fmt::Display for TimeWindow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Within(max) => write!(f, "within {}", exact(*max)),
            Self::AtLeast(min) => write!(f, "at least {}", exact(*min)),
            Self::Between(min, max) => write!(f, "between {} and {}", exact(*min), exact(*max)),
        }
    }
}

/// A window of a count; both bounds belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountWindow {
    /// Smallest.
    pub min: u32,
    /// Largest; `None` = no bound.
    pub max: Option<u32>,
}

/// A share of the whole, at least.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShareWindow {
    /// From 0 to 1.
    pub at_least: f64,
}

impl std::fmt::Display for ShareWindow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at least {}", percent(self.at_least))
    }
}

/// The mechanism that ended the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The kernel retransmitted `tcp_retries2` times' worth in vain.
    RetransmissionTimeout,
    /// TCP keepalive probes went unanswered.
    Keepalive,
    /// TCP_USER_TIMEOUT.
    UserTimeout,
    /// Probes of a peer's closed window (zero-window probes) went unanswered, `tcp_retries2` of them.
    WindowProbeTimeout,
    /// No answer to an HTTP/2 PING.
    PingTimeout,
    /// The client's own limit on a request.
    RequestTimeout,
    /// The client's own limit on silence while it waits for a response.
    ReadTimeout,
    /// The client's pool closed it while it lay idle.
    IdleTimeout,
    /// The client closed its connections because its heartbeats failed.
    HeartbeatFailure,
    /// The client's own limit on opening a connection, or the kernel's on SYNs.
    DialTimeout,
    /// RST received.
    Reset,
    /// The kernel was told to destroy the socket.
    SocketDestroyed,
    /// RST or ICMP port unreachable in answer to a SYN.
    Refused,
    /// ICMP or the neighbour table said there is no way.
    Unreachable,
    /// The peer closed in good order.
    ClosedByPeer,
    /// The program itself closed it: why is its own affair.
    ClosedByClient,
    /// Of a server's connection: the server closed it.
    ClosedByServer,
    /// Nothing ended it within the case.
    Never,
    /// The evidence does not say.
    Unknown,
}

impl Cause {
    /// By what something ended, in words: `by keepalive`.
    #[must_use]
    pub fn by(self) -> String {
        if self == Self::Unknown {
            String::from("for a reason that the evidence does not tell")
        } else {
            format!("by {self}")
        }
    }
}

/// The word that YAML and reports have for an enum's value: a cause, a phase.
#[must_use]
pub fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).ok();
    value
        .as_ref()
        .and_then(|v| v.as_str())
        .unwrap_or_default()
        .to_owned()
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&word(self))
    }
}

/// What the timeout model says of a client before the case runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Client.
    pub client: String,
    /// From the fault until the client gives up the dead connection; `None` = never, or no dead connection.
    pub detection: Option<Window>,
    /// From the fault until recovery; `None` = never, or not affected.
    pub recovery: Option<Window>,
    /// Where chance sends dials to dead endpoints: how likely each number of them is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub odds: Vec<Odds>,
    /// The same as quantiles of the recovery.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<PredictedQuantile>,
    /// There is no recovery for good: what it is answered by is lost again within this time, but for a luck of one in a
    /// million. A case ends with it well or not. Without a bound, nobody knows when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relapses_within: Option<Duration>,
    /// The timer that rules.
    pub cause: Cause,
    /// No fault takes a server of its: there is nothing to wait for, and "never" would be wrong.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unaffected: bool,
    /// What follows from that for others.
    #[serde(default, skip_serializing_if = "ForeseenStanding::is_empty")]
    pub standing: ForeseenStanding,
}

/// When others judge a client otherwise, counted from the fault; `None` where the model does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeseenStanding {
    /// Its node is judged not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<Window>,
    /// It is judged ready again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_again: Option<Window>,
    /// It holds the lock of one that died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leads: Option<Window>,
}

impl ForeseenStanding {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is said, each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Window)> {
        let all = [
            ("not ready", self.not_ready),
            ("ready again", self.ready_again),
            ("leads", self.leads),
        ];
        all.into_iter()
            .filter_map(|(name, window)| Some((name, window?)))
    }
}

/// A recovery after a number of dials that chance sent to a dead endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Odds {
    /// How many.
    pub dead_dials: u32,
    /// How likely just as many are, from 0 to 1.
    pub probability: f64,
    /// From the fault until recovery.
    pub recovery: Window,
}

/// By when a share of all runs has recovered, where chance decides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PredictedQuantile {
    /// The share, from 0 to 1.
    pub share: f64,
    /// Where that time lies, from the fault.
    pub time: Window,
}

/// A predicted window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Lower bound.
    pub min: Duration,
    /// Upper bound.
    pub max: Duration,
}

/// A trap the plan noticed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// One sentence.
    pub text: String,
    /// Where.
    pub location: Location,
}

/// Where something stood in a YAML file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Location {
    /// File, as named on the command line.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters it spans on that line.
    pub length: usize,
    /// The line itself.
    pub text: String,
}
