//! What stands where: nodes, pods, servers and services with their addresses.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::plan::{self, Middlebox, Node, Place, Pod, Server, Service, Sysctl};

/// Everything that has an address, as far as it is resolved.
#[derive(Debug, Clone, Default)]
pub(crate) struct Topology {
    pub(crate) nodes: Vec<Node>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) servers: Vec<Server>,
    pub(crate) services: Vec<Service>,
    pub(crate) middleboxes: Vec<Middlebox>,
    /// Where each client runs, by name.
    pub(crate) clients: HashMap<String, Place>,
    /// Sysctls of every node and every pod.
    pub(crate) sysctls: Vec<Sysctl>,
    /// How many pods a node has, by name.
    pub(crate) pods_of: HashMap<String, usize>,
}

impl Topology {
    pub(crate) fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|s| s.name == name)
    }

    pub(crate) fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|s| s.name == name)
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// Where the server or client called `name` runs.
    pub(crate) fn place(&self, name: &str) -> Option<&Place> {
        let server = self.server(name).map(|server| &server.place);
        server.or_else(|| self.clients.get(name))
    }

    /// The node or pod whose network namespace the node, server or client called `name` has.
    pub(crate) fn namespace(&self, name: &str) -> Option<&str> {
        if let Some(node) = self.node(name) {
            return Some(&node.name);
        }
        let (Place::Node(place) | Place::Pod(place)) = self.place(name)?;
        Some(place)
    }

    /// The sysctls set in a place's own network namespace.
    pub(crate) fn sysctls_at(&self, place: &Place) -> &[Sysctl] {
        plan::sysctls_at(&self.nodes, &self.pods, place)
    }

    pub(crate) fn addresses(&self, place: &Place) -> Option<[IpAddr; 2]> {
        match place {
            Place::Node(name) => {
                let node = self.node(name)?;
                Some([node.address.into(), node.address6.into()])
            }
            Place::Pod(name) => {
                let pod = self.pods.iter().find(|p| p.name == *name)?;
                Some([pod.address.into(), pod.address6.into()])
            }
        }
    }
}
