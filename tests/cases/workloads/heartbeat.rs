//! Heartbeats: who judges the node, when, and what a kubelet can do about it.

use std::time::Duration;

use halfopen::record::Observation;
use serde_json::Value;

use super::case::{Played, Scenario, client, within};

fn nodes(duration: &'static str, clients: Vec<(&'static str, String)>) -> Scenario {
    Scenario {
        app: "nodes",
        fault: "at: 25s",
        ..Scenario::new(duration, clients)
    }
}

/// When a client's node was judged, and how.
fn judged(played: &Played, client: &str) -> Vec<(Duration, bool)> {
    let each = played.events.iter().filter_map(|event| match &event.what {
        Observation::NodeReady {
            client: c, ready, ..
        } if c == client => Some((event.at(), *ready)),
        _ => None,
    });
    each.collect()
}

#[test]
fn status_and_lease_go_out_every_ten_seconds_and_the_node_stays_ready() {
    let work = |own: &str| {
        format!("url: 'http://s2/', profile: bare-h2, workload: {{ heartbeat: {own} }}")
    };
    let scenario = nodes(
        "95s",
        vec![
            ("kubelet", work("{}")),
            ("status", work("{ lease: off }")),
            ("slow", work("{ every: 30s, lease: 80s }")),
        ],
    );
    let Some(played) = scenario.play(0) else {
        return;
    };
    let counts = |name| (played.served(name, "POST"), played.served(name, "PUT"));
    // At 0 s, 10 s, … 90 s.
    assert_eq!(counts("kubelet"), (10, 10));
    assert_eq!(counts("status"), (10, 0));
    // A quarter of its lease is 20 s.
    assert_eq!(counts("slow"), (4, 5));
    for name in ["kubelet", "status", "slow"] {
        let seen = judged(&played, name);
        assert!(matches!(seen[..], [(_, true)]), "{name}: {seen:?}");
        assert_eq!(played.client(name)["not_ready_after_s"], Value::Null);
        assert_eq!(played.client(name)["requests_failed"], 0);
    }
}

#[test]
fn a_node_is_not_ready_when_its_grace_period_is_over_and_h1_is_well_before() {
    let beat = |own: &str| format!("workload: {{ heartbeat: {{ {own} }} }}");
    let retries = "sysctls: { net.ipv4.tcp_retries2: 8 }";
    let h2 = |grace: &str| {
        let work = beat(&format!("grace: {grace}"));
        format!("{}, {retries}", client("bare-h2", "", &work))
    };
    let scenario = nodes(
        "200s",
        vec![
            ("short", h2("15s")),
            ("long", h2("45s")),
            ("h1", client("bare", "", &beat("grace: 40s"))),
        ],
    );
    let Some(played) = scenario.play(0) else {
        return;
    };
    for (name, grace) in [("short", 15), ("long", 45)] {
        let last = played.times(|what| match what {
            Observation::ServerRequest {
                request: Some(r), ..
            } => r.client == name,
            _ => false,
        });
        let last = last.into_iter().rfind(|at| at.as_secs() < 25);
        let not_ready = judged(&played, name)
            .into_iter()
            .find_map(|(at, ready)| (!ready).then_some(at));
        let silent = not_ready.expect("a judgement") - last.expect("a beat");
        let off = silent.abs_diff(Duration::from_secs(grace));
        assert!(off <= Duration::from_millis(5), "{name}: {silent:?}");
        let of = played.client(name);
        // The beat at 30 s, 5 s after the cut, is never acknowledged: ((2<<8)-1)·0.2 s, and at most one RTO more.
        assert_eq!(of["cause"], "retransmission_timeout");
        within(of, "detected_after_s", 5.0 + 102.2, 5.0 + 102.2 + 104.0);
        let detected = of["detected_after_s"].as_f64().expect("a time");
        within(of, "ready_again_after_s", detected, detected + 10.1);
    }
    let h1 = played.client("h1");
    assert_eq!(h1["cause"], "request_timeout");
    // The beat at 30 s and its 10 s; then at once on a new connection.
    within(h1, "detected_after_s", 15.0, 15.1);
    within(h1, "recovered_after_s", 15.0, 15.1);
    assert_eq!(h1["not_ready_after_s"], Value::Null);
    assert_eq!(h1["requests_failed"], 2, "status and lease");
}

#[test]
fn closing_connections_helps_unless_a_watch_keeps_them_from_being_idle() {
    let beat = |close: &str, more: &str| {
        let work = format!(
            "workloads: [{{ heartbeat: {{ lease: off, close_on_failure: {close} }} }}{more}]"
        );
        client("bare-h2", "", &work)
    };
    let watch = ", { watch: {} }";
    let scenario = nodes(
        "120s",
        vec![
            ("off", beat("off", "")),
            ("idle", beat("idle", "")),
            ("idle-watch", beat("idle", watch)),
            ("all-watch", beat("all", watch)),
        ],
    );
    let Some(played) = scenario.play(0) else {
        return;
    };
    for name in ["idle", "all-watch"] {
        let of = played.client(name);
        assert_eq!(of["cause"], "heartbeat_failure", "{of:#}");
        // The beat at 30 s fails at 40 s, its second try at 50 s, 25 s after the cut; the third is answered at once.
        within(of, "detected_after_s", 25.0, 25.1);
        let beats = played.workload(name, "heartbeat");
        within(beats, "recovered_after_s", 25.0, 25.1);
        assert_eq!(beats["requests_failed"], 2, "{beats:#}");
        assert_eq!(of["not_ready_after_s"], Value::Null);
    }
    for name in ["off", "idle-watch"] {
        let of = played.client(name);
        assert_eq!(of["cause"], "never", "{of:#}");
        // The last beat at 20 s, and 40 s.
        within(of, "not_ready_after_s", 35.0, 35.1);
        assert_eq!(of["ready_again_after_s"], Value::Null);
    }
}
