//! A table for people: a block a case, its clients in rows, then what failed with the YAML line underlined; of a matrix one table
//! before those that failed.

use std::io::{self, Write};

use super::distribution;
use super::figures::{Figures, has_figures, lines, to_tell};
use super::layout::{self, COLUMNS, Sheet};
use super::snippet::snippet;
use super::{Report, counts, matrix, measured_on, program, shown};
use crate::printable::printable;
use crate::result::Note;
use crate::verdict::{CaseResult, Verdict};

/// The table, without colours.
#[derive(Default)]
pub struct Table;

impl Report for Table {
    fn write(&self, results: &[CaseResult], out: &mut dyn Write) -> io::Result<()> {
        write_table(results, Shown::default(), Screen::default(), out)
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

/// Where a table is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Screen {
    /// With colours.
    pub colour: bool,
    /// Columns of a terminal, where every line is folded that is too long. Without one, tables take no more than 80 columns,
    /// and a sentence is a line, for programs that look for it.
    pub columns: Option<usize>,
}

/// Writes the table.
///
/// # Errors
/// If `out` can't be written to.
pub fn write_table(
    results: &[CaseResult],
    what: Shown,
    screen: Screen,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut text = Vec::new();
    Writer { screen }.write(results, what, &mut text)?;
    match screen.columns {
        Some(columns) => {
            let text = String::from_utf8_lossy(&text);
            out.write_all(layout::folded(&text, columns).as_bytes())
        }
        None => out.write_all(&text),
    }
}

struct Writer {
    screen: Screen,
}

impl Writer {
    /// Columns of a table that stands two further in.
    fn columns(&self) -> usize {
        self.screen.columns.unwrap_or(COLUMNS).saturating_sub(2)
    }

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
            for line in matrix::table(group, self.columns()).lines() {
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
            told.extend(clients(result, self.columns()).lines().map(str::to_owned));
        }
        told.extend(lines(result));
        told.extend(program::lines(result));
        told.extend(
            distributions(result, self.columns())
                .lines()
                .map(str::to_owned),
        );
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
            for line in snippet(expectation, self.screen.columns).lines() {
                writeln!(out, "  {line}")?;
            }
        }
        Ok(())
    }

    fn paint(&self, colour: u8, text: &str) -> String {
        if self.screen.colour {
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
fn distributions(result: &CaseResult, columns: usize) -> String {
    if result.distributions.is_empty() {
        return String::new();
    }
    let mut sheet = Sheet::new(distribution::HEADER);
    let rows = result.distributions.iter().flat_map(distribution::rows);
    rows.for_each(|row| sheet.row(row));
    if let Some(table) = sheet.as_table(columns) {
        return table;
    }
    // As a list, each line says whose it is.
    let mut sheet = Sheet::new(distribution::HEADER);
    for distribution in &result.distributions {
        for row in distribution::rows(distribution) {
            let [_, time, others @ ..] = row;
            let first = format!("{}, {time}", distribution.client);
            sheet.row([first, String::new()].into_iter().chain(others));
        }
    }
    sheet.within(columns)
}

/// Columns of a client's name, where there are few.
const NAME: usize = 13;

/// The clients' rows.
fn clients(result: &CaseResult, columns: usize) -> String {
    let mut whole = Sheet::new([
        "client",
        "phase",
        "cause",
        "detected",
        "recovered",
        "failed requests",
        "dials",
        "predicted",
        "verdict",
    ])
    .right(3..=6);
    // The same in fewer columns, and more lines.
    let mut narrow = Sheet::new([
        "client",
        "cause\nphase",
        "detected\npredicted",
        "recovered\npredicted",
        "failed\ndials",
        "verdict",
    ])
    .right(2..=4);
    let rows = result.clients.iter().flat_map(|c| Figures::rows(c, result));
    for (name, figures) in rows {
        let [detection, recovery] = figures.predicted;
        let beside = |own: &str, predicted: &str| match predicted {
            "" | "–" => own.to_owned(),
            predicted => format!("{own}\n{predicted}"),
        };
        narrow.row([
            layout::at_hyphens(&name, NAME),
            format!("{}\n{}", figures.cause, figures.phase),
            beside(&figures.detected, &detection),
            beside(&figures.recovered, &recovery),
            format!("{}\n{}", figures.requests_failed, figures.dials),
            figures.verdict.clone(),
        ]);
        let predicted = if detection == recovery {
            detection
        } else {
            format!("detected  {detection}\nrecovered {recovery}")
        };
        whole.row([
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
    match whole.as_it_is(columns).or_else(|| narrow.folded(columns)) {
        Some(table) => table,
        None => whole.within(columns),
    }
}
