//! Expectations of counters: what a namespace counted from the case's start to its end.

use crate::plan::{Case, CountWindow, CounterExpectation, Growth};

use super::index::Index;
use super::outcome::Outcome;
use crate::metric::window::{count, expected_count, missed_count, pass_if};
use crate::result::{Checked, CounterResult, ExpectationResult, Verdict};

/// Checks a case's expectations of counters, in its order.
pub(super) fn expectations(index: &Index, outcome: &Outcome) -> Vec<ExpectationResult> {
    let each = index.case.counters.iter().map(|expectation| {
        let checked = match outcome {
            Outcome::Broken { text, .. } => unchecked(expectation, Verdict::Error, text),
            Outcome::Skipped { missing, .. } => unchecked(expectation, Verdict::Skipped, missing),
            Outcome::Whole => check(expectation, index),
        };
        result(expectation, checked)
    });
    each.collect()
}

/// A case's expectations of counters, where nothing can be said of any.
pub(super) fn not_judged(case: &Case, verdict: Verdict, why: &str) -> Vec<ExpectationResult> {
    let each = case.counters.iter();
    each.map(|expectation| result(expectation, unchecked(expectation, verdict, why)))
        .collect()
}

fn result(
    expectation: &CounterExpectation,
    (checked, grown): (Checked, Option<u64>),
) -> ExpectationResult {
    let CounterExpectation {
        of, text, location, ..
    } = expectation;
    ExpectationResult {
        counter: Some(CounterResult {
            name: expectation.counter.clone(),
            grown,
            same_as: match &expectation.growth {
                Growth::SameAs(other) => Some(other.clone()),
                Growth::Within(_) => None,
            },
        }),
        ..ExpectationResult::new(of, &expectation.counter, text, location, checked)
    }
}

fn unchecked(
    expectation: &CounterExpectation,
    verdict: Verdict,
    why: &str,
) -> (Checked, Option<u64>) {
    let checked = Checked {
        verdict,
        expected: match &expectation.growth {
            Growth::Within(window) => expected_count(*window),
            Growth::SameAs(other) => format!("as much as {other}"),
        },
        actual: format!("not judged: {why}"),
        missed_by: None,
    };
    (checked, None)
}

/// What came of it, and what the counter grew by.
fn check(expectation: &CounterExpectation, index: &Index) -> (Checked, Option<u64>) {
    let grown = |counter| index.grown(&expectation.place, counter);
    let actual = grown(&expectation.counter);
    let (expected, verdict, text) = match &expectation.growth {
        Growth::Within(window) => {
            let (verdict, text) = within(*window, actual);
            (expected_count(*window), verdict, text)
        }
        Growth::SameAs(other) => {
            let wanted = grown(other);
            let expected = format!("as much as {other}: {wanted}");
            (expected, pass_if(actual == wanted), actual.to_string())
        }
    };
    let checked = Checked {
        verdict,
        expected,
        actual: text,
        missed_by: match &expectation.growth {
            Growth::Within(window) => missed_count(*window, actual),
            Growth::SameAs(other) => missed_equal(grown(other), actual),
        },
    };
    (checked, Some(actual))
}

fn missed_equal(wanted: u64, actual: u64) -> Option<String> {
    match actual.abs_diff(wanted) {
        0 => None,
        fewer if actual < wanted => Some(format!("{fewer} too few")),
        more => Some(format!("{more} too many")),
    }
}

fn within(window: CountWindow, actual: u64) -> (Verdict, String) {
    match u32::try_from(actual) {
        Ok(actual) => count(window, actual),
        Err(_) => (pass_if(window.max.is_none()), actual.to_string()),
    }
}
