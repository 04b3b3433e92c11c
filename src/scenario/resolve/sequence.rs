//! Faults in their order: what is broken twice, or mended though it is whole.

use std::time::Duration;

use super::fault::Found;
use crate::plan::{Effect, Process};
use crate::scenario::cx::Cx;
use crate::yaml::{Problem, Span};

/// What is broken twice, or mended though it is whole.
pub(super) fn check(cx: &mut Cx<'_>, faults: &[Found]) {
    let each = faults.iter().flat_map(|fault| changes(cx, faults, fault));
    let mut changes: Vec<Change> = each.collect();
    // Those of one time in the file's order.
    changes.sort_by_key(|change| change.at);
    let mut broken: Vec<&Change> = Vec::new();
    for change in &changes {
        let before = broken.iter().position(|b| b.what == change.what);
        match (&change.does, before) {
            (Does::Break, None) | (Does::BreakPerhaps, None) => broken.push(change),
            (Does::Break, Some(n)) if matches!(broken[n].does, Does::BreakPerhaps) => {
                broken[n] = change;
            }
            (Does::Break, Some(n)) => {
                let problem = Problem::new(change.span, change.what.twice());
                cx.push(problem.also(broken[n].span, "first here"));
            }
            (Does::Mend | Does::Heal, Some(n)) => {
                broken.remove(n);
            }
            (Does::Mend, None) => {
                let problem = Problem::new(change.span, change.what.whole());
                cx.push(problem.help(change.what.first()));
            }
            (Does::BreakPerhaps, Some(_)) | (Does::Heal, None) => {}
        }
    }
}

/// What a fault does to things that can be broken once only.
fn changes(cx: &Cx<'_>, all: &[Found], found: &Found) -> Vec<Change> {
    let (at, span) = (found.earliest, found.struck);
    let mut changes = Vec::new();
    for effect in &found.fault.effects {
        let Some((what, does)) = change(effect) else {
            continue;
        };
        if let (Thing::Power(node), Does::Break) = (&what, does) {
            changes.extend(removals(cx, node, at, span));
        }
        if let (Thing::Power(node), Some(back)) = (&what, back(does, found)) {
            changes.extend(returns(cx, all, node, back, span));
        }
        if let Some(lasts) = found.fault.lasts {
            changes.push(Change {
                what: what.clone(),
                at: at + lasts,
                does: match does {
                    Does::Mend => Does::BreakPerhaps,
                    Does::Break | Does::BreakPerhaps | Does::Heal => Does::Heal,
                },
                span,
            });
        }
        changes.push(Change {
            what,
            at,
            does,
            span,
        });
    }
    changes
}

/// The endpoints that leave their services' rules because their node lost its power.
fn removals(cx: &Cx<'_>, node: &str, at: Duration, span: Span) -> Vec<Change> {
    let services = cx.topology.services.iter();
    let leaving = services.flat_map(|service| {
        let removal = service.removal;
        service.endpoints.iter().filter_map(move |endpoint| {
            let server = cx.topology.server(&endpoint.server)?;
            (server.node == node).then_some(Change {
                what: Thing::Endpoint(endpoint.server.clone(), service.name.clone()),
                at: at + removal?,
                does: Does::BreakPerhaps,
                span,
            })
        })
    });
    leaving.collect()
}

/// When a fault of a node's power gives it back.
fn back(does: Does, found: &Found) -> Option<Duration> {
    match does {
        Does::Mend => Some(found.earliest),
        Does::Break | Does::BreakPerhaps | Does::Heal => Some(found.earliest + found.fault.lasts?),
    }
}

/// The endpoints that are in their services' rules again because their node has its power back.
fn returns(cx: &Cx<'_>, all: &[Found], node: &str, back: Duration, span: Span) -> Vec<Change> {
    let services = cx.topology.services.iter();
    let returning = services.flat_map(|service| {
        service.endpoints.iter().filter_map(move |endpoint| {
            let server = cx.topology.server(&endpoint.server)?;
            let faults = all.iter().map(|found| &found.fault);
            let by_itself = server.node == node && !service.is_put_back(&server.name, faults);
            by_itself.then_some(Change {
                what: Thing::Endpoint(endpoint.server.clone(), service.name.clone()),
                at: back + service.readiness?,
                does: Does::Heal,
                span,
            })
        })
    });
    returning.collect()
}

/// What an effect does to a thing that can be broken once only; `None` of those that may be in force several times.
fn change(effect: &Effect) -> Option<(Thing, Does)> {
    Some(match effect {
        Effect::Stop { node } => (Thing::Power(node.clone()), Does::Break),
        Effect::Restore { node } => (Thing::Power(node.clone()), Does::Mend),
        Effect::Kill {
            process: Process::Server(name) | Process::Client(name),
        } => (Thing::Process(name.clone()), Does::Break),
        Effect::Hang { server } => (Thing::Hang(server.clone()), Does::Break),
        Effect::Carrier { behind } => (Thing::Link(behind.to_string()), Does::Break),
        Effect::Rules {
            service,
            server,
            out,
        } => {
            let does = if *out { Does::Break } else { Does::Mend };
            (Thing::Endpoint(server.clone(), service.clone()), does)
        }
        Effect::Silence { .. }
        | Effect::Drop { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. }
        | Effect::Forget { .. }
        | Effect::Destroy { .. }
        | Effect::LoseState { .. } => return None,
    })
}

/// What can be broken, and has to be whole before it can be broken again.
#[derive(Debug, Clone, PartialEq)]
enum Thing {
    Power(String),
    Process(String),
    Hang(String),
    Link(String),
    Endpoint(String, String),
}

impl Thing {
    fn twice(&self) -> String {
        match self {
            Self::Power(node) => format!("node `{node}` loses its power twice"),
            Self::Process(name) => format!("`{name}` is killed twice"),
            Self::Hang(name) => format!("`{name}` hangs already"),
            Self::Link(name) => format!("the link of `{name}` is down already"),
            Self::Endpoint(server, service) => {
                format!("`{server}` has left the rules of `{service}` already")
            }
        }
    }

    /// It is mended, and was not broken. (Only power and endpoints have a fault that mends them.)
    fn whole(&self) -> String {
        match self {
            Self::Endpoint(server, service) => {
                format!("`{server}` is in the rules of `{service}` already")
            }
            Self::Power(name) | Self::Process(name) | Self::Hang(name) | Self::Link(name) => {
                format!("node `{name}` has its power: it never lost it before this")
            }
        }
    }

    fn first(&self) -> &'static str {
        match self {
            Self::Endpoint(..) => "let an `endpoint_removed` come before it",
            Self::Power(_) | Self::Process(_) | Self::Hang(_) | Self::Link(_) => {
                "let a `power_loss` of the node come before it"
            }
        }
    }
}

/// What a fault does to a thing.
#[derive(Debug, Clone, Copy)]
enum Does {
    Break,
    /// It breaks it, if it was whole: nobody says so in the file.
    BreakPerhaps,
    Mend,
    /// A `for` is over.
    Heal,
}

struct Change {
    what: Thing,
    at: Duration,
    does: Does,
    span: Span,
}
