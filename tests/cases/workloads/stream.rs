//! Streams: bytes that flow for a while, and messages both ways.

use halfopen::record::{Observation, Progress};
use serde_json::Value;

use super::case::{Played, Scenario, client, within};

/// What a client had received of each of its streams in the end, by request.
fn received(played: &Played, client: &str) -> Vec<Progress> {
    let mut all: Vec<(u32, Progress)> = Vec::new();
    for event in &played.events {
        if let Observation::StreamReceived {
            request, received, ..
        } = &event.what
            && request.client == client
        {
            all.retain(|(number, _)| *number != request.number);
            all.push((request.number, *received));
        }
    }
    all.into_iter().map(|(_, progress)| progress).collect()
}

#[test]
fn every_byte_of_a_download_arrives_at_its_rate() {
    let work = |rate: &str| {
        format!("workload: {{ stream: {{ download: {{ rate: {rate}, duration: 10s }} }} }}")
    };
    let direct = |profile: &str, rate: &str| {
        format!("url: 'http://s2/', profile: {profile}, {}", work(rate))
    };
    let scenario = Scenario::new(
        "26s",
        vec![
            ("h1", direct("bare", "64KiB")),
            ("h2", direct("bare-h2", "300KiB")),
        ],
    );
    let Some(played) = scenario.play(0) else {
        return;
    };
    for (name, rate) in [("h1", 64 * 1024), ("h2", 300 * 1024)] {
        let whole = |parts: u32| Progress {
            parts,
            bytes: u64::from(parts) * rate,
        };
        // From 0 s, from 11 s, and from 22 s: the last one has had 4 s.
        assert_eq!(received(&played, name), [whole(10), whole(10), whole(4)]);
        let of = played.client(name);
        assert_eq!(
            (&of["requests_failed"], &of["affected"]),
            (&0.into(), &false.into())
        );
    }
}

#[test]
fn messages_go_both_ways() {
    let work = "workload: { stream: { messages: { interval: 2s } } }";
    let scenario = Scenario::new(
        "21s",
        vec![("c", format!("url: 'http://s2/', profile: bare-h2, {work}"))],
    );
    let Some(played) = scenario.play(0) else {
        return;
    };
    // The server answers each of the client's, so what came back had gone there: at 2 s, 4 s, … 20 s.
    let all = received(&played, "c");
    assert_eq!(all.iter().map(|p| p.parts).collect::<Vec<_>>(), [10]);
    assert_eq!(played.opened("c"), 1);
}

#[test]
fn a_download_waits_for_bytes_and_messages_for_their_acknowledgement() {
    let download = "workload: { stream: { download: { rate: 1KiB, duration: 600s } } }";
    let messages = "workload: { stream: { messages: { interval: 2s } } }";
    let keepalive = "keepalive: { idle: 5s, interval: 5s, count: 3 }";
    let retries = "sysctls: { net.ipv4.tcp_retries2: 5 }";
    let ping = "ping: { idle: 5s, timeout: 3s }";
    let mut scenario = Scenario::new(
        "90s",
        vec![
            ("download", client("bare", "", download)),
            ("download-keepalive", client("bare", keepalive, download)),
            (
                "download-read-timeout",
                client("bare", "read_timeout: 5s", download),
            ),
            (
                "messages",
                format!("{}, {retries}", client("bare-h2", "", messages)),
            ),
            ("messages-ping", client("bare-h2", ping, messages)),
        ],
    );
    // A message goes out at 12 s: let the cut not meet it.
    scenario.fault = "at: 13s";
    let Some(played) = scenario.play(0) else {
        return;
    };
    let bare = played.client("download");
    assert_eq!(
        (&bare["cause"], &bare["recovered_after_s"]),
        (&"never".into(), &Value::Null)
    );
    let expected = [
        // The last bytes came within a second before the cut; each wait is rounded up by less than 64 ticks.
        ("download-keepalive", "keepalive", 19.0, 21.1, 2.0),
        ("download-read-timeout", "read_timeout", 4.0, 5.1, 2.0),
        // The message at 14 s, 1 s after the cut: 12.6 s and at most one RTO more.
        (
            "messages",
            "retransmission_timeout",
            13.6,
            13.6 + 12.8 + 0.5,
            3.0,
        ),
        // The last answer at 12 s, then 5 s, then 3 s.
        ("messages-ping", "ping_timeout", 6.9, 7.1, 3.0),
    ];
    for (name, cause, min, max, pause) in expected {
        let of = played.client(name);
        assert_eq!(of["cause"], cause, "{of:#}");
        within(of, "detected_after_s", min, max);
        // It begins anew after a second, and well it is when something flows: a second's bytes, or an answer after 2 s.
        let detected = of["detected_after_s"].as_f64().expect("a time");
        within(
            of,
            "recovered_after_s",
            detected + pause,
            detected + pause + 0.2,
        );
        assert_eq!(of["requests_failed"], 1);
    }
}
