//! A link loses its carrier, as when its cable is pulled: who is behind it keeps its addresses and routes.
//!
//! A link has two ends, and one of them is taken down: a node's port on the fabric, or its own end of a pod's link. The
//! node forgets what is on that (its gateway address, its routes to the pod); it is put back when the link heals.

use std::rc::Rc;

use netlink_sys::protocols::NETLINK_ROUTE;

use super::{Act, Guard, Site};
use crate::lab::LabError;
use crate::lab::network::{Network, pod_routes};
use crate::linux::LinuxError;
use crate::linux::link::{self, ETH0, RouteRequest};
use crate::linux::netlink::Channel;
use crate::plan::{End, LabPlan};

/// [`crate::plan::Effect::Carrier`].
pub(super) struct Carrier<'a> {
    pub(super) behind: &'a End,
}

impl Act for Carrier<'_> {
    fn cut(&self, network: &Network, _: &LabPlan, _: Site) -> Result<Guard, LabError> {
        let (namespace, index, far, again) = match self.behind {
            End::Machine(node) | End::Host(node) => {
                let node = network.node(node)?;
                (
                    network.fabric(),
                    node.port_index,
                    &node.namespace,
                    Vec::new(),
                )
            }
            End::Pod(name) => {
                let pod = network.pod(name)?;
                let namespace = &network.node(&pod.node)?.namespace;
                let again = pod_routes(pod.link_index, pod.gateway, pod.addresses);
                // IPv4 keeps its address on a link that is down.
                let again: Vec<RouteRequest> = again.map(|r| r.tolerate(libc::EEXIST)).into();
                (namespace, pod.link_index, &pod.namespace, again)
            }
        };
        let mut channel = Channel::open(namespace, NETLINK_ROUTE)?;
        channel.execute(vec![link::set_down(index)])?;
        let noted = link::note_carrier(&mut Channel::open(far, NETLINK_ROUTE)?, ETH0);
        noted.map_err(LinuxError::kernel("looking at a link that is down"))?;
        let far = Rc::clone(far);
        Ok(Guard::undone_by(move || {
            let mut requests = vec![link::set_up(index)];
            requests.extend(again);
            // Nothing can be done about a failure here; who needs the link will say so.
            let _ = channel.execute(requests);
            let _ = link::note_carrier(&mut channel, index);
            let far = Channel::open(&far, NETLINK_ROUTE);
            let _ = far.map(|mut far| link::note_carrier(&mut far, ETH0));
        }))
    }

    fn silences(&self) -> bool {
        true
    }
}
