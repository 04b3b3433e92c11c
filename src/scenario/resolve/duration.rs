//! How long a case lasts.

use std::time::Duration;

use crate::plan::{Cause, Expectation, Expected, LONGEST_CASE, LabPlan, Prediction, TimeWindow};
use crate::scenario::cx::Cx;
use crate::timeout_model::longest_wait;
use crate::yaml::{Problem, Span, given, placed};

/// Least time between the last thing expected and the end, in which "stays well" is seen.
const SETTLE: Duration = Duration::from_secs(2);

/// The duration given, which must be some time at all.
pub(super) fn given_one(cx: &mut Cx<'_>) -> Option<Duration> {
    let (span, duration) = placed(&cx.scenario.duration)?;
    if duration.0.is_zero() {
        let problem = Problem::new(span, "`duration` must be greater than zero");
        cx.push(problem.help("write e.g. `60s`"));
    }
    Some(duration.0)
}

/// The duration given, or the time by which everything expected and predicted must have happened, and then some.
pub(super) fn resolve(
    cx: &mut Cx<'_>,
    plan: &LabPlan,
    predictions: &[Prediction],
    expectations: &[(Span, Expectation)],
) -> Option<Duration> {
    if let Some(duration) = given(&cx.scenario.duration) {
        fits(cx, duration.0, plan, expectations);
        return Some(duration.0);
    }
    let fault = last_fault(plan);
    let span = cx.scenario.name.span;
    let help = "write e.g. `duration: 60s` at the top of the file";
    let Some(fault) = fault else {
        let message = match plan.faults.is_empty() {
            true => "this scenario needs a `duration`: nothing breaks in it",
            false => {
                "this scenario needs a `duration`: nobody knows when a client will be `connecting`"
            }
        };
        cx.push(Problem::new(span, message).help(help));
        return None;
    };
    let predicted = predictions.iter().flat_map(last_of);
    let expected = expectations.iter().filter_map(|(_, e)| upper_bound(e));
    let last = predicted.chain(expected).max();
    let Some(last) = last.or_else(|| longest_open(plan, predictions)) else {
        let message =
            "this scenario needs a `duration`: nothing in it is expected or predicted to end";
        cx.push(Problem::new(span, message).help(help));
        return None;
    };
    let settle = plan
        .clients
        .iter()
        .map(|c| c.workloads.longest_pause() * 2)
        .max()
        .unwrap_or_default();
    // Who starts after all that is to be seen at work too.
    let last_start = plan.clients.iter().map(|c| c.start).max();
    let last_change = last_start.max(last_healing(plan)).unwrap_or_default();
    let whole = (fault + last).max(last_change) + settle.max(SETTLE);
    // Whole seconds are what people read.
    let whole = Duration::from_secs(whole.as_secs() + u64::from(whole.subsec_nanos() > 0));
    if whole > LONGEST_CASE {
        let message = format!(
            "a client of this scenario may take {} s, which is longer than a case can last",
            whole.as_secs()
        );
        cx.push(Problem::new(span, message).help(help));
        return None;
    }
    Some(whole)
}

/// The last times that a prediction speaks of.
fn last_of(prediction: &Prediction) -> impl Iterator<Item = Duration> {
    let windows = [prediction.detection, prediction.recovery];
    let detected = prediction.detection.map_or(Duration::ZERO, |w| w.max);
    // Until it must have failed again.
    let relapse = prediction
        .relapses_within
        .map(|within| detected.saturating_add(within));
    let relapse = relapse.filter(|at| *at < LONGEST_CASE / 2);
    windows.into_iter().flatten().map(|w| w.max).chain(relapse)
}

/// Where it is open what the faults meet: as long as a kernel waits at most.
fn longest_open(plan: &LabPlan, predictions: &[Prediction]) -> Option<Duration> {
    let open = predictions.iter().filter(|p| p.cause == Cause::Unknown);
    let clients = open.filter_map(|p| plan.clients.iter().find(|c| c.name == p.client));
    clients.map(|client| longest_wait(client, plan)).max()
}

/// The latest time at which the last fault fires; `None` = not known.
fn last_fault(plan: &LabPlan) -> Option<Duration> {
    let certain = plan.faults.iter().filter(|f| f.trigger.is_certain());
    let times = certain.map(|f| f.trigger.times(plan).1);
    times.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// From when an expectation counts at the latest: the fault that it names, else the first that can strike anybody; `None` = not
/// known.
fn counted_from(plan: &LabPlan, expectation: &Expectation) -> Option<Duration> {
    let meant = plan.faults.iter().filter(|fault| match &expectation.fault {
        Some(_) => fault.name == expectation.fault,
        None => fault.can_strike() && fault.trigger.is_certain(),
    });
    let times: Option<Vec<_>> = meant.map(|f| f.trigger.times(plan).1).collect();
    times?.into_iter().min()
}

/// The latest time at which the last fault that heals has healed; `None` = not known.
fn last_healing(plan: &LabPlan) -> Option<Duration> {
    let healing = plan.faults.iter().filter_map(|f| Some((f, f.lasts?)));
    let times = healing.map(|(f, lasts)| Some(f.trigger.times(plan).1? + lasts));
    times.collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn upper_bound(expectation: &Expectation) -> Option<Duration> {
    match &expectation.check.expected {
        Expected::Time(TimeWindow::Between(_, max) | TimeWindow::Within(max)) => Some(*max),
        Expected::Time(TimeWindow::AtLeast(_) | TimeWindow::Never)
        | Expected::Count(_)
        | Expected::Share(_)
        | Expected::Causes(_)
        | Expected::Fact(_) => None,
    }
}

/// Reports windows that the case is too short to see the whole of.
fn fits(cx: &mut Cx<'_>, duration: Duration, plan: &LabPlan, expectations: &[(Span, Expectation)]) {
    for (span, expectation) in expectations {
        let Some(fault) = counted_from(plan, expectation) else {
            continue;
        };
        let last = match &expectation.check.expected {
            Expected::Time(TimeWindow::AtLeast(min)) => Some(*min),
            _ => upper_bound(expectation),
        };
        let Some(last) = last.filter(|last| fault + *last > duration) else {
            continue;
        };
        let seconds = |t: Duration| format!("{} s", t.as_secs_f64());
        let message = format!(
            "the case ends after {}, this window reaches to {} (fault at {})",
            seconds(duration),
            seconds(fault + last),
            seconds(fault)
        );
        cx.push(
            Problem::new(*span, message)
                .help("lengthen `duration`, or leave it out to have it derived"),
        );
    }
}
