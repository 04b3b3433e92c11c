//! Markdown for a pull request's comment or a CI's summary page: the counts, why what failed did, and each case folded, the
//! worst first.
//!
//! GitHub takes no comment above 65,536 characters, so that what has no room is counted instead, and where it is said.

mod details;
mod escape;

use std::io::{self, Write};

use super::{Report, counts, shown};
use crate::result::ExpectationResult;
use crate::verdict::{CaseResult, RunSummary, Verdict};
pub(super) use escape::escape;
use escape::shortened;

/// Bytes of the whole page at most.
const ROOM: usize = 60_000;
/// Bytes of the list of what failed at most; the rest is left for the cases themselves.
const ROOM_FOR_REASONS: usize = 30_000;
/// Bytes of what is said of what has no room.
const ROOM_FOR_LEFT_OUT: usize = 300;
/// Characters of a case's name, and of why it failed.
const NAME: usize = 120;
const REASON: usize = 300;

/// The Markdown report.
#[derive(Default)]
pub(super) struct Markdown;

impl Report for Markdown {
    fn write(&self, results: &[CaseResult], out: &mut dyn Write) -> io::Result<()> {
        let mut page = format!(
            "## halfopen\n\n{}\n\n{}\n",
            escape(&counts(results)),
            verdicts(results)
        );
        let mut cases = shown(results);
        // Sorted stably: of cases alike the order is that of the run.
        cases.sort_by_key(|case| rank(case.verdict));
        let bad: Vec<_> = cases.iter().filter(|case| is_bad(case)).collect();
        let reasons = bad.iter().map(|case| reason(case));
        add(&mut page, ROOM_FOR_REASONS, reasons, |left_out| {
            format!(
                "- … and {left_out} more cases that did not pass; {}\n",
                where_they_are()
            )
        });
        page.push('\n');
        let details = cases.iter().map(|case| details::of(case));
        add(&mut page, ROOM, details, |left_out| {
            format!(
                "{left_out} more cases have no room here; {}\n",
                where_they_are()
            )
        });
        out.write_all(page.as_bytes())
    }
}

fn where_they_are() -> &'static str {
    "the run's own output, or its report with `--report json=FILE` or `junit=FILE`, has them all."
}

/// Adds pieces as long as the page stays within `room`, and then says how many have none.
fn add(
    page: &mut String,
    room: usize,
    pieces: impl ExactSizeIterator<Item = String>,
    say: impl Fn(usize) -> String,
) {
    let room = room.saturating_sub(ROOM_FOR_LEFT_OUT);
    let mut left_out = 0;
    for piece in pieces {
        // After one that has no room none is shown that is not as bad.
        if left_out > 0 || page.len() + piece.len() > room {
            left_out += 1;
        } else {
            page.push_str(&piece);
        }
    }
    if left_out > 0 {
        page.push_str(&say(left_out));
    }
}

/// The verdicts, and how many cases have each.
fn verdicts(results: &[CaseResult]) -> String {
    let RunSummary {
        passed,
        failed,
        skipped,
        errors,
        measured,
    } = RunSummary::of(results);
    let rows = [
        ("failed", failed),
        ("could not be run or tested", errors),
        ("skipped", skipped),
        ("measured, nothing was expected", measured),
        ("passed", passed),
    ];
    let mut table = String::from("| cases | |\n|--:|---|\n");
    for (name, count) in rows.into_iter().filter(|(_, count)| *count > 0) {
        table += &format!("| {count} | {name} |\n");
    }
    table
}

/// Its place among all: the worst first.
fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Fail => 0,
        Verdict::Error => 1,
        Verdict::Skipped => 2,
        Verdict::Measured => 3,
        Verdict::Pass => 4,
    }
}

fn is_bad(case: &CaseResult) -> bool {
    match case.verdict {
        Verdict::Fail | Verdict::Error => true,
        Verdict::Skipped | Verdict::Measured | Verdict::Pass => false,
    }
}

fn name(case: &CaseResult) -> String {
    let name = format!("{} / {}", case.scenario, case.case);
    shortened(&name, NAME)
}

/// Why a case did not pass, in a sentence: by the first of its expectations that did not hold.
fn reason(case: &CaseResult) -> String {
    let sentence = |expectation: &ExpectationResult| {
        let (name, outcome) = (expectation.name(), expectation.outcome());
        format!(
            "{name} {} ({})",
            shortened(&outcome, REASON),
            expectation.place()
        )
    };
    let of = |verdict| {
        case.expectations
            .iter()
            .filter(move |e| e.verdict == verdict)
    };
    let first = of(Verdict::Fail).next();
    let note = || {
        let note = case.reason.as_ref()?;
        let place = note.place().map(|place| format!(" ({place})"));
        Some(shortened(&note.text, REASON) + &place.unwrap_or_default())
    };
    let why = first.map(sentence).or_else(note);
    let why = why.or_else(|| of(Verdict::Error).next().map(sentence));
    let more = match of(Verdict::Fail).count() {
        0 | 1 => String::new(),
        more => format!(", and {} more", more - 1),
    };
    format!(
        "- **{}** {}: {}{more}\n",
        case.verdict,
        escape(&name(case)),
        escape(&why.unwrap_or_default())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_counted_from_the_first_on() {
        let mut page = String::new();
        let pieces = ["a".repeat(400), "b".repeat(400), "c".to_owned()];
        add(&mut page, 1_000, pieces.into_iter(), |left_out| {
            format!("+{left_out}")
        });
        assert_eq!(page, format!("{}+2", "a".repeat(400)));
    }
}
