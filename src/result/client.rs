//! What a case did to a client and to each of its workloads.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    ConnectionResult, OfFault, OutageResult, Part, ProgramResult, PublishedResult, seconds,
};
use crate::plan::units::{at_most, measured};
use crate::plan::{Cause, LONGEST_CASE, Phase, PredictedQuantile, Prediction, Protocol, Window};

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
    /// When it had begun with that, from the case's start: when its last response came if it was idle, when its request went
    /// out if it waited for a response, when its SYN did if it was connecting. `None` of several requests at once.
    #[serde(
        default,
        rename = "phase_since_s",
        with = "seconds::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub phase_since: Option<Duration>,
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
    /// The longest time after the fault from one response, or part of one, to the next or to the case's end; `None` for one
    /// who does not ask all the time. A program's are those that servers gave it.
    #[serde(
        default,
        rename = "longest_without_response_s",
        with = "seconds::option"
    )]
    pub longest_without_response: Option<Duration>,
    /// Of a client that held no dead connection: the longest that a request, under way at the fault or asked after it, took to
    /// be answered, where that is a second or more beyond its server's own delay.
    #[serde(
        default,
        rename = "held_up_s",
        with = "seconds::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub held_up: Option<Duration>,
    /// Dials after the fault.
    pub dials: u32,
    /// What its connections speak, as each of them says; `None` if none was opened, or if they differ.
    #[serde(default)]
    pub protocol: Option<Protocol>,
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
    /// Its program, if it is one: how it ended and what it wrote last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramResult>,
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
    /// When its own node lost power, or it was killed.
    #[serde(
        default,
        rename = "gone_at_s",
        with = "seconds::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub gone_at: Option<Duration>,
    /// Why the fault tested nothing of it, as a sentence; `None` if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untested: Option<String>,
    /// The record does not say whether it gave the dead connection up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detection_unknown: bool,
    /// Requests whose response no server's record has, by number. They count as not answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claimed: Vec<u32>,
    /// The connection of the first dial after the fault that led to an endpoint that could not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialled_dead: Option<u32>,
    /// Where a measurement lies outside what was predicted, as sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    /// In a case with several faults: what each that struck it did, in order of time. Its own times, cause and parts are those of
    /// the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outages: Vec<OutageResult>,
    /// The same in full, and of the faults that something is expected of: what expectations and `explain` read.
    #[serde(skip)]
    pub by_fault: Vec<OfFault>,
    /// The share of time, from its first response to the case's end, in which a request would have been answered, from 0 to 1;
    /// `None` for one that does not ask all the time, that never had a response, or that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<f64>,
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
    /// The longest time after the fault from one of its responses, or part of one, to the next or to the case's end; `None`
    /// for one that does not ask all the time.
    #[serde(
        default,
        rename = "longest_without_response_s",
        with = "seconds::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub longest_without_response: Option<Duration>,
    /// Why the fault tested nothing of it, as a sentence; `None` if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untested: Option<String>,
    /// The record does not say whether the client gave the dead connection up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detection_unknown: bool,
}

/// Whether the faults passed by a client, or a workload of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passing {
    /// They struck nothing that it held or needed: nothing was tested.
    By,
    /// They did, and how that shows.
    Struck(String),
    /// The record does not say.
    Unknown,
}

/// How the evidence begins of a connection that was struck and had an answer again.
pub const WORKED_AGAIN: &str = "not given up: it worked again";

impl ClientResult {
    /// Until when its first outage is looked at, where another one followed.
    #[must_use]
    pub fn first_until(&self) -> Option<Duration> {
        let mut later = self.outages.iter().skip(1);
        later.find(|outage| !outage.during_another)?.fault_at
    }

    /// How many times it was out: a fault that struck it while it was out already is no outage of its own.
    #[must_use]
    pub fn times_out(&self) -> usize {
        match self.outages.is_empty() {
            true => usize::from(self.passing() != Passing::By && !self.gone),
            false => self.outages.iter().filter(|o| !o.during_another).count(),
        }
    }

    /// What its connections speak, in words; `None` if none was opened.
    #[must_use]
    pub fn spoken(&self) -> Option<String> {
        let speaks = |protocol| {
            let mut connections = self.connections.iter();
            connections.any(|c| c.protocol == Some(protocol))
        };
        let all = [Protocol::H1, Protocol::H2].into_iter();
        let spoken: Vec<_> = all.filter(|p| speaks(*p)).map(Protocol::title).collect();
        (!spoken.is_empty()).then(|| spoken.join(" and "))
    }

    /// Whether the faults passed it by.
    #[must_use]
    pub fn passing(&self) -> Passing {
        let struck = |how: &str| Passing::Struck(how.to_owned());
        match self.affected {
            _ if self.gone => struck("its own node lost power, or it was killed"),
            None => Passing::Unknown,
            Some(true) => struck("a fault struck a connection that it held"),
            Some(false) if self.requests_failed.unwrap_or(0) > 0 => {
                struck("requests of its failed")
            }
            Some(false) if self.recovered_after.is_none() => struck("it did not stay well"),
            Some(false) if self.unexplained.is_some() => struck("it had an outage"),
            Some(false) if self.held_up.is_some() => struck("a request of its was held up"),
            Some(false) if self.dialled_dead.is_some() || self.dialled_long() => {
                struck("a later dial of its met the fault")
            }
            Some(false) => Passing::By,
        }
    }

    /// Whether a dial after the fault sent its SYN again: the first time is after a second (RFC 6298).
    fn dialled_long(&self) -> bool {
        let mut dials = self.connections.iter();
        dials.any(|dial| {
            let (Some(fault), Some(dialled)) = (self.fault_at, dial.dialled_at) else {
                return false;
            };
            let opened = dial.opened_at.or(dial.closed_at);
            let took = opened.map_or(Duration::ZERO, |at| at.saturating_sub(dialled));
            dialled > fault && took >= Duration::from_secs(1)
        })
    }
}

impl WorkloadResult {
    /// Whether the faults passed it by.
    #[must_use]
    pub fn passing(&self) -> Passing {
        let struck = |how: &str| Passing::Struck(how.to_owned());
        match self.affected {
            None => Passing::Unknown,
            Some(true) => struck("a fault struck a connection that it used"),
            Some(false) if self.requests_failed.unwrap_or(0) > 0 => {
                struck("requests of its failed")
            }
            Some(false) if self.recovered_after.is_none() => struck("it did not stay well"),
            Some(false) => Passing::By,
        }
    }
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
    /// Where chance decides the recovery: its quantiles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<PredictedQuantileResult>,
    /// There is no recovery for good: what it is answered by is lost again within this time.
    #[serde(
        default,
        rename = "relapses_within_s",
        with = "seconds::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub relapses_within: Option<Duration>,
    /// The mechanism that would rule.
    pub cause: Cause,
    /// No fault would take a server of its.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unaffected: bool,
    /// When its node would be judged not ready; `None` where that is not foretold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<WindowResult>,
    /// When it would be judged ready again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_again: Option<WindowResult>,
    /// When it would lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leads: Option<WindowResult>,
}

/// By when a share of all runs would have recovered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PredictedQuantileResult {
    /// The share, from 0 to 1.
    pub share: f64,
    /// Lower bound of that time.
    #[serde(rename = "min_s", with = "seconds")]
    pub min: Duration,
    /// Upper bound of it.
    #[serde(rename = "max_s", with = "seconds")]
    pub max: Duration,
}

/// What is said where there is no recovery for good.
#[must_use]
pub fn not_for_good(relapses_within: Duration) -> String {
    match relapses_within >= LONGEST_CASE {
        true => String::from("not for good"),
        false => format!("not for good (for {} at most)", measured(relapses_within)),
    }
}

impl PredictedQuantileResult {
    /// By when at the latest, in words: `half by 28.1 s`.
    #[must_use]
    pub fn words(all: &[Self]) -> String {
        let each = all.iter().map(|quantile| {
            let share = match quantile.share {
                0.5 => String::from("half"),
                share => format!("{} %", share * 100.0),
            };
            format!("{share} by {}", at_most(quantile.max))
        });
        each.collect::<Vec<_>>().join(", ")
    }
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

impl From<Window> for WindowResult {
    fn from(Window { min, max }: Window) -> Self {
        Self { min, max }
    }
}

impl From<&PredictedQuantile> for PredictedQuantileResult {
    fn from(PredictedQuantile { share, time }: &PredictedQuantile) -> Self {
        let (share, Window { min, max }) = (*share, *time);
        Self { share, min, max }
    }
}

impl From<&Prediction> for PredictedResult {
    fn from(prediction: &Prediction) -> Self {
        Self {
            detection: prediction.detection.map(Into::into),
            recovery: prediction.recovery.map(Into::into),
            quantiles: prediction.quantiles.iter().map(Into::into).collect(),
            relapses_within: prediction.relapses_within,
            cause: prediction.cause,
            unaffected: prediction.unaffected,
            not_ready: prediction.standing.not_ready.map(Into::into),
            ready_again: prediction.standing.ready_again.map(Into::into),
            leads: prediction.standing.leads.map(Into::into),
        }
    }
}
