//! What of a plan could be changed so that an outage is shorter, one thing at a time.

use std::time::Duration;

use humantime::format_duration;

use crate::plan::units::exact;
use crate::plan::{
    Client, Keepalive, LabPlan, Location, Ping, Place, Protocol, Sysctl, kernel_version,
    sysctl_value, word,
};
use crate::timeout_model::TcpSysctls;
use crate::verdict::CaseResult;

/// The first kernel that has `tcp_rto_max_ms`.
const RTO_MAX_SINCE: (u32, u32) = (6, 15);
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

/// A plan with one thing changed.
pub(super) struct Candidate {
    /// In words.
    pub(super) knob: String,
    /// Where a scenario says so, and what it says then; empty where that depends on how the scenario is written.
    pub(super) settings: Settings,
    pub(super) plan: LabPlan,
}

/// Where something is written, and what.
type Settings = Vec<(String, String)>;

/// A duration as a scenario has it.
fn written(time: Duration) -> String {
    format_duration(time).to_string()
}

/// Where a client's own settings stand.
fn transport(client: &Client, knob: &str) -> String {
    format!("clients.{}.transport.{knob}", client.name)
}

/// Where the limit on its requests stands: its workload's own outranks its transport's.
fn limit(client: &Client) -> String {
    match client.workloads.0.as_slice() {
        [work] => format!(
            "clients.{}.workload.{}.timeout",
            client.name,
            work.kind.name()
        ),
        _ => transport(client, "request_timeout"),
    }
}

/// The plans with one thing changed that could matter.
pub(super) fn all(client: &Client, lab: &LabPlan, result: &CaseResult) -> Vec<Candidate> {
    let mut all = kernel_knobs(client, lab, result);
    all.extend(node_sysctls_in_the_pod(client, lab));
    all.extend(transport_knobs(client, lab));
    all.extend(faster_removal(client, lab));
    all
}

pub(super) fn kernel_knobs(client: &Client, lab: &LabPlan, result: &CaseResult) -> Vec<Candidate> {
    let now = TcpSysctls::with(lab.sysctls_at(&client.place));
    let mut all = Vec::new();
    for retries in [8, 5] {
        if retries < now.retries2 {
            let knob = format!("tcp_retries2={retries}{}", whose(client));
            let (key, value) = ("net.ipv4.tcp_retries2", retries.to_string());
            all.push(Candidate {
                knob,
                settings: sysctl(client, key, &value),
                plan: with_sysctl(client, lab, key, &value),
            });
        }
    }
    if since(result.kernel.as_deref(), RTO_MAX_SINCE) && now.rto_max_ms > 10_000 {
        let knob = format!("tcp_rto_max_ms=10000{}", whose(client));
        let (key, value) = ("net.ipv4.tcp_rto_max_ms", "10000");
        all.push(Candidate {
            knob,
            settings: sysctl(client, key, value),
            plan: with_sysctl(client, lab, key, value),
        });
    }
    all
}

/// Where a scenario sets a sysctl of the client's pod.
fn sysctl(client: &Client, key: &str, value: &str) -> Settings {
    match client.place {
        // A node may be written as a name in a list.
        Place::Node(_) => Vec::new(),
        Place::Pod(_) => {
            let path = format!("clients.{}.sysctls.{key}", client.name);
            vec![(path, value.to_owned())]
        }
    }
}

/// Where a sysctl of the client's must be set.
fn whose(client: &Client) -> &'static str {
    match client.place {
        Place::Node(_) => "",
        Place::Pod(_) => " in its pod",
    }
}

/// The node's TCP sysctls, which its pods do not see.
fn node_sysctls_in_the_pod(client: &Client, lab: &LabPlan) -> Vec<Candidate> {
    let Place::Pod(_) = client.place else {
        return Vec::new();
    };
    let own = lab.sysctls_at(&client.place);
    let nodes = lab.node(&client.node).map(|node| node.sysctls.as_slice());
    let unseen = nodes.unwrap_or_default().iter().filter(|sysctl| {
        let tcp = sysctl.key.starts_with("net.ipv4.tcp_");
        tcp && sysctl_value(own, &sysctl.key) != Some(&sysctl.value)
    });
    unseen
        .map(|sysctl| {
            let short = sysctl.key.trim_start_matches("net.ipv4.");
            let knob = format!("{}'s {short}={} set in its pod", client.node, sysctl.value);
            Candidate {
                knob,
                settings: self::sysctl(client, &sysctl.key, &sysctl.value),
                plan: with_sysctl(client, lab, &sysctl.key, &sysctl.value),
            }
        })
        .collect()
}

fn transport_knobs(client: &Client, lab: &LabPlan) -> Vec<Candidate> {
    let t = &client.transport;
    let mut all = Vec::new();
    let mut add = |knob: String, settings: Settings, change: &dyn Fn(&mut Client)| {
        all.push(Candidate {
            knob,
            settings,
            plan: with_client(client, lab, change),
        });
    };
    let own = |knob: &str| transport(client, knob);
    if t.user_timeout.is_none_or(|limit| limit > USER_TIMEOUT) {
        let knob = format!("TCP_USER_TIMEOUT {}", exact(USER_TIMEOUT));
        add(
            knob,
            vec![(own("user_timeout"), written(USER_TIMEOUT))],
            &|c| {
                c.transport.user_timeout = Some(USER_TIMEOUT);
            },
        );
    }
    if t.keepalive
        .is_none_or(|k| longest(&k) > longest(&KEEPALIVE))
    {
        let Keepalive {
            idle,
            interval,
            count,
        } = KEEPALIVE;
        let value = format!(
            "{{ idle: {}, interval: {}, count: {count} }}",
            written(idle),
            written(interval)
        );
        let knob = format!("keepalive {} + {} × {count}", exact(idle), exact(interval));
        add(knob, vec![(own("keepalive"), value)], &|c| {
            c.transport.keepalive = Some(KEEPALIVE);
        });
    }
    let timeout = t.request_timeout.unwrap_or(REQUEST_TIMEOUT);
    match t.protocol {
        Protocol::H1
            if t.request_timeout
                .is_none_or(|limit| limit > REQUEST_TIMEOUT) =>
        {
            let knob = format!("request timeout {}", exact(REQUEST_TIMEOUT));
            let settings = vec![(limit(client), written(REQUEST_TIMEOUT))];
            add(knob, settings, &|c| {
                limit_requests(c, REQUEST_TIMEOUT);
            });
        }
        Protocol::H1 => {}
        Protocol::H2 => {
            if !is_grpc(client) {
                let knob = format!("HTTP/1.1 with a request timeout of {}", exact(timeout));
                let mut settings = vec![
                    (own("protocol"), word(&Protocol::H1)),
                    (limit(client), written(timeout)),
                ];
                // HTTP/1.1 has none.
                settings.extend(t.ping.map(|_| (own("ping"), String::from("off"))));
                add(knob, settings, &|c| {
                    c.transport.protocol = Protocol::H1;
                    c.transport.ping = None;
                    limit_requests(c, timeout);
                });
            }
            if t.ping
                .is_none_or(|ping| ping.idle + ping.timeout > PING.idle + PING.timeout)
            {
                let Ping {
                    idle,
                    timeout,
                    while_idle,
                } = PING;
                let value = format!(
                    "{{ idle: {}, timeout: {}, while_idle: {while_idle} }}",
                    written(idle),
                    written(timeout)
                );
                let knob = format!(
                    "PING after {}, {} for its answer",
                    exact(idle),
                    exact(timeout)
                );
                add(knob, vec![(own("ping"), value)], &|c| {
                    c.transport.ping = Some(PING);
                });
            }
        }
    }
    if t.dial_timeout.is_none_or(|limit| limit > DIAL_TIMEOUT) {
        let knob = format!("dial timeout {}", exact(DIAL_TIMEOUT));
        add(
            knob,
            vec![(own("dial_timeout"), written(DIAL_TIMEOUT))],
            &|c| {
                c.transport.dial_timeout = Some(DIAL_TIMEOUT);
            },
        );
    }
    all
}

fn limit_requests(client: &mut Client, limit: Duration) {
    client.transport.request_timeout = Some(limit);
    for work in &mut client.workloads.0 {
        work.request_timeout = Some(limit);
    }
}

/// gRPC is spoken over HTTP/2 only. (Message streams too, but no prediction is made for those.)
fn is_grpc(client: &Client) -> bool {
    client.profile.starts_with("grpc") || client.profile == "etcdctl"
}

fn longest(keepalive: &Keepalive) -> Duration {
    keepalive.idle + keepalive.interval * keepalive.count
}

fn faster_removal(client: &Client, lab: &LabPlan) -> Option<Candidate> {
    let name = client.target.service.as_ref()?;
    let mut plan = lab.clone();
    let service = plan.services.iter_mut().find(|s| s.name == *name)?;
    if service.removal.is_some_and(|removal| removal <= REMOVAL) {
        return None;
    }
    service.removal = Some(REMOVAL);
    let knob = format!("endpoint removal within {}", exact(REMOVAL));
    let settings = vec![(format!("service.{name}.removal"), written(REMOVAL))];
    Some(Candidate {
        knob,
        settings,
        plan,
    })
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
    release.and_then(kernel_version) >= Some(least)
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
