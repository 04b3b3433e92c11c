//! What a scenario's parts say of each other: names that must exist, addresses that must differ, windows that must fit.
//!
//! Values that could not be read are passed over; they are reported already.

mod clients;
mod counters;
mod expectations;
mod faults;
mod listening;
mod network;
mod probes;
mod programs;
mod published;
mod repeat;
mod sequence;
mod workloads;

use super::diagnostic::{Problem, suggest};
use super::matrix::Axis;
use super::model::{Named, Scenario, Spanned};
use crate::plan::Location;
use crate::plan::topology::Topology;

/// Everything that is wrong with `scenario`, whose shape is known already.
pub(super) fn check(scenario: &Scenario, axes: &[Axis], problems: &mut Vec<Problem>) {
    let topology = Topology::build(scenario, &|_| Location::default());
    let mut checker = Checker {
        scenario,
        topology: &topology,
        problems,
    };
    checker.names();
    checker.network();
    checker.clients();
    checker.faults();
    checker.listening();
    checker.probes();
    checker.expectations(axes);
    checker.counters();
    checker.published();
    checker.repeat();
}

/// The kinds of things that share one space of names.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Node,
    Server,
    Service,
    Client,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Server => "server",
            Self::Service => "service",
            Self::Client => "client",
        }
    }
}

struct Checker<'a> {
    scenario: &'a Scenario,
    topology: &'a Topology,
    problems: &'a mut Vec<Problem>,
}

/// The names in a mapping, with their places.
fn names_of<T>(named: &Named<T>) -> Vec<&Spanned<String>> {
    named.0.iter().map(|(name, _)| name).collect()
}

impl<'a> Checker<'a> {
    fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Every name of a kind, in the file's order; `None` where the mapping itself could not be read.
    fn names_of_kind(&self, kind: Kind) -> Option<Vec<&'a Spanned<String>>> {
        let scenario = self.scenario;
        match kind {
            Kind::Node => {
                let nodes = scenario.nodes.get()?;
                Some(nodes.0.iter().map(|(name, _)| name).collect())
            }
            Kind::Server => scenario.servers.get().map(names_of),
            Kind::Service => match &scenario.service {
                None => Some(Vec::new()),
                Some(services) => services.get().map(names_of),
            },
            Kind::Client => scenario.clients.get().map(names_of),
        }
    }

    /// Reports `name` unless a thing of this kind is called so. True where nothing is known against it.
    fn must_be(&mut self, kind: Kind, name: &Spanned<String>) -> bool {
        let Some(word) = name.get() else {
            return false;
        };
        let Some(known) = self.names_of_kind(kind) else {
            return false;
        };
        let known: Vec<&str> = known
            .iter()
            .filter_map(|n| n.get())
            .map(String::as_str)
            .collect();
        if known.contains(&word.as_str()) {
            return true;
        }
        let other = [Kind::Node, Kind::Server, Kind::Service, Kind::Client]
            .into_iter()
            .find(|k| {
                let names = self.names_of_kind(*k).unwrap_or_default();
                names.iter().any(|n| n.get() == Some(word))
            });
        let what = kind.word();
        let message = match other {
            Some(other) => format!("`{word}` is a {}, a {what} is needed here", other.word()),
            None => format!("no {what} named `{word}`"),
        };
        let mut problem = Problem::new(name.span, message);
        problem.help = suggest(word, known.iter().copied())
            .or_else(|| Some(format!("the scenario has no {what} at all")));
        self.push(problem);
        false
    }

    /// Names are host names, so they are words, and each stands for one thing.
    fn names(&mut self) {
        let kinds = [Kind::Node, Kind::Server, Kind::Service, Kind::Client];
        let mut seen: Vec<(&str, Kind, &Spanned<String>)> = Vec::new();
        for kind in kinds {
            for name in self.names_of_kind(kind).unwrap_or_default() {
                let Some(word) = name.get() else {
                    continue;
                };
                self.name_shape(name.span, word);
                match seen.iter().find(|s| s.0 == word) {
                    None => seen.push((word, kind, name)),
                    Some((_, first_kind, first)) => {
                        let message = format!(
                            "a {} and a {} are both called `{word}`",
                            first_kind.word(),
                            kind.word()
                        );
                        let message = match *first_kind == kind {
                            true => format!("two {}s are called `{word}`", kind.word()),
                            false => message,
                        };
                        let problem = Problem::new(name.span, message)
                            .label("again")
                            .also(first.span, "first here")
                            .help("nodes, servers, services and clients share one space of names: rename one");
                        self.push(problem);
                    }
                }
            }
        }
        if let Some(name) = self.scenario.name.get()
            && (name.trim().is_empty()
                || name.chars().any(char::is_control)
                || name.chars().count() > 120)
        {
            let problem = Problem::new(
                self.scenario.name.span,
                "a scenario's name has 1 to 120 printable characters",
            );
            self.push(problem);
        }
        if let Some(Spanned {
            span,
            value: Some(time),
        }) = &self.scenario.duration
            && time.0.is_zero()
        {
            self.push(
                Problem::new(*span, "a case can't last no time at all").help("write e.g. `60s`"),
            );
        }
    }

    fn name_shape(&mut self, span: super::Span, name: &str) {
        const LONGEST: usize = 63;
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let first = name
            .chars()
            .next()
            .is_some_and(|c| c.is_ascii_alphanumeric());
        let address = name.parse::<std::net::IpAddr>().is_ok();
        if !first || address || !name.chars().all(fine) || name.len() > LONGEST {
            self.push(Problem::new(span, format!("`{}` can't be a name", name.escape_debug())).help(format!(
                "a name is a host name: letters, digits, `-`, `_` and `.`, at most {LONGEST} characters"
            )));
        }
    }
}
