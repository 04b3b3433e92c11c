//! What was expected of clients against what was measured.

use std::time::Duration;

use super::forgotten::Forgotten;
use super::index::Index;
use super::measure::Measured;
use super::outcome::Outcome;
use crate::metric::window::{compare, expected, missed};
use crate::metric::{self, Metric, Tested, Value};
use crate::plan::units::{between, measured};
use crate::plan::{Case, Expectation, Expected, TimeWindow};
use crate::result::{
    Checked, ClientResult, ExpectationResult, KeptResult, Passing, Verdict, WindowResult,
    WorkloadResult, word,
};

/// Checks what a case expects of its clients, in its order, by what the case did to them, or one of its faults.
pub(super) fn of(
    index: &Index,
    measured: &Measured,
    forgotten: &Forgotten,
) -> Vec<ExpectationResult> {
    let case = index.case;
    let (clients, ended) = (&measured.clients[..], measured.duration);
    let judged = |expectation: &Expectation| -> Result<Checked, String> {
        if let Some(kept) = forgotten.by(expectation) {
            return of_server(expectation, kept.as_ref()?, index);
        }
        let checked = match &expectation.fault {
            None => check(expectation, clients, ended),
            Some(name) => {
                let of_fault = of_fault(name, case, clients)?;
                check(expectation, &of_fault, ended)
            }
        };
        checked.map_err(str::to_owned)
    };
    let each = case
        .expectations
        .iter()
        .map(|expectation| match &measured.outcome {
            Outcome::Broken { text, .. } => unchecked(expectation, Verdict::Error, text),
            Outcome::Skipped { missing, .. } => unchecked(expectation, Verdict::Skipped, missing),
            Outcome::Whole => match judged(expectation) {
                Ok(checked) => result(expectation, checked),
                Err(why) => unchecked(expectation, Verdict::Error, &why),
            },
        });
    each.collect()
}

/// Checks what is expected of what a server kept.
fn of_server(
    expectation: &Expectation,
    kept: &KeptResult,
    index: &Index,
) -> Result<Checked, String> {
    let check = &expectation.check;
    let value = metric::forgot::value(&check.metric, kept);
    let value = value.ok_or("there is no such metric")?;
    let fault_at = index.timeline.faults.iter().find(|f| f.index == kept.fault);
    let fault_at = fault_at.map_or(Duration::ZERO, |fault| fault.at.at);
    let (verdict, actual) = compare(&check.expected, &value, index.last.saturating_sub(fault_at));
    Ok(Checked {
        verdict,
        expected: expected(&check.expected),
        actual,
        missed_by: missed(&check.expected, &value),
    })
}

/// What the fault of a name did to all clients.
fn of_fault(
    name: &str,
    case: &Case,
    clients: &[ClientResult],
) -> Result<Vec<ClientResult>, String> {
    let mut faults = case.lab.faults.iter();
    let fault = faults.position(|fault| fault.name.as_deref() == Some(name));
    let fault = fault.ok_or_else(|| format!("the case has no fault called `{name}`"))?;
    let of_client = |client: &ClientResult| {
        let found = client.by_fault.iter().find(|of| of.fault == fault)?;
        Some(found.client.clone())
    };
    let all: Option<Vec<_>> = clients.iter().map(of_client).collect();
    all.ok_or_else(|| format!("nothing was tested: the fault `{name}` never came into force"))
}

/// An expectation that nothing can be said of.
pub(super) fn unchecked(
    expectation: &Expectation,
    verdict: Verdict,
    why: &str,
) -> ExpectationResult {
    let checked = Checked {
        verdict,
        expected: expected(&expectation.check.expected),
        actual: format!("not judged: {why}"),
        missed_by: None,
    };
    result(expectation, checked)
}

fn result(expectation: &Expectation, checked: Checked) -> ExpectationResult {
    let Expectation {
        client,
        text,
        location,
        ..
    } = expectation;
    ExpectationResult {
        workload: expectation.workload.clone(),
        fault: expectation.fault.clone(),
        server: expectation.server.clone(),
        ..ExpectationResult::new(client, &expectation.check.metric, text, location, checked)
    }
}

/// Of who was not struck everything would hold that holds of anybody who does nothing.
const NOT_STRUCK: &str = "nothing was tested: no fault struck anything that it held or needed (if that is what is meant, expect \
                          `not_affected: true`)";

/// What can be looked at: a client, or one of its workloads.
#[derive(Clone, Copy)]
struct Subject<'a> {
    client: &'a ClientResult,
    workload: Option<&'a WorkloadResult>,
}

fn check(
    expectation: &Expectation,
    clients: &[ClientResult],
    ended: Duration,
) -> Result<Checked, &'static str> {
    let client = clients.iter().find(|c| c.name == expectation.client);
    let client = client.ok_or("the case has no such client")?;
    let named = |name: &String| client.workloads.iter().find(|own| own.name == *name);
    let workload = match &expectation.workload {
        None => None,
        Some(name) => Some(named(name).ok_or("the client has no such workload")?),
    };
    let check = &expectation.check;
    let metric = metric::named(&check.metric).ok_or("there is no such metric")?;
    let subject = Subject { client, workload };
    let mut missed_by = None;
    let (verdict, actual) = match (client.gone_at, subject.untested()) {
        (Some(at), _) => {
            let at = measured(at);
            let text = format!("the client is gone: its node lost power at {at}");
            (Verdict::Skipped, text)
        }
        (None, Some(why)) => (Verdict::Error, format!("nothing was tested: {why}")),
        (None, None) if subject.passed_by(metric.needs.tested, clients) => {
            (Verdict::Error, NOT_STRUCK.to_owned())
        }
        (None, None) if metric.needs.struck && subject.affected() == Some(false) => {
            (Verdict::Fail, subject.not_affected())
        }
        (None, None) => {
            let value = subject
                .value(metric)
                .ok_or("it is the client's as a whole")?;
            let fault_at = subject.fault_at().unwrap_or_default();
            let lasted = ended.saturating_sub(fault_at);
            match too_short(&check.expected, &value, subject.foreseen(metric), lasted) {
                Some(why) => (Verdict::Error, why),
                None => {
                    missed_by = missed(&check.expected, &value);
                    compare(&check.expected, &value, lasted)
                }
            }
        }
    };
    Ok(Checked {
        verdict,
        expected: expected(&check.expected),
        actual,
        missed_by,
    })
}

/// Why "never" can't be told of a case that `lasted` so long after the fault.
fn too_short(
    expected: &Expected,
    value: &Value,
    foreseen: Option<WindowResult>,
    lasted: Duration,
) -> Option<String> {
    let WindowResult { min, max } = foreseen?;
    let never = matches!(
        (expected, value),
        (Expected::Time(TimeWindow::Never), Value::After(None))
    );
    (never && lasted < max).then(|| {
        format!(
            "nothing was tested: the case ends {} after the fault, before the time that the model foresees: {}",
            measured(lasted),
            between(min, max)
        )
    })
}

impl<'a> Subject<'a> {
    /// When it may happen, by the timeout model.
    fn foreseen(self, metric: &Metric) -> Option<WindowResult> {
        let (client, of) = (self.client, metric.needs.foreseen?);
        let given_phase = client.predicted_given_phase.as_ref().and_then(of);
        given_phase.or_else(|| client.predicted.as_ref().and_then(of))
    }

    fn value(self, metric: &Metric) -> Option<Value> {
        Some(match self.workload {
            None => (metric.client.value)(self.client),
            Some(own) => (metric.workload.as_ref()?.value)(own),
        })
    }

    fn untested(self) -> Option<&'a String> {
        let own = self
            .workload
            .map_or(&self.client.untested, |own| &own.untested);
        own.as_ref()
    }

    fn affected(self) -> Option<bool> {
        self.workload
            .map_or(self.client.affected, |own| own.affected)
    }

    /// Whether the faults passed by all whom they must have struck for the metric to show something.
    fn passed_by(self, tested: Tested, clients: &[ClientResult]) -> bool {
        // Where nothing breaks, what is seen is not a fault's.
        if self.fault_at().is_none() {
            return false;
        }
        let by = |passing| passing == Passing::By;
        match (tested, self.workload) {
            (Tested::Nobody, _) => false,
            (Tested::Any, _) => clients.iter().all(|client| by(client.passing())),
            (Tested::Own, None) => by(self.client.passing()),
            (Tested::Own, Some(own)) => by(own.passing()) && self.client.dialled_dead.is_none(),
        }
    }

    fn fault_at(self) -> Option<Duration> {
        self.workload
            .map_or(self.client.fault_at, |own| own.fault_at)
    }

    fn not_affected(self) -> String {
        if self.workload.is_some() {
            return "not affected: nothing of this workload went over a connection that a fault struck"
                .to_owned();
        }
        let held = "not affected: it held no connection that a fault struck";
        let later = self.client.dialled_dead;
        let mut connections = self.client.connections.iter();
        match later.and_then(|id| connections.find(|c| c.id == id)) {
            None => held.to_owned(),
            Some(dial) => format!(
                "{held}; its later dial to {} met it: {} ({})",
                dial.endpoint.as_deref().unwrap_or("one"),
                word(&dial.cause),
                dial.evidence
            ),
        }
    }
}
