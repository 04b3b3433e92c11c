//! Repetitions: how many, and what may be expected of them together.

use super::Checker;
use crate::scenario::diagnostic::Problem;
use crate::scenario::model::ExpectSpec;
use crate::scenario::repeat::QuantilesSpec;
use crate::scenario::value::given;

/// Most repetitions of a case.
const MOST: u32 = 10_000;

impl Checker<'_> {
    pub(super) fn repeat(&mut self) {
        let Some(repeat) = &self.scenario.repeat else {
            return;
        };
        if let Some(number) = repeat.get()
            && !(2..=MOST).contains(number)
        {
            self.push(
                Problem::new(
                    repeat.span,
                    format!("{number} repetitions are not possible"),
                )
                .help(format!(
                    "write a number from 2 to {MOST}, or leave the line out to run each case once"
                )),
            );
        }
    }

    /// What is expected of all repetitions together.
    pub(super) fn distribution(&mut self, spec: &ExpectSpec) {
        let Some(field) = &spec.distribution else {
            return;
        };
        if self.scenario.repeat.is_none() {
            self.push(
                Problem::new(field.span, "a distribution of a case that runs once")
                    .help("say how often it shall run, e.g. `repeat: 100` at the top level"),
            );
        }
        let Some(distribution) = field.get() else {
            return;
        };
        let both = [&distribution.recovered, &distribution.detected];
        for (_, window) in both
            .into_iter()
            .filter_map(given)
            .flat_map(QuantilesSpec::windows)
        {
            self.time_window(window);
        }
    }
}
