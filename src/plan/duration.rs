//! How long a case lasts.

use std::time::Duration;

use super::{Check, Expectation, LabPlan, Prediction, TimeWindow};
use crate::scenario::model::Scenario;
use crate::scenario::{Problem, Span, given};

/// Longest case.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Least time between the last thing expected and the end, in which "stays well" is seen.
const SETTLE: Duration = Duration::from_secs(2);

/// The duration given, or the time by which everything expected and predicted must have happened, and then some.
pub(super) fn of(
    scenario: &Scenario,
    plan: &LabPlan,
    predictions: &[Prediction],
    expectations: &[(Span, Expectation)],
    problems: &mut Vec<Problem>,
) -> Option<Duration> {
    let fault = last_fault(plan);
    if let Some(duration) = given(&scenario.duration) {
        if let Some(fault) = fault {
            fits(duration.0, fault, expectations, problems);
        }
        return Some(duration.0);
    }
    let span = scenario.name.span;
    let help = "write e.g. `duration: 60s` at the top of the file";
    let Some(fault) = fault else {
        let message = match plan.faults.is_empty() {
            true => "this scenario needs a `duration`: nothing breaks in it",
            false => {
                "this scenario needs a `duration`: nobody knows when a client will be `connecting`"
            }
        };
        problems.push(Problem::new(span, message).help(help));
        return None;
    };
    let predicted = predictions
        .iter()
        .flat_map(|p| [p.detection, p.recovery])
        .flatten()
        .map(|w| w.max);
    let expected = expectations.iter().filter_map(|(_, e)| upper_bound(e));
    let Some(last) = predicted.chain(expected).max() else {
        let message =
            "this scenario needs a `duration`: nothing in it is expected or predicted to end";
        problems.push(Problem::new(span, message).help(help));
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
    if whole > LONGEST {
        let message = format!(
            "a client of this scenario may take {} s, which is longer than a case can last",
            whole.as_secs()
        );
        problems.push(Problem::new(span, message).help(help));
        return None;
    }
    Some(whole)
}

/// The latest time at which the last fault fires; `None` = not known.
fn last_fault(plan: &LabPlan) -> Option<Duration> {
    let times = plan.faults.iter().map(|f| f.trigger.times(plan).1);
    times.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// The latest time at which the last fault that heals has healed; `None` = not known.
fn last_healing(plan: &LabPlan) -> Option<Duration> {
    let healing = plan.faults.iter().filter_map(|f| Some((f, f.lasts?)));
    let times = healing.map(|(f, lasts)| Some(f.trigger.times(plan).1? + lasts));
    times.collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn upper_bound(expectation: &Expectation) -> Option<Duration> {
    match &expectation.check {
        Check::Recovered(window)
        | Check::Detected(window)
        | Check::Leads(window)
        | Check::TwoLeaders(window)
        | Check::NotReady(window)
        | Check::ReadyAgain(window) => match window {
            TimeWindow::Between(_, max) | TimeWindow::Within(max) => Some(*max),
            TimeWindow::AtLeast(_) | TimeWindow::Never => None,
        },
        Check::RequestsFailed(_) | Check::Dials(_) | Check::HealthyCuts(_) | Check::Cause(_) => {
            None
        }
    }
}

/// Reports windows that the case is too short to see the whole of.
fn fits(
    duration: Duration,
    fault: Duration,
    expectations: &[(Span, Expectation)],
    problems: &mut Vec<Problem>,
) {
    for (span, expectation) in expectations {
        let last = match &expectation.check {
            Check::Recovered(TimeWindow::AtLeast(min))
            | Check::Detected(TimeWindow::AtLeast(min))
            | Check::Leads(TimeWindow::AtLeast(min))
            | Check::TwoLeaders(TimeWindow::AtLeast(min))
            | Check::NotReady(TimeWindow::AtLeast(min))
            | Check::ReadyAgain(TimeWindow::AtLeast(min)) => Some(*min),
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
        problems.push(
            Problem::new(*span, message)
                .help("lengthen `duration`, or leave it out to have it derived"),
        );
    }
}
