//! A long line cut to the places that matter. A scenario may be one line of JSON, of which nobody could see anything
//! otherwise.

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use super::source::{Source, Span};
use crate::printable::printable;

/// Longest line that is shown whole, in bytes.
const LONGEST: usize = 400;
/// Characters shown on each side of a place, and of the place itself.
const AROUND: usize = 60;

/// A piece of a source that is shown in place of the whole.
#[derive(Debug)]
pub(super) struct CutOut {
    name: String,
    text: String,
    /// Where its first place really stands, counted from 0.
    line: usize,
    column: usize,
}

impl CutOut {
    /// The places in `spans` of the line where the first of them stands, and where they are in the piece (those in other
    /// lines nowhere); `None` if this line and those around it can be shown whole.
    pub(super) fn of(source: &Source, spans: &[Span]) -> Option<(Self, Vec<Option<Span>>)> {
        let first = spans.first()?.start;
        let text = source.text();
        let start = text[..first].rfind('\n').map_or(0, |at| at + 1);
        let end = text[first..].find('\n').map_or(text.len(), |at| first + at);
        let before = text[..start].trim_end_matches('\n').rsplit('\n').next();
        let after = text[end..].trim_start_matches('\n').split('\n').next();
        let around = [before, Some(&text[start..end]), after];
        if around
            .into_iter()
            .flatten()
            .all(|line| line.len() <= LONGEST)
        {
            return None;
        }
        let location = source.location(*spans.first()?);
        let (text, places) = cut(&text[start..end], start, spans);
        // Of the same length only where nothing is escaped.
        let until = |end: usize| printable(&text[..end]).len();
        let places = places.into_iter().map(|place| {
            place.map(|Span { start, end }| Span {
                start: until(start),
                end: until(end),
            })
        });
        let places = places.collect();
        let cut_out = Self {
            name: printable(source.name()).into_owned(),
            text: printable(&text).into_owned(),
            line: location.line - 1,
            column: location.column - 1,
        };
        Some((cut_out, places))
    }
}

/// The pieces of `line`, which begins at `start`, around the spans in it, with where these are then.
fn cut(line: &str, start: usize, spans: &[Span]) -> (String, Vec<Option<Span>>) {
    let inside = |span: &Span| (start..=start + line.len()).contains(&span.start);
    let places = spans.iter().map(|span| {
        inside(span).then(|| {
            let from = span.start - start;
            let to = (span.end - start).min(line.len()).min(later(line, from));
            (from, to)
        })
    });
    let places: Vec<Option<(usize, usize)>> = places.collect();
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    let mut sorted: Vec<_> = places.iter().flatten().copied().collect();
    sorted.sort_unstable();
    for (from, to) in sorted {
        let (from, to) = (earlier(line, from), later(line, to));
        match pieces.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => pieces.push((from, to)),
        }
    }
    let mut text = String::new();
    let mut moved = Vec::new();
    for (from, to) in &pieces {
        if *from > 0 {
            text.push('…');
        }
        moved.push((*from, *to, text.len()));
        text.push_str(&line[*from..*to]);
    }
    if pieces.last().is_some_and(|(_, to)| *to < line.len()) {
        text.push('…');
    }
    let shift = |(from, to): (usize, usize)| {
        let mut pieces = moved.iter();
        let (begin, _, at) = pieces.find(|(begin, end, _)| (*begin..=*end).contains(&from))?;
        Some(Span {
            start: at + from - begin,
            end: at + to - begin,
        })
    };
    (
        text,
        places.into_iter().map(|place| shift(place?)).collect(),
    )
}

/// Some characters before `at`.
fn earlier(line: &str, at: usize) -> usize {
    let mut characters = line[..at].char_indices().rev();
    characters.nth(AROUND - 1).map_or(0, |(at, _)| at)
}

/// Some characters after `at`.
fn later(line: &str, at: usize) -> usize {
    let mut characters = line[at..].char_indices();
    characters.nth(AROUND).map_or(line.len(), |(n, _)| at + n)
}

impl SourceCode for CutOut {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let piece = self.text.read_span(span, before, after)?;
        // Without context, the place itself is meant.
        let column = if before == 0 {
            self.column
        } else {
            piece.column()
        };
        let (data, span, lines) = (piece.data(), *piece.span(), piece.line_count());
        let name = self.name.clone();
        let piece = MietteSpanContents::new_named(name, data, span, self.line, column, lines);
        Ok(Box::new(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_to_its_places() {
        let line = format!(
            "{}wrong{}again{}",
            "é".repeat(500),
            "-".repeat(500),
            "+".repeat(500)
        );
        let span = |word: &str| {
            let start = line.find(word).expect("it is there");
            let end = start + word.len();
            Span { start, end }
        };
        let (text, places) = cut(&line, 0, &[span("again"), span("wrong")]);
        assert_eq!(
            text,
            format!(
                "…{e}wrong{m}…{m}again{p}…",
                e = "é".repeat(AROUND),
                m = "-".repeat(AROUND),
                p = "+".repeat(AROUND)
            )
        );
        let words = places
            .into_iter()
            .map(|place| &text[place.expect("in it").range()]);
        assert_eq!(words.collect::<Vec<_>>(), ["again", "wrong"]);
    }
}
