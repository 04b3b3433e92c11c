//! What stands where: nodes, pods, servers and services with their addresses.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{
    AcceptQueue, App, Emulated, Endpoint, Location, Node, Place, Pod, Protocol, Server, Service,
    Sysctl, address,
};
use crate::scenario::model::{Named, NamedEntry, OffOr, Scenario, ServerSpec, Spanned, Text};
use crate::scenario::{Span, given};

/// Time from a node's loss until its endpoints leave the rules: Kubernetes' grace period up to 1.31.
const REMOVAL: Duration = Duration::from_secs(40);

/// Everything that has an address. Entries with errors are left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Topology {
    pub(crate) nodes: Vec<Node>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) servers: Vec<Server>,
    pub(crate) services: Vec<Service>,
    /// Where each client runs, by name.
    pub(crate) clients: HashMap<String, Place>,
}

impl Topology {
    /// Builds what can be built; `locate` says where something stood.
    pub(crate) fn build(scenario: &Scenario, locate: &dyn Fn(Span) -> Location) -> Self {
        let mut builder = Builder {
            scenario,
            locate,
            pods_of: HashMap::new(),
            topology: Self::default(),
        };
        builder.nodes();
        builder.servers();
        builder.clients();
        builder.services();
        builder.topology
    }

    pub(crate) fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|s| s.name == name)
    }

    pub(crate) fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|s| s.name == name)
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }
}

/// The port a server listens on.
pub(crate) fn port_of(spec: &ServerSpec) -> u16 {
    let tls = given(&spec.tls).copied().unwrap_or_default();
    given(&spec.port)
        .copied()
        .unwrap_or(if tls { 443 } else { 80 })
}

struct Builder<'a> {
    scenario: &'a Scenario,
    locate: &'a dyn Fn(Span) -> Location,
    /// Pods a node has so far.
    pods_of: HashMap<String, u8>,
    topology: Topology,
}

impl Builder<'_> {
    fn nodes(&mut self) {
        let Some(nodes) = self.scenario.nodes.get() else {
            return;
        };
        for (index, (_, name, spec)) in (1..=u8::MAX).take(address::MAX_NODES).zip(nodes.iter()) {
            let sysctls = self.sysctls(spec.sysctls.as_ref());
            self.topology.nodes.push(Node {
                name: name.to_owned(),
                index,
                address: address::node(index),
                address6: address::node6(index),
                pod_network: address::pod_network(index),
                pod_network6: address::pod_network6(index),
                sysctls,
                masquerade: given(&spec.masquerade).copied().unwrap_or_default(),
            });
        }
    }

    /// Everybody's sysctls, and over them one's own.
    fn sysctls(&self, own: Option<&Spanned<Named<Text>>>) -> Vec<Sysctl> {
        let mut all: Vec<Sysctl> = Vec::new();
        let entries = [self.scenario.sysctls.as_ref(), own];
        let entries = entries.into_iter().flatten().filter_map(Spanned::get);
        for (name, value) in entries.flat_map(|named| &named.0) {
            if let Some(sysctl) = self.sysctl(name, value) {
                all.retain(|s| s.key != sysctl.key);
                all.push(sysctl);
            }
        }
        all
    }

    fn sysctl(&self, name: &Spanned<String>, value: &Spanned<Text>) -> Option<Sysctl> {
        Some(Sysctl {
            key: name.get()?.clone(),
            value: value.get()?.0.clone(),
            location: (self.locate)(name.span),
        })
    }

    /// A place on `node` for `name`: the node itself, or a new pod.
    fn place(
        &mut self,
        name: &str,
        node: &str,
        host_network: bool,
        own: Option<&Spanned<Named<Text>>>,
    ) -> Option<Place> {
        if host_network {
            return Some(Place::Node(node.to_owned()));
        }
        let index = self.topology.node(node)?.index;
        let count = self.pods_of.entry(node.to_owned()).or_default();
        if usize::from(*count) >= address::MAX_PODS {
            return None;
        }
        let n = *count;
        *count += 1;
        let sysctls = self.sysctls(own);
        self.topology.pods.push(Pod {
            name: name.to_owned(),
            node: node.to_owned(),
            address: address::pod(index, n),
            address6: address::pod6(index, n),
            sysctls,
            uptime: Duration::ZERO,
        });
        Some(Place::Pod(name.to_owned()))
    }

    fn servers(&mut self) {
        let Some(servers) = self.scenario.servers.get() else {
            return;
        };
        for (_, name, spec) in servers.iter() {
            let Some(node) = spec.node.get() else {
                continue;
            };
            let host = given(&spec.host_network).copied().unwrap_or_default();
            let place = self.place(name, node, host, spec.sysctls.as_ref());
            if let Some(server) = place.and_then(|place| self.server(name, spec, place)) {
                self.topology.servers.push(server);
            }
        }
    }

    fn server(&self, name: &str, spec: &ServerSpec, place: Place) -> Option<Server> {
        let port = port_of(spec);
        let protocols = match given(&spec.protocols) {
            Some(list) => list.iter().filter_map(Spanned::get).copied().collect(),
            None => vec![Protocol::H1, Protocol::H2],
        };
        let services: Vec<String> = self.services_of(name);
        let node = spec.node.get()?.clone();
        let mut tls_names = services.clone();
        if matches!(place, Place::Node(_)) {
            tls_names.push(node.clone());
        }
        Some(Server {
            name: name.to_owned(),
            listen: self
                .addresses(&place)?
                .map(|ip| SocketAddr::new(ip, port))
                .to_vec(),
            place,
            node,
            tls: given(&spec.tls).copied().unwrap_or_default(),
            tls_names,
            protocols,
            app: given(&spec.app).copied().unwrap_or(App::Echo),
            response_delay: given(&spec.response_delay).map_or(Duration::ZERO, |t| t.0),
            store: services
                .into_iter()
                .next()
                .unwrap_or_else(|| name.to_owned()),
            accept_queue: AcceptQueue {
                backlog: given(&spec.backlog)
                    .copied()
                    .unwrap_or(AcceptQueue::default().backlog),
                accepts: given(&spec.accepts).copied(),
            },
            emulate: spec.emulate.as_ref().and_then(|emulate| {
                Some(Emulated {
                    what: *emulate.get()?,
                    location: (self.locate)(emulate.span),
                })
            }),
        })
    }

    fn addresses(&self, place: &Place) -> Option<[IpAddr; 2]> {
        match place {
            Place::Node(name) => {
                let node = self.topology.node(name)?;
                Some([node.address.into(), node.address6.into()])
            }
            Place::Pod(name) => {
                let pod = self.topology.pods.iter().find(|p| p.name == *name)?;
                Some([pod.address.into(), pod.address6.into()])
            }
        }
    }

    /// Services a server stands behind, in the file's order.
    fn services_of(&self, server: &str) -> Vec<String> {
        let all = given(&self.scenario.service).map(|s| s.0.as_slice());
        let stands_behind = |(name, spec): &NamedEntry<crate::scenario::model::ServiceSpec>| {
            let endpoints = spec.get()?.endpoints.get()?;
            let here = endpoints
                .iter()
                .any(|e| e.get().is_some_and(|e| e == server));
            here.then(|| name.get().cloned())?
        };
        all.unwrap_or_default()
            .iter()
            .filter_map(stands_behind)
            .collect()
    }

    fn clients(&mut self) {
        let Some(clients) = self.scenario.clients.get() else {
            return;
        };
        for (_, name, spec) in clients.iter() {
            let Some(node) = spec.node.get() else {
                continue;
            };
            let host = given(&spec.host_network).copied().unwrap_or_default();
            if let Some(place) = self.place(name, node, host, spec.sysctls.as_ref()) {
                if let (Place::Pod(_), Some(pod)) = (&place, self.topology.pods.last_mut()) {
                    pod.uptime = given(&spec.uptime).map_or(Duration::ZERO, |uptime| uptime.0);
                }
                self.topology.clients.insert(name.to_owned(), place);
            }
        }
    }

    fn services(&mut self) {
        let Some(services) = given(&self.scenario.service) else {
            return;
        };
        for (_, name, spec) in services.iter() {
            let address: Option<SocketAddr> = spec.address.get().and_then(|a| a.parse().ok());
            let (Some(address), Some(endpoints)) = (address, spec.endpoints.get()) else {
                continue;
            };
            let endpoint = |server: &String| {
                let listen = &self.topology.server(server)?.listen;
                let address = listen.iter().find(|a| a.is_ipv4() == address.is_ipv4())?;
                Some(Endpoint {
                    server: server.clone(),
                    address: *address,
                })
            };
            let endpoints = endpoints
                .iter()
                .filter_map(Spanned::get)
                .filter_map(endpoint)
                .collect();
            self.topology.services.push(Service {
                name: name.to_owned(),
                address,
                endpoints,
                pin_first: given(&spec.pin_first).cloned(),
                removal: match given(&spec.removal) {
                    None => Some(REMOVAL),
                    Some(OffOr::Off) => None,
                    Some(OffOr::On(time)) => Some(time.0),
                },
            });
        }
    }
}
