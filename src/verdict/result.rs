//! What a case came to: plain data that every report is made from, and that `--report json` writes as it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{self, Case, Cause, Location, Phase, Repetition};
use crate::record::ClockName;

pub use crate::plan::word;

pub use super::chain::{Step, StepKind};
pub use super::distribution::{Distribution, Spread};
pub use super::parts::{Part, PartKind};
pub use super::published::{FigureResult, PublishedResult};
pub use super::retransmissions::Retransmissions;
use super::seconds;
use super::units::{exact, measured};

/// A verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// What was expected held.
    Pass,
    /// It did not.
    Fail,
    /// It could not be tried: this machine lacks something, or the client's own node lost power.
    Skipped,
    /// The harness could not do its work, so nothing can be said.
    Error,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
            Self::Error => "error",
        })
    }
}

/// What a case came to. Seconds are from the case's start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseResult {
    /// Scenario.
    pub scenario: String,
    /// Case within it.
    pub case: String,
    /// What the scenario shows, in its author's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Which of the case's repetitions this is, where it is repeated and this is not of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition: Option<Repetition>,
    /// Clock it ran on; `None` if it never started.
    pub clock: Option<ClockName>,
    /// `uname -r` of the kernel whose TCP stack was measured; `None` if it never started.
    pub kernel: Option<String>,
    /// That kernel's timer frequency.
    pub hz: Option<u32>,
    /// The verdict.
    pub verdict: Verdict,
    /// The case went as planned, so that its expectations could be compared with what was measured.
    pub judged: bool,
    /// Why the case was skipped or could not be run.
    pub reason: Option<Note>,
    /// How long it lasted, or its record goes.
    #[serde(rename = "duration_s", with = "seconds")]
    pub duration: Duration,
    /// Its faults.
    pub faults: Vec<FaultResult>,
    /// Its clients.
    pub clients: Vec<ClientResult>,
    /// Its expectations.
    pub expectations: Vec<ExpectationResult>,
    /// Its clients' times over all repetitions, where this is of all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distributions: Vec<Distribution>,
    /// What the reader should know; never decides a verdict.
    pub warnings: Vec<Note>,
}

/// A sentence and, if it speaks of something in a scenario, where that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The sentence.
    pub text: String,
    /// File.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
}

impl Note {
    /// A sentence that speaks of `location`.
    #[must_use]
    pub fn new(text: impl Into<String>, location: Option<&Location>) -> Self {
        Self {
            text: text.into(),
            file: location.map(|l| l.file.clone()),
            line: location.map(|l| l.line),
            column: location.map(|l| l.column),
        }
    }

    /// `file:line:column`, if it has one.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        let (file, line, column) = (self.file.as_ref()?, self.line?, self.column?);
        Some(format!("{file}:{line}:{column}"))
    }
}

/// A fault of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultResult {
    /// Kind, as in YAML.
    pub kind: String,
    /// What it struck.
    pub target: String,
    /// When; `None` = it never came into force.
    #[serde(rename = "at_s", with = "seconds::option")]
    pub at: Option<Duration>,
    /// When it was over, by itself or undone by another; `None` = not within the case, or it was done at once.
    #[serde(default, rename = "ends_at_s", with = "seconds::option")]
    pub ends_at: Option<Duration>,
    /// How long it was to be in force, from the plan.
    #[serde(
        default,
        rename = "lasts_s",
        with = "seconds::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub lasts: Option<Duration>,
    /// How strong it was, or of which kind, in people's units: `30 %`, `100 ms ± 20 ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl std::fmt::Display for FaultResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.kind, self.target)?;
        match self.at {
            Some(at) => write!(f, " at {}", measured(at))?,
            None => f.write_str(", which never came into force")?,
        }
        if let Some(detail) = &self.detail {
            write!(f, ", {detail}")?;
        }
        match (self.lasts, self.ends_at) {
            (Some(lasts), _) => write!(f, ", for {}", exact(lasts)),
            (None, Some(end)) => write!(f, ", until {}", measured(end)),
            (None, None) => Ok(()),
        }
    }
}

/// What a case did to a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientResult {
    /// Name.
    pub name: String,
    /// Its own node lost power, or it was killed; nothing more is said of it.
    pub gone: bool,
    /// Whether a connection it held at the fault led to a node that died; `None` if the record does not say.
    pub affected: Option<bool>,
    /// What it was doing at the fault.
    pub phase: Option<Phase>,
    /// What ended the wait on the dead connection; `None` if there was none.
    pub cause: Option<Cause>,
    /// What says so.
    pub evidence: Option<String>,
    /// The fault its times are counted from.
    #[serde(rename = "fault_at_s", with = "seconds::option")]
    pub fault_at: Option<Duration>,
    /// From the fault until it gave up the dead connection; `None` = never.
    #[serde(rename = "detected_after_s", with = "seconds::option")]
    pub detected_after: Option<Duration>,
    /// From the fault until it recovered; `None` = never.
    #[serde(rename = "recovered_after_s", with = "seconds::option")]
    pub recovered_after: Option<Duration>,
    /// The last response that a live server gave it before the fault, from the case's start.
    #[serde(default, rename = "last_good_at_s", with = "seconds::option")]
    pub last_good_at: Option<Duration>,
    /// The first request that failed after the fault.
    #[serde(default)]
    pub first_failure: Option<FailureResult>,
    /// Requests without a response, after the fault; `None` for a program, of whose requests only those that reached a
    /// server are known.
    pub requests_failed: Option<u32>,
    /// The longest time after the fault from one response, or part of one, to the next; `None` for one who does not ask all
    /// the time.
    #[serde(
        default,
        rename = "longest_without_response_s",
        with = "seconds::option"
    )]
    pub longest_without_response: Option<Duration>,
    /// Dials after the fault.
    pub dials: u32,
    /// What the timeout model said beforehand.
    pub predicted: Option<PredictedResult>,
    /// The same, given what it was doing at the fault and the kernel, as they were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_given_phase: Option<PredictedResult>,
    /// A measurement lies outside its predicted window; the case's warnings say which.
    pub outside_prediction: bool,
    /// Its outage in its parts, from the fault to the recovery or the case's end; none if it had no outage.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// What of the outage lies in no part; `None` if it had no outage.
    #[serde(default, rename = "unexplained_s", with = "seconds::option")]
    pub unexplained: Option<Duration>,
    /// What was published of it, beside what was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<PublishedResult>,
    /// Its connections, and its attempts at one.
    pub connections: Vec<ConnectionResult>,
    /// Watches and streams that its own timeout cut after the fault though their server was well.
    #[serde(default)]
    pub healthy_cuts: u32,
    /// From the fault until the lock's store named it as the holder; `None` = never.
    #[serde(default, rename = "leads_after_s", with = "seconds::option")]
    pub leads_after: Option<Duration>,
    /// From the fault until there were two leaders, of which it was one; `None` = never.
    #[serde(default, rename = "two_leaders_after_s", with = "seconds::option")]
    pub two_leaders_after: Option<Duration>,
    /// From the fault until its node was judged not ready; `None` = never.
    #[serde(default, rename = "not_ready_after_s", with = "seconds::option")]
    pub not_ready_after: Option<Duration>,
    /// From the fault until its node was judged ready again for good; `None` = never.
    #[serde(default, rename = "ready_again_after_s", with = "seconds::option")]
    pub ready_again_after: Option<Duration>,
    /// What the case did to each of its workloads. The client's own detection, cause and recovery are those of the worst.
    #[serde(default)]
    pub workloads: Vec<WorkloadResult>,
}

/// What a case did to a workload of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadResult {
    /// Name: its kind's, unless it was given another.
    pub name: String,
    /// Kind, as in YAML.
    pub kind: String,
    /// Whether a connection it used led to a node that died; `None` if the record does not say.
    pub affected: Option<bool>,
    /// What ended its wait on the dead connection; `None` if there was none.
    pub cause: Option<Cause>,
    /// What says so.
    pub evidence: Option<String>,
    /// The fault its times are counted from.
    #[serde(rename = "fault_at_s", with = "seconds::option")]
    pub fault_at: Option<Duration>,
    /// From the fault until the client gave up the dead connection it waited on; `None` = never.
    #[serde(rename = "detected_after_s", with = "seconds::option")]
    pub detected_after: Option<Duration>,
    /// From the fault until it recovered; `None` = never.
    #[serde(rename = "recovered_after_s", with = "seconds::option")]
    pub recovered_after: Option<Duration>,
    /// Its requests after the fault without a response, or without the whole of it; `None` for a program.
    pub requests_failed: Option<u32>,
    /// Its watches or streams that the client's own timeout cut after the fault though their server was well.
    pub healthy_cuts: u32,
}

/// A request that failed, from the case's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureResult {
    /// When it was first handed to a connection; `None` if it never had one.
    #[serde(rename = "sent_at_s", with = "seconds::option")]
    pub sent_at: Option<Duration>,
    /// When it failed.
    #[serde(rename = "failed_at_s", with = "seconds")]
    pub failed_at: Duration,
}

/// What the timeout model said of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictedResult {
    /// Of its detection; `None` = never.
    pub detection: Option<WindowResult>,
    /// Of its recovery; `None` = never, or not affected.
    pub recovery: Option<WindowResult>,
    /// The mechanism that would rule.
    pub cause: Cause,
    /// No fault would take a server of its.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unaffected: bool,
}

/// A predicted window, from the fault.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WindowResult {
    /// Lower bound.
    #[serde(rename = "min_s", with = "seconds")]
    pub min: Duration,
    /// Upper bound.
    #[serde(rename = "max_s", with = "seconds")]
    pub max: Duration,
}

impl From<plan::Window> for WindowResult {
    fn from(window: plan::Window) -> Self {
        let plan::Window { min, max } = window;
        Self { min, max }
    }
}

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
    /// The server it led to, or the address where none listens; `None` if the record does not say.
    pub endpoint: Option<String>,
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

/// What came of an expectation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectationResult {
    /// Client it is on; of a counter, the node, server or client whose namespace counts it.
    pub client: String,
    /// Its workload it is on; `None` = the client as a whole.
    #[serde(default)]
    pub workload: Option<String>,
    /// The counter it is on; `None` = it is on a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<CounterResult>,
    /// As written.
    pub text: String,
    /// Verdict.
    pub verdict: Verdict,
    /// What it wants, in people's units.
    pub expected: String,
    /// What was measured, in people's units, or why there is nothing.
    pub actual: String,
    /// File.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters it spans on that line.
    pub length: usize,
    /// The line itself.
    pub source: String,
}

/// A counter that something was expected of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterResult {
    /// With its group, e.g. `TcpExt.ListenDrops`.
    pub name: String,
    /// What it grew by while the case lasted; `None` if that is not known, or of many repetitions.
    pub grown: Option<u64>,
    /// The counter of the same namespace that it was to grow as much as.
    pub same_as: Option<String>,
}

impl ExpectationResult {
    pub(super) fn new(expectation: &plan::Expectation, checked: super::check::Checked) -> Self {
        let plan::Expectation {
            client,
            workload,
            text,
            location,
            ..
        } = expectation;
        Self {
            workload: workload.clone(),
            ..Self::located(client, text, location, checked)
        }
    }

    pub(super) fn located(
        of: &str,
        text: &str,
        location: &Location,
        checked: super::check::Checked,
    ) -> Self {
        let Location {
            file,
            line,
            column,
            length,
            text: source,
        } = location.clone();
        Self {
            client: of.to_owned(),
            workload: None,
            counter: None,
            text: text.to_owned(),
            verdict: checked.verdict,
            expected: checked.expected,
            actual: checked.actual,
            file,
            line,
            column,
            length,
            source,
        }
    }
}

impl CaseResult {
    /// The result of a case that the harness could not start, so that there is no record of it.
    #[must_use]
    pub fn not_run(case: &Case, clock: ClockName, reason: &str) -> Self {
        super::judge::not_judged(case, Some(clock), Verdict::Error, Note::new(reason, None))
    }

    /// The client of this name.
    #[must_use]
    pub fn client(&self, name: &str) -> Option<&ClientResult> {
        self.clients.iter().find(|client| client.name == name)
    }

    /// The worst verdict of a client's expectations; `None` if it has none.
    #[must_use]
    pub fn verdict_on(&self, client: &str) -> Option<Verdict> {
        let own = self.expectations.iter().filter(|e| e.client == client);
        worst(own.map(|e| e.verdict))
    }

    /// The worst verdict of the expectations of one of a client's workloads; `None` if it has none.
    #[must_use]
    pub fn verdict_on_workload(&self, client: &str, workload: &str) -> Option<Verdict> {
        let own = self.expectations.iter().filter(|e| e.client == client);
        let own = own.filter(|e| e.workload.as_deref() == Some(workload));
        worst(own.map(|e| e.verdict))
    }
}

/// The verdict of several together: `fail` over `error` over `pass` over `skipped`; `None` of none.
pub(super) fn worst(verdicts: impl Iterator<Item = Verdict>) -> Option<Verdict> {
    verdicts.max_by_key(|verdict| match verdict {
        Verdict::Skipped => 0,
        Verdict::Pass => 1,
        Verdict::Error => 2,
        Verdict::Fail => 3,
    })
}
