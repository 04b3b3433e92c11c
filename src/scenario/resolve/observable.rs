//! What nobody can see in this lab, and so can't be expected.

use crate::metric::Kind;
use crate::scenario::cx::Cx;
use crate::scenario::model::{ClientSpec, ExpectSpec, MiddleboxSpec, Named, ServerSpec};
use crate::yaml::{Problem, given};

use super::program;

/// Looks at what is expected of clients.
pub(super) fn check(cx: &mut Cx<'_>) {
    masqueraded(cx);
    if nothing_breaks(cx) {
        without_faults(cx);
    }
}

/// A case without faults is one in which something else is to be seen.
pub(crate) fn nothing_breaks(cx: &Cx<'_>) -> bool {
    cx.scenario.faults.get().is_some_and(Vec::is_empty) && !forgets_by_itself(cx)
}

/// Whether a middlebox forgets what lies idle.
fn forgets_by_itself(cx: &Cx<'_>) -> bool {
    let middleboxes = given(&cx.scenario.middleboxes).into_iter();
    let forgets = |m: &MiddleboxSpec| m.idle_timeout.is_some();
    middleboxes
        .flat_map(Named::iter)
        .any(|(_, _, m)| forgets(m))
}

/// Whether a server takes connections in otherwise than usual.
pub(crate) fn refuses_by_itself(cx: &Cx<'_>) -> bool {
    let servers = cx.scenario.servers.get().into_iter();
    let unusual = |s: &ServerSpec| s.accepts.is_some() || s.emulate.is_some();
    servers
        .flat_map(Named::iter)
        .any(|(_, _, server)| unusual(server))
}

/// Behind their node's address programs can't be told apart, and nobody's packets be matched with their connections.
fn masqueraded(cx: &mut Cx<'_>) {
    let clients = cx.scenario.clients.get().into_iter();
    for (name, word, client) in clients.flat_map(Named::iter) {
        if !is_masqueraded(cx, client) {
            continue;
        }
        let expected = expected(cx);
        let mut own = expected.iter().filter(|(of, _)| *of == word).peekable();
        if program::of(client).is_some() && own.peek().is_some() {
            let message = "servers see this program under its node's address, and can't tell whose its requests are";
            let help =
                "run it on another node or with `host_network: true`, or expect nothing of it";
            cx.push(Problem::new(name.span, message).help(help));
            continue;
        }
        let own = own.flat_map(|(_, spec)| &spec.metrics);
        for cause in own.filter(|expected| expected.metric.kind == Kind::Cause) {
            let message =
                "this client's packets bear its node's address, so no cause can be told from them";
            let help = "expect something of `detected` or `recovered`, or leave `masquerade` out";
            cx.push(Problem::new(cause.span, message).help(help));
        }
    }
}

/// Whether packets of the client called so bear its node's address.
pub(super) fn behind_its_node(cx: &Cx<'_>, client: &str) -> bool {
    cx.client(client)
        .is_some_and(|client| is_masqueraded(cx, client))
}

fn is_masqueraded(cx: &Cx<'_>, client: &ClientSpec) -> bool {
    let host = given(&client.host_network).copied().unwrap_or_default();
    let nodes = cx.scenario.nodes.get().into_iter();
    let mut own = nodes
        .flat_map(|n| n.iter())
        .filter(|(_, name, _)| client.node.get().is_some_and(|node| node == name));
    !host && own.any(|(_, _, node)| given(&node.masquerade).copied().unwrap_or_default())
}

/// What is expected of clients, by name, whether it counts in this case or not.
fn expected<'a>(cx: &Cx<'a>) -> Vec<(&'a str, &'a ExpectSpec)> {
    let all = cx.expectations().into_iter();
    let all = all.flat_map(|(_, expect)| expect.clients.iter());
    all.map(|(_, name, spec)| (name, spec)).collect()
}

/// What counts from a fault can't be expected where there is none.
fn without_faults(cx: &mut Cx<'_>) {
    for (_, spec) in expected(cx) {
        let outages = spec.outages.iter();
        let of_outages = outages.flat_map(|(_, _, own)| &own.metrics);
        let all = spec.metrics.iter().chain(of_outages);
        let of_fault = all.filter(|e| e.metric.needs.fault);
        let distribution = spec.distribution.iter().map(|field| field.span);
        for span in of_fault.map(|e| e.span).chain(distribution) {
            let message = "this counts from a fault, and there is none";
            let help = "expect something of `requests_failed` or `dials`, or of counters";
            cx.push(Problem::new(span, message).help(help));
        }
    }
}
