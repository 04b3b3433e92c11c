//! A line of YAML, underlined where an expectation stands, with what was measured.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::verdict::Verdict;
use crate::verdict::result::ExpectationResult;

/// Characters of a line that is shown whole.
const SHOWN_WHOLE: usize = 120;
/// Characters shown before a span, and after it, of a longer line.
const SHOWN_BEFORE: usize = 60;
const SHOWN_AFTER: usize = 60;

/// The source line of an expectation, with carets below it and `expected …, actual …` beside them.
pub(super) fn snippet(expectation: &ExpectationResult) -> String {
    let number = expectation.line.to_string();
    let margin = " ".repeat(number.len());
    let (line, before, width) =
        underlined(&expectation.source, expectation.column, expectation.length);
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(
        text,
        "{margin}--> {}:{}:{}",
        expectation.file, expectation.line, expectation.column
    );
    let _ = writeln!(text, "{margin} |");
    let _ = writeln!(text, "{number} | {line}");
    let _ = writeln!(
        text,
        "{margin} | {}{}",
        " ".repeat(before),
        "^".repeat(width)
    );
    let _ = writeln!(text, "{margin} | {}", told(expectation));
    text
}

/// `expected …, actual …`, or why there is nothing actual.
pub(super) fn told(expectation: &ExpectationResult) -> String {
    let ExpectationResult {
        expected, actual, ..
    } = expectation;
    match expectation.verdict {
        Verdict::Pass | Verdict::Fail => format!("expected {expected}, actual {actual}"),
        Verdict::Skipped | Verdict::Error => actual.clone(),
    }
}

/// The line as shown, the columns before the carets, and their number.
fn underlined(source: &str, column: usize, length: usize) -> (String, usize, usize) {
    let start = column.saturating_sub(1);
    let mut shown: Vec<String> = source.chars().map(visible).collect();
    let (from, to) = if shown.len() <= SHOWN_WHOLE {
        (0, shown.len())
    } else {
        let end = start + length.clamp(1, SHOWN_AFTER) + SHOWN_AFTER;
        (start.saturating_sub(SHOWN_BEFORE), end.min(shown.len()))
    };
    let cut_after = to < shown.len();
    shown.truncate(to);
    let shown = shown.split_off(from.min(to));
    let start = start - from;
    let span = start.min(shown.len())..(start + length).min(shown.len());
    let before = shown[..span.start].concat().width();
    let width = shown[span].concat().width().max(1);
    let mark = |cut| if cut { "…" } else { "" };
    let line = format!("{}{}{}", mark(from > 0), shown.concat(), mark(cut_after));
    (line, before + usize::from(from > 0), width)
}

/// A character as a terminal may have it.
fn visible(character: char) -> String {
    match character {
        '\t' => "    ".to_owned(),
        // Nothing in a file may steer the terminal.
        c if c.is_control() || c.width().is_none() => char::REPLACEMENT_CHARACTER.to_string(),
        c => c.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(source: &str, column: usize, length: usize) -> (String, String) {
        let (line, before, width) = underlined(source, column, length);
        (line, " ".repeat(before) + &"^".repeat(width))
    }

    #[test]
    fn the_carets_stand_below_the_span() {
        let (line, carets) = marked("  a: { recovered: { within: 40s } }", 21, 11);
        assert_eq!(line, "  a: { recovered: { within: 40s } }");
        assert_eq!(carets, "                    ^^^^^^^^^^^");
    }

    #[test]
    fn wide_characters_and_tabs_are_counted_by_their_columns() {
        let (line, carets) = marked("\t节点: 40s", 6, 3);
        assert_eq!(line, "    节点: 40s");
        assert_eq!(carets, "          ^^^");
    }

    #[test]
    fn a_long_line_is_cut_around_the_span() {
        let source = format!("{}40s{}", "x".repeat(500), "y".repeat(500));
        let (line, carets) = marked(&source, 501, 3);
        assert_eq!(line, format!("…{}40s{}…", "x".repeat(60), "y".repeat(60)));
        assert_eq!(carets, format!("{}^^^", " ".repeat(61)));
    }

    #[test]
    fn a_span_beyond_its_line_does_no_harm() {
        assert_eq!(marked("ab", 7, 3).1, "  ^");
        assert_eq!(marked("", 1, 0).1, "^");
        assert_eq!(marked("ab", 0, 9).1, "^^");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(marked("a\u{1b}[31mb", 1, 1).0, "a\u{fffd}[31mb");
    }
}
