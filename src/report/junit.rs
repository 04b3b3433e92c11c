//! JUnit XML for a CI's test view: a suite a case, a test an expectation.
//!
//! A suite's time is the case's own, by its clock; tests have none, for they are judged afterwards, all at once.

use std::collections::HashMap;
use std::io::{self, Write};

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::distribution;
use super::figures::{Figures, has_figures, lines};
use super::snippet::{snippet, told};
use super::{Report, measured_on, program, shown};
use crate::result::ExpectationResult;
use crate::verdict::{CaseResult, Verdict};

/// The JUnit report.
pub(super) struct Junit;

impl Report for Junit {
    fn write(&self, results: &[CaseResult], out: &mut dyn Write) -> io::Result<()> {
        let mut report = quick_junit::Report::new("halfopen");
        let names = names(results);
        let shown = shown(results);
        for (result, name) in results.iter().zip(names) {
            if !shown.iter().any(|shown| std::ptr::eq(*shown, result)) {
                continue;
            }
            report.add_test_suite(suite(result, &name));
        }
        report.serialize(out).map_err(io::Error::other)
    }
}

/// A name a case, the same from run to run so that a CI can keep its history: the clock is in it, the kernel only where
/// one case ran on several.
fn names(results: &[CaseResult]) -> Vec<String> {
    let short = |result: &CaseResult| {
        let clock = result
            .clock
            .map(|clock| format!(" ({clock} clock)"))
            .unwrap_or_default();
        format!("{} / {}{clock}", result.scenario, result.case)
    };
    let mut seen: HashMap<String, usize> = HashMap::new();
    for result in results {
        *seen.entry(short(result)).or_default() += 1;
    }
    let named = results
        .iter()
        .map(|result| match (seen.get(&short(result)), &result.kernel) {
            (Some(2..), Some(kernel)) => format!("{} on {kernel}", short(result)),
            _ => short(result),
        });
    named.collect()
}

fn suite(result: &CaseResult, name: &str) -> TestSuite {
    let mut suite = TestSuite::new(name);
    suite.set_time(result.duration);
    suite.add_property(("measured on", measured_on(result).as_str()));
    for test in tests(result) {
        let mut test = test;
        test.set_classname(name);
        suite.add_test_case(test);
    }
    let measurements = measurements(result);
    if !measurements.is_empty() {
        suite.set_system_out(measurements);
    }
    suite
}

fn tests(result: &CaseResult) -> Vec<TestCase> {
    let mut tests = Vec::new();
    // A suite without a test is shown nowhere.
    if !result.judged || result.expectations.is_empty() {
        let reason = result.reason.as_ref();
        let message = reason.map(|reason| match reason.place() {
            Some(place) => format!("{} ({place})", reason.text),
            None => reason.text.clone(),
        });
        let status = status(result.verdict, &message.unwrap_or_default());
        tests.push(TestCase::new("the case runs", status));
    }
    tests.extend(result.expectations.iter().map(|expectation| {
        // The case itself is the error: what it would have shown was not tried.
        let verdict = if result.judged {
            expectation.verdict
        } else {
            Verdict::Skipped
        };
        test(expectation, verdict)
    }));
    tests
}

fn test(expectation: &ExpectationResult, verdict: Verdict) -> TestCase {
    let mut status = status(verdict, &told(expectation));
    if verdict == Verdict::Fail {
        status.set_type("expectation");
        status.set_description(snippet(expectation, None));
    }
    let mut test = TestCase::new(expectation.text.as_str(), status);
    // Not in the format's first description, but where CIs link a test to its line.
    test.extra
        .insert("file".into(), expectation.file.as_str().into());
    let line = expectation.line.to_string();
    test.extra.insert("line".into(), line.into());
    test
}

fn status(verdict: Verdict, message: &str) -> TestCaseStatus {
    let mut status = match verdict {
        // It ran, and that is all that its one test says.
        Verdict::Pass | Verdict::Measured => return TestCaseStatus::success(),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Skipped => TestCaseStatus::skipped(),
    };
    status.set_message(message);
    status
}

/// What was measured, whether or not it was expected.
fn measurements(result: &CaseResult) -> String {
    let mut text = String::new();
    for fault in result.faults.iter().filter(|fault| fault.at.is_some()) {
        text += &format!("{fault}\n");
    }
    let clients = if has_figures(result) {
        &result.clients[..]
    } else {
        &[]
    };
    let rows = clients.iter().flat_map(|c| Figures::rows(c, result));
    for (name, figures) in rows {
        let cells = [
            ("cause", &figures.cause),
            ("detected", &figures.detected),
            ("recovered", &figures.recovered),
            ("failed requests", &figures.requests_failed),
            ("dials", &figures.dials),
            ("predicted recovery", &figures.predicted[1]),
        ];
        text += &format!("{name}: {}\n", named(&cells));
    }
    for line in lines(result).into_iter().chain(program::lines(result)) {
        text += &format!("{line}\n");
    }
    for row in result.distributions.iter().flat_map(distribution::rows) {
        let cells: Vec<_> = distribution::HEADER.into_iter().zip(&row).collect();
        text += &format!("{}\n", named(&cells));
    }
    for warning in &result.warnings {
        text += &format!("warning: {}\n", warning.text);
    }
    text
}

/// Cells in a line, each with its name; empty ones are left out.
fn named(cells: &[(&str, &String)]) -> String {
    let told = cells.iter().filter(|(_, cell)| !cell.is_empty());
    let told: Vec<_> = told.map(|(name, cell)| format!("{name} {cell}")).collect();
    told.join(", ")
}
