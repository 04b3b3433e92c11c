//! A client's figures in people's units, the same in every report for people.

use std::time::Duration;

use crate::plan::Cause;
use crate::plan::units::{between, exact, measured, percent};
use crate::result::{
    ClientResult, CounterResult, ExpectationResult, OutageResult, Passing, PredictedResult,
    WindowResult, WorkloadResult, not_for_good, word,
};
use crate::verdict::{CaseResult, Verdict};

/// Whether there is anything to show of its clients: a case that was skipped, or broke before its fault, has nothing.
pub(super) fn has_figures(result: &CaseResult) -> bool {
    let struck = result.faults.iter().any(|fault| fault.at.is_some());
    let begun = result.judged || (struck && result.verdict != Verdict::Skipped);
    begun && !result.clients.is_empty()
}

/// What is said of a case besides its clients' figures, a line each: what programs speak, their standing,
/// published times, counters.
pub(super) fn lines(result: &CaseResult) -> Vec<String> {
    let clients = if has_figures(result) {
        &result.clients[..]
    } else {
        &[]
    };
    let standing = clients.iter().filter_map(standing);
    let published = clients.iter().flat_map(published);
    let counters = result.expectations.iter().filter_map(counter);
    let spoken = clients.iter().filter_map(spoken);
    let said = clients.iter().filter_map(said);
    let several = result.faults.len() > 1;
    let availability = clients.iter().filter(|_| several).filter_map(availability);
    let ended = clients.iter().filter_map(ended);
    let told = availability
        .chain(spoken)
        .chain(ended)
        .chain(said)
        .chain(standing)
        .chain(published);
    let kept = result.kept.iter().map(ToString::to_string);
    told.chain(kept).chain(counters).collect()
}

/// What a program speaks: nobody else says so. Of a client of ours its profile does.
fn spoken(client: &ClientResult) -> Option<String> {
    let spoken = client.program.as_ref().and_then(|_| client.spoken())?;
    Some(format!("{}: speaks {spoken}", client.name))
}

/// What ended a client's wait, where the cause's own word does not say it: of a program, and where the evidence does not tell.
fn ended(client: &ClientResult) -> Option<String> {
    let name = &client.name;
    if client.cause == Some(Cause::Unknown) {
        let evidence = client.evidence.as_ref()?;
        return Some(format!(
            "{name}: what ended its wait is not told by the evidence: {evidence}"
        ));
    }
    let own = client.ended_by_its_program()?;
    Some(format!("{name}: its wait was ended by {own}"))
}

/// What a program says of its work, beside what servers and the wire saw.
fn said(client: &ClientResult) -> Option<String> {
    let said = client.program.as_ref()?.said.as_ref()?;
    let other = match said.agrees {
        Some(true) => String::from("; so say servers and the wire"),
        None => String::new(),
        Some(false) => {
            let wire = match client.recovered_after {
                _ if untouched(client) => String::from("nothing happened to it"),
                Some(after) => format!("it recovered {} after the fault", measured(after)),
                None => String::from("it never recovered"),
            };
            format!("; servers and the wire DISAGREE: {wire}")
        }
    };
    Some(format!("{}: says {}{other}", client.name, said.told()))
}

/// The expectations that have something to tell: those that failed, and of a failed case those that could not be told
/// though the rest could. (Of a case that broke, its reason says it all.)
pub(super) fn to_tell(result: &CaseResult) -> Vec<&ExpectationResult> {
    let told = |e: &&ExpectationResult| match e.verdict {
        Verdict::Fail => true,
        Verdict::Error => result.verdict == Verdict::Fail,
        Verdict::Pass | Verdict::Measured | Verdict::Skipped => false,
    };
    result.expectations.iter().filter(told).collect()
}

/// What a counter grew by that grew as expected.
fn counter(expectation: &ExpectationResult) -> Option<String> {
    let CounterResult {
        name,
        grown,
        same_as,
    } = expectation.counter.as_ref()?;
    let grown = grown.filter(|_| expectation.verdict == Verdict::Pass)?;
    let same = same_as.as_ref().map(|other| format!(" (as {other})"));
    let same = same.unwrap_or_default();
    Some(format!("{}: {name} +{grown}{same}", expectation.client))
}

/// Whether nothing happened to a client: there was no fault, or it passed the client by. Its next response is no recovery.
fn untouched(client: &ClientResult) -> bool {
    client.fault_at.is_none() || client.passing() == Passing::By
}

/// Detection and recovery as predicted.
fn predicted(client: &ClientResult) -> [String; 2] {
    let none = || [String::from("–"), String::from("–")];
    match &client.predicted {
        _ if client.gone => none(),
        None => none(),
        Some(PredictedResult {
            detection: None,
            recovery: None,
            unaffected,
            ..
        }) if *unaffected || untouched(client) => {
            if untouched(client) {
                none()
            } else {
                [(); 2].map(|()| String::from("not affected"))
            }
        }
        Some(predicted) => windows(predicted),
    }
}

/// The windows of detection and recovery.
fn windows(predicted: &PredictedResult) -> [String; 2] {
    let window = |window: Option<WindowResult>| match window {
        Some(window) => between(window.min, window.max),
        // Where it is open what the fault meets, no window is not "never".
        None if predicted.cause == Cause::Unknown => String::from("–"),
        None => String::from("never"),
    };
    let recovery = match predicted.relapses_within {
        Some(within) => not_for_good(within),
        None => window(predicted.recovery),
    };
    [window(predicted.detection), recovery]
}

/// What an outage is called: by its fault's name, or by what the fault is and strikes.
pub(super) fn called(outage: &OutageResult, result: &CaseResult) -> String {
    let fault = result.faults.get(outage.fault);
    let kind = fault.map(|fault| format!("{} of {}", fault.kind, fault.target));
    outage.name.clone().or(kind).unwrap_or_default()
}

/// How often a client was out, and how much of the time it was served.
fn availability(client: &ClientResult) -> Option<String> {
    let served = client.availability.filter(|_| !untouched(client))?;
    let times = match client.times_out() {
        1 => String::from("one outage"),
        times => format!("{times} outages"),
    };
    let served = percent(served);
    Some(format!(
        "{}: {times}, available {served} of the time",
        client.name
    ))
}

/// Published times beside the measured ones, a line each.
fn published(client: &ClientResult) -> impl Iterator<Item = String> {
    let figures = client.published.iter().flat_map(|p| &p.figures);
    figures.map(|figure| {
        let own = figure.measured.map_or_else(
            || String::from("not measured"),
            |time| format!("measured {}", measured(time)),
        );
        format!(
            "{}: published {}, {own} ({} to {})",
            client.name,
            exact(figure.published),
            figure.from.words(),
            figure.until.words(),
        )
    })
}

/// A client's figures as every report for people shows them.
pub(super) struct Figures {
    pub phase: String,
    pub cause: String,
    pub detected: String,
    pub recovered: String,
    pub requests_failed: String,
    pub dials: String,
    /// Detection and recovery.
    pub predicted: [String; 2],
    pub verdict: String,
}

impl Figures {
    /// A row for the client, and one for each of its workloads if it has several; each with its name.
    pub(super) fn rows(client: &ClientResult, result: &CaseResult) -> Vec<(String, Self)> {
        let mut rows = vec![(client.name.clone(), Self::of(client, result))];
        if client.workloads.len() > 1 && !client.gone {
            rows.extend(client.workloads.iter().map(|workload| {
                let name = format!("{}.{}", client.name, workload.name);
                (name, Self::of_workload(workload, client, result))
            }));
        }
        if client.outages.len() > 1 && !client.gone {
            rows.extend(client.outages.iter().map(|outage| {
                let name = format!("{}.{}", client.name, called(outage, result));
                (name, Self::of_outage(outage, client, result))
            }));
        }
        rows
    }

    /// Of what one of several faults did.
    fn of_outage(outage: &OutageResult, client: &ClientResult, result: &CaseResult) -> Self {
        let none = || String::from("–");
        let time = |time: Option<Duration>| time.map_or_else(|| String::from("never"), measured);
        let named = outage.name.as_ref();
        let verdict = named.and_then(|name| result.verdict_on_outage(&client.name, name));
        Self {
            phase: outage.phase.map_or_else(none, |phase| word(&phase)),
            cause: outage.cause.map_or_else(none, |cause| word(&cause)),
            detected: match outage.detection_unknown {
                true => none(),
                false => time(outage.detected_after),
            },
            recovered: time(outage.recovered_after),
            requests_failed: outage
                .requests_failed
                .map_or_else(none, |failed| failed.to_string()),
            dials: outage.dials.to_string(),
            predicted: match &outage.predicted {
                Some(predicted) => windows(predicted),
                None => [none(), none()],
            },
            verdict: verdict.map_or_else(none, |verdict| verdict.to_string()),
        }
    }

    /// Of one workload: what is the client's alone is left out.
    fn of_workload(workload: &WorkloadResult, client: &ClientResult, result: &CaseResult) -> Self {
        let none = || String::from("–");
        let time = |time: Option<Duration>| match time {
            Some(time) => measured(time),
            None if result.judged => String::from("never"),
            None => none(),
        };
        let affected = workload.affected != Some(false) && workload.fault_at.is_some();
        // Its next response is no recovery.
        let passed_by = workload.passing() == Passing::By;
        let verdict = result.verdict_on_workload(&client.name, &workload.name);
        Self {
            phase: String::new(),
            cause: match workload.cause {
                Some(cause) => word(&cause),
                None if workload.fault_at.is_none() => none(),
                None if passed_by => String::from("not affected"),
                None => String::from("no dead connection"),
            },
            detected: if affected {
                time(workload.detected_after)
            } else {
                none()
            },
            recovered: if untouched(client) || passed_by {
                none()
            } else {
                time(workload.recovered_after)
            },
            requests_failed: workload
                .requests_failed
                .map_or_else(none, |failed| failed.to_string()),
            dials: String::new(),
            predicted: [String::new(), String::new()],
            verdict: verdict.map_or_else(none, |verdict| verdict.to_string()),
        }
    }

    /// Of a client of `result`.
    pub(super) fn of(client: &ClientResult, result: &CaseResult) -> Self {
        let none = || String::from("–");
        // "never" is said of a case that was measured to its end only.
        let time = |time: Option<Duration>| match time {
            Some(time) => measured(time),
            None if result.judged => String::from("never"),
            None => none(),
        };
        let affected = client.affected != Some(false) && client.fault_at.is_some();
        let verdict = match result.verdict_on(&client.name) {
            _ if client.gone => String::from("gone"),
            Some(verdict) => verdict.to_string(),
            None if client.ended_before_fault() => String::from("not tested"),
            None => none(),
        };
        let number = |number: u32| {
            if client.gone {
                none()
            } else {
                number.to_string()
            }
        };
        Self {
            phase: client.phase.map_or_else(none, |phase| word(&phase)),
            cause: match client.cause {
                _ if client.ended_before_fault() => String::from("program ended"),
                Some(cause) => word(&cause),
                None if client.gone || client.fault_at.is_none() => none(),
                None if untouched(client) => String::from("not affected"),
                // It held no connection that was struck, and had its outage all the same: its dials met the dead.
                None => String::from("no dead connection"),
            },
            detected: if client.gone || !affected {
                none()
            } else {
                time(client.detected_after)
            },
            recovered: if client.gone || untouched(client) || client.ended_before_fault() {
                none()
            } else {
                time(client.recovered_after)
            },
            requests_failed: client.requests_failed.map_or_else(none, number),
            dials: number(client.dials),
            predicted: predicted(client),
            verdict,
        }
    }
}

/// What others say of a client, in a sentence: who leads, and whose node is ready. `None` if nobody says anything.
fn standing(client: &ClientResult) -> Option<String> {
    let said = [
        // One that led all the time has nothing to tell.
        ("leads", client.leads_after.filter(|after| !after.is_zero())),
        ("two leaders", client.two_leaders_after),
        ("not ready", client.not_ready_after),
        ("ready again", client.ready_again_after),
    ];
    let said = said
        .into_iter()
        .filter_map(|(what, after)| Some(format!("{what} after {}", measured(after?))));
    let said: Vec<_> = said.collect();
    (!said.is_empty()).then(|| format!("{}: {}", client.name, said.join(", ")))
}
