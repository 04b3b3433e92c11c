//! Nodes whose pods are seen from outside under the node's own address.

use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::network::Network;
use crate::linux::LinuxError;
use crate::linux::iptables::{self, Chain, Change, Family, Match, Rule, Table, Target};
use crate::linux::netlink::Channel;
use crate::plan::{LabPlan, Node, Place};

/// Where a node's pods' connections are decided on.
const CHAIN: &str = "CNI-MASQUERADE";

/// Has every node of `plan` that masquerades do so, in the address families that its clients use.
///
/// # Errors
/// As [`iptables::load`].
pub(super) fn load(network: &Network, plan: &LabPlan) -> Result<(), LinuxError> {
    for node in plan.nodes.iter().filter(|node| node.masquerade) {
        let namespace = network.namespace(&Place::Node(node.name.clone()));
        let mut channel = Channel::open(&namespace, NETLINK_NETFILTER)?;
        for family in families(plan) {
            iptables::load(&mut channel, &namespace, family, &[rules(node, family)])?;
        }
    }
    Ok(())
}

/// The address families that clients use.
pub(super) fn families(plan: &LabPlan) -> impl Iterator<Item = Family> {
    let used = |family| {
        let mut clients = plan.clients.iter();
        clients.any(|client| Family::of(client.target.address.ip()) == family)
    };
    Family::ALL.into_iter().filter(move |family| used(*family))
}

/// As CNI's `ipMasq`: from the node's pod network to anywhere beyond it. The port stays as long as nobody else has it.
fn rules(node: &Node, family: Family) -> Change {
    let (network, length): (IpAddr, u8) = match family {
        Family::Ipv4 => (node.pod_network.into(), 24),
        Family::Ipv6 => (node.pod_network6.into(), 64),
    };
    let own = || Chain::Own(CHAIN.to_owned());
    let rules = vec![
        Rule::last(
            Chain::Postrouting,
            vec![Match::Source(network, length)],
            Target::Jump(CHAIN.to_owned()),
        ),
        Rule::last(
            own(),
            vec![Match::Destination(network, length)],
            Target::Return,
        ),
        Rule::last(own(), Vec::new(), Target::Masquerade { random: false }),
    ];
    Change::more(Table::Nat, vec![CHAIN.to_owned()], rules)
}
