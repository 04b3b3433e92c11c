//! What a tuning came to: plain data that its table, picture and JSON are made from.

use std::time::Duration;

use serde::Serialize;

use super::share::Share;
use crate::plan::Phase;
use crate::result::seconds;

/// What a tuning came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tuning {
    /// The scenario.
    pub scenario: String,
    /// `uname -r` of the kernel whose TCP stack was measured.
    pub kernel: Option<String>,
    /// Settings that were compared.
    pub settings: usize,
    /// Cases that were run for it.
    pub runs: usize,
    /// Whether the user has interrupted it: not all was run that decides, and clients after the last one here were not looked at.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// The recovery that is asked for.
    #[serde(rename = "recover_within_s", with = "seconds")]
    pub recover_within: Duration,
    /// The silence that a healthy connection must survive; `None` = the longer the better.
    #[serde(rename = "survive_blip_s", with = "seconds::option")]
    pub survive_blip: Option<Duration>,
    /// How long the partition lasts after whose end [`Point::works_again_after`] counts.
    #[serde(rename = "partition_s", with = "seconds")]
    pub partition: Duration,
    /// Client by client.
    pub clients: Vec<ClientTuning>,
    /// Settings that can't be, each with why.
    pub impossible: Vec<Impossible>,
}

/// A setting that can't be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Impossible {
    /// Which.
    pub setting: String,
    /// Why.
    pub why: String,
}

/// What it came to for one client.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClientTuning {
    /// The client.
    pub client: String,
    /// Every setting, the quickest recovery first.
    pub points: Vec<Point>,
    /// The settings that hold what is asked for, the cheapest first, by their place in `points`.
    pub answers: Vec<usize>,
    /// What to do, in a sentence or two.
    pub sentence: String,
    /// What to write for the first answer, line by line.
    pub write: Vec<String>,
    /// Where runs contradicted the timeout model, as sentences.
    pub findings: Vec<String>,
}

/// A setting's figures for one client.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Its knobs and values, or what it is called.
    pub setting: String,
    /// Knobs and values.
    pub set: Vec<(String, String)>,
    /// Who recommends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What of a recommendation the client has no place for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Where its figures come from.
    pub by: By,
    /// Whether it counts for every connection of the client's network namespace.
    pub shared: bool,
    /// No other setting recovers sooner and survives as long, or survives longer and recovers as soon.
    pub on_front: bool,
    /// The recovery by which settings are compared: the worst that was measured, or what chance can make of it at most where it has
    /// a part in it; `None` = never.
    #[serde(rename = "recovery_compared_s", with = "seconds::option")]
    pub compared: Option<Duration>,
    /// From a loss of power until the client works again, in the worst of its phases; `None` = never.
    #[serde(rename = "recovery_worst_s", with = "seconds::option")]
    pub recovery_worst: Option<Duration>,
    /// The same, in the middle of all.
    #[serde(rename = "recovery_median_s", with = "seconds::option")]
    pub recovery_median: Option<Duration>,
    /// The most that chance can make of it, by the timeout model; `None` = never, or not known.
    #[serde(rename = "recovery_bound_s", with = "seconds::option")]
    pub recovery_bound: Option<Duration>,
    /// The same, by phase.
    pub recovery: Vec<PhaseRecovery>,
    /// The longest silence, in whole seconds where it was measured, that a healthy connection survives whenever it begins.
    #[serde(rename = "survives_s", with = "seconds")]
    pub survives: Duration,
    /// Nothing longer was tried.
    pub survives_at_least: bool,
    /// How often loss for ten minutes ended a healthy connection.
    pub killed: Vec<Killed>,
    /// The same by the timeout model, rather too high: how likely each of 1, 5 and 10 % are, from 0 to 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub killed_by_model: Vec<f64>,
    /// Packets, both ways, that a connection costs an hour on which nobody asks.
    pub packets_per_hour: Option<u64>,
    /// From the end of a partition until the client works again, in the worst of its phases.
    #[serde(rename = "works_again_after_s", with = "seconds::option")]
    pub works_again_after: Option<Duration>,
    /// Why it could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmeasured: Option<String>,
}

/// Where figures come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// It was run.
    Run,
    /// A setting was run that the timeout model can't tell from it.
    SameAs(String),
    /// The timeout model's arithmetic: the later end of the recovery's window, the shorter one of what is survived.
    Model,
}

/// The recovery from a loss of power in one phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PhaseRecovery {
    /// What the client was doing.
    pub phase: Phase,
    /// Runs of it; 0 = by the model.
    pub runs: u32,
    /// How long the slowest took; of the model, at the latest; `None` = never.
    #[serde(rename = "after_s", with = "seconds::option")]
    pub after: Option<Duration>,
}

/// How often loss ended a healthy connection.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Killed {
    /// Packets lost of a hundred, each way.
    pub percent: f64,
    /// Of so many runs.
    #[serde(flatten)]
    pub share: Share,
}
