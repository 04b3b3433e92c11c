//! What a CI's test view shows, in whatever format: a suite a scenario file, and for each of its cases a test that it runs
//! and a test an expectation.
//!
//! The names are the same from run to run, whatever is wanted and whatever comes of it, so that a CI keeps its history.
//! Repetitions have no tests of their own: what is expected of each is told of all of them together.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::figures::{Figures, has_figures, lines};
use super::snippet::told;
use super::{distribution, program};
use crate::printable::printable;
use crate::record::ClockName;
use crate::result::ExpectationResult;
use crate::verdict::{CaseResult, Verdict};

/// The name of the test that a case runs.
const RUNS: &str = "the case runs";

/// The cases of a scenario file.
pub(super) struct Suite<'a> {
    /// The file, as it was named on the command line; of a case that does not say, its scenario.
    pub name: String,
    pub cases: Vec<CaseTests<'a>>,
}

/// The tests of a case.
pub(super) struct CaseTests<'a> {
    pub result: &'a CaseResult,
    /// Scenario, case and clock.
    pub name: String,
    pub tests: Vec<Test<'a>>,
}

/// A test.
pub(super) struct Test<'a> {
    /// Its name, the only one in its case.
    pub name: String,
    /// `None` of the test that the case runs.
    pub expectation: Option<&'a ExpectationResult>,
    pub verdict: Verdict,
    /// Why it did not pass; empty if it did.
    pub message: String,
}

/// All suites, in the order of their first cases.
pub(super) fn suites(results: &[CaseResult]) -> Vec<Suite<'_>> {
    let results: Vec<_> = results.iter().filter(|r| r.repetition.is_none()).collect();
    let mut suites: Vec<Suite> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (result, name) in results.iter().zip(names(&results)) {
        let file = file(result);
        let place = *places.entry(file).or_insert_with(|| {
            suites.push(Suite {
                name: printable(file).into_owned(),
                cases: Vec::new(),
            });
            suites.len() - 1
        });
        suites[place].cases.push(CaseTests {
            result,
            name,
            tests: tests(result),
        });
    }
    suites
}

fn file(result: &CaseResult) -> &str {
    result.file.as_deref().unwrap_or(&result.scenario)
}

/// A name a case: the clock is in it, the kernel only where one case ran on several, and a number where all that is the same.
fn names(results: &[&CaseResult]) -> Vec<String> {
    let short = |result: &CaseResult| {
        let clock = result.clock;
        let clock = clock.map_or_else(String::new, |clock| format!(" ({clock} clock)"));
        let name = format!("{} / {}{clock}", result.scenario, result.case);
        printable(&name).into_owned()
    };
    let mut seen: HashMap<(&str, String), usize> = HashMap::new();
    for result in results {
        *seen.entry((file(result), short(result))).or_default() += 1;
    }
    let mut names = Unique::default();
    let named = results.iter().map(|result| {
        let key = (file(result), short(result));
        let name = match (seen.get(&key), &result.kernel) {
            (Some(2..), Some(kernel)) => format!("{} on {}", key.1, printable(kernel)),
            _ => key.1,
        };
        names.name(file(result), name)
    });
    named.collect()
}

/// Names that are given once each.
#[derive(Default)]
struct Unique(HashMap<(String, String), usize>);

impl Unique {
    fn name(&mut self, of: &str, name: String) -> String {
        let count = self.0.entry((of.to_owned(), name.clone())).or_default();
        *count += 1;
        match *count {
            1 => name,
            count => format!("{name} ({count})"),
        }
    }
}

fn tests(result: &CaseResult) -> Vec<Test<'_>> {
    let verdict = runs(result);
    let reason = result.reason.as_ref().filter(|_| verdict != Verdict::Pass);
    let message = reason.map_or_else(String::new, |reason| match reason.place() {
        Some(place) => format!("{} ({place})", reason.text),
        None => reason.text.clone(),
    });
    let mut tests = vec![Test {
        name: RUNS.to_owned(),
        expectation: None,
        verdict,
        message,
    }];
    let mut names = Unique::default();
    tests.extend(result.expectations.iter().map(|expectation| {
        let verdict = match expectation.verdict {
            // The case itself is the error: what it would have shown was not tried.
            Verdict::Error if !result.judged => Verdict::Skipped,
            verdict => verdict,
        };
        let message = match verdict {
            Verdict::Pass | Verdict::Measured => String::new(),
            Verdict::Fail | Verdict::Error | Verdict::Skipped => told(expectation),
        };
        Test {
            name: names.name("", printable(&expectation.name()).into_owned()),
            expectation: Some(expectation),
            verdict,
            message,
        }
    }));
    tests
}

/// Whether the case ran, whatever came of what was expected.
fn runs(result: &CaseResult) -> Verdict {
    let told = |verdict| result.expectations.iter().any(|e| e.verdict == verdict);
    match (result.judged, result.verdict) {
        (false, Verdict::Skipped) => Verdict::Skipped,
        (false, _) => Verdict::Error,
        // One that met nothing to measure, and of which nothing else says so.
        (true, Verdict::Error) if !told(Verdict::Error) => Verdict::Error,
        (true, Verdict::Measured) => Verdict::Measured,
        (true, Verdict::Pass | Verdict::Fail | Verdict::Error | Verdict::Skipped) => Verdict::Pass,
    }
}

/// What a CI may show of a case beside its tests, each by its name.
pub(super) fn properties(result: &CaseResult) -> Vec<(&'static str, Value)> {
    let virtual_time = (result.clock == Some(ClockName::Virtual)).then_some(result.duration);
    let known = [
        ("verdict", Some(json!(result.verdict))),
        ("clock", result.clock.map(|clock| json!(clock))),
        (
            "kernel",
            result
                .kernel
                .as_ref()
                .map(|kernel| json!(printable(kernel))),
        ),
        ("hz", result.hz.map(|hz| json!(hz))),
        ("seed", result.seed.map(|seed| json!(seed))),
        (
            "virtual_time_s",
            virtual_time.map(|time| json!(seconds(time))),
        ),
    ];
    let known = known.into_iter();
    known
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// What a CI may show of an expectation beside its verdict.
pub(super) fn wanted(expectation: &ExpectationResult) -> [(&'static str, Value); 2] {
    [
        ("expected", json!(printable(&expectation.expected))),
        ("measured", json!(printable(&expectation.measured()))),
    ]
}

/// To the millisecond.
#[expect(clippy::cast_precision_loss, reason = "a case lasts less than 2^53 ms")]
fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1e3
}

/// What was measured, whether or not it was expected: lines of text.
pub(super) fn measurements(result: &CaseResult) -> String {
    let mut text: Vec<String> = Vec::new();
    let faults = result.faults.iter().filter(|fault| fault.at.is_some());
    text.extend(faults.map(ToString::to_string));
    let clients = if has_figures(result) {
        &result.clients[..]
    } else {
        &[]
    };
    for (name, figures) in clients.iter().flat_map(|c| Figures::rows(c, result)) {
        let cells = [
            ("cause", &figures.cause),
            ("detected", &figures.detected),
            ("recovered", &figures.recovered),
            ("failed requests", &figures.requests_failed),
            ("dials", &figures.dials),
            ("predicted recovery", &figures.predicted[1]),
        ];
        text.push(format!("{name}: {}", named(&cells)));
    }
    text.extend(lines(result));
    text.extend(program::lines(result));
    for row in result.distributions.iter().flat_map(distribution::rows) {
        let cells: Vec<_> = distribution::HEADER.into_iter().zip(&row).collect();
        text.push(named(&cells));
    }
    let warnings = result.warnings.iter();
    text.extend(warnings.map(|warning| format!("warning: {}", warning.text)));
    let lines = text.iter().map(|line| format!("{}\n", printable(line)));
    lines.collect()
}

/// Cells in a line, each with its name; empty ones are left out.
fn named(cells: &[(&str, &String)]) -> String {
    let told = cells.iter().filter(|(_, cell)| !cell.is_empty());
    let told: Vec<_> = told.map(|(name, cell)| format!("{name} {cell}")).collect();
    told.join(", ")
}
