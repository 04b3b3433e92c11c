//! What must hold of servers: when they have forgotten a client.

use super::{expectation, fault, observable, window};
use crate::metric::forgot;
use crate::plan::{Check, Expectation, Expected, TimeWindow};
use crate::scenario::cx::{Cx, Kind};
use crate::scenario::model::{ExpectationsSpec, ForgotSpec, OneOrList, Spanned, TimeWindowSpec};
use crate::yaml::{Problem, Span, given, placed};

/// The expectations on servers, each with its place in the file.
pub(super) fn resolve(
    cx: &mut Cx<'_>,
    expect: &ExpectationsSpec,
    faults: &[fault::Found],
) -> Vec<(Span, Expectation)> {
    let mut all = Vec::new();
    for (server, place) in given(&expect.servers).into_iter().flat_map(|of| &of.0) {
        let known = cx.existing(Kind::Server, server).is_some();
        let Some(spec) = place.get() else { continue };
        let Some(each) = &spec.forgot else {
            let problem = Problem::new(place.span, "nothing is expected of this server");
            cx.push(problem.help("write e.g. `forgot: { client: mine, within: 60s }`"));
            continue;
        };
        let each = each.get().into_iter().flat_map(|OneOrList(each)| each);
        for one in each {
            let Some(spec) = one.get() else { continue };
            let found = of_client(cx, server, one.span, spec, faults);
            if known {
                let found = cx.account("`forgot`", one.span, found);
                all.extend(found.into_iter().flatten());
            }
        }
    }
    all
}

fn of_client(
    cx: &mut Cx<'_>,
    server: &Spanned<String>,
    span: Span,
    spec: &ForgotSpec,
    faults: &[fault::Found],
) -> Option<Vec<(Span, Expectation)>> {
    let client = cx.existing(Kind::Client, &spec.client);
    if let Some(fault) = &spec.fault {
        expectation::is_fault(cx, fault, faults);
    }
    if observable::nothing_breaks(cx) {
        let problem = Problem::new(span, "this counts from a fault, and there is none");
        cx.push(problem.help("leave it out, or break something"));
    }
    if client.is_some_and(|client| observable::behind_its_node(cx, client)) {
        let message = "servers see this client under its node's address, and can't tell whose connections are its own";
        let help = "run it on another node or with `host_network: true`, or expect nothing of it";
        cx.push(Problem::new(spec.client.span, message).help(help));
    }
    let window = of_time(cx, span, spec)?;
    let (server, client) = (server.get()?, client?);
    let new = |metric: &str, expected: Expected, words: String, span: Span, cx: &Cx<'_>| {
        let expectation = Expectation {
            client: client.to_owned(),
            workload: None,
            fault: given(&spec.fault).cloned(),
            server: Some(server.clone()),
            check: Check::new(metric, expected),
            text: format!("servers.{server}.{metric}: {client} {words}"),
            location: cx.locate(span),
        };
        (span, expectation)
    };
    let mut all = vec![new(
        forgot::NAME,
        window.into(),
        window.to_string(),
        span,
        cx,
    )];
    if let Some((span, OneOrList(causes))) = placed(&spec.cause) {
        let causes: Vec<_> = causes.iter().filter_map(Spanned::get).copied().collect();
        if causes.is_empty() {
            let problem = Problem::new(span, "this list of causes is empty");
            cx.push(problem.help("name at least one"));
        }
        let words: Vec<String> = causes.iter().map(ToString::to_string).collect();
        let words = format!("by {}", words.join(" or "));
        all.push(new(forgot::CAUSE, causes.into(), words, span, cx));
    }
    Some(all)
}

/// The one window that is given.
fn of_time(cx: &mut Cx<'_>, span: Span, spec: &ForgotSpec) -> Option<TimeWindow> {
    let within = placed(&spec.within).map(|(at, time)| (at, TimeWindowSpec::Within(*time)));
    let at_least = placed(&spec.at_least).map(|(at, time)| (at, TimeWindowSpec::AtLeast(*time)));
    let between = placed(&spec.between);
    let between = between.map(|(at, bounds)| (at, TimeWindowSpec::Between(bounds.clone())));
    let never = placed(&spec.never);
    if let Some((at, false)) = never.map(|(at, never)| (at, *never)) {
        let problem = Problem::new(at, "`never: false` says nothing");
        cx.push(problem.help("say when: `within: 60s`, `at_least: 60s` or `between: [50s, 60s]`"));
    }
    let never = never.map(|(at, _)| (at, TimeWindowSpec::Never));
    let given = [within, between, at_least, never].into_iter().flatten();
    let given: Vec<_> = given.collect();
    match &given[..] {
        [(at, only)] => window::time(cx, *at, only),
        [] => {
            let wrong = [
                spec.within.is_some(),
                spec.at_least.is_some(),
                spec.between.is_some(),
            ];
            // What could not be read is told of already.
            if !wrong.contains(&true) {
                let problem = Problem::new(span, "nothing says when it must have forgotten");
                cx.push(problem.help(
                    "write `within: 60s`, `between: [50s, 60s]`, `at_least: 60s` or `never: true`",
                ));
            }
            None
        }
        [_, (second, _), ..] => {
            cx.push(Problem::new(*second, "one window is enough").help("leave the others out"));
            None
        }
    }
}
