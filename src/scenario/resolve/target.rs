//! From a client's URL to an address and the servers behind it.

use std::net::{IpAddr, SocketAddr};

use crate::plan::{Place, Proxy, Server, Service, Target};
use crate::scenario::cx::{Cx, Kind};
use crate::scenario::model::Spanned;
use crate::scenario::topology::Topology;
use crate::yaml::{Problem, Span};

/// A URL's parts.
struct Url<'a> {
    scheme: Scheme,
    host: &'a str,
    port: Option<u16>,
    path: &'a str,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    /// Whatever a program and its server speak.
    Tcp,
}

impl Scheme {
    fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
        }
    }
}

/// Reads `url`; the error is what is wrong and what would be right.
fn parse(url: &str) -> Result<Url<'_>, (String, String)> {
    const RIGHT: &str = "write e.g. `https://my-service/path` or `http://my-server:8080/`";
    let bad = |why: &str| (format!("`{url}` is not a URL: {why}"), RIGHT.to_owned());
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(bad("it has no `http://`, `https://` or `tcp://`"));
    };
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "tcp" => Scheme::Tcp,
        _ => return Err(bad(&format!("`{scheme}` is none of http, https and tcp"))),
    };
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    if scheme == Scheme::Tcp && path != "/" {
        let message = format!("`{url}` is not a URL: `tcp://` has no path");
        return Err((message, format!("write `tcp://{authority}`")));
    }
    if !path.starts_with('/') || path.contains('#') {
        return Err(bad("a path begins with `/` and has no `#`"));
    }
    if path
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii())
    {
        return Err(bad("a path has no spaces and only ASCII characters"));
    }
    if authority.contains('@') {
        return Err(bad("user names are not supported"));
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (
            host,
            Some(
                port.strip_prefix(':')
                    .ok_or_else(|| bad("after `]` comes `:port` or `/`"))?,
            ),
        ),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err(bad("it has no host"));
    }
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port)) if port > 0 => Some(port),
        Some(_) => return Err(bad("the port is a number from 1 to 65535")),
    };
    Ok(Url {
        scheme,
        host,
        port,
        path,
    })
}

/// What a URL's host turned out to be.
struct Found<'a> {
    address: SocketAddr,
    servers: Vec<&'a Server>,
    service: Option<String>,
}

/// Finds what a client's URL asks.
pub(super) fn resolve(cx: &mut Cx<'_>, field: &Spanned<String>) -> Option<Target> {
    let url = field.get()?;
    // Where one of the mappings could not be read, the host may well be in there.
    let known = cx.words(&[Kind::Service, Kind::Server, Kind::Node])?;
    match target(url, field.span, &cx.topology, &known) {
        Ok(target) => target,
        Err(problem) => {
            cx.push(problem);
            None
        }
    }
}

/// `Ok(None)` where the host is among `known`, but could not be resolved itself.
fn target(
    url: &str,
    span: Span,
    topology: &Topology,
    known: &[&str],
) -> Result<Option<Target>, Problem> {
    let parts = parse(url).map_err(|(message, help)| Problem::new(span, message).help(help))?;
    let usual = match parts.scheme {
        Scheme::Http => Some(80),
        Scheme::Https => Some(443),
        Scheme::Tcp => None,
    };
    let Some(port) = parts
        .port
        .or(usual)
        .or_else(|| its_port(parts.host, topology))
    else {
        if known.contains(&parts.host) && topology.node(parts.host).is_none() {
            return Ok(None);
        }
        let message = format!("`{url}` says no port");
        return Err(Problem::new(span, message).help("write e.g. `tcp://my-node:5432`"));
    };
    let Some(found) = find(&parts, port, topology) else {
        if known.contains(&parts.host) {
            return Ok(None);
        }
        let problem = Problem::new(span, format!("nothing here is called `{}`", parts.host));
        let problem = problem.help("name a service, a server or a node");
        return Err(problem.suggest(parts.host, known.iter().copied()));
    };
    if found.address.port() != port {
        return Err(wrong_port(&parts, port, found.address.port(), span));
    }
    if found.servers.is_empty() {
        if found.service.is_some() {
            return Ok(None);
        }
        let message = format!("no server listens on port {port} of `{}`", parts.host);
        return Err(Problem::new(span, message).help(
            "a URL with a node's name reaches the servers there that have `host_network: true`",
        ));
    }
    let tls = parts.scheme == Scheme::Https;
    let speaks_other = |s: &&&Server| parts.scheme != Scheme::Tcp && s.tls != tls;
    if let Some(server) = found.servers.iter().find(speaks_other) {
        return Err(wrong_scheme(tls, server, span));
    }
    Ok(Some(Target {
        host: parts.host.to_owned(),
        address: found.address,
        path: parts.path.to_owned(),
        tls,
        servers: found.servers.iter().map(|s| s.name.clone()).collect(),
        service: found.service,
    }))
}

/// The port of the service or server called so.
fn its_port(host: &str, topology: &Topology) -> Option<u16> {
    if let Some(service) = topology.service(host) {
        return Some(service.address.port());
    }
    Some(topology.server(host)?.listen.first()?.port())
}

fn find<'a>(parts: &Url<'_>, port: u16, topology: &'a Topology) -> Option<Found<'a>> {
    if let Some(service) = topology.service(parts.host) {
        return Some(of_service(service, parts, topology));
    }
    if let Some(server) = topology.server(parts.host) {
        return Some(Found {
            address: *server.listen.first()?,
            servers: vec![server],
            service: None,
        });
    }
    if let Some(node) = topology.node(parts.host) {
        let address = SocketAddr::new(node.address.into(), port);
        return Some(at_address(address, topology, Some(&node.name)));
    }
    let address = SocketAddr::new(parts.host.parse::<IpAddr>().ok()?, port);
    match topology
        .services
        .iter()
        .find(|s| s.address.ip() == address.ip())
    {
        Some(service) => Some(of_service(service, parts, topology)),
        None => Some(at_address(address, topology, None)),
    }
}

fn of_service<'a>(service: &Service, url: &Url<'_>, topology: &'a Topology) -> Found<'a> {
    let servers = service
        .endpoints
        .iter()
        .filter_map(|e| topology.server(&e.server))
        // Of programs that may be behind it, those that can be asked so.
        .filter(|server| {
            service.proxy != Proxy::Programs
                || url.scheme == Scheme::Tcp
                || server.tls == (url.scheme == Scheme::Https)
        });
    Found {
        address: service.address,
        servers: servers.collect(),
        service: Some(service.name.clone()),
    }
}

fn at_address<'a>(address: SocketAddr, topology: &'a Topology, node: Option<&str>) -> Found<'a> {
    let listens = |s: &&Server| match node {
        Some(node) => s.listen.contains(&address) && s.place == Place::Node(node.to_owned()),
        None => s.listen.contains(&address),
    };
    Found {
        address,
        servers: topology.servers.iter().filter(listens).collect(),
        service: None,
    }
}

fn wrong_port(parts: &Url<'_>, asked: u16, right: u16, span: Span) -> Problem {
    let message = format!(
        "`{}` listens on port {right}, this URL asks port {asked}",
        parts.host
    );
    let path = match parts.scheme {
        Scheme::Http | Scheme::Https => parts.path,
        Scheme::Tcp => "",
    };
    Problem::new(span, message).help(format!(
        "write `{}://{}:{right}{path}`",
        parts.scheme.word(),
        parts.host
    ))
}

fn wrong_scheme(asked_tls: bool, server: &Server, span: Span) -> Problem {
    let (asked, has) = match asked_tls {
        true => ("https", "has no TLS"),
        false => ("http", "speaks TLS"),
    };
    let other = if asked_tls { "http://" } else { "https://" };
    let tls = if asked_tls {
        "`tls: true`"
    } else {
        "`tls: false`"
    };
    Problem::new(
        span,
        format!("{asked} to server `{}`, which {has}", server.name),
    )
    .help(format!("write `{other}…` here, or give the server {tls}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = parse("https://aa/lock").expect("a URL");
        assert_eq!(
            (url.scheme, url.host, url.port, url.path),
            (Scheme::Https, "aa", None, "/lock")
        );
        let url = parse("http://[fd00:10::2]:8080").expect("a URL");
        assert_eq!(
            (url.scheme, url.host, url.port, url.path),
            (Scheme::Http, "fd00:10::2", Some(8080), "/")
        );
        let url = parse("tcp://db").expect("a URL");
        assert_eq!((url.scheme, url.host, url.port), (Scheme::Tcp, "db", None));
        for bad in [
            "aa/lock",
            "ftp://aa/",
            "http:///x",
            "http://aa:0/",
            "http://aa:http/",
            "http://u@aa/",
            "http://aa/a b",
            "tcp://aa/x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
