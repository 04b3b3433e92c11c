//! A resync: writes that the transport never repeats by itself.

use super::case::{Scenario, client, within};

#[test]
fn it_writes_in_its_rhythm() {
    let work = "workload: { resync: { every: 5s } }";
    let scenario = Scenario::new(
        "52s",
        vec![("c", format!("url: 'http://s2/sync', profile: bare, {work}"))],
    );
    let Some(played) = scenario.play(0) else {
        return;
    };
    // At 0 s, 5 s, … 50 s, all on one connection.
    assert_eq!(played.served("c", "POST /sync"), 11);
    assert_eq!(played.opened("c"), 1);
    assert_eq!(played.client("c")["requests_failed"], 0);
}

#[test]
fn a_write_that_may_have_been_done_is_not_sent_again_and_a_read_is() {
    let retries = "sysctls: { net.ipv4.tcp_retries2: 5 }";
    let write = "workload: { resync: { every: 5s, retry_after: 100ms } }";
    let read = "workload: { poll: { every: 5s } }";
    let scenario = Scenario::new(
        "60s",
        vec![
            (
                "write",
                format!("{}, {retries}", client("go-http1", "", write)),
            ),
            (
                "read",
                format!("{}, {retries}", client("go-http1", "", read)),
            ),
        ],
    );
    let Some(played) = scenario.play(0) else {
        return;
    };
    for (name, failed, pause) in [("write", 1, 0.1), ("read", 0, 0.0)] {
        let of = played.client(name);
        assert_eq!(of["cause"], "retransmission_timeout", "{of:#}");
        // The request at 15 s, 3 s after the cut; 12.6 s of retransmissions and at most one RTO more.
        within(of, "detected_after_s", 3.0 + 12.6, 3.0 + 12.6 + 12.8 + 0.5);
        assert_eq!(of["requests_failed"], failed, "{name}");
        let detected = of["detected_after_s"].as_f64().expect("a time");
        within(
            of,
            "recovered_after_s",
            detected + pause,
            detected + pause + 0.1,
        );
    }
}

#[test]
fn a_request_timeout_ends_it_on_h1() {
    let work = "workload: { resync: { every: 5s, timeout: 2s } }";
    let scenario = Scenario::new("40s", vec![("c", client("bare", "", work))]);
    let Some(played) = scenario.play(0) else {
        return;
    };
    let of = played.client("c");
    assert_eq!(of["cause"], "request_timeout");
    within(of, "detected_after_s", 5.0, 5.1);
    within(of, "recovered_after_s", 10.0, 10.2);
    // The model knows this rhythm.
    assert_eq!(of["outside_prediction"], false);
    within(&of["predicted"]["detection"], "max_s", 5.0, 8.0);
}
