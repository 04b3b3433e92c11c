//! What must hold after a case, what the timeout model says before it, and where in the YAML it stood.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::verdict::units::exact;

/// What must hold after a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// Client.
    pub client: String,
    /// The workload of it; `None` = the client as a whole.
    #[serde(default)]
    pub workload: Option<String>,
    /// What of it.
    pub check: Check,
    /// As written, e.g. `standby.recovered: between 924 s and 1050 s`.
    pub text: String,
    /// Where it stood.
    pub location: Location,
}

/// What an expectation looks at. Times are counted from the fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// First response from a live endpoint after which the client stays well.
    Recovered(TimeWindow),
    /// The client gave up the dead connection.
    Detected(TimeWindow),
    /// Number of requests without a response, after the fault.
    RequestsFailed(CountWindow),
    /// Number of dials after the fault.
    Dials(CountWindow),
    /// What ended the wait on the dead connection: one of these.
    Cause(Vec<Cause>),
    /// Number of watches and streams that the client's own timeout cut after the fault though their server was well.
    HealthyCuts(CountWindow),
    /// The lock's store says that the client holds it.
    Leads(TimeWindow),
    /// One believed to lead while the lock's store named another, and the client was one of the two.
    TwoLeaders(TimeWindow),
    /// The servers judged its node not ready.
    NotReady(TimeWindow),
    /// The servers judged its node ready again, and it stayed so.
    ReadyAgain(TimeWindow),
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
    /// RST in answer to a SYN.
    Refused,
    /// ICMP or the neighbour table said there is no way.
    Unreachable,
    /// The peer closed in good order.
    ClosedByPeer,
    /// The program itself closed it: why is its own affair.
    ClosedByClient,
    /// Nothing ended it within the case.
    Never,
    /// The evidence does not say.
    Unknown,
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
    /// The timer that rules.
    pub cause: Cause,
    /// No fault takes a server of its: there is nothing to wait for, and "never" would be wrong.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unaffected: bool,
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
