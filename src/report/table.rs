//! A table for people: a block a case, its clients in rows, then what failed with the YAML line underlined.

use std::io::{self, Write};

use comfy_table::{CellAlignment, presets};

use super::figures::Figures;
use super::snippet::snippet;
use super::{Report, counts, measured_on};
use crate::verdict::units::measured;
use crate::verdict::{CaseResult, Verdict};

/// The table.
pub struct Table;

impl Report for Table {
    fn write(&self, results: &[CaseResult], out: &mut dyn Write) -> io::Result<()> {
        for result in results {
            write_case(result, out)?;
            writeln!(out)?;
        }
        writeln!(out, "{}", counts(results))
    }
}

fn write_case(result: &CaseResult, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} / {}, {}",
        result.verdict,
        result.scenario,
        result.case,
        measured_on(result),
    )?;
    if let Some(reason) = &result.reason {
        write_note(reason.place(), &reason.text, out)?;
    }
    for fault in &result.faults {
        match fault.at {
            Some(at) => writeln!(
                out,
                "  {} of {} at {}",
                fault.kind,
                fault.target,
                measured(at)
            )?,
            None => writeln!(
                out,
                "  {} of {}: never came into force",
                fault.kind, fault.target
            )?,
        }
    }
    if !result.clients.is_empty() {
        for line in table(result).to_string().lines() {
            writeln!(out, "  {}", line.trim_end())?;
        }
    }
    for expectation in &result.expectations {
        if expectation.verdict == Verdict::Fail {
            writeln!(out, "\n  failed: {}", expectation.text)?;
            indent(&snippet(expectation), out)?;
        }
    }
    if !result.warnings.is_empty() {
        writeln!(out)?;
    }
    for warning in &result.warnings {
        write_note(warning.place(), &format!("warning: {}", warning.text), out)?;
    }
    Ok(())
}

fn write_note(place: Option<String>, text: &str, out: &mut dyn Write) -> io::Result<()> {
    let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
    writeln!(out, "  {text}{place}")
}

fn indent(text: &str, out: &mut dyn Write) -> io::Result<()> {
    text.lines().try_for_each(|line| writeln!(out, "  {line}"))
}

fn table(result: &CaseResult) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
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
    for client in &result.clients {
        let figures = Figures::of(client, result);
        let [detection, recovery] = figures.predicted;
        let predicted = if detection == recovery {
            detection
        } else {
            format!("detected  {detection}\nrecovered {recovery}")
        };
        table.add_row([
            client.name.clone(),
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
    table
}
