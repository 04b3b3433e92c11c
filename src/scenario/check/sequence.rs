//! Faults in their order: what is broken twice, or mended though it is whole.

use std::time::Duration;

use super::Checker;
use super::faults::earliest;
use crate::scenario::diagnostic::Problem;
use crate::scenario::model::{EndpointSpec, FaultKindSpec, FaultSpec, Spanned};
use crate::scenario::source::Span;
use crate::scenario::value::given;

impl Checker<'_> {
    /// What is broken twice, or mended though it is whole.
    pub(super) fn sequences(&mut self, faults: &[Spanned<FaultSpec>]) {
        let mut changes: Vec<Change> = faults
            .iter()
            .filter_map(Spanned::get)
            .flat_map(|spec| self.changes(spec))
            .collect();
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
                    self.push(problem.also(broken[n].span, "first here"));
                }
                (Does::Mend | Does::Heal, Some(n)) => {
                    broken.remove(n);
                }
                (Does::Mend, None) => {
                    let problem = Problem::new(change.span, change.what.whole());
                    self.push(problem.help(change.what.first()));
                }
                (Does::BreakPerhaps, Some(_)) | (Does::Heal, None) => {}
            }
        }
    }

    /// What a fault does to things that can be broken once only.
    fn changes(&self, spec: &FaultSpec) -> Vec<Change> {
        let (Some(kind), Some(at)) = (spec.fault.get(), earliest(spec)) else {
            return Vec::new();
        };
        let name = |name: &Spanned<String>| name.get().cloned();
        let endpoint = |endpoint: &EndpointSpec| {
            Some(Thing::Endpoint(
                name(&endpoint.server)?,
                name(&endpoint.service)?,
            ))
        };
        let found = match kind {
            FaultKindSpec::PowerLoss(loss) => {
                name(&loss.node).map(|node| (Thing::Power(node), Does::Break, loss.node.span))
            }
            FaultKindSpec::PowerRestore(restore) => {
                let node = name(&restore.node);
                node.map(|node| (Thing::Power(node), Does::Mend, restore.node.span))
            }
            FaultKindSpec::ProcessKill(kill) => kill
                .server
                .as_ref()
                .or(kill.client.as_ref())
                .and_then(|n| Some((Thing::Process(name(n)?), Does::Break, n.span))),
            FaultKindSpec::Hang(hang) => {
                name(&hang.server).map(|s| (Thing::Hang(s), Does::Break, hang.server.span))
            }
            FaultKindSpec::LinkDown(down) => {
                let path = down.path();
                path.node
                    .or(path.server)
                    .or(path.client)
                    .and_then(|n| Some((Thing::Link(name(n)?), Does::Break, n.span)))
            }
            FaultKindSpec::EndpointRemoved(e) => {
                endpoint(e).map(|thing| (thing, Does::Break, e.server.span))
            }
            FaultKindSpec::EndpointAdded(e) => {
                endpoint(e).map(|thing| (thing, Does::Mend, e.server.span))
            }
            _ => None,
        };
        let Some((what, does, span)) = found else {
            return Vec::new();
        };
        let mut changes = Vec::new();
        if let (Thing::Power(node), Does::Break) = (&what, does) {
            changes.extend(self.removals(node, at, span));
        }
        if let Some(lasts) = given(&spec.lasts) {
            let does = match does {
                Does::Mend => Does::BreakPerhaps,
                _ => Does::Heal,
            };
            let (what, at) = (what.clone(), at + lasts.0);
            changes.push(Change {
                what,
                at,
                does,
                span,
            });
        }
        changes.push(Change {
            what,
            at,
            does,
            span,
        });
        changes
    }

    /// The endpoints that leave their services' rules because their node lost its power.
    fn removals(&self, node: &str, at: Duration, span: Span) -> Vec<Change> {
        let services = self.topology.services.iter();
        let leaving = services.flat_map(|service| {
            let removal = service.removal;
            service.endpoints.iter().filter_map(move |endpoint| {
                let server = self.topology.server(&endpoint.server)?;
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
            _ => "let a `power_loss` of the node come before it",
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
