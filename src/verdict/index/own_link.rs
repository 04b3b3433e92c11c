//! Which link's word counts, where a packet is seen on several.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::plan::Case;

/// Clients' pods by their addresses.
pub(super) struct OwnLinks<'a> {
    pods: HashMap<IpAddr, &'a str>,
}

impl<'a> OwnLinks<'a> {
    pub(super) fn of(case: &'a Case) -> Self {
        let addresses = case.lab.pods.iter().flat_map(|pod| {
            let both = [IpAddr::from(pod.address), pod.address6.into()];
            both.map(|address| (address, pod.name.as_str()))
        });
        Self {
            pods: addresses.collect(),
        }
    }

    /// Of what was seen of packets from or to an address, keeps what was seen on the link of the pod that has it, if
    /// anything was: a packet that passes its node's link as well is not another one, and what its node drops, refuses or
    /// answers never gets there.
    pub(super) fn choose<T>(&self, address: IpAddr, seen: &mut Vec<T>, link: impl Fn(&T) -> &str) {
        let Some(pod) = self.pods.get(&address) else {
            return;
        };
        if seen.iter().any(|one| link(one) == *pod) {
            seen.retain(|one| link(one) == *pod);
        }
    }
}
