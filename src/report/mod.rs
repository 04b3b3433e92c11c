//! Reports: what cases came to, written down. One small file a format, one line each in [`formats`].
//!
//! A report is a pure function of the results; nothing here measures or judges.

mod distribution;
mod figures;
mod json;
mod junit;
mod markdown;
pub mod record_reader;
mod snippet;
mod table;
mod target;

use std::io::{self, Write};

use crate::verdict::{CaseResult, RunSummary, Verdict};

pub use json::{Json, SCHEMA_VERSION};
pub use junit::Junit;
pub use markdown::Markdown;
pub(crate) use table::trimmed;
pub use table::{Table, write_coloured};
pub use target::{OpenReport, ReportTarget, ReportTargetError};

/// Writes the results of a run in some format.
pub trait Report {
    /// Writes `results` to `out`.
    ///
    /// # Errors
    /// If `out` can't be written to.
    fn write(&self, results: &[CaseResult], out: &mut dyn Write) -> io::Result<()>;
}

/// A report format.
pub struct Format {
    /// Its name on the command line.
    pub name: &'static str,
    /// Whom it is for.
    pub about: &'static str,
    /// Makes a report of it.
    pub new: fn() -> Box<dyn Report>,
}

/// Every report format. A new one is a file beside this one and a line here.
#[must_use]
pub fn formats() -> &'static [Format] {
    &[
        Format {
            name: "table",
            about: "for people, as on the terminal",
            new: || Box::new(Table),
        },
        Format {
            name: "json",
            about: "for programs",
            new: || Box::new(Json),
        },
        Format {
            name: "junit",
            about: "for a CI's test view",
            new: || Box::new(Junit),
        },
        Format {
            name: "markdown",
            about: "for a CI's summary page",
            new: || Box::new(Markdown),
        },
    ]
}

/// Repetitions of one case that are shown by themselves: those that did not pass, up to this many.
const SHOWN_REPETITIONS: usize = 3;

/// What a report for people shows: of repetitions the first that did not pass, and the result of them all.
fn shown(results: &[CaseResult]) -> Vec<&CaseResult> {
    let mut not_passed = 0;
    let mut show = |result: &&CaseResult| match (&result.repetition, result.verdict) {
        (None, _) => {
            not_passed = 0;
            true
        }
        (Some(_), Verdict::Pass) => false,
        (Some(_), _) => {
            not_passed += 1;
            not_passed <= SHOWN_REPETITIONS
        }
    };
    results.iter().filter(|result| show(result)).collect()
}

/// The counts of a run in one line, with the clocks and kernels it was measured on.
fn counts(results: &[CaseResult]) -> String {
    let summary = RunSummary::of(results);
    let (cases, noun) = (
        summary.cases(),
        if summary.cases() == 1 {
            "case"
        } else {
            "cases"
        },
    );
    let mut text = format!(
        "{cases} {noun}: {} passed, {} failed",
        summary.passed, summary.failed
    );
    if summary.skipped > 0 {
        text += &format!(", {} skipped", summary.skipped);
    }
    if summary.errors > 0 {
        text += &format!(", {} could not be run", summary.errors);
    }
    let mut measured_on: Vec<_> = results
        .iter()
        .filter(|r| r.kernel.is_some())
        .map(measured_on)
        .collect();
    measured_on.sort();
    measured_on.dedup();
    let measured_on = if measured_on.is_empty() {
        String::from("nothing was measured")
    } else {
        measured_on.join("; ")
    };
    format!("{text} ({measured_on})")
}

/// Clock and kernel of a case.
fn measured_on(result: &CaseResult) -> String {
    let clock = result
        .clock
        .map_or_else(|| String::from("no"), |clock| clock.to_string());
    let hz = result.hz.map(|hz| format!(", HZ {hz}")).unwrap_or_default();
    match &result.kernel {
        Some(kernel) => format!("{clock} clock, Linux {kernel}{hz}"),
        None => format!("{clock} clock, never started"),
    }
}
