//! A few lines a case, for the output of a test that ran it: what failed, what came of the clients, and what a program wrote last.

use std::io::{self, Write};

use super::figures::{Figures, has_figures, lines, to_tell};
use super::{Report, measured_on, program, shown};
use crate::printable::printable;
use crate::result::{ClientResult, Note};
use crate::verdict::{CaseResult, Verdict};

/// The brief report.
#[derive(Default)]
pub(super) struct Brief;

impl Report for Brief {
    fn write(&self, results: &[CaseResult], out: &mut dyn Write) -> io::Result<()> {
        for result in shown(results) {
            let name = format!("{} / {}", result.scenario, result.case);
            let heading = format!("{}: {name}, {}", result.verdict, measured_on(result));
            writeln!(out, "{}", printable(&heading))?;
            for line in told(result) {
                writeln!(out, "  {}", printable(&line))?;
            }
        }
        Ok(())
    }
}

fn told(result: &CaseResult) -> Vec<String> {
    let failed = to_tell(result).into_iter().map(|expectation| {
        let place = format!("{}:{}", expectation.file, expectation.line);
        let (text, actual) = (&expectation.text, &expectation.actual);
        format!("{text}, actual {actual} ({place})")
    });
    let mut told: Vec<String> = result.reason.iter().map(placed).chain(failed).collect();
    let struck = result.faults.iter().filter(|fault| fault.at.is_some());
    told.extend(struck.map(ToString::to_string));
    if has_figures(result) {
        // Of one whose program had ended before there is nothing but that.
        let there = result.clients.iter().filter(|c| !c.ended_before_fault());
        told.extend(there.flat_map(|client| figures(client, result)));
    }
    told.extend(lines(result));
    match result.verdict {
        Verdict::Pass | Verdict::Measured | Verdict::Skipped => {
            told.extend(program::lines(result));
        }
        Verdict::Fail | Verdict::Error => {
            told.extend(result.clients.iter().flat_map(last_words));
            told.extend(result.warnings.iter().map(|warning| {
                let warning = placed(warning);
                format!("warning: {warning}")
            }));
        }
    }
    told
}

fn figures(client: &ClientResult, result: &CaseResult) -> Vec<String> {
    let figures = Figures::of(client, result);
    let phase = client
        .phase
        .map(|_| format!(", {} at the fault", figures.phase));
    let text = format!(
        "{}: cause {}, detected {}, recovered {}{}",
        client.name,
        figures.cause,
        figures.detected,
        figures.recovered,
        phase.unwrap_or_default()
    );
    let evidence = client.evidence.iter().map(|text| format!("  {text}"));
    std::iter::once(text).chain(evidence).collect()
}

/// How a program ended, if it did, and what it wrote last.
fn last_words(client: &ClientResult) -> Vec<String> {
    let Some(program) = &client.program else {
        return Vec::new();
    };
    let ended = client.program_ended();
    let wrote = match (program.last_output.is_empty(), ended) {
        (true, Some(ended)) => format!("{ended}; it wrote nothing"),
        (false, Some(ended)) => format!("{ended}; it wrote last:"),
        (true, None) => String::from("its program wrote nothing"),
        (false, None) => String::from("its program wrote last:"),
    };
    let wrote = format!("{}: {wrote}", client.name);
    let output = folded(&program.last_output);
    let output = output.into_iter().map(|line| format!("  │ {line}"));
    std::iter::once(wrote).chain(output).collect()
}

/// Lines, of which those that are written again and again stand once, and empty ones do not.
fn folded(lines: &[String]) -> Vec<String> {
    let written = lines.iter().map(|line| line.replace('\t', "    "));
    let written: Vec<_> = written.filter(|line| !line.trim().is_empty()).collect();
    let equal = written.chunk_by(|one, next| one == next);
    let told = equal.filter_map(|lines| match lines {
        [] => None,
        [line] => Some(line.clone()),
        [line, ..] => Some(format!("{line} ({} times)", lines.len())),
    });
    told.collect()
}

fn placed(note: &Note) -> String {
    match note.place() {
        Some(place) => format!("{} ({place})", note.text),
        None => note.text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_come_again_stand_once() {
        let lines = ["ok", "ok", "", "no", "ok"].map(String::from);
        assert_eq!(folded(&lines), ["ok (2 times)", "no", "ok"]);
    }
}
