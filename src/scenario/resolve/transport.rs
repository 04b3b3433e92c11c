//! From profile and knobs to a transport of plain numbers.

use std::time::Duration;

use crate::plan::{Keepalive, Ping, Protocol, Retry, Sysctl, Transport};
use crate::preset::{self, Links};
use crate::scenario::cx::Cx;
use crate::scenario::model::{
    ClientSpec, KeepaliveSpec, Named, OffOr, OnOr, PingSpec, RetrySpec, Spanned, Time,
    TransportSpec,
};
use crate::yaml::{Problem, Span, given, list, placed};

/// Looks at the scenario's own profiles, used or not.
pub(super) fn profiles(cx: &mut Cx<'_>) {
    for (name, value, _) in given(&cx.scenario.profiles)
        .into_iter()
        .flat_map(Named::iter)
    {
        if preset::preset(value).is_some() {
            let message = format!("`{value}` is a preset's name");
            let help = format!("choose another name and write `base: {value}` in it");
            cx.push(Problem::new(name.span, message).help(help));
        }
        of_profile(cx, name, &mut Vec::new());
    }
}

/// The transport of a client that is no program.
pub(super) fn resolve(
    cx: &mut Cx<'_>,
    name: &Spanned<String>,
    client: &ClientSpec,
) -> Option<Transport> {
    let Some(profile) = &client.profile else {
        // Without any workload it may yet be a program.
        if client.works().any(|work| work.get().is_some()) {
            let problem = Problem::new(name.span, "field `profile` is missing");
            cx.push(problem.label("`profile` is missing here"));
        }
        return None;
    };
    let (mut transport, mut links) = of_profile(cx, profile, &mut Vec::new())?;
    if let Some(knobs) = given(&client.transport) {
        turn(cx, &mut transport, &mut links, knobs);
    }
    Some(transport)
}

/// The profile called `name`, and which of its knobs follow others; `seen` are the profiles whose base it is.
fn of_profile(
    cx: &mut Cx<'_>,
    name: &Spanned<String>,
    seen: &mut Vec<String>,
) -> Option<(Transport, Links)> {
    let word = name.get()?;
    let own = given(&cx.scenario.profiles);
    let Some(spec) = own.and_then(|own| own.find(word)) else {
        let preset = preset::find(word);
        if preset.is_none() {
            let presets = preset::presets();
            let known = presets.iter().map(|p| p.name);
            let known = known.chain(own.into_iter().flat_map(Named::names));
            let problem = Problem::new(name.span, format!("no profile named `{word}`"));
            cx.push(problem.suggest(word, known));
        }
        return preset.map(|preset| (preset.transport.clone(), preset.links));
    };
    if seen.contains(word) {
        let message = format!("profile `{word}` is its own base");
        let help = format!("the chain is {} → {word}", seen.join(" → "));
        cx.push(Problem::new(name.span, message).help(help));
        return None;
    }
    seen.push(word.clone());
    let spec = spec.get()?;
    let (mut transport, mut links) = match &spec.base {
        Some(base) => of_profile(cx, base, seen)?,
        None => (preset::bare(Protocol::H1), Links::default()),
    };
    turn(cx, &mut transport, &mut links, &spec.knobs());
    Some((transport, links))
}

/// Turns the knobs that are given, and with them those that follow them.
fn turn(cx: &mut Cx<'_>, transport: &mut Transport, links: &mut Links, knobs: &TransportSpec) {
    if let Some(protocol) = given(&knobs.protocol) {
        transport.protocol = *protocol;
    }
    transport.idle_check = given(&knobs.idle_check)
        .copied()
        .unwrap_or(transport.idle_check);
    transport.timeout_ends = given(&knobs.timeout_ends)
        .copied()
        .unwrap_or(transport.timeout_ends);
    for (knob, field) in [
        (&mut transport.dial_timeout, &knobs.dial_timeout),
        (&mut transport.tls_timeout, &knobs.tls_timeout),
        (&mut transport.request_timeout, &knobs.request_timeout),
        (&mut transport.read_timeout, &knobs.read_timeout),
        (&mut transport.idle_timeout, &knobs.idle_timeout),
        (&mut transport.user_timeout, &knobs.user_timeout),
        (&mut transport.ping_after_timeout, &knobs.ping_after_timeout),
    ] {
        *knob = limit(cx, field, *knob);
    }
    if let Some((span, knob)) = placed(&knobs.keepalive) {
        let inherited = transport
            .keepalive
            .filter(|_| !transport.keepalive_by_sysctls);
        // Which the kernel's own are is known where it runs.
        transport.keepalive = keepalive(cx, span, knob, inherited, &[]);
        transport.keepalive_by_sysctls = is_by_sysctls(knob);
    }
    if let Some((span, knob)) = placed(&knobs.ping) {
        transport.ping = match knob {
            OffOr::Off => None,
            OffOr::On(spec) => ping(cx, span, spec, transport.ping),
        };
    }
    if knobs.user_timeout.is_some() {
        links.user_timeout = None;
    }
    links.follow(transport);
    if let Some((span, knob)) = placed(&knobs.retry) {
        transport.retry = match knob {
            OffOr::Off => Retry::default(),
            OffOr::On(spec) => retry(cx, span, spec, &transport.retry),
        };
    }
    if transport.protocol == Protocol::H1 {
        no_ping(cx, transport, knobs);
    }
}

/// PING is HTTP/2's.
fn no_ping(cx: &mut Cx<'_>, transport: &Transport, knobs: &TransportSpec) {
    let ping = knobs.ping.as_ref().map(|k| k.span);
    let after = knobs.ping_after_timeout.as_ref().map(|k| k.span);
    let pings = [
        ("ping", transport.ping.is_some(), ping),
        (
            "ping_after_timeout",
            transport.ping_after_timeout.is_some(),
            after,
        ),
    ];
    for (knob, on, span) in pings {
        // Where the knob was inherited, the protocol is what does not fit.
        let span = span.or(knobs.protocol.as_ref().map(|k| k.span));
        if let Some(span) = span.filter(|_| on) {
            let message = format!("`{knob}` on HTTP/1.1: only HTTP/2 has PING");
            let help = format!("write `protocol: h2`, or `{knob}: off`");
            cx.push(Problem::new(span, message).help(help));
        }
    }
}

/// A limit: what is given, else what is inherited.
pub(super) fn limit(
    cx: &mut Cx<'_>,
    field: &Option<Spanned<OffOr<Time>>>,
    inherited: Option<Duration>,
) -> Option<Duration> {
    match placed(field) {
        None => inherited,
        Some((_, OffOr::Off)) => None,
        Some((span, OffOr::On(time))) => {
            if time.0 < Duration::from_millis(1) {
                let problem = Problem::new(span, "a limit shorter than 1 ms");
                cx.push(problem.help("write `off` for no limit"));
            }
            Some(time.0)
        }
    }
}

/// Reports fields that are not given and have nothing to inherit from.
fn missing(cx: &mut Cx<'_>, span: Span, group: &str, fields: &[(&str, bool)]) {
    let missing: Vec<&str> = fields.iter().filter(|f| !f.1).map(|f| f.0).collect();
    if !missing.is_empty() {
        let message = format!("{group} lacks {}", list(&missing));
        cx.push(Problem::new(span, message).help(format!(
            "the profile has {group} off, so there is nothing to inherit: write them all"
        )));
    }
}

/// Whether keepalive's times are the kernel's.
pub(super) fn is_by_sysctls(knob: &OffOr<OnOr<KeepaliveSpec>>) -> bool {
    matches!(knob, OffOr::On(OnOr::On))
}

/// Keepalive, with the kernel's own times where these sysctls hold, or with its own, which are inherited where it does not say them.
pub(super) fn keepalive(
    cx: &mut Cx<'_>,
    span: Span,
    knob: &OffOr<OnOr<KeepaliveSpec>>,
    inherited: Option<Keepalive>,
    sysctls: &[Sysctl],
) -> Option<Keepalive> {
    match knob {
        OffOr::Off => None,
        OffOr::On(OnOr::On) => Some(Keepalive::by_sysctls(sysctls)),
        OffOr::On(OnOr::Own(spec)) => own_keepalive(cx, span, spec, inherited),
    }
}

fn own_keepalive(
    cx: &mut Cx<'_>,
    span: Span,
    spec: &KeepaliveSpec,
    inherited: Option<Keepalive>,
) -> Option<Keepalive> {
    for (name, field) in [("idle", &spec.idle), ("interval", &spec.interval)] {
        if let Some((span, Time(time))) = placed(field)
            && (time.subsec_nanos() != 0 || !(1..=32767).contains(&time.as_secs()))
        {
            let message =
                format!("the kernel takes keepalive `{name}` in whole seconds, from 1s to 32767s");
            cx.push(Problem::new(span, message).help("write e.g. `15s`"));
        }
    }
    if let Some((span, count)) = placed(&spec.count)
        && !(1..=127).contains(count)
    {
        let message = "the kernel takes a keepalive `count` from 1 to 127";
        cx.push(Problem::new(span, message));
    }
    let idle = given(&spec.idle).map(|t| t.0).or(inherited.map(|k| k.idle));
    let interval = given(&spec.interval).map(|t| t.0);
    let interval = interval.or(inherited.map(|k| k.interval));
    let count = given(&spec.count).map(|c| u32::from(*c));
    let count = count.or(inherited.map(|k| k.count));
    let fields = [
        ("idle", idle.is_some() || spec.idle.is_some()),
        ("interval", interval.is_some() || spec.interval.is_some()),
        ("count", count.is_some() || spec.count.is_some()),
    ];
    missing(cx, span, "keepalive", &fields);
    Some(Keepalive {
        idle: idle?,
        interval: interval?,
        count: count?,
    })
}

fn ping(cx: &mut Cx<'_>, span: Span, spec: &PingSpec, inherited: Option<Ping>) -> Option<Ping> {
    for (span, time) in [&spec.idle, &spec.timeout].into_iter().filter_map(placed) {
        is_some_time(cx, span, *time);
    }
    let idle = given(&spec.idle).map(|t| t.0).or(inherited.map(|p| p.idle));
    let timeout = given(&spec.timeout).map(|t| t.0);
    let timeout = timeout.or(inherited.map(|p| p.timeout));
    let while_idle = given(&spec.while_idle).copied();
    let fields = [
        ("idle", idle.is_some() || spec.idle.is_some()),
        ("timeout", timeout.is_some() || spec.timeout.is_some()),
    ];
    missing(cx, span, "ping", &fields);
    Some(Ping {
        idle: idle?,
        timeout: timeout?,
        while_idle: while_idle.unwrap_or(inherited.is_some_and(|p| p.while_idle)),
    })
}

/// A PING's times are some at all.
pub(super) fn is_some_time(cx: &mut Cx<'_>, span: Span, time: Time) {
    if time.0 < Duration::from_millis(1) {
        let problem = Problem::new(span, "a PING time shorter than 1 ms");
        cx.push(problem.help("write `ping: off` to turn it off"));
    }
}

fn retry(cx: &mut Cx<'_>, span: Span, spec: &RetrySpec, inherited: &Retry) -> Retry {
    let attempts = given(&spec.attempts).map(|n| u32::from(*n));
    let on = given(&spec.on).map(|on| on.0.iter().filter_map(Spanned::get).copied().collect());
    let retry = Retry {
        attempts: attempts.unwrap_or(inherited.attempts),
        backoff: given(&spec.backoff).map_or(inherited.backoff, |time| time.0),
        on: on.unwrap_or_else(|| inherited.on.clone()),
    };
    let fields = [
        ("attempts", retry.attempts > 0 || spec.attempts.is_some()),
        ("on", !retry.on.is_empty() || spec.on.is_some()),
    ];
    missing(cx, span, "retry", &fields);
    retry
}
