//! A table for people: a block a case, its clients in rows, then what failed with the YAML line underlined; of a matrix one table
//! before those that failed.

use std::io::{self, Write};

use comfy_table::{CellAlignment, LineStyle, TableStyle};

use super::distribution;
use super::figures::{Figures, has_figures, lines, to_tell};
use super::snippet::snippet;
use super::{Report, counts, matrix, measured_on, program, shown};
use crate::printable::printable;
use crate::result::Note;
use crate::verdict::{CaseResult, Verdict};

/// A line below the header, and no more.
pub(super) const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// The table, without colours.
#[derive(Default)]
pub struct Table;

impl Report for Table {
    fn write(&self, results: &[CaseResult], out: &mut dyn Write) -> io::Result<()> {
        write_table(results, Shown::default(), false, out)
    }
}

/// How much of a run is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shown {
    /// All of it.
    #[default]
    All,
    /// Cases that failed, or could not be run or tested, and the counts.
    Failures,
    /// The counts alone.
    Counts,
}

/// Writes the table, for a terminal with colours.
///
/// # Errors
/// If `out` can't be written to.
pub fn write_table(
    results: &[CaseResult],
    what: Shown,
    colour: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    Writer { colour }.write(results, what, out)
}

struct Writer {
    colour: bool,
}

impl Writer {
    fn write(&self, results: &[CaseResult], what: Shown, out: &mut dyn Write) -> io::Result<()> {
        let mut told = shown(results);
        told.retain(|result| match what {
            Shown::All => true,
            Shown::Failures => is_failure(result),
            Shown::Counts => false,
        });
        for group in matrix::groups(&told) {
            match group.as_slice() {
                [one] => {
                    self.write_case(one, out)?;
                    writeln!(out)?;
                }
                // By themselves, what did not pass says more.
                all => self.write_matrix(all, what, out)?,
            }
        }
        writeln!(out, "{}", counts(results))
    }

    /// All combinations in one table, and then those that did not pass by themselves.
    fn write_matrix(
        &self,
        group: &[&CaseResult],
        what: Shown,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let Some(first) = group.first() else {
            return Ok(());
        };
        if what == Shown::All {
            let heading = format!(
                "{}, {} cases, {}",
                first.scenario,
                group.len(),
                measured_on(first)
            );
            writeln!(out, "{}", printable(&heading))?;
            for line in matrix::table(group).lines() {
                writeln!(out, "  {line}")?;
            }
            let mut told: Vec<String> = Vec::new();
            let passed = group.iter().filter(|result| !is_failure(result));
            for warning in passed.flat_map(|result| &result.warnings).map(placed) {
                if !told.contains(&warning) {
                    self.write_warning(&warning, out)?;
                    told.push(warning);
                }
            }
            writeln!(out)?;
        }
        for result in group.iter().filter(|result| is_failure(result)) {
            self.write_case(result, out)?;
            writeln!(out)?;
        }
        Ok(())
    }

    fn write_case(&self, result: &CaseResult, out: &mut dyn Write) -> io::Result<()> {
        let verdict = self.paint(colour_of(result.verdict), &result.verdict.to_string());
        let name = format!("{} / {}", result.scenario, result.case);
        let heading = format!("{name}, {}", measured_on(result));
        writeln!(out, "{verdict}: {}", printable(&heading))?;
        let mut told: Vec<String> = result.reason.iter().map(placed).collect();
        let struck = result.faults.iter().filter(|fault| fault.at.is_some());
        told.extend(struck.map(ToString::to_string));
        if has_figures(result) {
            told.extend(clients(result).lines().map(str::to_owned));
        }
        told.extend(lines(result));
        told.extend(program::lines(result));
        told.extend(distributions(result).lines().map(str::to_owned));
        for line in told {
            writeln!(out, "  {}", printable(&line))?;
        }
        self.write_failures(result, out)?;
        if !result.warnings.is_empty() {
            writeln!(out)?;
        }
        for warning in &result.warnings {
            self.write_warning(&placed(warning), out)?;
        }
        Ok(())
    }

    fn write_warning(&self, text: &str, out: &mut dyn Write) -> io::Result<()> {
        let name = self.paint(YELLOW, "warning");
        writeln!(out, "  {name}: {}", printable(text))
    }

    fn write_failures(&self, result: &CaseResult, out: &mut dyn Write) -> io::Result<()> {
        for expectation in to_tell(result) {
            let verdict = self.paint(
                colour_of(expectation.verdict),
                &expectation.verdict.to_string(),
            );
            writeln!(out, "\n  {verdict}: {}", printable(&expectation.text))?;
            for line in snippet(expectation).lines() {
                writeln!(out, "  {line}")?;
            }
        }
        Ok(())
    }

    fn paint(&self, colour: u8, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[1;{colour}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// ANSI colours.
const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;
const MAGENTA: u8 = 35;
const CYAN: u8 = 36;

/// Whether a case needs to be looked at.
fn is_failure(result: &CaseResult) -> bool {
    match result.verdict {
        Verdict::Fail | Verdict::Error => true,
        Verdict::Pass | Verdict::Measured | Verdict::Skipped => false,
    }
}

fn colour_of(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => GREEN,
        Verdict::Measured => CYAN,
        Verdict::Fail => RED,
        Verdict::Skipped => YELLOW,
        Verdict::Error => MAGENTA,
    }
}

fn placed(note: &Note) -> String {
    match note.place() {
        Some(place) => format!("{} ({place})", note.text),
        None => note.text.clone(),
    }
}

/// How the clients' times are distributed over all repetitions.
fn distributions(result: &CaseResult) -> String {
    if result.distributions.is_empty() {
        return String::new();
    }
    let mut table = comfy_table::Table::new();
    table.load_style(STYLE);
    table.set_header(distribution::HEADER);
    for row in result.distributions.iter().flat_map(distribution::rows) {
        table.add_row(row);
    }
    trimmed(&table)
}

/// The clients' rows.
fn clients(result: &CaseResult) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(STYLE);
    table.set_header([
        "client",
        "phase",
        "cause",
        "detected",
        "recovered",
        "failed requests",
        "dials",
        "predicted",
        "verdict",
    ]);
    let rows = result.clients.iter().flat_map(|c| Figures::rows(c, result));
    for (name, figures) in rows {
        let [detection, recovery] = figures.predicted;
        let predicted = if detection == recovery {
            detection
        } else {
            format!("detected  {detection}\nrecovered {recovery}")
        };
        table.add_row([
            name,
            figures.phase,
            figures.cause,
            figures.detected,
            figures.recovered,
            figures.requests_failed,
            figures.dials,
            predicted,
            figures.verdict,
        ]);
    }
    for column in 3..=6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    trimmed(&table)
}

/// A table's lines. Cells are padded to their column's width, the last one too.
pub(crate) fn trimmed(table: &comfy_table::Table) -> String {
    let lines: Vec<_> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}
