//! For how long servers keep what a client had that is no more. The witnesses: packets on the server's own link, timed here by the
//! arithmetic of the knobs alone, and, of PostgreSQL, the one who waits for the dead session's lock.

use halfopen::plan::Cause;
use halfopen::record::{Event, Observation, Segment};
use halfopen::result::CaseResult;
use halfopen::verdict::judge;

use crate::command::{client, number};
use crate::needs;
use crate::ran::Ran;

/// What the server sent to its client after a time, by its own link.
fn sent_by_server(events: &[Event], after: f64) -> Vec<(f64, &Segment)> {
    let segments = events.iter().filter_map(|event| match &event.what {
        Observation::Segment(segment) if ["db", "web"].contains(&segment.node.as_str()) => {
            Some((segment.stamp_ns as f64 / 1e9, segment))
        }
        _ => None,
    });
    let from_server = |segment: &Segment| [80, 443].contains(&segment.from.port());
    segments
        .filter(|(at, segment)| *at > after && from_server(segment))
        .collect()
}

fn judged(events: &[Event]) -> (CaseResult, f64) {
    let result = judge(events);
    let kept = &result.kept[0];
    let at = result.faults[kept.fault].at.expect("a fault");
    let forgot = kept
        .forgot_after
        .map_or(f64::INFINITY, |after| (at + after).as_secs_f64());
    (result, forgot)
}

#[test]
fn each_limit_of_a_server_ends_what_a_dead_client_held() {
    let Some(ran) = Ran::shipped("sequences/dead-client", 7) else {
        return;
    };
    // Six probes in vain, an interval apart, and a RST when the seventh would be due.
    let events = ran.events("keepalive_60");
    let (result, forgot) = judged(&events);
    assert_eq!(result.kept[0].connections, 1);
    let sent = sent_by_server(&events, 10.0);
    let probes: Vec<f64> = sent
        .iter()
        .filter(|(_, segment)| segment.flags == "A" && segment.len == 0)
        .map(|(at, _)| *at)
        .collect();
    assert_eq!(probes.len(), 6, "{probes:?}");
    assert!(
        probes
            .windows(2)
            .all(|two| (10.0..10.3).contains(&(two[1] - two[0])))
    );
    let (reset, _) = sent
        .iter()
        .find(|(_, s)| s.flags.contains('R'))
        .expect("a RST");
    assert!((forgot - reset).abs() < 0.01, "{forgot} {reset}");
    assert!((10.0..10.3).contains(&(reset - probes[5])));
    // A PING is data: it is sent again until the server has waited long enough for its answer.
    let events = ran.events("ping");
    let (_, forgot) = judged(&events);
    let sent = sent_by_server(&events, 10.0);
    let (ping, _) = sent.iter().find(|(_, s)| s.len > 0).expect("a PING");
    assert!((forgot - ping - 20.0).abs() < 0.1, "{forgot} {ping}");
    // Nobody was asked anything.
    for silent in ["nothing", "user_timeout_alone", "keepalive_by"] {
        let events = ran.events(silent);
        assert_eq!(sent_by_server(&events, 10.0).len(), 0, "{silent}");
        let (result, _) = judged(&events);
        assert_eq!(
            (result.kept[0].forgot_after, result.kept[0].cause),
            (None, Cause::Never)
        );
    }
}

#[test]
fn a_syn_is_remembered_until_its_answer_was_sent_often_enough() {
    let Some(ran) = Ran::shipped("sequences/syn-recv", 2) else {
        return;
    };
    for (retries, name) in [(5, "retries=5"), (2, "retries=2")] {
        let events = ran.events(name);
        let (result, forgot) = judged(&events);
        let sent = sent_by_server(&events, 1.0);
        let answers = sent
            .iter()
            .filter(|(_, segment)| segment.flags.contains('S'));
        let answers: Vec<f64> = answers.map(|(at, _)| *at).collect();
        assert_eq!(answers.len(), 1 + retries, "{answers:?}");
        // After the last one it waits once more, twice as long; the timer wheel rounds by an eighth at the most.
        let [.., before, last] = answers[..] else {
            panic!("{answers:?}");
        };
        let waited = (forgot - last) / (last - before);
        assert!(
            (2.0 / 1.125..=2.0 * 1.125).contains(&waited),
            "{waited} {}",
            result.kept[0].evidence
        );
    }
}

#[test]
fn what_waits_for_the_lock_of_a_dead_session_has_it_when_the_server_forgets() {
    let postgresql = std::path::Path::new("/usr/lib/postgresql").is_dir();
    if !postgresql || needs::find("psql").is_none() {
        needs::skipped("psql and initdb are not here: Debian's package postgresql has them");
        return;
    }
    let Some(ran) = Ran::shipped("sequences/dead-clients-lock", 2) else {
        return;
    };
    let events = ran.events("keepalive");
    let (result, _) = judged(&events);
    let forgot = result.kept[0]
        .forgot_after
        .expect("forgotten")
        .as_secs_f64();
    assert_eq!(result.kept[0].cause, Cause::Keepalive);
    let cases = ran.run.cases();
    let case = cases.iter().find(|case| {
        case["case"]
            .as_str()
            .is_some_and(|name| name.contains("60"))
    });
    let waiter = client(case.expect("a case"), "waiter");
    let had = number(&waiter["recovered_after_s"]);
    assert!((forgot..forgot + 0.5).contains(&had), "{forgot} {had}");
}

/// A server's own limits change what its clients find: the model knows.
#[test]
fn clients_of_servers_with_limits_are_foretold() {
    let yaml = "
name: limits
nodes: [node1, node2]
servers:
  web: { node: node2, tls: true }
clients:
  h1: { node: node1, url: https://web/, profile: go-http1, workload: { poll: { every: 6s, timeout: 5s } } }
  h2: { node: node1, url: https://web/, profile: go-http2, transport: { ping: { idle: 8s, timeout: 4s, while_idle: true } }, workload: { poll: { every: 20s } } }
  kept: { node: node1, url: https://web/, profile: go-http2, transport: { ping: off, keepalive: { idle: 9s, interval: 3s, count: 3 } }, workload: { poll: { every: 40s } } }
faults:
  - { at: 47s, fault: { power_loss: { node: node2 } } }
duration: 150s
matrix:
  servers.web:
    \"none\": { node: node2, tls: true }
    \"idle 2s\": { node: node2, tls: true, idle_timeout: 2s }
    \"idle 30s\": { node: node2, tls: true, idle_timeout: 30s }
    \"ping\": { node: node2, tls: true, ping: { idle: 3s, timeout: 2s } }
";
    let Some(ran) = Ran::written(yaml) else {
        return;
    };
    ran.run.outcome.assert(0, &["4 measured"]);
    for case in ran.run.cases() {
        for name in ["h1", "h2", "kept"] {
            let of = client(case, name);
            assert_eq!(of["outside_prediction"], false, "{} {of:#}", case["case"]);
        }
    }
    let of = |part: &str, name: &str| {
        let cases = ran.run.cases();
        let mut all = cases.iter();
        let case = all.find(|case| case["case"].as_str().is_some_and(|n| n.contains(part)));
        client(case.expect(part), name).clone()
    };
    // It was closed before the fault, and is not what the next request waits on: that dials.
    let causes = |part| {
        let all = of(part, "h1")["connections"].as_array().cloned();
        let all = all.unwrap_or_default().into_iter();
        let before = all.filter(|c| c["closed_at_s"].as_f64().is_some_and(|at| at < 47.0));
        let mut causes: Vec<String> = before
            .map(|c| c["cause"].as_str().unwrap_or("?").to_owned())
            .collect();
        causes.dedup();
        causes
    };
    assert_eq!(causes("idle 2s"), ["closed_by_peer"]);
    assert_eq!(causes("none"), [""; 0]);
    // A server's PINGs are read, so its client's own goes out later; and keepalive begins later to ask.
    let detected = |part, name| number(&of(part, name)["detected_after_s"]);
    assert!(detected("ping", "h2") > detected("none", "h2") + 0.9);
}
