//! The kernel destroys the sockets of a client: the client reads ECONNABORTED, the server an RST.

use std::collections::HashSet;
use std::net::SocketAddr;

use netlink_packet_sock_diag::inet::StateFlags;

use super::{Act, Guard, Site};
use crate::lab::LabError;
use crate::lab::network::Network;
use crate::linux::{conntrack, orphans};
use crate::plan::{LabPlan, Place};

/// [`crate::plan::Effect::Destroy`].
pub(super) struct Destroy<'a> {
    pub(super) client: &'a str,
    /// Only the sockets that lead to this server.
    pub(super) server: Option<&'a str>,
}

impl Act for Destroy<'_> {
    fn cut(&self, network: &Network, plan: &LabPlan, _: Site) -> Result<Guard, LabError> {
        let client = plan.clients.iter().find(|c| c.name == self.client);
        let client = client.ok_or_else(|| unknown("client of a destroyed socket"))?;
        let target = client.target.address;
        let leading_there = match self.server {
            None => None,
            Some(server) => leading_to(network, plan, &client.node, target, server)?,
        };
        let states = StateFlags::ESTABLISHED
            | StateFlags::SYN_SENT
            | StateFlags::CLOSE_WAIT
            | StateFlags::FIN_WAIT1
            | StateFlags::FIN_WAIT2;
        let namespace = network.namespace(&client.place);
        let found = orphans::destroy_where(&namespace, states, |own, peer| {
            peer == target
                && leading_there
                    .as_ref()
                    .is_none_or(|there| there.contains(&own))
        })?;
        Ok(Guard::found(found))
    }

    fn silences(&self) -> bool {
        false
    }
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
    let server = plan.server(server);
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
