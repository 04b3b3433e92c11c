//! A connection, what became of it, and the parts of an outage.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seconds;
use crate::plan::{Cause, Protocol};

/// A connection, or an attempt at one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionResult {
    /// Its number in the client.
    pub id: u32,
    /// When its SYN went out.
    #[serde(rename = "dialled_at_s", with = "seconds::option")]
    pub dialled_at: Option<Duration>,
    /// When it was established; `None` = never.
    #[serde(rename = "opened_at_s", with = "seconds::option")]
    pub opened_at: Option<Duration>,
    /// When the client gave it up; `None` = not within the case.
    #[serde(rename = "closed_at_s", with = "seconds::option")]
    pub closed_at: Option<Duration>,
    /// The address that was dialled, before any service's rule; `None` if the record does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The server it led to, or the address where none listens; `None` if the record does not say.
    pub endpoint: Option<String>,
    /// What it speaks, by the negotiation (ALPN) or by what was sent first; `None` if it was not opened.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// What ended it.
    pub cause: Cause,
    /// What says so.
    pub evidence: String,
    /// Its unanswered segment, sent again and again; `None` if none was sent twice.
    #[serde(default)]
    pub retransmissions: Option<Retransmissions>,
    /// What became of it, step by step, if it lived at the fault or after it.
    #[serde(default)]
    pub chain: Vec<Step>,
}

impl ConnectionResult {
    /// Where it led to, in words: the server, else the address that was dialled and what is not known of it.
    #[must_use]
    pub fn led_to(&self) -> String {
        match (&self.endpoint, &self.target) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, Some(target)) => {
                format!("{target} (no packet in the record tells which endpoint that was)")
            }
            (None, None) => String::from("an address that the record does not tell"),
        }
    }
}

/// The sendings of a connection's unanswered segment. Times count from its first sending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retransmissions {
    /// When it was sent again, by the packets' own stamps.
    #[serde(rename = "measured_s", with = "seconds::list")]
    pub measured: Vec<Duration>,
    /// The first of them is a tail loss probe: the kernel does not count it.
    pub tail_loss_probe: bool,
    /// When the timer wheel fires, sending by sending, given the first retransmission; `None` for that one, for the
    /// probe before it, and where there is nothing to compute from (a kernel whose HZ is not known, a single
    /// retransmission).
    #[serde(rename = "arithmetic_s", with = "seconds::options")]
    pub arithmetic: Vec<Option<Duration>>,
    /// When the kernel gave the connection up, if it was retransmissions that ran out, or a TCP_USER_TIMEOUT.
    #[serde(rename = "gave_up_after_s", with = "seconds::option")]
    pub gave_up_after: Option<Duration>,
    /// The same by the timer wheel's arithmetic, where the series tells.
    #[serde(rename = "arithmetic_gave_up_after_s", with = "seconds::option")]
    pub arithmetic_gave_up_after: Option<Duration>,
}

/// A step of a connection's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When, from the case's start.
    #[serde(rename = "at_s", with = "seconds")]
    pub at: Duration,
    /// What kind of step.
    pub kind: StepKind,
    /// In words.
    pub text: String,
}

/// A kind of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Its SYN went out.
    Dial,
    /// It was opened.
    Opened,
    /// What it was doing at the fault.
    Phase,
    /// A request was handed to it that nobody answered.
    Request,
    /// The timer that ruled it since.
    Timer,
    /// What ended it.
    End,
    /// Its first response from a live server after the fault.
    Response,
}

/// What a client did in a part of its outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// It waited on the dead connection.
    DeadConnection,
    /// It dialled a dead endpoint that the rules still named: what a faster removal would have saved.
    EndpointRemoval,
    /// It dialled a dead endpoint that no rule named any more, or that no rule ever stood before.
    DeadDial,
    /// It opened a connection to a live endpoint.
    Handshake,
    /// It waited for the response of a live server.
    Response,
    /// Nothing was in flight: its pause between two tries.
    Backoff,
    /// It waited on a connection to a live server, or read from it, on a path that loses packets.
    LiveConnection,
}

impl PartKind {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DeadConnection => "dead_connection",
            Self::EndpointRemoval => "endpoint_removal",
            Self::DeadDial => "dead_dial",
            Self::Handshake => "handshake",
            Self::Response => "response",
            Self::Backoff => "backoff",
            Self::LiveConnection => "live_connection",
        }
    }

    /// What it was, in words.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::DeadConnection => "waiting on the dead connection",
            Self::EndpointRemoval => "dialling a dead endpoint that the rules still named",
            Self::DeadDial => "dialling a dead endpoint",
            Self::Handshake => "SYN to a live endpoint until the connection is shaken hands",
            Self::Response => "waiting for a live server's response",
            Self::Backoff => "nothing in flight: the pause between two tries",
            Self::LiveConnection => "on a connection to a live server",
        }
    }
}

/// A part of an outage. Times are from the case's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it was.
    pub kind: PartKind,
    /// Its beginning.
    #[serde(rename = "from_s", with = "seconds")]
    pub from: Duration,
    /// Its end.
    #[serde(rename = "to_s", with = "seconds")]
    pub to: Duration,
    /// The connection it was spent on.
    pub connection: Option<u32>,
    /// The event it begins with.
    pub begins_with: String,
    /// The event it ends with.
    pub ends_with: String,
    /// How much of it passed while a segment of its connection was sent again; `None` where that is not told.
    #[serde(
        default,
        rename = "retransmitting_s",
        with = "seconds::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub retransmitting: Option<Duration>,
}

impl Part {
    /// How long it lasted.
    #[must_use]
    pub fn lasted(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}
