//! A case's record beside the model: inside its windows, and, given the first RTO on the wire, exact to a tick.

use std::collections::BTreeMap;
use std::time::Duration;

use halfopen::plan::{Case, Cause, Client, Prediction, Window};
use halfopen::record::{Event, Observation};
use halfopen::result::{ClientResult, OutageResult, PredictedResult};
use halfopen::timeout_model::{Kernel, Rounding, Seen, Series, TcpSysctls, connect, predict_seen};
use halfopen::verdict::measure;

/// What a case came to.
pub(crate) struct Judged {
    pub(crate) cause: Option<Cause>,
    /// Everything that lies outside what the model says, in words.
    pub(crate) outside: Vec<String>,
    pub(crate) seen: Seen,
    /// Width of the detection's window beforehand, in seconds.
    pub(crate) width: Option<f64>,
    /// The same of the recovery's.
    pub(crate) recovery_width: Option<f64>,
    /// Whether it shows that its fault did not last twice as long, of one that heals.
    pub(crate) outside_of_longer: bool,
    /// Whether each client has a prediction.
    pub(crate) predicted: bool,
    /// The series of its retransmissions, if it has one.
    pub(crate) series: Option<Sendings>,
    /// Of several outages how many were told when they would be over, and how many there were.
    pub(crate) foreseen_outages: (usize, usize),
}

/// A series of retransmissions on the wire, and its end.
#[derive(Debug, Clone)]
pub(crate) struct Sendings {
    /// When the segment was sent, from the case's start; the first is no retransmission.
    pub(crate) sent: Vec<Duration>,
    pub(crate) gave_up: Duration,
    pub(crate) user_timeout: Option<Duration>,
    pub(crate) sysctls: TcpSysctls,
    /// The first RTO by the socket's own word at its end, where its back-off had not reached the largest.
    pub(crate) socket_rto: Option<Duration>,
}

/// A model to judge by; the true one, or one that is wrong in one thing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model {
    pub(crate) hz: u64,
    pub(crate) more_retries: i32,
    pub(crate) counts_the_probe: bool,
}

impl Model {
    /// The one of the kernel that was measured.
    pub(crate) fn right(hz: u64) -> Self {
        Self {
            hz,
            more_retries: 0,
            counts_the_probe: false,
        }
    }
}

pub(crate) fn judge(record: &[Event], hz: u32) -> Judged {
    let Some(Observation::CaseStarted { case, kernel, .. }) = record.first().map(|e| &e.what)
    else {
        panic!("a record begins with its case");
    };
    let measured = measure(record).expect("a record");
    let kernel = Kernel::of(kernel, Some(hz));
    let mut outside = Vec::new();
    for (client, plan) in measured.clients.iter().zip(&case.lab.clients) {
        let Some(before) = prediction_of(case, &client.name) else {
            continue;
        };
        let seen = seen(client, kernel);
        let after = predict_seen(plan, &case.lab, &seen);
        let lasted = measured.duration - client.fault_at.unwrap_or_default();
        for (what, prediction) in [("beforehand", before), ("given what was seen", &after)] {
            compare(client, prediction, lasted, what, &mut outside);
        }
    }
    let mut foreseen_outages = (0, 0);
    for outage in measured.clients.iter().flat_map(|client| &client.outages) {
        let given = outage.predicted_given_phase.as_ref();
        for said in outage.predicted.iter().chain(given) {
            in_windows(outage, said, &mut outside);
        }
        let told = outage
            .predicted
            .as_ref()
            .is_some_and(|said| said.recovery.is_some());
        foreseen_outages.0 += usize::from(told);
        foreseen_outages.1 += 1;
    }
    let (client, plan) = (&measured.clients[0], &case.lab.clients[0]);
    let (before, seen) = (prediction_of(case, &client.name), seen(client, kernel));
    let sysctls = TcpSysctls::with(case.lab.sysctls_at(&plan.place));
    dials(client, plan, &sysctls, kernel, &mut outside);
    let width = |window: fn(&Prediction) -> Option<Window>| {
        let window = before.and_then(window)?;
        Some((window.max - window.min).as_secs_f64())
    };
    Judged {
        cause: client.cause,
        outside,
        seen,
        width: width(|before| before.detection),
        recovery_width: width(|before| before.recovery),
        outside_of_longer: before.is_some()
            && is_outside_of_longer(client, case, &seen, measured.duration),
        predicted: case.predictions.len() == case.lab.clients.len(),
        series: series(record, case, client, sysctls),
        foreseen_outages,
    }
}

/// Of one of several outages: what was measured beside the windows in the report.
fn in_windows(outage: &OutageResult, said: &PredictedResult, outside: &mut Vec<String>) {
    let times = [
        ("detected", outage.detected_after, said.detection),
        ("recovered", outage.recovered_after, said.recovery),
    ];
    for (name, time, window) in times {
        let holds = match (time, window) {
            (Some(time), Some(window)) => (window.min..=window.max).contains(&time),
            (None, Some(_)) => false,
            (Some(_), None) => said.cause == Cause::Unknown || name == "recovered",
            (None, None) => true,
        };
        if !holds {
            outside.push(format!(
                "{name} {time:?}, fault {}: {window:?}",
                outage.fault
            ));
        }
    }
    if outage.cause.is_some_and(|cause| !names(cause, said.cause)) {
        outside.push(format!(
            "cause {:?}, fault {}: {:?}",
            outage.cause, outage.fault, said.cause
        ));
    }
}

/// Whether a measurement lies outside what is said of a fault that lasts twice as long.
fn is_outside_of_longer(
    client: &ClientResult,
    case: &Case,
    seen: &Seen,
    duration: Duration,
) -> bool {
    let mut longer = case.lab.clone();
    for lasts in longer.faults.iter_mut().filter_map(|f| f.lasts.as_mut()) {
        *lasts *= 2;
    }
    let prediction = predict_seen(&longer.clients[0], &longer, seen);
    let (lasted, mut outside) = (duration - client.fault_at.unwrap_or_default(), Vec::new());
    compare(client, &prediction, lasted, "", &mut outside);
    !outside.is_empty()
}

fn prediction_of<'a>(case: &'a Case, client: &str) -> Option<&'a Prediction> {
    let mut all = case.predictions.iter();
    all.find(|p| p.client == client)
}

fn seen(client: &ClientResult, kernel: Kernel) -> Seen {
    Seen {
        kernel,
        phase: client.phase,
        since: since(client),
    }
}

fn since(client: &ClientResult) -> Option<Duration> {
    let (fault, began) = (client.fault_at?, client.phase_since?);
    Some(fault.saturating_sub(began))
}

fn compare(
    client: &ClientResult,
    prediction: &Prediction,
    lasted: Duration,
    what: &str,
    outside: &mut Vec<String>,
) {
    let mut check = |name: &str, time: Option<Duration>, window: Option<Window>| {
        let holds = match (time, window) {
            (Some(time), Some(window)) => (window.min..=window.max).contains(&time),
            (None, Some(window)) => window.max > lasted,
            (Some(_), None) => prediction.cause == Cause::Unknown,
            (None, None) => true,
        };
        if !holds {
            outside.push(format!("{name} {time:?}, {what}: {window:?}"));
        }
    };
    if client.affected == Some(true) {
        check("detected", client.detected_after, prediction.detection);
    }
    let standing = &prediction.standing;
    for (name, time, window) in [
        ("not ready", client.not_ready_after, standing.not_ready),
        (
            "ready again",
            client.ready_again_after,
            standing.ready_again,
        ),
    ] {
        if window.is_some() {
            check(name, time, window);
        }
    }
    match (prediction.relapses_within, client.recovered_after) {
        (None, recovered) => check("recovered", recovered, prediction.recovery),
        (Some(within), Some(recovered)) if lasted.saturating_sub(recovered) > within => {
            outside.push(format!(
                "well from {recovered:?} to {lasted:?}, {what}: {within:?}"
            ));
        }
        (Some(_), _) => {}
    }
    let cause = client.cause;
    if cause.is_some_and(|cause| !names(cause, prediction.cause)) {
        outside.push(format!("cause {cause:?}, {what}: {:?}", prediction.cause));
    }
}

/// Whether a measured cause is the predicted one, as far as either is known.
fn names(measured: Cause, predicted: Cause) -> bool {
    [measured, predicted].contains(&Cause::Unknown) || measured == predicted
}

/// Dials that the kernel gave up.
fn dials(
    client: &ClientResult,
    plan: &Client,
    sysctls: &TcpSysctls,
    kernel: Kernel,
    outside: &mut Vec<String>,
) {
    if plan.transport.dial_timeout.is_some() || plan.transport.request_timeout.is_some() {
        return;
    }
    let window = connect(sysctls, plan.transport.user_timeout, kernel);
    for connection in &client.connections {
        let (Some(dialled), Some(closed)) = (connection.dialled_at, connection.closed_at) else {
            continue;
        };
        let failed = connection.opened_at.is_none() && connection.cause == Cause::DialTimeout;
        let took = closed - dialled;
        // A program hears of it a little later.
        let latest = window.max + Duration::from_millis(10);
        if failed && !(window.min..=latest).contains(&took) {
            outside.push(format!("a dial took {took:?}, not {window:?}"));
        }
    }
}

fn series(
    record: &[Event],
    case: &Case,
    client: &ClientResult,
    sysctls: TcpSysctls,
) -> Option<Sendings> {
    let cause = client.cause?;
    let user_timeout = case.lab.clients[0].transport.user_timeout;
    if !matches!(cause, Cause::RetransmissionTimeout | Cause::UserTimeout) {
        return None;
    }
    let detected = client.detected_after?;
    let mut segments: BTreeMap<(String, u32), Vec<Duration>> = BTreeMap::new();
    for event in record {
        if let Observation::Segment(segment) = &event.what
            && segment.len > 0
            // What passes its pod's link as well is in the record twice.
            && case.lab.node(&segment.node).is_some()
        {
            let key = (segment.from.to_string(), segment.seq);
            let stamp = Duration::from_nanos(segment.stamp_ns);
            segments.entry(key).or_default().push(stamp);
        }
    }
    let mut sent = segments.into_values().max_by_key(Vec::len)?;
    sent.sort_unstable();
    let end = record.iter().find_map(|event| match &event.what {
        Observation::ConnectionClosed { end, .. } => Some(end),
        _ => None,
    });
    let rto_max_us = sysctls.rto_max_ms * 1000;
    let last_rto = end
        .and_then(|end| end.tcp_info)
        .map(|info| u64::from(info.rto_us));
    let mut series = Sendings {
        sent,
        gave_up: client.fault_at? + detected,
        user_timeout,
        sysctls,
        socket_rto: None,
    };
    // Each retransmission doubled it. (The back-off itself is reset with the queue, tcp_write_queue_purge().)
    let doubled = series
        .sent
        .len()
        .checked_sub(1 + usize::from(series.has_probe()))?;
    series.socket_rto = last_rto
        .filter(|rto| *rto < rto_max_us)
        .map(|rto| Duration::from_micros(rto >> doubled));
    (series.sent.len() >= 2).then_some(series)
}

impl Sendings {
    /// By how much the model misses the end, given the first RTO as it is on the wire; `None` where the series is too
    /// short to tell.
    pub(crate) fn error(&self, model: &Model) -> Option<Duration> {
        let probe = self.has_probe() && !model.counts_the_probe;
        let counted = &self.sent[usize::from(probe)..];
        let (&[before, first, ..], hz) = (counted, model.hz) else {
            return None;
        };
        // What a timer sends tells where in the case's time the ticks are; what a program sends goes out within one.
        let whole = first.as_secs_f64() * hz as f64;
        let early = whole.round() - whole;
        let (armed, fired) = (jiffy(before, hz, early), jiffy(first, hz, early));
        let fits = |rto: &u64| Rounding::Wheel.fires_at(armed, *rto).abs_diff(fired) <= 1;
        let all = (1..=fired - armed).filter(fits).collect::<Vec<_>>();
        let own = self
            .socket_rto
            .filter(|_| model.hz == 250)
            .map(|rto| ticks(rto, hz));
        let rtos: Vec<u64> = match own {
            Some(own) if all.contains(&own) => vec![own],
            _ => all,
        };
        let ends = rtos.into_iter().map(|first_rto| {
            let series = Series {
                hz,
                rounding: Rounding::Wheel,
                start: fired,
                first_rto,
                rto_max: (self.sysctls.rto_max_ms * hz).div_ceil(1000),
                linear: self.sysctls.linear_retransmissions(),
            };
            first
                + match self.user_timeout {
                    Some(limit) => series.gives_up_by_user_timeout(limit),
                    None => series.gives_up(self.bound(model.more_retries)),
                }
        });
        ends.map(|end| end.abs_diff(self.gave_up)).min()
    }

    fn bound(&self, more: i32) -> Duration {
        let mut sysctls = self.sysctls;
        sysctls.retries2 = sysctls.retries2.saturating_add_signed(more);
        sysctls.retransmission_bound()
    }

    /// A probe and the retransmission after it both come one RTO after what was before; from then on gaps double.
    pub(crate) fn has_probe(&self) -> bool {
        self.sysctls.loss_probe && self.sent.len() >= 3
    }
}

/// The kernel's count of ticks (`INITIAL_JIFFIES`: five minutes before it overflows) at a time of the case, which begins
/// at a whole multiple of the timer wheel's period.
///
/// The ticks of the case's time are so much `early`.
fn jiffy(time: Duration, hz: u64, early: f64) -> u64 {
    // A stamp is some microseconds off.
    let ticks = (time.as_secs_f64() * hz as f64 + early + 0.01).floor() as u64;
    (1 << 32) - 300 * hz + ticks
}

fn ticks(time: Duration, hz: u64) -> u64 {
    (time.as_secs_f64() * hz as f64).round() as u64
}
