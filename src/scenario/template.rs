//! A scenario into which values are put from outside, as its matrix would put them.

use std::path::Path;
use std::rc::Rc;

use super::load::File;
use super::resolve::PlanOptions;
use crate::plan::Case;
use crate::yaml::diagnostic::Diagnostic;
use crate::yaml::matrix::Axis;
use crate::yaml::source::Span;
use crate::yaml::tree::{Entry, Node, Value};
use crate::yaml::{Problem, list};

/// What a case is asked afterwards, and for how long, whoever puts values into it decides.
const LEFT_OUT: [&str; 7] = [
    "matrix",
    "expect",
    "expect_when",
    "expect_counters",
    "published",
    "repeat",
    "duration",
];
/// Long enough for whatever a scenario says of times.
const DURATION: &str = "24h";

/// A case of a scenario, open for values.
pub(crate) struct Template {
    file: File,
    root: Rc<Node>,
    options: PlanOptions,
    /// The case as it stands.
    pub(crate) case: Case,
}

/// A value for a place in the file.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    /// Dotted path, as a matrix has it.
    pub(crate) path: String,
    /// The value.
    pub(crate) value: Rc<Node>,
}

impl Template {
    /// Reads a scenario of which `filter` leaves one case.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn read(
        path: &Path,
        filter: Option<&str>,
        seed: u64,
    ) -> Result<Self, Vec<Diagnostic>> {
        // Whatever is wrong with the file is told as ever.
        let whole = PlanOptions { seed, filter: None };
        let file = File::read(path)?;
        let cases = file.cases(&whole)?;
        let scenario = cases.first().map(|case| case.scenario.clone());
        let scenario = scenario.unwrap_or_default();
        let wanted =
            |name: &str| filter.is_none_or(|text| format!("{scenario}/{name}").contains(text));
        let mut trees = file.trees();
        let all: Vec<String> = trees.iter().map(|(name, _)| name.clone()).collect();
        trees.retain(|(name, _)| wanted(name));
        let [(_, tree)] = trees.as_slice() else {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let message = match trees.len() {
                0 => String::from("no case's name contains what --filter says"),
                many => format!("this scenario makes {many} cases, and one is needed"),
            };
            let help = format!("choose one with --filter: {}", list(&all));
            let span = file
                .root
                .get("matrix")
                .map_or_else(Span::default, |matrix| matrix.key_span);
            return Err(file.diagnostics(vec![Problem::new(span, message).help(help)]));
        };
        let root = open(tree);
        let options = PlanOptions { seed, filter: None };
        let mut problems = Vec::new();
        let mut cases = file.case(&root, (&[], &[]), &options, &mut problems);
        if cases.is_empty() {
            return Err(file.diagnostics(problems));
        }
        Ok(Self {
            case: cases.remove(0),
            file,
            root,
            options,
        })
    }

    /// The case with values put in their places.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn with(&self, name: &str, values: &[Put]) -> Result<Case, Vec<Problem>> {
        let axes: Vec<Axis> = values
            .iter()
            .map(|put| Axis::of(&put.path, nowhere(&put.value)))
            .collect();
        let choice = vec![0; axes.len()];
        let mut problems = Vec::new();
        let cases = self
            .file
            .case(&self.root, (&axes, &choice), &self.options, &mut problems);
        match cases.into_iter().next() {
            Some(case) if problems.is_empty() => Ok(Case {
                name: name.to_owned(),
                // Where it comes from is what the caller knows.
                matrix: Vec::new(),
                ..case
            }),
            _ => Err(problems),
        }
    }

    /// A problem of the file, where a key of its stands.
    pub(crate) fn refuse(&self, key: &str, message: String, help: String) -> Vec<Diagnostic> {
        let span = self
            .root
            .get(key)
            .map_or_else(Span::default, |entry| entry.key_span);
        self.file
            .diagnostics(vec![Problem::new(span, message).help(help)])
    }
}

/// The tree without what is asked of the case, and with time enough.
fn open(tree: &Rc<Node>) -> Rc<Node> {
    let Value::Map(entries) = &tree.value else {
        return Rc::clone(tree);
    };
    let kept = entries
        .iter()
        .filter(|entry| !LEFT_OUT.contains(&entry.key.as_str()));
    let mut kept: Vec<Entry> = kept.cloned().collect();
    kept.push(Entry {
        key: String::from("duration"),
        key_span: Span::default(),
        value: Rc::new(Node::scalar(Span::default(), DURATION, true)),
        matrix_key: None,
    });
    Rc::new(Node::map(tree.span, kept))
}

/// A value that does not stand in the file.
fn nowhere(node: &Rc<Node>) -> Rc<Node> {
    let span = Span::default();
    Rc::new(match &node.value {
        Value::Scalar { text, plain } => Node::scalar(span, text, *plain),
        Value::List(items) => Node::list(span, items.iter().map(nowhere).collect()),
        Value::Map(entries) => {
            let entries = entries.iter().map(|entry| Entry {
                key: entry.key.clone(),
                key_span: span,
                value: nowhere(&entry.value),
                matrix_key: None,
            });
            Node::map(span, entries.collect())
        }
    })
}
