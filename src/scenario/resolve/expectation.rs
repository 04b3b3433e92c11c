//! What must hold after a case, from `expect` and what `expect_when` puts in its place.

use super::{fault, forgot, program, window, workload};
use crate::metric::{self, Metric, Workloads};
use crate::plan::{Cause, Check, Effect, Expectation, Expected, Process, ShareWindow};
use crate::scenario::cx::{Cx, Kind};
use crate::scenario::model::{
    ClientSpec, ExpectWorkloadSpec, ExpectedSpec, FaultSpec, Named, OneOrList, ShareWindowSpec,
    Spanned, TimeWindowSpec, WindowSpec, WorkloadSpec,
};
use crate::yaml::{Problem, Span, given, list};

/// The expectations of a case, each with its place in the file.
pub(super) fn resolve(cx: &mut Cx<'_>, faults: &[fault::Found]) -> Vec<(Span, Expectation)> {
    let mut all: Vec<(Span, Expectation)> = Vec::new();
    for (counts, expect) in cx.expectations() {
        for (name, place) in &expect.clients.0 {
            if cx.existing(Kind::Client, name).is_some() {
                not_gone(cx, name, faults);
            }
            let Some(spec) = place.get() else { continue };
            let whole = Subject {
                client: name,
                fault: None,
                workload: None,
            };
            let found = of_client(cx, name, &spec.metrics);
            put(cx, &mut all, whole, found, counts);
            of_workloads(cx, &mut all, whole, &spec.workloads, counts);
            for (fault, place) in &spec.outages.0 {
                is_fault(cx, fault, faults);
                let Some(own) = place.get() else { continue };
                let outage = Subject {
                    fault: Some(fault),
                    ..whole
                };
                let found = of_client(cx, name, &own.metrics);
                put(cx, &mut all, outage, found, counts);
                of_workloads(cx, &mut all, outage, &own.workloads, counts);
            }
        }
        for found in forgot::resolve(cx, expect, faults) {
            if counts {
                put_one(&mut all, found);
            }
        }
    }
    all
}

/// Of what something is expected.
#[derive(Clone, Copy)]
struct Subject<'a> {
    client: &'a Spanned<String>,
    /// Whose outage; `None` = that by the first fault that strikes it.
    fault: Option<&'a Spanned<String>>,
    /// `None` = the client as a whole.
    workload: Option<&'a Spanned<String>>,
}

fn of_workloads<'a>(
    cx: &mut Cx<'_>,
    all: &mut Vec<(Span, Expectation)>,
    of: Subject<'a>,
    specs: &'a Option<Spanned<Named<ExpectWorkloadSpec>>>,
    counts: bool,
) {
    for (work, place) in given(specs).into_iter().flat_map(|all| &all.0) {
        if let Some(client) = of.client.get().and_then(|name| cx.client(name)) {
            workload::is_named(cx, client, work);
        }
        let Some(own) = place.get() else { continue };
        let found = of_workload(cx, of.client, work, own);
        let subject = Subject {
            workload: Some(work),
            ..of
        };
        put(cx, all, subject, found, counts);
    }
}

/// Adds an expectation. The later of two on the same comes in the earlier one's place.
fn put_one(all: &mut Vec<(Span, Expectation)>, found: (Span, Expectation)) {
    let subject = |e: &Expectation| {
        let of = (e.client.clone(), e.server.clone(), e.workload.clone());
        (of, e.fault.clone(), e.check.metric.clone())
    };
    let own = subject(&found.1);
    match all.iter().position(|(_, e)| subject(e) == own) {
        Some(at) => all[at] = found,
        None => all.push(found),
    }
}

/// A fault that expectations name must have that name.
pub(super) fn is_fault(cx: &mut Cx<'_>, name: &Spanned<String>, faults: &[fault::Found]) {
    let names = faults.iter().filter_map(|found| found.fault.name.clone());
    let names: Vec<String> = names.collect();
    // A fault in which something is wrong is not among them.
    let specs = cx.scenario.faults.get().into_iter().flatten();
    let written: usize = specs
        .map(|spec| spec.get().map_or(1, FaultSpec::count))
        .sum();
    if written != faults.len() {
        return;
    }
    let Some(word) = name.get().filter(|word| !names.contains(word)) else {
        return;
    };
    let message = format!("no fault is called `{word}`, and there is no metric of that name");
    let problem = Problem::new(name.span, message);
    cx.push(match names.is_empty() {
        true => problem.help(format!(
            "give the fault a name: `- {{ name: {word}, at: … }}`"
        )),
        false => problem.suggest(word, names.iter().map(String::as_str)),
    });
}

/// Adds what is expected of a client or a workload of it, if it counts. The later of two on the same comes in the earlier
/// one's place.
fn put(
    cx: &Cx<'_>,
    all: &mut Vec<(Span, Expectation)>,
    of: Subject<'_>,
    found: Vec<Found>,
    counts: bool,
) {
    let Some(client) = of.client.get().filter(|_| counts) else {
        return;
    };
    let fault = of.fault.and_then(Spanned::get);
    let workload = of.workload.and_then(Spanned::get);
    let outage = fault.map_or_else(String::new, |fault| format!(".{fault}"));
    let subject = match workload {
        None => format!("{client}{outage}"),
        Some(workload) => format!("{client}{outage}.workloads.{workload}"),
    };
    for (metric, span, expected, words) in found {
        let expectation = Expectation {
            client: client.clone(),
            workload: workload.cloned(),
            fault: fault.cloned(),
            server: None,
            check: Check::new(metric, expected),
            text: format!("{subject}.{metric}: {words}"),
            location: cx.locate(span),
        };
        put_one(all, (span, expectation));
    }
}

/// A metric, where it stood, and what it must be, as data and in words.
type Found = (&'static str, Span, Expected, String);

fn of_client(cx: &mut Cx<'_>, name: &Spanned<String>, metrics: &[ExpectedSpec]) -> Vec<Found> {
    let instead = "expect something of `recovered`, `detected`, `dials` or `cause`";
    let client = name.get().and_then(|name| cx.client(name));
    let works = client.and_then(|client| client.works().map(Spanned::get).collect());
    checks(cx, name, metrics, works, instead)
}

fn of_workload(
    cx: &mut Cx<'_>,
    client: &Spanned<String>,
    name: &Spanned<String>,
    spec: &ExpectWorkloadSpec,
) -> Vec<Found> {
    let instead = "expect something of `recovered`, `detected` or `cause`";
    let found = client.get().and_then(|name| cx.client(name));
    let works = found.into_iter().flat_map(ClientSpec::works);
    let mut works = works.filter_map(Spanned::get);
    let own = works.find(|w| Some(w.name()) == name.get().map(String::as_str));
    checks(cx, client, &spec.metrics, own.map(|own| vec![own]), instead)
}

/// What is expected of metrics of a client that does `works`, or of one of these.
fn checks(
    cx: &mut Cx<'_>,
    client: &Spanned<String>,
    metrics: &[ExpectedSpec],
    works: Option<Vec<&WorkloadSpec>>,
    instead: &str,
) -> Vec<Found> {
    let mut all = Vec::new();
    for ExpectedSpec {
        metric,
        span,
        window,
    } in metrics
    {
        let (needs, span) = (&metric.needs, *span);
        if needs.requests {
            let what = "nobody sees those of its requests that reach no server";
            program::unknowable(cx, client, span, what, instead);
        }
        let found = window.as_ref();
        let found = found.and_then(|window| expected(cx, metric, span, window));
        let found = cx.account(&format!("`{}`", metric.name), span, found);
        all.extend(found.map(|(expected, words)| (metric.name, span, expected, words)));
        if let (Some(only), Some(works)) = (&needs.workload, &works) {
            only_of(cx, span, only, works);
            if metric.name == "leads" {
                says_that_it_leads(cx, span, works);
            }
        }
    }
    all
}

/// What a metric must be, as data and in words.
fn expected(
    cx: &mut Cx<'_>,
    metric: &Metric,
    span: Span,
    spec: &WindowSpec,
) -> Option<(Expected, String)> {
    match spec {
        WindowSpec::Time(TimeWindowSpec::Never) if metric.kind == metric::Kind::Length => {
            let message = format!("`{}` always has a length", metric.name);
            cx.push(Problem::new(span, message).help("write e.g. `{ within: 30s }`"));
            None
        }
        WindowSpec::Time(spec) => {
            let window = window::time(cx, span, spec)?;
            Some((window.into(), window.to_string()))
        }
        WindowSpec::Fact(fact) => Some(((*fact).into(), fact.to_string())),
        WindowSpec::Count(spec) => {
            let (window, words) = window::count(cx, span, spec)?;
            Some((window.into(), words))
        }
        WindowSpec::Share(ShareWindowSpec::AtLeast(percent)) => {
            let window = ShareWindow {
                at_least: percent.0 / 100.0,
            };
            Some((window.into(), window.to_string()))
        }
        WindowSpec::Causes(OneOrList(causes)) => {
            if causes.is_empty() {
                cx.push(
                    Problem::new(span, "this list of causes is empty").help("name at least one"),
                );
            }
            let causes: Vec<Cause> = causes.iter().filter_map(Spanned::get).copied().collect();
            let words: Vec<String> = causes.iter().map(Cause::to_string).collect();
            Some((causes.into(), words.join(" or ")))
        }
    }
}

/// What only clients with certain workloads can show.
fn only_of(cx: &mut Cx<'_>, span: Span, only: &Workloads, works: &[&WorkloadSpec]) {
    if works.iter().all(|work| !only.kinds.contains(&work.kind())) {
        let has: Vec<&str> = works.iter().map(|work| work.kind()).collect();
        let message = format!("{}, and here is only {}", only.why, list(&has));
        let problem = Problem::new(span, message);
        cx.push(problem.help("leave it out, or expect it of another client or workload"));
    }
}

/// A program leads when it says so.
fn says_that_it_leads(cx: &mut Cx<'_>, span: Span, works: &[&WorkloadSpec]) {
    for work in works {
        let WorkloadSpec::Exec(exec) = work else {
            continue;
        };
        if given(&exec.output).is_none_or(|output| output.leads.is_none()) {
            let message =
                "this client is a program, and nothing says which of its lines tells that it leads";
            let help = "name it, e.g. `output: { leads: \"acquired lease\" }` beside its `command`";
            cx.push(Problem::new(span, message).help(help));
        }
    }
}

/// A client on a node that loses its power is gone; nothing can be expected of it.
fn not_gone(cx: &mut Cx<'_>, name: &Spanned<String>, faults: &[fault::Found]) {
    let client = name.get().and_then(|name| cx.client(name));
    let Some(node) = client.and_then(|c| c.node.get()) else {
        return;
    };
    let word = name.get().map_or("", String::as_str);
    let end = faults.iter().find_map(|found| {
        let mut effects = found.fault.effects.iter();
        let end = effects.find_map(|effect| end_of(effect, word, node))?;
        Some((found.struck, end))
    });
    if let Some((span, end)) = end {
        let message = format!("client `{word}` {end}: it is gone, and shows nothing");
        let problem = Problem::new(name.span, message).also(span, "lost here");
        cx.push(problem.help("expect something of other clients"));
    }
}

/// What an effect has become of a client on `node`, if it ends it.
fn end_of(effect: &Effect, client: &str, node: &str) -> Option<String> {
    match effect {
        Effect::Stop { node: stopped } if stopped == node => {
            Some(format!("runs on `{node}`, which loses its power"))
        }
        Effect::Kill {
            process: Process::Client(killed),
        } if killed == client => Some("is killed".to_owned()),
        Effect::Stop { .. }
        | Effect::Kill { .. }
        | Effect::Silence { .. }
        | Effect::Restore { .. }
        | Effect::Hang { .. }
        | Effect::Carrier { .. }
        | Effect::Drop { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. }
        | Effect::Rules { .. }
        | Effect::Forget { .. }
        | Effect::Destroy { .. }
        | Effect::LoseState { .. } => None,
    }
}
