//! A service as it is to be: which endpoints get new connections.

use std::net::SocketAddr;

use crate::plan::Service;

/// A service and which of its endpoints get new connections.
#[derive(Debug, Clone)]
pub(super) struct ServiceState {
    /// Its number in the plan, from 1.
    pub(super) number: usize,
    /// The service.
    pub(super) service: Service,
    /// The endpoint that gets all of them, as long as it is not removed.
    pub(super) pinned: Option<String>,
    /// Endpoints that get none, by server.
    pub(super) removed: Vec<String>,
    /// Endpoints that were removed, and come back with the change that is being made.
    pub(super) returning: Vec<String>,
}

impl ServiceState {
    /// The service numbered `number`, from 1: pinned as the plan says, and whole.
    pub(super) fn new(number: usize, service: &Service) -> Self {
        Self {
            number,
            service: service.clone(),
            pinned: service.pin_first.clone(),
            removed: Vec::new(),
            returning: Vec::new(),
        }
    }

    /// Numbers (from 1) and addresses of the endpoints that get new connections.
    pub(super) fn chosen(&self) -> Vec<(usize, SocketAddr)> {
        let mut live = Vec::new();
        for (n, endpoint) in (1..).zip(&self.service.endpoints) {
            if self.removed.contains(&endpoint.server) {
                continue;
            }
            if self.pinned.as_ref() == Some(&endpoint.server) {
                return vec![(n, endpoint.address)];
            }
            live.push((n, endpoint.address));
        }
        live
    }

    /// The addresses of the endpoints that are not removed, whether they get new connections or not.
    pub(super) fn present(&self) -> impl Iterator<Item = SocketAddr> {
        let endpoints = self.service.endpoints.iter();
        let kept = endpoints.filter(|e| !self.removed.contains(&e.server));
        kept.map(|endpoint| endpoint.address)
    }

    /// The addresses of those that are.
    pub(super) fn absent(&self) -> impl Iterator<Item = SocketAddr> {
        let endpoints = self.service.endpoints.iter();
        let removed = endpoints.filter(|e| self.removed.contains(&e.server));
        removed.map(|endpoint| endpoint.address)
    }

    /// For how long a client keeps its endpoint, in seconds.
    pub(super) fn affinity_seconds(&self) -> Option<u32> {
        let affinity = self.service.affinity?;
        Some(u32::try_from(affinity.as_secs()).unwrap_or(u32::MAX))
    }

    /// Takes endpoints out, and says whether any was in.
    pub(super) fn remove(&mut self, servers: &[&str]) -> bool {
        let before = self.removed.len();
        for server in servers {
            let known = self.service.endpoints.iter().any(|e| e.server == *server);
            if known && !self.removed.iter().any(|removed| removed == server) {
                self.removed.push((*server).to_owned());
            }
        }
        self.removed.len() > before
    }

    /// Puts endpoints back, and says whether any was out.
    pub(super) fn restore(&mut self, servers: &[&str]) -> bool {
        let back = |server: &String| servers.contains(&server.as_str());
        self.returning = self.removed.iter().filter(|s| back(s)).cloned().collect();
        self.removed.retain(|server| !back(server));
        !self.returning.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Endpoint;

    #[test]
    fn a_pinned_endpoint_that_is_removed_no_longer_pins() {
        let endpoints = (1..=3).map(|n| Endpoint {
            server: format!("aa-{n}"),
            address: SocketAddr::from(([10, 0, 0, n], 6443)),
        });
        let service = Service {
            name: "aa".to_owned(),
            address: SocketAddr::from(([192, 168, 255, 220], 443)),
            proxy: crate::plan::Proxy::Iptables,
            endpoints: endpoints.collect(),
            pin_first: Some("aa-1".to_owned()),
            affinity: None,
            removal: None,
            readiness: None,
        };
        let mut state = ServiceState::new(1, &service);
        let numbers = |state: &ServiceState| -> Vec<usize> {
            state.chosen().into_iter().map(|(n, _)| n).collect()
        };
        assert_eq!(numbers(&state), [1]);
        assert!(state.remove(&["aa-1"]));
        assert_eq!(numbers(&state), [2, 3]);
        assert!(!state.remove(&["aa-1", "nobody"]));
        assert!(state.restore(&["aa-1"]));
        assert_eq!(numbers(&state), [1]);
    }
}
