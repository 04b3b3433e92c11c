//! A case, folded: its figures, what was expected and did not hold, and what the reader should know.

use super::escape::{escape, fenced, html};
use super::name;
use crate::report::figures::{Figures, has_figures, lines, to_tell};
use crate::report::program::{self, Told};
use crate::report::snippet::{snippet, told};
use crate::report::{distribution, measured_on};
use crate::verdict::CaseResult;

/// The case as a block of HTML that shows its first line alone until it is opened.
pub(super) fn of(case: &CaseResult) -> String {
    let mut text = format!(
        "<details><summary>{}: {}</summary>\n\n{}\n\n",
        case.verdict,
        html(&name(case)),
        escape(&measured_on(case))
    );
    if let Some(reason) = &case.reason {
        text += &format!("{}\n\n", placed(&reason.text, reason.place()));
    }
    let faults = case.faults.iter().filter(|fault| fault.at.is_some());
    let mut list: Vec<String> = faults.map(ToString::to_string).collect();
    list.extend(lines(case));
    let list: Vec<_> = list
        .iter()
        .map(|line| format!("- {}\n", escape(line)))
        .collect();
    text += &paragraph(list.concat());
    text += &clients(case);
    text += &distributions(case);
    for Told { end, output } in program::ends(case) {
        text += &format!("{}\n\n", escape(&end));
        if !output.is_empty() {
            text += &fenced(&(output.join("\n") + "\n"));
        }
    }
    for expectation in to_tell(case) {
        let (wanted, told) = (escape(&expectation.text), escape(&told(expectation)));
        text += &format!(
            "**{wanted}**: {told}\n\n{}",
            fenced(&snippet(expectation, None))
        );
    }
    let warnings = case.warnings.iter();
    let warnings = warnings.map(|w| format!("- warning: {}\n", placed(&w.text, w.place())));
    text += &paragraph(warnings.collect());
    text + "</details>\n\n"
}

/// With an empty line after it, if there is any.
fn paragraph(text: String) -> String {
    match text.is_empty() {
        true => text,
        false => text + "\n",
    }
}

fn clients(case: &CaseResult) -> String {
    if !has_figures(case) || !case.distributions.is_empty() {
        return String::new();
    }
    let mut table = String::from(
        "| client | cause | detected | recovered | failed requests | dials | predicted recovery | client's verdict |\n\
         |---|---|--:|--:|--:|--:|--:|---|\n",
    );
    for (name, figures) in case.clients.iter().flat_map(|c| Figures::rows(c, case)) {
        let [_, recovery] = figures.predicted;
        let cells = [
            name,
            figures.cause,
            figures.detected,
            figures.recovered,
            figures.requests_failed,
            figures.dials,
            recovery,
            figures.verdict,
        ];
        table += &row(&cells);
    }
    table + "\n"
}

/// How times are distributed over a case's repetitions.
fn distributions(case: &CaseResult) -> String {
    if case.distributions.is_empty() {
        return String::new();
    }
    let mut table = row(&distribution::HEADER);
    table += &format!("|{}\n", "---|".repeat(distribution::HEADER.len()));
    for cells in case.distributions.iter().flat_map(distribution::rows) {
        table += &row(&cells);
    }
    table + "\n"
}

fn row(cells: &[impl AsRef<str>]) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| escape(cell.as_ref())).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn placed(text: &str, place: Option<String>) -> String {
    let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
    escape(&format!("{text}{place}"))
}
