//! What a kernel can be told to forget: a service's connections in conntrack, a client's sockets.

use std::collections::HashSet;
use std::net::SocketAddr;

use netlink_packet_sock_diag::inet::StateFlags;

use super::Cut;
use crate::lab::network::Network;
use crate::lab::{LabError, conntrack, orphans};
use crate::plan::{LabPlan, Place, Service};

/// The nodes of a service's clients forget its connections, those to `server` if one is given. Whatever is sent on one
/// after that is translated anew, by the rules as they are then, unless `nf_conntrack_tcp_loose` is 0.
pub(super) fn conntrack(
    network: &Network,
    plan: &LabPlan,
    service: &str,
    server: Option<&str>,
) -> Result<Cut, LabError> {
    let service = plan.services.iter().find(|s| s.name == service);
    let service = service.ok_or_else(|| unknown("service of a deleted connection"))?;
    let endpoint = endpoint(service, server)?;
    let mut done = 0;
    for node in &plan.nodes {
        let namespace = network.namespace(&Place::Node(node.name.clone()));
        let mut clients = plan.clients.iter();
        if clients.any(|c| c.node == node.name && c.target.service.as_ref() == Some(&service.name))
        {
            done += conntrack::delete(&namespace, |entry| {
                entry.to == service.address && endpoint.is_none_or(|e| entry.endpoint == e)
            })?;
        }
    }
    Ok(Cut::done(done))
}

fn endpoint(service: &Service, server: Option<&str>) -> Result<Option<SocketAddr>, LabError> {
    let Some(server) = server else {
        return Ok(None);
    };
    let found = service.endpoints.iter().find(|e| e.server == server);
    let found = found.ok_or_else(|| unknown("endpoint of a deleted connection"))?;
    Ok(Some(found.address))
}

/// The kernel destroys the sockets of a client to what it asks, those that lead to `server` if one is given: the
/// client reads ECONNABORTED, the server an RST.
pub(super) fn sockets(
    network: &Network,
    plan: &LabPlan,
    client: &str,
    server: Option<&str>,
) -> Result<Cut, LabError> {
    let client = plan.clients.iter().find(|c| c.name == client);
    let client = client.ok_or_else(|| unknown("client of a destroyed socket"))?;
    let target = client.target.address;
    let leading_there = match server {
        None => None,
        Some(server) => leading_to(network, plan, &client.node, target, server)?,
    };
    let states = StateFlags::ESTABLISHED
        | StateFlags::SYN_SENT
        | StateFlags::CLOSE_WAIT
        | StateFlags::FIN_WAIT1
        | StateFlags::FIN_WAIT2;
    let namespace = network.namespace(&client.place);
    let done = orphans::destroy_where(&namespace, states, |own, peer| {
        peer == target
            && leading_there
                .as_ref()
                .is_none_or(|there| there.contains(&own))
    })?;
    Ok(Cut::done(done))
}

/// Which of the addresses on `node` have connections to `target` that lead to `server`; `None` if `target` is the
/// server's own, so that all do.
fn leading_to(
    network: &Network,
    plan: &LabPlan,
    node: &str,
    target: SocketAddr,
    server: &str,
) -> Result<Option<HashSet<SocketAddr>>, LabError> {
    let server = plan.servers.iter().find(|s| s.name == server);
    let server = server.ok_or_else(|| unknown("server of a destroyed socket"))?;
    if server.listen.contains(&target) {
        return Ok(None);
    }
    let namespace = network.namespace(&Place::Node(node.to_owned()));
    let entries = conntrack::list(&namespace)?.into_iter();
    let there = entries.filter(|e| e.to == target && server.listen.contains(&e.endpoint));
    Ok(Some(there.map(|entry| entry.from).collect()))
}

fn unknown(what: &str) -> LabError {
    LabError::Unknown {
        what: what.to_owned(),
    }
}
