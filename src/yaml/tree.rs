//! YAML text as a tree in which every node knows where it stands.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::diagnostic::Problem;
use super::source::{CharOffsets, Span};

/// Values a file may have once its aliases are written out. A scenario of 2,000 clients fits.
pub(crate) const NODE_BUDGET: usize = 50_000;
/// How deep collections may nest; a scenario needs seven.
const DEPTH_LIMIT: usize = 64;

/// A YAML value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
    /// Values below and including this one, aliases written out.
    pub(crate) size: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar { text: String, plain: bool },
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Rc<Node>,
    /// The matrix key that put it here, if one did.
    pub(crate) matrix_key: Option<Rc<str>>,
}

impl Node {
    pub(crate) fn scalar(span: Span, text: &str, plain: bool) -> Self {
        let text = text.to_owned();
        Self {
            span,
            value: Value::Scalar { text, plain },
            size: 1,
        }
    }

    pub(crate) fn map(span: Span, entries: Vec<Entry>) -> Self {
        Self {
            span,
            size: 1 + entries.iter().map(|e| e.value.size).sum::<usize>(),
            value: Value::Map(entries),
        }
    }

    pub(crate) fn list(span: Span, items: Vec<Rc<Node>>) -> Self {
        Self {
            span,
            size: 1 + items.iter().map(|n| n.size).sum::<usize>(),
            value: Value::List(items),
        }
    }

    /// An empty value, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|e| e.key == key),
            _ => None,
        }
    }

    /// What it is, in a message.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            _ if self.is_null() => "nothing".to_owned(),
            Value::Scalar { text, .. } => format!("`{}`", shorten(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The value on one line, as flow YAML.
    pub(crate) fn flow(&self) -> String {
        match &self.value {
            Value::Scalar { text, .. } => text.clone(),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(|n| n.flow()).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Map(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|e| format!("{}: {}", e.key, e.value.flow()))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }
}

fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > 60 || line.len() < text.trim_end().len() {
        return format!("{}…", line.chars().take(60).collect::<String>());
    }
    line.to_owned()
}

/// Parses `text`, which must hold one document. Problems beside the tree do not stop the parse (duplicate keys);
/// without a tree nothing more can be said.
pub(crate) fn parse(text: &str, problems: &mut Vec<Problem>) -> Option<Rc<Node>> {
    let offsets = CharOffsets::of(text);
    let mut builder = Builder {
        problems,
        open: Vec::new(),
        anchors: HashMap::new(),
        total: 0,
        root: None,
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let at = offsets.byte(error.marker().index());
                let span = Span { start: at, end: at };
                let message = format!("this is not YAML: {}", error.info());
                builder.problems.push(Problem::new(span, message));
                return None;
            }
        };
        let span = Span {
            start: offsets.byte(span.start.index()),
            end: offsets.byte(span.end.index()),
        };
        if let Err(problem) = builder.event(event, span) {
            builder.problems.push(*problem);
            return None;
        }
    }
    builder.root
}

struct Builder<'p> {
    problems: &'p mut Vec<Problem>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    total: usize,
    root: Option<Rc<Node>>,
}

/// A collection whose end has not come.
struct Open {
    span: Span,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>, Option<Key>),
}

/// A key whose value has not come; `None` = a key that was reported and is dropped with its value.
type Key = Option<(String, Span)>;

type Step = Result<(), Box<Problem>>;

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Step {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => Err(Problem::new(
                span,
                "a second YAML document begins here",
            )
            .help(
                "a file holds one scenario; put this one into a file of its own, or use `matrix:`",
            )
            .into()),
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    self.problems.push(tag_problem(span));
                }
                let node = Node::scalar(span, &text, style == ScalarStyle::Plain);
                self.count(1, span)?;
                self.add(Rc::new(node), anchor);
                Ok(())
            }
            Event::SequenceStart(anchor, tag) => {
                self.start(span, anchor, tag.is_some(), OpenKind::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.start(span, anchor, tag.is_some(), OpenKind::Map(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.end(span);
                Ok(())
            }
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                // The copy stands where the alias stands, its children where they were written.
                Some(node) => {
                    self.count(node.size, span)?;
                    self.add(
                        Rc::new(Node {
                            span,
                            ..(*node).clone()
                        }),
                        0,
                    );
                    Ok(())
                }
                None => Err(
                    Problem::new(span, "this alias stands inside its own anchor")
                        .help("a value can't contain itself")
                        .into(),
                ),
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn start(&mut self, span: Span, anchor: usize, tagged: bool, kind: OpenKind) -> Step {
        if tagged {
            self.problems.push(tag_problem(span));
        }
        if self.open.len() >= DEPTH_LIMIT {
            let message = format!("more than {DEPTH_LIMIT} collections inside each other");
            return Err(Problem::new(span, message)
                .help("a scenario needs no more than seven")
                .into());
        }
        self.count(1, span)?;
        self.open.push(Open { span, anchor, kind });
        Ok(())
    }

    fn count(&mut self, values: usize, span: Span) -> Step {
        self.total += values;
        if self.total <= NODE_BUDGET {
            return Ok(());
        }
        let message =
            format!("with its aliases written out, the file has more than {NODE_BUDGET} values");
        Err(Problem::new(span, message)
            .label("too many by here")
            .help("an alias brings a copy of everything below its anchor; aliases of aliases multiply")
            .into())
    }

    fn end(&mut self, span: Span) {
        let Some(open) = self.open.pop() else {
            return;
        };
        let whole = Span {
            start: open.span.start,
            end: span.end.max(open.span.start),
        };
        let node = match open.kind {
            OpenKind::List(items) => Node::list(whole, items),
            OpenKind::Map(entries, _) => Node::map(whole, entries),
        };
        self.add(Rc::new(node), open.anchor);
    }

    /// Gives a finished node to the collection around it.
    fn add(&mut self, node: Rc<Node>, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(open) => match &mut open.kind {
                OpenKind::List(items) => items.push(node),
                OpenKind::Map(entries, key @ None) => {
                    *key = Some(read_key(&node, entries, self.problems))
                }
                OpenKind::Map(entries, key) => {
                    if let Some(Some((key, key_span))) = key.take() {
                        entries.push(Entry {
                            key,
                            key_span,
                            value: with_place(node, key_span),
                            matrix_key: None,
                        });
                    }
                }
            },
        }
    }
}

/// A value that is not there has its key's place.
fn with_place(node: Rc<Node>, key_span: Span) -> Rc<Node> {
    match node.span.start == node.span.end && node.is_null() {
        true => Rc::new(Node {
            span: key_span,
            ..(*node).clone()
        }),
        false => node,
    }
}

fn read_key(node: &Node, entries: &[Entry], problems: &mut Vec<Problem>) -> Key {
    let Value::Scalar { text, plain } = &node.value else {
        let message = format!("a key must be a word, found {}", node.describe());
        problems.push(Problem::new(node.span, message));
        return None;
    };
    if text == "<<" && *plain {
        problems.push(
            Problem::new(node.span, "merge keys (`<<`) are not supported")
                .help("write the fields out; what several clients share belongs into `profiles:`"),
        );
        return None;
    }
    if let Some(first) = entries.iter().find(|e| e.key == *text) {
        problems.push(
            Problem::new(node.span, format!("`{text}` is here twice"))
                .label("again")
                .also(first.key_span, "first here")
                .help("names in one mapping must differ; delete or rename one"),
        );
        return None;
    }
    Some((text.clone(), node.span))
}

fn tag_problem(span: Span) -> Problem {
    Problem::new(span, "YAML tags are not supported").help("delete the `!…`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        parse(text, &mut problems);
        problems.into_iter().map(|p| p.message).collect()
    }

    #[test]
    fn an_alias_shares_its_anchor_and_stands_in_its_own_place() {
        let text = "a: &x {k: 1}\nb: *x\n";
        let root = parse(text, &mut Vec::new()).expect("parses");
        let (a, b) = (
            &root.get("a").expect("a").value,
            &root.get("b").expect("b").value,
        );
        assert_eq!(a.value, b.value);
        assert_eq!(&text[b.span.range()], "*x");
    }

    #[test]
    fn aliases_of_aliases_run_into_the_budget() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..20 {
            let alias = format!("*a{}", i - 1);
            let many = vec![alias; 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{many}]\n"));
        }
        let problems = problems_of(&text);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("aliases"), "{problems:?}");
    }

    #[test]
    fn an_alias_inside_its_anchor_is_an_error() {
        assert_eq!(
            problems_of("a: &x [*x]\n"),
            ["this alias stands inside its own anchor"]
        );
    }

    #[test]
    fn an_empty_value_has_its_keys_place() {
        let root = parse("a:\nb: 1\n", &mut Vec::new()).expect("parses");
        let entry = root.get("a").expect("a");
        assert_eq!(entry.value.span, entry.key_span);
    }
}
