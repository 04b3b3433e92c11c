//! What faults are checked against: the names of a scenario, and what stands where.

use crate::plan::{End, Proxy};
use crate::yaml::diagnostic::Problem;
use crate::yaml::source::Span;
use crate::yaml::value::Spanned;

/// A scenario as its faults see it. Names that are wrong are reported as they are looked up.
pub(crate) trait Context {
    /// Reports a problem.
    fn push(&mut self, problem: Problem);

    /// The node that is called so.
    fn node(&mut self, name: &Spanned<String>) -> Option<String>;

    /// The server that is called so.
    fn server(&mut self, name: &Spanned<String>) -> Option<String>;

    /// The service that is called so.
    fn service(&mut self, name: &Spanned<String>) -> Option<String>;

    /// The client that is called so.
    fn client(&mut self, name: &Spanned<String>) -> Option<String>;

    /// The middlebox that is called so, and the node whose uplink it sits on.
    fn middlebox(&mut self, name: &Spanned<String>) -> Option<(String, String)>;

    /// The names of all nodes, servers and clients, which can be ends of a path; `None` where some can't be read.
    fn ends(&self) -> Option<Vec<&str>>;

    /// What the name of a node, a server or a client stands for on a path; `None` where that is not known.
    fn end(&self, name: &str) -> Option<End>;

    /// The node that an end is, or is part of.
    fn machine(&self, end: &End) -> Option<String>;

    /// The servers behind a service, as far as they can be read.
    fn endpoints(&self, service: &str) -> Option<Vec<&str>>;

    /// How a service's connections find an endpoint.
    fn proxy(&self, service: &str) -> Proxy;

    /// A client whose sockets nobody can tell from those of `client`, and the node on whose network both run.
    fn twin(&self, client: &str) -> Option<(String, String)>;
}

/// Reports unless just one of `words` is given. Each is a field's name and, if it is given, where its value stands.
pub(super) fn just_one(
    words: &[(&str, Option<Span>)],
    span: Span,
    cx: &mut dyn Context,
) -> Option<()> {
    let given: Vec<Span> = words.iter().filter_map(|(_, span)| *span).collect();
    let all: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    let all = all.join(", ");
    match given[..] {
        [_] => return Some(()),
        [] => {
            let problem = Problem::new(span, "this fault does not say what it strikes");
            cx.push(problem.help(format!("name one of {all}")));
        }
        [first, second, ..] => {
            let message = format!("a fault strikes one thing: name just one of {all}");
            cx.push(Problem::new(second, message).also(first, "the other one"));
        }
    }
    None
}

/// Where a field's value stands, if it is given.
pub(super) fn span_of<T>(field: Option<&Spanned<T>>) -> Option<Span> {
    field.map(|field| field.span)
}
