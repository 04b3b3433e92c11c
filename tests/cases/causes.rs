//! Causes where several timers run at once, and the evidence that names the one that ruled.

use serde_json::Value;

use crate::command::{self, Run, kernel_or_skip};

/// One server that loses its power after 12 s.
fn cases(clients: &str, rest: &str) -> Option<Vec<Value>> {
    kernel_or_skip()?;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("causes.yaml");
    let yaml = format!(
        "name: causes\nnodes: [n1, n2]\nduration: 90s\nservers: {{ s: {{ node: n2 }} }}\n{rest}\nclients:\n{clients}\n\
         faults:\n  - {{ at: 12s, fault: {{ power_loss: {{ node: n2 }} }} }}\n"
    );
    std::fs::write(&file, yaml).expect("written");
    let run = Run::of(&[&file], &["--clock", "virtual"]);
    run.outcome.assert(0, &["virtual clock"]);
    Some(run.cases().to_vec())
}

fn cause(case: &Value, client: &str) -> String {
    let client = command::client(case, client);
    let cause = client["cause"].as_str().unwrap_or("none");
    match cause {
        "unknown" => format!("unknown: {}", client["evidence"]),
        _ => cause.to_owned(),
    }
}

/// Keepalive's probes are under way when a request is sent: from then on they decide nothing.
#[test]
fn probes_before_a_request_leave_the_cause_to_the_timer_that_rules() {
    let poll = "workload: { poll: { every: 10s } }";
    let clients = format!(
        "  ut: {{ node: n1, url: http://s/, profile: bare, transport: {{ keepalive: {{ idle: 1s, interval: 1s, count: 3 }}, \
         user_timeout: 20s }}, {poll} }}\n  \
         one: {{ node: n1, url: http://s/, profile: bare, sysctls: {{ net.ipv4.tcp_retries2: 3 }}, \
         transport: {{ keepalive: {{ idle: 5s, interval: 8s, count: 1 }} }}, {poll} }}"
    );
    let Some(cases) = cases(&clients, "") else {
        return;
    };
    assert_eq!(cause(&cases[0], "ut"), "user_timeout");
    assert_eq!(cause(&cases[0], "one"), "retransmission_timeout");
}

/// A request that finds no neighbour never leaves its node, so that nothing is looked at: the timer that was seen before it, keepalive's,
/// says nothing of its end. (A pod is told by its node.)
#[test]
fn a_timer_that_was_seen_before_the_request_decides_nothing() {
    if kernel_or_skip().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("neighbour.yaml");
    let yaml = "name: neighbour\nnodes: [n1, n2]\nduration: 90s\n\
         sysctls: { net.ipv4.tcp_retries2: 3, net.ipv4.tcp_early_retrans: 0 }\n\
         servers: { s: { node: n2 } }\n\
         clients: { c: { node: n1, host_network: true, url: http://s/, profile: bare, \
         transport: { keepalive: { idle: 15s, interval: 15s, count: 8 } }, workload: { poll: { every: 8790ms } } } }\n\
         faults:\n  - { when: { client: c, phase: request_unacknowledged, after: 12s }, \
         fault: { power_loss: { node: n2, neighbour: dead } } }\n";
    std::fs::write(&file, yaml).expect("written");
    let run = Run::of(&[&file], &["--clock", "virtual"]);
    run.outcome.assert(0, &[]);
    let case = &run.cases()[0];
    assert_eq!(cause(case, "c"), "retransmission_timeout");
    // Three retransmissions after 0.2 s: 3.0 s at the least, and the wheel.
    let after = command::client(case, "c")["detected_after_s"].as_f64();
    assert!(
        after.is_some_and(|after| (3.0..4.0).contains(&after)),
        "{after:?}"
    );
}

/// Requests that time out while a PING is out send no other: the first one's time counts.
#[test]
fn a_ping_after_a_timeout_counts_from_when_it_went_out() {
    let clients = "  h2: { node: n1, url: http://s/, profile: bare-h2, transport: { request_timeout: 1s, \
                   ping_after_timeout: 3s }, workload: { poll: { every: 1s } } }\n  \
         okhttp: { node: n1, url: http://s/, profile: okhttp, transport: { read_timeout: 500ms }, \
                   workload: { poll: { every: 300ms } } }";
    let Some(cases) = cases(clients, "") else {
        return;
    };
    assert_eq!(cause(&cases[0], "h2"), "ping_timeout");
    assert_eq!(cause(&cases[0], "okhttp"), "ping_timeout");
}

/// A limit that is below the first retransmission timeout: a tail loss probe does not start the kernel's time.
#[test]
fn a_limit_below_the_first_timeout_ends_at_the_second() {
    let client = "  c: { node: n1, url: http://s/, profile: bare, workload: { poll: { every: 2776ms, timeout: off } } }";
    let rest = "rtt: 90ms\nsysctls: { net.ipv4.tcp_retries2: 1, net.ipv4.tcp_rto_min_us: 1000000 }";
    let Some(cases) = cases(client, rest) else {
        return;
    };
    assert_eq!(cause(&cases[0], "c"), "retransmission_timeout");
}
