//! Faults: on what, and when.

use super::{Checker, Kind};
use crate::scenario::diagnostic::Problem;
use crate::scenario::model::{FaultKindSpec, FaultSpec, PowerLossSpec, Spanned};
use crate::scenario::value::given;

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
        let mut dead: Vec<&Spanned<String>> = Vec::new();
        for fault in faults {
            let Some(spec) = fault.get() else {
                continue;
            };
            self.trigger(fault, spec);
            let Some(FaultKindSpec::PowerLoss(PowerLossSpec { node, .. })) = spec.fault.get()
            else {
                continue;
            };
            self.must_be(Kind::Node, node);
            if let Some(first) = dead
                .iter()
                .find(|d| d.get() == node.get() && node.get().is_some())
            {
                let word = node.get().map_or("", String::as_str);
                let problem =
                    Problem::new(node.span, format!("node `{word}` loses its power twice"));
                self.push(problem.also(first.span, "first here"));
            }
            dead.push(node);
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
            if let (Some(time_value), Some(end)) = (time.get(), given(&self.scenario.duration))
                && time_value >= end
            {
                let problem =
                    Problem::new(time.span, "this fault would fire when the case is over");
                self.push(problem.help("fire it earlier, or give the case a longer `duration`"));
            }
        }
    }
}
