//! Expectations: of whom, and whether their windows can hold anything.

use std::time::Duration;

use super::{Checker, Kind};
use crate::plan::Cause;
use crate::scenario::diagnostic::{Problem, list, suggest};
use crate::scenario::matrix::Axis;
use crate::scenario::model::{
    Bounds, ClientSpec, CountWindowSpec, ExpectSpec, ExpectWhenSpec, ExpectWorkloadSpec,
    FaultKindSpec, Named, OneOrList, Spanned, Text, TimeWindowSpec, WorkloadSpec,
};
use crate::scenario::value::given;

impl<'a> Checker<'a> {
    pub(super) fn expectations(&mut self, axes: &[Axis]) {
        if let Some(expect) = given(&self.scenario.expect) {
            self.expect(expect);
        }
        let conditional = given(&self.scenario.expect_when);
        for entry in conditional.into_iter().flatten().filter_map(Spanned::get) {
            self.condition(entry, axes);
            if let Some(expect) = entry.expect.get() {
                self.expect(expect);
            }
        }
    }

    /// Matrix keys and values of an `expect_when` entry must be the matrix's.
    fn condition(&mut self, entry: &ExpectWhenSpec, axes: &[Axis]) {
        let Some(condition) = entry.matrix.get() else {
            return;
        };
        if condition.0.is_empty() {
            self.push(
                Problem::new(
                    entry.matrix.span,
                    "no matrix key here, so this would hold in every case",
                )
                .help("write it under `expect`, or name a key of the matrix"),
            );
        }
        for (name, values) in &condition.0 {
            let Some(key) = name.get() else {
                continue;
            };
            let Some(axis) = axes.iter().find(|axis| axis.is_called(key)) else {
                let mut problem = Problem::new(name.span, format!("the matrix has no key `{key}`"));
                let paths = axes.iter().map(|a| &*a.path);
                problem.help =
                    suggest(key, paths).or_else(|| Some("the scenario has no `matrix`".to_owned()));
                self.push(problem);
                continue;
            };
            let known: Vec<String> = (0..axis.values.len())
                .map(|i| axis.value_label(i))
                .collect();
            let values = values
                .get()
                .map(|OneOrList(values)| values.as_slice())
                .unwrap_or_default();
            for value in values {
                let Some(Text(word)) = value.get().filter(|word| !known.contains(&word.0)) else {
                    continue;
                };
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let problem = Problem::new(
                    value.span,
                    format!("`{word}` is no value of matrix key `{}`", axis.path),
                );
                self.push(
                    problem
                        .also(axis.span, "its values stand here")
                        .help(format!("its values are {}", list(&known))),
                );
            }
        }
    }

    fn expect(&mut self, expect: &Named<ExpectSpec>) {
        for (name, spec) in &expect.0 {
            if self.must_be(Kind::Client, name) {
                self.not_gone(name);
            }
            let Some(spec) = spec.get() else {
                continue;
            };
            if let Some(failed) = &spec.requests_failed {
                let what = "nobody sees those of its requests that reach no server";
                let instead = "expect something of `recovered`, `detected`, `dials` or `cause`";
                self.unknowable(name, failed.span, what, instead);
            }
            self.distribution(spec);
            let times = [
                &spec.recovered,
                &spec.detected,
                &spec.leads,
                &spec.two_leaders,
                &spec.not_ready,
                &spec.ready_again,
            ];
            for window in times.into_iter().flatten() {
                self.time_window(window);
            }
            let counts = [&spec.requests_failed, &spec.dials, &spec.healthy_cuts];
            for window in counts.into_iter().flatten() {
                self.count_window(window);
            }
            self.causes(&spec.cause);
            self.of_its_kind(name, spec);
            for (work, own) in given(&spec.workloads).into_iter().flat_map(|all| &all.0) {
                self.expect_of_workload(name, work, own);
            }
        }
    }

    fn causes(&mut self, cause: &Option<Spanned<OneOrList<Cause>>>) {
        if let Some(Spanned {
            span,
            value: Some(OneOrList(causes)),
        }) = cause
            && causes.is_empty()
        {
            self.push(Problem::new(*span, "no cause in this list").help("name at least one"));
        }
    }

    fn expect_of_workload(
        &mut self,
        client: &Spanned<String>,
        work: &Spanned<String>,
        own: &Spanned<ExpectWorkloadSpec>,
    ) {
        if let Some(spec) = self.client_named(client) {
            self.must_be_workload(spec, work);
        }
        let Some(own) = own.get() else {
            return;
        };
        if let Some(failed) = &own.requests_failed {
            let what = "nobody sees those of its requests that reach no server";
            let instead = "expect something of `recovered`, `detected` or `cause`";
            self.unknowable(client, failed.span, what, instead);
        }
        for window in [&own.recovered, &own.detected].into_iter().flatten() {
            self.time_window(window);
        }
        for window in [&own.requests_failed, &own.healthy_cuts]
            .into_iter()
            .flatten()
        {
            self.count_window(window);
        }
        self.causes(&own.cause);
        let named = self
            .client_named(client)
            .into_iter()
            .flat_map(ClientSpec::works);
        let works: Vec<_> = named.filter_map(Spanned::get).collect();
        let word = work.get().map(String::as_str);
        if let (Some(field), Some(one)) = (
            &own.healthy_cuts,
            works.into_iter().find(|w| Some(w.name()) == word),
        ) {
            self.only_of(field.span, "watches and streams are cut", &[one], goes_on);
        }
    }

    /// What only clients with certain workloads can show.
    fn of_its_kind(&mut self, client: &Spanned<String>, spec: &ExpectSpec) {
        let Some(found) = self.client_named(client) else {
            return;
        };
        let works: Option<Vec<&WorkloadSpec>> = found.works().map(Spanned::get).collect();
        let Some(works) = works else {
            return;
        };
        let leads = |work: &WorkloadSpec| matches!(work, WorkloadSpec::LeaderElection(_));
        let beats = |work: &WorkloadSpec| matches!(work, WorkloadSpec::Heartbeat(_));
        for field in [&spec.leads, &spec.two_leaders].into_iter().flatten() {
            self.only_of(
                field.span,
                "only a leader election has leaders",
                &works,
                leads,
            );
        }
        for field in [&spec.not_ready, &spec.ready_again].into_iter().flatten() {
            let what = "only a client with heartbeats is judged ready or not";
            self.only_of(field.span, what, &works, beats);
        }
        if let Some(field) = &spec.healthy_cuts {
            self.only_of(field.span, "watches and streams are cut", &works, goes_on);
        }
    }

    fn only_of(
        &mut self,
        span: crate::scenario::Span,
        what: &str,
        works: &[&WorkloadSpec],
        fits: impl Fn(&WorkloadSpec) -> bool,
    ) {
        if works.iter().all(|work| !fits(work)) {
            let has: Vec<&str> = works.iter().map(|work| work.kind()).collect();
            let message = format!("{what}, and here is only {}", list(&has));
            let problem = Problem::new(span, message);
            self.push(problem.help("leave it out, or expect it of another client or workload"));
        }
    }

    fn client_named(&self, name: &Spanned<String>) -> Option<&'a ClientSpec> {
        self.scenario.clients.get()?.find(name.get()?)?.get()
    }

    /// A client on a node that loses its power is gone; nothing can be expected of it.
    fn not_gone(&mut self, name: &Spanned<String>) {
        let client = name
            .get()
            .and_then(|n| self.scenario.clients.get()?.find(n)?.get());
        let Some(node) = client.and_then(|c| c.node.get()) else {
            return;
        };
        let faults = self.scenario.faults.get().into_iter().flatten();
        let mut kinds = faults.filter_map(|f| f.get()?.fault.get());
        let end = kinds.find_map(|kind| match kind {
            FaultKindSpec::PowerLoss(loss) if loss.node.get() == Some(node) => Some((
                loss.node.span,
                format!("runs on `{node}`, which loses its power"),
            )),
            FaultKindSpec::ProcessKill(kill) => {
                let killed = kill.client.as_ref().filter(|c| c.get() == name.get())?;
                Some((killed.span, "is killed".to_owned()))
            }
            _ => None,
        });
        if let Some((span, end)) = end {
            let word = name.get().map_or("", String::as_str);
            let message = format!("client `{word}` {end}: it is gone, and shows nothing");
            let problem = Problem::new(name.span, message).also(span, "lost here");
            self.push(problem.help("expect something of other clients"));
        }
    }

    pub(super) fn time_window(&mut self, window: &Spanned<TimeWindowSpec>) {
        let bounds: Vec<Duration> = match window.get() {
            Some(TimeWindowSpec::Between(Bounds(bounds))) => {
                if !self.two(window.span, bounds.len(), "[924s, 1050s]") {
                    return;
                }
                bounds.iter().filter_map(|b| b.get().map(|t| t.0)).collect()
            }
            _ => return,
        };
        if let [min, max] = bounds[..]
            && min > max
        {
            self.turned(window.span, &format!("{max:?}, {min:?}"));
        }
    }

    fn count_window(&mut self, window: &Spanned<CountWindowSpec>) {
        let Some(CountWindowSpec::Between(Bounds(bounds))) = window.get() else {
            return;
        };
        if !self.two(window.span, bounds.len(), "[1, 3]") {
            return;
        }
        let numbers: Vec<u32> = bounds.iter().filter_map(|b| b.get().copied()).collect();
        if let [min, max] = numbers[..]
            && min > max
        {
            self.turned(window.span, &format!("{max}, {min}"));
        }
    }

    pub(super) fn two(&mut self, span: crate::scenario::Span, found: usize, example: &str) -> bool {
        if found != 2 {
            let message = format!("`between` takes two bounds, found {found}");
            self.push(Problem::new(span, message).help(format!("write e.g. `between: {example}`")));
        }
        found == 2
    }

    pub(super) fn turned(&mut self, span: crate::scenario::Span, right: &str) {
        let problem = Problem::new(
            span,
            "this window is empty: its lower bound is above its upper bound",
        );
        self.push(problem.help(format!("write `between: [{right}]`")));
    }
}

/// Whether its responses go on.
fn goes_on(work: &WorkloadSpec) -> bool {
    matches!(work, WorkloadSpec::Watch(_) | WorkloadSpec::Stream(_))
}
