//! What has changed from one run to another, for people, for a CI's page, and for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::layout::{COLUMNS, Sheet};
use super::markdown::escape;
use crate::comparison::{Change, Comparison, What};

/// How a comparison is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ComparisonFormat {
    /// For people.
    Table,
    /// For a CI's summary page.
    Markdown,
    /// For programs.
    Json,
    /// For people, a page in one file.
    Html,
}

/// Version of the JSON's shape; it rises when a field changes its meaning.
const SCHEMA_VERSION: u32 = 1;

const HEADER: [&str; 6] = ["", "case", "client", "old", "new", "runs"];

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    regressions: usize,
    #[serde(flatten)]
    comparison: &'a Comparison,
}

/// Writes a comparison; as a table, for a terminal of so many columns if it is one.
///
/// # Errors
/// If `out` can't be written to.
pub fn write_comparison(
    comparison: &Comparison,
    format: ComparisonFormat,
    columns: Option<usize>,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        ComparisonFormat::Table => table(comparison, columns.unwrap_or(COLUMNS), out),
        ComparisonFormat::Markdown => markdown(comparison, out),
        ComparisonFormat::Json => {
            let document = Document {
                schema_version: SCHEMA_VERSION,
                regressions: comparison.regressions().count(),
                comparison,
            };
            serde_json::to_writer_pretty(&mut *out, &document)?;
            writeln!(out)
        }
        ComparisonFormat::Html => {
            let page = super::html::comparison(comparison);
            out.write_all(page.as_bytes())
        }
    }
}

fn table(comparison: &Comparison, columns: usize, out: &mut dyn Write) -> io::Result<()> {
    if !comparison.changes.is_empty() {
        let mut sheet = Sheet::new(HEADER).right(3..=4).whole([0]);
        for change in &comparison.changes {
            sheet.row(row(change));
        }
        writeln!(out, "{}\n", sheet.within(columns))?;
    }
    writeln!(out, "{}", counts(comparison))
}

fn markdown(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "## halfopen compare\n\n{}\n", counts(comparison))?;
    if comparison.changes.is_empty() {
        return Ok(());
    }
    writeln!(out, "| {} |", HEADER.join(" | "))?;
    writeln!(out, "|---|---|---|--:|--:|---|")?;
    for change in &comparison.changes {
        let row = row(change).map(|cell| escape(&cell)).join(" | ");
        writeln!(out, "| {row} |")?;
    }
    writeln!(out)
}

pub(super) fn row(change: &Change) -> [String; 6] {
    let clock = change.clock.map(|clock| format!(", {clock} clock"));
    let kernel = change.kernel.as_ref().map(|k| format!(", Linux {k}"));
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        told(change),
        format!(
            "{} / {}{}{}",
            change.scenario,
            change.case,
            clock.unwrap_or_default(),
            kernel.unwrap_or_default()
        ),
        text(&change.client),
        text(&change.old),
        text(&change.new),
        match change.runs {
            [1, 1] => String::new(),
            [old, new] => format!("{old}, {new}"),
        },
    ]
}

/// What a change is, in words.
pub(super) fn told(change: &Change) -> String {
    let way = match change.regression {
        true => "slower",
        false => "faster",
    };
    match change.what {
        What::Detected => format!("detected {way}"),
        What::Recovered => format!("recovered {way}"),
        What::LongestWithoutResponse => format!(
            "without a response {}",
            if change.regression {
                "longer"
            } else {
                "shorter"
            }
        ),
        What::Cause => String::from("another cause"),
        What::Affected => String::from("struck or not"),
        What::Verdict => String::from("verdict"),
        What::New => String::from("new"),
        What::Gone => String::from("gone"),
    }
}

pub(super) fn counts(comparison: &Comparison) -> String {
    let cases = match comparison.compared {
        1 => String::from("1 case"),
        many => format!("{many} cases"),
    };
    let regressions = match comparison.regressions().count() {
        0 => String::from("nothing is worse"),
        1 => String::from("1 change is for the worse"),
        many => format!("{many} changes are for the worse"),
    };
    let others = comparison.changes.len() - comparison.regressions().count();
    let others = match others {
        0 => String::new(),
        1 => String::from(", 1 other change"),
        many => format!(", {many} other changes"),
    };
    format!("{cases} compared: {regressions}{others}")
}
