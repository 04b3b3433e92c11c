//! The matrix: dotted paths into the file, each with the values it shall take.
//!
//! It is applied to the tree before the tree gets its shape, so a bad value is reported where it stands in the matrix.

use std::rc::Rc;

use super::diagnostic::{Problem, list, suggest};
use super::source::Span;
use super::tree::{Entry, Node, Value};

/// Most cases one file may make.
pub(crate) const MAX_CASES: usize = 10_000;
/// Most values to look at over all cases: what keeps `check` of a large file times a large matrix within seconds.
const MAX_WORK: usize = 20_000_000;

/// What a matrix may do to the files it stands in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Top-level mappings from names, each with what one of its entries is called: the matrix may change what has a name,
    /// but not add a name.
    pub(crate) named: &'static [(&'static str, &'static str)],
    /// The one of these that may be a list of names, short for a mapping from names to nothing.
    pub(crate) listed: &'static str,
    /// Mappings of this name have keys with dots in them.
    pub(crate) dotted: &'static str,
}

/// One path and its values.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    pub(crate) path: Rc<str>,
    pub(crate) span: Span,
    /// The shortest end of the path that no other axis has.
    pub(crate) label: String,
    pub(crate) values: Vec<Rc<Node>>,
    /// What each value is called, where the file says so.
    names: Option<Vec<String>>,
}

impl Axis {
    /// A path with one value, which no file names.
    pub(crate) fn of(path: &str, value: Rc<Node>) -> Self {
        Self {
            path: path.into(),
            span: Span::default(),
            label: path.to_owned(),
            values: vec![value],
            names: None,
        }
    }

    /// How the `i`-th value is written in a case's name: as the file calls it, else as it is.
    pub(crate) fn value_label(&self, i: usize) -> String {
        const LONGEST: usize = 40;
        if let Some(name) = self.names.as_ref().and_then(|names| names.get(i)) {
            return name.clone();
        }
        let flow = self.values[i].flow().replace(['\n', '\r'], " ");
        match flow.chars().count() <= LONGEST {
            true => flow,
            false => format!("#{}", i + 1),
        }
    }

    /// Whether `key` means this axis: its whole path, or an end of it that begins at a dot.
    pub(crate) fn is_called(&self, key: &str) -> bool {
        *self.path == *key || self.label == key
    }
}

/// Reads `matrix:` from the file's root.
pub(crate) fn read(root: &Node, problems: &mut Vec<Problem>) -> Vec<Axis> {
    let Some(matrix) = root.get("matrix") else {
        return Vec::new();
    };
    let Value::Map(entries) = &matrix.value.value else {
        let message = format!(
            "expected a mapping from paths to lists of values, found {}",
            matrix.value.describe()
        );
        problems.push(
            Problem::new(matrix.value.span, message)
                .help("write e.g. `sysctls.net.ipv4.tcp_retries2: [15, 9, 8, 5]`"),
        );
        return Vec::new();
    };
    let mut axes: Vec<Axis> = entries
        .iter()
        .filter_map(|entry| axis(entry, problems))
        .collect();
    let paths: Vec<Rc<str>> = axes.iter().map(|a| Rc::clone(&a.path)).collect();
    for axis in &mut axes {
        axis.label = shortest(&axis.path, &paths);
    }
    let cases = axes
        .iter()
        .try_fold(1_usize, |n, axis| n.checked_mul(axis.values.len()));
    let limit = MAX_CASES.min(MAX_WORK / root.size.max(1));
    match cases {
        Some(n) if n <= limit => axes,
        _ => {
            let factors: Vec<String> = axes.iter().map(|a| a.values.len().to_string()).collect();
            let message = format!("the matrix makes {} cases", factors.join(" × "));
            problems.push(Problem::new(matrix.key_span, message).help(format!(
                "a file of this size can have {limit}; drop values, or split the file"
            )));
            Vec::new()
        }
    }
}

fn axis(entry: &Entry, problems: &mut Vec<Problem>) -> Option<Axis> {
    let (names, values) = match &entry.value.value {
        Value::List(values) => (None, values.clone()),
        Value::Map(named) => {
            let names = named.iter().map(|one| one.key.to_string()).collect();
            let values = named.iter().map(|one| Rc::clone(&one.value)).collect();
            (Some(names), values)
        }
        Value::Scalar { .. } => {
            let found = entry.value.describe();
            let message = format!(
                "expected a list of values, or a mapping from names to them, found {found}"
            );
            let help = format!("write `[{}]`", entry.value.flow());
            problems.push(Problem::new(entry.value.span, message).help(help));
            return None;
        }
    };
    if values.is_empty() {
        problems.push(
            Problem::new(
                entry.value.span,
                "a matrix key without values makes no case",
            )
            .help("name at least one value, or delete the line"),
        );
        return None;
    }
    let mut seen = std::collections::HashMap::new();
    // Of those that are called something the names tell them apart.
    for value in values.iter().filter(|_| names.is_none()) {
        if let Some(first) = seen.insert(value.flow(), value.span) {
            let message = format!("{} is here twice", value.describe());
            problems.push(
                Problem::new(value.span, message)
                    .also(first, "first here")
                    .help("both would make a case of the same name"),
            );
            return None;
        }
    }
    Some(Axis {
        path: entry.key.as_str().into(),
        span: entry.key_span,
        label: String::new(),
        values,
        names,
    })
}

/// The shortest end of `path`, cut at a dot, that no other path ends with.
fn shortest(path: &str, all: &[Rc<str>]) -> String {
    let ends = path.rmatch_indices('.').map(|(at, _)| &path[at + 1..]);
    let alone = |end: &&str| {
        let dotted = format!(".{end}");
        let same = all.iter().filter(|p| ***p == **end || p.ends_with(&dotted));
        same.count() == 1
    };
    ends.into_iter().find(alone).unwrap_or(path).to_owned()
}

/// One combination: the index of each axis's value.
pub(crate) type Choice = Vec<usize>;

/// All combinations; the last axis changes fastest.
pub(crate) fn choices(axes: &[Axis]) -> impl Iterator<Item = Choice> + use<> {
    let sizes: Vec<usize> = axes.iter().map(|a| a.values.len()).collect();
    let total = sizes.iter().product::<usize>();
    (0..total).map(move |mut n| {
        let mut choice: Choice = sizes
            .iter()
            .rev()
            .map(|size| {
                let i = n % size;
                n /= size;
                i
            })
            .collect();
        choice.reverse();
        choice
    })
}

/// A combination's name.
pub(crate) fn case_name(axes: &[Axis], choice: &[usize]) -> String {
    if axes.is_empty() {
        return "default".to_owned();
    }
    let parts: Vec<String> = axes
        .iter()
        .zip(choice)
        .map(|(axis, i)| format!("{}={}", axis.label, axis.value_label(*i)))
        .collect();
    parts.join(",")
}

/// The tree with the chosen values in their places.
pub(crate) fn apply(
    root: &Rc<Node>,
    axes: &[Axis],
    choice: &[usize],
    shape: Shape,
    problems: &mut Vec<Problem>,
) -> Rc<Node> {
    let mut tree = Rc::clone(root);
    for (axis, i) in axes.iter().zip(choice) {
        let parts: Vec<&str> = axis.path.split('.').collect();
        let place = Place {
            axis,
            value: &axis.values[*i],
            shape,
        };
        match place.put(&tree, &parts, 0) {
            Ok(new) => tree = new,
            Err(problem) => problems.push(*problem),
        }
    }
    tree
}

/// A value on its way to its place.
struct Place<'a> {
    axis: &'a Axis,
    value: &'a Rc<Node>,
    shape: Shape,
}

impl Place<'_> {
    /// A copy of `node` in which what lies at `parts[done..]` is the value.
    fn put(&self, node: &Rc<Node>, parts: &[&str], done: usize) -> Result<Rc<Node>, Box<Problem>> {
        if done == parts.len() {
            return Ok(Rc::clone(self.value));
        }
        match &node.value {
            Value::Map(entries) => self.put_in_map(node.span, entries, parts, done),
            Value::List(items) if done == 1 && parts[0] == self.shape.listed => {
                // A list of names is short for a mapping from names to nothing.
                let entries: Vec<Entry> = items.iter().filter_map(name_entry).collect();
                self.put_in_map(node.span, &entries, parts, done)
            }
            Value::List(items) => {
                let index: Option<usize> = parts[done].parse().ok();
                let Some(item) = index.and_then(|i| items.get(i)) else {
                    let here = parts[..done].join(".");
                    let help = format!("`{here}` is a list of {}, counted from 0", items.len());
                    return Err(
                        self.nothing(&format!("no item `{}` there", parts[done]), Some(help))
                    );
                };
                let new = self.put(item, parts, done + 1)?;
                let mut items = items.clone();
                items[index.unwrap_or_default()] = new;
                Ok(Rc::new(Node::list(node.span, items)))
            }
            Value::Scalar { .. } if node.is_null() => self.put_in_map(node.span, &[], parts, done),
            Value::Scalar { .. } => {
                let why = format!(
                    "`{}` is the value {}",
                    parts[..done].join("."),
                    node.describe()
                );
                Err(self.nothing(&why, None))
            }
        }
    }

    fn put_in_map(
        &self,
        span: Span,
        entries: &[Entry],
        parts: &[&str],
        done: usize,
    ) -> Result<Rc<Node>, Box<Problem>> {
        // Names and sysctls may contain dots: the longest key that is there counts.
        let existing = (done + 1..=parts.len()).rev().find_map(|end| {
            let key = parts[done..end].join(".");
            let at = entries.iter().position(|e| e.key == key)?;
            Some((at, end))
        });
        let mut entries = entries.to_vec();
        match existing {
            Some((at, end)) => entries[at].value = self.put(&entries[at].value, parts, end)?,
            None => {
                let end = match parts[..done].last() {
                    Some(&key) if key == self.shape.dotted => parts.len(),
                    _ => done + 1,
                };
                self.may_add(&entries, parts, done)?;
                let nothing = Rc::new(Node::scalar(self.axis.span, "", true));
                entries.push(Entry {
                    key: parts[done..end].join("."),
                    key_span: self.axis.span,
                    value: self.put(&nothing, parts, end)?,
                    matrix_key: Some(Rc::clone(&self.axis.path)),
                });
            }
        }
        Ok(Rc::new(Node::map(span, entries)))
    }

    /// Fields may be added, and are looked at with the rest of the tree; named things may not.
    fn may_add(&self, entries: &[Entry], parts: &[&str], done: usize) -> Result<(), Box<Problem>> {
        if done == 0 && parts[0] == "matrix" {
            return Err(self.nothing("the matrix can't change itself", None));
        }
        let mut named = self.shape.named.iter();
        let named = named.find(|(key, _)| done == 1 && parts[0] == *key);
        let Some((_, what)) = named else {
            return Ok(());
        };
        let known: Vec<&str> = entries.iter().map(|e| e.key.as_str()).collect();
        let help = suggest(parts[done], known.iter().copied())
            .unwrap_or_else(|| format!("known are {}", list(&known)));
        Err(self.nothing(&format!("there is no {what} `{}`", parts[done]), Some(help)))
    }

    fn nothing(&self, why: &str, help: Option<String>) -> Box<Problem> {
        let message = format!("matrix key `{}` matches nothing: {why}", self.axis.path);
        let mut problem = Problem::new(self.axis.span, message);
        problem.help = help;
        Box::new(problem)
    }
}

fn name_entry(node: &Rc<Node>) -> Option<Entry> {
    match &node.value {
        Value::Scalar { text, .. } => Some(Entry {
            key: text.clone(),
            key_span: node.span,
            value: Rc::new(Node::scalar(node.span, "", true)),
            matrix_key: None,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    const SHAPE: Shape = Shape {
        named: &[("clients", "client")],
        listed: "nodes",
        dotted: "sysctls",
    };

    fn expand(text: &str) -> (Vec<(String, String)>, Vec<String>) {
        let mut problems = Vec::new();
        let root = tree::parse(text, &mut problems).expect("parses");
        let axes = read(&root, &mut problems);
        let mut cases = Vec::new();
        for choice in choices(&axes) {
            let tree = apply(&root, &axes, &choice, SHAPE, &mut problems);
            cases.push((case_name(&axes, &choice), tree.flow()));
        }
        (cases, problems.into_iter().map(|p| p.message).collect())
    }

    #[test]
    fn every_combination_is_a_case_named_by_its_values() {
        let (cases, problems) = expand(
            "clients: {a: {profile: x}}\nmatrix: {sysctls.net.ipv4.tcp_retries2: [15, 9], clients.a.profile: [x, y]}\n",
        );
        let names: Vec<&str> = cases.iter().map(|c| c.0.as_str()).collect();
        assert_eq!(
            names,
            [
                "tcp_retries2=15,profile=x",
                "tcp_retries2=15,profile=y",
                "tcp_retries2=9,profile=x",
                "tcp_retries2=9,profile=y"
            ]
        );
        assert!(cases[3].1.contains("profile: y"));
        assert!(cases[3].1.contains("sysctls: {net.ipv4.tcp_retries2: 9}"));
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn labels_grow_until_they_differ() {
        let (cases, _) = expand(
            "clients: {a: {profile: x}, b: {profile: x}}\nmatrix: {clients.a.profile: [x], clients.b.profile: [y]}\n",
        );
        assert_eq!(cases[0].0, "a.profile=x,b.profile=y");
    }

    #[test]
    fn a_path_into_nothing_is_reported() {
        let (_, problems) =
            expand("clients: {web: {profile: x}}\nmatrix: {clients.wep.profile: [y]}\n");
        assert_eq!(
            problems,
            ["matrix key `clients.wep.profile` matches nothing: there is no client `wep`"]
        );
    }

    #[test]
    fn nodes_written_as_a_list_can_get_sysctls() {
        let (cases, _) =
            expand("nodes: [n1, n2]\nmatrix: {nodes.n2.sysctls.net.ipv4.tcp_retries2: [5]}\n");
        assert!(
            cases[0]
                .1
                .contains("n2: {sysctls: {net.ipv4.tcp_retries2: 5}}"),
            "{}",
            cases[0].1
        );
    }

    #[test]
    fn too_many_cases_are_an_error() {
        let values: Vec<String> = (0..101).map(|n| n.to_string()).collect();
        let values = values.join(", ");
        let (_, problems) = expand(&format!("matrix: {{a: [{values}], b: [{values}]}}\n"));
        assert_eq!(problems, ["the matrix makes 101 × 101 cases"]);
    }
}
