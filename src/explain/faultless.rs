//! A case in which nothing breaks by a fault: the dials and requests that failed all the same, and the counters that tell
//! why.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Told, clock};
use crate::plan::{Case, Cause};
use crate::record::{Event, Observation, Stage};
use crate::result::{ConnectionResult, word};
use crate::verdict::CaseResult;

/// Failures alike that are told one by one; of more, the rest are counted.
const ALIKE: usize = 2;
/// Counters that tell of failures though nobody expected anything of them: what a listening socket dropped, and what an
/// emulation did.
const TELLING: [&str; 2] = ["TcpExt.Listen", "emulated."];

/// Whether anything failed of a client.
pub(super) fn failed(told: &Told) -> bool {
    match told.client.requests_failed {
        Some(failed) => failed > 0,
        // Of a program only its dials are known.
        None => dials_in_vain(told).next().is_some(),
    }
}

/// What came of a client, in one line.
pub(super) fn outcome(told: &Told) -> String {
    let without = "though the case has no fault";
    match told.client.requests_failed {
        Some(1) => format!("1 request failed, {without}"),
        Some(failed) if failed > 0 => format!("{failed} requests failed, {without}"),
        None if failed(told) => format!("dials failed, {without}"),
        _ => String::from("nothing to explain: the case has no fault, and nothing of it failed"),
    }
}

/// The dials that led to nothing, and the requests that failed, in order of time.
pub(super) fn lines(told: &Told) -> Vec<String> {
    let mut all = dials(told);
    all.extend(requests(told));
    all.sort_by_key(|(at, _)| *at);
    let shown = all
        .iter()
        .map(|(at, text)| format!("{}  {text}", clock(*at)));
    shown.collect()
}

fn dials_in_vain<'a>(told: &'a Told) -> impl Iterator<Item = &'a ConnectionResult> {
    let all = told.client.connections.iter();
    all.filter(|c| c.opened_at.is_none() && c.dialled_at.is_some())
}

fn dials(told: &Told) -> Vec<(Duration, String)> {
    let mut of_cause: BTreeMap<String, Vec<&ConnectionResult>> = BTreeMap::new();
    for dial in dials_in_vain(told) {
        of_cause.entry(word(&dial.cause)).or_default().push(dial);
    }
    let mut lines = Vec::new();
    for (cause, dials) in of_cause {
        let singly = if told.options.verbose {
            dials.len()
        } else {
            ALIKE
        };
        let each = dials.iter().take(singly);
        lines.extend(each.map(|dial| (time(dial), one(dial))));
        if let [.., last] = dials.as_slice()
            && dials.len() > singly
        {
            let more = dials.len() - singly;
            let dials = if more == 1 { "dial" } else { "dials" };
            lines.push((
                time(last),
                format!("… {more} more {dials} in vain ({cause}), until now"),
            ));
        }
    }
    lines
}

fn time(dial: &ConnectionResult) -> Duration {
    dial.closed_at.or(dial.dialled_at).unwrap_or_default()
}

fn one(dial: &ConnectionResult) -> String {
    let to = dial.led_to();
    let ended = if dial.cause == Cause::Never {
        String::from("never opened")
    } else {
        format!("given up {}", dial.cause.by())
    };
    format!("dial {} to {to}: {ended}: {}", dial.id, dial.evidence)
}

fn requests(told: &Told) -> Vec<(Duration, String)> {
    let mut of_error: BTreeMap<String, Vec<(Duration, String)>> = BTreeMap::new();
    for event in told.record {
        let (request, error, what) = if let Observation::RequestFailed {
            request,
            error,
            text,
            ..
        } = &event.what
        {
            (request, word(error), format!("fails: {text}"))
        } else if let Observation::RequestUnfinished { request, .. } = &event.what {
            let text = String::from("still has no response when the case ends");
            (request, String::from("unfinished"), text)
        } else {
            continue;
        };
        if request.client == told.client.name {
            let text = format!("request {} {what}", request.number);
            let own = of_error.entry(error).or_default();
            own.push((event.at(), text));
        }
    }
    let mut lines = Vec::new();
    for (error, mut failed) in of_error {
        let more = failed.len() - 1;
        let last = failed.last().map(|(at, _)| *at);
        if told.options.verbose {
            lines.append(&mut failed);
            continue;
        }
        lines.extend(failed.into_iter().take(1));
        if let Some(at) = last.filter(|_| more > 0) {
            let requests = if more == 1 { "request" } else { "requests" };
            lines.push((
                at,
                format!("… {more} more {requests} failed ({error}), until now"),
            ));
        }
    }
    lines
}

/// The counters that something was expected of, and of the others those that rose and tell of failures.
pub(super) fn counters(record: &[Event], case: &Case, result: &CaseResult) -> Vec<String> {
    let grown = grown(record);
    let of = |key: (&str, &str)| grown.get(&key).copied().unwrap_or_default();
    let mut expected_of = BTreeSet::new();
    let mut lines = Vec::new();
    for expected in &case.counters {
        let key = (expected.place.as_str(), expected.counter.as_str());
        expected_of.insert(key);
        let mut results = result.expectations.iter();
        let checked = results.find(|e| e.client == expected.of && e.text == expected.text);
        let verdict = checked.map_or_else(String::new, |e| {
            let missed = e.missed_by.as_ref();
            let missed = missed.map_or_else(String::new, |missed| format!(", {missed}"));
            format!(
                " (expected {}: {}{missed}, {})",
                e.expected,
                e.verdict,
                e.place()
            )
        });
        let (place, counter) = (&expected.of, &expected.counter);
        lines.push(format!("  {place} {counter} +{}{verdict}", of(key)));
    }
    let telling = grown.iter().filter(|(key, _)| {
        let tells = TELLING.iter().any(|group| key.1.starts_with(group));
        tells && !expected_of.contains(*key)
    });
    lines.extend(telling.map(|((place, counter), grown)| format!("  {place} {counter} +{grown}")));
    lines
}

/// What each counter of each namespace grew by while the case lasted: what it counted at its set-up is not the case's.
fn grown(record: &[Event]) -> BTreeMap<(&str, &str), u64> {
    let mut all = BTreeMap::new();
    for event in record {
        if let Observation::Counters {
            place,
            stage,
            deltas,
        } = &event.what
            && *stage != Stage::Start
        {
            for (counter, grown) in deltas {
                let sum: &mut u64 = all.entry((place.as_str(), counter.as_str())).or_default();
                *sum = sum.saturating_add(*grown);
            }
        }
    }
    all
}
