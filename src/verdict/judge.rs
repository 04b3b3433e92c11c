//! The verdict on a case.

use std::time::Duration;

use crate::metric;
use crate::plan::{Case, Expectation};
use crate::record::{ClockName, Event};

use super::counters;
use super::expectations;
use super::forgotten::Forgotten;
use super::index::Index;
use super::measure;
use super::outcome::Outcome;
use super::program_end;
use crate::result::{CaseResult, ClientResult, ExpectationResult, Note, Verdict, worst};

/// Judges a record by the expectations of its own case.
#[must_use]
pub fn judge(record: &[Event]) -> CaseResult {
    let Some(index) = Index::of(record) else {
        return nameless();
    };
    let measured = measure::of(&index);
    let forgotten = Forgotten::of(&index);
    let mut expectations = expectations::of(&index, &measured, &forgotten);
    expectations.extend(counters::expectations(&index, &measured.outcome));
    doubt_failures(&mut expectations, index.lateness);
    let verdict = verdict(&measured.outcome, &expectations);
    let (verdict, reason) = program_end::not_passed(verdict, &measured.clients, &expectations);
    CaseResult {
        warnings: warnings(&index, &measured.clients),
        kept: forgotten.into_results(),
        clients: measured.clients,
        faults: measured.faults,
        // A lab that did not start could not say its kernel.
        kernel: Some(index.kernel.to_owned()).filter(|kernel| !kernel.is_empty()),
        hz: index.hz,
        duration: measured.duration,
        judged: measured.outcome == Outcome::Whole,
        expectations,
        ..empty(index.case, Some(index.clock), verdict, reason)
    }
}

/// The result of a case of which nothing was observed.
pub(super) fn not_judged(
    case: &Case,
    clock: Option<ClockName>,
    verdict: Verdict,
    reason: Note,
) -> CaseResult {
    let expectations = case.expectations.iter();
    let expectations = expectations.map(|e| expectations::unchecked(e, verdict, &reason.text));
    let counters = counters::not_judged(case, verdict, &reason.text);
    CaseResult {
        expectations: expectations.chain(counters).collect(),
        faults: measure::faults(case, &[]),
        warnings: plan_warnings(case).collect(),
        ..empty(case, clock, verdict, Some(reason.clone()))
    }
}

impl CaseResult {
    /// The result of a case that the harness could not start, so that there is no record of it.
    #[must_use]
    pub fn not_run(case: &Case, clock: ClockName, reason: &str) -> Self {
        not_judged(case, Some(clock), Verdict::Error, Note::new(reason, None))
    }

    /// The result of a case of which nothing but its name is known: its record is missing.
    #[must_use]
    pub fn without_record(scenario: &str, case: &str, reason: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            case: case.to_owned(),
            ..nothing(None, Verdict::Error, Some(Note::new(reason, None)))
        }
    }
}

fn empty(
    case: &Case,
    clock: Option<ClockName>,
    verdict: Verdict,
    reason: Option<Note>,
) -> CaseResult {
    CaseResult {
        scenario: case.scenario.clone(),
        case: case.name.clone(),
        description: case.description.clone(),
        file: file(case),
        seed: Some(case.lab.seed),
        matrix: case.matrix.clone(),
        repetition: case.repetition.clone(),
        ..nothing(clock, verdict, reason)
    }
}

fn nothing(clock: Option<ClockName>, verdict: Verdict, reason: Option<Note>) -> CaseResult {
    CaseResult {
        scenario: String::new(),
        case: String::new(),
        description: None,
        file: None,
        seed: None,
        matrix: Vec::new(),
        repetition: None,
        clock,
        kernel: None,
        hz: None,
        verdict,
        judged: false,
        reason,
        duration: Duration::ZERO,
        wall: None,
        faults: Vec::new(),
        clients: Vec::new(),
        kept: Vec::new(),
        expectations: Vec::new(),
        distributions: Vec::new(),
        warnings: Vec::new(),
        history: None,
    }
}

/// The file that a case's scenario stands in: every place that the case names is in it.
fn file(case: &Case) -> Option<String> {
    let expected = case.expectations.iter().map(|e| &e.location);
    let counters = case.counters.iter().map(|e| &e.location);
    let spread = case.spread.iter().map(|e| &e.location);
    let clients = case.lab.clients.iter().map(|client| &client.location);
    let faults = case.lab.faults.iter().map(|fault| &fault.location);
    let mut all = clients
        .chain(faults)
        .chain(expected)
        .chain(counters)
        .chain(spread);
    all.find(|place| !place.file.is_empty())
        .map(|place| place.file.clone())
}

/// Of a record that does not even say which case it is of.
fn nameless() -> CaseResult {
    let reason = Note::new("the record does not begin with its case", None);
    nothing(None, Verdict::Error, Some(reason))
}

fn verdict(outcome: &Outcome, expectations: &[ExpectationResult]) -> (Verdict, Option<Note>) {
    match outcome {
        Outcome::Broken { text, location } => (
            Verdict::Error,
            Some(Note::new(text.clone(), location.as_ref())),
        ),
        Outcome::Skipped { missing, location } => (
            Verdict::Skipped,
            Some(Note::new(missing.clone(), location.as_ref())),
        ),
        Outcome::Whole => {
            let verdict = worst(expectations.iter().map(|e| e.verdict));
            let verdict = verdict.unwrap_or(Verdict::Measured);
            let cause = expectations.iter().find(|e| e.verdict == verdict);
            let reason = cause.filter(|_| matches!(verdict, Verdict::Skipped | Verdict::Error));
            (
                verdict,
                reason.map(|e| Note::new(format!("{}: {}", e.client, e.actual), None)),
            )
        }
    }
}

/// What failed while the machine was too slow says nothing of who is tested.
///
/// What held, held in spite of it. By how much a late turn delays what follows from it can't be known (a timeout that it
/// makes expire costs all that comes after), so no failure is believed then.
fn doubt_failures(expectations: &mut [ExpectationResult], lateness: Duration) {
    if lateness.is_zero() {
        return;
    }
    let failed = expectations
        .iter_mut()
        .filter(|e| e.verdict == Verdict::Fail);
    for expectation in failed {
        expectation.verdict = Verdict::Error;
        expectation.missed_by = None;
        expectation.actual += &format!(
            ", on a machine that was too slow to tell: the lab waited {} ms of two seconds for its turns on the \
             processor. Run fewer cases at once (--jobs), or on the virtual clock",
            lateness.as_millis()
        );
    }
}

fn warnings(index: &Index, clients: &[ClientResult]) -> Vec<Note> {
    let mut warnings: Vec<_> = plan_warnings(index.case).collect();
    let seen = index.warnings.iter();
    warnings.extend(seen.map(|text| Note::new(*text, None)));
    for client in clients {
        if !client.claimed.is_empty() {
            let numbers = client.claimed.iter().take(5).map(ToString::to_string);
            let numbers: Vec<_> = numbers.collect();
            let more = if client.claimed.len() > 5 {
                ", …"
            } else {
                ""
            };
            let text = format!(
                "{}: responses that no server's record has, so they do not count: requests {}{more}",
                client.name,
                numbers.join(", "),
            );
            warnings.push(Note::new(text, None));
        }
        warnings.extend(unexpected(index.case, client));
        let findings = client.findings.iter();
        warnings.extend(findings.map(|text| Note::new(text.clone(), None)));
    }
    warnings
}

/// Of a client of which something is expected: later outages that never ended, and of which nothing is.
fn unexpected(case: &Case, client: &ClientResult) -> Vec<Note> {
    let own = || case.expectations.iter().filter(|e| e.client == client.name);
    let whole = |e: &Expectation| {
        metric::named(&e.check.metric).is_some_and(|metric| metric.needs.whole_case)
    };
    if own().next().is_none() || own().any(whole) {
        return Vec::new();
    }
    let later = client.outages.iter().skip(1);
    let lasting = later.filter(|outage| {
        let named = |e: &Expectation| e.fault.is_some() && e.fault == outage.name;
        let told = outage.during_another || own().any(named);
        outage.recovered_after.is_none() && !told
    });
    let told = lasting.filter_map(|outage| {
        let fault = case.lab.faults.get(outage.fault)?;
        let text = format!(
            "{}: never well again after {fault}, and nothing is expected of that: name the fault, and expect something of it by its name",
            client.name
        );
        Some(Note::new(text, Some(&fault.location)))
    });
    told.collect()
}

fn plan_warnings(case: &Case) -> impl Iterator<Item = Note> {
    let each = case.warnings.iter();
    each.map(|warning| Note::new(warning.text.clone(), Some(&warning.location)))
}
