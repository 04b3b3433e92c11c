//! What is wrong with a scenario: where, why, and what would be right.

use std::fmt;
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use super::cut_out::CutOut;
use super::source::{Source, Span};
use crate::plan::Location;
use crate::printable::{printable, printable_lines};

/// What is shown of a file.
#[derive(Debug, Clone)]
enum Shown {
    Nothing,
    Whole(Arc<NamedSource<String>>),
    Piece(Arc<CutOut>),
}

/// One error in a scenario file.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    source: Shown,
    location: Location,
    message: String,
    help: Option<String>,
    labels: Vec<(Span, String)>,
}

impl Diagnostic {
    /// An error at `problem.span` of `source`.
    #[must_use]
    pub fn new(source: &Source, named: &Arc<NamedSource<String>>, problem: &Problem) -> Self {
        let span = source.first_line(problem.span);
        let also = problem
            .also
            .iter()
            .map(|(span, text)| (source.first_line(*span), text.clone()));
        let labels = std::iter::once((span, problem.label.clone())).chain(also);
        let labels = labels.map(|(span, text)| (span, printable(&text).into_owned()));
        let mut labels: Vec<(Span, String)> = labels.collect();
        let spans: Vec<Span> = labels.iter().map(|(span, _)| *span).collect();
        let text = match CutOut::of(source, &spans) {
            None => {
                for (place, _) in &mut labels {
                    *place = shown(source, named, *place);
                }
                Shown::Whole(Arc::clone(named))
            }
            Some((piece, places)) => {
                let words = labels.into_iter().map(|(_, words)| words);
                let there = places.into_iter().zip(words);
                labels = there
                    .filter_map(|(span, words)| Some((span?, words)))
                    .collect();
                Shown::Piece(Arc::new(piece))
            }
        };
        Self {
            source: text,
            location: source.location(span),
            message: problem.message.clone(),
            help: problem.help.clone(),
            labels,
        }
    }

    /// An error of a file as a whole: it can't be read, or is too large.
    #[must_use]
    pub fn of_file(file: &str, message: String, help: Option<String>) -> Self {
        Self {
            source: Shown::Nothing,
            location: Location {
                file: file.to_owned(),
                line: 1,
                column: 1,
                ..Location::default()
            },
            message,
            help,
            labels: Vec::new(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// What is wrong, in one sentence, as the file has it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would be right.
    #[must_use]
    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.message))
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(printable(help)) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        match &self.source {
            Shown::Nothing => None,
            Shown::Whole(source) => Some(source.as_ref()),
            Shown::Piece(piece) => Some(piece.as_ref()),
        }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let spans = self.labels.iter().enumerate().map(|(i, (span, text))| {
            let text = (!text.is_empty()).then(|| text.clone());
            let range = (span.start, span.end - span.start);
            match i {
                0 => LabeledSpan::new_primary_with_span(text, range),
                _ => LabeledSpan::new_with_span(text, range),
            }
        });
        (!self.labels.is_empty()).then(|| Box::new(spans) as _)
    }
}

/// Where a span stands in the text as it is shown, in which some characters are escaped.
fn shown(source: &Source, named: &NamedSource<String>, span: Span) -> Span {
    // An escape is longer than what it stands for.
    if named.inner().len() == source.text().len() {
        return span;
    }
    let until = |end: usize| printable_lines(&source.text()[..end]).len();
    Span {
        start: until(span.start),
        end: until(span.end),
    }
}

/// An error before it knows its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// Words under the underlined text; may be empty.
    pub label: String,
    /// What would be right.
    pub help: Option<String>,
    /// Other places that have to do with it.
    pub also: Vec<(Span, String)>,
}

impl Problem {
    /// A problem at `span`.
    #[must_use]
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            label: String::new(),
            help: None,
            also: Vec::new(),
        }
    }

    /// Adds words under the underlined text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the name that was meant instead of `name`, or the list of those that are known.
    #[must_use]
    pub(crate) fn suggest<'a>(
        mut self,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        self.help = suggest(name, known).or(self.help);
        self
    }

    /// Adds another place that has to do with it.
    #[must_use]
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.also.push((span, label.into()));
        self
    }
}

/// Renders diagnostics for people: the source line, underlined, and what would be right.
#[must_use]
pub fn render(diagnostics: &[Diagnostic], colour: bool) -> String {
    render_within(diagnostics, colour, WIDEST)
}

/// Columns of what is said of a source line.
const WIDEST: usize = 110;

/// The same with words folded to fit a terminal of so many columns. Source lines stay as they are.
#[must_use]
pub fn render_within(diagnostics: &[Diagnostic], colour: bool, columns: usize) -> String {
    let handler = handler(colour).with_width(columns.min(WIDEST));
    let mut out = String::new();
    for diagnostic in diagnostics {
        let report = handler.render_report(&mut out, diagnostic);
        // Writing into a String fails only if a span lies outside its source; then the plain words must do.
        if report.is_err() || diagnostic.labels.is_empty() {
            let Location {
                file, line, column, ..
            } = &diagnostic.location;
            let file = printable(file);
            out.push_str(&format!("    at {file}:{line}:{column}\n"));
        }
        out.push('\n');
    }
    out
}

/// The one look of an excerpt from a file.
pub(crate) fn handler(colour: bool) -> GraphicalReportHandler {
    let theme = if colour {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    GraphicalReportHandler::new_themed(theme)
        .with_width(WIDEST)
        .with_context_lines(1)
        .with_links(false)
}

/// "did you mean `x`?" for a name that is not among `known`, or the list of what is.
#[must_use]
pub(crate) fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut seen = std::collections::HashSet::new();
    let known: Vec<&str> = known
        .into_iter()
        .filter(|name| seen.insert(*name))
        .collect();
    let best = known
        .iter()
        .map(|candidate| {
            let distance =
                strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase());
            (distance, *candidate)
        })
        .min()?;
    let near = best.0 <= 1.max(name.chars().count() / 3);
    let list = list(&known);
    Some(match (near, known.len()) {
        (true, 1) => format!("did you mean `{}`?", best.1),
        (true, _) => format!("did you mean `{}`? known are {list}", best.1),
        (false, 1) => format!("the only one is {list}"),
        (false, _) => format!("known are {list}"),
    })
}

/// `a`, `b` and `c`; long lists are cut.
#[must_use]
pub(crate) fn list(names: &[&str]) -> String {
    const SHOWN: usize = 30;
    let quoted: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
    if names.len() > SHOWN {
        return format!("{} and {} more", quoted.join(", "), names.len() - SHOWN);
    }
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        assert_eq!(
            suggest("aa3", ["aa-1", "aa-3"]).as_deref(),
            Some("did you mean `aa-3`? known are `aa-1` and `aa-3`")
        );
        assert_eq!(
            suggest("zebra", ["aa-1", "aa-3"]).as_deref(),
            Some("known are `aa-1` and `aa-3`")
        );
        assert_eq!(suggest("x", []), None);
    }
}
