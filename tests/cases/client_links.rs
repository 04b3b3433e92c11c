//! What is seen on a client's own link: packets that its node drops, refuses or answers get no farther.

use std::fs;

use halfopen::record::{Event, Observation, Stage};
use serde_json::Value;

use crate::command::{self, Run, kernel_or_skip};

/// Runs a scenario on the virtual clock: its case, and its record.
fn run(yaml: &str) -> Option<(Value, Vec<Event>)> {
    kernel_or_skip()?;
    let folder = tempfile::tempdir().expect("a folder");
    let (file, records) = (
        folder.path().join("links.yaml"),
        folder.path().join("records"),
    );
    fs::write(&file, yaml).expect("written");
    let to = records.to_str().expect("UTF-8");
    let run = Run::of(&[&file], &["--clock", "virtual", "--record", to]);
    run.outcome.assert(0, &["virtual clock"]);
    let mut events = Vec::new();
    for entry in fs::read_dir(&records).expect("records") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "ndjson") {
            let text = fs::read_to_string(path).expect("a record");
            let lines = text
                .lines()
                .map(|line| serde_json::from_str(line).expect("an event"));
            events.extend(lines);
        }
    }
    Some((run.cases()[0].clone(), events))
}

/// Its cause; of one that is not known, with what is missing.
fn cause(case: &Value, client: &str) -> String {
    let client = command::client(case, client);
    match client["cause"].as_str().unwrap_or("none") {
        "unknown" => format!("unknown: {}", client["evidence"]),
        cause => cause.to_owned(),
    }
}

#[track_caller]
fn assert_causes(case: &Value, expected: &[(&str, &str)]) {
    let found: Vec<_> = expected
        .iter()
        .map(|(name, _)| (*name, cause(case, name)))
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, cause)| (*name, (*cause).to_owned()))
        .collect();
    assert_eq!(found, expected);
}

/// What a counter of a namespace grew by in the case.
fn grown(record: &[Event], of: &str, counter: &str) -> u64 {
    let grown = record.iter().filter_map(|event| match &event.what {
        Observation::Counters {
            place,
            stage,
            deltas,
        } if place == of && *stage != Stage::Start => deltas.get(counter),
        _ => None,
    });
    grown.sum()
}

/// SYNs that were sent again, on a pod's own link.
fn syns_again(record: &[Event], pod: &str) -> u64 {
    let again = record.iter().filter(|event| match &event.what {
        Observation::Segment(s) => s.node == pod && s.flags == "S" && s.retransmission > 0,
        _ => false,
    });
    again.count() as u64
}

const POLL: &str = "workload: { poll: { every: 1s, timeout: off } }";

/// Loss and refusals on the link between a client's pod and its node, in each direction, for each protocol; and a server on
/// the same node, whose packets no uplink carries.
#[test]
fn what_befalls_a_client_on_its_own_link_is_witnessed() {
    let client = |name: &str, server: &str, more: &str| {
        format!("  {name}: {{ node: n1, url: http://{server}/, {more} }}\n")
    };
    let bare = |more: &str| format!("profile: bare, {more}");
    let clients = [
        client("out", "s", &bare(POLL)),
        client("in", "s", &bare(POLL)),
        client("near", "beside", &bare(POLL)),
        client("h2", "s", &format!("profile: bare-h2, {POLL}")),
        client("rst", "s", &bare(POLL)),
        client("icmp", "s", &bare(POLL)),
        client(
            "ka",
            "s",
            &bare(
                "transport: { keepalive: { idle: 3s, interval: 2s, count: 3 } }, workload: { watch: { timeout: off } }",
            ),
        ),
    ];
    let fault = |kind: &str, client: &str, more: &str| {
        format!("  - {{ at: 5500ms, fault: {{ {kind}: {{ client: {client}, {more} }} }} }}\n")
    };
    let faults = [
        fault("loss", "out", "percent: 100, direction: out"),
        fault("loss", "in", "percent: 100, direction: in"),
        fault("loss", "near", "percent: 100"),
        fault("loss", "h2", "percent: 100"),
        fault("reject", "rst", "with: rst"),
        fault("reject", "icmp", "with: icmp"),
        fault("loss", "ka", "percent: 100"),
    ];
    let yaml = format!(
        "name: at-the-client\nnodes: [n1, n2]\nduration: 40s\nsysctls: {{ net.ipv4.tcp_retries2: 5 }}\n\
         servers: {{ s: {{ node: n2 }}, beside: {{ node: n1 }} }}\nclients:\n{}faults:\n{}",
        clients.concat(),
        faults.concat()
    );
    let Some((case, record)) = run(&yaml) else {
        return;
    };
    assert_causes(
        &case,
        &[
            ("out", "retransmission_timeout"),
            ("in", "retransmission_timeout"),
            ("near", "retransmission_timeout"),
            ("h2", "retransmission_timeout"),
            ("rst", "reset"),
            ("icmp", "unreachable"),
            ("ka", "keepalive"),
        ],
    );
    // Dials meet the same.
    let second = |name: &str| command::client(&case, name)["connections"][1]["cause"].clone();
    assert_eq!(
        (second("rst"), second("icmp")),
        ("refused".into(), "unreachable".into())
    );
    // A packet that passes two links is told once.
    for name in ["in", "out", "near", "h2"] {
        let told = &command::client(&case, name)["connections"][0]["retransmissions"]["measured_s"];
        let told = told.as_array().expect("a list").len() as u64;
        let counted = grown(&record, name, "Tcp.RetransSegs");
        assert_eq!(told + syns_again(&record, name), counted, "{name}");
    }
}

/// Conntrack forgets a flow (`nf_conntrack_tcp_loose=0`): what goes to the service's address untranslated the client's own
/// node answers with an ICMP error, in a pod, in IPv6, on the node itself, and under a TCP_USER_TIMEOUT.
#[test]
fn errors_of_the_client_s_own_node_are_heard() {
    let client = |name: &str, service: &str, more: &str| {
        format!(
            "  {name}: {{ node: node1, url: http://{service}/, profile: bare, {more}{POLL} }}\n"
        )
    };
    let clients = [
        client("pod", "s", ""),
        client("six", "s6", ""),
        client("host", "s", "host_network: true, "),
        client("ut", "s", "transport: { user_timeout: 10s }, "),
    ];
    let yaml = format!(
        "name: untranslated\nnodes: [node1, node2, node3]\nduration: 60s\n\
         sysctls: {{ net.netfilter.nf_conntrack_tcp_loose: 0, net.ipv4.tcp_retries2: 6 }}\n\
         servers: {{ a: {{ node: node3 }}, b: {{ node: node2 }}, a6: {{ node: node3 }}, b6: {{ node: node2 }} }}\n\
         service:\n  \
         s: {{ address: \"192.168.255.10:80\", endpoints: [a, b], pin_first: a, removal: 1s }}\n  \
         s6: {{ address: \"[fd00:ffff::10]:80\", endpoints: [a6, b6], pin_first: a6, removal: 1s }}\n\
         clients:\n{}faults:\n  \
         - {{ at: 10s, fault: {{ power_loss: {{ node: node3 }} }} }}\n  \
         - {{ at: 12s, fault: {{ conntrack_deleted: {{ service: s, server: a }} }} }}\n  \
         - {{ at: 12s, fault: {{ conntrack_deleted: {{ service: s6, server: a6 }} }} }}\n",
        clients.concat()
    );
    let Some((case, record)) = run(&yaml) else {
        return;
    };
    let unreachable = |name| (name, "unreachable");
    assert_causes(&case, &["pod", "six", "host", "ut"].map(unreachable));
    for name in ["pod", "six", "host", "ut"] {
        let client = command::client(&case, name);
        let evidence = client["evidence"].as_str().expect("a sentence");
        assert!(
            evidence.contains("ICMP errors about it"),
            "{name}: {evidence}"
        );
    }
    // Back-off is undone by each error (RFC 6069), so there are many; all are told.
    let pod = command::client(&case, "pod");
    let told = pod["connections"][0]["retransmissions"]["measured_s"].as_array();
    let told = told.expect("a list").len() as u64;
    assert!(told > 8, "{told}");
    assert_eq!(told, grown(&record, "pod", "Tcp.RetransSegs"));
}

/// A service that has lost its last endpoint: kube-proxy refuses with an ICMP error, in FORWARD and in OUTPUT.
#[test]
fn a_service_without_endpoints_refuses() {
    let yaml = format!(
        "name: no-endpoint\nnodes: [node1, node3]\nduration: 30s\nsysctls: {{ net.ipv4.tcp_retries2: 3 }}\n\
         servers: {{ a: {{ node: node3 }} }}\n\
         service: {{ s: {{ address: \"192.168.255.10:80\", endpoints: [a], removal: 1s }} }}\nclients:\n  \
         pod: {{ node: node1, url: http://s/, profile: bare, {POLL} }}\n  \
         host: {{ node: node1, host_network: true, url: http://s/, profile: bare, {POLL} }}\n\
         faults:\n  - {{ at: 5s, fault: {{ power_loss: {{ node: node3 }} }} }}\n"
    );
    let Some((case, _)) = run(&yaml) else {
        return;
    };
    for name in ["pod", "host"] {
        let connections = command::client(&case, name)["connections"].as_array();
        let connections = connections.expect("a list");
        assert_eq!(connections[0]["cause"], "retransmission_timeout", "{name}");
        let dials: Vec<_> = connections[1..]
            .iter()
            .map(|c| (&c["cause"], &c["evidence"]))
            .collect();
        assert!(
            dials.len() > 5 && dials.iter().all(|(cause, _)| *cause == "refused"),
            "{name}: {dials:?}"
        );
    }
}

/// The kernel takes no note of an ICMP error about a keepalive probe, which bears a number before what is unacknowledged; of
/// one about data it does.
#[test]
fn keepalive_ends_what_leads_to_a_neighbour_that_does_not_resolve() {
    let yaml = format!(
        "name: neighbour-dead\nnodes: [node1, node3]\nduration: 60s\nsysctls: {{ net.ipv4.tcp_retries2: 5 }}\n\
         servers: {{ a: {{ node: node3 }} }}\nclients:\n  \
         idle: {{ node: node1, url: http://a/, profile: bare, transport: {{ keepalive: {{ idle: 3s, interval: 2s, count: 3 }} }}, \
         workload: {{ watch: {{ timeout: off }} }} }}\n  \
         busy: {{ node: node1, url: http://a/, profile: bare, {POLL} }}\n\
         faults:\n  - {{ at: 5s, fault: {{ power_loss: {{ node: node3, neighbour: dead }} }} }}\n"
    );
    let Some((case, _)) = run(&yaml) else {
        return;
    };
    assert_causes(&case, &[("idle", "keepalive"), ("busy", "unreachable")]);
}
