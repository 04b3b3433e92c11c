//! Reports: what cases came to, written down. One small file a format, and one line each below.
//!
//! A report is a pure function of the results; nothing here measures or judges.

mod ci;
mod comparison;
mod distribution;
mod figures;
mod layout;
mod matrix;
mod program;
pub mod record_reader;
mod snippet;
mod target;
pub(crate) mod tuning;

use std::io::{self, Write};
use std::path::Path;

use crate::printable::printable;
use crate::verdict::{CaseResult, RunSummary, Verdict};

pub use comparison::{ComparisonFormat, write_comparison};
pub use json::SCHEMA_VERSION;
pub(crate) use layout::{COLUMNS, Sheet, folded};
pub use table::{Screen, Shown, Table, write_table};
pub use target::{OpenReport, ReportTarget, ReportTargetError};

/// Writes the results of a run in some format.
pub trait Report {
    /// Writes `results` to `out`.
    ///
    /// # Errors
    /// If `out` can't be written to.
    fn write(&self, results: &[CaseResult], out: &mut dyn Write) -> io::Result<()>;

    /// Whether it shows what happened by time, so that results must have their history.
    fn shows_history(&self) -> bool {
        false
    }

    /// Tells in which folder it will lie, so that it can name files by their way from there.
    fn lies_in(&mut self, _folder: &Path) {}
}

/// A report format.
pub struct Format {
    /// Its name on the command line.
    pub name: &'static str,
    /// How a target of it begins: the name, and `=`.
    pub prefix: &'static str,
    /// Whom it is for.
    pub about: &'static str,
    /// Makes a report of it.
    pub new: fn() -> Box<dyn Report>,
}

/// Each format's name, which is its file's as well, the type in it that writes it, and whom it is for.
macro_rules! formats {
    ($($name:ident: $report:ident, $about:literal;)*) => {
        $(mod $name;)*

        /// Every report format.
        #[must_use]
        pub fn formats() -> &'static [Format] {
            &[$(Format {
                name: stringify!($name),
                prefix: concat!(stringify!($name), "="),
                about: $about,
                new: || Box::<$name::$report>::default(),
            },)*]
        }
    };
}

// A new format is a file beside this one and a line here.
formats! {
    table: Table, "for people, as on the terminal";
    brief: Brief, "for the output of a test that ran it: a few lines a case";
    json: Json, "for programs";
    junit: Junit, "for a CI's test view";
    markdown: Markdown, "for a pull request or a CI's summary page";
    html: Html, "for people, with pictures, in one file";
    ctrf: Ctrf, "for tools that read the Common Test Report Format";
    trace: Trace, "what happened by time, for ui.perfetto.dev";
}

/// The names of all formats.
pub fn names() -> impl Iterator<Item = &'static str> {
    formats().iter().map(|format| format.name)
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
        (Some(_), Verdict::Pass | Verdict::Measured) => false,
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
    if summary.measured > 0 {
        text += &format!(", {} measured (nothing expected)", summary.measured);
    }
    if summary.skipped > 0 {
        text += &format!(", {} skipped", summary.skipped);
    }
    if summary.errors > 0 {
        text += &format!(", {} could not be run or tested", summary.errors);
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
    format!("{text} ({})", printable(&measured_on))
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
