//! Faults: when, for how long, and in which order. What each kind is made of its own file says ([`crate::fault`]).

use std::time::Duration;

use super::{names, observable, rolling, workload};
use crate::fault::{Context, FaultKindSpec};
use crate::plan::{Effect, End, Fault, Place, Proxy, Trigger};
use crate::scenario::cx::{Cx, Kind};
use crate::scenario::model::{FaultSpec, Spanned};
use crate::yaml::{Problem, Span, given};

/// Most `delay` faults of a scenario: bands of a queueing discipline, less the one for everything else.
const MAX_DELAYS: usize = 14;
/// Before this a phase trigger does not fire: every client has its connection by then.
const PHASE_AFTER: Duration = Duration::from_secs(5);

/// A fault in which nothing is wrong, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) fault: Fault,
    /// Where the whole of it stands.
    pub(super) whole: Span,
    /// Where the name of what it strikes stands.
    pub(super) struck: Span,
    /// The first time at which it may fire.
    pub(super) earliest: Duration,
}

/// The faults, each as late as it can come: what holds then holds whatever chance says.
pub(super) fn resolve(cx: &mut Cx<'_>) -> Vec<Found> {
    let field = &cx.scenario.faults;
    if observable::nothing_breaks(cx) && !observable::refuses_by_itself(cx) {
        let message = "nothing breaks, so there is nothing to measure";
        let help = "write e.g. `- { at: 10s, fault: { power_loss: { node: node1 } } }`";
        cx.push(Problem::new(field.span, message).help(help));
    }
    names::of_faults(cx);
    let found = cx.each_item("this fault", field.get(), fault);
    let found: Vec<Found> = found.into_iter().flatten().collect();
    delays(cx, &found);
    found
}

/// What an item of the list comes to: one fault, or one for each node of a rolling upgrade.
fn fault(cx: &mut Cx<'_>, place: &Spanned<FaultSpec>, spec: &FaultSpec) -> Option<Vec<Found>> {
    let kind = match (&spec.fault, &spec.rolling) {
        (Some(kind), None) => kind,
        (kind, Some(rolling)) => {
            if let Some(kind) = kind {
                let message = "this item has both `fault` and `rolling`";
                let problem = Problem::new(rolling.span, message).also(kind.span, "the other one");
                cx.push(problem.help("make two items of it"));
            }
            return rolling::resolve(cx, place, spec, rolling);
        }
        (None, None) => {
            let problem = Problem::new(place.span, "this item does not say what breaks");
            cx.push(problem.help("add e.g. `fault: { power_loss: { node: node1 } }`"));
            return None;
        }
    };
    let trigger = trigger(cx, place, spec);
    jitter(cx, spec);
    lasting(cx, spec, kind);
    let resolved = kind.get()?.resolve(kind.span, cx)?;
    let found = Found {
        fault: Fault {
            name: given(&spec.name).cloned(),
            kind: kind.get()?.name().to_owned(),
            target: resolved.target,
            detail: resolved.detail,
            trigger: trigger?,
            effects: resolved.effects,
            lasts: given(&spec.lasts).map(|time| time.0),
            location: cx.locate(place.span),
        },
        whole: place.span,
        struck: resolved.span,
        earliest: earliest(spec)?,
    };
    Some(vec![found])
}

/// A link has a band for each delay, and has only so many bands.
fn delays(cx: &mut Cx<'_>, found: &[Found]) {
    let mut delays = 0;
    for found in found {
        let effects = found.fault.effects.iter();
        let own = effects.filter(|effect| matches!(effect, Effect::Delay { .. }));
        let before = delays;
        delays += own.count();
        if before <= MAX_DELAYS && delays > MAX_DELAYS {
            let message = format!("more than {MAX_DELAYS} delays are not supported");
            cx.push(Problem::new(found.whole, message));
        }
    }
}

/// When a fault fires, at the latest.
fn trigger(cx: &mut Cx<'_>, fault: &Spanned<FaultSpec>, spec: &FaultSpec) -> Option<Trigger> {
    match (&spec.at, &spec.when) {
        (Some(_), None) => {}
        (None, Some(when)) => {
            if let Some(when) = when.get() {
                cx.existing(Kind::Client, &when.client);
                workload::has_phase(cx, when);
            }
        }
        (None, None) => cx.push(
            Problem::new(fault.span, "this fault does not say when it fires")
                .help("add `at: 10s`, or `when: { client: …, phase: waiting_for_response }`"),
        ),
        (Some(at), Some(when)) => cx.push(
            Problem::new(when.span, "a fault has `at` or `when`, not both")
                .also(at.span, "the other one")
                .help("to wait for a phase no sooner than a time, write `when: { …, after: 10s }`"),
        ),
    }
    let after = given(&spec.when).and_then(|when| when.after.as_ref());
    for time in [spec.at.as_ref(), after].into_iter().flatten() {
        if let (Some(latest), Some(end)) = (latest(spec), given(&cx.scenario.duration))
            && latest >= end.0
        {
            let problem = Problem::new(time.span, "this fault would fire when the case is over");
            cx.push(problem.help("fire it earlier, or give the case a longer `duration`"));
        }
    }
    if spec.at.is_some() {
        return latest(spec).map(Trigger::At);
    }
    let when = given(&spec.when)?;
    Some(Trigger::Phase {
        client: when.client.get()?.clone(),
        phase: *when.phase.get()?,
        after: earliest(spec)?,
    })
}

/// When a fault fires by chance.
fn jitter(cx: &mut Cx<'_>, spec: &FaultSpec) {
    let Some(jitter) = &spec.jitter else { return };
    if spec.at.is_none() {
        let problem = Problem::new(jitter.span, "`jitter` is added to `at`, and there is none");
        cx.push(
            problem.help("leave `jitter` out: a fault that waits for a phase has no fixed time"),
        );
    }
    if jitter.get().is_some_and(|time| time.0.is_zero()) {
        let problem = Problem::new(jitter.span, "`jitter` must be greater than zero");
        cx.push(problem.help("write e.g. `30s`, or leave `jitter` out"));
    }
}

/// How long a fault lasts.
fn lasting(cx: &mut Cx<'_>, spec: &FaultSpec, kind: &Spanned<FaultKindSpec>) {
    let Some(lasts) = &spec.lasts else { return };
    if let Some(why) = kind.get().and_then(FaultKindSpec::done_at_once) {
        cx.push(Problem::new(lasts.span, why).help("leave `for` out"));
        return;
    }
    let Some(time) = lasts.get() else { return };
    if time.0.is_zero() {
        let problem = Problem::new(lasts.span, "`for` must be greater than zero");
        cx.push(
            problem.help("write e.g. `5s`, or leave `for` out: then it lasts until the case ends"),
        );
    }
    if let (Some(from), Some(end)) = (latest(spec), given(&cx.scenario.duration))
        && from < end.0
        && from + time.0 >= end.0
    {
        let problem = Problem::new(lasts.span, "the case ends before this fault does");
        cx.push(problem.help("make it shorter, lengthen `duration`, or leave `for` out"));
    }
}

/// The last time at which a fault may fire of which the file says so.
fn latest(spec: &FaultSpec) -> Option<Duration> {
    let jitter = given(&spec.jitter).map_or(Duration::ZERO, |jitter| jitter.0);
    earliest(spec).map(|earliest| earliest + jitter)
}

/// The first time at which a fault may fire.
fn earliest(spec: &FaultSpec) -> Option<Duration> {
    if let Some(at) = given(&spec.at) {
        return Some(at.0);
    }
    match &given(&spec.when)?.after {
        None => Some(PHASE_AFTER),
        Some(after) => Some(after.get()?.0),
    }
}

impl Context for Cx<'_> {
    fn push(&mut self, problem: Problem) {
        Cx::push(self, problem);
    }

    fn node(&mut self, name: &Spanned<String>) -> Option<String> {
        self.existing(Kind::Node, name).map(str::to_owned)
    }

    fn server(&mut self, name: &Spanned<String>) -> Option<String> {
        self.existing(Kind::Server, name).map(str::to_owned)
    }

    fn service(&mut self, name: &Spanned<String>) -> Option<String> {
        self.existing(Kind::Service, name).map(str::to_owned)
    }

    fn client(&mut self, name: &Spanned<String>) -> Option<String> {
        self.existing(Kind::Client, name).map(str::to_owned)
    }

    fn middlebox(&mut self, name: &Spanned<String>) -> Option<(String, String)> {
        let name = self.existing(Kind::Middlebox, name)?;
        let known = self.topology.middleboxes.iter();
        let mut known = known.filter(|middlebox| middlebox.name == name);
        known.next().map(|m| (m.name.clone(), m.node.clone()))
    }

    fn ends(&self) -> Option<Vec<&str>> {
        self.words(&[Kind::Node, Kind::Server, Kind::Client])
    }

    fn end(&self, name: &str) -> Option<End> {
        if self.topology.node(name).is_some() {
            return Some(End::Machine(name.to_owned()));
        }
        match self.topology.place(name)? {
            Place::Pod(pod) => Some(End::Pod(pod.clone())),
            Place::Node(node) => Some(End::Host(node.clone())),
        }
    }

    fn machine(&self, end: &End) -> Option<String> {
        match end {
            End::Machine(node) | End::Host(node) => Some(node.clone()),
            End::Pod(pod) => {
                let pod = self.topology.pods.iter().find(|p| p.name == *pod);
                pod.map(|pod| pod.node.clone())
            }
        }
    }

    fn endpoints(&self, service: &str) -> Option<Vec<&str>> {
        let services = self.scenario.service.as_ref()?.get()?;
        let spec = services.find(service)?.get()?;
        let Some(endpoints) = &spec.endpoints else {
            let candidates = &self.topology.service(service)?.endpoints;
            return Some(candidates.iter().map(|e| e.server.as_str()).collect());
        };
        let known = endpoints.get()?.iter().filter_map(Spanned::get);
        Some(known.map(String::as_str).collect())
    }

    fn proxy(&self, service: &str) -> Proxy {
        let services = self.scenario.service.as_ref().and_then(Spanned::get);
        let spec = services.and_then(|services| services.find(service)?.get());
        let proxy = spec.and_then(|spec| given(&spec.proxy));
        proxy.copied().unwrap_or_default()
    }

    fn twin(&self, client: &str) -> Option<(String, String)> {
        let Place::Node(node) = self.topology.clients.get(client)? else {
            return None;
        };
        let url = |name: &str| Cx::client(self, name)?.url.get();
        let (twin, _) = self.topology.clients.iter().find(|(other, place)| {
            *other != client
                && matches!(place, Place::Node(n) if n == node)
                && url(other) == url(client)
        })?;
        Some((twin.clone(), node.clone()))
    }
}
