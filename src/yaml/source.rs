//! The text of a scenario file, and where in it things stand.

use std::ops::Range;

use crate::plan::Location;

/// A range of bytes in a [`Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The span as a range of bytes.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A file's name and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

impl Source {
    /// A source called `name` in messages.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            name: name.into(),
            line_starts: std::iter::once(0).chain(newlines).collect(),
            text,
        }
    }

    /// The name it goes by in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where `span` begins, for reports that outlive the source.
    #[must_use]
    pub fn location(&self, span: Span) -> Location {
        let line = self
            .line_starts
            .partition_point(|start| *start <= span.start)
            .saturating_sub(1);
        let start = self.line_starts[line];
        let text = self.text[start..]
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        let column = self.text[start..span.start].chars().count();
        let end = span
            .end
            .clamp(span.start, start + text.len().max(span.start - start));
        Location {
            file: self.name.clone(),
            line: line + 1,
            column: column + 1,
            length: self.text[span.start..end].chars().count(),
            text,
        }
    }

    /// `span` cut to its first line, so that a whole mapping is not underlined.
    #[must_use]
    pub fn first_line(&self, span: Span) -> Span {
        let inside = &self.text[span.range()];
        let line = inside.lines().next().unwrap_or_default().trim_end();
        Span {
            start: span.start,
            end: span.start + line.len(),
        }
    }
}

/// Byte offset of every character of a text: the parser counts characters, everything else bytes.
pub(crate) struct CharOffsets(Option<Vec<usize>>, usize);

impl CharOffsets {
    pub(crate) fn of(text: &str) -> Self {
        let offsets = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        Self(offsets, text.len())
    }

    pub(crate) fn byte(&self, character: usize) -> usize {
        match &self.0 {
            None => character.min(self.1),
            Some(offsets) => offsets.get(character).copied().unwrap_or(self.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_counts_characters_and_stays_on_its_line() {
        let source = Source::new("s.yaml", "a: 1\nnämë: wért # x\nlast");
        let start = source.text().find("wért").expect("in the text");
        let location = source.location(Span {
            start,
            end: source.text().len(),
        });
        assert_eq!((location.line, location.column, location.length), (2, 7, 8));
        assert_eq!(location.text, "nämë: wért # x");
    }

    #[test]
    fn the_end_of_a_text_has_a_location_too() {
        let source = Source::new("s.yaml", "a: 1\n");
        let location = source.location(Span { start: 5, end: 5 });
        assert_eq!((location.line, location.column, location.length), (2, 1, 0));
    }
}
