//! What several faults did to a client: a line for each fault, its healing and every change of the rules.

use std::time::Duration;

use super::{Told, clock, story};
use crate::plan::units::{measured, percent};
use crate::result::{CaseResult, ClientResult, FaultResult, OutageResult, word};

/// The sum of them all, for the client's own line.
pub(super) fn sum(client: &ClientResult) -> String {
    let times = match client.times_out() {
        1 => String::from("one outage"),
        times => format!("{times} outages"),
    };
    let served = client.availability.map_or_else(String::new, |share| {
        format!(", available {} of the time", percent(share))
    });
    let silent = client
        .longest_without_response
        .map_or_else(String::new, |longest| {
            format!("; {} without a response at the longest", measured(longest))
        });
    format!("{times}{served}{silent}")
}

/// Everything that broke, healed or changed, in order of time, and what it did to the client.
pub(super) fn lines(told: &Told) -> Vec<String> {
    let mut all: Vec<(Duration, String)> = Vec::new();
    for (index, fault) in told.result.faults.iter().enumerate() {
        let Some(at) = fault.at else { continue };
        let mut outages = told.client.outages.iter();
        let outage = outages.find(|outage| outage.fault == index);
        let did = outage.map_or_else(String::new, |outage| format!(": {}", did(outage)));
        all.push((at, format!("{}{did}", called(fault))));
        if let (Some(end), Some(_)) = (fault.ends_at, fault.lasts) {
            all.push((end, format!("{} is over", called(fault))));
        }
    }
    all.extend(story::changes_of_rules(told));
    all.sort_by_key(|(at, _)| *at);
    let lines = all.into_iter();
    lines
        .map(|(at, text)| format!("{}  {text}", clock(at)))
        .collect()
}

/// How a fault is called: by its name, if it has one, and what it is.
fn called(fault: &FaultResult) -> String {
    let what = format!("{} of {}", fault.kind, fault.target);
    match &fault.name {
        Some(name) => format!("{name}, {what}"),
        None => what,
    }
}

/// When another fault struck after an outage was over.
pub(super) fn next(outage: &OutageResult, all: &[OutageResult]) -> Option<Duration> {
    let mut later = all.iter().filter(|other| other.fault_at > outage.fault_at);
    later.find(|other| !other.during_another)?.fault_at
}

/// The title of the story of one outage.
pub(super) fn title(outage: &OutageResult, result: &CaseResult) -> String {
    let fault = result.faults.get(outage.fault);
    fault.map_or_else(String::new, called)
}

/// What a fault did, in a few words.
fn did(outage: &OutageResult) -> String {
    let cause = outage.cause.as_ref().map(word).unwrap_or_default();
    let detected = match outage.detected_after {
        Some(after) => format!("{cause} after {}", measured(after)),
        None => String::from("the connection that it struck was not given up"),
    };
    let recovered = match outage.recovered_after {
        Some(after) => format!("well again after {}", measured(after)),
        None => String::from("never well again"),
    };
    let during = match outage.during_another {
        true => " (it was out already)",
        false => "",
    };
    format!("{detected}, {recovered}{during}")
}
