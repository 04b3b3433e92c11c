//! What is expected of the kernel's counters: whose, of which names, and what a server's emulation has.

use super::window;
use crate::plan::{CounterExpectation, EMULATED, Growth, Location, Place};
use crate::scenario::cx::{Cx, Kind};
use crate::scenario::model::{CountWindowSpec, CounterSpec, CountersSpec, Spanned, Switch};
use crate::yaml::{Problem, Span, given, list};

/// Groups of the kernel's counters that are read.
const GROUPS: [&str; 4] = ["Ip", "Icmp", "Tcp", "TcpExt"];
/// The group of conntrack's, which only nodes have.
const CONNTRACK: &str = "nf_conntrack";

/// What is expected of a case's counters. What `expect_when` says of a counter comes in place of the rest.
pub(super) fn resolve(cx: &mut Cx<'_>) -> Vec<CounterExpectation> {
    let mut all: Vec<CounterExpectation> = Vec::new();
    for (counts, field) in cx.expected_counters() {
        for new in block(cx, field).into_iter().filter(|_| counts) {
            let same = |e: &CounterExpectation| e.of == new.of && e.counter == new.counter;
            match all.iter().position(same) {
                Some(at) => all[at] = new,
                None => all.push(new),
            }
        }
    }
    all
}

fn block(cx: &mut Cx<'_>, field: &Spanned<CountersSpec>) -> Vec<CounterExpectation> {
    let probes = given(&cx.scenario.probes);
    if let Some(off) = probes.and_then(|probes| probes.counters.as_ref())
        && off.get() == Some(&Switch::Off)
    {
        let problem = Problem::new(
            off.span,
            "counters are expected, but `counters: off` means that none are read",
        );
        cx.push(problem.help("leave `counters: off` out"));
    }
    let mut all = Vec::new();
    for (of, counters) in field.get().into_iter().flat_map(|named| &named.0) {
        let Some(place) = place(cx, of) else { continue };
        for (name, spec) in counters.get().into_iter().flat_map(|named| &named.0) {
            let expectation = expectation(cx, of, &place, name, spec);
            let what = format!("counter `{}`", name.get().map_or("?", String::as_str));
            all.extend(cx.account(&what, name.span, expectation));
        }
    }
    all
}

/// The node or pod whose counters those of a node, server or client are.
fn place(cx: &mut Cx<'_>, name: &Spanned<String>) -> Option<String> {
    let word = name.get()?;
    if let Some(place) = cx.topology.namespace(word) {
        return Some(place.to_owned());
    }
    let mut known = cx.words(&[Kind::Node, Kind::Server, Kind::Client])?;
    if !known.contains(&word.as_str()) {
        known.sort_unstable();
        let message = format!("no node, server or client named `{word}`");
        cx.push(Problem::new(name.span, message).suggest(word, known));
    }
    cx.account(&format!("`{word}`"), name.span, None)
}

fn expectation(
    cx: &mut Cx<'_>,
    of: &Spanned<String>,
    place: &str,
    name: &Spanned<String>,
    spec: &Spanned<CounterSpec>,
) -> Option<CounterExpectation> {
    let (of, counter) = (of.get()?, name.get()?);
    counter_name(cx, name.span, counter, place);
    let (growth, words) = growth(cx, spec, place)?;
    Some(CounterExpectation {
        of: of.clone(),
        place: place.to_owned(),
        counter: counter.clone(),
        growth,
        text: format!("{of} {counter}: {words}"),
        location: cx.locate(name.span),
    })
}

fn growth(cx: &mut Cx<'_>, spec: &Spanned<CounterSpec>, place: &str) -> Option<(Growth, String)> {
    let window = match spec.get()?.clone() {
        CounterSpec::AtMost(n) => CountWindowSpec::AtMost(n),
        CounterSpec::AtLeast(n) => CountWindowSpec::AtLeast(n),
        CounterSpec::Exactly(n) => CountWindowSpec::Exactly(n),
        CounterSpec::Between(bounds) => CountWindowSpec::Between(bounds),
        CounterSpec::SameAs(other) => {
            counter_name(cx, spec.span, &other, place);
            let words = format!("the same as {other}");
            return Some((Growth::SameAs(other), words));
        }
    };
    let (window, words) = window::count(cx, spec.span, &window)?;
    Some((Growth::Within(window), words))
}

fn counter_name(cx: &mut Cx<'_>, span: Span, word: &str, place: &str) {
    let Some((group, rest)) = word.split_once('.').filter(|(_, rest)| !rest.is_empty()) else {
        let problem = Problem::new(span, format!("`{word}` is not a counter"));
        cx.push(problem.help("write its group before it, e.g. `TcpExt.ListenDrops`"));
        return;
    };
    let problem = match group {
        EMULATED => emulated(cx, span, rest, place),
        CONNTRACK if cx.topology.node(place).is_some() => None,
        CONNTRACK => {
            let problem = Problem::new(span, "a pod has no connection tracking of its own");
            Some(problem.help("expect it of the node"))
        }
        group if GROUPS.contains(&group) => None,
        group => {
            let known = GROUPS.into_iter().chain([CONNTRACK, EMULATED]);
            let message = format!("`{group}` is not a group of counters that is read");
            Some(Problem::new(span, message).suggest(group, known))
        }
    };
    if let Some(problem) = problem {
        cx.push(problem);
    }
}

/// What only an emulation counts.
fn emulated(cx: &Cx<'_>, span: Span, counter: &str, place: &str) -> Option<Problem> {
    let at = |p: &Place| matches!(p, Place::Node(n) | Place::Pod(n) if n == place);
    let servers = cx.topology.servers.iter().filter(|s| at(&s.place));
    let emulated = servers.filter_map(|server| server.emulate.as_ref());
    let counters: Vec<&str> = emulated
        .flat_map(|emulated| emulated.what.counters())
        .copied()
        .collect();
    if counters.contains(&counter) {
        return None;
    }
    Some(match counters.is_empty() {
        true => Problem::new(span, format!("nothing is emulated at `{place}`"))
            .help("give the server `emulate: tw_recycle`"),
        false => Problem::new(span, format!("no emulation counts `{counter}`"))
            .help(format!("it counts {}", list(&counters))),
    })
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
