//! Markdown for a CI's summary page.

use std::io::{self, Write};

use super::figures::{Figures, has_figures, lines, to_tell};
use super::program::{self, Told};
use super::snippet::{snippet, told};
use super::{Report, counts, distribution, measured_on, shown};
use crate::printable::{printable, printable_lines};
use crate::verdict::CaseResult;

/// The Markdown report.
pub(super) struct Markdown;

impl Report for Markdown {
    fn write(&self, results: &[CaseResult], out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "## halfopen\n\n{}\n", counts(results))?;
        let results = &shown(results);
        if results.iter().any(|result| result.distributions.is_empty()) {
            write_clients(results, out)?;
        }
        write_distributions(results, out)?;
        for result in results {
            write_details(result, out)?;
        }
        Ok(())
    }
}

fn write_clients(results: &[&CaseResult], out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "| | case | client | cause | detected | recovered | failed requests | dials | predicted recovery | client's verdict |"
    )?;
    writeln!(out, "|---|---|---|---|--:|--:|--:|--:|--:|---|")?;
    let single = results.iter().filter(|r| r.distributions.is_empty());
    for result in single {
        let case = escape(&format!("{} / {}", result.scenario, result.case));
        if !has_figures(result) {
            writeln!(out, "| {} | {case} | | | | | | | | |", result.verdict)?;
            continue;
        }
        let rows = result.clients.iter().flat_map(|c| Figures::rows(c, result));
        for (name, figures) in rows {
            writeln!(
                out,
                "| {} | {case} | {} | {} | {} | {} | {} | {} | {} | {} |",
                result.verdict,
                escape(&name),
                escape(&figures.cause),
                figures.detected,
                figures.recovered,
                figures.requests_failed,
                figures.dials,
                figures.predicted[1],
                escape(&figures.verdict),
            )?;
        }
    }
    writeln!(out)
}

/// How times are distributed over a case's repetitions.
fn write_distributions(results: &[&CaseResult], out: &mut dyn Write) -> io::Result<()> {
    let repeated: Vec<_> = results
        .iter()
        .filter(|r| !r.distributions.is_empty())
        .collect();
    if repeated.is_empty() {
        return Ok(());
    }
    writeln!(out, "| | case | {} |", distribution::HEADER.join(" | "))?;
    writeln!(
        out,
        "|---|---|{}",
        "---|".repeat(distribution::HEADER.len())
    )?;
    for result in repeated {
        let case = escape(&format!("{} / {}", result.scenario, result.case));
        for row in result.distributions.iter().flat_map(distribution::rows) {
            let row = row.map(|cell| escape(&cell)).join(" | ");
            writeln!(out, "| {} | {case} | {row} |", result.verdict)?;
        }
    }
    writeln!(out)
}

fn write_details(result: &CaseResult, out: &mut dyn Write) -> io::Result<()> {
    let untold = to_tell(result);
    let lines = lines(result);
    let faults = result.faults.iter().filter(|fault| fault.at.is_some());
    let faults: Vec<_> = faults.map(ToString::to_string).collect();
    let nothing =
        untold.is_empty() && result.warnings.is_empty() && lines.is_empty() && faults.is_empty();
    let nothing = nothing && program::ends(result).is_empty();
    if nothing && result.reason.is_none() {
        return Ok(());
    }
    let title = escape(&format!("{} / {}", result.scenario, result.case));
    writeln!(
        out,
        "### {}: {title}\n\n{}\n",
        result.verdict,
        printable(&measured_on(result))
    )?;
    if let Some(reason) = &result.reason {
        writeln!(out, "{}\n", placed(&reason.text, reason.place()))?;
    }
    for line in faults.iter().chain(&lines) {
        writeln!(out, "- {}", escape(line))?;
    }
    if !faults.is_empty() || !lines.is_empty() {
        writeln!(out)?;
    }
    for Told { end, output } in program::ends(result) {
        writeln!(out, "{}\n", escape(&end))?;
        if !output.is_empty() {
            write_fenced(&(output.join("\n") + "\n"), out)?;
        }
    }
    for expectation in untold {
        writeln!(
            out,
            "**{}**: {}\n",
            escape(&expectation.text),
            escape(&told(expectation))
        )?;
        write_fenced(&snippet(expectation, None), out)?;
    }
    for warning in &result.warnings {
        writeln!(out, "- warning: {}", placed(&warning.text, warning.place()))?;
    }
    if !result.warnings.is_empty() {
        writeln!(out)?;
    }
    Ok(())
}

/// Lines as they are, between fences longer than any run of backticks inside them.
fn write_fenced(lines: &str, out: &mut dyn Write) -> io::Result<()> {
    let fence = "`".repeat(longest_run(lines) + 1);
    writeln!(out, "{fence}text\n{}{fence}\n", printable_lines(lines))
}

fn placed(text: &str, place: Option<String>) -> String {
    let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
    escape(&format!("{text}{place}"))
}

fn longest_run(text: &str) -> usize {
    let longest = text.split(|c| c != '`').map(str::len).max();
    longest.unwrap_or(0).max(2)
}

/// Keeps a name from being read as Markdown or HTML.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in printable(&text.replace('\n', " ")).chars() {
        if matches!(character, '|' | '*' | '<' | '>' | '`' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_break_the_table() {
        assert_eq!(escape("\u{1b}[2J"), "\\\\u{1b}\\[2J");
        assert_eq!(escape("a|b*\n<script>"), "a\\|b\\* \\<script\\>");
    }

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        assert_eq!(longest_run("a"), 2);
        assert_eq!(longest_run("a ````b"), 4);
    }
}
