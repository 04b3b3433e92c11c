//! Servers: where they listen, and what they do.

use std::net::SocketAddr;
use std::time::Duration;

use super::{network, server_program, transport};
use crate::plan::{AcceptQueue, App, Emulated, Place, Protocol, Server, ServerLimits, ServerPing};
use crate::scenario::cx::{Cx, Kind};
use crate::scenario::model::{OffOr, ServerSpec, Spanned};
use crate::yaml::{Problem, Span, given, placed};

/// The servers, in the file's order.
pub(super) fn resolve(cx: &mut Cx<'_>) {
    let field = &cx.scenario.servers;
    if field.get().is_some_and(|servers| servers.0.is_empty()) {
        cx.push(Problem::new(field.span, "a scenario needs a server"));
    }
    // Each knows those before it: two may not have one port.
    cx.each("server", field.get(), |cx, name, spec| {
        let server = server(cx, name, spec)?;
        cx.topology.servers.push(server);
        Some(())
    });
    // A program may be told where every server is.
    cx.each("server", field.get(), |cx, name, spec| {
        let program = server_program::resolve(cx, name, spec)?;
        let mut servers = cx.topology.servers.iter_mut();
        let server = servers.find(|server| Some(&server.name) == name.get())?;
        server.program = program;
        Some(())
    });
}

fn server(cx: &mut Cx<'_>, name: &Spanned<String>, spec: &ServerSpec) -> Option<Server> {
    let word = name.get()?;
    let host = given(&spec.host_network).copied().unwrap_or_default();
    let place = network::place(cx, name, &spec.node, host, &spec.sysctls);
    let protocols = protocols(cx, spec);
    let tls = given(&spec.tls).copied().unwrap_or_default();
    let port = given(&spec.port).copied();
    let port = port.unwrap_or(if tls { 443 } else { 80 });
    let port_span = spec.port.as_ref().map_or(name.span, |field| field.span);
    not_zero(cx, port_span, port);
    let place = place?;
    not_taken(cx, word, port_span, port, &place);
    let services = services_of(cx, word, spec);
    let limits = limits(cx, spec, &place, &protocols);
    let node = spec.node.get()?.clone();
    let on_node = matches!(place, Place::Node(_)).then(|| node.clone());
    let listen = cx.topology.addresses(&place)?;
    Some(Server {
        name: word.clone(),
        listen: listen.map(|ip| SocketAddr::new(ip, port)).to_vec(),
        place,
        node,
        tls,
        tls_names: services.iter().cloned().chain(on_node).collect(),
        protocols,
        app: given(&spec.app).copied().unwrap_or(App::Echo),
        program: None,
        response_delay: given(&spec.response_delay).map_or(Duration::ZERO, |t| t.0),
        limits,
        store: services.into_iter().next().unwrap_or_else(|| word.clone()),
        accept_queue: AcceptQueue {
            backlog: given(&spec.backlog)
                .copied()
                .unwrap_or(AcceptQueue::default().backlog),
            accepts: given(&spec.accepts).copied(),
        },
        emulate: placed(&spec.emulate).map(|(span, what)| Emulated {
            what: *what,
            location: cx.locate(span),
        }),
    })
}

/// What ends the connections that it accepted.
fn limits(
    cx: &mut Cx<'_>,
    spec: &ServerSpec,
    place: &Place,
    protocols: &[Protocol],
) -> ServerLimits {
    let keepalive = placed(&spec.keepalive).and_then(|(span, knob)| {
        let sysctls = cx.topology.sysctls_at(place).to_vec();
        transport::keepalive(cx, span, knob, None, &sysctls)
    });
    let ping = placed(&spec.ping).and_then(|(span, knob)| match knob {
        OffOr::Off => None,
        OffOr::On(ping) => {
            if !protocols.contains(&Protocol::H2) {
                let problem = Problem::new(span, "`ping` on HTTP/1.1: only HTTP/2 has PING");
                cx.push(problem.help("add `h2` to `protocols`, or leave `ping` out"));
            }
            for time in [&ping.idle, &ping.timeout] {
                if let Some(value) = time.get() {
                    transport::is_some_time(cx, time.span, *value);
                }
            }
            Some(ServerPing {
                idle: ping.idle.get()?.0,
                timeout: ping.timeout.get()?.0,
            })
        }
    });
    ServerLimits {
        keepalive,
        keepalive_by_sysctls: given(&spec.keepalive).is_some_and(transport::is_by_sysctls),
        user_timeout: transport::limit(cx, &spec.user_timeout, None),
        idle_timeout: transport::limit(cx, &spec.idle_timeout, None),
        ping,
    }
}

pub(super) fn not_zero(cx: &mut Cx<'_>, span: Span, port: u16) {
    if port == 0 {
        let problem = Problem::new(span, "a server can't listen on port 0");
        cx.push(problem.help("write a number from 1 to 65535"));
    }
}

/// On a node's own network no two servers listen on one port.
fn not_taken(cx: &mut Cx<'_>, name: &str, span: Span, port: u16, place: &Place) {
    let listens = |s: &&Server| s.place == *place && s.listen.iter().any(|a| a.port() == port);
    let first = cx.topology.servers.iter().find(listens);
    let (Place::Node(node), Some(first)) = (place, first) else {
        return;
    };
    let message = format!("port {port} of node `{node}` is taken: `{name}` can't listen on it");
    let label = format!("`{}` listens on it", first.name);
    let names = cx.names(Kind::Server).unwrap_or_default();
    let mut names = names.iter().filter(|n| n.get() == Some(&first.name));
    let first = names.next().map_or(span, |name| name.span);
    let help = "servers with `host_network: true` on one node need different ports";
    cx.push(Problem::new(span, message).also(first, label).help(help));
}

fn protocols(cx: &mut Cx<'_>, spec: &ServerSpec) -> Vec<Protocol> {
    let Some((span, list)) = placed(&spec.protocols) else {
        return vec![Protocol::H1, Protocol::H2];
    };
    let known: Vec<Protocol> = list.iter().filter_map(Spanned::get).copied().collect();
    let twice = (1..known.len()).any(|i| known[..i].contains(&known[i]));
    let wrong = [
        (list.is_empty(), "a server speaks at least one protocol"),
        (twice, "the same protocol twice"),
    ];
    for (_, message) in wrong.into_iter().filter(|(is, _)| *is) {
        cx.push(Problem::new(span, message).help("write `[h1]`, `[h2]` or `[h1, h2]`"));
    }
    known
}

/// Services a server stands behind, or may, in the file's order.
fn services_of(cx: &Cx<'_>, server: &str, spec: &ServerSpec) -> Vec<String> {
    let services = given(&cx.scenario.service)
        .into_iter()
        .flat_map(|all| all.iter());
    let stands_behind = services.filter(|(_, _, service)| {
        let Some(endpoints) = &service.endpoints else {
            return spec.exec.is_some();
        };
        let mut endpoints = endpoints.get().into_iter().flatten();
        endpoints.any(|e| e.get().is_some_and(|e| e == server))
    });
    stands_behind.map(|(_, name, _)| name.to_owned()).collect()
}
