//! From profile and knobs to a transport of plain numbers.

use std::time::Duration;

use super::{Keepalive, Ping, Protocol, Retry, RetryOn, Transport, profile};
use crate::scenario::model::{
    ClientSpec, KeepaliveSpec, Named, OffOr, PingSpec, ProfileSpec, RetrySpec, Scenario, Spanned,
    Time, TransportSpec, WorkloadSpec,
};
use crate::scenario::{Problem, given, suggest};

/// The kubelet's own limit on a heartbeat (`nodeStatusUpdateFrequency`).
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// The transport of a client, and every problem on the way to it.
pub(crate) fn of_client(
    scenario: &Scenario,
    client: &ClientSpec,
    problems: &mut Vec<Problem>,
) -> Option<Transport> {
    let mut works = client.works().filter_map(Spanned::get);
    if works.any(|work| matches!(work, WorkloadSpec::Exec(_))) {
        return profile::preset("bare");
    }
    let profile = client.profile.as_ref()?;
    let mut transport = of_profile(scenario, profile, &mut Vec::new(), problems)?;
    if let Some(knobs) = given(&client.transport) {
        turn(&mut transport, knobs, problems);
    }
    // Several have a limit each, and the transport's own stays what it is.
    if let Some(work) = client.workload.as_ref() {
        transport.request_timeout = of_requests(work, transport.request_timeout, problems);
    }
    Some(transport)
}

/// Time a request of a workload may take: its own, else its transport's.
pub(crate) fn of_requests(
    work: &Spanned<WorkloadSpec>,
    transport: Option<Duration>,
    problems: &mut Vec<Problem>,
) -> Option<Duration> {
    let mut timeout = transport;
    if let Some(work) = work.get() {
        if let (WorkloadSpec::Heartbeat(_), None) = (work, work.timeout()) {
            return Some(HEARTBEAT_TIMEOUT);
        }
        limit(&mut timeout, work.timeout(), problems);
    }
    timeout
}

/// Problems of the scenario's own profiles, used or not.
pub(crate) fn check_profiles(scenario: &Scenario, problems: &mut Vec<Problem>) {
    for (name, value, _) in given(&scenario.profiles).into_iter().flat_map(Named::iter) {
        if profile::preset(value).is_some() {
            let message = format!("`{value}` is a preset's name");
            let help = format!("choose another name and write `base: {value}` in it");
            problems.push(Problem::new(name.span, message).help(help));
        }
        of_profile(scenario, name, &mut Vec::new(), problems);
    }
}

/// The profile called `name`; `seen` are the profiles whose base it is.
fn of_profile(
    scenario: &Scenario,
    name: &Spanned<String>,
    seen: &mut Vec<String>,
    problems: &mut Vec<Problem>,
) -> Option<Transport> {
    let word = name.get()?;
    let own = given(&scenario.profiles);
    let Some(spec) = own.and_then(|own| own.find(word)) else {
        return profile::preset(word).or_else(|| {
            let presets = profile::presets();
            let known = presets.iter().map(|p| p.name);
            let known = known.chain(own.into_iter().flat_map(Named::names));
            let mut problem = Problem::new(name.span, format!("no profile named `{word}`"));
            problem.help = suggest(word, known);
            problems.push(problem);
            None
        });
    };
    if seen.contains(word) {
        let message = format!("profile `{word}` is its own base");
        problems.push(
            Problem::new(name.span, message)
                .help(format!("the chain is {} → {word}", seen.join(" → "))),
        );
        return None;
    }
    seen.push(word.clone());
    let spec: &ProfileSpec = spec.get()?;
    let mut transport = match &spec.base {
        Some(base) => of_profile(scenario, base, seen, problems)?,
        None => profile::preset("bare")?,
    };
    turn(&mut transport, &spec.knobs(), problems);
    Some(transport)
}

/// Turns the knobs that are given.
fn turn(transport: &mut Transport, knobs: &TransportSpec, problems: &mut Vec<Problem>) {
    if let Some(protocol) = given(&knobs.protocol) {
        transport.protocol = *protocol;
    }
    limit(&mut transport.dial_timeout, &knobs.dial_timeout, problems);
    limit(&mut transport.tls_timeout, &knobs.tls_timeout, problems);
    limit(
        &mut transport.request_timeout,
        &knobs.request_timeout,
        problems,
    );
    limit(&mut transport.read_timeout, &knobs.read_timeout, problems);
    limit(&mut transport.idle_timeout, &knobs.idle_timeout, problems);
    limit(&mut transport.user_timeout, &knobs.user_timeout, problems);
    limit(
        &mut transport.ping_after_timeout,
        &knobs.ping_after_timeout,
        problems,
    );
    match given(&knobs.keepalive) {
        None => {}
        Some(OffOr::Off) => transport.keepalive = None,
        Some(OffOr::On(spec)) => {
            let span = knobs.keepalive.as_ref().map(|k| k.span).unwrap_or_default();
            transport.keepalive = keepalive(spec, transport.keepalive, &Missing { span }, problems);
        }
    }
    match given(&knobs.ping) {
        None => {}
        Some(OffOr::Off) => transport.ping = None,
        Some(OffOr::On(spec)) => {
            let span = knobs.ping.as_ref().map(|p| p.span).unwrap_or_default();
            transport.ping = ping(spec, transport.ping, &Missing { span }, problems);
        }
    }
    match given(&knobs.retry) {
        None => {}
        Some(OffOr::Off) => transport.retry = Retry::default(),
        Some(OffOr::On(spec)) => {
            let span = knobs.retry.as_ref().map(|r| r.span).unwrap_or_default();
            retry(&mut transport.retry, spec, &Missing { span }, problems);
        }
    }
    check_protocol(transport, knobs, problems);
}

/// PING is HTTP/2's.
fn check_protocol(transport: &Transport, knobs: &TransportSpec, problems: &mut Vec<Problem>) {
    if transport.protocol != Protocol::H1 {
        return;
    }
    let pings = [
        (
            "ping",
            transport.ping.is_some(),
            knobs.ping.as_ref().map(|k| k.span),
        ),
        (
            "ping_after_timeout",
            transport.ping_after_timeout.is_some(),
            knobs.ping_after_timeout.as_ref().map(|k| k.span),
        ),
    ];
    for (knob, on, span) in pings {
        // Where the knob was inherited, the protocol is what does not fit.
        let span = span.or(knobs.protocol.as_ref().map(|k| k.span));
        if let Some(span) = span.filter(|_| on) {
            problems.push(
                Problem::new(span, format!("`{knob}` on HTTP/1.1: only HTTP/2 has PING"))
                    .help(format!("write `protocol: h2`, or `{knob}: off`")),
            );
        }
    }
}

/// Sets a limit that is given.
fn limit(
    knob: &mut Option<Duration>,
    field: &Option<Spanned<OffOr<Time>>>,
    problems: &mut Vec<Problem>,
) {
    match field {
        Some(Spanned {
            value: Some(OffOr::Off),
            ..
        }) => *knob = None,
        Some(Spanned {
            value: Some(OffOr::On(time)),
            span,
        }) => {
            if time.0 < Duration::from_millis(1) {
                problems.push(
                    Problem::new(*span, "a limit shorter than 1 ms")
                        .help("write `off` if there shall be no limit"),
                );
            }
            *knob = Some(time.0);
        }
        _ => {}
    }
}

/// Where a group of knobs stands that has nothing to inherit from.
struct Missing {
    span: crate::scenario::Span,
}

impl Missing {
    fn report(&self, group: &str, fields: &[(&str, bool)], problems: &mut Vec<Problem>) {
        let missing: Vec<&str> = fields.iter().filter(|f| !f.1).map(|f| f.0).collect();
        if missing.is_empty() {
            return;
        }
        let missing = crate::scenario::list(&missing);
        problems.push(
            Problem::new(self.span, format!("{group} lacks {missing}")).help(format!(
                "the profile has {group} off, so there is nothing to inherit: write them all"
            )),
        );
    }
}

fn keepalive(
    spec: &KeepaliveSpec,
    inherited: Option<Keepalive>,
    missing: &Missing,
    problems: &mut Vec<Problem>,
) -> Option<Keepalive> {
    for (name, field) in [("idle", &spec.idle), ("interval", &spec.interval)] {
        let Some(Spanned {
            span,
            value: Some(Time(time)),
        }) = field
        else {
            continue;
        };
        let seconds = time.as_secs();
        if time.subsec_nanos() != 0 || !(1..=32767).contains(&seconds) {
            problems.push(
                Problem::new(
                    *span,
                    format!(
                        "the kernel takes keepalive `{name}` in whole seconds, from 1s to 32767s"
                    ),
                )
                .help("write e.g. `15s`"),
            );
        }
    }
    if let Some(Spanned {
        span,
        value: Some(count),
    }) = &spec.count
        && !(1..=127).contains(count)
    {
        problems.push(Problem::new(
            *span,
            "the kernel takes a keepalive `count` from 1 to 127",
        ));
    }
    let idle = given(&spec.idle).map(|t| t.0).or(inherited.map(|k| k.idle));
    let interval = given(&spec.interval)
        .map(|t| t.0)
        .or(inherited.map(|k| k.interval));
    let count = given(&spec.count)
        .map(|c| u32::from(*c))
        .or(inherited.map(|k| k.count));
    let fields = [
        ("idle", idle.is_some() || spec.idle.is_some()),
        ("interval", interval.is_some() || spec.interval.is_some()),
        ("count", count.is_some() || spec.count.is_some()),
    ];
    missing.report("keepalive", &fields, problems);
    Some(Keepalive {
        idle: idle?,
        interval: interval?,
        count: count?,
    })
}

fn ping(
    spec: &PingSpec,
    inherited: Option<Ping>,
    missing: &Missing,
    problems: &mut Vec<Problem>,
) -> Option<Ping> {
    for field in [&spec.idle, &spec.timeout] {
        if let Some(Spanned {
            span,
            value: Some(Time(time)),
        }) = field
            && *time < Duration::from_millis(1)
        {
            problems.push(
                Problem::new(*span, "a PING time shorter than 1 ms")
                    .help("write `ping: off` to turn it off"),
            );
        }
    }
    let idle = given(&spec.idle).map(|t| t.0).or(inherited.map(|p| p.idle));
    let timeout = given(&spec.timeout)
        .map(|t| t.0)
        .or(inherited.map(|p| p.timeout));
    let while_idle = given(&spec.while_idle)
        .copied()
        .or(inherited.map(|p| p.while_idle));
    let fields = [
        ("idle", idle.is_some() || spec.idle.is_some()),
        ("timeout", timeout.is_some() || spec.timeout.is_some()),
    ];
    missing.report("ping", &fields, problems);
    Some(Ping {
        idle: idle?,
        timeout: timeout?,
        while_idle: while_idle.unwrap_or_default(),
    })
}

fn retry(retry: &mut Retry, spec: &RetrySpec, missing: &Missing, problems: &mut Vec<Problem>) {
    if let Some(attempts) = given(&spec.attempts) {
        retry.attempts = u32::from(*attempts);
    }
    if let Some(backoff) = given(&spec.backoff) {
        retry.backoff = backoff.0;
    }
    if let Some(on) = given(&spec.on) {
        let on: Vec<RetryOn> = on.0.iter().filter_map(Spanned::get).copied().collect();
        retry.on = on;
    }
    let fields = [
        ("attempts", retry.attempts > 0 || spec.attempts.is_some()),
        ("on", !retry.on.is_empty() || spec.on.is_some()),
    ];
    missing.report("retry", &fields, problems);
}
