//! The nodes of a service's clients forget its connections.

use std::net::SocketAddr;

use super::{Act, Guard, Site};
use crate::lab::LabError;
use crate::lab::network::Network;
use crate::linux::conntrack;
use crate::plan::{LabPlan, Place, Service};

/// [`crate::plan::Effect::Forget`].
pub(super) struct Forget<'a> {
    pub(super) service: &'a str,
    /// Only the connections to this server.
    pub(super) server: Option<&'a str>,
}

impl Act for Forget<'_> {
    /// Whatever is sent on a forgotten connection is translated anew, by the rules as they are then, unless
    /// `nf_conntrack_tcp_loose` is 0.
    fn cut(&self, network: &Network, plan: &LabPlan, _: Site) -> Result<Guard, LabError> {
        let service = plan.services.iter().find(|s| s.name == self.service);
        let service = service.ok_or_else(|| unknown("service of a deleted connection"))?;
        let endpoint = endpoint(service, self.server)?;
        let mut found = 0;
        for node in &plan.nodes {
            let namespace = network.namespace(&Place::Node(node.name.clone()));
            let mut clients = plan.clients.iter();
            if clients
                .any(|c| c.node == node.name && c.target.service.as_ref() == Some(&service.name))
            {
                found += conntrack::delete(&namespace, |entry| {
                    entry.to == service.address && endpoint.is_none_or(|e| entry.endpoint == e)
                })?;
            }
        }
        Ok(Guard::found(found))
    }

    fn silences(&self) -> bool {
        false
    }
}

fn endpoint(service: &Service, server: Option<&str>) -> Result<Option<SocketAddr>, LabError> {
    let Some(server) = server else {
        return Ok(None);
    };
    let found = service.endpoints.iter().find(|e| e.server == server);
    let found = found.ok_or_else(|| unknown("endpoint of a deleted connection"))?;
    Ok(Some(found.address))
}

fn unknown(what: &str) -> LabError {
    LabError::Unknown {
        what: what.to_owned(),
    }
}
