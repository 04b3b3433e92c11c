//! Nodes whose pods are seen from outside under the node's own address.

use std::rc::Rc;

use super::network::Network;
use crate::linux::LinuxError;
use crate::linux::xtables::load_rules;
use crate::plan::{LabPlan, Node, Place};

/// Has every node of `plan` that masquerades do so, in the address families that its clients use.
///
/// # Errors
/// [`LinuxError::NoProgram`] without iptables, [`LinuxError::Program`] with its own words if it fails.
pub(super) async fn load(network: &Network, plan: &LabPlan) -> Result<(), LinuxError> {
    for node in plan.nodes.iter().filter(|node| node.masquerade) {
        let namespace = network.namespace(&Place::Node(node.name.clone()));
        for (ipv6, program) in families(plan) {
            load_rules(&Rc::clone(&namespace), program, &rules(node, ipv6)).await?;
        }
    }
    Ok(())
}

/// The address families that clients use, and the program that loads rules of each.
pub(super) fn families(plan: &LabPlan) -> impl Iterator<Item = (bool, &'static str)> {
    let all = [(false, "iptables-restore"), (true, "ip6tables-restore")];
    let used = |ipv6| {
        let mut clients = plan.clients.iter();
        clients.any(|client| client.target.address.is_ipv6() == ipv6)
    };
    all.into_iter().filter(move |(ipv6, _)| used(*ipv6))
}

/// As CNI's `ipMasq`: from the node's pod network to anywhere beyond it. The port stays as long as nobody else has it.
fn rules(node: &Node, ipv6: bool) -> String {
    let network = match ipv6 {
        false => format!("{}/24", node.pod_network),
        true => format!("{}/64", node.pod_network6),
    };
    format!(
        "*nat\n:CNI-MASQUERADE - [0:0]\n\
         -A POSTROUTING -s {network} -j CNI-MASQUERADE\n\
         -A CNI-MASQUERADE -d {network} -j RETURN\n\
         -A CNI-MASQUERADE -j MASQUERADE\n\
         COMMIT\n"
    )
}
