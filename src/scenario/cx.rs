//! What a resolver gets: the scenario as one case of its matrix sees it, what of it is resolved so far, and where problems go.
//!
//! Checking is resolving. A resolver is `fn(&mut Cx, &Spec) -> Option<T>`, and `None` means that a problem was pushed. It
//! may push a problem and give a value all the same, so that what depends on it is looked at too: a scenario with a
//! problem becomes no case.

use std::path::{Path, PathBuf};

use super::model::{
    ClientSpec, CountersSpec, ExpectationsSpec, Named, OneOrList, Scenario, Spanned, Text,
};
use super::topology::Topology;
use crate::plan::{Location, MatrixValue};
use crate::yaml::matrix::Axis;
use crate::yaml::{Problem, Source, Span, given};

/// The kinds of things that share one space of names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Node,
    Server,
    Service,
    Client,
    Middlebox,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Node,
        Self::Server,
        Self::Service,
        Self::Client,
        Self::Middlebox,
    ];

    /// Several of it.
    pub(crate) fn words(self) -> String {
        let ending = match self {
            Self::Middlebox => "es",
            Self::Node | Self::Server | Self::Service | Self::Client => "s",
        };
        format!("{}{ending}", self.word())
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Server => "server",
            Self::Service => "service",
            Self::Client => "client",
            Self::Middlebox => "middlebox",
        }
    }
}

/// What a resolver gets.
pub(crate) struct Cx<'a> {
    pub(crate) scenario: &'a Scenario,
    /// The matrix, and which of its values this case has.
    pub(crate) axes: &'a [Axis],
    choice: &'a [usize],
    /// What has an address, as far as it is resolved: nodes, then servers, services and clients.
    pub(crate) topology: Topology,
    source: &'a Source,
    problems: Vec<Problem>,
    unresolved: Vec<Problem>,
}

impl<'a> Cx<'a> {
    /// The beginning of a case; `problems` are those that its text had already.
    pub(crate) fn new(
        scenario: &'a Scenario,
        (axes, choice): (&'a [Axis], &'a [usize]),
        source: &'a Source,
        problems: Vec<Problem>,
    ) -> Self {
        Self {
            scenario,
            axes,
            choice,
            topology: Topology::default(),
            source,
            problems,
            unresolved: Vec::new(),
        }
    }

    /// Reports a problem.
    pub(crate) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Where something stood, for plans and reports.
    pub(crate) fn locate(&self, span: Span) -> Location {
        self.source.location(span)
    }

    /// The folder that the scenario's file lies in.
    pub(crate) fn folder(&self) -> PathBuf {
        let file = std::path::absolute(self.source.name()).unwrap_or_default();
        file.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// Keeps account of a thing of the file: what is neither resolved nor refused is a defect. `what` is its kind and name.
    pub(crate) fn account<T>(&mut self, what: &str, span: Span, found: Option<T>) -> Option<T> {
        if found.is_none() {
            let message =
                format!("this is a defect of halfopen: {what} was neither resolved nor refused");
            let problem = Problem::new(span, message);
            self.unresolved
                .push(problem.help("please report it, with this file"));
        }
        found
    }

    /// Resolves every entry of a mapping. What could not be read is refused already.
    pub(crate) fn each<S, T>(
        &mut self,
        what: &str,
        named: Option<&'a Named<S>>,
        mut resolve: impl FnMut(&mut Self, &'a Spanned<String>, &'a S) -> Option<T>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for (name, spec) in named.into_iter().flat_map(|named| &named.0) {
            let found = spec.get().and_then(|spec| resolve(self, name, spec));
            let what = format!("{what} `{}`", name.get().map_or("?", String::as_str));
            all.extend(self.account(&what, name.span, found));
        }
        all
    }

    /// Resolves every item of a list. What could not be read is refused already.
    pub(crate) fn each_item<S, T>(
        &mut self,
        what: &str,
        items: Option<&'a Vec<Spanned<S>>>,
        mut resolve: impl FnMut(&mut Self, &'a Spanned<S>, &'a S) -> Option<T>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for item in items.into_iter().flatten() {
            let found = item.get().and_then(|spec| resolve(self, item, spec));
            all.extend(self.account(what, item.span, found));
        }
        all
    }

    /// Every problem of the case. Where there is none, everything in the file has been resolved; what has not is a defect
    /// of this program, and said to be one.
    pub(crate) fn finish(self) -> Vec<Problem> {
        match self.problems.is_empty() {
            true => self.unresolved,
            false => self.problems,
        }
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_right(&self) -> bool {
        self.problems.is_empty() && self.unresolved.is_empty()
    }

    /// Every name of a kind, in the file's order; `None` where the mapping itself could not be read.
    pub(crate) fn names(&self, kind: Kind) -> Option<Vec<&'a Spanned<String>>> {
        fn of<T>(named: &Named<T>) -> Vec<&Spanned<String>> {
            named.0.iter().map(|(name, _)| name).collect()
        }
        let scenario = self.scenario;
        match kind {
            Kind::Node => {
                let nodes = scenario.nodes.get()?;
                Some(nodes.0.iter().map(|(name, _)| name).collect())
            }
            Kind::Server => scenario.servers.get().map(of),
            Kind::Service => match &scenario.service {
                None => Some(Vec::new()),
                Some(services) => services.get().map(of),
            },
            Kind::Client => scenario.clients.get().map(of),
            Kind::Middlebox => match &scenario.middleboxes {
                None => Some(Vec::new()),
                Some(middleboxes) => middleboxes.get().map(of),
            },
        }
    }

    /// Every name of some kinds; `None` where one of the mappings could not be read.
    pub(crate) fn words(&self, kinds: &[Kind]) -> Option<Vec<&'a str>> {
        let mut words = Vec::new();
        for kind in kinds {
            let names = self.names(*kind)?;
            words.extend(names.iter().filter_map(|n| n.get()).map(String::as_str));
        }
        Some(words)
    }

    /// The thing of this kind that is called so; if there is none, that is reported.
    pub(crate) fn existing<'n>(
        &mut self,
        kind: Kind,
        name: &'n Spanned<String>,
    ) -> Option<&'n str> {
        let word = name.get()?.as_str();
        let known = self.words(&[kind])?;
        if known.contains(&word) {
            return Some(word);
        }
        let what = kind.word();
        let is = |kind: &Kind| self.words(&[*kind]).unwrap_or_default().contains(&word);
        let message = match Kind::ALL.into_iter().find(is) {
            Some(other) => format!("`{word}` is a {}, a {what} is needed here", other.word()),
            None => format!("no {what} named `{word}`"),
        };
        let problem = Problem::new(name.span, message)
            .help(format!("the scenario has no {what} at all"))
            .suggest(word, known);
        self.push(problem);
        None
    }

    /// The client called `name`, as the file has it.
    pub(crate) fn client(&self, name: &str) -> Option<&'a ClientSpec> {
        self.scenario.clients.get()?.find(name)?.get()
    }

    /// The matrix's values that this case has.
    pub(crate) fn matrix_values(&self) -> Vec<MatrixValue> {
        let chosen = self.axes.iter().zip(self.choice);
        let each = chosen.map(|(axis, i)| MatrixValue {
            path: axis.path.to_string(),
            key: axis.label.clone(),
            value: axis.value_label(*i),
        });
        each.collect()
    }

    /// Whether the case has one of the values under each of these matrix keys.
    pub(crate) fn has(&self, matrix: &Named<OneOrList<Text>>) -> bool {
        matrix.iter().all(|(_, key, OneOrList(wanted))| {
            let mut axes = self.axes.iter().zip(self.choice);
            let value = axes.find(|(axis, _)| axis.is_called(key));
            let value = value.map(|(axis, i)| axis.value_label(*i));
            let mut wanted = wanted.iter().filter_map(Spanned::get);
            wanted.any(|w| Some(&w.0) == value.as_ref())
        })
    }

    /// `expect` and those of `expect_when`, each with whether it counts in this case. The later one of two counts.
    pub(crate) fn expectations(&self) -> Vec<(bool, &'a ExpectationsSpec)> {
        let when = given(&self.scenario.expect_when).into_iter().flatten();
        let when = when.filter_map(Spanned::get).filter_map(|entry| {
            let counts = entry.matrix.get().is_some_and(|matrix| self.has(matrix));
            Some((counts, entry.expect.get()?))
        });
        let always = given(&self.scenario.expect).map(|expect| (true, expect));
        always.into_iter().chain(when).collect()
    }

    /// As [`Cx::expectations`], of counters.
    pub(crate) fn expected_counters(&self) -> Vec<(bool, &'a Spanned<CountersSpec>)> {
        let when = given(&self.scenario.expect_when).into_iter().flatten();
        let when = when.filter_map(Spanned::get).filter_map(|entry| {
            let counts = entry.matrix.get().is_some_and(|matrix| self.has(matrix));
            Some((counts, entry.expect_counters.as_ref()?))
        });
        let always = self.scenario.expect_counters.as_ref();
        let always = always.map(|expected| (true, expected));
        always.into_iter().chain(when).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{decode, tree};

    const TEXT: &str = "name: t\nnodes: [n]\nservers:\n  web: { node: n }\n  api: { node: n }\n\
                        clients: {}\nfaults: [{ at: 5s, fault: { power_loss: { node: n } } }]\n";

    /// What is found where servers and faults are resolved like this.
    fn found(
        server: fn(&mut Cx<'_>, &str) -> Option<()>,
        fault: fn() -> Option<()>,
    ) -> Vec<(String, String)> {
        let root = tree::parse(TEXT, &mut Vec::new()).expect("it is YAML");
        let scenario: Scenario = decode::decode(&root, &mut Vec::new()).expect("a scenario");
        let source = Source::new("t.yaml", TEXT);
        let mut cx = Cx::new(&scenario, (&[], &[]), &source, Vec::new());
        cx.each("server", scenario.servers.get(), |cx, name, _| {
            server(cx, name.get()?)
        });
        cx.each_item("this fault", scenario.faults.get(), |_, _, _| fault());
        let found = cx.finish().into_iter();
        found
            .map(|p| (p.message, TEXT[p.span.range()].to_owned()))
            .collect()
    }

    fn defect(what: &str) -> String {
        format!("this is a defect of halfopen: {what} was neither resolved nor refused")
    }

    #[test]
    fn what_is_neither_resolved_nor_refused_is_a_defect_and_says_so() {
        let forgets = |_: &mut Cx<'_>, name: &str| (name != "web").then_some(());
        let expected = [
            (defect("server `web`"), "web".to_owned()),
            (
                defect("this fault"),
                "{ at: 5s, fault: { power_loss: { node: n } } }".to_owned(),
            ),
        ];
        assert_eq!(found(forgets, || None), expected);
    }

    #[test]
    fn what_is_refused_is_no_defect_and_neither_is_what_waits_for_it() {
        let refuses = |cx: &mut Cx<'_>, name: &str| {
            if name == "web" {
                cx.push(Problem::new(Span { start: 0, end: 4 }, "no"));
            }
            None
        };
        let expected = [("no".to_owned(), "name".to_owned())];
        assert_eq!(found(refuses, || None), expected);
        let all = |_: &mut Cx<'_>, _: &str| Some(());
        assert_eq!(found(all, || Some(())), []);
    }
}
