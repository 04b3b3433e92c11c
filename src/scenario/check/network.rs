//! Nodes, servers, services, sysctls.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Checker, Kind, names_of};
use crate::plan::address::{MAX_NODES, MAX_PODS, taken_by};
use crate::plan::topology::port_of;
use crate::scenario::diagnostic::Problem;
use crate::scenario::model::{Named, ServerSpec, ServiceSpec, Spanned, Text};
use crate::scenario::source::Span;
use crate::scenario::value::given;

/// Below a second, so that the SYN's own timer (RFC 6298, 2.1) does not fire on a healthy path.
const LONGEST_RTT: Duration = Duration::from_millis(900);
/// Above what veth pairs take, which would go on top of it unseen.
const SHORTEST_RTT: Duration = Duration::from_micros(200);

impl Checker<'_> {
    pub(super) fn network(&mut self) {
        self.nodes();
        self.rtt();
        self.servers();
        self.services();
    }

    fn nodes(&mut self) {
        let scenario = self.scenario;
        self.sysctls(&scenario.sysctls);
        let Some(nodes) = scenario.nodes.get() else {
            return;
        };
        if nodes.0.is_empty() {
            self.push(
                Problem::new(scenario.nodes.span, "a scenario needs a node")
                    .help("write e.g. `nodes: [node1, node2]`"),
            );
        }
        if let Some((name, _)) = nodes.0.get(MAX_NODES) {
            let message = format!("more than {MAX_NODES} nodes");
            self.push(Problem::new(name.span, message).help("the nodes' network is 10.0.0.0/24"));
        }
        for (_, _, spec) in nodes.iter() {
            self.sysctls(&spec.sysctls);
        }
        self.pods();
    }

    /// A round trip that a network can have, and that leaves the fault's phases their meaning.
    fn rtt(&mut self) {
        let Some(rtt) = &self.scenario.rtt else {
            return;
        };
        let Some(time) = rtt.get().map(|time| time.0) else {
            return;
        };
        if time > LONGEST_RTT {
            let message = "a round trip of more than 900 ms, which no path on Earth has";
            self.push(
                Problem::new(rtt.span, message)
                    .help("write e.g. `rtt: 40ms`; by satellite it is some 600 ms"),
            );
        } else if time < SHORTEST_RTT {
            let message = "a round trip of less than 200 us is the machine's own";
            self.push(Problem::new(rtt.span, message).help(
                "leave `rtt` out for a network as fast as the machine, or write e.g. `rtt: 1ms`",
            ));
        }
    }

    /// No node has more pods than its pod network has addresses.
    fn pods(&mut self) {
        let servers = self
            .scenario
            .servers
            .get()
            .into_iter()
            .flat_map(Named::iter);
        let servers = servers.map(|(name, _, spec)| (name, &spec.node, &spec.host_network));
        let clients = self
            .scenario
            .clients
            .get()
            .into_iter()
            .flat_map(Named::iter);
        let clients = clients.map(|(name, _, spec)| (name, &spec.node, &spec.host_network));
        let mut pods: HashMap<&str, usize> = HashMap::new();
        let mut over = Vec::new();
        for (name, node, host) in servers.chain(clients) {
            let (Some(node), false) = (node.get(), given(host).copied().unwrap_or_default()) else {
                continue;
            };
            let count = pods.entry(node.as_str()).or_default();
            *count += 1;
            if *count == MAX_PODS + 1 {
                over.push(
                    Problem::new(
                        name.span,
                        format!("node `{node}` has more than {MAX_PODS} pods"),
                    )
                    .help("put some on another node; a pod network is a /24"),
                );
            }
        }
        self.problems.append(&mut over);
    }

    fn servers(&mut self) {
        let scenario = self.scenario;
        let Some(servers) = scenario.servers.get() else {
            return;
        };
        let mut ports: HashMap<(&str, u16), &Spanned<String>> = HashMap::new();
        for (name, word, spec) in servers.iter() {
            self.must_be(Kind::Node, &spec.node);
            self.server(spec);
            let host = given(&spec.host_network).copied().unwrap_or_default();
            self.own_sysctls(host, &spec.sysctls);
            let Some(node) = spec.node.get().filter(|_| host) else {
                continue;
            };
            let port = port_of(spec);
            if let Some(first) = ports.insert((node, port), name) {
                let span = spec.port.as_ref().map_or(name.span, |p| p.span);
                let message =
                    format!("port {port} of node `{node}` is taken: `{word}` can't listen on it");
                let label = format!(
                    "`{}` listens on it",
                    first.get().map_or("another", String::as_str)
                );
                let problem = Problem::new(span, message).also(first.span, label);
                self.push(
                    problem
                        .help("servers with `host_network: true` on one node need different ports"),
                );
            }
        }
        if servers.0.is_empty() {
            self.push(Problem::new(
                scenario.servers.span,
                "a scenario needs a server",
            ));
        }
    }

    fn server(&mut self, spec: &ServerSpec) {
        if let Some(Spanned {
            span,
            value: Some(0),
        }) = spec.port
        {
            self.push(
                Problem::new(span, "port 0 is no port").help("write a number from 1 to 65535"),
            );
        }
        if let Some(Spanned {
            span,
            value: Some(list),
        }) = &spec.protocols
        {
            let known: Vec<_> = list.iter().filter_map(Spanned::get).collect();
            if list.is_empty() {
                self.push(
                    Problem::new(*span, "a server speaks at least one protocol")
                        .help("write `[h1]`, `[h2]` or `[h1, h2]`"),
                );
            }
            if known
                .iter()
                .enumerate()
                .any(|(i, p)| known[..i].contains(p))
            {
                self.push(
                    Problem::new(*span, "the same protocol twice")
                        .help("write `[h1]`, `[h2]` or `[h1, h2]`"),
                );
            }
        }
    }

    fn services(&mut self) {
        let Some(services) = given(&self.scenario.service) else {
            return;
        };
        let mut addresses: HashMap<SocketAddr, Span> = HashMap::new();
        for (_, _, spec) in services.iter() {
            if let Some(address) = self.service_address(&spec.address)
                && let Some(first) = addresses.insert(address, spec.address.span)
            {
                let message = format!("two services have the address {address}");
                self.push(
                    Problem::new(spec.address.span, message)
                        .label("again")
                        .also(first, "first here")
                        .help("give each an address or a port of its own"),
                );
            }
            self.endpoints(spec);
        }
    }

    fn service_address(&mut self, field: &Spanned<String>) -> Option<SocketAddr> {
        let text = field.get()?;
        let Ok(address) = text.parse::<SocketAddr>() else {
            let message = format!("`{text}` is not an address with a port");
            self.push(
                Problem::new(field.span, message)
                    .help("write e.g. `192.168.255.220:443` or `[fd00:ff::1]:443`"),
            );
            return None;
        };
        if address.port() == 0 {
            self.push(
                Problem::new(field.span, "port 0 is no port")
                    .help("write a number from 1 to 65535"),
            );
        }
        let nodes = self
            .names_of_kind(Kind::Node)
            .map_or(0, |names| names.len());
        if let Some(why) = taken_by(address.ip(), nodes) {
            let message = format!("a service can't have the address {}: {why}", address.ip());
            self.push(
                Problem::new(field.span, message)
                    .help("take one nobody has, such as `192.168.255.220` or `fd00:ff::1`"),
            );
        }
        Some(address)
    }

    fn endpoints(&mut self, spec: &ServiceSpec) {
        let Some(endpoints) = spec.endpoints.get() else {
            return;
        };
        if endpoints.is_empty() {
            self.push(
                Problem::new(spec.endpoints.span, "a service needs an endpoint")
                    .help("name the servers behind it"),
            );
        }
        let mut seen: Vec<&Spanned<String>> = Vec::new();
        for endpoint in endpoints {
            let known = self.must_be(Kind::Server, endpoint);
            if let Some(first) = seen.iter().find(|e| known && e.get() == endpoint.get()) {
                let word = endpoint.get().map_or("", String::as_str);
                let problem =
                    Problem::new(endpoint.span, format!("endpoint `{word}` is here twice"));
                self.push(problem.also(first.span, "first here"));
            }
            seen.push(endpoint);
        }
        self.same_tls(&seen);
        if let Some(pin) = &spec.pin_first
            && self.must_be(Kind::Server, pin)
            && !seen.iter().any(|e| e.get() == pin.get())
        {
            let word = pin.get().map_or("", String::as_str);
            let known = seen.iter().filter_map(|e| e.get()).map(String::as_str);
            let mut problem = Problem::new(
                pin.span,
                format!("`{word}` is not an endpoint of this service"),
            );
            problem.help = super::suggest(word, known);
            self.push(problem);
        }
    }

    /// A client can't know which endpoint it gets, so all of them speak TLS or none does.
    fn same_tls(&mut self, endpoints: &[&Spanned<String>]) {
        let tls =
            |e: &&&Spanned<String>| e.get().and_then(|e| self.topology.server(e)).map(|s| s.tls);
        let odd = endpoints.iter().find(|e| {
            let first = endpoints.first().and_then(|f| tls(&f));
            matches!((tls(e), first), (Some(a), Some(b)) if a != b)
        });
        if let Some(odd) = odd {
            let problem = Problem::new(
                odd.span,
                "some endpoints of this service speak TLS, others do not",
            );
            self.push(problem.help("give all of its servers the same `tls`"));
        }
    }

    /// Only a pod has a network namespace, and so sysctls, of its own.
    pub(super) fn own_sysctls(
        &mut self,
        host_network: bool,
        sysctls: &Option<Spanned<Named<Text>>>,
    ) {
        if let Some(sysctls) = sysctls.as_ref().filter(|_| host_network) {
            self.push(
                Problem::new(
                    sysctls.span,
                    "on the host network there are no sysctls of one's own",
                )
                .help("set them on the node: `nodes: { NODE: { sysctls: … } }`"),
            );
        }
        self.sysctls(sysctls);
    }

    fn sysctls(&mut self, sysctls: &Option<Spanned<Named<Text>>>) {
        for name in given(sysctls).map(names_of).unwrap_or_default() {
            let Some(key) = name.get() else {
                continue;
            };
            let part = |p: &str| {
                !p.is_empty()
                    && p.chars()
                        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
            };
            let shaped = key.split('.').all(part) && key.contains('.');
            if !shaped || !key.starts_with("net.") {
                let why = match shaped {
                    true => "only those under `net.` belong to a node or a pod",
                    false => "it is written with dots, e.g. `net.ipv4.tcp_retries2`",
                };
                self.push(
                    Problem::new(
                        name.span,
                        format!("`{key}` is no sysctl of a network namespace"),
                    )
                    .help(why),
                );
            }
        }
        for (name, value) in given(sysctls).into_iter().flat_map(|s| &s.0) {
            let key = name.get().map_or("", String::as_str);
            if value
                .get()
                .is_some_and(|v| v.0.trim().is_empty() || v.0.contains(['\n', '\0']))
            {
                self.push(Problem::new(
                    value.span,
                    format!("sysctl `{key}` needs a value on one line"),
                ));
            }
        }
    }
}
