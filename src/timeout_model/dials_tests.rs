use std::time::Duration;

use crate::plan::{Cause, Prediction, Window};
use crate::scenario::{PlanOptions, parse, render};

/// Prediction for the one client `c` of a service, of whose endpoints `s1` is on the node that loses power; `more` are other
/// lines of the scenario.
fn predicted(service: &str, client: &str, fault: &str, more: &str) -> Prediction {
    let text = format!(
        "name: t\nduration: 20h\nnodes: [n1, n2, n3, n4]\n\
         servers: {{ s1: {{ node: n1 }}, s2: {{ node: n2 }}, s3: {{ node: n4 }} }}\n\
         service: {{ web: {{ address: '192.168.255.1:80', {service} }} }}\n\
         clients: {{ c: {{ node: n3, url: 'http://web/', {client} }} }}\n\
         faults:\n  - {{ {fault}, fault: {{ power_loss: {{ node: n1 }} }} }}\n{more}"
    );
    let mut cases = parse("t.yaml", &text, &PlanOptions::default())
        .unwrap_or_else(|errors| panic!("{}", render(&errors, false)));
    cases.remove(0).predictions.remove(0)
}

/// A client of HTTP/1.1 that polls every 3 s.
fn polls(transport: &str) -> String {
    format!("profile: bare, transport: {{ {transport} }}, workload: {{ poll: {{ every: 3s }} }}")
}

fn seconds(window: Option<Window>) -> (f64, f64) {
    let window = window.expect("a window");
    (window.min.as_secs_f64(), window.max.as_secs_f64())
}

const EACH_DIALS: &str = "idle_timeout: 100ms, dial_timeout: 5s";
const TWO: &str = "pin_first: s1, endpoints: [s1, s2]";

/// It dials 2 s after the fault, 3 s after each answer and 8 s after the beginning of each dial in vain, until 40.5 s: which
/// number of dead dials comes how often follows from adding up all such rows.
#[test]
fn who_dials_for_each_request_may_meet_the_dead_endpoint_after_answers_too() {
    let service = format!("{TWO}, removal: 40500ms");
    let p = predicted(&service, &polls(EACH_DIALS), "at: 10s", "");
    let told: Vec<_> = p
        .odds
        .iter()
        .map(|o| (o.dead_dials, o.probability))
        .collect();
    let rows = [1.0, 25.0, 422.0, 2528.0, 3360.0, 1856.0].map(|rows: f64| rows / 8192.0);
    assert_eq!(told, (0..).zip(rows).collect::<Vec<_>>());
    let recovery = |dead: usize| seconds(Some(p.odds[dead].recovery));
    let (min, max) = recovery(0);
    assert!((1.9..=2.0).contains(&min) && (2.2..2.6).contains(&max));
    // At once in vain, or after as many answers as there is time for.
    let (min, max) = recovery(1);
    assert!(
        (9.9..=10.0).contains(&min) && (46.0..51.0).contains(&max),
        "{min} to {max}"
    );
}

/// One in two dials is in vain: after 20 lucky ones in a row the luck would be one in a million.
#[test]
fn an_endpoint_that_stays_in_the_rules_strikes_again() {
    let service = format!("{TWO}, removal: off");
    let p = predicted(&service, &polls(EACH_DIALS), "at: 10s", "");
    let within = p.relapses_within.expect("no recovery lasts").as_secs_f64();
    // Twenty pauses and answers, of 10 ms and a slack of 0.25 s, and a dial of 5 s.
    assert!((within - (20.0 * 3.26 + 5.0)).abs() < 1e-6, "{within}");
    assert_eq!(p.recovery, None);
    // One that keeps its connection meets it once.
    let keeps = predicted(&service, &polls("request_timeout: 5s"), "at: 10s", "");
    assert!(keeps.relapses_within.is_none() && keeps.recovery.is_some());
}

/// What retries after another error gives the failure of a connection to its workload, which pauses.
#[test]
fn a_retry_after_a_dial_that_failed_is_none_of_a_lost_connection() {
    let retry = |on: &str| {
        let retry = format!("retry: {{ attempts: 3, backoff: 100ms, on: {on} }}");
        let p = predicted(TWO, &polls(&retry), "at: 10s", "");
        assert_eq!(p.cause, Cause::RetransmissionTimeout);
        seconds(p.recovery).0 - seconds(p.detection).0
    };
    assert!((retry("dial_failed") - 3.0).abs() < 0.01);
    assert!((retry("connection_lost") - 0.1).abs() < 0.01);
}

/// A pause of 2 min, of which conntrack remembers the first.
fn forgotten(endpoints: &str) -> Prediction {
    let client = "profile: bare, workload: { poll: { every: 120s } }";
    let service = format!("pin_first: s1, endpoints: [{endpoints}], removal: 10s");
    let sysctls = "sysctls: { net.netfilter.nf_conntrack_tcp_timeout_established: 60 }\n";
    predicted(&service, client, "at: 10s", sysctls)
}

#[test]
fn who_is_forgotten_by_conntrack_is_reset_with_its_next_request() {
    let p = forgotten("s1, s2");
    assert_eq!(p.cause, Cause::Reset);
    let (min, max) = seconds(p.detection);
    assert!(
        (109.9..=110.0).contains(&min) && max < 110.6,
        "{min} to {max}"
    );
    assert_eq!(p.relapses_within, None);
    // With two that live each pause may cost the connection again, one time in two: not so twenty times in a row.
    let within = forgotten("s1, s2, s3").relapses_within.expect("lost again");
    let (cycle, dial) = (120.26, 127.0);
    let lucky = within.as_secs_f64() - 20.0 * cycle;
    assert!((dial..150.0).contains(&lucky), "{lucky}");
}

/// Of too many rows to tell one by one, the last dial that can go wrong begins just before the endpoint leaves the rules: 5 s
/// of it and a pause of 3 s later the next one is answered.
#[test]
fn of_very_many_dials_only_the_last_is_told() {
    let removed = |after: &str| {
        let service = format!("{TWO}, removal: {after}");
        predicted(&service, &polls(EACH_DIALS), "at: 10s", "")
    };
    let many = removed("20m");
    assert_eq!(many.odds.len(), 0);
    let (min, max) = seconds(many.recovery);
    assert!(
        (1.9..=2.0).contains(&min) && (1208.0..1208.6).contains(&max),
        "{min} to {max}"
    );
    // 66 answers and 24 dials in vain at the most.
    let told: f64 = removed("200s").odds.iter().map(|o| o.probability).sum();
    assert!((told - 1.0).abs() < 1e-6, "{told}");
}

/// The transport's own back-off, where the workload does not pause for less.
#[test]
fn a_transport_that_dials_again_by_itself_waits_for_its_back_off() {
    let retry = "request_timeout: 10s, dial_timeout: 5s, retry: { attempts: 3, backoff: 1s, on: dial_failed }";
    let p = predicted(
        &format!("{TWO}, removal: 40s"),
        &polls(retry),
        "at: 10s",
        "",
    );
    let (first, second) = (p.odds[0].recovery, p.odds[1].recovery);
    let apart = |a: Duration, b: Duration| (b - a).as_secs_f64();
    assert!((apart(first.min, second.min) - 6.0).abs() < 1e-6);
    // By its workload after its pause, and the back-off on top of that.
    assert!((apart(first.max, second.max) - 9.0).abs() < 1e-6);
}

#[test]
fn a_connection_that_the_dice_led_somewhere_may_be_well() {
    let of = |service: &str| {
        let p = predicted(service, &polls("request_timeout: 10s"), "at: 10s", "");
        (p.cause, p.detection.is_some())
    };
    assert_eq!(of(TWO), (Cause::RequestTimeout, true));
    assert_eq!(of("endpoints: [s1, s2]"), (Cause::Unknown, false));
    // With no limit at all the one to the dead endpoint is kept for ever.
    let waiting = |service: &str| {
        let when = "when: { client: c, phase: waiting_for_response }";
        predicted(service, &polls(""), when, "").cause
    };
    assert_eq!(waiting(TWO), Cause::Never);
    assert_eq!(waiting("endpoints: [s1, s2]"), Cause::Unknown);
}

/// A server that is lost with the other one is nobody to recover by, and neither is one that is too slow.
#[test]
fn only_a_server_that_lives_and_is_in_time_is_one_to_recover_by() {
    let of = |delay: &str| {
        let text = format!(
            "name: t\nduration: 20h\nnodes: [n1, n2, n3]\n\
             servers: {{ s1: {{ node: n1 }}, s2: {{ node: n2, response_delay: {delay} }} }}\n\
             service: {{ web: {{ address: '192.168.255.1:80', {TWO} }} }}\n\
             clients: {{ c: {{ node: n3, url: 'http://web/', {} }} }}\n\
             faults: [{{ at: 10s, fault: {{ power_loss: {{ node: n1 }} }} }}]\n",
            polls("request_timeout: 2s")
        );
        let mut cases = parse("t.yaml", &text, &PlanOptions::default()).expect("a scenario");
        cases.remove(0).predictions.remove(0).recovery.is_some()
    };
    assert!(of("1s") && !of("4s"));
}

/// Prediction for a client of `s2` alone, whose node loses power and does not resolve any more.
fn unresolved(transport: &str, every: &str, at: &str) -> Prediction {
    let text = format!(
        "name: t\nduration: 20h\nnodes: [n1, n2]\nservers: {{ s2: {{ node: n2 }} }}\n\
         clients: {{ c: {{ node: n1, url: 'http://s2/', profile: bare, transport: {{ {transport} }}, workload: {{ poll: {{ every: {every} }} }} }} }}\n\
         faults: [{{ at: {at}, fault: {{ power_loss: {{ node: n2, neighbour: dead }} }} }}]\n"
    );
    let mut cases = parse("t.yaml", &text, &PlanOptions::default())
        .unwrap_or_else(|errors| panic!("{}", render(&errors, false)));
    cases.remove(0).predictions.remove(0)
}

/// Three solicitations, a second apart, which nobody else has begun and for which nobody else is told in its place.
#[test]
fn a_dial_to_a_node_that_does_not_resolve_takes_three_seconds() {
    let p = unresolved("idle_timeout: 100ms", "3s", "10s");
    assert_eq!(p.cause, Cause::Unreachable);
    let (min, max) = seconds(p.detection);
    // It dials 2 s after the fault.
    assert!(
        (4.9..=5.0).contains(&min) && (5.2..6.2).contains(&max),
        "{min} to {max}"
    );
}

/// The request of 36 s, and 2 s from its first retransmission on: over before the resolution has failed.
#[test]
fn a_short_user_timeout_is_over_before_a_neighbour_has_failed() {
    let p = unresolved("user_timeout: 2s", "36s", "29s");
    assert_eq!(p.cause, Cause::UserTimeout);
    let (min, max) = seconds(p.detection);
    assert!(
        (9.0..9.5).contains(&min) && (9.4..10.4).contains(&max),
        "{min} to {max}"
    );
}
