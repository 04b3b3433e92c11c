//! Several workloads on one client: one pool, and figures for each.

use halfopen::record::Observation;

use super::case::{Scenario, client, within};

const BOTH: &str = "workloads: [{ watch: {} }, { resync: { every: 5s } }]";

#[test]
fn on_h2_they_share_a_connection_and_on_h1_each_has_its_own() {
    let direct = |profile: &str| format!("url: 'http://s2/', profile: {profile}, {BOTH}");
    let scenario = Scenario::new(
        "52s",
        vec![("h1", direct("bare")), ("h2", direct("bare-h2"))],
    );
    let Some(played) = scenario.play(0) else {
        return;
    };
    assert_eq!((played.opened("h1"), played.opened("h2")), (2, 1));
    for name in ["h1", "h2"] {
        assert_eq!(played.served(name, "GET /?watch=silent"), 1);
        assert_eq!(played.served(name, "POST /"), 11);
        let mut of_each = std::collections::BTreeMap::<String, usize>::new();
        for event in &played.events {
            if let Observation::RequestSent { request, .. } = &event.what
                && request.client == name
            {
                *of_each
                    .entry(request.workload.clone().expect("its workload"))
                    .or_default() += 1;
            }
        }
        let counts: Vec<_> = of_each
            .iter()
            .map(|(name, n)| (name.as_str(), *n))
            .collect();
        assert_eq!(counts, [("resync", 11), ("watch", 1)]);
    }
}

#[test]
fn each_has_the_cause_and_the_times_of_its_own_connection() {
    let keepalive = "keepalive: { idle: 5s, interval: 5s, count: 8 }";
    let retries = "sysctls: { net.ipv4.tcp_retries2: 5 }";
    let both = |profile| format!("{}, {retries}", client(profile, keepalive, BOTH));
    let mut scenario = Scenario::new("120s", vec![("h1", both("bare")), ("h2", both("bare-h2"))]);
    scenario.more = "expect:\n  h1:\n    recovered: { between: [39s, 49s] }\n    workloads:\n      \
                     watch: { cause: keepalive }\n      resync: { cause: retransmission_timeout }\n";
    let Some(played) = scenario.play(0) else {
        return;
    };
    let (watch, resync) = (
        played.workload("h1", "watch"),
        played.workload("h1", "resync"),
    );
    assert_eq!(watch["cause"], "keepalive", "{watch:#}");
    // 5 s and 8 × 5 s from the last answered probe, at most 5 s before the cut; nine waits, each rounded up.
    within(watch, "detected_after_s", 45.0 - 5.26, 45.0 + 9.0 * 0.26);
    assert_eq!(resync["cause"], "retransmission_timeout", "{resync:#}");
    within(
        resync,
        "detected_after_s",
        3.0 + 12.6,
        3.0 + 12.6 + 12.8 + 0.5,
    );
    for workload in [watch, resync] {
        assert_eq!(workload["requests_failed"], 1);
    }
    // The client is as well as the worse of them.
    let h1 = played.client("h1");
    for field in ["cause", "detected_after_s", "recovered_after_s"] {
        assert_eq!(h1[field], watch[field], "{field}");
    }
    assert_eq!(h1["requests_failed"], 2);
    // On one connection the resync's unacknowledged data takes the watch with it.
    for name in ["watch", "resync"] {
        let of = played.workload("h2", name);
        assert_eq!(of["cause"], "retransmission_timeout", "{of:#}");
        within(of, "detected_after_s", 3.0 + 12.6, 3.0 + 12.6 + 12.8 + 0.5);
    }
}

/// The SYN is on its way for 200 ms, and its node dies meanwhile. Who waits for that dial was struck, though its request was
/// never handed to a connection.
#[test]
fn a_dial_under_way_at_the_fault_is_that_of_those_who_wait_for_it() {
    let work = "start: 11.9s, workloads: [{ poll: { every: 5s, timeout: 4s } }, { resync: { every: 5s, timeout: 6s } }]";
    let mut scenario = Scenario::new(
        "30s",
        vec![
            ("h1", client("bare", "", work)),
            ("h2", client("bare-h2", "", work)),
        ],
    );
    scenario.more = "rtt: 400ms\n";
    let Some(played) = scenario.play(0) else {
        return;
    };
    // On HTTP/1.1 each has a dial of its own, which its own timeout ends; on HTTP/2 the last who waits ends the only one.
    for (client, workload, after) in [
        ("h1", "poll", 3.9),
        ("h1", "resync", 5.9),
        ("h2", "poll", 5.9),
        ("h2", "resync", 5.9),
    ] {
        let of = played.workload(client, workload);
        assert_eq!(of["affected"], true, "{of:#}");
        assert_eq!(of["cause"], "request_timeout", "{of:#}");
        within(of, "detected_after_s", after - 0.001, after + 0.02);
    }
}

#[test]
fn an_expectation_of_one_workload_that_does_not_hold_is_underlined() {
    let mut scenario = Scenario::new("40s", vec![("c", client("bare", "", BOTH))]);
    scenario.more = "expect:\n  c:\n    workloads:\n      watch: { detected: { within: 10s } }\n";
    let Some(played) = scenario.play(1) else {
        return;
    };
    let told = [
        "c.workloads.watch.detected: within 10 s",
        "watch: { detected: { within: 10s } }",
        "╰── expected",
    ];
    played.run.outcome.assert(1, &told);
    let expectation = &played.run.cases()[0]["expectations"][0];
    assert_eq!(
        (&expectation["client"], &expectation["workload"]),
        (&"c".into(), &"watch".into())
    );
}
