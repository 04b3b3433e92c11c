//! Faults: on what, when, and for how long.

use std::time::Duration;

use super::{Checker, Kind};
use crate::plan::fault_spec::{PHASE_AFTER, end_of};
use crate::plan::{End, Place};
use crate::scenario::diagnostic::{Problem, suggest};
use crate::scenario::model::{
    DelaySpec, FaultKindSpec, FaultSpec, PathSpec, SocketDestroyedSpec, Spanned,
};
use crate::scenario::source::Span;
use crate::scenario::value::given;

/// Most `delay` faults of a scenario: bands of a queueing discipline, less the one for everything else.
const MAX_DELAYS: usize = 14;

impl Checker<'_> {
    pub(super) fn faults(&mut self) {
        let scenario = self.scenario;
        let Some(faults) = scenario.faults.get() else {
            return;
        };
        if self.nothing_breaks() && !self.refuses_by_itself() {
            self.push(
                Problem::new(
                    scenario.faults.span,
                    "nothing breaks, so there is nothing to measure",
                )
                .help("write e.g. `- { at: 10s, fault: { power_loss: { node: node1 } } }`"),
            );
        }
        let mut delays = 0;
        for fault in faults {
            let Some(spec) = fault.get() else {
                continue;
            };
            self.trigger(fault, spec);
            self.jitter(spec);
            self.lasting(spec);
            let Some(kind) = spec.fault.get() else {
                continue;
            };
            self.fault_kind(kind, spec.fault.span);
            if matches!(kind, FaultKindSpec::Delay(_)) {
                delays += 1;
                if delays == MAX_DELAYS + 1 {
                    let message = format!("more than {MAX_DELAYS} delays are not supported");
                    self.push(Problem::new(fault.span, message));
                }
            }
        }
        self.sequences(faults);
    }

    fn fault_kind(&mut self, kind: &FaultKindSpec, span: Span) {
        match kind {
            FaultKindSpec::PowerLoss(loss) => {
                self.must_be(Kind::Node, &loss.node);
            }
            FaultKindSpec::PowerRestore(restore) => {
                self.must_be(Kind::Node, &restore.node);
            }
            FaultKindSpec::ProcessKill(kill) => {
                let words = [
                    ("server", kill.server.as_ref()),
                    ("client", kill.client.as_ref()),
                ];
                self.just_one(&words, span);
                self.named(Kind::Server, kill.server.as_ref());
                self.named(Kind::Client, kill.client.as_ref());
            }
            FaultKindSpec::Hang(hang) => {
                self.must_be(Kind::Server, &hang.server);
            }
            FaultKindSpec::LinkDown(down) => self.path(down.path(), span, false),
            FaultKindSpec::Loss(loss) => self.path(loss.path(), span, true),
            FaultKindSpec::Delay(delay) => {
                self.path(delay.path(), span, true);
                self.delay(delay);
            }
            FaultKindSpec::Reject(reject) => self.path(reject.path(), span, true),
            FaultKindSpec::SynDrop(drop) => self.path(drop.path(), span, true),
            FaultKindSpec::EndpointRemoved(endpoint) | FaultKindSpec::EndpointAdded(endpoint) => {
                self.endpoint(&endpoint.service, Some(&endpoint.server));
            }
            FaultKindSpec::ConntrackDeleted(deleted) => {
                self.endpoint(&deleted.service, deleted.server.as_ref());
            }
            FaultKindSpec::SocketDestroyed(destroyed) => self.socket_destroyed(destroyed),
        }
    }

    fn named(&mut self, kind: Kind, name: Option<&Spanned<String>>) {
        if let Some(name) = name {
            self.must_be(kind, name);
        }
    }

    /// Just one of `words` is there.
    fn just_one<T>(&mut self, words: &[(&str, Option<&Spanned<T>>)], span: Span) -> bool {
        let given: Vec<_> = words.iter().filter_map(|(_, value)| *value).collect();
        let all: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let all = all.join(", ");
        match given[..] {
            [_] => true,
            [] => {
                let message = "this fault does not say what it strikes";
                self.push(Problem::new(span, message).help(format!("name one of {all}")));
                false
            }
            [first, second, ..] => {
                let message = format!("a fault strikes one thing: just one of {all}");
                self.push(Problem::new(second.span, message).also(first.span, "the other one"));
                false
            }
        }
    }

    /// Which packets a fault strikes.
    fn path(&mut self, path: PathSpec<'_>, span: Span, between: bool) {
        let spans = |name: Option<&Spanned<String>>| {
            name.map(|name| Spanned {
                span: name.span,
                value: Some(()),
            })
        };
        let (node, server, client) = (spans(path.node), spans(path.server), spans(path.client));
        let pair = path.between.map(|pair| Spanned {
            span: pair.span,
            value: Some(()),
        });
        let mut words = vec![
            ("node", node.as_ref()),
            ("server", server.as_ref()),
            ("client", client.as_ref()),
        ];
        if between {
            words.push(("between", pair.as_ref()));
        }
        if !self.just_one(&words, span) {
            return;
        }
        self.named(Kind::Node, path.node);
        for (kind, name) in [(Kind::Server, path.server), (Kind::Client, path.client)] {
            if let Some(name) = name
                && self.must_be(kind, name)
            {
                self.link_of_its_own(name);
            }
        }
        if let Some(pair) = path.between {
            self.pair(pair);
        }
    }

    /// A server or a client on its node's own network has no link of its own.
    fn link_of_its_own(&mut self, name: &Spanned<String>) {
        let Some(word) = name.get() else { return };
        if let Some(End::Host(node)) = end_of(word, self.topology) {
            let message =
                format!("`{word}` runs on the network of its node, and has no link of its own");
            let help = format!("write `node: {node}`, or `between` for some of its packets");
            self.push(Problem::new(name.span, message).help(help));
        }
    }

    fn pair(&mut self, pair: &Spanned<Vec<Spanned<String>>>) {
        let Some(names) = pair.get() else { return };
        let [first, second] = &names[..] else {
            let message = format!("a path has two ends, found {}", names.len());
            self.push(
                Problem::new(pair.span, message).help("write e.g. `between: [node1, node2]`"),
            );
            return;
        };
        let (Some(one), Some(other)) = (self.end(first), self.end(second)) else {
            return;
        };
        if one == other {
            let problem = Problem::new(second.span, "both ends are the same place");
            self.push(problem.also(first.span, "the other end"));
            return;
        }
        let pods = matches!((&one, &other), (End::Pod(_), End::Pod(_)));
        if self.machine(&one) == self.machine(&other) && !pods {
            let problem = Problem::new(
                pair.span,
                "no network lies between these: both are on one node",
            );
            self.push(problem.help("name two nodes, or two servers or clients in pods"));
        }
    }

    /// What a name stands for at the end of a path.
    fn end(&mut self, name: &Spanned<String>) -> Option<End> {
        let word = name.get()?;
        if let Some(end) = end_of(word, self.topology) {
            return Some(end);
        }
        let kinds = [Kind::Node, Kind::Server, Kind::Client];
        let mut known = Vec::new();
        for kind in kinds {
            known.extend(self.names_of_kind(kind)?);
        }
        let known: Vec<&str> = known
            .iter()
            .filter_map(|n| n.get())
            .map(String::as_str)
            .collect();
        // It exists, but what it says of itself is wrong, which is reported there.
        if known.contains(&word.as_str()) {
            return None;
        }
        let message = format!("no node, server or client named `{word}`");
        let mut problem = Problem::new(name.span, message);
        problem.help = suggest(word, known.iter().copied());
        self.push(problem);
        None
    }

    fn machine<'e>(&'e self, end: &'e End) -> Option<&'e str> {
        match end {
            End::Machine(node) | End::Host(node) => Some(node),
            End::Pod(pod) => {
                let pod = self.topology.pods.iter().find(|p| p.name == *pod);
                pod.map(|pod| pod.node.as_str())
            }
        }
    }

    fn delay(&mut self, spec: &DelaySpec) {
        let Some(delay) = spec.delay.get() else {
            return;
        };
        if delay.0.is_zero() {
            self.push(Problem::new(
                spec.delay.span,
                "no delay at all changes nothing",
            ));
        }
        if let Some(jitter) = &spec.jitter
            && jitter.get().is_some_and(|jitter| jitter > delay)
        {
            let problem = Problem::new(jitter.span, "no packet arrives before it is sent");
            self.push(
                problem
                    .also(spec.delay.span, "the delay")
                    .help("a jitter is at most the delay"),
            );
        }
    }

    /// A service, and perhaps one of its endpoints.
    fn endpoint(&mut self, service: &Spanned<String>, server: Option<&Spanned<String>>) {
        let is_service = self.must_be(Kind::Service, service);
        let Some(server) = server else { return };
        if !self.must_be(Kind::Server, server) || !is_service {
            return;
        }
        let (Some(name), Some(word)) = (service.get(), server.get()) else {
            return;
        };
        let services = self.scenario.service.as_ref().and_then(Spanned::get);
        let spec = services.and_then(|s| s.find(name)).and_then(Spanned::get);
        let Some(endpoints) = spec.and_then(|s| s.endpoints.get()) else {
            return;
        };
        if endpoints.iter().all(|e| e.get() != Some(word)) {
            let message = format!("server `{word}` is no endpoint of `{name}`");
            let known = endpoints.iter().filter_map(|e| e.get()).map(String::as_str);
            let mut problem = Problem::new(server.span, message);
            problem.help = suggest(word, known);
            self.push(problem);
        }
    }

    fn socket_destroyed(&mut self, spec: &SocketDestroyedSpec) {
        let known = self.must_be(Kind::Client, &spec.client);
        self.named(Kind::Server, spec.server.as_ref());
        let (true, Some(name)) = (known, spec.client.get()) else {
            return;
        };
        let Some(Place::Node(node)) = self.topology.clients.get(name) else {
            return;
        };
        let clients = self.scenario.clients.get();
        let url = |name: &str| clients?.find(name)?.get()?.url.get().cloned();
        let twin = self.topology.clients.iter().find(|(other, place)| {
            *other != name
                && matches!(place, Place::Node(n) if n == node)
                && url(other) == url(name)
        });
        if let Some((twin, _)) = twin {
            let message = format!(
                "`{name}` and `{twin}` ask the same from the network of `{node}`: nobody can tell their sockets apart"
            );
            let problem = Problem::new(spec.client.span, message);
            self.push(problem.help("give one of them a pod of its own (`host_network: false`)"));
        }
    }

    fn trigger(&mut self, fault: &Spanned<FaultSpec>, spec: &FaultSpec) {
        match (&spec.at, &spec.when) {
            (Some(_), None) => {}
            (None, Some(when)) => {
                if let Some(when) = when.get() {
                    self.must_be(Kind::Client, &when.client);
                    let what = "nobody sees the phases of one";
                    let instead = "fire the fault `at` a time, or when another client is in a phase";
                    self.unknowable(&when.client, when.client.span, what, instead);
                    self.phase_of(when);
                }
            }
            (None, None) => self.push(
                Problem::new(fault.span, "this fault does not say when it fires")
                    .help("add `at: 10s`, or `when: { client: …, phase: waiting_for_response }`"),
            ),
            (Some(at), Some(when)) => self.push(
                Problem::new(when.span, "a fault has `at` or `when`, not both")
                    .also(at.span, "the other one")
                    .help("to wait for a phase no sooner than a time, write `when: { …, after: 10s }`"),
            ),
        }
        let after = given(&spec.when).and_then(|when| when.after.as_ref());
        for time in [spec.at.as_ref(), after].into_iter().flatten() {
            if let (Some(latest), Some(end)) = (latest(spec), given(&self.scenario.duration))
                && latest >= end.0
            {
                let problem =
                    Problem::new(time.span, "this fault would fire when the case is over");
                self.push(problem.help("fire it earlier, or give the case a longer `duration`"));
            }
        }
    }

    /// When a fault fires by chance.
    fn jitter(&mut self, spec: &FaultSpec) {
        let Some(jitter) = &spec.jitter else { return };
        if spec.at.is_none() {
            let problem = Problem::new(jitter.span, "`jitter` is time on top of `at`");
            self.push(
                problem.help("leave it out: when a client is in a phase, nobody knows either"),
            );
        }
        if jitter.get().is_some_and(|time| time.0.is_zero()) {
            let problem = Problem::new(jitter.span, "a jitter of no time is none");
            self.push(problem.help("write e.g. `30s`, or leave `jitter` out"));
        }
    }

    /// How long a fault lasts.
    fn lasting(&mut self, spec: &FaultSpec) {
        let Some(lasts) = &spec.lasts else { return };
        if let Some(why) = spec.fault.get().and_then(done_at_once) {
            self.push(Problem::new(lasts.span, why).help("leave `for` out"));
            return;
        }
        let Some(time) = lasts.get() else { return };
        if time.0.is_zero() {
            let problem = Problem::new(lasts.span, "a fault can't last no time at all");
            self.push(
                problem.help("write e.g. `5s`, or leave `for` out: it lasts until the case's end"),
            );
        }
        if let (Some(from), Some(end)) = (latest(spec), given(&self.scenario.duration))
            && from < end.0
            && from + time.0 >= end.0
        {
            let problem = Problem::new(lasts.span, "the case is over before this fault is");
            self.push(problem.help("make it shorter, lengthen `duration`, or leave `for` out"));
        }
    }
}

/// Why a kind of fault can't have a `for`.
fn done_at_once(kind: &FaultKindSpec) -> Option<&'static str> {
    match kind {
        FaultKindSpec::PowerRestore(_) => Some("power that is back stays: it has no `for`"),
        FaultKindSpec::ConntrackDeleted(_) => {
            Some("connections are forgotten at one instant: it has no `for`")
        }
        FaultKindSpec::SocketDestroyed(_) => {
            Some("sockets are destroyed at one instant: it has no `for`")
        }
        FaultKindSpec::ProcessKill(kill) if kill.client.is_some() => {
            Some("a client that is killed is not started again: it has no `for`")
        }
        _ => None,
    }
}

/// The last time at which a fault may fire of which the file says so.
fn latest(spec: &FaultSpec) -> Option<Duration> {
    let jitter = given(&spec.jitter).map_or(Duration::ZERO, |jitter| jitter.0);
    earliest(spec).map(|earliest| earliest + jitter)
}

/// The first time at which a fault may fire.
pub(super) fn earliest(spec: &FaultSpec) -> Option<Duration> {
    if let Some(at) = given(&spec.at) {
        return Some(at.0);
    }
    let when = given(&spec.when)?;
    Some(given(&when.after).map_or(PHASE_AFTER, |after| after.0))
}
