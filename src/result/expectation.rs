//! What came of what was expected.

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::plan::Location;

/// What was wanted, what came of it, and the verdict on that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Verdict.
    pub verdict: Verdict,
    /// What was wanted, in people's units.
    pub expected: String,
    /// What was measured, in people's units, or why there is nothing.
    pub actual: String,
    /// By how much it was missed, in people's units; `None` if it was not, or not by an amount.
    pub missed_by: Option<String>,
}

/// What came of an expectation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectationResult {
    /// Client it is on; of a counter, the node, server or client whose namespace counts it.
    pub client: String,
    /// Its workload it is on; `None` = the client as a whole.
    #[serde(default)]
    pub workload: Option<String>,
    /// The fault, by its name, whose outage it is on; `None` = the first that struck the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The server of whose connections with the client it is; `None` = it is on the client itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The counter it is on; `None` = it is on a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<CounterResult>,
    /// What is expected of it: a metric, a quantile of a distribution, or a counter. It is the same whatever is wanted.
    #[serde(default)]
    pub metric: String,
    /// As written.
    pub text: String,
    /// Verdict.
    pub verdict: Verdict,
    /// What it wants, in people's units.
    pub expected: String,
    /// What was measured, in people's units, or why there is nothing.
    pub actual: String,
    /// By how much it was missed, in people's units; `None` if it was not, or not by an amount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_by: Option<String>,
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
    /// What came of something that was expected at a place of a scenario.
    pub(crate) fn new(
        of: &str,
        metric: &str,
        text: &str,
        location: &Location,
        checked: Checked,
    ) -> Self {
        let Location {
            file,
            line,
            column,
            length,
            text: source,
        } = location.clone();
        let Checked {
            verdict,
            expected,
            actual,
            missed_by,
        } = checked;
        Self {
            client: of.to_owned(),
            workload: None,
            fault: None,
            server: None,
            counter: None,
            metric: metric.to_owned(),
            text: text.to_owned(),
            verdict,
            expected,
            actual,
            missed_by,
            file,
            line,
            column,
            length,
            source,
        }
    }

    /// What it is on, without what is wanted: `standby.recovered`. A CI keeps its history under this name.
    #[must_use]
    pub fn name(&self) -> String {
        let between = match self.counter {
            Some(_) => ' ',
            None => '.',
        };
        format!("{}{between}{}", self.client, self.what())
    }

    /// The same of a client that was named already: `recovered`, `workloads.poll.recovered`.
    #[must_use]
    pub fn what(&self) -> String {
        // Reports of earlier versions have no metric.
        let metric = match self.metric.as_str() {
            "" => self.text.as_str(),
            metric => metric,
        };
        match (&self.server, &self.workload) {
            (Some(server), _) => format!("servers.{server}.{metric}"),
            (None, Some(workload)) => format!("workloads.{workload}.{metric}"),
            (None, None) => metric.to_owned(),
        }
    }

    /// Where it stands: `file:line:column`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}:{}", self.file, self.line, self.column)
    }

    /// What was wanted, what was measured and by how much it was missed, as the rest of a sentence that names what it is on:
    /// `within 30 s: 941.2 s, 911.2 s too late`.
    #[must_use]
    pub fn outcome(&self) -> String {
        format!("{}: {}", self.expected, self.measured())
    }

    /// What was measured, and by how much it was missed.
    #[must_use]
    pub fn measured(&self) -> String {
        match &self.missed_by {
            Some(missed) => format!("{}, {missed}", self.actual),
            None => self.actual.clone(),
        }
    }
}
