//! A line of YAML, underlined where an expectation stands, with what was measured: the look of every other diagnostic.

use std::fmt;

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents,
};

use crate::printable::printable;
use crate::result::ExpectationResult;
use crate::verdict::Verdict;
use crate::yaml::diagnostic::handler;

/// Characters of a line that is shown whole.
const SHOWN_WHOLE: usize = 120;
/// Columns before a line: where it stands two further in, its number, a bar, and the marks that it is cut.
const BESIDES: usize = 12;
/// Characters that are shown of a line at least.
const NARROWEST: usize = 30;
/// Lines and columns beyond this are in records alone, which may say anything; who shows them adds to them.
const FAR: usize = u32::MAX as usize;

/// The source line of an expectation, underlined, and below it `expected …, actual …`.
/// In a terminal of so many columns a longer line is cut around what is underlined.
pub(super) fn snippet(expectation: &ExpectationResult, columns: Option<usize>) -> String {
    let label = told(expectation);
    let room = columns.map_or(SHOWN_WHOLE, |columns| {
        columns
            .saturating_sub(BESIDES)
            .clamp(NARROWEST, SHOWN_WHOLE)
    });
    let excerpt = Excerpt::of(expectation, printable(&label).into_owned(), room);
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = handler(false).render_report(&mut text, &excerpt);
    // What is wrong stands above it in every report.
    let lines = text.lines().skip_while(|line| !line.contains('╭'));
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

/// `expected …, actual …` and by how much it was missed, or why there is nothing actual.
pub(super) fn told(expectation: &ExpectationResult) -> String {
    let expected = &expectation.expected;
    match expectation.verdict {
        Verdict::Pass | Verdict::Fail => {
            format!("expected {expected}, actual {}", expectation.measured())
        }
        Verdict::Measured | Verdict::Skipped | Verdict::Error => expectation.actual.clone(),
    }
}

/// One line of a file, as it is shown.
#[derive(Debug)]
struct Excerpt {
    file: String,
    /// From 0.
    line: usize,
    /// From 0, in characters.
    column: usize,
    text: String,
    /// What is underlined of the text: its first byte and its length.
    span: (usize, usize),
    label: String,
}

impl Excerpt {
    fn of(expectation: &ExpectationResult, label: String, room: usize) -> Self {
        let (text, span) = shown(
            &expectation.source,
            expectation.column.saturating_sub(1),
            expectation.length,
            room,
        );
        Self {
            file: printable(&expectation.file).into_owned(),
            line: expectation.line.saturating_sub(1).min(FAR),
            column: expectation.column.saturating_sub(1).min(FAR),
            text,
            span,
            label,
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl std::error::Error for Excerpt {}

impl Diagnostic for Excerpt {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_primary_with_span(Some(self.label.clone()), self.span);
        Some(Box::new(std::iter::once(label)))
    }
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        _: &SourceSpan,
        _: usize,
        _: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let whole = (0, self.text.len()).into();
        let (text, name) = (self.text.as_bytes(), self.file.clone());
        let contents = MietteSpanContents::new_named(name, text, whole, self.line, self.column, 1);
        Ok(Box::new(contents))
    }
}

/// The line as shown, and the bytes of it that are underlined: first and length. `start`, `length` and `room` are in characters.
fn shown(source: &str, start: usize, length: usize, room: usize) -> (String, (usize, usize)) {
    let characters: Vec<char> = source.chars().collect();
    let end = start.saturating_add(length);
    // Before what is underlined, and after it.
    let half = room / 2;
    let (from, to) = if characters.len() <= room {
        (0, characters.len())
    } else {
        let end = start.saturating_add(length.clamp(1, half) + half);
        let to = end.min(characters.len());
        (start.saturating_sub(half).min(to), to)
    };
    let part = |from: usize, to: usize| {
        let characters: String = characters[from..to.max(from)].iter().collect();
        printable(&characters.replace('\t', "    ")).into_owned()
    };
    let (first, last) = (start.clamp(from, to), end.clamp(from, to));
    let mark = |cut| if cut { "…" } else { "" };
    let before = format!("{}{}", mark(from > 0), part(from, first));
    let under = part(first, last);
    let after = format!("{}{}", part(last, to), mark(to < characters.len()));
    let span = (before.len(), under.len());
    let mut text = before + &under + &after;
    if span.0 == text.len() {
        // Something must stand there to be underlined.
        text.push(' ');
    }
    (text, (span.0, span.1.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line as shown, and what of it is underlined.
    fn marked(source: &str, column: usize, length: usize) -> (String, String) {
        let (text, (start, length)) = shown(source, column.saturating_sub(1), length, SHOWN_WHOLE);
        let under = text[start..start + length].to_owned();
        (text, under)
    }

    #[test]
    fn the_span_is_underlined() {
        let (line, under) = marked("  a: { recovered: { within: 40s } }", 21, 11);
        assert_eq!(line, "  a: { recovered: { within: 40s } }");
        assert_eq!(under, "within: 40s");
    }

    #[test]
    fn wide_characters_and_tabs_are_counted_by_their_columns() {
        let (line, under) = marked("\t节点: 40s", 6, 3);
        assert_eq!(line, "    节点: 40s");
        assert_eq!(under, "40s");
    }

    #[test]
    fn a_long_line_is_cut_around_the_span() {
        let source = format!("{}40s{}", "x".repeat(500), "y".repeat(500));
        let (line, under) = marked(&source, 501, 3);
        assert_eq!(line, format!("…{}40s{}…", "x".repeat(60), "y".repeat(60)));
        assert_eq!(under, "40s");
    }

    #[test]
    fn a_span_beyond_its_line_does_no_harm() {
        assert_eq!(marked("ab", 7, 3), ("ab ".into(), " ".into()));
        assert_eq!(marked("", 1, 0), (" ".into(), " ".into()));
        assert_eq!(marked("ab", 0, 9).1, "ab");
        assert_eq!(marked("ab", usize::MAX, usize::MAX).1, " ");
        marked(&"x".repeat(500), usize::MAX, usize::MAX);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(marked("a\u{1b}[31mb", 1, 1).0, "a\\u{1b}[31mb");
    }
}
