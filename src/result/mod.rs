//! What a case came to: plain data that every report is made from, and that `--report json` writes as it is.

mod client;
mod connection;
mod distribution;
mod expectation;
mod history;
mod kept;
mod outage;
mod program;
mod published;
pub(crate) mod seconds;

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::plan::units::{exact, measured};
use crate::plan::{Location, MatrixValue, Repetition};
use crate::record::ClockName;

pub use crate::plan::word;
pub use client::{
    ClientResult, FailureResult, Passing, PredictedQuantileResult, PredictedResult, WORKED_AGAIN,
    WindowResult, WorkloadResult, not_for_good,
};
pub use connection::{ConnectionResult, Part, PartKind, Retransmissions, Step, StepKind};
pub(crate) use distribution::wilson;
pub use distribution::{Distribution, Spread};
pub use expectation::{Checked, CounterResult, ExpectationResult};
pub use history::{
    ClientHistory, ConnectionHistory, History, Moment, OutputLine, PlaceCounters, RequestOutcome,
    RequestSpan, RulesChange, SocketSpan,
};
pub use kept::KeptResult;
pub use outage::{OfFault, OutageResult};
pub use program::{ProgramResult, SaidResult};
pub use published::{FigureResult, PublishedResult};

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
    /// The harness could not do its work, or nothing was tested of what was expected, so nothing can be said.
    Error,
    /// Of a case: nothing was expected of it.
    Measured,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
            Self::Error => "error",
            Self::Measured => "measured",
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
    /// The scenario's file, as it was named on the command line; `None` if nothing of the case says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The seed of everything in it that is thrown; `None` if it never started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The values that the scenario's matrix gives it, in the matrix's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matrix: Vec<MatrixValue>,
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
    /// When it ran by the wall's clock; `None` of a record that is judged again. Neither the record nor the JSON report has it:
    /// there the same case is the same text.
    #[serde(skip)]
    pub wall: Option<Wall>,
    /// Its faults.
    pub faults: Vec<FaultResult>,
    /// Its clients.
    pub clients: Vec<ClientResult>,
    /// What servers kept of clients, where that is expected to be something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptResult>,
    /// Its expectations.
    pub expectations: Vec<ExpectationResult>,
    /// Its clients' times over all repetitions, where this is of all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distributions: Vec<Distribution>,
    /// What the reader should know; never decides a verdict.
    pub warnings: Vec<Note>,
    /// What happened by time, where a report that shows it was asked for. It is no part of the JSON report.
    #[serde(skip)]
    pub history: Option<Box<History>>,
}

/// When a case ran by the wall's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wall {
    /// When it had its place and began; of repetitions the first.
    pub started: SystemTime,
    /// From then until it was judged; of repetitions all of it together.
    pub took: Duration,
}

impl Wall {
    /// Of several cases together; `None` if one of them is not known.
    #[must_use]
    pub fn of_all(all: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        let all: Option<Vec<Self>> = all.into_iter().collect();
        let all = all?;
        Some(Self {
            started: all.iter().map(|wall| wall.started).min()?,
            took: all.iter().map(|wall| wall.took).sum(),
        })
    }
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
    /// How expectations call it, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
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

impl CaseResult {
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

    /// The worst verdict of the expectations of what the fault of a name did to a client; `None` if it has none.
    #[must_use]
    pub fn verdict_on_outage(&self, client: &str, fault: &str) -> Option<Verdict> {
        let own = self.expectations.iter().filter(|e| e.client == client);
        let own = own.filter(|e| e.fault.as_deref() == Some(fault));
        worst(own.map(|e| e.verdict))
    }
}

/// The verdict of several together: `fail` over `error` over `pass` over `skipped` over `measured`; `None` of none.
pub(crate) fn worst(verdicts: impl Iterator<Item = Verdict>) -> Option<Verdict> {
    verdicts.max_by_key(|verdict| match verdict {
        Verdict::Measured => 0,
        Verdict::Skipped => 1,
        Verdict::Pass => 2,
        Verdict::Error => 3,
        Verdict::Fail => 4,
    })
}
