//! Services: virtual addresses, and the endpoints behind them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::program;
use super::server::not_zero;
use crate::plan::address::taken_by;
use crate::plan::{Capability, Endpoint, Place, Proxy, Service};
use crate::scenario::cx::{Cx, Kind};
use crate::scenario::model::{OffOr, ServiceSpec, Spanned, Time};
use crate::yaml::{Problem, given, placed};

/// Time from a node's loss until its endpoints leave the rules: Kubernetes' grace period up to 1.31.
const REMOVAL: Duration = Duration::from_secs(40);
/// The same of an address that moves: VRRP's three advertisements of a second that don't come, and keepalived's default
/// priority of 100, (256 − 100) / 256 s more (RFC 5798, section 6.1).
const TAKEOVER: Duration = Duration::from_millis(3609);
/// Time from a node's power being back until its endpoints are in the rules: how often a readiness probe looks
/// (Kubernetes' `periodSeconds`).
const READINESS: Duration = Duration::from_secs(10);

/// The services, in the file's order.
pub(super) fn resolve(cx: &mut Cx<'_>) {
    let mut addresses = HashMap::new();
    let services = given(&cx.scenario.service);
    let services = cx.each("service", services, |cx, name, spec| {
        let address = address(cx, &spec.address);
        if let Some(address) = address
            && let Some(first) = addresses.insert(address, spec.address.span)
        {
            let message = format!("two services have the address {address}");
            let problem = Problem::new(spec.address.span, message).label("again");
            cx.push(
                problem
                    .also(first, "first here")
                    .help("give each an address or a port of its own"),
            );
        }
        let Some(field) = &spec.endpoints else {
            return of_programs(cx, name, spec, address?);
        };
        has_rules_of_the_lab(cx, spec);
        let known = endpoints(cx, field);
        let pin_first = pin_first(cx, spec, field);
        service(cx, name, spec, address?, known?, pin_first)
    });
    cx.topology.services = services;
}

fn service(
    cx: &mut Cx<'_>,
    name: &Spanned<String>,
    spec: &ServiceSpec,
    address: SocketAddr,
    known: Vec<&Spanned<String>>,
    pin_first: Option<String>,
) -> Option<Service> {
    let name = name.get()?.clone();
    let proxy = given(&spec.proxy).copied().unwrap_or_default();
    if proxy.moves() {
        moving(cx, spec, address, &known)?;
    }
    let mut endpoints = Vec::new();
    for endpoint in known {
        let server = endpoint.get().and_then(|e| cx.topology.server(e));
        let found = server.and_then(|server| {
            let mut listen = server.listen.iter();
            Some(Endpoint {
                server: server.name.clone(),
                address: *listen.find(|a| a.is_ipv4() == address.is_ipv4())?,
            })
        });
        let what = format!("an endpoint of service `{name}`");
        endpoints.extend(cx.account(&what, endpoint.span, found));
    }
    Some(Service {
        name,
        address,
        proxy,
        endpoints,
        pin_first,
        affinity: affinity(cx, spec),
        removal: unless_off(
            &spec.removal,
            match proxy.moves() {
                true => TAKEOVER,
                false => REMOVAL,
            },
        ),
        readiness: unless_off(&spec.readiness, READINESS),
    })
}

/// How long a client keeps its endpoint.
fn affinity(cx: &mut Cx<'_>, spec: &ServiceSpec) -> Option<Duration> {
    let field = &given(&spec.affinity)?.client_ip;
    let time = field.get()?.0;
    if time.is_zero() || time.subsec_nanos() != 0 {
        let message = "a client keeps its endpoint for whole seconds, one or more";
        let help = "Kubernetes' default is `3h`; leave `affinity` out for none";
        cx.push(Problem::new(field.span, message).help(help));
        return None;
    }
    Some(time)
}

/// An address that moves is its holder's own: servers listen on it themselves, on whichever node it is.
fn moving(
    cx: &mut Cx<'_>,
    spec: &ServiceSpec,
    address: SocketAddr,
    endpoints: &[&Spanned<String>],
) -> Option<()> {
    let mut all_well = true;
    let mut complain = |cx: &mut Cx<'_>, span, message: String, help: &str| {
        cx.push(Problem::new(span, message).help(help));
        all_well = false;
    };
    if !address.is_ipv4() {
        let message = "an address that moves is one of IPv4: a gratuitous ARP says where it is";
        complain(
            cx,
            spec.address.span,
            message.to_owned(),
            "write e.g. `192.168.255.100:80`",
        );
    }
    if let Some(pin) = &spec.pin_first {
        let message = "an address that moves is where its first endpoint is: nothing is pinned";
        let help = "write the endpoints in the order in which they are to have it";
        complain(cx, pin.span, message.to_owned(), help);
    }
    if let Some(affinity) = &spec.affinity {
        let message = "an address that moves sends everybody to one node: there is no affinity";
        complain(
            cx,
            affinity.span,
            message.to_owned(),
            "leave `affinity` out",
        );
    }
    for endpoint in endpoints {
        let Some(server) = endpoint.get().and_then(|e| cx.topology.server(e)) else {
            continue;
        };
        let (name, port) = (
            server.name.clone(),
            server.listen.first().map(SocketAddr::port),
        );
        if !matches!(server.place, Place::Node(_)) {
            let message =
                format!("server `{name}` is in a pod, and an address that moves is a node's");
            complain(cx, endpoint.span, message, "give it `host_network: true`");
        } else if port != Some(address.port()) {
            let message = format!(
                "server `{name}` does not listen on port {}, and an address that moves translates nothing",
                address.port()
            );
            let help = "give it the service's `port`";
            complain(cx, endpoint.span, message, help);
        }
    }
    all_well.then_some(())?;
    for endpoint in endpoints.iter().filter_map(|e| e.get()) {
        let mut servers = cx.topology.servers.iter_mut();
        if let Some(server) = servers.find(|server| server.name == *endpoint) {
            server.listen.push(address);
        }
    }
    Some(())
}

/// A service whose rules programs set: whichever program serves may be behind it.
fn of_programs(
    cx: &mut Cx<'_>,
    name: &Spanned<String>,
    spec: &ServiceSpec,
    address: SocketAddr,
) -> Option<Service> {
    let of_the_lab = placed(&spec.proxy).filter(|(_, proxy)| **proxy != Proxy::Programs);
    if let Some((span, _)) = of_the_lab {
        let problem = Problem::new(
            span,
            "rules of the lab's need to know who is behind the service",
        );
        cx.push(problem.help("name them, e.g. `endpoints: [web-1, web-2]`, or leave `proxy` out"));
    }
    let of_rules = [
        ("pin_first", spec.pin_first.as_ref().map(|field| field.span)),
        ("removal", spec.removal.as_ref().map(|field| field.span)),
        ("readiness", spec.readiness.as_ref().map(|field| field.span)),
        ("affinity", spec.affinity.as_ref().map(|field| field.span)),
    ];
    for (field, span) in of_rules {
        if let Some(span) = span {
            let message = format!("programs set this service's rules, so it has no `{field}`");
            let help = "leave it out, or name its `endpoints`: then the lab sets its rules";
            cx.push(Problem::new(span, message).help(help));
        }
    }
    let servers = cx.topology.servers.iter().filter(|s| s.program.is_some());
    let endpoints = servers.filter_map(|server| {
        let mut listen = server.listen.iter();
        Some(Endpoint {
            server: server.name.clone(),
            address: *listen.find(|a| a.is_ipv4() == address.is_ipv4())?,
        })
    });
    let endpoints: Vec<_> = endpoints.collect();
    if !may_set_rules(cx) {
        let message = "this service has no `endpoints`, and no program here may set its rules";
        let help = "name its `endpoints`, or give kube-proxy, say, `capabilities: [net_admin]` on the clients' nodes";
        cx.push(Problem::new(name.span, message).help(help));
    }
    Some(Service {
        name: name.get()?.clone(),
        address,
        proxy: Proxy::Programs,
        affinity: None,
        endpoints,
        pin_first: None,
        removal: None,
        readiness: None,
    })
}

/// Whether a program may set rules; also where that is not known, for which there is a problem already.
fn may_set_rules(cx: &Cx<'_>) -> bool {
    let (Some(servers), Some(clients)) = (cx.scenario.servers.get(), cx.scenario.clients.get())
    else {
        return true;
    };
    let servers = servers.0.iter().filter_map(|(_, spec)| spec.get());
    let served = servers.filter_map(|spec| given(&spec.exec)?.capabilities.as_ref());
    let clients = clients.0.iter().filter_map(|(_, spec)| spec.get());
    let asking = clients.filter_map(|spec| program::of(spec)?.capabilities.as_ref());
    let mut all = served.chain(asking).filter_map(Spanned::get).flatten();
    all.any(|named| named.get().is_none_or(|c| *c == Capability::NetAdmin))
}

/// Endpoints that are named are for the lab's own rules.
fn has_rules_of_the_lab(cx: &mut Cx<'_>, spec: &ServiceSpec) {
    let of_programs = placed(&spec.proxy).filter(|(_, proxy)| **proxy == Proxy::Programs);
    if let Some((span, _)) = of_programs {
        let message = "where programs set the rules, they say who is behind the service";
        cx.push(Problem::new(span, message).help("leave `endpoints` out, or `proxy`"));
    }
}

/// A time, or its default; `None` if it is off.
fn unless_off(field: &Option<Spanned<OffOr<Time>>>, default: Duration) -> Option<Duration> {
    match given(field) {
        None => Some(default),
        Some(OffOr::Off) => None,
        Some(OffOr::On(time)) => Some(time.0),
    }
}

fn address(cx: &mut Cx<'_>, field: &Spanned<String>) -> Option<SocketAddr> {
    let text = field.get()?;
    let Ok(address) = text.parse::<SocketAddr>() else {
        let message = format!("`{text}` is not an address with a port");
        let help = "write e.g. `192.168.255.220:443` or `[fd00:ff::1]:443`";
        cx.push(Problem::new(field.span, message).help(help));
        return None;
    };
    not_zero(cx, field.span, address.port());
    let nodes = cx.names(Kind::Node).map_or(0, |names| names.len());
    if let Some(why) = taken_by(address.ip(), nodes) {
        let message = format!("a service can't have the address {}: {why}", address.ip());
        let help = "take one nobody has, such as `192.168.255.220` or `fd00:ff::1`";
        cx.push(Problem::new(field.span, message).help(help));
    }
    Some(address)
}

/// The endpoints' names.
fn endpoints<'s>(
    cx: &mut Cx<'_>,
    field: &'s Spanned<Vec<Spanned<String>>>,
) -> Option<Vec<&'s Spanned<String>>> {
    let endpoints = field.get()?;
    if endpoints.is_empty() {
        let problem = Problem::new(field.span, "a service needs an endpoint");
        cx.push(problem.help("name the servers behind it"));
    }
    let mut seen: Vec<&Spanned<String>> = Vec::new();
    for endpoint in endpoints {
        let word = cx.existing(Kind::Server, endpoint);
        if let Some(word) = word
            && let Some(first) = seen.iter().find(|e| e.get() == endpoint.get())
        {
            let problem = Problem::new(endpoint.span, format!("endpoint `{word}` is here twice"));
            cx.push(problem.also(first.span, "first here"));
        }
        seen.push(endpoint);
    }
    // A client can't know which endpoint it gets, so all of them speak TLS or none does.
    let tls = |e: &Spanned<String>| Some(cx.topology.server(e.get()?)?.tls);
    let first = seen.first().and_then(|first| tls(first));
    let mut others = seen.iter().filter(|e| first.is_some() && tls(e).is_some());
    if let Some(odd) = others.find(|e| tls(e) != first) {
        let message = "some endpoints of this service speak TLS, others do not";
        let problem = Problem::new(odd.span, message);
        cx.push(problem.help("give all of its servers the same `tls`"));
    }
    Some(seen)
}

fn pin_first(
    cx: &mut Cx<'_>,
    spec: &ServiceSpec,
    endpoints: &Spanned<Vec<Spanned<String>>>,
) -> Option<String> {
    let pin = spec.pin_first.as_ref()?;
    let word = cx.existing(Kind::Server, pin)?;
    let endpoints = endpoints.get()?.iter().filter_map(Spanned::get);
    if !endpoints.clone().any(|e| e == word) {
        let message = format!("`{word}` is not an endpoint of this service");
        let known = endpoints.map(String::as_str);
        cx.push(Problem::new(pin.span, message).suggest(word, known));
    }
    Some(word.to_owned())
}
