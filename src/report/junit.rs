//! JUnit XML for a CI's test view: a suite a scenario file, a test that each case runs, and a test an expectation.
//!
//! `time` is the wall's: that of a case stands at the test that it runs, so that a suite's tests add up to what the suite took;
//! what is expected is judged of the case's record, and has none. A record that is judged again has none either. The time on
//! the virtual clock is a property.
//!
//! Beyond what Jenkins' junit-10.xsd knows there are `skipped` of all suites together, and of a test `file`, `line` and
//! `properties`: they are where GitLab, GitHub's actions and Jenkins' own view look for them.

use std::io::{self, Write};

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::Report;
use super::ci::{self, CaseTests, Suite, Test};
use super::snippet::snippet;
use crate::printable::printable;
use crate::result::Wall;
use crate::verdict::Verdict;

/// The JUnit report.
#[derive(Default)]
pub(super) struct Junit;

impl Report for Junit {
    fn write(&self, results: &[crate::verdict::CaseResult], out: &mut dyn Write) -> io::Result<()> {
        let mut report = quick_junit::Report::new("halfopen");
        let suites = ci::suites(results);
        report.add_test_suites(suites.iter().map(suite));
        let cases = suites.iter().flat_map(|suite| &suite.cases);
        if let Some(wall) = Wall::of_all(cases.map(|case| case.result.wall)) {
            report.set_time(wall.took);
        }
        report.serialize(out).map_err(io::Error::other)
    }
}

fn suite(suite: &Suite) -> TestSuite {
    let mut written = TestSuite::new(suite.name.as_str());
    if let Some(wall) = Wall::of_all(suite.cases.iter().map(|case| case.result.wall)) {
        written.set_time(wall.took);
    }
    written
        .extra
        .insert("file".into(), suite.name.as_str().into());
    for case in &suite.cases {
        written.add_test_cases(case.tests.iter().map(|test| test_case(case, test)));
    }
    written
}

fn test_case(case: &CaseTests, test: &Test) -> TestCase {
    let mut written = TestCase::new(test.name.as_str(), status(test));
    written.set_classname(case.name.as_str());
    let mut property = |name: &str, value: &serde_json::Value| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        written.add_property((name, text.as_str()));
    };
    match test.expectation {
        None => {
            for (name, value) in ci::properties(case.result) {
                property(name, &value);
            }
            if let Some(wall) = case.result.wall {
                written.set_time(wall.took);
            }
            let measured = ci::measurements(case.result);
            if !measured.is_empty() {
                written.set_system_out(measured);
            }
        }
        Some(expectation) => {
            for (name, value) in ci::wanted(expectation) {
                property(name, &value);
            }
            let file = printable(&expectation.file);
            written.extra.insert("file".into(), file.as_ref().into());
            let line = expectation.line.to_string();
            written.extra.insert("line".into(), line.into());
        }
    }
    written
}

fn status(test: &Test) -> TestCaseStatus {
    let mut status = match test.verdict {
        // It ran, and that is all that its test says.
        Verdict::Pass | Verdict::Measured => return TestCaseStatus::success(),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Skipped => TestCaseStatus::skipped(),
    };
    status.set_message(printable(&test.message).as_ref());
    if let Some(expectation) = test.expectation.filter(|_| test.verdict == Verdict::Fail) {
        status.set_type("expectation");
        status.set_description(snippet(expectation, None));
    }
    status
}
