//! What a client does.

use std::time::Duration;

use super::{names, program, transport};
use crate::plan::{App, Phase, Protocol, Server, Target, Work, Workload, Workloads};
use crate::scenario::cx::Cx;
use crate::scenario::model::{
    ClientSpec, HeartbeatSpec, OffOr, Size, Spanned, StreamSpec, Time, WhenSpec, WorkloadSpec,
};
use crate::yaml::{Problem, given, placed};

/// Kubernetes' default lease of a leader election.
const LEASE: Duration = Duration::from_secs(15);
/// Kubernetes' default deadline of its renewal.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// client-go's reflector watches again after 0.8 s at first.
const AGAIN: Duration = Duration::from_secs(1);
/// The kubelet's status and lease defaults, and Kubernetes' grace period up to 1.31.
const BEAT: Duration = Duration::from_secs(10);
const NODE_LEASE: Duration = Duration::from_secs(40);
const GRACE: Duration = Duration::from_secs(40);
/// The kubelet's `nodeStatusUpdateRetry`.
const ATTEMPTS: u8 = 5;

/// The kubelet's own limit on a heartbeat (`nodeStatusUpdateFrequency`).
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);
/// More bytes than this a second would only show how fast the machine is.
const FASTEST: u64 = 64 * 1024 * 1024;

/// What a client does; `inherited` is its transport's limit on a request.
pub(super) fn resolve(
    cx: &mut Cx<'_>,
    name: &Spanned<String>,
    spec: &ClientSpec,
    inherited: Option<Duration>,
    target: Option<&Target>,
) -> Option<Workloads> {
    one_or_several(cx, name, spec);
    told_apart(cx, spec);
    let mut all = Some(Vec::new());
    for place in spec.works() {
        let work = work(cx, place, spec, inherited, target);
        all = all.and_then(|mut all| {
            all.push(work?);
            Some(all)
        });
    }
    let all = all.filter(|all| !all.is_empty());
    all.map(Workloads)
}

/// A client has `workload` or `workloads`.
fn one_or_several(cx: &mut Cx<'_>, name: &Spanned<String>, spec: &ClientSpec) {
    let problem = match (&spec.workload, &spec.workloads) {
        (None, None) => Problem::new(name.span, "field `workload` is missing")
            .label("`workload` is missing here"),
        (Some(one), Some(several)) => Problem::new(
            several.span,
            "a client has `workload` or `workloads`, not both",
        )
        .also(one.span, "the other one")
        .help("write all of them under `workloads`"),
        (None, Some(several)) if several.get().is_some_and(Vec::is_empty) => {
            Problem::new(several.span, "this list of workloads is empty")
                .help("write e.g. `[{ watch: {} }, { resync: { every: 30s } }]`")
        }
        (Some(_), None) | (None, Some(_)) => return,
    };
    cx.push(problem);
}

/// Workloads of one client have names of their own, and a program is alone.
fn told_apart(cx: &mut Cx<'_>, spec: &ClientSpec) {
    let works = spec.works().filter_map(|place| Some((place, place.get()?)));
    let works: Vec<_> = works.collect();
    let mut seen: Vec<(&str, &Spanned<WorkloadSpec>)> = Vec::new();
    for (place, work) in &works {
        if matches!(work, WorkloadSpec::Exec(_)) && works.len() > 1 {
            let message = "a program brings its own transport, so it can't share one";
            cx.push(Problem::new(place.span, message).help("make it a client of its own"));
        }
        if let Some(own) = work.own_name() {
            names::shape(cx, own);
            if own.get().is_none() {
                continue;
            }
        }
        match seen.iter().find(|(name, _)| *name == work.name()) {
            None => seen.push((work.name(), place)),
            Some((name, first)) => {
                let span = work.own_name().map_or(place.span, |own| own.span);
                let message = format!("two workloads of this client are called `{name}`");
                let problem = Problem::new(span, message).also(first.span, "the first one");
                cx.push(problem.help("give one of them another `name`"));
            }
        }
    }
}

fn work(
    cx: &mut Cx<'_>,
    place: &Spanned<WorkloadSpec>,
    client: &ClientSpec,
    inherited: Option<Duration>,
    target: Option<&Target>,
) -> Option<Work> {
    let work = place.get()?;
    let times = work.times().into_iter();
    let times = times.filter_map(|time| Some((time.span, time.get()?.0)));
    let optional = work
        .optional_times()
        .map(|(field, time)| (field.span, time));
    for (span, time) in times.chain(optional) {
        if time < Duration::from_millis(1) {
            cx.push(Problem::new(span, "shorter than 1 ms").help("write e.g. `100ms`"));
        }
    }
    let request_timeout = match work {
        WorkloadSpec::Heartbeat(beat) if beat.timeout.is_none() => Some(HEARTBEAT_TIMEOUT),
        work => transport::limit(cx, work.timeout(), inherited),
    };
    Some(Work {
        name: work.name().to_owned(),
        kind: kind(cx, work, client, target)?,
        request_timeout,
    })
}

fn kind(
    cx: &mut Cx<'_>,
    work: &WorkloadSpec,
    client: &ClientSpec,
    target: Option<&Target>,
) -> Option<Workload> {
    let or = |field: &Option<Spanned<Time>>, default| given(field).map_or(default, |time| time.0);
    let optional = |field: &Option<Spanned<OffOr<Time>>>, default| match given(field) {
        None => default,
        Some(OffOr::Off) => None,
        Some(OffOr::On(time)) => Some(time.0),
    };
    Some(match work {
        WorkloadSpec::Poll(poll) => Workload::Poll {
            every: poll.every.get()?.0,
        },
        WorkloadSpec::LeaderElection(election) => Workload::LeaderElection {
            every: election.every.get()?.0,
            lease: or(&election.lease, LEASE),
            renew_deadline: or(&election.renew_deadline, RENEW_DEADLINE),
            jitter: or(&election.jitter, Duration::ZERO),
        },
        WorkloadSpec::Watch(watch) => Workload::Watch {
            push: optional(&watch.push, None),
            every: or(&watch.every, AGAIN),
        },
        WorkloadSpec::Resync(resync) => Workload::Resync {
            every: resync.every.get()?.0,
            retry_after: or(&resync.retry_after, resync.every.get()?.0),
        },
        WorkloadSpec::Heartbeat(beat) => {
            let attempts = attempts(cx, beat);
            Workload::Heartbeat {
                every: or(&beat.every, BEAT),
                grace: or(&beat.grace, GRACE),
                lease: optional(&beat.lease, Some(NODE_LEASE)),
                attempts: attempts.into(),
                close_on_failure: match given(&beat.close_on_failure) {
                    Some(OffOr::On(which)) => Some(*which),
                    Some(OffOr::Off) | None => None,
                },
            }
        }
        WorkloadSpec::Stream(StreamSpec::Download(download)) => Workload::Download {
            rate: rate(cx, &download.rate)?,
            duration: download.duration.get()?.0,
            every: or(&download.every, AGAIN),
        },
        WorkloadSpec::Stream(StreamSpec::Messages(messages)) => Workload::Messages {
            interval: messages.interval.get()?.0,
            every: or(&messages.every, AGAIN),
        },
        WorkloadSpec::Exec(exec) => {
            Workload::Exec(Box::new(program::resolve(cx, exec, client, target)?))
        }
    })
}

/// How often a beat is tried.
fn attempts(cx: &mut Cx<'_>, beat: &HeartbeatSpec) -> u8 {
    let attempts = placed(&beat.attempts);
    if let Some((span, 0)) = attempts {
        let problem = Problem::new(span, "`attempts` must be at least 1");
        cx.push(problem.help("write `1` or more"));
    }
    if let (Some((span, OffOr::On(_))), Some((_, 1))) = (placed(&beat.close_on_failure), attempts) {
        let message = "nothing would be closed: that is done when the second try has failed";
        cx.push(Problem::new(span, message).help("write `attempts: 2` or more"));
    }
    attempts.map_or(ATTEMPTS, |(_, attempts)| *attempts)
}

fn rate(cx: &mut Cx<'_>, field: &Spanned<Size>) -> Option<u64> {
    let rate = field.get()?.0;
    if !(1..=FASTEST).contains(&rate) {
        let message = "a download has from 1B to 64MiB a second";
        cx.push(Problem::new(field.span, message).help("write e.g. `64KiB`"));
    }
    Some(rate)
}

/// What the servers a client asks must do for its workloads, and its transport be.
pub(super) fn works_with(cx: &mut Cx<'_>, spec: &ClientSpec, target: &Target, protocol: Protocol) {
    for place in spec.works() {
        let Some(work) = place.get() else { continue };
        // What it needs, what the server lacks, and the app that has it.
        let needs = match work {
            WorkloadSpec::LeaderElection(_) => Some((
                "leader election needs a lock",
                "keeps none",
                App::Lock,
                "lock",
            )),
            WorkloadSpec::Heartbeat(_) => {
                let needs = "heartbeats need one that judges nodes";
                Some((needs, "judges none", App::Nodes, "nodes"))
            }
            WorkloadSpec::Resync(_) => {
                let lacks = "takes no writes of that kind";
                Some(("a resync writes", lacks, App::Echo, "echo"))
            }
            WorkloadSpec::Poll(_)
            | WorkloadSpec::Watch(_)
            | WorkloadSpec::Stream(_)
            | WorkloadSpec::Exec(_) => None,
        };
        if let Some((needs, lacks, app, word)) = needs {
            let mut servers = target.servers.iter().filter_map(|s| cx.topology.server(s));
            if let Some(Server { name, .. }) = servers.find(|s| s.app != app) {
                let message = format!("{needs}, and server `{name}` {lacks}");
                let help = format!("give the server `app: {word}`");
                cx.push(Problem::new(place.span, message).help(help));
            }
        }
        if let (WorkloadSpec::Stream(StreamSpec::Messages(_)), Protocol::H1) = (work, protocol) {
            let message = "messages both ways need HTTP/2, and this client speaks HTTP/1.1";
            let help = "take a profile with HTTP/2, or write `transport: { protocol: h2 }`";
            cx.push(Problem::new(place.span, message).help(help));
        }
    }
}

/// Whether a client is ever in the phase a fault waits for.
pub(crate) fn has_phase(cx: &mut Cx<'_>, when: &WhenSpec) {
    let client = when.client.get().and_then(|name| cx.client(name));
    let (Some(client), Some(phase)) = (client, when.phase.get()) else {
        return;
    };
    if client.works().any(|work| work.get().is_none()) || program::of(client).is_some() {
        return;
    }
    let goes_on = |work: &&Spanned<WorkloadSpec>| {
        matches!(
            work.get(),
            Some(WorkloadSpec::Watch(_) | WorkloadSpec::Stream(_))
        )
    };
    let stream = client.works().find(goes_on);
    let problem = match (phase, stream) {
        (Phase::Streaming, None) => Problem::new(
            when.phase.span,
            "this client never streams: none of its responses goes on",
        )
        .help("wait for another phase, or give it a `watch` or a `stream`"),
        (Phase::Idle, Some(stream)) => Problem::new(
            when.phase.span,
            "this client is never idle: one of its responses always goes on",
        )
        .also(stream.span, "this one")
        .help("fire the fault `at` a time, or when it is `streaming`"),
        _ => return,
    };
    cx.push(problem);
}

/// The workload called `name` must be one of `client`'s.
pub(crate) fn is_named(cx: &mut Cx<'_>, client: &ClientSpec, name: &Spanned<String>) {
    let works: Option<Vec<&WorkloadSpec>> = client.works().map(Spanned::get).collect();
    let (Some(word), Some(works)) = (name.get(), works) else {
        return;
    };
    if works.iter().any(|work| work.name() == word) {
        return;
    }
    let message = format!("this client has no workload named `{word}`");
    let known = works.iter().map(|work| work.name());
    cx.push(Problem::new(name.span, message).suggest(word, known));
}
