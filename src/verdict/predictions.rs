//! What the timeout model said of a client, and where what was measured lies outside.

use std::time::Duration;

use super::index::Index;
use crate::plan::units::{between, exact, measured, rounded, widened};
use crate::plan::{Cause, Client, Prediction, Window};
use crate::result::{ClientResult, word};
use crate::timeout_model::{Kernel, Seen, foresee_outage, foresee_outages, predict_seen};

/// What the timeout model says of a client.
pub(super) struct Predicted<'a> {
    /// In the plan.
    pub beforehand: Option<&'a Prediction>,
    /// For the phase in which the fault met it, and the kernel it met it on.
    pub given_phase: Option<Prediction>,
}

impl<'a> Predicted<'a> {
    pub(super) fn of(client: &ClientResult, index: &Index<'a>) -> Self {
        let case = index.case;
        let of_client = |p: &&Prediction| p.client == client.name;
        let beforehand = case.predictions.iter().find(of_client);
        let plan = case.lab.clients.iter().find(|c| c.name == client.name);
        // A program's own limits nobody knows; and with several faults, which one a phase belongs to.
        let plan = plan.filter(|_| beforehand.is_some() && case.lab.faults.len() == 1);
        let phase = client.phase.filter(|_| client.affected == Some(true));
        let given_phase = plan
            .filter(|_| phase.is_some())
            .map(|plan| predict_seen(plan, &case.lab, &seen(client, index)));
        Self {
            beforehand,
            given_phase,
        }
    }

    /// Where a measurement lies outside: of what was said beforehand, or, where that was open, of what is said once it is
    /// known what the client was doing.
    /// `who` is what it is of: the client, or its outage by one of several faults.
    pub(super) fn findings(
        &self,
        who: &str,
        client: &ClientResult,
        ended: Duration,
    ) -> Vec<String> {
        let Some(beforehand) = self.beforehand else {
            return Vec::new();
        };
        let given_phase = self.given_phase.as_ref();
        let known = given_phase.filter(|_| beforehand.cause == Cause::Unknown);
        let outside = outside_prediction(client, known.unwrap_or(beforehand), ended).into_iter();
        outside.map(|text| format!("{who}: {text}")).collect()
    }
}

/// Of each outage of several, what the model says of it; and where what was measured lies outside that.
pub(super) fn add_to_outages(
    client: &Client,
    result: &mut ClientResult,
    index: &Index,
) -> Vec<String> {
    let plan = &index.case.lab;
    let foreseen = foresee_outages(client, plan);
    let mut findings = Vec::new();
    // Since when it had its connection, at the least: whatever is left of an earlier outage, nothing is foretold of the next.
    let mut well_since = Some(client.start);
    for outage in &mut result.outages {
        let before = foreseen.iter().find(|one| one.fault == outage.fault);
        let since = well_since.filter(|_| !outage.during_another);
        well_since = outage
            .fault_at
            .zip(outage.recovered_after)
            .map(|(at, after)| at + after);
        let own = result
            .by_fault
            .iter_mut()
            .find(|of| of.fault == outage.fault);
        let (Some(since), Some(own)) = (since, own) else {
            continue;
        };
        let own = &mut own.client;
        let seen = seen(own, index);
        let given = foresee_outage(client, plan, outage.fault, since, Some(&seen));
        let given = given.filter(|_| own.affected == Some(true));
        let beforehand = before.map(|before| before.prediction.clone());
        // Where it was open when it would be well again, that is known now.
        let beforehand =
            beforehand.or_else(|| foresee_outage(client, plan, outage.fault, since, None));
        let who = format!("{}.{}", client.name, plan.faults[outage.fault].called());
        let predicted = Predicted {
            beforehand: beforehand.as_ref(),
            given_phase: given,
        };
        findings.extend(predicted.findings(&who, own, index.last));
        own.predicted = beforehand.as_ref().map(Into::into);
        own.predicted_given_phase = predicted.given_phase.as_ref().map(Into::into);
        outage.predicted.clone_from(&own.predicted);
        outage
            .predicted_given_phase
            .clone_from(&own.predicted_given_phase);
    }
    findings
}

/// What a record says of the moment of a fault.
fn seen(client: &ClientResult, index: &Index) -> Seen {
    let since = client.fault_at.zip(client.phase_since);
    Seen {
        kernel: Kernel::of(index.kernel, index.hz),
        phase: client.phase,
        since: since.map(|(fault, began)| fault.saturating_sub(began)),
    }
}

/// Where a measurement lies outside what the timeout model said: a finding about one of the two.
fn outside_prediction(
    client: &ClientResult,
    prediction: &Prediction,
    ended: Duration,
) -> Vec<String> {
    if client.gone {
        return Vec::new();
    }
    let lasted = ended.saturating_sub(client.fault_at.unwrap_or_default());
    let mut outside = Vec::new();
    // Where it is open what the fault meets, no window is not "never".
    let open = prediction.cause == Cause::Unknown;
    let struck = client.affected == Some(true);
    if prediction.unaffected {
        let text = || String::from("struck, outside the prediction: not affected");
        outside.extend(struck.then(text));
    } else {
        if client.affected == Some(false) {
            outside.extend(prediction.detection.map(|_| {
                let waits = "predicted to wait on a dead connection";
                format!("{waits}, but no fault struck one that it held")
            }));
        } else if !client.detection_unknown && (!open || prediction.detection.is_some()) {
            let after = client.detected_after;
            outside.extend(apart("detected", after, prediction.detection, lasted));
        }
        // Whom nothing struck at the fault may have dialled in vain since.
        let after = client.recovered_after;
        if prediction.relapses_within.is_some() {
            outside.extend(stays_well(after, prediction, lasted));
        } else if prediction.recovery.is_some() || (struck && !open) {
            outside.extend(apart("recovered", after, prediction.recovery, lasted));
        }
    }
    let standing = &prediction.standing;
    for (what, after, window) in [
        ("not ready", client.not_ready_after, standing.not_ready),
        (
            "ready again",
            client.ready_again_after,
            standing.ready_again,
        ),
        ("leads", client.leads_after, standing.leads),
    ] {
        outside.extend(window.and_then(|window| apart(what, after, Some(window), lasted)));
    }
    if struck {
        let differs = client
            .cause
            .filter(|cause| contradicts(*cause, prediction, lasted));
        outside.extend(differs.map(|cause| {
            format!(
                "cause {}, outside the prediction: {}",
                word(&cause),
                word(&prediction.cause)
            )
        }));
    }
    outside
}

/// Of a client that is predicted not to stay well: whether it did for longer than chance allows.
fn stays_well(
    recovered: Option<Duration>,
    prediction: &Prediction,
    lasted: Duration,
) -> Option<String> {
    let recovered = recovered?;
    let within = prediction.relapses_within?;
    let well = lasted.saturating_sub(recovered);
    (well > within).then(|| {
        format!(
            "well for {} from {} on, outside the prediction: not well for longer than {}",
            measured(well),
            measured(recovered),
            measured(within)
        )
    })
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
