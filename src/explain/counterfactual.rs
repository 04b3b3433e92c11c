//! What would have shortened an outage: the timeout model asked again, with one thing of the plan changed.

use std::time::Duration;

use super::knobs::{self, Candidate};
use crate::plan::units::between;
use crate::plan::{Case, Cause, Client, LabPlan, PredictedQuantile, Prediction, Protocol, Window};
use crate::result::{ClientResult, PredictedQuantileResult, word};
use crate::timeout_model::{Kernel, Path, TcpSysctls, foresee, retransmission};
use crate::verdict::CaseResult;

/// A change that the model sees as less than this is none.
const WORTH: Duration = Duration::from_millis(500);

/// One thing changed, and what the model says would come of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What is changed, in words.
    pub knob: String,
    /// Where a scenario says so, and what it says then, as a matrix has it; empty where that depends on how the scenario is
    /// written.
    pub settings: Vec<(String, String)>,
    /// From the fault until the client is well again, or gives the dead connection up where nobody can answer it.
    pub window: Window,
    /// Whether that is the recovery.
    pub of_recovery: bool,
    /// Where chance decides: quantiles of that time.
    pub quantiles: Vec<PredictedQuantile>,
}

/// Everything that was tried.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Considered {
    /// What would have shortened the outage, the shortest first.
    pub shorten: Vec<Change>,
    /// What would have been of no help.
    pub no_help: Vec<String>,
    /// What would break the client while all is well.
    pub breaks: Vec<String>,
}

/// What would have shortened a client's outage, the shortest first; `None` where the model has no prediction for the client.
#[must_use]
pub fn changes(client: &Client, case: &Case, result: &CaseResult) -> Option<Vec<Change>> {
    considered(client, case, result).map(|considered| considered.shorten)
}

/// All that was tried on a client's outage; `None` where the model has nothing to say of the client.
#[must_use]
pub fn considered(client: &Client, case: &Case, result: &CaseResult) -> Option<Considered> {
    let measured = result.client(&client.name);
    let Some(before) = foresee(client, &case.lab) else {
        return by_the_kernel(client, case, result, measured?);
    };
    let measured = measured.and_then(|measured| match before.recovery.is_some() {
        true => measured.recovered_after,
        false => measured.detected_after,
    });
    // Where chance decides, one run says nothing of the next; else what may last as long as what was measured is no
    // improvement on it.
    let measured = measured.filter(|_| before.odds.is_empty());
    let after = |changed: &Client, plan: &LabPlan| {
        let after = foresee(changed, plan)?;
        let window = shorter(&before, &after)?;
        measured
            .is_none_or(|measured| window.max < measured)
            .then_some((window, after))
    };
    let mut considered = Considered::default();
    for Candidate {
        knob,
        settings,
        plan,
    } in knobs::all(client, &case.lab, result)
    {
        let Some(changed) = plan.clients.iter().find(|c| c.name == client.name) else {
            continue;
        };
        if breaks(changed, &plan) || cuts(client, changed) {
            considered.breaks.push(knob);
            continue;
        }
        match after(changed, &plan) {
            None => considered.no_help.push(knob),
            Some((window, after)) => considered.shorten.push(Change {
                knob,
                settings,
                window,
                of_recovery: after.recovery.is_some(),
                quantiles: after.quantiles.clone(),
            }),
        }
    }
    considered.sort();
    Some(considered)
}

impl Considered {
    fn sort(&mut self) {
        self.shorten.sort_by_key(|change| {
            let mean = change.mean();
            (mean, change.window.max)
        });
    }
}

impl Change {
    /// The middle of the window, or of the times by which half of all runs are over.
    fn mean(&self) -> Duration {
        let half = self.quantiles.first().map_or(self.window, |half| half.time);
        half.min + half.max
    }
}

/// Of a client whose own timers nobody knows: what its kernel's would have made of an end that was the kernel's. Counted from
/// the sending that it was the end of.
fn by_the_kernel(
    client: &Client,
    case: &Case,
    result: &CaseResult,
    measured: &ClientResult,
) -> Option<Considered> {
    let lasting = |fault: &crate::plan::Fault| fault.dead_node().is_some() && fault.lasts.is_none();
    let ended = measured.detected_after?;
    if measured.cause != Some(Cause::RetransmissionTimeout) || !case.lab.faults.iter().all(lasting)
    {
        return None;
    }
    let ends = ends(measured)?;
    let kernel = Kernel::of(result.kernel.as_deref().unwrap_or_default(), result.hz);
    let path = Path {
        rtt: case.lab.round_trip(),
        exchanges: 1,
    };
    let mut considered = Considered::default();
    for candidate in knobs::kernel_knobs(client, &case.lab, result) {
        let sysctls = TcpSysctls::with(candidate.plan.sysctls_at(&client.place));
        let of_kernel = retransmission(&sysctls, path, None, kernel);
        // The client waits for the last of them.
        let after = ends.iter().map(|end| match *end {
            End::Kernel { sent } => (sent + of_kernel.min, sent + of_kernel.max + WORTH / 2),
            End::Other { at } => (at, at),
        });
        let last = after.reduce(|(min, max), (a, b)| (min.max(a), max.max(b)));
        let (min, max) = last?;
        let window = Window { min, max };
        match window.max + WORTH < ended {
            false => considered.no_help.push(candidate.knob),
            true => considered.shorten.push(Change {
                knob: candidate.knob,
                settings: candidate.settings,
                window,
                of_recovery: false,
                quantiles: Vec::new(),
            }),
        }
    }
    considered.sort();
    Some(considered)
}

/// What ended the wait on a dead connection, from the fault on.
enum End {
    /// The kernel's retransmissions of what was sent first then.
    Kernel { sent: Duration },
    /// Something else, which the kernel's retransmissions have no part in.
    Other { at: Duration },
}

/// The ends that a client waited for: of each of its workloads, where it has several.
fn ends(measured: &ClientResult) -> Option<Vec<End>> {
    let workloads = measured.workloads.iter();
    let mut waits: Vec<_> = workloads
        .filter_map(|w| Some((w.cause, w.detected_after?)))
        .collect();
    if waits.is_empty() {
        waits.push((measured.cause, measured.detected_after?));
    }
    let each = waits.into_iter().map(|(cause, at)| {
        if cause != Some(Cause::RetransmissionTimeout) {
            return Some(End::Other { at });
        }
        let closed_at = measured.fault_at? + at;
        let mut connections = measured.connections.iter();
        let waited_on = connections.find(|c| c.closed_at == Some(closed_at))?;
        let lasted = waited_on.retransmissions.as_ref()?.gave_up_after?;
        let sent = at.checked_sub(lasted)?;
        Some(End::Kernel { sent })
    });
    each.collect()
}

/// Whether a change limits responses that go on, and so ends those that are well.
fn cuts(client: &Client, changed: &Client) -> bool {
    let limits = |of: &Client| {
        let works = of.workloads.iter().filter(|work| work.kind.streams());
        let own: Vec<_> = works.map(|work| work.request_timeout).collect();
        let transport = &of.transport;
        (!own.is_empty()).then_some((own, transport.request_timeout, transport.read_timeout))
    };
    limits(client) != limits(changed)
}

/// Whether a client of this plan can't be answered by a server of its, though all are well: its own limits are shorter
/// than what an answer takes.
fn breaks(client: &Client, plan: &LabPlan) -> bool {
    let rtt = plan.round_trip();
    let t = &client.transport;
    let ping = t.ping.map(|ping| ping.timeout);
    let mut path = [t.dial_timeout, t.user_timeout, ping].into_iter().flatten();
    // The dial is part of a request's time: SYN, two flights of TLS, and the request.
    let round_trips = if client.target.tls { 4 } else { 2 };
    let first = plan.slowest(client) + rtt * round_trips;
    plan.too_slow(client).next().is_some()
        || path.any(|limit| limit <= rtt)
        || t.request_timeout.is_some_and(|limit| limit <= first)
}

/// What is compared of a prediction: how long it takes on the average, and in the worst of cases that is likely at all.
fn compared(window: Window, prediction: &Prediction) -> (Duration, Duration) {
    let middle = |w: Window| (w.min + w.max) / 2;
    if prediction.odds.is_empty() || prediction.recovery != Some(window) {
        return (middle(window), window.max);
    }
    let odds = prediction.odds.iter();
    let mean = odds
        .map(|odds| middle(odds.recovery).mul_f64(odds.probability))
        .sum();
    let rarely = prediction.quantiles.last();
    (
        mean,
        rarely.map_or(window.max, |quantile| quantile.time.max),
    )
}

/// The window by which a change is better than what was; of the recovery, or of the detection where there is none. It is
/// better where it takes less on the average, and no more where chance is against it.
fn shorter(before: &Prediction, after: &Prediction) -> Option<Window> {
    let (was, is) = match (before.recovery, after.recovery) {
        (None, None) => (before.detection, after.detection?),
        (was, Some(is)) => (was, is),
        (Some(_), None) => return None,
    };
    // What would be well for a time only is not compared.
    if after.relapses_within.is_some() {
        return None;
    }
    let Some(was) = was else { return Some(is) };
    let ((mean_was, rarely_was), (mean, rarely)) = (compared(was, before), compared(is, after));
    (mean + WORTH < mean_was && rarely <= rarely_was + WORTH).then_some(is)
}

/// The changes as they are told, under a title.
pub(super) fn lines(
    client: &Client,
    case: &Case,
    measured: &ClientResult,
    result: &CaseResult,
) -> (String, Vec<String>) {
    const TITLE: &str = "what would have shortened it, one change at a time";
    let Some(considered) = considered(client, case, result) else {
        let service = client.target.service.as_ref();
        let moves = service.is_some_and(|service| case.lab.moves(service));
        return (TITLE.to_owned(), vec![unknown(client, measured, moves)]);
    };
    let changes = &considered.shorten;
    let what = match changes.first() {
        Some(change) if !change.of_recovery => "the dead connection given up",
        Some(_) | None => "well again",
    };
    let mut lines: Vec<_> = changes.iter().map(told).collect();
    if changes.is_empty() {
        lines.push(String::from("  none of the knobs that the model knows"));
    }
    let t = &client.transport;
    let connection_outlives = t.protocol == Protocol::H2 && t.ping.is_none();
    let affected = measured.affected == Some(true);
    let mut no_help = considered.no_help;
    let ours = client.program().is_none();
    if connection_outlives && t.ping_after_timeout.is_none() && affected && ours {
        let text = "a request timeout alone (on HTTP/2 it ends the request, not the connection)";
        no_help.push(text.to_owned());
    }
    for (words, knobs) in [
        ("would not help", &no_help),
        ("would break it while all is well", &considered.breaks),
    ] {
        if !knobs.is_empty() {
            lines.push(format!("  {words}: {}", knobs.join("; ")));
        }
    }
    (format!("{TITLE} ({what}, by the model)"), lines)
}

/// A change in a line.
fn told(change: &Change) -> String {
    let window = between(change.window.min, change.window.max);
    let quantiles: Vec<PredictedQuantileResult> = change.quantiles.iter().map(Into::into).collect();
    match quantiles.as_slice() {
        [] => format!("  {}: {window}", change.knob),
        all => format!(
            "  {}: {window}; {}",
            change.knob,
            PredictedQuantileResult::words(all)
        ),
    }
}

/// What is known of an outage's end, and what is missing to say what would have helped.
fn unknown(client: &Client, measured: &ClientResult, moves: bool) -> String {
    let ended = measured.ended_by_its_program().or_else(|| {
        let told = measured.cause.filter(|cause| *cause != Cause::Unknown);
        told.map(|cause| word(&cause))
    });
    let known = match (ended, measured.detected_after) {
        (Some(ended), Some(_)) => format!("what ended the wait is known: {ended}; "),
        (Some(_) | None, _) => String::new(),
    };
    let missing = match client.program() {
        Some(_) => {
            "a program's own timers are no part of the plan, so the model can't be asked what others would do"
        }
        None if moves => "the model knows nothing of an address that moves, so it can't be asked",
        None => {
            "the model predicts only clients that ask, are answered and pause, and losses of power that last, or one loss of power \
             or of all packets that heals, so it can't be asked"
        }
    };
    format!("  {known}{missing}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_limit_below_what_an_answer_takes_breaks_a_client_that_is_well() {
        let breaks = |delay: &str, limits: &str| {
            let text = format!(
                "name: t\nduration: 1m\nnodes: [n1, n2]\n\
                 servers: {{ s: {{ node: n2, response_delay: {delay} }} }}\n\
                 clients:\n  c: {{ node: n1, url: 'http://s/', profile: bare, workload: {{ poll: {{ every: 5s }} }}, \
                 transport: {{ {limits} }} }}\n\
                 faults: [{{ at: 9s, fault: {{ power_loss: {{ node: n2 }} }} }}]\n"
            );
            let cases =
                crate::scenario::parse("t.yaml", &text, &crate::scenario::PlanOptions::default());
            let lab = &cases.expect("a right scenario")[0].lab;
            super::breaks(&lab.clients[0], lab)
        };
        assert!(breaks("15s", "request_timeout: 10s") && breaks("15s", "read_timeout: 10s"));
        assert!(!breaks("15s", "request_timeout: 20s") && !breaks("5s", "request_timeout: 10s"));
    }
}
