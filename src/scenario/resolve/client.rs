//! Clients: where they run, what they ask, and whether the servers there can answer.

use std::time::Duration;

use super::{network, program, target, transport, workload};
use crate::plan::{Client, Keepalive, Place, Protocol, Server, Target};
use crate::preset;
use crate::scenario::cx::Cx;
use crate::scenario::model::{ClientSpec, Spanned};
use crate::yaml::{Problem, given, placed};

/// The clients, in the file's order.
pub(super) fn resolve(cx: &mut Cx<'_>) -> Vec<Client> {
    transport::profiles(cx);
    let field = &cx.scenario.clients;
    if field.get().is_some_and(|clients| clients.0.is_empty()) {
        cx.push(Problem::new(field.span, "a scenario needs a client"));
    }
    cx.each("client", field.get(), client)
}

fn client(cx: &mut Cx<'_>, name: &Spanned<String>, spec: &ClientSpec) -> Option<Client> {
    let place = place(cx, name, spec);
    let target = target::resolve(cx, &spec.url);
    let program = program::of(spec);
    let transport = match program {
        Some(_) => {
            program::is_alone(cx, name, spec);
            Some(preset::bare(Protocol::H1))
        }
        None => {
            speaks_http(cx, &spec.url);
            transport::resolve(cx, name, spec)
        }
    };
    let inherited = transport.as_ref().and_then(|t| t.request_timeout);
    let workloads = workload::resolve(cx, name, spec, inherited, target.as_ref());
    if let (Some(transport), Some(target), None) = (&transport, &target, program) {
        speaks(cx, name, spec, transport.protocol, target);
        workload::works_with(cx, spec, target, transport.protocol);
    }
    let start = start(cx, spec);
    let (mut transport, workloads, place) = (transport?, workloads?, place?);
    if transport.keepalive_by_sysctls {
        transport.keepalive = Some(Keepalive::by_sysctls(cx.topology.sysctls_at(&place)));
    }
    // Several have a limit each, and the transport's own stays what it is.
    if let (None, None, [work]) = (program, &spec.workloads, &workloads.0[..]) {
        transport.request_timeout = work.request_timeout;
    }
    Some(Client {
        name: name.get()?.clone(),
        place,
        node: spec.node.get()?.clone(),
        target: target?,
        profile: given(&spec.profile).cloned().unwrap_or_default(),
        transport,
        workloads,
        start,
        location: cx.locate(name.span),
    })
}

/// What stands behind `tcp://` only a program can speak.
fn speaks_http(cx: &mut Cx<'_>, url: &Spanned<String>) {
    if url.get().is_some_and(|url| url.starts_with("tcp://")) {
        let message = "built-in clients speak HTTP, and this URL does not say so";
        let help = "write `http://…` or `https://…`, or make the client a program: `workload: { exec: … }`";
        cx.push(Problem::new(url.span, message).help(help));
    }
}

/// Where it runs, which faults and counters need to know whatever else is wrong with it.
fn place(cx: &mut Cx<'_>, name: &Spanned<String>, spec: &ClientSpec) -> Option<Place> {
    let host = given(&spec.host_network).copied().unwrap_or_default();
    let uptime = uptime(cx, spec, host);
    let place = network::place(cx, name, &spec.node, host, &spec.sysctls)?;
    if let (Place::Pod(_), Some(pod)) = (&place, cx.topology.pods.last_mut()) {
        pod.uptime = uptime;
    }
    let clients = &mut cx.topology.clients;
    clients.insert(name.get()?.clone(), place.clone());
    Some(place)
}

fn uptime(cx: &mut Cx<'_>, spec: &ClientSpec, host: bool) -> Duration {
    let Some((span, uptime)) = placed(&spec.uptime) else {
        return Duration::ZERO;
    };
    let servers = cx.scenario.servers.get().into_iter();
    let mut servers = servers.flat_map(|servers| servers.iter());
    let judged = servers.any(|(_, _, server)| server.emulate.is_some());
    let wrong = match (host, judged) {
        (true, _) => Some((
            "on the host network a client has the node's clock",
            "only a pod can stand for a machine of its own: leave `host_network` out",
        )),
        (false, false) => Some((
            "nobody looks at this client's uptime",
            "it matters to a server with `emulate: tw_recycle` only",
        )),
        (false, true) => None,
    };
    if let Some((message, help)) = wrong {
        cx.push(Problem::new(span, message).help(help));
    }
    uptime.0
}

fn start(cx: &mut Cx<'_>, spec: &ClientSpec) -> Duration {
    let Some((span, start)) = placed(&spec.start) else {
        return Duration::ZERO;
    };
    if given(&cx.scenario.duration).is_some_and(|end| start >= end) {
        let problem = Problem::new(span, "this client starts when the case is over");
        cx.push(problem.help("start it earlier, or give the case a longer `duration`"));
    }
    start.0
}

/// The servers it asks must speak its protocol.
fn speaks(
    cx: &mut Cx<'_>,
    name: &Spanned<String>,
    spec: &ClientSpec,
    protocol: Protocol,
    target: &Target,
) {
    let word = match protocol {
        Protocol::H1 => "h1",
        Protocol::H2 => "h2",
    };
    let mut servers = target.servers.iter().filter_map(|s| cx.topology.server(s));
    let cannot = |s: &&Server| !s.protocols.is_empty() && !s.protocols.contains(&protocol);
    if let Some(server) = servers.find(cannot) {
        let own = given(&spec.transport).and_then(|t| t.protocol.as_ref());
        let profile = spec.profile.as_ref().map(|profile| profile.span);
        let span = own.map(|p| p.span).or(profile).unwrap_or_default();
        let client = name.get().map_or("", String::as_str);
        let message = format!(
            "client `{client}` speaks {word}, server `{}` does not",
            server.name
        );
        let help = format!(
            "add `{word}` to the server's `protocols`, or take another profile or `protocol`"
        );
        let problem = Problem::new(span, message).label(format!("means {word}"));
        cx.push(problem.help(help));
    }
}
