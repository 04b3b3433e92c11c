//! Repetitions: how many, and what is expected of all of them together.

use super::window;
use crate::plan::{QuantileExpectation, Time};
use crate::scenario::cx::Cx;
use crate::scenario::model::{ExpectSpec, QuantilesSpec};
use crate::yaml::{Problem, given, placed};

/// Most repetitions of a case.
const MOST: u32 = 10_000;

/// How often a case runs, if it is repeated.
pub(super) fn times(cx: &mut Cx<'_>) -> Option<u32> {
    let (span, number) = placed(&cx.scenario.repeat)?;
    if !(2..=MOST).contains(number) {
        let message = format!("{number} repetitions are not possible");
        cx.push(Problem::new(span, message).help(format!(
            "write a number from 2 to {MOST}, or leave the line out to run each case once"
        )));
    }
    Some(*number)
}

/// What is expected of all repetitions. What `expect_when` says of a client comes in place of the rest.
pub(super) fn expectations(cx: &mut Cx<'_>) -> Vec<QuantileExpectation> {
    let mut all: Vec<QuantileExpectation> = Vec::new();
    for (counts, expect) in cx.expectations() {
        for (_, client, spec) in expect.clients.iter() {
            for new in of_client(cx, client, spec).into_iter().filter(|_| counts) {
                let same = |e: &QuantileExpectation| {
                    (&e.client, e.of, e.quantile) == (&new.client, new.of, new.quantile)
                };
                match all.iter().position(same) {
                    Some(at) => all[at] = new,
                    None => all.push(new),
                }
            }
        }
    }
    all
}

fn of_client(cx: &mut Cx<'_>, client: &str, spec: &ExpectSpec) -> Vec<QuantileExpectation> {
    if let (Some(field), None) = (&spec.distribution, &cx.scenario.repeat) {
        let problem = Problem::new(
            field.span,
            "`distribution` needs a case that runs more than once",
        );
        cx.push(problem.help("repeat the case, e.g. `repeat: 100` at the top level"));
    }
    let Some(distribution) = given(&spec.distribution) else {
        return Vec::new();
    };
    let times = [
        (Time::Recovered, "recovered", &distribution.recovered),
        (Time::Detected, "detected", &distribution.detected),
    ];
    let mut all = Vec::new();
    for (of, name, quantiles) in times {
        let quantiles = given(quantiles).into_iter();
        for (quantile, field) in quantiles.flat_map(QuantilesSpec::windows) {
            let text = format!("{client}.distribution.{name}.{}", quantile.name());
            let window = field
                .get()
                .and_then(|spec| window::time(cx, field.span, spec));
            let window = cx.account(&format!("`{text}`"), field.span, window);
            all.extend(window.map(|window| QuantileExpectation {
                client: client.to_owned(),
                of,
                quantile,
                window,
                text: format!("{text}: {window}"),
                location: cx.locate(field.span),
            }));
        }
    }
    all
}
