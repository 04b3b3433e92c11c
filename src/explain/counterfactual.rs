//! What would have shortened an outage: the timeout model asked again, with one thing of the plan changed.

use std::time::Duration;

use crate::plan::{
    Case, Client, Keepalive, LabPlan, Location, Ping, Place, Prediction, Protocol, Sysctl, Window,
};
use crate::timeout_model::{TcpSysctls, foresee};
use crate::verdict::CaseResult;
use crate::verdict::result::ClientResult;
use crate::verdict::units::{between, exact};

/// The first kernel that has `tcp_rto_max_ms`.
const RTO_MAX_SINCE: (u32, u32) = (6, 15);
/// A change that the model sees as less than this is none.
const WORTH: Duration = Duration::from_millis(500);

const KEEPALIVE: Keepalive = Keepalive {
    idle: Duration::from_secs(30),
    interval: Duration::from_secs(30),
    count: 5,
};
const PING: Ping = Ping {
    idle: Duration::from_secs(30),
    timeout: Duration::from_secs(15),
    while_idle: true,
};
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const USER_TIMEOUT: Duration = Duration::from_secs(30);
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
const REMOVAL: Duration = Duration::from_secs(1);

/// One thing changed, and what the model says would come of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What is changed, in the words that set it.
    pub knob: String,
    /// From the fault until the client is well again, or gives the dead connection up where nobody can answer it.
    pub window: Window,
}

/// What would have shortened a client's outage, the shortest first; `None` where the model has no prediction for the client.
#[must_use]
pub fn changes(client: &Client, case: &Case, result: &CaseResult) -> Option<Vec<Change>> {
    let before = foresee(client, &case.lab)?;
    let measured = result.client(&client.name).and_then(|measured| {
        if of_recovery(&before) {
            measured.recovered_after
        } else {
            measured.detected_after
        }
    });
    let mut changes: Vec<_> = candidates(client, &case.lab, result)
        .into_iter()
        .filter_map(|(knob, plan)| {
            let changed = plan.clients.iter().find(|c| c.name == client.name)?;
            let after = foresee(changed, &plan)?;
            let window = shorter(&before, &after)?;
            // What may last as long as what was measured is no improvement on it.
            let shortens = measured.is_none_or(|measured| window.max < measured);
            shortens.then_some(Change { knob, window })
        })
        .collect();
    changes.sort_by_key(|change| (change.window.min + change.window.max, change.window.max));
    Some(changes)
}

/// The window by which a change is better than what was; of the recovery, or of the detection where there is none.
fn shorter(before: &Prediction, after: &Prediction) -> Option<Window> {
    let (was, is) = match (before.recovery, after.recovery) {
        (None, None) => (before.detection, after.detection?),
        (was, Some(is)) => (was, is),
        (Some(_), None) => return None,
    };
    let Some(was) = was else { return Some(is) };
    let middle = |w: Window| (w.min + w.max) / 2;
    (middle(is) + WORTH < middle(was) && is.max <= was.max).then_some(is)
}

/// The plans with one thing changed that could matter.
fn candidates(client: &Client, lab: &LabPlan, result: &CaseResult) -> Vec<(String, LabPlan)> {
    let mut all = kernel_knobs(client, lab, result);
    all.extend(node_sysctls_in_the_pod(client, lab));
    all.extend(transport_knobs(client, lab));
    all.extend(faster_removal(client, lab));
    all
}

fn kernel_knobs(client: &Client, lab: &LabPlan, result: &CaseResult) -> Vec<(String, LabPlan)> {
    let now = TcpSysctls::with(lab.sysctls_at(&client.place));
    let mut all = Vec::new();
    for retries in [8, 5] {
        if retries < now.retries2 {
            let plan = with_sysctl(client, lab, "net.ipv4.tcp_retries2", &retries.to_string());
            all.push((format!("tcp_retries2={retries}{}", whose(client)), plan));
        }
    }
    if since(result.kernel.as_deref(), RTO_MAX_SINCE) && now.rto_max_ms > 10_000 {
        let plan = with_sysctl(client, lab, "net.ipv4.tcp_rto_max_ms", "10000");
        all.push((format!("tcp_rto_max_ms=10000{}", whose(client)), plan));
    }
    all
}

/// Where a sysctl of the client's must be set.
fn whose(client: &Client) -> &'static str {
    match client.place {
        Place::Node(_) => "",
        Place::Pod(_) => " in its pod",
    }
}

/// The node's TCP sysctls, which its pods do not see.
fn node_sysctls_in_the_pod(client: &Client, lab: &LabPlan) -> Vec<(String, LabPlan)> {
    let Place::Pod(_) = client.place else {
        return Vec::new();
    };
    let own = lab.sysctls_at(&client.place);
    let nodes = lab.node(&client.node).map(|node| node.sysctls.as_slice());
    let unseen = nodes.unwrap_or_default().iter().filter(|sysctl| {
        let tcp = sysctl.key.starts_with("net.ipv4.tcp_");
        tcp && own
            .iter()
            .rev()
            .find(|o| o.key == sysctl.key)
            .map(|o| &o.value)
            != Some(&sysctl.value)
    });
    unseen
        .map(|sysctl| {
            let short = sysctl.key.trim_start_matches("net.ipv4.");
            let knob = format!("{}'s {short}={} set in its pod", client.node, sysctl.value);
            (knob, with_sysctl(client, lab, &sysctl.key, &sysctl.value))
        })
        .collect()
}

fn transport_knobs(client: &Client, lab: &LabPlan) -> Vec<(String, LabPlan)> {
    let t = &client.transport;
    let mut all = Vec::new();
    let mut add = |knob: String, change: &dyn Fn(&mut Client)| {
        all.push((knob, with_client(client, lab, change)));
    };
    if t.user_timeout.is_none_or(|limit| limit > USER_TIMEOUT) {
        add(format!("TCP_USER_TIMEOUT {}", exact(USER_TIMEOUT)), &|c| {
            c.transport.user_timeout = Some(USER_TIMEOUT);
        });
    }
    if t.keepalive
        .is_none_or(|k| longest(&k) > longest(&KEEPALIVE))
    {
        add(String::from("keepalive 30 s + 30 s × 5"), &|c| {
            c.transport.keepalive = Some(KEEPALIVE);
        });
    }
    let timeout = t.request_timeout.unwrap_or(REQUEST_TIMEOUT);
    match t.protocol {
        Protocol::H1
            if t.request_timeout
                .is_none_or(|limit| limit > REQUEST_TIMEOUT) =>
        {
            add(
                format!("request timeout {}", exact(REQUEST_TIMEOUT)),
                &|c| {
                    c.transport.request_timeout = Some(REQUEST_TIMEOUT);
                },
            );
        }
        Protocol::H1 => {}
        Protocol::H2 => {
            if !is_grpc(client) {
                add(
                    format!("HTTP/1.1 with a request timeout of {}", exact(timeout)),
                    &|c| {
                        c.transport.protocol = Protocol::H1;
                        c.transport.request_timeout = Some(timeout);
                    },
                );
            }
            if t.ping
                .is_none_or(|ping| ping.idle + ping.timeout > PING.idle + PING.timeout)
            {
                add(String::from("PING after 30 s, 15 s for its answer"), &|c| {
                    c.transport.ping = Some(PING);
                });
            }
        }
    }
    if t.dial_timeout.is_none_or(|limit| limit > DIAL_TIMEOUT) {
        add(format!("dial timeout {}", exact(DIAL_TIMEOUT)), &|c| {
            c.transport.dial_timeout = Some(DIAL_TIMEOUT);
        });
    }
    all
}

/// gRPC is spoken over HTTP/2 only. (Message streams too, but no prediction is made for those.)
fn is_grpc(client: &Client) -> bool {
    client.profile.starts_with("grpc") || client.profile == "etcdctl"
}

fn longest(keepalive: &Keepalive) -> Duration {
    keepalive.idle + keepalive.interval * keepalive.count
}

fn faster_removal(client: &Client, lab: &LabPlan) -> Option<(String, LabPlan)> {
    let name = client.target.service.as_ref()?;
    let mut plan = lab.clone();
    let service = plan.services.iter_mut().find(|s| s.name == *name)?;
    if service.removal.is_some_and(|removal| removal <= REMOVAL) {
        return None;
    }
    service.removal = Some(REMOVAL);
    Some((format!("endpoint removal within {}", exact(REMOVAL)), plan))
}

fn with_client(client: &Client, lab: &LabPlan, change: &dyn Fn(&mut Client)) -> LabPlan {
    let mut plan = lab.clone();
    let found = plan.clients.iter_mut().find(|c| c.name == client.name);
    found.into_iter().for_each(change);
    plan
}

fn with_sysctl(client: &Client, lab: &LabPlan, key: &str, value: &str) -> LabPlan {
    let mut plan = lab.clone();
    let sysctls = match &client.place {
        Place::Node(name) => plan
            .nodes
            .iter_mut()
            .find(|node| node.name == *name)
            .map(|node| &mut node.sysctls),
        Place::Pod(name) => plan
            .pods
            .iter_mut()
            .find(|pod| pod.name == *name)
            .map(|pod| &mut pod.sysctls),
    };
    if let Some(sysctls) = sysctls {
        sysctls.retain(|sysctl| sysctl.key != key);
        sysctls.push(Sysctl {
            key: key.to_owned(),
            value: value.to_owned(),
            location: Location::default(),
        });
    }
    plan
}

/// Whether a kernel release is of `least` or later; of one that is not known, it is not.
fn since(release: Option<&str>, least: (u32, u32)) -> bool {
    let mut numbers = release
        .unwrap_or_default()
        .split(['.', '-'])
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= least,
        _ => false,
    }
}

/// Whether the model says when a client is well again, not only when it gives a dead connection up.
fn of_recovery(prediction: &Prediction) -> bool {
    prediction.recovery.is_some()
}

/// The changes as they are told, under a title.
pub(super) fn lines(
    client: &Client,
    case: &Case,
    measured: &ClientResult,
    result: &CaseResult,
) -> (String, Vec<String>) {
    const TITLE: &str = "what would have shortened it, one change at a time";
    let before = foresee(client, &case.lab);
    let (Some(before), Some(changes)) = (before, changes(client, case, result)) else {
        return (TITLE.to_owned(), vec![unknown(client).to_owned()]);
    };
    let what = if changes.is_empty() || of_recovery(&before) {
        "well again"
    } else {
        "the dead connection given up"
    };
    let mut lines: Vec<_> = changes
        .iter()
        .map(|change| {
            let window = between(change.window.min, change.window.max);
            format!("  {}: {window}", change.knob)
        })
        .collect();
    if changes.is_empty() {
        lines.push(String::from("  none of the knobs that the model knows"));
    }
    let t = &client.transport;
    let connection_outlives = t.protocol == Protocol::H2 && t.ping.is_none();
    let affected = measured.affected == Some(true);
    if connection_outlives && t.ping_after_timeout.is_none() && affected {
        let text = "  (a request timeout alone would not: on HTTP/2 it ends the request, not the connection)";
        lines.push(text.to_owned());
    }
    (format!("{TITLE} ({what}, by the model)"), lines)
}

/// Why nothing can be said of what would have helped.
fn unknown(client: &Client) -> &'static str {
    match client.program() {
        Some(_) => "  not known: a program's own timers are no part of the plan",
        None => {
            "  not known: the model predicts only clients that ask, are answered and pause, and losses of power that \
             last"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_compared_by_its_numbers() {
        let has = |release| since(Some(release), RTO_MAX_SINCE);
        assert!(has("7.3.4") && has("6.15.0-rc1") && has("6.18.5-cloud"));
        assert!(!has("6.12.9") && !has("6.1") && !has("unknown"));
        assert!(!since(None, RTO_MAX_SINCE));
    }
}
