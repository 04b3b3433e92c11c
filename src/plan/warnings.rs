//! Traps that a scenario is free to walk into.

use super::{Client, LEASE_SHARE, LabPlan, Location, Place, Warning, Work, Workload};
use crate::scenario::Span;
use crate::scenario::given;
use crate::scenario::model::{Named, Scenario};
use crate::verdict::units::exact;

/// One sentence for every trap seen, with its place.
pub(super) fn of(
    scenario: &Scenario,
    plan: &LabPlan,
    locate: &dyn Fn(Span) -> Location,
) -> Vec<Warning> {
    let mut warnings = node_sysctls(scenario, plan, locate);
    warnings.extend(plan.clients.iter().flat_map(workloads));
    warnings
}

/// Two leaders, or a node that is judged not ready between two heartbeats, by the numbers alone.
fn workloads(client: &Client) -> Vec<Warning> {
    let warning = |text: String| Warning {
        text,
        location: client.location.clone(),
    };
    let trap = |work: &Work| match &work.kind {
        Workload::LeaderElection {
            lease,
            renew_deadline,
            ..
        } if renew_deadline >= lease => Some(warning(format!(
            "{} believes to lead for {} after its last renewal, but its lease ends after {}: there may be two leaders",
            client.name,
            exact(*renew_deadline),
            exact(*lease),
        ))),
        Workload::Heartbeat {
            every,
            grace,
            lease,
            ..
        } => {
            // Status and lease both count.
            let pause = lease.map_or(*every, |lease| (lease / LEASE_SHARE).min(*every));
            (*grace <= pause).then(|| {
                warning(format!(
                    "{}'s node is judged not ready between two heartbeats: its grace period is {}, the pause {}",
                    client.name,
                    exact(*grace),
                    exact(pause),
                ))
            })
        }
        _ => None,
    };
    client.workloads.iter().filter_map(trap).collect()
}

/// A node's sysctl is not its pods': each pod starts with the kernel's defaults.
fn node_sysctls(
    scenario: &Scenario,
    plan: &LabPlan,
    locate: &dyn Fn(Span) -> Location,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (_, node, spec) in scenario.nodes.get().into_iter().flat_map(|n| n.iter()) {
        for (name, key, value) in given(&spec.sysctls).into_iter().flat_map(Named::iter) {
            let unaware = plan.clients.iter().filter(|client| {
                let Place::Pod(pod) = &client.place else {
                    return false;
                };
                let pod = plan.pods.iter().find(|p| p.name == *pod && p.node == node);
                pod.is_some_and(|pod| pod.sysctls.iter().all(|s| s.key != key))
            });
            let unaware: Vec<&str> = unaware.map(|c| c.name.as_str()).collect();
            // What a pod inherits nothing of but needs: TCP's own settings.
            if !unaware.is_empty() && key.starts_with("net.ipv4.tcp_") {
                warnings.push(Warning {
                    text: format!(
                        "{key}={} is set on node `{node}`, but its pods have network namespaces of their own and will not \
                         see it: {}. Set it in the client's own `sysctls`",
                        value.0,
                        crate::scenario::list(&unaware)
                    ),
                    location: locate(name.span),
                });
            }
        }
    }
    warnings
}
