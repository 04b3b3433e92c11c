//! What must hold of the counters of a namespace.

use serde::{Deserialize, Serialize};

use super::Location;
use super::expectation::applies;
use super::listening::EMULATED;
use super::topology::Topology;
use super::{CountWindow, Place};
use crate::scenario::counters::{CounterSpec, CountersSpec};
use crate::scenario::model::{Bounds, Spanned};
use crate::scenario::{Span, Variant, given};

/// What must hold of a counter of a node or pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CounterExpectation {
    /// As named in the scenario: a node, a server or a client.
    pub of: String,
    /// The node or pod whose namespace counts.
    pub place: String,
    /// The counter, with its group, e.g. `TcpExt.ListenDrops`.
    pub counter: String,
    /// What it must have grown by, from the case's start to its end.
    pub growth: Growth,
    /// As written, e.g. `web TcpExt.ListenDrops: at least 1`.
    pub text: String,
    /// Where it stood.
    pub location: Location,
}

/// By how much a counter must have grown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// A number in a window.
    Within(CountWindow),
    /// As much as another counter of the same namespace.
    SameAs(String),
}

/// What is expected of a case's counters. What `expect_when` says of a counter comes in place of the rest.
pub(super) fn of(
    variant: &Variant,
    topology: &Topology,
    locate: &dyn Fn(Span) -> Location,
) -> Vec<CounterExpectation> {
    let mut all: Vec<CounterExpectation> = Vec::new();
    for spec in blocks(variant) {
        for (_, of, counters) in spec.iter() {
            let Some(place) = place_of(of, topology) else {
                continue;
            };
            for (name, counter, spec) in counters.iter() {
                let Some((growth, words)) = growth(spec) else {
                    continue;
                };
                let expectation = CounterExpectation {
                    of: of.to_owned(),
                    place: place.clone(),
                    counter: counter.to_owned(),
                    growth,
                    text: format!("{of} {counter}: {words}"),
                    location: locate(name.span),
                };
                match all
                    .iter()
                    .position(|e| e.of == of && e.counter == expectation.counter)
                {
                    Some(at) => all[at] = expectation,
                    None => all.push(expectation),
                }
            }
        }
    }
    all
}

/// The kernel's counters that are asked for by name, with the place where the first of each stood.
pub(super) fn named(expectations: &[CounterExpectation]) -> Vec<(String, Location)> {
    let mut named: Vec<(String, Location)> = Vec::new();
    for expectation in expectations {
        let other = match &expectation.growth {
            Growth::SameAs(other) => Some(other),
            Growth::Within(_) => None,
        };
        for counter in [Some(&expectation.counter), other].into_iter().flatten() {
            let emulated = counter.starts_with(EMULATED);
            if !emulated && named.iter().all(|(known, _)| known != counter) {
                named.push((counter.clone(), expectation.location.clone()));
            }
        }
    }
    named
}

/// `expect_counters`, and what of `expect_when` applies.
fn blocks(variant: &Variant) -> impl Iterator<Item = &CountersSpec> {
    let when = given(&variant.scenario.expect_when).into_iter().flatten();
    let when = when
        .filter_map(Spanned::get)
        .filter(|entry| applies(entry, variant));
    let always = given(&variant.scenario.expect_counters);
    always
        .into_iter()
        .chain(when.filter_map(|entry| given(&entry.expect_counters)))
}

/// The node or pod whose namespace a node, server or client has.
pub(crate) fn place_of(name: &str, topology: &Topology) -> Option<String> {
    if topology.node(name).is_some() {
        return Some(name.to_owned());
    }
    let server = topology.server(name).map(|server| &server.place);
    let (Place::Node(place) | Place::Pod(place)) = server.or_else(|| topology.clients.get(name))?;
    Some(place.clone())
}

fn growth(spec: &CounterSpec) -> Option<(Growth, String)> {
    let window = |min, max| Growth::Within(CountWindow { min, max });
    Some(match spec {
        CounterSpec::AtMost(n) => (window(0, Some(*n)), format!("at most {n}")),
        CounterSpec::AtLeast(n) => (window(*n, None), format!("at least {n}")),
        CounterSpec::Exactly(n) => (window(*n, Some(*n)), format!("exactly {n}")),
        CounterSpec::Between(Bounds(bounds)) => match bounds.as_slice() {
            [min, max] => {
                let (min, max) = (*min.get()?, *max.get()?);
                (window(min, Some(max)), format!("between {min} and {max}"))
            }
            _ => return None,
        },
        CounterSpec::SameAs(other) => (
            Growth::SameAs(other.clone()),
            format!("the same as {other}"),
        ),
    })
}
