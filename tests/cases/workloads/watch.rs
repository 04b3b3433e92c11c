//! A watch: what arrives is counted, silence is not an error, and whoever ends it is named.

use halfopen::record::Observation;
use serde_json::Value;

use super::case::{Played, Scenario, client, within};

const SILENT: &str = "workload: { watch: {} }";
/// Retransmissions end after 12.6 s and at most one RTO more (`((2<<5)-1)·0.2 s`, then 12.8 s).
const RETRIES: &str = "sysctls: { net.ipv4.tcp_retries2: 5 }";

fn parts(played: &Played, client: &str) -> Vec<u32> {
    let each = played.events.iter().filter_map(|event| match &event.what {
        Observation::StreamReceived {
            request, received, ..
        } if request.client == client => Some(received.parts),
        _ => None,
    });
    each.collect()
}

#[test]
fn events_arrive_in_their_rhythm_and_silence_is_well() {
    let direct = |profile: &str, work: &str| {
        format!("url: 'http://s2/', profile: {profile}, workload: {{ watch: {work} }}")
    };
    let scenario = Scenario::new(
        "95s",
        vec![
            ("h1", direct("bare", "{ push: 10s }")),
            ("h2", direct("bare-h2", "{ push: 10s }")),
            ("silent", direct("bare", "{}")),
        ],
    );
    let Some(played) = scenario.play(0) else {
        return;
    };
    for name in ["h1", "h2"] {
        // One each 10 s in 95 s, each once and in order.
        assert_eq!(parts(&played, name), (1..=9).collect::<Vec<_>>(), "{name}");
        assert_eq!(played.client(name)["affected"], false);
        // The next event after the fault at 12 s comes at 20 s.
        within(played.client(name), "recovered_after_s", 7.9, 8.1);
    }
    assert!(parts(&played, "silent").is_empty());
    let silent = played.client("silent");
    assert_eq!(silent["recovered_after_s"], 0.0, "{silent:#}");
    assert_eq!(silent["phase"], "streaming");
    for name in ["h1", "h2", "silent"] {
        assert_eq!(played.client(name)["requests_failed"], 0, "{name}");
        assert_eq!(played.served(name, "GET /?watch="), 1, "{name}");
    }
}

#[test]
fn nothing_but_keepalive_and_ping_finds_a_silent_watch_s_death() {
    let keepalive = "keepalive: { idle: 5s, interval: 5s, count: 3 }";
    let ping = "ping: { idle: 5s, timeout: 3s }";
    let scenario = Scenario::new(
        "100s",
        vec![
            ("h1", client("bare", "", SILENT)),
            ("h2", client("bare-h2", "", SILENT)),
            ("h1-keepalive", client("bare", keepalive, SILENT)),
            ("h2-keepalive", client("bare-h2", keepalive, SILENT)),
            ("h2-ping", client("bare-h2", ping, SILENT)),
        ],
    );
    let Some(played) = scenario.play(0) else {
        return;
    };
    for name in ["h1", "h2"] {
        let of = played.client(name);
        assert_eq!(
            (&of["cause"], &of["detected_after_s"]),
            (&"never".into(), &Value::Null)
        );
        assert_eq!(of["recovered_after_s"], Value::Null);
        // It waits in vain.
        assert_eq!(of["requests_failed"], 1);
    }
    for name in ["h1-keepalive", "h2-keepalive"] {
        let of = played.client(name);
        assert_eq!(of["cause"], "keepalive", "{of:#}");
        // 5 s and 3 × 5 s from the last probe that was answered, at most 5 s before the cut; the timer wheel (HZ=250)
        // rounds each up by less than 64 ticks.
        within(of, "detected_after_s", 20.0 - 5.26, 20.0 + 4.0 * 0.26);
        assert_eq!(of["requests_failed"], 1);
    }
    let ping = played.client("h2-ping");
    assert_eq!(ping["cause"], "ping_timeout");
    within(ping, "detected_after_s", 3.0, 8.1);
    for name in ["h1-keepalive", "h2-keepalive", "h2-ping"] {
        let of = played.client(name);
        let detected = of["detected_after_s"].as_f64().expect("a time");
        // It watches again after its pause of a second, and has the head at once.
        within(of, "recovered_after_s", detected + 1.0, detected + 1.1);
    }
}

#[test]
fn a_request_timeout_cuts_healthy_watches_too_and_on_h2_only_their_streams() {
    let timeout = "workload: { watch: { push: 2s, timeout: 8s } }";
    let mut scenario = Scenario::new(
        "60s",
        vec![
            ("h1", client("bare", "", timeout)),
            (
                "h2",
                format!("{}, {RETRIES}", client("bare-h2", "", timeout)),
            ),
        ],
    );
    // In the first watch: where later ones lead the dice decide.
    scenario.fault = "at: 5s";
    let Some(played) = scenario.play(0) else {
        return;
    };
    let h1 = played.client("h1");
    assert_eq!(h1["cause"], "request_timeout", "{h1:#}");
    // Watches begin at 0 s (struck at 5 s), 9 s, 18 s, 27 s, 36 s, 45 s and 54 s.
    within(h1, "detected_after_s", 2.9, 3.1);
    within(h1, "recovered_after_s", 3.9, 4.1);
    assert_eq!(
        (&h1["requests_failed"], &h1["healthy_cuts"]),
        (&1.into(), &5.into())
    );
    let h2 = played.client("h2");
    assert_eq!(h2["cause"], "retransmission_timeout", "{h2:#}");
    // The reset of the stream, 3 s after the cut, is the first thing that is never acknowledged.
    within(h2, "detected_after_s", 3.0 + 12.6, 3.0 + 12.6 + 12.8 + 0.5);
    let failed = h2["requests_failed"].as_u64().expect("a number");
    assert!((2..=3).contains(&failed), "{h2:#}");
}

#[test]
fn a_fault_waits_for_a_stream() {
    let mut scenario = Scenario::new("20s", vec![("c", client("bare", "", SILENT))]);
    scenario.fault = "when: { client: c, phase: streaming, after: 7s }";
    let Some(played) = scenario.play(0) else {
        return;
    };
    let case = &played.run.cases()[0];
    within(&case["faults"][0], "at_s", 7.0, 7.01);
    assert_eq!(played.client("c")["phase"], "streaming");
}

#[test]
fn a_fault_that_waits_for_the_next_stream_strikes_at_its_head() {
    let work = "workload: { stream: { download: { rate: 1KiB, duration: 2s, every: 3s } } }";
    let mut scenario = Scenario::new("20s", vec![("c", client("bare", "", work))]);
    // Downloads begin at 0 s and at 5 s; at 4 s none is under way.
    scenario.fault = "when: { client: c, phase: streaming, after: 4s }";
    let Some(played) = scenario.play(0) else {
        return;
    };
    within(&played.run.cases()[0]["faults"][0], "at_s", 5.0, 5.1);
    assert_eq!(played.client("c")["phase"], "streaming");
    // Its head had come, and nothing more.
    assert_eq!(parts(&played, "c"), [1, 2]);
}
