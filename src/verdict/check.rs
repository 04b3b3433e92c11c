//! One expectation against what was measured.

use std::time::Duration;

use crate::plan::{Check, CountWindow, Expectation, TimeWindow};

use super::cause::Found;
use super::measure::{ClientMeasured, Detection};
use super::result::{Verdict, word};
use super::units::{exact, measured, rounded};

/// What came of an expectation.
pub(super) struct Checked {
    pub verdict: Verdict,
    pub expected: String,
    pub actual: String,
}

/// What an expectation can look at: a client, or one of its workloads.
struct Subject<'a> {
    client: &'a ClientMeasured,
    /// It is a workload, not the client.
    part: bool,
    untested: &'a Option<String>,
    detection: Detection,
    cause: &'a Option<Found>,
    recovered_after: Option<Duration>,
    requests_failed: Option<u32>,
    healthy_cuts: u32,
}

impl<'a> Subject<'a> {
    fn of(client: &'a ClientMeasured, workload: Option<&str>) -> Option<Self> {
        let Some(name) = workload else {
            return Some(Self {
                client,
                part: false,
                untested: &client.untested,
                detection: client.detection,
                cause: &client.cause,
                recovered_after: client.recovered_after,
                requests_failed: client.requests_failed,
                healthy_cuts: client.healthy_cuts,
            });
        };
        let own = client.workloads.iter().find(|own| own.name == name)?;
        Some(Self {
            client,
            part: true,
            untested: &own.untested,
            detection: own.detection,
            cause: &own.cause,
            recovered_after: own.recovered_after,
            requests_failed: own.requests_failed,
            healthy_cuts: own.healthy_cuts,
        })
    }
}

/// Checks an expectation of a client or of one of its workloads; `None` if it has no such workload. `ended` is when the
/// case did.
pub(super) fn check(
    expectation: &Expectation,
    client: &ClientMeasured,
    ended: Duration,
) -> Option<Checked> {
    let workload = expectation.workload.as_deref();
    let subject = Subject::of(client, workload)?;
    let own = client
        .workloads
        .iter()
        .find(|w| Some(w.name.as_str()) == workload);
    let fault_at = own.map_or(client.fault_at, |own| own.fault_at);
    let lasted = ended.saturating_sub(fault_at.unwrap_or_default());
    Some(checked(&expectation.check, &subject, lasted))
}

fn checked(check: &Check, subject: &Subject<'_>, lasted: Duration) -> Checked {
    let expected = expected(check);
    let (verdict, actual) = match (subject.client.gone_at, subject.untested) {
        (Some(at), _) => (
            Verdict::Skipped,
            format!(
                "the client is gone: its node lost power at {}",
                measured(at)
            ),
        ),
        (None, Some(why)) => (Verdict::Error, format!("nothing was tested: {why}")),
        (None, None) => compare(check, subject, lasted),
    };
    Checked {
        verdict,
        expected,
        actual,
    }
}

/// What a check wants, in people's units.
pub(super) fn expected(check: &Check) -> String {
    match check {
        Check::Recovered(window)
        | Check::Detected(window)
        | Check::Leads(window)
        | Check::TwoLeaders(window)
        | Check::NotReady(window)
        | Check::ReadyAgain(window) => window.to_string(),
        Check::RequestsFailed(window) | Check::HealthyCuts(window) | Check::Dials(window) => {
            expected_count(*window)
        }
        Check::Cause(causes) => {
            let words: Vec<_> = causes.iter().map(word).collect();
            words.join(" or ")
        }
    }
}

/// What a window of a count wants.
pub(super) fn expected_count(CountWindow { min, max }: CountWindow) -> String {
    match max {
        Some(max) if min == max => min.to_string(),
        Some(max) if min == 0 => format!("at most {max}"),
        Some(max) => format!("{min} to {max}"),
        None => format!("at least {min}"),
    }
}

fn compare(check: &Check, subject: &Subject<'_>, lasted: Duration) -> (Verdict, String) {
    let client = subject.client;
    let standing = &client.standing;
    match check {
        Check::Recovered(window) => time(*window, subject.recovered_after, lasted),
        Check::Detected(window) => match subject.detection {
            Detection::After(after) => time(*window, Some(after), lasted),
            Detection::Never => time(*window, None, lasted),
            Detection::NotAffected => (Verdict::Fail, not_affected(subject)),
            Detection::Unknown => {
                let text = "the record does not say when the connection was given up";
                (Verdict::Error, text.to_owned())
            }
        },
        Check::RequestsFailed(window) => match subject.requests_failed {
            Some(failed) => count(*window, failed),
            None => (
                Verdict::Error,
                "nobody saw all requests of a program".to_owned(),
            ),
        },
        Check::Dials(window) => count(*window, client.dials),
        Check::Cause(causes) => match subject.cause {
            None => (Verdict::Fail, not_affected(subject)),
            Some(found) => {
                let text = format!("{} ({})", word(&found.cause), found.evidence);
                (pass_if(causes.contains(&found.cause)), text)
            }
        },
        Check::HealthyCuts(window) => count(*window, subject.healthy_cuts),
        Check::Leads(window) => time(*window, standing.leads_after, lasted),
        Check::TwoLeaders(window) => time(*window, standing.two_leaders_after, lasted),
        Check::NotReady(window) => time(*window, standing.not_ready_after, lasted),
        Check::ReadyAgain(window) => time(*window, standing.ready_again_after, lasted),
    }
}

fn not_affected(subject: &Subject<'_>) -> String {
    if subject.part {
        return "not affected: nothing of this workload went over a connection that a fault struck"
            .to_owned();
    }
    let client = subject.client;
    let held = "not affected: it held no connection that a fault struck";
    let later = client.dialled_dead.and_then(|i| client.connections.get(i));
    match later {
        None => held.to_owned(),
        Some(dial) => format!(
            "{held}; its later dial to {} met it: {} ({})",
            dial.endpoint.as_deref().unwrap_or("one"),
            word(&dial.cause.cause),
            dial.cause.evidence
        ),
    }
}

fn time(window: TimeWindow, actual: Option<Duration>, lasted: Duration) -> (Verdict, String) {
    let holds = holds(window, actual);
    let text = match actual {
        None => format!(
            "never within the {} that the case lasted after the fault",
            measured(lasted)
        ),
        // A value that rounds into the window, or out of it, is shown with all its digits.
        Some(time) if self::holds(window, Some(rounded(time))) != holds => exact(time),
        Some(time) => measured(time),
    };
    (pass_if(holds), text)
}

/// Whether a time lies in a window; `None` = never.
pub(super) fn holds(window: TimeWindow, actual: Option<Duration>) -> bool {
    match (window, actual) {
        (TimeWindow::Never, actual) => actual.is_none(),
        (_, None) => false,
        (TimeWindow::Between(min, max), Some(time)) => (min..=max).contains(&time),
        (TimeWindow::Within(max), Some(time)) => time <= max,
        (TimeWindow::AtLeast(min), Some(time)) => time >= min,
    }
}

/// Whether a count lies in a window, and the count in words.
pub(super) fn count(window: CountWindow, actual: u32) -> (Verdict, String) {
    let holds = actual >= window.min && window.max.is_none_or(|max| actual <= max);
    (pass_if(holds), actual.to_string())
}

/// The verdict on what holds, or does not.
pub(super) fn pass_if(holds: bool) -> Verdict {
    if holds { Verdict::Pass } else { Verdict::Fail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    fn told(window: TimeWindow, actual: Option<f64>) -> (Verdict, String) {
        time(window, actual.map(seconds), seconds(950.0))
    }

    #[test]
    fn both_bounds_belong_to_a_window() {
        let window = TimeWindow::Between(seconds(924.0), seconds(1050.0));
        assert_eq!(told(window, Some(924.0)).0, Verdict::Pass);
        assert_eq!(told(window, Some(1050.0)).0, Verdict::Pass);
        assert_eq!(told(window, Some(923.0)).0, Verdict::Fail);
        assert_eq!(told(window, None).0, Verdict::Fail);
    }

    #[test]
    fn never_is_within_the_case() {
        let (verdict, actual) = told(TimeWindow::Within(seconds(40.0)), None);
        assert_eq!(verdict, Verdict::Fail);
        assert_eq!(
            actual,
            "never within the 950.0 s that the case lasted after the fault"
        );
        assert_eq!(told(TimeWindow::Never, None).0, Verdict::Pass);
        assert_eq!(
            told(TimeWindow::Never, Some(939.3)),
            (Verdict::Fail, "939.3 s".to_owned())
        );
        assert_eq!(
            told(TimeWindow::AtLeast(seconds(1.0)), None).0,
            Verdict::Fail
        );
    }

    #[test]
    fn a_value_just_outside_is_not_rounded_into_the_window() {
        let (verdict, actual) = told(TimeWindow::Within(seconds(40.0)), Some(40.012));
        assert_eq!(verdict, Verdict::Fail);
        assert_eq!(actual, "40.012 s");
    }

    #[test]
    fn a_count_says_what_it_wants() {
        let texts = [(0, Some(0)), (0, Some(3)), (2, Some(4)), (2, None)]
            .map(|(min, max)| expected(&Check::Dials(CountWindow { min, max })));
        assert_eq!(texts, ["0", "at most 3", "2 to 4", "at least 2"]);
    }
}
