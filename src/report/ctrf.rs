//! CTRF, the Common Test Report Format (ctrf.io), for the tools that read it.
//!
//! Its `failed` is an expectation that did not hold, and nothing else; a case that could not be run or tested is `other`. What
//! each verdict was called stands in `rawStatus`. Times are the wall's, as the format means them; of a record that is judged
//! again they are not known, and 0, as the format has no word for that.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Report;
use super::ci::{self, CaseTests, Suite, Test};
use super::snippet::snippet;
use crate::printable::printable;
use crate::result::Wall;
use crate::verdict::{CaseResult, Verdict};

/// Version of the format that is written.
const SPEC_VERSION: &str = "0.0.0";

/// The CTRF report.
#[derive(Default)]
pub(super) struct Ctrf;

impl Report for Ctrf {
    fn write(&self, results: &[CaseResult], out: &mut dyn Write) -> io::Result<()> {
        let suites = ci::suites(results);
        let tests = suites.iter().flat_map(|suite| {
            let cases = suite.cases.iter();
            cases.flat_map(move |case| {
                case.tests
                    .iter()
                    .map(move |test| written(suite, case, test))
            })
        });
        let tests: Vec<Written> = tests.collect();
        let document = json!({
            "reportFormat": "CTRF",
            "specVersion": SPEC_VERSION,
            "generatedBy": concat!("halfopen ", env!("CARGO_PKG_VERSION")),
            "results": {
                "tool": { "name": "halfopen", "version": env!("CARGO_PKG_VERSION") },
                "summary": summary(&suites, &tests),
                "tests": tests,
            },
        });
        serde_json::to_writer_pretty(&mut *out, &document)?;
        writeln!(out)
    }
}

/// A test's status, in the format's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Passed,
    Failed,
    Skipped,
    Other,
}

fn status(verdict: Verdict) -> Status {
    match verdict {
        // It ran, and that is all that its test says.
        Verdict::Pass | Verdict::Measured => Status::Passed,
        Verdict::Fail => Status::Failed,
        Verdict::Skipped => Status::Skipped,
        Verdict::Error => Status::Other,
    }
}

/// A test, with the format's names.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    name: String,
    status: Status,
    raw_status: Verdict,
    /// In milliseconds.
    duration: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<u64>,
    suite: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stdout: Vec<String>,
    extra: Map<String, Value>,
}

fn written(suite: &Suite, case: &CaseTests, test: &Test) -> Written {
    let result = case.result;
    // What is expected is judged of the case's record, which takes no time.
    let wall = result.wall.filter(|_| test.expectation.is_none());
    let passed = status(test.verdict) == Status::Passed;
    let extra = match test.expectation {
        None => ci::properties(result),
        Some(expectation) => {
            let mut all = ci::properties(result);
            all.retain(|(name, _)| *name != "verdict");
            all.extend(ci::wanted(expectation));
            all
        }
    };
    let message = (!passed && !test.message.is_empty()).then(|| printable(&test.message).into());
    let measured = match test.expectation {
        None => ci::measurements(result),
        Some(_) => String::new(),
    };
    Written {
        name: format!("{}: {}", case.name, test.name),
        status: status(test.verdict),
        raw_status: test.verdict,
        duration: wall.map_or(0, |wall| milliseconds(wall.took)),
        start: wall.map(started),
        stop: wall.map(stopped),
        suite: vec![suite.name.clone(), case.name.clone()],
        message,
        trace: test
            .expectation
            .filter(|_| !passed)
            .map(|e| snippet(e, None)),
        file_path: test
            .expectation
            .map(|expectation| &expectation.file)
            .or(result.file.as_ref())
            .map(|file| printable(file).into_owned()),
        line: test.expectation.map(|expectation| expectation.line),
        tags: tags(result),
        stdout: measured.lines().map(str::to_owned).collect(),
        extra: extra
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

/// What tests can be chosen by: the clock, and the case's values of the matrix.
fn tags(result: &CaseResult) -> Vec<String> {
    let clock = result.clock.map(|clock| format!("{clock} clock"));
    let values = result.matrix.iter();
    let values = values.map(|value| {
        let tag = format!("{}={}", value.key, value.value);
        printable(&tag).into_owned()
    });
    clock.into_iter().chain(values).collect()
}

fn summary(suites: &[Suite], tests: &[Written]) -> Value {
    let of = |status| tests.iter().filter(|test| test.status == status).count();
    let cases = suites.iter().flat_map(|suite| &suite.cases);
    let walls: Option<Vec<Wall>> = cases.map(|case| case.result.wall).collect();
    let walls = walls.unwrap_or_default();
    let start = walls.iter().map(|wall| started(*wall)).min();
    let stop = walls.iter().map(|wall| stopped(*wall)).max();
    let (start, stop) = (start.unwrap_or(0), stop.unwrap_or(0));
    json!({
        "tests": tests.len(),
        "passed": of(Status::Passed),
        "failed": of(Status::Failed),
        "skipped": of(Status::Skipped),
        "pending": 0,
        "other": of(Status::Other),
        "suites": suites.len(),
        "start": start,
        "stop": stop,
        "duration": stop - start,
    })
}

/// In milliseconds from 1970 on.
fn started(wall: Wall) -> u64 {
    milliseconds(wall.started.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn stopped(wall: Wall) -> u64 {
    started(wall).saturating_add(milliseconds(wall.took))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
