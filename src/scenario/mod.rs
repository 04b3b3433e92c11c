//! A scenario: one YAML file, its shape, and everything that can be wrong with it.
//!
//! Text becomes a tree that knows its places (`tree`), the matrix makes a tree for every case (`matrix`), a tree becomes
//! a [`model::Scenario`] (`decode`), and names and numbers are checked against each other (`check`). All errors of a
//! file come at once. Nothing here looks at the machine: a file that parses here parses everywhere.

mod check;
pub mod counters;
mod decode;
mod diagnostic;
mod matrix;
pub mod model;
pub mod published;
pub mod repeat;
mod source;
mod tree;
pub mod uptime;
mod value;
mod workload;

use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use miette::NamedSource;

pub use diagnostic::{Diagnostic, Problem, list, render, suggest};
pub use source::{Source, Span};
pub(crate) use value::given;

use model::Scenario;

/// Largest file that is read, in bytes.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// Errors of one file that are shown; nobody reads more, and each is rendered with its source.
const SHOWN_PROBLEMS: usize = 100;

/// A scenario file that is right.
#[derive(Debug, Clone)]
pub struct Loaded {
    source: Source,
    named: Arc<NamedSource<String>>,
    root: Rc<tree::Node>,
    axes: Vec<matrix::Axis>,
}

/// A scenario as one case of its matrix sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// The case's name.
    pub name: String,
    /// The file with the case's matrix values in their places.
    pub scenario: Scenario,
    /// The case's matrix values as `(whole path, label, value)`.
    pub values: Vec<(String, String, String)>,
}

impl Loaded {
    /// The file's name and text.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// A diagnostic in this file.
    #[must_use]
    pub fn diagnostic(&self, problem: &Problem) -> Diagnostic {
        Diagnostic::new(&self.source, &self.named, problem)
    }

    /// The cases, made one after the other: a large matrix need not be in memory at once.
    pub fn variants(&self) -> impl Iterator<Item = Variant> {
        // Every case was decoded once before, so nothing new is found here.
        matrix::choices(&self.axes).filter_map(|choice| self.variant(&choice, &mut Vec::new()))
    }

    fn variant(&self, choice: &[usize], problems: &mut Vec<Problem>) -> Option<Variant> {
        let tree = matrix::apply(&self.root, &self.axes, choice, problems);
        let scenario: Scenario = decode::decode(&tree, problems)?;
        check::check(&scenario, &self.axes, problems);
        let values = self.axes.iter().zip(choice).map(|(axis, i)| {
            (
                axis.path.to_string(),
                axis.label.clone(),
                axis.value_label(*i),
            )
        });
        Some(Variant {
            name: matrix::case_name(&self.axes, choice),
            scenario,
            values: values.collect(),
        })
    }
}

/// Reads and checks a file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let name = path.display().to_string();
    let file = |message, help| vec![Diagnostic::of_file(&name, message, help)];
    let metadata =
        std::fs::metadata(path).map_err(|e| file(format!("can't read `{name}`: {e}"), None))?;
    if metadata.is_dir() {
        let help = "name the files in it".to_owned();
        return Err(file(format!("`{name}` is a directory"), Some(help)));
    }
    if metadata.len() > MAX_BYTES {
        return Err(vec![too_large(&name, metadata.len())]);
    }
    let bytes = std::fs::read(path).map_err(|e| file(format!("can't read `{name}`: {e}"), None))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = e.as_bytes()[..at].split(|b| *b == b'\n').count();
        file(
            format!("`{name}` is not UTF-8 text: line {line}, byte {at}"),
            None,
        )
    })?;
    parse(&name, &text)
}

/// Checks a text that goes by `name` in messages.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(name: &str, text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    let bytes = text.len() as u64;
    if bytes > MAX_BYTES {
        return Err(vec![too_large(name, bytes)]);
    }
    let mut problems = Vec::new();
    let root = tree::parse(text, &mut problems);
    let source = Source::new(name, text);
    let named = Arc::new(NamedSource::new(name, text.to_owned()).with_language("yaml"));
    let Some(root) = root.filter(|root| !root.is_null()) else {
        if problems.is_empty() {
            problems.push(empty());
        }
        return Err(diagnostics(&source, &named, problems));
    };
    let axes = matrix::read(&root, &mut problems);
    let loaded = Loaded {
        source,
        named,
        root,
        axes,
    };
    for choice in matrix::choices(&loaded.axes) {
        loaded.variant(&choice, &mut problems);
        if problems.len() > SHOWN_PROBLEMS {
            only_once(&mut problems);
        }
        if problems.len() > SHOWN_PROBLEMS {
            break;
        }
    }
    match problems.is_empty() {
        true => Ok(loaded),
        false => Err(diagnostics(&loaded.source, &loaded.named, problems)),
    }
}

/// In the file's order.
fn diagnostics(
    source: &Source,
    named: &Arc<NamedSource<String>>,
    mut problems: Vec<Problem>,
) -> Vec<Diagnostic> {
    only_once(&mut problems);
    problems.sort_by_key(|problem| problem.span.start);
    let shown = problems.iter().take(SHOWN_PROBLEMS);
    let mut all: Vec<Diagnostic> = shown
        .map(|problem| Diagnostic::new(source, named, problem))
        .collect();
    if problems.len() > SHOWN_PROBLEMS {
        let message = format!("and {} more errors", problems.len() - SHOWN_PROBLEMS);
        all.push(Diagnostic::of_file(source.name(), message, None));
    }
    all
}

/// Every case of a matrix finds the same problems.
pub(crate) fn only_once(problems: &mut Vec<Problem>) {
    let mut seen = HashSet::new();
    problems.retain(|p| seen.insert((p.span, p.message.clone())));
}

fn too_large(name: &str, bytes: u64) -> Diagnostic {
    let message =
        format!("`{name}` has {bytes} bytes; a scenario file may have {MAX_BYTES} (1 MiB)");
    let help = "is this a scenario? Split it into several files if so".to_owned();
    Diagnostic::of_file(name, message, Some(help))
}

fn empty() -> Problem {
    Problem::new(Span::default(), "the file is empty").help(
        "a scenario needs `name`, `nodes`, `servers`, `clients` and `faults`; `halfopen init` writes one that runs",
    )
}

/// The JSON Schema of a scenario file.
#[must_use]
pub fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    settings
        .into_generator()
        .into_root_schema_for::<Scenario>()
        .to_value()
}
