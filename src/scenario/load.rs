//! From a file's text to its cases, or to everything that is wrong with it.

use std::collections::HashSet;
use std::io::{self, Read as _};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use miette::NamedSource;

use super::cx::Cx;
use super::model::Scenario;
use super::resolve::{self, PlanOptions};
use crate::input;
use crate::plan::Case;
use crate::printable::{printable, printable_lines, printable_path};
use crate::yaml::matrix::{self, Axis, Shape};
use crate::yaml::tree::{self, Node};
use crate::yaml::{Diagnostic, Problem, Source, Span, decode};

/// What a scenario's matrix may change.
const SHAPE: Shape = Shape {
    named: &[
        ("servers", "server"),
        ("clients", "client"),
        ("service", "service"),
        ("nodes", "node"),
        ("profiles", "profile"),
        ("expect", "expectation on client"),
    ],
    listed: "nodes",
    dotted: "sysctls",
};

/// Largest file that is read, in bytes.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// Errors of one file that are shown; nobody reads more, and each is rendered with its source.
const SHOWN_PROBLEMS: usize = 100;

/// Reads a file and resolves it into its cases, in the matrix's order.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path, options: &PlanOptions) -> Result<Vec<Case>, Vec<Diagnostic>> {
    File::read(path)?.cases(options)
}

/// As [`load`], of a text that goes by `name` in messages.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(name: &str, text: &str, options: &PlanOptions) -> Result<Vec<Case>, Vec<Diagnostic>> {
    File::parse(name, text)?.cases(options)
}

/// A scenario's text as a tree, and its matrix.
pub(super) struct File {
    source: Source,
    named: Arc<NamedSource<String>>,
    pub(super) root: Rc<Node>,
    axes: Vec<Axis>,
    /// What is wrong with the text itself.
    problems: Vec<Problem>,
}

impl File {
    /// Reads it.
    pub(super) fn read(path: &Path) -> Result<Self, Vec<Diagnostic>> {
        let (name, shown) = (path.display().to_string(), printable_path(path));
        let file = |message, help| vec![Diagnostic::of_file(&name, message, help)];
        let unread = |e: io::Error| file(format!("can't read `{shown}`: {e}"), None);
        if path.is_dir() {
            let help = "name the files in it".to_owned();
            return Err(file(format!("`{shown}` is a directory"), Some(help)));
        }
        let opened = input::open(path).map_err(unread)?;
        let bytes = opened.metadata().map_err(unread)?.len();
        if bytes > MAX_BYTES {
            return Err(vec![too_large(&name, bytes)]);
        }
        // A file may grow while it is read, and some say nothing of their size.
        let mut bytes = Vec::new();
        let mut bounded = opened.take(MAX_BYTES + 1);
        bounded.read_to_end(&mut bytes).map_err(unread)?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            let line = e.as_bytes()[..at].split(|b| *b == b'\n').count();
            file(
                format!("`{shown}` is not UTF-8 text: line {line}, byte {at}"),
                None,
            )
        })?;
        Self::parse(&name, &text)
    }

    fn parse(name: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let bytes = text.len() as u64;
        if bytes > MAX_BYTES {
            return Err(vec![too_large(name, bytes)]);
        }
        let mut problems = Vec::new();
        let root = tree::parse(text, &mut problems);
        let source = Source::new(name, text);
        let named = Arc::new(
            NamedSource::new(printable(name), printable_lines(text).into_owned())
                .with_language("yaml"),
        );
        let Some(root) = root.filter(|root| !root.is_null()) else {
            if problems.is_empty() {
                problems.push(empty());
            }
            return Err(diagnostics(&source, &named, problems));
        };
        let axes = matrix::read(&root, &mut problems);
        Ok(Self {
            source,
            named,
            root,
            axes,
            problems,
        })
    }

    /// All cases of its matrix.
    pub(super) fn cases(&self, options: &PlanOptions) -> Result<Vec<Case>, Vec<Diagnostic>> {
        let mut problems = self.problems.clone();
        let mut cases = Vec::new();
        for choice in matrix::choices(&self.axes) {
            let mut found = Vec::new();
            let case = self.case(&self.root, (&self.axes, &choice), options, &mut found);
            problems.append(&mut found);
            if problems.is_empty() {
                cases.extend(case);
            } else {
                cases.clear();
            }
            if problems.len() > SHOWN_PROBLEMS {
                only_once(&mut problems);
            }
            if problems.len() > SHOWN_PROBLEMS {
                break;
            }
        }
        match problems.is_empty() {
            true => Ok(cases),
            false => Err(self.diagnostics(problems)),
        }
    }

    /// One case of a matrix over a tree of the file, with its repetitions.
    pub(super) fn case(
        &self,
        root: &Rc<Node>,
        (axes, choice): (&[Axis], &[usize]),
        options: &PlanOptions,
        problems: &mut Vec<Problem>,
    ) -> Vec<Case> {
        let tree = matrix::apply(root, axes, choice, SHAPE, problems);
        let Some(scenario) = decode::decode::<Scenario>(&tree, problems) else {
            return Vec::new();
        };
        let taken = std::mem::take(problems);
        let mut cx = Cx::new(&scenario, (axes, choice), &self.source, taken);
        let cases = resolve::cases(&mut cx, matrix::case_name(axes, choice), options);
        *problems = cx.finish();
        cases
    }

    /// The matrix's cases by name, each with its values put in their places.
    pub(super) fn trees(&self) -> Vec<(String, Rc<Node>)> {
        let each = matrix::choices(&self.axes).map(|choice| {
            let name = matrix::case_name(&self.axes, &choice);
            // What is wrong with it was told when the cases were resolved.
            let tree = matrix::apply(&self.root, &self.axes, &choice, SHAPE, &mut Vec::new());
            (name, tree)
        });
        each.collect()
    }

    /// Problems of the file, in its order.
    pub(super) fn diagnostics(&self, problems: Vec<Problem>) -> Vec<Diagnostic> {
        diagnostics(&self.source, &self.named, problems)
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
fn only_once(problems: &mut Vec<Problem>) {
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
