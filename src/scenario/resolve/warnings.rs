//! Traps that a scenario is free to walk into.

use std::time::Duration;

use crate::plan::units::exact;
use crate::plan::{Client, LEASE_SHARE, LabPlan, Place, Sysctl, Warning, Work, Workload};
use crate::scenario::cx::Cx;
use crate::scenario::model::Named;
use crate::yaml::{given, list};

/// One sentence for every trap seen, with its place.
pub(super) fn of(cx: &Cx<'_>, plan: &LabPlan) -> Vec<Warning> {
    let mut warnings = node_sysctls(cx, plan);
    let mut unread = unread_keepalive(plan);
    unread.retain(|warning| {
        warnings
            .iter()
            .all(|other| other.location != warning.location)
    });
    warnings.extend(unread);
    warnings.extend(plan.clients.iter().flat_map(workloads));
    warnings.extend(plan.clients.iter().filter_map(|c| impatient(c, plan)));
    warnings
}

/// A client that gives every request up before any of its servers answers.
fn impatient(client: &Client, plan: &LabPlan) -> Option<Warning> {
    let (what, limit) = client.patience()?;
    if plan.too_slow(client).count() < plan.servers_of(client).count() {
        return None;
    }
    let quickest = plan.too_slow(client).min_by_key(|s| s.response_delay)?;
    let delay = quickest.response_delay;
    let beyond = match delay {
        Duration::ZERO => format!("not above the round trip of {}", exact(plan.round_trip())),
        delay if limit < delay => {
            format!(
                "below {}'s response_delay of {}",
                quickest.name,
                exact(delay)
            )
        }
        delay => format!(
            "not above {}'s response_delay of {} and the round trip",
            quickest.name,
            exact(delay)
        ),
    };
    Some(Warning {
        text: format!(
            "no request of `{}` can succeed: its {what} of {} is {beyond}",
            client.name,
            exact(limit)
        ),
        location: client.location.clone(),
    })
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

/// Keepalive's sysctls where no socket asks for them: one that has times of its own, or no keepalive, never reads them.
fn unread_keepalive(plan: &LabPlan) -> Vec<Warning> {
    // Of a program nobody knows.
    let asks =
        |client: &Client| client.program().is_some() || client.transport.keepalive_by_sysctls;
    let readers = plan.clients.iter().filter(|client| asks(client));
    let read: Vec<&Sysctl> = readers.flat_map(|c| plan.sysctls_at(&c.place)).collect();
    let pods = plan.pods.iter().flat_map(|pod| &pod.sysctls);
    let set = plan.nodes.iter().flat_map(|node| &node.sysctls).chain(pods);
    let mut unread: Vec<&Sysctl> = Vec::new();
    for sysctl in set.filter(|sysctl| sysctl.key.starts_with("net.ipv4.tcp_keepalive_")) {
        if !read.contains(&sysctl) && !unread.contains(&sysctl) {
            unread.push(sysctl);
        }
    }
    let warnings = unread.into_iter().map(|sysctl| Warning {
        text: format!(
            "{}={} changes nothing: no client there has `keepalive: on`, which takes the kernel's times",
            sysctl.key, sysctl.value
        ),
        location: sysctl.location.clone(),
    });
    warnings.collect()
}

/// A node's sysctl is not its pods': each pod starts with the kernel's defaults.
fn node_sysctls(cx: &Cx<'_>, plan: &LabPlan) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (_, node, spec) in cx.scenario.nodes.get().into_iter().flat_map(|n| n.iter()) {
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
                        list(&unaware)
                    ),
                    location: cx.locate(name.span),
                });
            }
        }
    }
    warnings
}
