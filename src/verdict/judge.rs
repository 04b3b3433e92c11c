//! The verdict on a case.

use std::time::Duration;

use crate::plan::{Case, Cause, Phase, Prediction, Window};
use crate::record::{ClockName, Event, Observation};
use crate::timeout_model::{Kernel, Seen, predict_seen};

use super::check::{self, Checked};
use super::counters;
use super::measure::{ClientMeasured, Detection, FaultMeasured, Measured, measure};
use super::outcome::Outcome;
use super::published;
use super::result::{
    CaseResult, ClientResult, ConnectionResult, ExpectationResult, FailureResult, FaultResult,
    Note, PredictedResult, Verdict, WorkloadResult, word, worst,
};
use super::timeline::Timeline;
use super::units::{between, exact, measured, rounded, widened};
use super::workloads::WorkloadMeasured;

/// Judges a record by the expectations of its own case.
#[must_use]
pub fn judge(record: &[Event]) -> CaseResult {
    let (Some(timeline), Some(measured)) = (Timeline::new(record), measure(record)) else {
        return nameless();
    };
    let mut expectations = expectations(timeline.case, &measured);
    expectations.extend(counters::expectations(&timeline, &measured.outcome));
    let (verdict, reason) = verdict(&measured.outcome, &expectations);
    let clients = measured.clients.iter().map(|client| ClientResult {
        published: published::of(timeline.case, client),
        ..client_result(client, &Predicted::of(client, &timeline), &measured)
    });
    CaseResult {
        clients: clients.collect(),
        warnings: warnings(&timeline, &measured),
        faults: faults(timeline.case, &measured.faults),
        // A lab that did not start could not say its kernel.
        kernel: Some(timeline.kernel.to_owned()).filter(|kernel| !kernel.is_empty()),
        hz: timeline.hz,
        duration: measured.duration,
        judged: measured.outcome == Outcome::Whole,
        expectations,
        ..empty(timeline.case, Some(timeline.clock), verdict, reason)
    }
}

/// The result of a case of which nothing was observed.
pub(super) fn not_judged(
    case: &Case,
    clock: Option<ClockName>,
    verdict: Verdict,
    reason: Note,
) -> CaseResult {
    let expectations = case.expectations.iter().map(|expectation| {
        let checked = unchecked(&expectation.check, verdict, &reason.text);
        ExpectationResult::new(expectation, checked)
    });
    let counters = counters::not_judged(case, verdict, &reason.text);
    CaseResult {
        expectations: expectations.chain(counters).collect(),
        faults: faults(case, &vec![None; case.lab.faults.len()]),
        warnings: plan_warnings(case).collect(),
        ..empty(case, clock, verdict, Some(reason.clone()))
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
        repetition: case.repetition.clone(),
        clock,
        kernel: None,
        hz: None,
        verdict,
        judged: false,
        reason,
        duration: Duration::ZERO,
        faults: Vec::new(),
        clients: Vec::new(),
        expectations: Vec::new(),
        distributions: Vec::new(),
        warnings: Vec::new(),
    }
}

/// Of a record that does not even say which case it is of.
fn nameless() -> CaseResult {
    CaseResult {
        scenario: String::new(),
        case: String::new(),
        description: None,
        repetition: None,
        clock: None,
        kernel: None,
        hz: None,
        verdict: Verdict::Error,
        judged: false,
        reason: Some(Note::new("the record does not begin with its case", None)),
        duration: Duration::ZERO,
        faults: Vec::new(),
        clients: Vec::new(),
        expectations: Vec::new(),
        distributions: Vec::new(),
        warnings: Vec::new(),
    }
}

fn expectations(case: &Case, measured: &Measured) -> Vec<ExpectationResult> {
    let each = case.expectations.iter().map(|expectation| {
        let client = measured
            .clients
            .iter()
            .find(|client| client.name == expectation.client);
        let checked = match (&measured.outcome, client) {
            (Outcome::Broken { text, .. }, _) => {
                unchecked(&expectation.check, Verdict::Error, text)
            }
            (Outcome::Skipped { missing, .. }, _) => {
                unchecked(&expectation.check, Verdict::Skipped, missing)
            }
            (Outcome::Whole, None) => unchecked(
                &expectation.check,
                Verdict::Error,
                "the case has no such client",
            ),
            (Outcome::Whole, Some(client)) => {
                let no_workload = || {
                    let why = "the client has no such workload";
                    unchecked(&expectation.check, Verdict::Error, why)
                };
                let checked = check::check(expectation, client, measured.duration);
                checked.unwrap_or_else(no_workload)
            }
        };
        ExpectationResult::new(expectation, checked)
    });
    each.collect()
}

/// An expectation that nothing can be said of.
fn unchecked(check: &crate::plan::Check, verdict: Verdict, why: &str) -> Checked {
    Checked {
        verdict,
        expected: check::expected(check),
        actual: format!("not judged: {why}"),
    }
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
            // A case that expects nothing only measures.
            let verdict = worst(expectations.iter().map(|e| e.verdict)).unwrap_or(Verdict::Pass);
            let cause = expectations.iter().find(|e| e.verdict == verdict);
            let reason = cause.filter(|_| matches!(verdict, Verdict::Skipped | Verdict::Error));
            (
                verdict,
                reason.map(|e| Note::new(format!("{}: {}", e.client, e.actual), None)),
            )
        }
    }
}

fn faults(case: &Case, injected: &[Option<FaultMeasured>]) -> Vec<FaultResult> {
    let each = case
        .lab
        .faults
        .iter()
        .zip(injected)
        .map(|(fault, in_force)| FaultResult {
            kind: fault.kind.name().to_owned(),
            target: fault.kind.target(),
            at: in_force.map(|fault| fault.at),
            ends_at: in_force.and_then(|fault| fault.until),
            lasts: fault.lasts,
            detail: fault.kind.detail(),
        });
    each.collect()
}

fn client_result(
    client: &ClientMeasured,
    predicted: &Predicted,
    measured: &Measured,
) -> ClientResult {
    let outside = !predicted.findings(client, measured).is_empty();
    let connections = client
        .connections
        .iter()
        .map(|connection| ConnectionResult {
            id: connection.id,
            dialled_at: connection.dialled_at,
            opened_at: connection.opened_at,
            closed_at: connection.closed_at,
            endpoint: connection.endpoint.clone(),
            cause: connection.cause.cause,
            evidence: connection.cause.evidence.clone(),
            retransmissions: connection.retransmissions.clone(),
            chain: connection.chain.clone(),
        });
    ClientResult {
        name: client.name.clone(),
        gone: client.gone_at.is_some(),
        affected: client.affected,
        phase: client.phase,
        cause: client.cause.as_ref().map(|found| found.cause),
        evidence: client.cause.as_ref().map(|found| found.evidence.clone()),
        fault_at: client.fault_at,
        detected_after: client.detected_after(),
        recovered_after: client.recovered_after,
        last_good_at: client.last_good_at,
        first_failure: client
            .first_failure
            .map(|(sent_at, failed_at)| FailureResult { sent_at, failed_at }),
        requests_failed: client.requests_failed,
        longest_without_response: client.longest_without_response,
        dials: client.dials,
        predicted: predicted.beforehand.map(predicted_result),
        predicted_given_phase: predicted.given_phase.as_ref().map(predicted_result),
        outside_prediction: outside,
        parts: client
            .outage
            .as_ref()
            .map(|outage| outage.parts.clone())
            .unwrap_or_default(),
        unexplained: client.outage.as_ref().map(|outage| outage.unexplained),
        published: None,
        connections: connections.collect(),
        healthy_cuts: client.healthy_cuts,
        leads_after: client.standing.leads_after,
        two_leaders_after: client.standing.two_leaders_after,
        not_ready_after: client.standing.not_ready_after,
        ready_again_after: client.standing.ready_again_after,
        workloads: client.workloads.iter().map(workload_result).collect(),
    }
}

fn workload_result(workload: &WorkloadMeasured) -> WorkloadResult {
    WorkloadResult {
        name: workload.name.clone(),
        kind: workload.kind.to_owned(),
        affected: workload.affected,
        cause: workload.cause.as_ref().map(|found| found.cause),
        evidence: workload.cause.as_ref().map(|found| found.evidence.clone()),
        fault_at: workload.fault_at,
        detected_after: match workload.detection {
            Detection::After(time) => Some(time),
            _ => None,
        },
        recovered_after: workload.recovered_after,
        requests_failed: workload.requests_failed,
        healthy_cuts: workload.healthy_cuts,
    }
}

fn predicted_result(prediction: &Prediction) -> PredictedResult {
    PredictedResult {
        detection: prediction.detection.map(Into::into),
        recovery: prediction.recovery.map(Into::into),
        cause: prediction.cause,
        unaffected: prediction.unaffected,
    }
}

/// What the timeout model says of a client.
struct Predicted<'a> {
    /// In the plan.
    beforehand: Option<&'a Prediction>,
    /// For the phase in which the fault met it, and the kernel it met it on.
    given_phase: Option<Prediction>,
}

impl<'a> Predicted<'a> {
    fn of(client: &ClientMeasured, timeline: &Timeline<'a>) -> Self {
        let case = timeline.case;
        let of_client = |p: &&Prediction| p.client == client.name;
        let beforehand = case.predictions.iter().find(of_client);
        let plan = case.lab.clients.iter().find(|c| c.name == client.name);
        // A program's own limits nobody knows; and with several faults, which one a phase belongs to.
        let plan = plan.filter(|_| beforehand.is_some() && case.lab.faults.len() == 1);
        let phase = client.phase.filter(|_| client.affected == Some(true));
        let given_phase = plan.zip(phase).map(|(plan, phase)| {
            let since = client.fault_at.zip(client.last_good_at);
            let seen = Seen {
                kernel: Kernel::of(timeline.kernel, timeline.hz),
                phase: Some(phase),
                rested: since
                    .filter(|_| phase == Phase::Idle)
                    .map(|(fault, good)| fault.saturating_sub(good)),
            };
            predict_seen(plan, &case.lab, &seen)
        });
        Self {
            beforehand,
            given_phase,
        }
    }

    /// Where a measurement lies outside: of what was said beforehand, or, where that was open, of what is said once it is
    /// known what the client was doing.
    fn findings(&self, client: &ClientMeasured, measured: &Measured) -> Vec<String> {
        let Some(beforehand) = self.beforehand else {
            return Vec::new();
        };
        let given_phase = self.given_phase.as_ref();
        let known = given_phase.filter(|_| beforehand.cause == Cause::Unknown);
        outside_prediction(client, known.unwrap_or(beforehand), measured)
    }
}

fn warnings(timeline: &Timeline, measured: &Measured) -> Vec<Note> {
    let case = timeline.case;
    let mut warnings: Vec<_> = plan_warnings(case).collect();
    let seen = timeline.events.iter().filter_map(|(_, what)| match what {
        Observation::Warning { text } => Some(Note::new(text.clone(), None)),
        _ => None,
    });
    warnings.extend(seen);
    for client in &measured.clients {
        if !client.claimed.is_empty() {
            let numbers: Vec<_> = client
                .claimed
                .iter()
                .take(5)
                .map(ToString::to_string)
                .collect();
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
        let outside = Predicted::of(client, timeline).findings(client, measured);
        warnings.extend(outside.into_iter().map(|text| Note::new(text, None)));
    }
    warnings
}

fn plan_warnings(case: &Case) -> impl Iterator<Item = Note> {
    let each = case.warnings.iter();
    each.map(|warning| Note::new(warning.text.clone(), Some(&warning.location)))
}

/// Where a measurement lies outside what the timeout model said: a finding about one of the two.
fn outside_prediction(
    client: &ClientMeasured,
    prediction: &Prediction,
    measured: &Measured,
) -> Vec<String> {
    if client.gone_at.is_some() || measured.outcome != Outcome::Whole {
        return Vec::new();
    }
    let lasted = measured
        .duration
        .saturating_sub(client.fault_at.unwrap_or_default());
    let mut outside = Vec::new();
    // Where it is open what the fault meets, no window is not "never".
    let open = prediction.cause == Cause::Unknown;
    match client.detection {
        _ if open && prediction.detection.is_none() => {}
        Detection::After(after) => {
            outside.extend(apart("detected", Some(after), prediction.detection, lasted));
        }
        Detection::Never => outside.extend(apart("detected", None, prediction.detection, lasted)),
        Detection::NotAffected if prediction.detection.is_some() => {
            outside.push(String::from(
                "predicted to wait on a dead connection, but no fault struck one that it held",
            ));
        }
        Detection::NotAffected | Detection::Unknown => {}
    }
    if client.affected == Some(true) {
        if !open || prediction.recovery.is_some() {
            outside.extend(apart(
                "recovered",
                client.recovered_after,
                prediction.recovery,
                lasted,
            ));
        }
        let cause = client.cause.as_ref().map(|found| found.cause);
        let differs = cause.filter(|cause| contradicts(*cause, prediction, lasted));
        outside.extend(differs.map(|cause| {
            format!(
                "cause {}, outside the prediction: {}",
                word(&cause),
                word(&prediction.cause)
            )
        }));
    }
    outside
        .into_iter()
        .map(|text| format!("{}: {text}", client.name))
        .collect()
}

/// Whether a measured cause is another than the predicted one, as far as either is known.
fn contradicts(cause: Cause, prediction: &Prediction, lasted: Duration) -> bool {
    match (cause, prediction.cause) {
        (Cause::Unknown, _) | (_, Cause::Unknown) => false,
        // The predicted end may still have come.
        (Cause::Never, _) if prediction.detection.is_some_and(|w| w.max > lasted) => false,
        (cause, predicted) => cause != predicted,
    }
}

fn apart(
    what: &str,
    actual: Option<Duration>,
    window: Option<Window>,
    lasted: Duration,
) -> Option<String> {
    let shown = |window: Window| between(window.min, window.max);
    match (actual, window) {
        (Some(time), Some(window)) if !(window.min..=window.max).contains(&time) => {
            let (min, max) = widened(window.min, window.max);
            // A value that would be shown within the window is shown with all its digits.
            let text = match (min..=max).contains(&rounded(time)) {
                false => format!(
                    "{}, outside the prediction: {}",
                    measured(time),
                    shown(window)
                ),
                true => format!(
                    "{}, outside the prediction: {} to {}",
                    exact(time),
                    exact(window.min),
                    exact(window.max)
                ),
            };
            Some(format!("{what} after {text}"))
        }
        (Some(time), None) => Some(format!(
            "{what} after {}, outside the prediction: never",
            measured(time)
        )),
        // A window that reaches beyond the case says nothing about it.
        (None, Some(window)) if window.max <= lasted => Some(format!(
            "never {what}, outside the prediction: {}",
            shown(window)
        )),
        _ => None,
    }
}
