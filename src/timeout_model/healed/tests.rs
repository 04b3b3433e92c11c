use super::*;
use crate::scenario::{PlanOptions, parse, render};

const POLL: &str = "profile: bare, workload: { poll: { every: 3s } }";
const CUT_AT_SENDING: &str = "when: { client: c, phase: request_unacknowledged }";
const DEAD_PATH: &str = "loss: { between: [n1, n2], percent: 100 }";
const NO_POWER: &str = "power_loss: { node: n1 }";

/// Prediction for a client on n2 of a server on n1; there is a second server on n3, and a service of both.
fn told(server: &str, client: &str, fault: &str) -> Option<Prediction> {
    let text = format!(
        "name: t\nduration: 20h\nnodes: [n1, n2, n3]\n\
         servers:\n  s1: {{ node: n1 {server} }}\n  s2: {{ node: n3 }}\n\
         service:\n  web: {{ address: '192.168.255.1:80', endpoints: [s1, s2], pin_first: s1, removal: 10s }}\n\
         clients:\n  c: {{ node: n2, {client} }}\n\
         faults:\n  - {{ {fault} }}\n"
    );
    let mut cases = parse("t.yaml", &text, &PlanOptions::default())
        .unwrap_or_else(|errors| panic!("{}", render(&errors, false)));
    cases.remove(0).predictions.pop()
}

fn direct(more: &str) -> String {
    format!("url: 'http://s1/', {POLL}{more}")
}

/// From the moment at which a request is sent, of a client with `limits`.
fn healed(limits: &str, seconds: &str, what: &str) -> Prediction {
    let fault = format!("{CUT_AT_SENDING}, for: {seconds}, fault: {{ {what} }}");
    told("", &direct(limits), &fault).expect("a prediction")
}

fn seconds(window: Option<Window>) -> (f64, f64) {
    let window = window.expect("a window");
    (window.min.as_secs_f64(), window.max.as_secs_f64())
}

/// The retransmissions come after 0.2, 0.6, 1.4, 3.0 … 25.4 and 51 s; with the longest first RTO of 250 ms, and a loss probe before
/// it, after 0.5, 1.0, 2.0, 4.0 … 32 s; with one of 215 ms after 27.8 and 55.3 s. The wheel makes each up to an eighth longer.
#[test]
fn a_request_is_answered_with_the_first_retransmission_after_the_healing() {
    let p = healed("", "30s", DEAD_PATH);
    assert_eq!((p.cause, p.detection), (Cause::Never, None));
    let (min, max) = seconds(p.recovery);
    assert!((29.9..32.0).contains(&min), "{min}");
    assert!((51.0..62.0).contains(&max), "{max}");
    // A largest RTO of 1 s leaves no more than that, an eighth, and what a busy machine is given.
    let sysctls = ", sysctls: { net.ipv4.tcp_rto_max_ms: 1000, net.ipv4.tcp_retries2: 60 }";
    let (min, max) = seconds(healed(sysctls, "30s", DEAD_PATH).recovery);
    assert!(min >= 29.9 && max < 31.7, "{min} to {max}");
}

/// `tcp_retries2`=5: 12.6 s, and the timer after that.
#[test]
fn who_is_given_up_before_dials_until_a_syn_is_answered() {
    let sysctls = ", sysctls: { net.ipv4.tcp_retries2: 5 }";
    let p = healed(sysctls, "60s", DEAD_PATH);
    assert_eq!(p.cause, Cause::RetransmissionTimeout);
    let (min, max) = seconds(p.detection);
    assert!(min > 12.6 && max < 27.5, "{min} to {max}");
    // It dials 3 s later, between 15.6 and 30.5 s; SYNs come 0 to 5 s after that, and 7, 11, 19, 35 and 67.
    let (min, max) = seconds(p.recovery);
    assert!(min >= 59.9 && max < 15.6 + 15.0 + 72.0, "{min} to {max}");
}

/// Five seconds, a pause of three, a dial of five, a pause of three: a dial begins 16 s after the request, and after 19 s and a little
/// it sends a SYN again, the third one or (before Linux 6.5) the second.
#[test]
fn a_request_timeout_makes_it_dial_again_and_again() {
    let p = healed(", transport: { request_timeout: 5s }", "18500ms", DEAD_PATH);
    let (min, max) = seconds(p.detection);
    assert_eq!((p.cause, min), (Cause::RequestTimeout, 5.0));
    assert!(max < 5.3, "{max}");
    let (min, max) = seconds(p.recovery);
    assert!(min > 18.9 && max < 20.2, "{min} to {max}");
    // Two seconds it survives.
    let p = healed(", transport: { request_timeout: 5s }", "2s", DEAD_PATH);
    assert_eq!((p.cause, p.detection), (Cause::Never, None));
    let (min, max) = seconds(p.recovery);
    assert!(min > 1.9 && max < 4.9, "{min} to {max}");
}

#[test]
fn a_node_that_is_back_answers_with_rst() {
    let p = healed("", "30s", NO_POWER);
    assert_eq!(p.cause, Cause::Reset);
    let (reset, latest) = seconds(p.detection);
    assert!(reset > 29.9 && latest < 62.0, "{reset} to {latest}");
    let (min, max) = seconds(p.recovery);
    // A pause, and a dial that is answered at once.
    assert!((min - reset - 3.0).abs() < 0.01 && max < latest + 3.3);
}

/// The request after a pause that is longer than the silence finds the path well, and the node with power, but without memory.
#[test]
fn a_silence_in_which_nothing_is_sent_is_heard_of_by_the_next_request_alone() {
    let client = "url: 'http://s1/', profile: bare, workload: { poll: { every: 60s } }";
    let of = |what: &str| {
        let fault = format!("when: {{ client: c, phase: idle }}, for: 20s, fault: {{ {what} }}");
        told("", client, &fault).expect("a prediction")
    };
    let p = of(DEAD_PATH);
    let (min, max) = seconds(p.recovery);
    assert_eq!((p.cause, p.detection), (Cause::Never, None));
    // The fault begins to wait for a pause after 5 s, and is in the first one.
    assert!(min > 54.9 && max < 55.6, "{min} to {max}");
    let p = of(NO_POWER);
    let (min, max) = seconds(p.detection);
    assert!(
        p.cause == Cause::Reset && min > 54.9 && max < 55.6,
        "{min} to {max}"
    );
}

/// Of what a node without memory owes a client nobody tells it, unless it asks: three probes, of which the last is answered.
#[test]
fn who_waits_for_a_response_hears_of_the_power_by_keepalive_alone() {
    let of = |limits: &str| {
        let when = "when: { client: c, phase: waiting_for_response }";
        let fault = format!("{when}, for: 22s, fault: {{ {NO_POWER} }}");
        let p = told(", response_delay: 2s", &direct(limits), &fault);
        p.expect("a prediction")
    };
    let p = of("");
    assert_eq!(
        (p.cause, p.detection, p.recovery),
        (Cause::Never, None, None)
    );
    let p = of(", transport: { keepalive: { idle: 10s, interval: 5s, count: 9 } }");
    assert_eq!(p.cause, Cause::Reset);
    let (min, max) = seconds(p.detection);
    assert!(min > 21.9 && max < 28.5, "{min} to {max}");
    // Two probes of 5 s after 10 s are too few.
    let p = of(", transport: { keepalive: { idle: 5s, interval: 3s, count: 2 } }");
    assert_eq!(p.cause, Cause::Keepalive);
    let (min, max) = seconds(p.detection);
    assert!(min > 8.0 && max < 14.0, "{min} to {max}");
}

#[test]
fn a_service_s_client_may_meet_an_endpoint_that_lives_before() {
    let client = format!("url: 'http://web/', {POLL}, transport: {{ request_timeout: 4s }}");
    let of = |what: &str| {
        let fault = format!("{CUT_AT_SENDING}, for: 100s, fault: {{ {what} }}");
        told("", &client, &fault).expect("a prediction")
    };
    // It dials after 7 s, 14 s and so on, and after the removal at 10 s to the one that lives.
    let (min, max) = seconds(of(NO_POWER).recovery);
    assert!(
        (6.9..7.1).contains(&min) && (14.0..15.0).contains(&max),
        "{min} to {max}"
    );
    // Nobody removes an endpoint behind a dead path.
    let (min, max) = seconds(of(DEAD_PATH).recovery);
    assert!(
        (6.9..7.1).contains(&min) && (100.0..106.0).contains(&max),
        "{min} to {max}"
    );
}

#[test]
fn of_other_faults_that_heal_nothing_is_told() {
    let of = |what: &str| {
        let fault = format!("at: 10s, for: 20s, fault: {{ {what} }}");
        told("", &direct(""), &fault)
    };
    assert!(of(DEAD_PATH).is_some());
    assert_eq!(of("loss: { between: [n1, n2], percent: 99 }"), None);
    assert_eq!(of("loss: { node: n1, percent: 100, direction: in }"), None);
    assert_eq!(of("power_loss: { node: n1, neighbour: dead }"), None);
    assert_eq!(of("power_loss: { node: n2 }"), None, "its own node");
    let elsewhere = of("loss: { node: n3, percent: 100 }").expect("a prediction");
    assert!(elsewhere.unaffected);
}
