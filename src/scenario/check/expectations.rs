//! Expectations: of whom, and whether their windows can hold anything.

use std::time::Duration;

use super::{Checker, Kind};
use crate::scenario::diagnostic::{Problem, list, suggest};
use crate::scenario::matrix::Axis;
use crate::scenario::model::{
    Bounds, CountWindowSpec, ExpectSpec, ExpectWhenSpec, FaultKindSpec, Named, OneOrList, Spanned,
    Text, TimeWindowSpec,
};
use crate::scenario::value::given;

impl Checker<'_> {
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
            for window in [&spec.recovered, &spec.detected].into_iter().flatten() {
                self.time_window(window);
            }
            for window in [&spec.requests_failed, &spec.dials].into_iter().flatten() {
                self.count_window(window);
            }
            if let Some(Spanned {
                span,
                value: Some(OneOrList(causes)),
            }) = &spec.cause
                && causes.is_empty()
            {
                self.push(Problem::new(*span, "no cause in this list").help("name at least one"));
            }
        }
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
