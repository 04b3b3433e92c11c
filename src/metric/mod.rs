//! What can be expected of a client or of one of its workloads: a file a metric.
//!
//! A metric says how it is called in `expect`, which kind of window it takes, what it needs, and how it is read from a
//! result. All else (the YAML's fields, the JSON Schema, what is checked beforehand, the verdict) follows from the list.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod forgot;
pub mod window;

use std::time::Duration;

use crate::plan::Cause;
use crate::result::{ClientResult, PredictedResult, WindowResult, WorkloadResult};

/// The modules of all metrics, and their list.
macro_rules! metrics {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*

        /// All metrics, in the order in which they are judged.
        pub static METRICS: &[Metric] = &[$($name::METRIC),*];
    };
}

metrics![
    not_affected,
    recovered,
    detected,
    requests_failed,
    dials,
    cause,
    healthy_cuts,
    leads,
    two_leaders,
    not_ready,
    ready_again,
    longest_without_response,
    outages,
    availability,
    exit_code,
];

/// Something that can be expected.
#[derive(Debug)]
pub struct Metric {
    /// Its field in `expect`.
    pub name: &'static str,
    /// What is written there.
    pub kind: Kind,
    /// Without what it shows nothing.
    pub needs: Needs,
    /// Of a client.
    pub client: Reading<ClientResult>,
    /// Of one of its workloads; `None` if it can only be told of the client as a whole.
    pub workload: Option<Reading<WorkloadResult>>,
}

/// How a metric is read from a result.
#[derive(Debug)]
pub struct Reading<T> {
    /// What it is, for the JSON Schema.
    pub about: &'static str,
    /// Its value.
    pub value: fn(&T) -> Value,
}

/// What is expected of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A window of the time from the fault until something happened. It may never happen.
    Moment,
    /// A window of how long something lasted. It always has a length.
    Length,
    /// A window of a number.
    Count,
    /// A window of a share of the whole.
    Share,
    /// One of several causes.
    Cause,
    /// True or false.
    Fact,
}

/// What a metric needs, so that it shows something.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// A fault, from which it counts.
    pub fault: bool,
    /// A connection that the fault struck: without one the expectation fails.
    pub struck: bool,
    /// Whom the faults must have struck: else nothing was tested.
    pub tested: Tested,
    /// When it may happen at the latest, by the timeout model: "never" is told by a case that lasts longer alone.
    pub foreseen: Option<fn(&PredictedResult) -> Option<WindowResult>>,
    /// All requests: of a program those that reach no server are seen by nobody.
    pub requests: bool,
    /// A workload of certain kinds, and why.
    pub workload: Option<Workloads>,
    /// It is of the whole case, and of no single outage.
    pub whole_case: bool,
}

impl Needs {
    /// Nothing but a client.
    pub const NOTHING: Self = Self {
        fault: false,
        struck: false,
        tested: Tested::Own,
        foreseen: None,
        requests: false,
        workload: None,
        whole_case: false,
    };
}

/// Whom a fault must have struck, so that a metric shows something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tested {
    /// The client or workload itself.
    Own,
    /// Any client: what becomes of one shows in what another becomes.
    Any,
    /// Nobody: that a fault passed it by is what is expected.
    Nobody,
}

/// The only workloads that show something.
#[derive(Debug, Clone, Copy)]
pub struct Workloads {
    /// Their kinds, as in YAML.
    pub kinds: &'static [&'static str],
    /// Why only they do, as a sentence without its end.
    pub why: &'static str,
}

/// What a result says of a metric.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// From the fault until it happened; `None` = never.
    After(Option<Duration>),
    /// So long.
    Lasts(Duration),
    /// So many.
    Count(u32),
    /// So much of the whole, from 0 to 1.
    Share(f64),
    /// This one, and what says so.
    Cause(Cause, String),
    /// Whether it is so, and what says so.
    Fact(bool, String),
    /// There is none, which is not what anybody expects: why.
    Not(&'static str),
    /// It is not known: why.
    Unknown(&'static str),
}

/// The metric of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
