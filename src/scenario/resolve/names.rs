//! Names: host names, each of which stands for one thing.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::scenario::cx::{Cx, Kind};
use crate::scenario::model::{OF_CLIENT, SERVERS, Spanned};
use crate::yaml::{Problem, Span};

/// Longest name, as DNS has it for a label.
const LONGEST: usize = 63;

/// The scenario's own name.
pub(super) fn of_scenario(cx: &mut Cx<'_>) -> Option<String> {
    let field = &cx.scenario.name;
    let name = field.get()?;
    let printable = !name.trim().is_empty() && !name.chars().any(char::is_control);
    if !printable || name.chars().count() > 120 {
        let message = "a scenario's name has 1 to 120 printable characters";
        cx.push(Problem::new(field.span, message));
    }
    Some(name.clone())
}

/// Looks at the names of nodes, servers, services and clients.
pub(super) fn of_things(cx: &mut Cx<'_>) {
    let mut seen: HashMap<&str, (Kind, Span)> = HashMap::new();
    for kind in Kind::ALL {
        for name in cx.names(kind).unwrap_or_default() {
            let Some(word) = name.get() else { continue };
            shape(cx, name);
            if kind == Kind::Client && word == SERVERS {
                let message =
                    format!("a client can't be called `{word}`: that is a field of `expect`");
                cx.push(Problem::new(name.span, message).help("name it e.g. `asking-servers`"));
            }
            let Some((first_kind, first)) = seen.get(word.as_str()).copied() else {
                seen.insert(word, (kind, name.span));
                continue;
            };
            let (one, other) = (first_kind.word(), kind.word());
            let message = match first_kind == kind {
                true => format!("two {} are called `{word}`", kind.words()),
                false => format!("a {one} and a {other} are both called `{word}`"),
            };
            let help = "nodes, servers, services, clients and middleboxes share one space of names: rename one";
            let problem = Problem::new(name.span, message).label("again");
            cx.push(problem.also(first, "first here").help(help));
        }
    }
}

/// Looks at the names of faults, which stand beside the metrics in `expect`.
pub(super) fn of_faults(cx: &mut Cx<'_>) {
    let faults = cx.scenario.faults.get().into_iter().flatten();
    let named = faults.filter_map(|fault| fault.get()?.name.as_ref());
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for name in named {
        let Some(word) = name.get() else { continue };
        shape(cx, name);
        if OF_CLIENT.contains(&word.as_str()) {
            let message = format!("a fault can't be called `{word}`: that is a field of `expect`");
            cx.push(Problem::new(name.span, message).help("name it e.g. `first`"));
        }
        match seen.get(word.as_str()) {
            None => drop(seen.insert(word, name.span)),
            Some(first) => {
                let problem = Problem::new(name.span, format!("two faults are called `{word}`"));
                let problem = problem.label("again").also(*first, "first here");
                cx.push(problem.help("rename one: expectations tell faults apart by their names"));
            }
        }
    }
}

/// A name must be a host name, and no address.
pub(super) fn shape(cx: &mut Cx<'_>, name: &Spanned<String>) {
    let Some(word) = name.get() else { return };
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let first = word.starts_with(|c: char| c.is_ascii_alphanumeric());
    let address = word.parse::<IpAddr>().is_ok();
    if !first || address || !word.chars().all(fine) || word.len() > LONGEST {
        let message = format!("`{}` can't be a name", word.escape_debug());
        cx.push(Problem::new(name.span, message).help(format!(
            "a name is a host name: letters, digits, `-`, `_` and `.`, at most {LONGEST} characters"
        )));
    }
}
