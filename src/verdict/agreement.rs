//! Two clocks, one answer: whether a case came to the same on both, as far as HZ and kernel do not explain it.
//!
//! Verdicts and causes must be equal. A detection by retransmission may differ by what the timer wheel's arithmetic
//! differs for the two series; what is left must be within the real clock's own noise. When the request that waits
//! goes out may differ by one pause of the workload, since only on the real clock does computing take time.

use std::time::Duration;

use crate::metric::window::pass_if;
use crate::plan::units::measured;
use crate::plan::{self, Case};
use crate::result::{CaseResult, Checked, ClientResult, ExpectationResult, Verdict};

/// What a noisy two-core machine adds to an event on the real clock.
const NOISE: Duration = Duration::from_millis(50);

/// Share by which the timer wheel may lengthen one delay: a slot is at most an eighth of what it holds (`LVL_CLK_SHIFT` 3).
const WHEEL_SHARE: u32 = 8;

/// Compares a case's results on both clocks, and adds to `on_virtual` an expectation a client: that they agree.
pub fn compare(case: &Case, on_real: &CaseResult, on_virtual: &mut CaseResult) {
    if !on_real.judged || !on_virtual.judged {
        return;
    }
    for client in &case.lab.clients {
        let (Some(real), Some(other)) = (
            on_real.client(&client.name),
            on_virtual.client(&client.name),
        ) else {
            continue;
        };
        let mut differences = verdicts(&client.name, on_real, on_virtual);
        differences.extend(differ(client, real, other));
        on_virtual
            .expectations
            .push(expectation(client, real, other, &differences));
        if !differences.is_empty()
            && matches!(on_virtual.verdict, Verdict::Pass | Verdict::Measured)
        {
            on_virtual.verdict = Verdict::Fail;
        }
    }
}

fn verdicts(client: &str, on_real: &CaseResult, on_virtual: &CaseResult) -> Vec<String> {
    let pairs = on_real.expectations.iter().zip(&on_virtual.expectations);
    pairs
        .filter(|(real, other)| real.client == client && real.verdict != other.verdict)
        .map(|(real, other)| {
            format!(
                "`{}` is {} on the real clock and {} on the virtual one",
                real.text, real.verdict, other.verdict
            )
        })
        .collect()
}

fn differ(client: &plan::Client, real: &ClientResult, other: &ClientResult) -> Vec<String> {
    let mut differences = Vec::new();
    if real.cause != other.cause {
        let name = |cause: Option<plan::Cause>| {
            cause.map_or_else(|| String::from("none"), |cause| cause.to_string())
        };
        differences.push(format!(
            "the cause is {} and {}",
            name(real.cause),
            name(other.cause)
        ));
    }
    if real.affected != other.affected {
        differences.push("it was affected on one of them only".to_owned());
    }
    let Some(pause) = pause(client) else {
        return differences;
    };
    differences.extend(times(
        "detected",
        real.detected_after,
        other.detected_after,
        detection(real, other, pause),
    ));
    if endpoints(real) == endpoints(other) {
        let detection_apart = apart(real.detected_after, other.detected_after).unwrap_or_default();
        let may = detection_apart + pause + NOISE;
        differences.extend(times(
            "recovered",
            real.recovered_after,
            other.recovered_after,
            may,
        ));
    }
    differences
}

/// The longest pause between two requests; `None` for a program, whose pauses are its own.
fn pause(client: &plan::Client) -> Option<Duration> {
    client
        .program()
        .is_none()
        .then(|| client.workloads.longest_pause())
}

/// By how much the two detections may lie apart.
fn detection(real: &ClientResult, other: &ClientResult, pause: Duration) -> Duration {
    let timers = match (waited_on(real), waited_on(other)) {
        (Some(real), Some(other)) => match (real.arithmetic, other.arithmetic) {
            (Some(real), Some(other)) => real.abs_diff(other),
            _ => real.gave_up.max(other.gave_up) / WHEEL_SHARE,
        },
        _ => Duration::ZERO,
    };
    timers + pause + NOISE
}

/// A dead connection's last timer.
struct GaveUp {
    gave_up: Duration,
    arithmetic: Option<Duration>,
}

/// The retransmissions of the connection whose end was the detection.
fn waited_on(client: &ClientResult) -> Option<GaveUp> {
    let closed_at = client.fault_at? + client.detected_after?;
    let connection = client
        .connections
        .iter()
        .find(|c| c.closed_at == Some(closed_at))?;
    let retransmissions = connection.retransmissions.as_ref()?;
    let gave_up = retransmissions.gave_up_after?;
    Some(GaveUp {
        gave_up,
        arithmetic: retransmissions.arithmetic_gave_up_after,
    })
}

/// Where the dials after the fault led: by the DNAT's dice.
fn endpoints(client: &ClientResult) -> Vec<Option<&str>> {
    let after = client
        .connections
        .iter()
        .filter(|c| c.dialled_at > client.fault_at);
    after.map(|c| c.endpoint.as_deref()).collect()
}

fn times(
    what: &str,
    real: Option<Duration>,
    other: Option<Duration>,
    may: Duration,
) -> Option<String> {
    match (real, other) {
        (Some(a), Some(b)) if a.abs_diff(b) > may => Some(format!(
            "{what} {} apart, of which {} are explained",
            measured(a.abs_diff(b)),
            measured(may)
        )),
        (Some(_), None) | (None, Some(_)) => Some(format!("{what} on one of them only")),
        _ => None,
    }
}

fn apart(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    Some(a?.abs_diff(b?))
}

fn expectation(
    client: &plan::Client,
    real: &ClientResult,
    other: &ClientResult,
    differences: &[String],
) -> ExpectationResult {
    let seen = |result: &ClientResult| {
        let time = |time: Option<Duration>| time.map_or("never".to_owned(), measured);
        format!(
            "detected {}, recovered {}",
            time(result.detected_after),
            time(result.recovered_after)
        )
    };
    let dice = if endpoints(real) == endpoints(other) {
        ""
    } else {
        "; the dials met different endpoints"
    };
    let mut actual = format!("{} (real clock: {}{dice})", seen(other), seen(real));
    for difference in differences {
        actual.push_str("; ");
        actual.push_str(difference);
    }
    let checked = Checked {
        verdict: pass_if(differences.is_empty()),
        expected: "the real clock's verdicts, cause and times, but for what HZ and kernel explain"
            .to_owned(),
        actual,
        missed_by: None,
    };
    let text = format!("{}: both clocks agree", client.name);
    ExpectationResult::new(
        &client.name,
        "both clocks agree",
        &text,
        &client.location,
        checked,
    )
}
